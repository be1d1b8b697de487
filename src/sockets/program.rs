//! The iterator: one [`Record`](super::Record) for each TCP socket that a task has open.
//!
//! Nothing is locked while it looks, so what belongs together may be read apart. Only the numbers that identify a
//! connection are read again until they are consistent; a record for which they never were says so.

use super::fields::SocketOffsets;
use super::record;
use crate::asm::Reg::{R0, R1, R2, R3, R6, R7, R8, R9};
use crate::asm::{self, Asm, Cond, FP, Features, Label, Program, Reg, Size};

/// `struct bpf_iter__task_file` (kernel/bpf/task_iter.c): the head with the output, the task, the descriptor, the file.
const META: i16 = 0;
const TASK: i16 = 8;
const FD: i16 = 16;
const FILE: i16 = 24;
/// `bpf_iter_meta.seq` (include/linux/bpf.h).
const SEQ: i16 = 0;

/// Helpers (`enum bpf_func_id`, include/uapi/linux/bpf.h): Linux 5.5, 5.8, 5.9 and 5.11.
const PROBE_READ_KERNEL: i32 = 113;
const SEQ_WRITE: i32 = 127;
const SKC_TO_TCP_SOCK: i32 = 137;
const SOCK_FROM_FILE: i32 = 162;

/// `SK_USER_DATA_PTRMASK` (include/net/sock.h): the low bits of the pointer are flags; `SK_USER_DATA_PSOCK` is the third.
const USER_DATA_PSOCK: i32 = 4;
/// How often the numbers are read again before the record is called unsettled.
const TRIES: usize = 3;

/// Where the record begins on the stack.
const RECORD: i16 = -record::SIZE;

/// Assembles the iterator for a kernel with these offsets.
pub fn build(offsets: &SocketOffsets) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(Features::LINUX_5_10);
    let a = &mut asm;
    let out = a.label("out");
    a.mov(R6, R1);
    a.comment("both are null in the call that ends the iteration");
    a.load(Size::DW, R9, R6, TASK);
    a.jump(Cond::Eq, R9, 0, out);
    a.load(Size::DW, R8, R6, FILE);
    a.jump(Cond::Eq, R8, 0, out);
    a.mov(R1, R8);
    a.call(SOCK_FROM_FILE);
    a.comment("not a socket");
    a.jump(Cond::Eq, R0, 0, out);
    a.load(Size::DW, R1, R0, offsets.sk as i16);
    a.call(SKC_TO_TCP_SOCK);
    a.comment("not a TCP socket");
    a.jump(Cond::Eq, R0, 0, out);
    a.mov(R7, R0);
    for offset in (0..record::SIZE).step_by(8) {
        a.store(Size::DW, FP, RECORD + offset, 0);
    }
    task_and_file(a, offsets, out);
    identity(a, offsets);
    addresses(a, offsets, out);
    condition(a, offsets);
    sequence(a, offsets);
    a.load(Size::DW, R1, R6, META);
    a.load(Size::DW, R1, R1, SEQ);
    a.mov(R2, FP);
    a.add(R2, i32::from(RECORD));
    a.mov(R3, i32::from(record::SIZE));
    a.call(SEQ_WRITE);
    a.bind(out);
    a.mov(R0, 0);
    a.exit();
    asm.finish()
}

/// Copies a field of the structure at `base` into the record; loses R1.
#[track_caller]
fn copy(a: &mut Asm, size: Size, base: Reg, offset: u16, place: i16) {
    a.load(size, R1, base, offset as i16);
    a.store(size, FP, RECORD + place, R1);
}

/// Copies 16 bytes of the structure at `base` into the record; loses R0 to R5.
#[track_caller]
fn copy_16(a: &mut Asm, base: Reg, offset: u16, place: i16, fail: Label) {
    a.mov(R1, FP);
    a.add(R1, i32::from(RECORD + place));
    a.mov(R2, 16);
    a.mov(R3, base);
    a.add(R3, i32::from(offset));
    a.call(PROBE_READ_KERNEL);
    a.jump(Cond::Ne, R0, 0, fail);
}

/// The task is in R9 and the file in R8.
fn task_and_file(a: &mut Asm, offsets: &SocketOffsets, out: Label) {
    copy(a, Size::W, R9, offsets.tgid, record::TGID);
    copy_16(a, R9, offsets.comm, record::COMM, out);
    a.load(Size::W, R1, R6, FD);
    a.store(Size::W, FP, RECORD + record::FD, R1);
    copy(a, Size::W, R8, offsets.f_flags, record::FILE_FLAGS);
    a.load(Size::DW, R2, R8, offsets.f_inode as i16);
    copy(a, Size::DW, R2, offsets.i_ino, record::INODE);
}

