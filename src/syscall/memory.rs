//! The memory of this process.

/// Gives back what the start of a process that runs for long has taken and needs no more: free memory, and its view of the parts
/// of its own file. The pages of the file stay in the page cache, and come back one by one when they are used. What a debugger or
/// a uprobe has written into the program's code is lost.
pub fn give_back() {
    unsafe extern "C" {
        // Linkers set them (ld's "PROVIDE"): around constants and code, which no linker (ld, lld, mold) maps as writable. What is
        // relocated and then made read-only (RELRO) lies behind them.
        static __executable_start: u8;
        static etext: u8;
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
    let [start, end] = [&raw const __executable_start, &raw const etext].map(|place| place as usize);
    // SAFETY: it is a number that the kernel gives.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(1 << 16);
    // The last page may have other things, too.
    let len = end.saturating_sub(start) / page * page;
    // SAFETY: between these two symbols the linker has put nothing but constants and code, which are mapped privately from the file and
    // never written. So what is taken away is read from the file again. Where nothing is mapped between them, nothing is taken.
    unsafe { libc::madvise(start as *mut libc::c_void, len, libc::MADV_DONTNEED) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// KiB of files that are mapped and resident.
    fn of_files() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn pages_of_the_file_go_and_come_back_when_they_are_used() {
        let before = of_files();
        give_back();
        let after = of_files();
        assert!(after < before, "{before} KiB, and then {after}");
    }
}
