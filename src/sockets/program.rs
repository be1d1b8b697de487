//! The iterator: one [`Record`](super::Record) for each TCP socket that a task has open.
//!
//! Nothing is locked while it looks, so what belongs together may be read apart. Only the numbers that identify a
//! connection are read again until they are consistent; a record for which they never were says so.

use super::fields::{SocketOffsets, TrackingOffsets};
use super::objects::{Cgroup, File, Inode, Net, Node, Sock, Socket, SuperBlock, Task, TcpSock};
use super::record::Raw;
use crate::asm::Reg::{self, R0, R1, R2, R3, R6, R7, R8, R9};
use crate::asm::{
    self, Asm, Base, BeginsWith, Features, Field, Label, Laid, Pointer, Program, Ptr, Scalar, Slot, Uses,
};
use crate::dataplane::context::context;
use crate::dataplane::objects::IterMeta;
use crate::uapi::ctx::iter_task_file;
use crate::uapi::helper::id as helper;
use crate::uapi::net::AF_INET6;

context! {
    /// `struct bpf_iter__task_file`.
    Context, iter_task_file:
    META: Pointer<IterMeta>;
    TASK: Pointer<Task>;
    FD: u32;
    FILE: Pointer<File>;
}

/// `SK_USER_DATA_PSOCK` (include/net/sock.h), a flag in the low bits of `sk_user_data`.
const USER_DATA_PSOCK: i32 = 4;
/// `SOCKFS_MAGIC`, include/uapi/linux/magic.h.
const SOCKFS_MAGIC: i32 = 0x534f_434b;
/// `SOCK_STREAM` and `IPPROTO_TCP`.
const SOCK_STREAM: i32 = 1;
const IPPROTO_TCP: i32 = 6;
/// How often the numbers are read again before the record is called unsettled.
const TRIES: usize = 3;

const CONTEXT: Ptr<Context> = Ptr::new(R6);
const SOCK: Ptr<TcpSock> = Ptr::new(R7);
const FILE: Ptr<File> = Ptr::new(R8);
const TASK: Ptr<Task> = Ptr::new(R9);

/// A number that is read twice, and the bytes before it; the file and the task are not needed then any more.
const NUMBER: Reg = R8;
const BYTES: Reg = R9;

/// How the iterator gets from a file to its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketAccess {
    /// By `bpf_sock_from_file` (Linux 5.11), which gives a pointer that the verifier knows.
    Helper,
    /// By the file's private data, which is a number to the verifier: what lies there is read by `bpf_probe_read_kernel`.
    SockFs,
}

/// Assembles the iterator for a kernel with these offsets.
pub fn build(offsets: &SocketOffsets, access: SocketAccess) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(Features::LINUX_5_10);
    let a = &mut asm;
    let record = a.slot::<Raw>("record");
    a.mov(CONTEXT.reg(), R1);
    a.block("out", |a, out| {
        a.comment("both are null in the call that ends the iteration");
        a.ld(TASK.reg(), CONTEXT, Context::TASK);
        a.require(TASK.reg().differs(0), out, "there is a task");
        a.ld(FILE.reg(), CONTEXT, Context::FILE);
        a.require(FILE.reg().differs(0), out, "there is a file");
        match access {
            SocketAccess::Helper => by_helper(a, offsets, out),
            SocketAccess::SockFs => by_sockfs(a, offsets, out),
        }
        let from = Source { access, out };
        for word in 0..Raw::BYTES as i32 / 8 {
            a.st(record, Field::<Raw, u64>::new(8 * word), 0);
        }
        task_and_file(a, offsets, record, out);
        identity(a, offsets, record, from);
        addresses(a, offsets, record, from);
        condition(a, offsets, record, from);
        sequence(a, offsets, record, from);
        a.ld(R1, CONTEXT, Context::META);
        a.ld(R1, Ptr::<IterMeta>::new(R1), IterMeta::SEQ);
        a.addr(R2, record);
        a.mov(R3, Raw::BYTES as i32);
        a.call(helper::SEQ_WRITE);
    });
    a.mov(R0, 0);
    a.exit();
    asm.finish()
}

