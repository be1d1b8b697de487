//! The types of the kernel whose rules apply, when this machine can say what they are.

use std::path::Path;

use crate::cli::bounded;
use crate::syscall::Release;
use crate::verifier_sim::spec::Kernel;
use crate::verifier_sim::types::KernelTypes;

/// The running kernel's types (Documentation/bpf/btf.rst).
const RUNNING: &str = "/sys/kernel/btf/vmlinux";

/// The types in `file`. They are needed as long as the program runs, so they are never freed.
pub(super) fn read(file: &Path) -> Result<&'static KernelTypes, String> {
    let data = bounded::read(file).map_err(|error| error.to_string())?;
    let types = KernelTypes::parse(data)
        .map_err(|error| format!("{error}; give the /sys/kernel/btf/vmlinux of that kernel"))?;
    Ok(Box::leak(Box::new(types)))
}

/// The running kernel's types, if its rules are those of `kernel`.
pub(super) fn of_running(kernel: Kernel) -> Option<&'static KernelTypes> {
    let Release(major, minor, _) = Release::running()?;
    if format!("{major}.{minor}") != kernel.name() {
        return None;
    }
    read(Path::new(RUNNING)).ok()
}
