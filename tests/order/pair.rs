//! Two sockets that are a pair: made in the simulated kernel by the real programs, and then taken apart into the words that
//! several processors share, and the rest.

use std::collections::BTreeMap;
use std::sync::Mutex;

use sidestep::agent::{map_loads, map_specs, simulated_offsets};
use sidestep::asm::{self, Insn};
use sidestep::dataplane::{
    self, Casts, Config, DataPlane, KernelOffsets, MapRole, OptionBits, Options, Pairing, Policy, Readers, Tier,
};
use sidestep::uapi::ctx::{iter_sockmap, sk_msg, sock_ops, sockopt};
use sidestep::verifier_sim::byte_order::from_memory;
use sidestep::verifier_sim::interp::{Access, Machine, Program, RegionKind};
use sidestep::verifier_sim::kernel::{Address, End as Connected, Waiter, World, btf_id, offset_of};

use super::event::{Loc, Word};
use super::memory::Architecture;

/// The end that sends messages in every scenario, and the one that receives them.
pub(crate) const S: usize = 0;
pub(crate) const R: usize = 1;

/// An option of a sender that keeps its messages on the stack, and has its pair leave.
const OPTION: u64 = 1 << 21;

/// Of `state::socket::Head`.
pub(crate) const COOKIE: u64 = 0;
const LEAVING: u64 = 10;
const FLAGS: u64 = 12;
const SENT: u64 = 16;
/// Of `state::socket::Socket`.
pub(crate) const KEEPALIVE_TIME: u64 = 96;
const SEEN_ALONE: u64 = 144;
const DRAIN_ALONE: u64 = 148;
/// `socket::PAIRED` and `socket::PLAIN`.
pub(crate) const PAIRED: u64 = 2;
pub(crate) const PLAIN: u64 = 3;
/// `socket::UNENROLLING`, `socket::UNDERWAY`, `socket::QUIET` and `socket::LATE`.
pub(crate) const UNENROLLING: u64 = 1;
pub(crate) const UNDERWAY: u64 = 1 << 4;
const QUIET: u64 = 1 << 1;
const LATE: u64 = 1 << 21;

/// The programs that take the old ones' place.
pub(crate) const NEW_SK_MSG: &str = "sk_msg, new";
pub(crate) const NEW_SOCK_OPS: &str = "sock_ops, new";

const CONFIG: Config = Config {
    enabled: true,
    max_messages: 8,
    max_bytes: 5000,
    sticky_bytes: 5000,
    redirect_unaccepted: false,
    spare_askers: false,
    stream_messages: 100,
    keepalive: 600,
    spare_armed: true,
    pace_nanos: 400,
    pace_work: 9000,
};

/// One end, and its shared words.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// The socket as programs know it.
    pub(crate) address: u64,
    pub(crate) cookie: u64,
    pub(crate) storage: u64,
    /// `struct sock`.
    pub(crate) sk: u64,
    /// The spin lock of `sk_lock`, and `sk_lock.owned`.
    pub(crate) spin: Loc,
    pub(crate) owned: Loc,
    /// References on its psock, and the socket's pointer to it.
    pub(crate) refs: Loc,
    pub(crate) user_data: Loc,
    /// Redirected messages, bytes that came by the stack, and bytes that wait until the socket's owner lets go: a message is one byte,
    /// four bits of the word.
    pub(crate) queue: Loc,
    pub(crate) stack: Loc,
    pub(crate) backlog: Loc,
    /// A note: whether a reader is inside a call that has read all bytes of the stack.
    pub(crate) inside: Loc,
    pub(crate) copied_seq: Loc,
    /// Whether the sockhash has it.
    pub(crate) member: Loc,
    pub(crate) leaving: Loc,
    pub(crate) state: Loc,
    pub(crate) flags: Loc,
    pub(crate) sent: Loc,
    /// Where it joins late: whether its calls go by `tcp_bpf_prots` (`sk_prot`), and its pointer to its psock from then on.
    pub(crate) prot: Option<(Loc, u64)>,
    /// Where several processes take the lock of this socket: which bytes its owner has left that no other word has.
    pub(crate) kept: Option<Loc>,
}

