//! Loading a program, with a verifier log that is grown until it fits.

use std::os::fd::{AsRawFd, OwnedFd};

use super::spec::ProgSpec;
use crate::syscall::attr;
use crate::syscall::errno::Errno;
use crate::syscall::error::{Error, Result};
use crate::syscall::map::info::name_field;
use crate::syscall::sys::{self, Command};
use crate::uapi::AttachType;
use crate::uapi::debug_info::{FUNC_INFO_SIZE, LINE_INFO_SIZE};

/// First size of the log buffer.
const LOG_START: usize = 64 << 10;
/// Largest size that every kernel accepts: `UINT_MAX >> 8` before 5.2, `UINT_MAX >> 2` since (kernel/bpf/verifier.c).
const LOG_MAX: usize = (u32::MAX >> 8) as usize;

/// Loads without a log, and on failure once more with one.
pub(super) fn quiet(spec: &ProgSpec<'_>) -> Result<OwnedFd> {
    let mut attr = attr_of(spec)?;
    // SAFETY: see `attr_of`; there is no log buffer to write.
    match unsafe { sys::bpf_fd(Command::ProgLoad, &mut attr) } {
        Ok(fd) => Ok(fd),
        // The verifier was not reached, or would say no more with a log.
        Err(errno @ (Errno::EPERM | Errno(libc::ENOSYS | libc::EMFILE | libc::ENOMEM))) => {
            Err(refused(spec, errno, String::new()))
        }
        // The second attempt may succeed where the first was out of luck; then so be it.
        Err(_) => verbose(spec, spec.log_level.max(1)).map(|(fd, _)| fd),
    }
}

/// Loads with a log of `level`, and gives the log also on success.
pub(super) fn verbose(spec: &ProgSpec<'_>, level: u32) -> Result<(OwnedFd, String)> {
    let mut size = LOG_START;
    loop {
        let mut log = vec![0_u8; size];
        let mut attr = attr_of(spec)?;
        attr.log_level = level;
        attr.log_size = size as u32;
        attr.log_buf = sys::address_mut(&mut log);
        // SAFETY: see `attr_of`; `log` is live and writable for `log_size` bytes.
        let answer = unsafe { sys::bpf_fd(Command::ProgLoad, &mut attr) };
        match answer {
            Ok(fd) => return Ok((fd, text(&log))),
            Err(Errno::ENOSPC) if size < LOG_MAX => {
                // From 6.4 the kernel says how much it had to tell; before, guess.
                size = (attr.log_true_size as usize).max(size * 4).min(LOG_MAX);
            }
            Err(errno) => return Err(refused(spec, errno, text(&log))),
        }
    }
}

/// The attributes of `spec`. Every address in them is of memory that `spec` borrows, with its length beside it; the
/// licence ends with a zero.
fn attr_of(spec: &ProgSpec<'_>) -> Result<attr::ProgLoad> {
    if !spec.insns.len().is_multiple_of(8) {
        return Err(Error::Invalid(format!(
            "the program {:?} has {} bytes, which is not a whole number of 8-byte instructions",
            spec.name,
            spec.insns.len()
        )));
    }
    let mut attr = attr::ProgLoad {
        prog_type: spec.prog_type.number(),
        insn_cnt: (spec.insns.len() / 8) as u32,
        insns: sys::address(spec.insns),
        license: spec.license.as_ptr() as u64,
        prog_flags: spec.flags,
        prog_name: name_field(spec.name)?,
        expected_attach_type: spec.expected_attach_type.map_or(0, AttachType::number),
        attach_btf_id: spec.attach_btf_id,
        ..attr::ProgLoad::default()
    };
    if let Some(debug) = spec.debug {
        let whole = debug.func_info.len().is_multiple_of(FUNC_INFO_SIZE)
            && debug.line_info.len().is_multiple_of(LINE_INFO_SIZE);
        if !whole {
            return Err(Error::Invalid(format!(
                "the debug information of {:?} is not a whole number of records",
                spec.name
            )));
        }
        attr.prog_btf_fd = debug.btf.as_raw_fd() as u32;
        if !debug.func_info.is_empty() {
            attr.func_info_rec_size = FUNC_INFO_SIZE as u32;
            attr.func_info = sys::address(debug.func_info);
            attr.func_info_cnt = (debug.func_info.len() / FUNC_INFO_SIZE) as u32;
        }
        if !debug.line_info.is_empty() {
            attr.line_info_rec_size = LINE_INFO_SIZE as u32;
            attr.line_info = sys::address(debug.line_info);
            attr.line_info_cnt = (debug.line_info.len() / LINE_INFO_SIZE) as u32;
        }
    }
    Ok(attr)
}

fn text(log: &[u8]) -> String {
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    String::from_utf8_lossy(&log[..end]).into_owned()
}

fn refused(spec: &ProgSpec<'_>, errno: Errno, log: String) -> Error {
    Error::Load { name: spec.name.to_owned(), prog_type: spec.prog_type, errno, log }
}
