//! What sees splice(2) on a TCP socket, before it looks for data.
//!
//! Its process is a splicer from then on, and its socket is entered where `gate::reader` finds it: the pair leaves. When
//! redirected bytes are unread, splice would not see them, and take a FIN behind them for the end of the stream. So the
//! agent is told, which destroys the connection, and the call waits until it has, for some milliseconds at most: then it
//! returns an error.

use crate::asm::Reg::{R0, R1, R2, R3, R4, R7, R8, R9};
use crate::asm::{self, Asm, Base, Field, Label, Laid, Place, Program, Ptr, Slot, Uses};
use crate::dataplane::kernel::ctx::Arguments;
use crate::dataplane::kernel::objects::{File, FileTable, Files, Inode, Registers, Sock, Socket, Task, Word};
use crate::dataplane::kernel::probe::{number_of, probe, probe_field};
use crate::dataplane::kernel::{KernelOffsets, TraceOffsets};
use crate::dataplane::options::{Hooks, Options, Watch};
use crate::dataplane::programs::process::{Process, RECORD, descriptor_of_call};
use crate::dataplane::state::MapRole;
use crate::dataplane::state::reader::{self, Event, Record, SCRATCH_SIZE, Splices, event};
use crate::uapi::helper::id as helper;
use crate::uapi::net::{AF_INET, AF_INET6};
use crate::uapi::system_call;

/// `S_IFMT` and `S_IFSOCK`, include/uapi/linux/stat.h.
const FILE_KIND: i32 = 0o170_000;
const SOCKET_KIND: i32 = 0o140_000;
/// `IPPROTO_TCP`, include/uapi/linux/in.h.
const TCP: i32 = 6;
/// The low bits of `sk_user_data` are flags (`SK_USER_DATA_PTRMASK`, include/net/sock.h).
const USER_DATA_POINTER: i32 = !7;
/// Times that the call looks whether the agent has destroyed its connection: a verifier follows each round, and keeps at
/// most 8,192 jumps in mind (`BPF_COMPLEXITY_LIMIT_JMP_SEQ`, kernel/bpf/verifier.c).
const ROUNDS: i32 = 2_048;
/// Helper calls in each round that only take time.
const CALLS: usize = 12;
/// What the program is given, while it has called no helper.
const ARGUMENTS: Ptr<Arguments> = Ptr::new(R1);
/// The socket that is read from; before it is known, the `struct socket`.
const SOCK: Ptr<Sock> = Ptr::new(R8);

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
    let process = Process::new(a);
    let descriptor = a.slot::<u64>("descriptor");
    a.block("out", |a, out| {
        match watch.hooks {
            Hooks::Functions { .. } | Hooks::Mixed => {
                a.ld(R2, ARGUMENTS, Arguments::at(0));
                number_of(a, R8, R2, out);
                descriptor_of_call(a, trace, descriptor);
            }
            Hooks::TracePoints => socket_of_call(a, trace, descriptor, out),
        }
        probe(a, R8, Ptr::<Socket>::new(R8), trace.sk, out);
        a.require(R8.differs(0), out, "there is a socket");
        probe(a, R1, SOCK, trace.protocol, out);
        a.require(R1.equals(TCP), out, "it is one of TCP");
        probe(a, R1, SOCK, trace.family, out);
        a.block("tcp", |a, tcp| {
            a.permit(R1.equals(AF_INET), tcp, "its addresses are IPv4");
            a.require(R1.equals(AF_INET6), out, "or IPv6");
        });
        note_process(a, process, trace, out);
        note_socket(a, process, offsets, trace, out);
        wait_for_agent(a, (process, descriptor), offsets, trace, out);
    });
    a.mov(R0, 0);
    a.exit();
}

/// R8 = the `struct socket` that the system call reads from, or a jump to `other`.
fn socket_of_call(a: &mut Asm, trace: &TraceOffsets, descriptor: Slot<u64>, other: Label) {
    a.emitter("call", Uses::scratch().reads(ARGUMENTS.reg()).writes(R7).gives(R8), |a| {
        a.ld(R2, ARGUMENTS, Arguments::at(1));
        a.require(R2.equals(system_call::SPLICE as i32), other, "it is splice");
        a.ld(R2, ARGUMENTS, Arguments::at(0));
        a.ld(R7, Ptr::<Registers>::new(R2), trace.argument);
        a.mov32(R7, R7);
        a.set(descriptor, R7);
        a.call(helper::GET_CURRENT_TASK);
        probe(a, R8, Ptr::<Task>::new(R0), trace.files, other);
        probe(a, R8, Ptr::<Files>::new(R8), trace.fdt, other);
        probe(a, R1, Ptr::<FileTable>::new(R8), trace.max_fds, other);
        a.require(R7.below(R1), other, "the table has such a descriptor");
        probe(a, R8, Ptr::<FileTable>::new(R8), trace.fd, other);
        a.lsh(R7, 3);
        a.add(R8, R7);
        probe(a, R8, Ptr::<Word>::new(R8), Word::VALUE, other);
        a.require(R8.differs(0), other, "it is open");
        probe(a, R1, Ptr::<File>::new(R8), trace.inode, other);
        probe(a, R1, Ptr::<Inode>::new(R1), trace.mode, other);
        a.and(R1, FILE_KIND);
        a.require(R1.equals(SOCKET_KIND), other, "it is a socket");
        probe(a, R8, Ptr::<File>::new(R8), trace.private_data, other);
    });
}

