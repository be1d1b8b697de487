//! Times as JSON lines show them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time in UTC to the millisecond, as RFC 3339 writes it: `2026-11-28T19:14:00.250Z`.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = libc::time_t::try_from(since.as_secs()).unwrap_or_default();
    // SAFETY: all zeroes is a valid tm.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values.
    unsafe { libc::gmtime_r(&raw const seconds, &raw mut parts) };
    let libc::tm { tm_year, tm_mon, tm_mday, tm_hour, tm_min, tm_sec, .. } = parts;
    let (year, month) = (tm_year + 1900, tm_mon + 1);
    format!("{year:04}-{month:02}-{tm_mday:02}T{tm_hour:02}:{tm_min:02}:{tm_sec:02}.{:03}Z", since.subsec_millis())
}

/// When something happened whose time of `CLOCK_MONOTONIC` is known; `now` is that clock's time now.
pub(super) fn of_monotonic(then: Duration, now: Duration) -> SystemTime {
    let present = SystemTime::now();
    present.checked_sub(now.saturating_sub(then)).unwrap_or(present)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_the_rfc_does() {
        let time = UNIX_EPOCH + Duration::from_millis(951_827_696_007);
        assert_eq!(rfc3339(time), "2000-02-29T12:34:56.007Z");
    }
}
