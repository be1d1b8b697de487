//! Debug information of a program of the assembler, with its types given to the kernel.

use std::os::fd::AsFd;

use super::spec::DebugInfo;
use crate::asm;
use crate::syscall::btf::BtfObject;
use crate::syscall::error::Result;

/// Types that the kernel has, and the records of a program that refer to them. The kernel keeps what it needs when the
/// program has been loaded.
#[derive(Debug)]
pub struct LoadedDebugInfo {
    btf: BtfObject,
    info: asm::DebugInfo,
}

impl LoadedDebugInfo {
    /// Gives the types to the kernel (takes CAP_BPF).
    pub fn load(info: asm::DebugInfo) -> Result<Self> {
        Ok(Self { btf: BtfObject::load(&info.btf)?, info })
    }

    /// That of `program`, under the function name `name`. Nothing when no line of it is known, or when the kernel does not
    /// take the types: the program is then loaded without, and only the verifier's log says less.
    pub fn of(program: &asm::Program, name: &str) -> Option<Self> {
        Self::load(program.debug_info::<byteorder::NativeEndian>(name)?).ok()
    }

    /// What [`ProgSpec::debug`](super::ProgSpec::debug) takes.
    pub fn for_program(&self) -> DebugInfo<'_> {
        DebugInfo { btf: self.btf.as_fd(), func_info: &self.info.func_info, line_info: &self.info.line_info }
    }
}