/// The process is a splicer from now on.
fn note_process(a: &mut Asm, process: Process, trace: &TraceOffsets, fail: Label) {
    a.emitter("process", Uses::scratch().writes(RECORD.reg()), |a| {
        a.block("process_noted", |a, noted| {
            process.lookup(a, trace, fail);
            a.if_else(
                R0.equals(0),
                |a| process.enter(a, reader::SPLICER, event::SPLICES),
                |a| {
                    a.mov(RECORD.reg(), R0);
                    a.ld(R1, RECORD, Record::STATE);
                    a.require(R1.differs(reader::SPLICER), noted, "it was none before");
                    process.make_splicer(a);
                },
            );
            one_more(a, Splices::PROCESSES);
        });
    });
}

/// The socket (R8) has been spliced from, if it can be one of ours; R9 = its psock.
fn note_socket(a: &mut Asm, process: Process, offsets: &KernelOffsets, trace: &TraceOffsets, other: Label) {
    a.emitter("socket", Uses::scratch().reads(R8).gives(R9), |a| {
        probe(a, R9, SOCK, offsets.user_data, other);
        a.and(R9, USER_DATA_POINTER);
        a.require(R9.differs(0), other, "it is in a sockhash");
        probe(a, R1, SOCK, trace.cookie, other);
        a.require(R1.differs(0), other, "it has a number");
        a.st(process.event, Event::COOKIE, R1);
        let key = |a: &mut Asm| {
            a.addr(R2, process.event.at(Event::COOKIE));
            a.load_map(R1, MapRole::Spliced.map_ref());
        };
        key(a);
        a.call(helper::MAP_LOOKUP_ELEM);
        a.guard(R0.equals(0), "its first splice is noted", |a| {
            let spliced = a.slot::<u32>("spliced");
            a.set(spliced, 1);
            key(a);
            a.addr(R3, spliced);
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
fn wait_for_agent(
    a: &mut Asm,
    (process, descriptor): (Process, Slot<u64>),
    offsets: &KernelOffsets,
    trace: &TraceOffsets,
    out: Label,
) {
    a.emitter("wait", Uses::scratch().reads([R8, R9]).writes([R7, R9]), |a| {
        a.add(R9, offsets.ingress_msg.offset());
        probe(a, R1, Ptr::<Word>::new(R9), Word::VALUE, out);
        a.require(R1.differs(R9), out, "redirected bytes are unread");
        describe(a, (process, descriptor), trace, out);
        process.notify(a, event::LOSES);
        a.mov(R7, ROUNDS);
        a.block("agent_is_late", |a, late| {
            let look = a.here("look");
            a.sub(R7, 1);
            a.require(R7.differs(0), late, "the agent has time left");
            probe(a, R1, SOCK, trace.err, out);
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
fn describe(a: &mut Asm, (process, descriptor): (Process, Slot<u64>), trace: &TraceOffsets, fail: Label) {
    a.emitter("describe", Uses::scratch().reads(SOCK.reg()), |a| {
        a.st(process.event, Event::ZERO, 0);
        a.get(R1, descriptor);
        a.st(process.event, Event::DESCRIPTOR, R1);
        for (field, place) in [(trace.num, Event::OWN_PORT), (trace.dport, Event::PEER_PORT)] {
            probe(a, R1, SOCK, field, fail);
            a.st(process.event, place, R1);
        }
        probe(a, R1, SOCK, trace.family, fail);
        a.st(process.event, Event::FAMILY, R1);
        let [own, peer] = [Event::OWN_ADDRESS, Event::PEER_ADDRESS].map(|field| process.event.at(field));
        a.if_else(
            R1.differs(AF_INET6),
            |a| {
                address(a, trace.rcv_saddr, own, fail);
                address(a, trace.daddr, peer, fail);
            },
            |a| {
                address(a, trace.v6_rcv_saddr, own, fail);
                address(a, trace.v6_daddr, peer, fail);
            },
        );
    });
}

/// An address of so many words, and behind it zeros.
fn address<const WORDS: usize>(a: &mut Asm, field: Field<Sock, [u32; WORDS]>, place: Place<[u32; 4]>, fail: Label) {
    a.emitter("address", Uses::scratch().reads(SOCK.reg()), |a| {
        let copy = a.slot::<[u32; WORDS]>("address");
        probe_field(a, copy, SOCK, field, fail);
        for word in 0..4 {
            let to = place.at(item(word));
            if word < WORDS {
                a.get(R1, copy.at(item(word)));
                a.set(to, R1);
            } else {
                a.set(to, 0);
            }
        }
    });
}

/// One word of an array of them.
const fn item<const WORDS: usize>(index: usize) -> Field<[u32; WORDS], u32> {
    Field::new((index * u32::BYTES) as i32)
}
