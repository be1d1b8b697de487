//! The configuration of the kernel whose rules apply, when this machine can say what it is.

use std::path::Path;

use super::gzip;
use crate::cli::bounded;
use crate::syscall::Release;
use crate::verifier_sim::elf::KernelConfig;
use crate::verifier_sim::spec::Kernel;

/// The running kernel's configuration, where it was built with `CONFIG_IKCONFIG_PROC`.
const RUNNING: &str = "/proc/config.gz";

/// How a compressed file begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The configuration in `file`, which may be compressed.
pub(super) fn read(file: &Path) -> Result<KernelConfig, String> {
    let mut data = bounded::read(file).map_err(|error| error.to_string())?;
    if data.starts_with(&GZIP) {
        data = gzip::decompress(&data).ok_or("it is a damaged gzip file, or one of more than 16 MiB")?;
    }
    let text = String::from_utf8(data).ok().filter(|text| text.contains("CONFIG_"));
    let text = text.ok_or("it has no options; give the /proc/config.gz or /boot/config-* of that kernel")?;
    Ok(KernelConfig::parse(&text))
}

/// The running kernel's configuration, if its rules are those of `kernel`.
pub(super) fn of_running(kernel: Kernel) -> Option<KernelConfig> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let Release(major, minor, _) = Release::running()?;
    if format!("{major}.{minor}") != kernel.name() {
        return None;
    }
    // Where distributions put it.
    let installed = format!("/boot/config-{}", release.trim());
    read(Path::new(RUNNING)).or_else(|_| read(Path::new(&installed))).ok()
}
