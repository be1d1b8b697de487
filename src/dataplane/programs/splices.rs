//! What sees splice(2) on a TCP socket, before it looks for data.
//!
//! Its process is a splicer from then on, and its socket is entered where `gate::reader` finds it: the pair leaves. When
//! redirected bytes are unread, splice would not see them, and take a FIN behind them for the end of the stream. So the
//! agent is told, which destroys the connection, and the call waits until it has, for some milliseconds at most: then it
//! returns an error.

use crate::asm::Reg::{R0, R1, R2, R3, R4, R7, R8, R9};
use crate::asm::{self, Asm, FP, Field, Label, Program, Ptr, Size, Uses};
use crate::dataplane::kernel::probe::number_of;
use crate::dataplane::kernel::{KernelOffsets, TraceOffsets};
use crate::dataplane::options::{Hooks, Options, Watch};
use crate::dataplane::programs::process::{self, EVENT_SLOT, OWN_SLOT, PROBE_SLOT, probe, probe_bytes};
use crate::dataplane::state::MapRole;
use crate::dataplane::state::reader::{self, SCRATCH_SIZE, Splices, event};
use crate::uapi::helper::id as helper;
use crate::uapi::net::{AF_INET, AF_INET6};

/// Number of the system call, arch/x86/entry/syscalls/syscall_64.tbl.
const SPLICE: i32 = 275;
/// Stack place of the descriptor.
const DESCRIPTOR_SLOT: i16 = OWN_SLOT - 8;
/// `S_IFMT` and `S_IFSOCK`, include/uapi/linux/stat.h.
const FILE_KIND: i32 = 0o170_000;
const SOCKET: i32 = 0o140_000;
/// `IPPROTO_TCP`, include/uapi/linux/in.h.
const TCP: i32 = 6;
/// The low bits of `sk_user_data` are flags (`SK_USER_DATA_PTRMASK`, include/net/sock.h).
const USER_DATA_POINTER: i32 = !7;
/// Times that the call looks whether the agent has destroyed its connection: a verifier follows each round, and keeps at
/// most 8,192 jumps in mind (`BPF_COMPLEXITY_LIMIT_JMP_SEQ`, kernel/bpf/verifier.c).
const ROUNDS: i32 = 2_048;
/// Helper calls in each round that only take time.
const CALLS: usize = 12;

pub(in crate::dataplane) fn build(
    options: &Options,
    offsets: &KernelOffsets,
    watch: &Watch,
) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(options.features());
    program(&mut asm, offsets, watch);
    asm.finish()
}

fn program(a: &mut Asm, offsets: &KernelOffsets, watch: &Watch) {
    let trace = &watch.offsets;
    a.block("out", |a, out| {
        match watch.hooks {
            Hooks::Functions { .. } | Hooks::Mixed => {
                a.load(Size::DW, R2, R1, 0);
                number_of(a, R8, R2, out);
                process::descriptor_of_call(a, trace, DESCRIPTOR_SLOT);
            }
            Hooks::TracePoints => socket_of_call(a, trace, out),
        }
        probe(a, R8, Size::DW, R8, trace.sk, out);
        a.require(R8.differs(0), out, "there is a socket");
        probe(a, R1, Size::H, R8, trace.protocol, out);
        a.require(R1.equals(TCP), out, "it is one of TCP");
        probe(a, R1, Size::H, R8, trace.family, out);
        a.block("tcp", |a, tcp| {
            a.permit(R1.equals(AF_INET), tcp, "its addresses are IPv4");
            a.require(R1.equals(AF_INET6), out, "or IPv6");
        });
        note_process(a, trace, out);
        note_socket(a, offsets, trace, out);
        wait_for_agent(a, offsets, trace, out);
    });
    a.mov(R0, 0);
    a.exit();
}

/// R8 = the `struct socket` that the system call reads from, or a jump to `other`.
fn socket_of_call(a: &mut Asm, trace: &TraceOffsets, other: Label) {
    a.emitter("call", Uses::scratch().reads(R1).writes(R7).gives(R8), |a| {
        a.load(Size::DW, R2, R1, 8);
        a.require(R2.equals(SPLICE), other, "it is splice");
        a.load(Size::DW, R2, R1, 0);
        a.load(Size::DW, R7, R2, trace.di as i16);
        a.mov32(R7, R7);
        a.store(Size::DW, FP, DESCRIPTOR_SLOT, R7);
        a.call(helper::GET_CURRENT_TASK);
        probe(a, R8, Size::DW, R0, trace.files, other);
        probe(a, R8, Size::DW, R8, trace.fdt, other);
        probe(a, R1, Size::W, R8, trace.max_fds, other);
        a.require(R7.below(R1), other, "the table has such a descriptor");
        probe(a, R8, Size::DW, R8, trace.fd, other);
        a.lsh(R7, 3);
        a.add(R8, R7);
        probe(a, R8, Size::DW, R8, 0, other);
        a.require(R8.differs(0), other, "it is open");
        probe(a, R1, Size::DW, R8, trace.inode, other);
        probe(a, R1, Size::H, R1, trace.mode, other);
        a.and(R1, FILE_KIND);
        a.require(R1.equals(SOCKET), other, "it is a socket");
        probe(a, R8, Size::DW, R8, trace.private_data, other);
    });
}