/// The words by which a reader is woken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sleep {
    /// Whether it is in the socket's wait queue.
    pub(crate) waits: Loc,
    /// 0 once it has been woken, or once there is an event for it.
    pub(crate) quiet: Loc,
    /// 0 when it has gone to sleep, until keepalive's next probe.
    pub(crate) probe: Loc,
    /// A note: it has all messages.
    pub(crate) over: Loc,
    /// Whether who wakes has the kernel's barrier between the data and the look for sleepers.
    pub(crate) barrier: bool,
}

/// Where the contexts of programs are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contexts {
    pub(crate) sk_msg: u64,
    pub(crate) sock_ops: u64,
    /// `struct bpf_sock_ops_kern`, behind it.
    pub(crate) sock_ops_kern: u64,
    pub(crate) iterator: u64,
    pub(crate) sockopt: u64,
    pub(crate) key: u64,
}

pub(crate) struct Pair {
    pub(crate) architecture: Architecture,
    plane: DataPlane,
    pub(crate) machine: Machine,
    pub(crate) ends: [End; 2],
    pub(crate) words: Vec<Word>,
    /// The bytes of what programs share.
    pub(crate) structures: Vec<(u64, Vec<u8>)>,
    pub(crate) contexts: Contexts,
    pub(crate) programs: BTreeMap<&'static str, Program>,
    pub(crate) numbers: Vec<usize>,
    /// The values of both sockets' pointers to their psocks.
    pub(crate) psocks: [u64; 2],
    /// The map by which the agent asks `adopt`.
    pub(crate) requests: Option<usize>,
    /// Orders that the kernel lacks on arm64: the owner of a socket before what it reads, and the two looks of `tcp_bpf_recvmsg`.
    pub(crate) orders_owner: bool,
    pub(crate) orders_looks: bool,
    /// What the kernel does not do on any architecture: `tcp_bpf_recvmsg` looks again once it has the lock.
    pub(crate) looks_under_lock: bool,
    /// Whether the receiver acknowledges bytes of the stack when they arrive, with the callback of that packet.
    pub(crate) acknowledges: bool,
    /// In a long scenario, how many processes still send, and a word for who waits for them.
    pub(crate) senders: Option<[Loc; 2]>,
    /// Where the programs change while the scenario runs: which sk_msg program is in its array, 0 or 1.
    pub(crate) verdict: Option<Loc>,
    /// The same of the sock_ops program and the link that attaches it to the cgroup.
    pub(crate) attached: Option<Loc>,
    /// Where the soft switch is turned while the scenario runs.
    pub(crate) switch: Option<Loc>,
    /// Where a reader sleeps or waits for events.
    pub(crate) sleep: Option<Sleep>,
    /// What owners of locks have left, by its number; nothing has changed in number 0.
    left: Mutex<Vec<Changed>>,
}

/// Bytes that are not what they were when the scenario began, by their addresses.
pub(crate) type Changed = BTreeMap<u64, u8>;

/// Which programs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    /// Whom they serve.
    pub(crate) readers: Readers,
    /// Whether they can wake a reader (Linux 6.1). Only then a message that is too large for an empty queue takes the stack.
    pub(crate) wakes: bool,
    /// Whether they read kernel memory by loads (Linux 6.2), or else by calls of `bpf_probe_read_kernel`.
    pub(crate) casts: bool,
}

impl Variant {
    /// Those of Linux 6.2 and later.
    pub(crate) const USUAL: Self = Self { readers: Readers::NonBlocking, wakes: true, casts: true };
    /// Those before Linux 6.1.
    pub(crate) const BY_CALLS: Self = Self { wakes: false, casts: false, ..Self::USUAL };
}

