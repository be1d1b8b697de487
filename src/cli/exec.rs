//! `sidestep exec`: runs a BPF program in the interpreter. It is a plug-in for the bpf_conformance runner.

use std::io::Read;
use std::process::ExitCode;
use std::time::Instant;

use byteorder::LittleEndian;

use super::error::Error;
use super::hex;
use super::streams::Streams;
use crate::asm::Insn;
use crate::verifier_sim::interp::{
    self, Access, Args as Call, Environment, Fault, Limits, Machine, Program, RegionKind, Trap,
};

/// Run a BPF program, as hex bytes on standard input, in the interpreter
///
/// Runs the program on standard input in the interpreter and prints r0, in hexadecimal digits. The program and MEMORY are
/// hexadecimal bytes, with any white space between them; instructions are little-endian. The program has no maps; its
/// helpers are bpf_ktime_get_ns, bpf_get_smp_processor_id and bpf_probe_read_kernel. Exit status: 0 when the program
/// returned, 1 when it faulted or is not a program, 2 for wrong arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The input memory: r1 is its address and r2 its length. Without it, both are 0
    #[arg(value_parser = memory)]
    memory: Option<Memory>,
}

/// Bytes that the program can read and write.
#[derive(Clone, Debug)]
struct Memory(Vec<u8>);

fn memory(text: &str) -> Result<Memory, String> {
    hex::decode(text).map(Memory).map_err(|error| format!("cannot read the input memory: {error}"))
}

/// Larger programs than a kernel takes from a privileged user (`BPF_COMPLEXITY_LIMIT_INSNS`, include/linux/bpf.h)
/// are refused before they are read whole.
const MAX_SLOTS: usize = 1_000_000;

/// Why a program did not return.
#[derive(Debug, thiserror::Error)]
enum ExecError {
    #[error("the program is {0} bytes long, which is not a multiple of the 8 bytes of an instruction")]
    Length(usize),
    #[error("the program is empty; give its bytes on standard input")]
    Empty,
    #[error("the program is longer than {MAX_SLOTS} instructions, more than any kernel loads")]
    TooLong,
    #[error("the program faulted at {0}")]
    Trap(#[from] Trap),
}

/// `bpf_ktime_get_ns` (include/uapi/linux/bpf.h).
const KTIME_GET_NS: i32 = 5;

/// All the kernel there is: a clock that starts with the program.
struct Clock(Instant);

impl Environment for Clock {
    fn helper(&mut self, _machine: &mut Machine, call: &Call) -> Result<u64, Fault> {
        match call.helper {
            KTIME_GET_NS => Ok(self.0.elapsed().as_nanos() as u64),
            other => Err(Fault::UnknownHelper(other)),
        }
    }
}

/// Runs the command.
pub(super) fn run(args: Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    let mut text = String::new();
    // Two digits and one blank a byte, generously.
    let limit = (MAX_SLOTS * Insn::SIZE * 4) as u64;
    streams
        .input
        .take(limit)
        .read_to_string(&mut text)
        .map_err(|error| Error::Failed(format!("cannot read the program from standard input: {error}")))?;
    if text.len() as u64 == limit {
        return Err(Error::Failed(ExecError::TooLong.to_string()));
    }
    let bytes = hex::decode(&text)
        .map_err(|error| Error::Failed(format!("cannot read the program from standard input: {error}")))?;
    let memory = args.memory.map(|memory| memory.0).unwrap_or_default();
    let r0 = execute(&bytes, &memory).map_err(|error| Error::Failed(error.to_string()))?;
    writeln!(streams.out, "{r0:x}")?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the program in `bytes` on a copy of `memory` and returns r0.
fn execute(bytes: &[u8], memory: &[u8]) -> Result<u64, ExecError> {
    let (slots, rest) = bytes.as_chunks::<{ Insn::SIZE }>();
    match slots.len() {
        _ if !rest.is_empty() => return Err(ExecError::Length(bytes.len())),
        0 => return Err(ExecError::Empty),
        count if count > MAX_SLOTS => return Err(ExecError::TooLong),
        _ => {}
    }
    let program = Program::new(slots.iter().map(|slot| Insn::decode::<LittleEndian>(*slot)).collect(), &[], &[]);
    let mut machine = Machine::new(1);
    let entry = match memory.len() {
        0 => [0, 0],
        length => {
            let region = machine.memory.add(RegionKind::Input, Access::ReadWrite, memory.to_vec());
            [region.address(), length as u64]
        }
    };
    Ok(interp::run(&program, &mut machine, &mut Clock(Instant::now()), &entry, Limits::default())?.r0)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    fn exec(input: &str, args: &[&str]) -> Result<String, String> {
        let args = ["exec"].iter().chain(args).map(OsString::from).collect();
        let mut out = Vec::new();
        crate::cli::dispatch(args, &mut input.as_bytes(), &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    const RETURN_42: &str = "b7 00 00 00 2a 00 00 00\n9500000000000000\n";

    #[test]
    fn prints_r0_in_plain_hexadecimal() {
        assert_eq!(exec(RETURN_42, &[]).unwrap(), "2a\n");
        // mov r0, -1; exit
        assert_eq!(exec("b7000000ffffffff 9500000000000000", &[]).unwrap(), "ffffffffffffffff\n");
    }

    #[test]
    fn hands_over_the_input_memory_and_its_length() {
        // r0 = *(u16 *)(r1 + 1); r0 += r2; exit
        let program = "6910010000000000 0f20000000000000 9500000000000000";
        assert_eq!(exec(program, &["11 22 33"]).unwrap(), format!("{:x}\n", u16::from_ne_bytes([0x22, 0x33]) + 3));
        // r0 = r1; r0 += r2; exit
        let program = "bf10000000000000 0f20000000000000 9500000000000000";
        assert_eq!(exec(program, &[]).unwrap(), "0\n");
        assert_eq!(exec(program, &[""]).unwrap(), "0\n");
    }

    #[test]
    fn says_what_is_wrong() {
        for (input, args, part) in [
            ("", &[][..], "empty"),
            ("8500000006000000", &[], "no helper with id 6"),
            ("95", &[], "not a multiple of the 8 bytes"),
            ("zz", &[], "not a hexadecimal digit"),
            ("9500000000000000", &[], "r0 is read before it is written"),
            ("0500ffff00000000", &[], "still running after"),
            ("b700000000000000", &[], "outside the program"),
            ("6910010000000000 9500000000000000", &[], "belongs to no memory region"),
            ("6910010000000000 9500000000000000", &["1122"], "offset 1 of the input memory of 2 bytes"),
            (RETURN_42, &["1"], "input memory"),
            (RETURN_42, &["11", "22"], "unexpected argument"),
            (RETURN_42, &["--elf"], "--elf"),
        ] {
            let error = exec(input, args).unwrap_err();
            assert!(error.contains(part), "{input:?} {args:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