/// The process is a splicer from now on.
fn note_process(a: &mut Asm, trace: &TraceOffsets, fail: Label) {
    a.emitter("process", Uses::scratch().writes(R9), |a| {
        a.block("process_noted", |a, noted| {
            process::lookup(a, trace, fail);
            a.if_else(
                R0.equals(0),
                |a| process::enter(a, reader::SPLICER, event::SPLICES),
                |a| {
                    a.mov(R9, R0);
                    a.load(Size::W, R1, R9, reader::STATE);
                    a.require(R1.differs(reader::SPLICER), noted, "it was none before");
                    process::make_splicer(a);
                },
            );
            one_more(a, Splices::PROCESSES);
        });
    });
}

/// The socket (R8) has been spliced from, if it can be one of ours; R9 = its psock.
fn note_socket(a: &mut Asm, offsets: &KernelOffsets, trace: &TraceOffsets, other: Label) {
    a.emitter("socket", Uses::scratch().reads(R8).gives(R9), |a| {
        probe(a, R9, Size::DW, R8, offsets.user_data.offset() as u16, other);
        a.and(R9, USER_DATA_POINTER);
        a.require(R9.differs(0), other, "it is in a sockhash");
        probe(a, R1, Size::DW, R8, trace.cookie, other);
        a.require(R1.differs(0), other, "it has a number");
        a.store(Size::DW, FP, EVENT_SLOT + event::COOKIE, R1);
        let key = |a: &mut Asm| {
            a.mov(R2, FP);
            a.add(R2, i32::from(EVENT_SLOT + event::COOKIE));
            a.load_map(R1, MapRole::Spliced.map_ref());
        };
        key(a);
        a.call(helper::MAP_LOOKUP_ELEM);
        a.guard(R0.equals(0), "its first splice is noted", |a| {
            a.store(Size::W, FP, OWN_SLOT, 1);
            key(a);
            a.mov(R3, FP);
            a.add(R3, i32::from(OWN_SLOT));
            a.mov(R4, 0);
            a.call(helper::MAP_UPDATE_ELEM);
            one_more(a, Splices::SOCKETS);
        });
    });
}

/// Adds one to a number of the value of [`MapRole::Splices`].
fn one_more(a: &mut Asm, number: Field<Splices, u32>) {
    a.idiom("one_more", Uses::nothing().writes([R1, R2]), |a| {
        a.load_map_value(R1, MapRole::Splices.map_ref(), 0);
        a.mov(R2, 1);
        a.atomic_add(Ptr::<Splices>::new(R1), number, R2);
    });
}

/// If redirected bytes are unread at the socket (R8, its psock R9), notifies the agent of it and waits. The cookie has its
/// place in the event.
fn wait_for_agent(a: &mut Asm, offsets: &KernelOffsets, trace: &TraceOffsets, out: Label) {
    a.emitter("wait", Uses::scratch().reads([R8, R9]).writes([R7, R9]), |a| {
        a.add(R9, offsets.ingress_msg.offset());
        probe(a, R1, Size::DW, R9, 0, out);
        a.require(R1.differs(R9), out, "redirected bytes are unread");
        describe(a, trace, out);
        process::notify(a, event::LOSES);
        a.mov(R7, ROUNDS);
        a.block("agent_is_late", |a, late| {
            let look = a.here("look");
            a.sub(R7, 1);
            a.require(R7.differs(0), late, "the agent has time left");
            probe(a, R1, Size::W, R8, trace.err, out);
            a.require(R1.equals(0), out, "the connection lives");
            a.comment("calls that take their time");
            for _ in 0..CALLS {
                a.load_map_value(R1, MapRole::Splices.map_ref(), Splices::SCRATCH.offset() as u32);
                a.mov(R2, SCRATCH_SIZE as i32);
                a.mov(R3, R8);
                a.call(helper::PROBE_READ_KERNEL);
            }
            a.goto(look);
        });
    });
}

/// Writes into the event what sock_diag must know of the socket in R8.
fn describe(a: &mut Asm, trace: &TraceOffsets, fail: Label) {
    a.emitter("describe", Uses::scratch().reads(R8), |a| {
        a.store(Size::H, FP, EVENT_SLOT + event::FAMILY + 6, 0);
        a.load(Size::DW, R1, FP, DESCRIPTOR_SLOT);
        a.store(Size::DW, FP, EVENT_SLOT + event::DESCRIPTOR, R1);
        for (field, place) in [(trace.num, event::OWN_PORT), (trace.dport, event::PEER_PORT)] {
            probe(a, R1, Size::H, R8, field, fail);
            a.store(Size::H, FP, EVENT_SLOT + place, R1);
        }
        probe(a, R1, Size::H, R8, trace.family, fail);
        a.store(Size::H, FP, EVENT_SLOT + event::FAMILY, R1);
        let addresses = |fields: [(u16, i16); 2], bytes| {
            move |a: &mut Asm| fields.into_iter().for_each(|(field, place)| address(a, bytes, field, place, fail))
        };
        a.if_else(
            R1.differs(AF_INET6),
            addresses([(trace.rcv_saddr, event::OWN_ADDRESS), (trace.daddr, event::PEER_ADDRESS)], 4),
            addresses([(trace.v6_rcv_saddr, event::OWN_ADDRESS), (trace.v6_daddr, event::PEER_ADDRESS)], 16),
        );
    });
}

/// An address of so many bytes, and behind it zeros.
fn address(a: &mut Asm, bytes: i16, field: u16, place: i16, fail: Label) {
    probe_bytes(a, i32::from(bytes), R8, field, fail);
    for word in (0..16).step_by(4) {
        if word < bytes {
            a.load(Size::W, R1, FP, PROBE_SLOT + word);
            a.store(Size::W, FP, EVENT_SLOT + place + word, R1);
        } else {
            a.store(Size::W, FP, EVENT_SLOT + place + word, 0);
        }
    }
}