/// SOCK = the TCP socket of the file, as a pointer.
fn by_helper(a: &mut Asm, offsets: &SocketOffsets, out: Label) {
    a.emitter("by_helper", Uses::scratch().reads(FILE.reg()).gives(SOCK.reg()), |a| {
        a.mov(R1, FILE.reg());
        a.call(helper::SOCK_FROM_FILE);
        a.require(R0.differs(0), out, "it is a socket");
        a.ld(R1, Ptr::<Socket>::new(R0), offsets.sk);
        a.call(helper::SKC_TO_TCP_SOCK);
        a.require(R0.differs(0), out, "of TCP");
        a.mov(SOCK.reg(), R0);
    });
}

/// SOCK = the TCP socket of the file, as a number.
fn by_sockfs(a: &mut Asm, offsets: &SocketOffsets, out: Label) {
    let from = Source { access: SocketAccess::SockFs, out };
    a.emitter("by_sockfs", Uses::scratch().reads(FILE.reg()).gives(SOCK.reg()), |a| {
        a.ld(R1, FILE, offsets.f_inode);
        a.ld(R1, Ptr::<Inode>::new(R1), offsets.sockfs.i_sb);
        a.ld(R1, Ptr::<SuperBlock>::new(R1), offsets.sockfs.s_magic);
        a.require(R1.equals(SOCKFS_MAGIC), out, "it is a socket");
        a.ld(R1, FILE, offsets.sockfs.private_data);
        from.load(a, SOCK.reg(), Ptr::<Socket>::new(R1), offsets.sk);
        for (field, value, name) in
            [(offsets.sockfs.sk_type, SOCK_STREAM, "of a stream"), (offsets.sockfs.sk_protocol, IPPROTO_TCP, "of TCP")]
        {
            from.load(a, R1, Ptr::<Sock>::new(SOCK.reg()), field);
            a.require(R1.equals(value), out, name);
        }
    });
}

/// How what belongs to the socket is read, and where a record goes that cannot be.
#[derive(Clone, Copy)]
struct Source {
    access: SocketAccess,
    out: Label,
}

impl Source {
    /// `dst` = the field of the object at `base`. May lose R0 to R5.
    #[track_caller]
    fn load<B: BeginsWith<F>, F, V: Scalar>(self, a: &mut Asm, dst: Reg, base: Ptr<B>, field: Field<F, V>) {
        match self.access {
            SocketAccess::Helper => a.ld(dst, base, field),
            SocketAccess::SockFs => a.idiom("probe", Uses::scratch().reads(base.reg()).gives(dst), |a| {
                let copy = a.slot::<V>("copy");
                a.addr(R3, base.at(field));
                a.addr(R1, copy);
                a.mov(R2, V::BYTES as i32);
                a.call(helper::PROBE_READ_KERNEL);
                a.require(R0.equals(0), self.out, "there is memory");
                a.get(dst, copy);
            }),
        }
    }

    /// Copies a field of the object at `base` into the record.
    #[track_caller]
    fn copy<B: BeginsWith<F>, F, V: Scalar>(
        self,
        a: &mut Asm,
        base: Ptr<B>,
        field: Field<F, V>,
        record: Slot<Raw>,
        place: Field<Raw, V>,
    ) {
        a.emitter("copy_of_socket", Uses::scratch().reads(base.reg()), |a| {
            self.load(a, R1, base, field);
            a.st(record, place, R1);
        });
    }
}

/// Copies a field of the object at `base` into the record.
#[track_caller]
fn copy<B: Base, F, V: Scalar>(a: &mut Asm, base: B, field: Field<F, V>, record: Slot<Raw>, place: Field<Raw, V>)
where
    B::Object: BeginsWith<F>,
{
    a.emitter("copy", Uses::nothing().reads(base.regs()).writes(R1), |a| {
        a.ld(R1, base, field);
        a.st(record, place, R1);
    });
}

