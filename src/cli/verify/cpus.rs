//! How many CPUs this machine can have: the bound of what `bpf_get_smp_processor_id` returns.

use std::fs;

/// The kernel's list of possible CPUs, such as `0-7` (Documentation/admin-guide/cputopology.rst).
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";

/// The number of possible CPUs (`nr_cpu_ids`), or 0 when this machine does not say.
pub(super) fn possible() -> u32 {
    fs::read_to_string(POSSIBLE).map_or(0, |list| count(&list))
}

/// One more than the last number of a list of ranges.
fn count(list: &str) -> u32 {
    let last = list.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<u32>().ok());
    last.map_or(0, |last| last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn counts_the_kernels_lists() {
        assert_eq!(count("0-1\n"), 2);
        assert_eq!(count("0\n"), 1);
        assert_eq!(count("0-3,8-11\n"), 12);
        assert_eq!(count(""), 0);
    }
}