/// The socket is in R7.
fn identity(a: &mut Asm, offsets: &SocketOffsets) {
    a.store(Size::DW, FP, RECORD + record::SK, R7);
    copy(a, Size::DW, R7, offsets.cookie, record::COOKIE);
    a.load(Size::DW, R2, R7, offsets.net as i16);
    copy(a, Size::W, R2, offsets.net_inum, record::NETNS);
    if let Some(cgroup) = &offsets.cgroup {
        a.load(Size::DW, R2, R7, cgroup.cgroup as i16);
        a.load(Size::DW, R2, R2, cgroup.kn as i16);
        copy(a, Size::DW, R2, cgroup.id, record::CGROUP);
    }
}

fn addresses(a: &mut Asm, offsets: &SocketOffsets, out: Label) {
    /// `AF_INET6`, include/linux/socket.h.
    const AF_INET6: i32 = 10;
    let [v6, done] = ["ipv6", "addresses_done"].map(|name| a.label(name));
    copy(a, Size::H, R7, offsets.local_port, record::LOCAL_PORT);
    a.load(Size::H, R1, R7, offsets.remote_port as i16);
    a.to_be(R1, 16);
    a.store(Size::H, FP, RECORD + record::REMOTE_PORT, R1);
    a.load(Size::H, R1, R7, offsets.family as i16);
    a.store(Size::H, FP, RECORD + record::FAMILY, R1);
    a.jump(Cond::Eq, R1, AF_INET6, v6);
    copy(a, Size::W, R7, offsets.local_v4, record::LOCAL);
    copy(a, Size::W, R7, offsets.remote_v4, record::REMOTE);
    a.goto(done);
    a.bind(v6);
    copy_16(a, R7, offsets.local_v6, record::LOCAL, out);
    copy_16(a, R7, offsets.remote_v6, record::REMOTE, out);
    a.bind(done);
}

/// What decides whether the connection can be accelerated.
fn condition(a: &mut Asm, offsets: &SocketOffsets) {
    let [no_ulp, no_member] = ["no_ulp", "in_no_map"].map(|name| a.label(name));
    copy(a, Size::B, R7, offsets.state, record::STATE);
    copy(a, Size::B, R7, offsets.shutdown, record::SHUTDOWN);
    copy(a, Size::W, R7, offsets.data_segs_out, record::SEGS_OUT);
    copy(a, Size::W, R7, offsets.data_segs_in, record::SEGS_IN);
    a.load(Size::DW, R1, R7, offsets.ulp as i16);
    a.jump(Cond::Eq, R1, 0, no_ulp);
    a.store(Size::B, FP, RECORD + record::ULP, 1);
    a.bind(no_ulp);
    a.load(Size::DW, R1, R7, offsets.user_data as i16);
    a.and(R1, USER_DATA_PSOCK);
    a.jump(Cond::Eq, R1, 0, no_member);
    a.store(Size::B, FP, RECORD + record::MEMBER, 1);
    a.bind(no_member);
}

/// The initial sequence numbers: what is acknowledged and received, less how much that is.
fn sequence(a: &mut Asm, offsets: &SocketOffsets) {
    let [settled, done] = ["settled", "numbers_done"].map(|name| a.label(name));
    for _ in 0..TRIES {
        let next = a.label("next_try");
        initial(a, [offsets.snd_una, offsets.bytes_acked], [record::BYTES_ACKED, record::ISS], next);
        a.load(Size::W, R1, R7, offsets.write_seq as i16);
        a.sub32(R1, R2);
        a.store(Size::W, FP, RECORD + record::UNACKED, R1);
        initial(a, [offsets.rcv_nxt, offsets.bytes_received], [record::BYTES_RECEIVED, record::IRS], next);
        a.load(Size::W, R1, R7, offsets.copied_seq as i16);
        a.sub32(R2, R1);
        a.store(Size::W, FP, RECORD + record::UNREAD, R2);
        a.goto(settled);
        a.bind(next);
    }
    a.goto(done);
    a.bind(settled);
    a.store(Size::B, FP, RECORD + record::SETTLED, 1);
    a.bind(done);
}

/// Reads a sequence number and how many bytes came before it, and writes the bytes and their difference; goes to `again`
/// when one of the two has changed meanwhile. R2 is the sequence number.
///
/// The kernel writes the two one after the other. A look between these two writes, by a program that is as quick as the
/// kernel, is not noticed; then the record finds no partner, and the next scan finds it.
fn initial(a: &mut Asm, [number, bytes]: [u16; 2], [bytes_at, difference_at]: [i16; 2], again: Label) {
    a.load(Size::DW, R3, R7, bytes as i16);
    a.load(Size::W, R2, R7, number as i16);
    a.load(Size::DW, R1, R7, bytes as i16);
    a.jump(Cond::Ne, R1, R3, again);
    a.load(Size::W, R1, R7, number as i16);
    a.jump32(Cond::Ne, R1, R2, again);
    a.store(Size::DW, FP, RECORD + bytes_at, R3);
    a.mov32(R1, R2);
    a.sub32(R1, R3);
    a.store(Size::W, FP, RECORD + difference_at, R1);
}
