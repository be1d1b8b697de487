//! The layout of per-CPU values in user space: one slot of whole 8 bytes for every possible CPU.

use std::path::Path;

use crate::syscall::error::{Error, Result};
use crate::syscall::sysctl;

/// Bytes from one CPU's value to the next (`bpf_map_value_size` of `kernel/bpf/syscall.c`).
pub(super) fn stride(value_size: usize) -> usize {
    value_size.next_multiple_of(8)
}

/// The number of CPUs this kernel may ever have online, which is how many values a per-CPU entry has.
pub fn possible_cpus() -> Result<usize> {
    let text = sysctl::read(Path::new("/sys/devices/system/cpu/possible"))?;
    parse(&text)
        .ok_or_else(|| Error::Malformed { what: "/sys/devices/system/cpu/possible", why: format!("it says {text:?}") })
}

/// Counts the CPUs of a list like `0-3,8,10-11`.
fn parse(list: &str) -> Option<usize> {
    let mut count = 0_usize;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_cpu_lists() {
        assert_eq!(parse("0-1\n"), Some(2));
        assert_eq!(parse("0"), Some(1));
        assert_eq!(parse("0-3,8,10-11"), Some(7));
        for bad in ["", "a", "3-1", "0-", "0-18446744073709551615"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn values_take_whole_eight_bytes() {
        assert_eq!((stride(1), stride(8), stride(12)), (8, 8, 16));
    }
}