/// Copies 16 bytes of the object at `base` into the record.
#[track_caller]
fn copy_16<B: Base, F>(
    a: &mut Asm,
    base: B,
    field: Field<F, [u8; 16]>,
    record: Slot<Raw>,
    place: Field<Raw, [u8; 16]>,
    fail: Label,
) where
    B::Object: BeginsWith<F>,
{
    a.emitter("copy_16", Uses::scratch().reads(base.regs()), |a| {
        a.addr(R1, record.at(place));
        a.mov(R2, 16);
        a.addr(R3, base.at(field));
        a.call(helper::PROBE_READ_KERNEL);
        a.require(R0.equals(0), fail, "there is memory");
    });
}

fn task_and_file(a: &mut Asm, offsets: &SocketOffsets, record: Slot<Raw>, out: Label) {
    let uses = Uses::scratch().reads(CONTEXT.reg()).reads(TASK.reg()).reads(FILE.reg());
    a.emitter("task_and_file", uses, |a| {
        copy(a, TASK, offsets.tgid, record, Raw::TGID);
        copy_16(a, TASK, offsets.comm, record, Raw::COMM, out);
        copy(a, CONTEXT, Context::FD, record, Raw::FD);
        copy(a, FILE, offsets.f_flags, record, Raw::FILE_FLAGS);
        a.ld(R2, FILE, offsets.f_inode);
        copy(a, Ptr::<Inode>::new(R2), offsets.i_ino, record, Raw::INODE);
    });
}

fn identity(a: &mut Asm, offsets: &SocketOffsets, record: Slot<Raw>, from: Source) {
    a.emitter("identity", Uses::scratch().reads(SOCK.reg()), |a| {
        a.st(record, Raw::SK, SOCK.reg());
        from.copy(a, SOCK, offsets.cookie, record, Raw::COOKIE);
        from.load(a, R2, SOCK, offsets.net);
        from.copy(a, Ptr::<Net>::new(R2), offsets.net_inum, record, Raw::NETNS);
        match &offsets.tracking {
            Some(TrackingOffsets::Users(fields)) => tracking(a, offsets, *fields, record, from),
            Some(TrackingOffsets::Used(fields)) => tracking(a, offsets, *fields, record, from),
            None => {}
        }
        if let Some(cgroup) = &offsets.cgroup {
            from.load(a, R2, SOCK, cgroup.cgroup);
            from.load(a, R2, Ptr::<Cgroup>::new(R2), cgroup.node);
            from.copy(a, Ptr::<Node>::new(R2), cgroup.id, record, Raw::CGROUP);
        }
    });
}

/// Whether the socket's namespace tracks connections of IPv4, and of IPv6.
fn tracking<V: Scalar>(
    a: &mut Asm,
    offsets: &SocketOffsets,
    fields: [Field<Net, V>; 2],
    record: Slot<Raw>,
    from: Source,
) {
    a.emitter("tracking", Uses::scratch().reads(SOCK.reg()), |a| {
        for (field, place) in fields.into_iter().zip([Raw::TRACKED_V4, Raw::TRACKED_V6]) {
            from.load(a, R2, SOCK, offsets.net);
            from.load(a, R1, Ptr::<Net>::new(R2), field);
            a.if_(R1.differs(0), |a| a.st(record, place, 1));
        }
    });
}

fn addresses(a: &mut Asm, offsets: &SocketOffsets, record: Slot<Raw>, from: Source) {
    a.emitter("addresses", Uses::scratch().reads(SOCK.reg()), |a| {
        from.copy(a, SOCK, offsets.local_port, record, Raw::LOCAL_PORT);
        from.load(a, R1, SOCK, offsets.remote_port);
        a.to_be(R1, 16);
        a.st(record, Raw::REMOTE_PORT, R1);
        from.copy(a, SOCK, offsets.family, record, Raw::FAMILY);
        a.if_else(
            R1.equals(AF_INET6),
            |a| {
                copy_16(a, SOCK, offsets.local_v6, record, Raw::LOCAL, from.out);
                copy_16(a, SOCK, offsets.remote_v6, record, Raw::REMOTE, from.out);
            },
            |a| {
                let ip4 = |place: Field<Raw, [u8; 16]>| Field::<Raw, u32>::new(place.offset());
                from.copy(a, SOCK, offsets.local_v4, record, ip4(Raw::LOCAL));
                from.copy(a, SOCK, offsets.remote_v4, record, ip4(Raw::REMOTE));
            },
        );
    });
}