/// The programs for an architecture.
fn plane(architecture: Architecture, variant: Variant) -> DataPlane {
    let offsets = KernelOffsets {
        casts: variant.casts.then(|| Casts::resolve(btf_id).unwrap()),
        options: OptionBits { sender: OPTION as u32, receiver: 0 },
        iterators_have_storage: true,
        readers_can_be_woken: variant.wakes,
        weakly_ordered: architecture == Architecture::Arm,
        ..simulated_offsets().unwrap()
    };
    let (tier, readers) = (Tier::Gated(offsets), variant.readers);
    dataplane::build(Options { pairing: Pairing::Sequence, tier, readers, policy: Policy::default() }).unwrap()
}

/// What the words of an end are called, where programs find them, and their sizes.
type Places = [(&'static str, u64, u64); 16];

impl Pair {
    pub(crate) fn new(architecture: Architecture) -> Self {
        Self::of(architecture, Variant::USUAL)
    }

    pub(crate) fn of(architecture: Architecture, variant: Variant) -> Self {
        let plane = plane(architecture, variant);
        let mut machine = Machine::new(1);
        let numbers: Vec<usize> = map_specs(&plane).iter().map(|map| machine.add_map(map).unwrap()).collect();
        let number = |role: MapRole| numbers[role.map_ref().0 as usize];
        machine.value(number(MapRole::Config), &[0; 4]).unwrap().copy_from_slice(&CONFIG.to_bytes());
        let loaded = |program: &asm::Program| Program::new(program.insns().to_vec(), &map_loads(program), &numbers);
        let programs: BTreeMap<_, _> = plane.programs().map(|(name, _, program)| (name, loaded(program))).collect();
        let (sock_ops, sk_msg) = (programs["sock_ops"].clone(), programs["sk_msg"].clone());
        let mut world = World::new(machine, sock_ops, sk_msg, number(MapRole::Sockets));
        let ids = connect(&mut world, variant.readers);
        let storage = number(MapRole::Storage);
        Self::take_apart(architecture, plane, world, ids, storage, programs, numbers)
    }

    fn take_apart(
        architecture: Architecture,
        plane: DataPlane,
        world: World,
        ids: [u64; 2],
        storage: usize,
        programs: BTreeMap<&'static str, Program>,
        numbers: Vec<usize>,
    ) -> Self {
        let addresses = ids.map(|id| world.socket(id).unwrap().address());
        let mut machine = world.machine;
        let at = |structure, path| u64::from(offset_of(structure, path).unwrap());
        let (mut words, mut structures, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for (end, id) in ids.into_iter().enumerate() {
            let sk = machine.memory.kernel_address(addresses[end]);
            // Without the flags in its low bits.
            let psock = machine.memory.load(sk + at("sock", "sk_user_data"), 8).unwrap() & !7;
            let storage = machine.map(storage).unwrap().storage(id).unwrap().address();
            let places: Places = [
                ("spin", 0, 0),
                ("owned", sk + at("sock", "sk_lock.owned"), 4),
                ("refs", psock + at("sk_psock", "refcnt.refs.counter"), 4),
                ("user_data", sk + at("sock", "sk_user_data"), 8),
                ("queue", psock + at("sk_psock", "ingress_msg"), 8),
                ("stack", 0, 0),
                ("backlog", 0, 0),
                ("inside", 0, 0),
                ("copied_seq", sk + at("tcp_sock", "copied_seq"), 4),
                ("member", 0, 0),
                ("STATE", storage + 8, 2),
                ("LEAVING", storage + LEAVING, 2),
                ("FLAGS", storage + FLAGS, 4),
                ("SENT", storage + SENT, 4),
                ("SEEN_ALONE", storage + SEEN_ALONE, 4),
                ("DRAIN_ALONE", storage + DRAIN_ALONE, 4),
            ];
            let first = words.len();
            for (name, address, size) in places {
                let is_list = name == "queue";
                let initial = if size == 0 || is_list { 0 } else { machine.memory.load(address, size).unwrap() };
                let name = format!("{}.{name}", ["S", "R"][end]);
                words.push(Word { name, address, size, initial, is_list });
            }
            let loc = |name| first + places.iter().position(|place| place.0 == name).unwrap();
            words[loc("member")].initial = 1;
            // Where readers may block, the last program has run in a send, which is over since: it has given back its reference, and the lock.
            if plane.options.readers == Readers::NonBlocking {
                assert_eq!(words[loc("refs")].initial, 1, "only the sockhash has a reference");
            }
            words[loc("refs")].initial = 1;
            words[loc("owned")].initial = 0;
            for base in [sk, psock, storage] {
                let region = machine.memory.region_of(base).unwrap();
                structures.push((base, machine.memory.bytes(region).to_vec()));
                // From now on the scenario serves it.
                machine.memory.free(region);
            }
            ends.push(End {
                address: addresses[end],
                cookie: id,
                storage,
                sk,
                spin: loc("spin"),
                owned: loc("owned"),
                refs: loc("refs"),
                user_data: loc("user_data"),
                queue: loc("queue"),
                stack: loc("stack"),
                backlog: loc("backlog"),
                inside: loc("inside"),
                copied_seq: loc("copied_seq"),
                member: loc("member"),
                leaving: loc("LEAVING"),
                state: loc("STATE"),
                flags: loc("FLAGS"),
                sent: loc("SENT"),
                prot: None,
                kept: None,
            });
        }
        let option = vec![0; sockopt::SIZE as usize];
        let sockopt = machine.memory.add(RegionKind::Context, Access::ReadWrite, option).address();
        let mut add = |kind, size: u32| machine.memory.add(kind, Access::Read, vec![0; size as usize]);
        let [sock_ops, sock_ops_kern] =
            [(RegionKind::Context, sock_ops::SIZE), (RegionKind::Kernel, 64)].map(|(kind, size)| add(kind, size));
        let contexts = Contexts {
            sk_msg: add(RegionKind::Context, sk_msg::SIZE).address(),
            sock_ops: sock_ops.address(),
            sock_ops_kern: sock_ops_kern.address(),
            iterator: add(RegionKind::Context, iter_sockmap::SIZE).address(),
            sockopt,
            key: add(RegionKind::Input, 8).address(),
        };
        machine.memory.set_shadow(sock_ops, sock_ops_kern);
        let ends: [End; 2] = ends.try_into().unwrap();
        let psocks = [S, R].map(|end| words[ends[end].user_data].initial);
        Self {
            architecture,
            plane,
            machine,
            ends,
            words,
            structures,
            contexts,
            programs,
            numbers,
            psocks,
            requests: None,
            orders_owner: false,
            orders_looks: false,
            looks_under_lock: false,
            acknowledges: false,
            senders: None,
            verdict: None,
            attached: None,
            switch: None,
            sleep: None,
            left: Mutex::new(vec![Changed::new()]),
        }
    }

    /// A program has other instructions.
    pub(crate) fn set_program(&mut self, name: &'static str, insns: Vec<Insn>) {
        let program = Program::new(insns, &map_loads(self.original(name)), &self.numbers);
        self.programs.insert(name, program);
    }

    /// What the programs were assembled for.
    pub(crate) fn options(&self) -> &Options {
        &self.plane.options
    }

    /// A program as it was assembled.
    pub(crate) fn original(&self, name: &str) -> &asm::Program {
        self.plane.programs().find_map(|(this, _, program)| (this == name).then_some(program)).unwrap()
    }

    /// The soft switch is off, and has been for long.
    pub(crate) fn switch_off(&mut self) {
        let config = self.numbers[MapRole::Config.map_ref().0 as usize];
        let off = Config { enabled: false, ..CONFIG };
        self.machine.value(config, &[0; 4]).unwrap().copy_from_slice(&off.to_bytes());
    }

    /// The shared words among these bytes.
    pub(crate) fn words_in(&self, address: u64, size: u64) -> Vec<Loc> {
        let end = address + size;
        let overlaps = |word: &Word| word.size > 0 && word.address < end && address < word.address + word.size;
        let is_inside = |word: &Word| word.address >= address && word.address + word.size <= end;
        let all: Vec<Loc> = (0..self.words.len()).filter(|loc| overlaps(&self.words[*loc])).collect();
        assert!(all.iter().all(|loc| is_inside(&self.words[*loc])), "a part of a shared word at {address:#x}");
        all
    }

    /// Several processes take the lock of this end's socket, and access what it guards.
    pub(crate) fn share(&mut self, end: usize) {
        let name = format!("{}.kept", ["S", "R"][end]);
        self.ends[end].kept = Some(self.add_word(name, 0));
    }

    /// One more word, that only the kernel or the agent knows.
    fn add_word(&mut self, name: impl Into<String>, initial: u64) -> Loc {
        self.words.push(Word { name: name.into(), address: 0, size: 0, initial, is_list: false });
        self.words.len() - 1
    }

    /// One more word of what programs share.
    pub(crate) fn declare(&mut self, name: impl Into<String>, address: u64, size: u64) -> Loc {
        let initial = self.number_at(address, size);
        self.words.push(Word { name: name.into(), address, size, initial, is_list: false });
        self.words.len() - 1
    }

    /// What a structure has there when the scenario begins.
    pub(crate) fn number_at(&self, address: u64, size: u64) -> u64 {
        let has = |(base, all): &&(u64, Vec<u8>)| (*base..*base + all.len() as u64).contains(&address);
        let (base, all) = self.structures.iter().find(has).unwrap();
        let at = (address - *base) as usize;
        from_memory(&all[at..at + size as usize])
    }

    /// Another sk_msg program may take the old one's place.
    pub(crate) fn prepare_upgrade(&mut self, variant: Variant) {
        let new = plane(self.architecture, variant);
        assert_eq!(new.layout(), self.plane.layout(), "programs of equal layout take each other's place");
        let program = Program::new(new.sk_msg.insns().to_vec(), &map_loads(&new.sk_msg), &self.numbers);
        self.programs.insert(NEW_SK_MSG, program);
        self.verdict = Some(self.add_word("verdict", 0));
    }

    /// Another sock_ops program may take the old one's place.
    pub(crate) fn prepare_upgrade_of_callbacks(&mut self, variant: Variant) {
        let new = plane(self.architecture, variant);
        assert_eq!(new.layout(), self.plane.layout(), "programs of equal layout take each other's place");
        let program = Program::new(new.sock_ops.insns().to_vec(), &map_loads(&new.sock_ops), &self.numbers);
        self.programs.insert(NEW_SOCK_OPS, program);
        self.attached = Some(self.add_word("attached", 0));
    }

    /// The soft switch is on, and becomes a shared word.
    pub(crate) fn share_switch(&mut self) {
        let config = self.numbers[MapRole::Config.map_ref().0 as usize];
        let off = Config { enabled: false, ..CONFIG }.to_bytes();
        let at = CONFIG.to_bytes().iter().zip(&off).position(|(on, off)| on != off).unwrap() & !3;
        let (map, memory) = self.machine.map_and_memory(config).unwrap();
        let region = map.lookup(memory, &[0; 4], 0).unwrap();
        self.structures.push((region.address(), memory.bytes(region).to_vec()));
        memory.free(region);
        self.switch = Some(self.declare("ENABLED", region.address() + at as u64, 4));
    }

    /// A reader of R sleeps, or waits for events, for which it is always in the wait queue.
    pub(crate) fn share_sleep(&mut self, waits: bool) {
        let words = [("waits", u64::from(waits)), ("quiet", 1), ("probe", 1), ("over", 0)];
        let [waits, quiet, probe, over] = words.map(|(name, initial)| self.add_word(name, initial));
        self.sleep = Some(Sleep { waits, quiet, probe, over, barrier: true });
    }

    /// A pair that joins late: the receiver is not a member yet.
    pub(crate) fn join_late(&mut self) {
        for end in &self.ends {
            let flags = &mut self.words[end.flags].initial;
            *flags = *flags & !QUIET | LATE;
        }
        let End { user_data, refs, member, .. } = self.ends[R].clone();
        self.ends[R].prot = Some((self.add_word("R.prot", 0), self.words[user_data].initial));
        for loc in [user_data, refs, member] {
            self.begin_with(loc, 0);
        }
    }

    /// Someone waits until these many processes have sent all that they send.
    pub(crate) fn count_senders(&mut self, senders: u64) {
        self.senders =
            Some([("all sent", 0), ("senders", senders)].map(|(name, initial)| self.add_word(name, initial)));
    }

    /// A number for what the owner of a lock has left.
    pub(crate) fn number_of(&self, changed: &Changed) -> u64 {
        let mut left = self.left.lock().unwrap();
        let known = left.iter().position(|this| this == changed);
        known.unwrap_or_else(|| {
            left.push(changed.clone());
            left.len() - 1
        }) as u64
    }

    /// What has this number.
    pub(crate) fn left(&self, number: u64) -> Changed {
        self.left.lock().unwrap()[number as usize].clone()
    }

    /// A word has another value when the scenario begins.
    pub(crate) fn begin_with(&mut self, loc: Loc, value: u64) {
        self.words[loc].initial = value;
    }

    /// An end has sent one byte by the stack before the scenario begins.
    pub(crate) fn send_by_stack(&mut self, from: usize, message: u64) {
        let at = self.ends[from].sk + u64::from(offset_of("tcp_sock", "write_seq").unwrap());
        let copied = self.words[self.ends[1 - from].copied_seq].initial as u32;
        self.poke(at, &(copied + 1).to_ne_bytes());
        self.begin_with(self.ends[1 - from].stack, message);
    }

    /// Changes bytes of a structure before the scenario begins.
    pub(crate) fn poke(&mut self, address: u64, bytes: &[u8]) {
        let has = |(base, all): &&mut (u64, Vec<u8>)| (*base..*base + all.len() as u64).contains(&address);
        let (base, all) = self.structures.iter_mut().find(has).unwrap();
        let at = (address - *base) as usize;
        all[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// An end has these flags as well when the scenario begins.
    pub(crate) fn set_flags(&mut self, end: usize, flags: u64) {
        self.words[self.ends[end].flags].initial |= flags;
    }

    /// An end has the option that keeps its own messages on the stack.
    pub(crate) fn set_option(&mut self, end: usize) {
        let at = self.ends[end].sk + u64::from(offset_of("sock", "__sk_common.skc_flags").unwrap());
        self.poke(at, &OPTION.to_ne_bytes());
    }
}

/// Both ends of a connection that is a pair, with nothing underway.
fn connect(world: &mut World, readers: Readers) -> [u64; 2] {
    let (client, server) = (Address { ip: 1, port: 1 }, Address { ip: 2, port: 2 });
    let (first, second) =
        world.connect(Connected::new(1, client, server, 100), Connected::new(1, server, client, 200), 0).unwrap();
    let ids = [first, second];
    world.finish_handshake(second).unwrap();
    world.accept(second);
    // Edge-triggered readers, for which the gate goes on while messages wait (`gate::deferral`).
    for id in ids {
        world.set_waiters(id, &[Waiter::Epoll { edge: true, data: 0, fd: 0 }]);
    }
    // The first message of each direction takes the stack, since its receiver does not want single bytes. Where readers may block, it
    // would be the last one that is redirected.
    let by_stack = readers == Readers::NonBlocking;
    let messages = [([0, 1], 2), ([1, 0], 2), ([0, 1], 1), ([1, 0], 1)];
    for ([from, to], least) in messages.into_iter().skip(if by_stack { 0 } else { 2 }) {
        world.set_rcvlowat(ids[to], least);
        world.send(ids[from], 1).unwrap();
        world.finish_send(ids[from]).unwrap();
        world.deliver(ids[from]).unwrap();
        while world.socket(ids[to]).unwrap().has_unread() {
            world.recv(ids[to], 1);
            while world.is_reading(ids[to]) {
                world.step_recv(ids[to]).unwrap();
            }
        }
    }
    // So that there are acknowledgements, whose callbacks have all that has happened written into memory.
    for id in ids.into_iter().filter(|_| by_stack) {
        assert!(world.has_acks(id));
        world.deliver_ack(id).unwrap();
    }
    ids
}
