//! Assembles a program that counts accepted TCP connections, and loads it into the kernel.
//!
//! `cargo run --example load`, as root. Nothing stays behind: the kernel frees the program and its map with the process.

use std::error::Error;
use std::os::fd::{AsFd, AsRawFd};

use sidestep::asm::{Asm, AtomicOp, Helper, MapRef, Reg::*, Size};
use sidestep::syscall::{BtfObject, DebugInfo, Map, MapSpec, ProgSpec, Program, memlock};
use sidestep::uapi::helper::id;
use sidestep::uapi::{MapType, ProgType};

/// `BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB`, include/uapi/linux/bpf.h.
const PASSIVE_ESTABLISHED: i32 = 5;

/// `struct bpf_sock_ops` begins with the operation.
const OPERATION: i16 = 0;

fn assemble() -> Result<sidestep::asm::Program, sidestep::asm::Error> {
    let mut a = Asm::new();
    a.block("done", |a, done| {
        a.load(Size::W, R1, R1, OPERATION);
        a.require(R1.equals(PASSIVE_ESTABLISHED), done, "a connection was accepted");
        let key = a.slot::<u32>("key");
        a.set(key, 0);
        a.load_map(R1, MapRef(0));
        a.addr(R2, key);
        a.comment("the only entry of the array");
        a.call(Helper::new(id::MAP_LOOKUP_ELEM, 2));
        // Without this check the kernel refuses the program, and its log names the line of the next call.
        a.require(R0.differs(0), done, "the array has the entry");
        a.mov(R1, 1);
        a.atomic(AtomicOp::Add { fetch: false }, Size::DW, R0, 0, R1);
    });
    a.mov(R0, 1);
    a.exit();
    a.finish()
}

fn main() -> Result<(), Box<dyn Error>> {
    // Before Linux 5.11, maps and programs count against RLIMIT_MEMLOCK.
    memlock::raise_if_needed()?;
    let counter = Map::create(&MapSpec::new("accepted", MapType::ARRAY, 4, 8, 1))?;
    let program = assemble()?;
    let insns = program.encode_native(|_| Some(counter.as_fd().as_raw_fd()))?;

    // With it, the kernel knows the Rust line of each instruction.
    let debug = program.debug_info::<byteorder::NativeEndian>("count").ok_or("the program has no lines")?;
    let btf = BtfObject::load(&debug.btf)?;
    let debug = DebugInfo { btf: btf.as_fd(), func_info: &debug.func_info, line_info: &debug.line_info };

    let spec = ProgSpec { debug: Some(debug), ..ProgSpec::new("count", ProgType::SOCK_OPS, &insns) };
    let loaded = Program::load(&spec)?;
    let info = loaded.info()?;
    println!(
        "program {} ({}): {} bytes of instructions, {} bytes of machine code, map {:?}",
        info.id, info.name, info.xlated_len, info.jited_len, info.map_ids
    );
    Ok(())
}