/// What decides whether the connection can be accelerated.
fn condition(a: &mut Asm, offsets: &SocketOffsets, record: Slot<Raw>, from: Source) {
    a.emitter("condition", Uses::scratch().reads(SOCK.reg()), |a| {
        from.copy(a, SOCK, offsets.state, record, Raw::STATE);
        from.copy(a, SOCK, offsets.shutdown, record, Raw::SHUTDOWN);
        from.copy(a, SOCK, offsets.data_segs_out, record, Raw::SEGS_OUT);
        from.copy(a, SOCK, offsets.data_segs_in, record, Raw::SEGS_IN);
        from.load(a, R1, SOCK, offsets.ulp);
        a.if_(R1.differs(0), |a| a.st(record, Raw::HAS_ULP, 1));
        from.load(a, R1, SOCK, offsets.user_data);
        a.and(R1, USER_DATA_PSOCK);
        a.if_(R1.differs(0), |a| a.st(record, Raw::IN_SOCKET_MAP, 1));
    });
}

/// The initial sequence numbers: what is acknowledged and received, less how much that is.
fn sequence(a: &mut Asm, offsets: &SocketOffsets, record: Slot<Raw>, from: Source) {
    a.emitter("sequence", Uses::scratch().reads(SOCK.reg()).writes([NUMBER, BYTES]), |a| {
        a.block("numbers_read", |a, done| {
            for _ in 0..TRIES {
                a.block("try_again", |a, again| {
                    let sent = (Raw::ISS, Raw::BYTES_ACKED);
                    initial(a, from, (offsets.snd_una, offsets.bytes_acked), record, sent, again);
                    from.load(a, R1, SOCK, offsets.write_seq);
                    a.sub32(R1, NUMBER);
                    a.st(record, Raw::UNACKED, R1);
                    let received = (Raw::IRS, Raw::BYTES_RECEIVED);
                    initial(a, from, (offsets.rcv_nxt, offsets.bytes_received), record, received, again);
                    from.load(a, R1, SOCK, offsets.copied_seq);
                    a.sub32(NUMBER, R1);
                    a.st(record, Raw::UNREAD, NUMBER);
                    a.st(record, Raw::SETTLED, 1);
                    a.goto(done);
                });
            }
        });
    });
}

/// Reads a sequence number and how many bytes came before it, and writes the bytes and their difference; goes to `again`
/// when one of the two has changed meanwhile. NUMBER is the sequence number.
///
/// The kernel writes the two one after the other. A look between these two writes, by a program that is as quick as the
/// kernel, is not noticed; then the record finds no partner, and the next scan finds it.
fn initial(
    a: &mut Asm,
    from: Source,
    (number, bytes): (Field<TcpSock, u32>, Field<TcpSock, u64>),
    record: Slot<Raw>,
    (difference, before): (Field<Raw, u32>, Field<Raw, u64>),
    again: Label,
) {
    a.emitter("initial", Uses::scratch().reads(SOCK.reg()).writes(BYTES).gives(NUMBER), |a| {
        from.load(a, BYTES, SOCK, bytes);
        from.load(a, NUMBER, SOCK, number);
        from.load(a, R1, SOCK, bytes);
        a.require(R1.equals(BYTES), again, "the bytes stand still");
        from.load(a, R1, SOCK, number);
        a.require(R1.w().equals(NUMBER), again, "the number stands still");
        a.st(record, before, BYTES);
        a.mov32(R1, NUMBER);
        a.sub32(R1, BYTES);
        a.st(record, difference, R1);
    });
}
