//! Random histories of connections in the simulated kernel, and what must hold in every one of them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use sidestep::agent::{map_loads, map_specs, simulated_offsets};
use sidestep::asm;
use sidestep::dataplane::{
    self, Casts, Config, DataPlane, KernelOffsets, MapRole, OptionBits, Options, Pairing, Policy, Readers, Tier,
};
use sidestep::verifier_sim::interp::{Machine, Program};
use sidestep::verifier_sim::kernel::{Address, Chunk, End, Failure, Forgery, Socket, SocketId, World, btf_id};
use sidestep::verifier_sim::spec::MapType;

/// Bounds so small that histories run into them.
pub(crate) const CONFIG: Config = Config {
    enabled: true,
    max_messages: 3,
    max_bytes: 5000,
    sticky_bytes: 5000,
    redirect_unaccepted: false,
    spare_askers: false,
    stream_messages: 6,
    keepalive: 600,
    spare_armed: false,
};

/// Few enough sockets in the sockhash for histories to fill it.
const MEMBERS: u32 = 8;

/// `BPF_SOCK_OPS_RTT_CB_FLAG` and `BPF_SOCK_OPS_STATE_CB_FLAG`, of another program.
const FOREIGN: u32 = RTT_FLAG | 1 << 2;

/// `BPF_SOCK_OPS_RTT_CB_FLAG` and `BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG`, include/uapi/linux/bpf.h.
const RTT_FLAG: u32 = 1 << 3;
const WRITE_HDR_OPT_FLAG: u32 = 1 << 6;

const LOOPBACK: u32 = 0x7f00_0001;

/// Offsets in a socket's storage (src/dataplane/storage.rs).
const STORAGE_STATE: usize = 8;
const STORAGE_FLAGS: usize = 12;
const STORAGE_PEER: usize = 24;
/// The state of a socket that knows its peer, and the flag of one that wants to leave the map.
const PAIRED: u8 = 2;
const LEAVING: u8 = 1;

/// What the programs of the gated tier can do: they read kernel memory by helper calls, wake readers as well
/// (Linux 6.1), or read it by direct loads, too (6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    Calls,
    TellingCalls,
    Loads,
}

impl Means {
    pub(crate) const ALL: [Self; 3] = [Self::Calls, Self::TellingCalls, Self::Loads];

    /// What tests call them.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::TellingCalls => "telling",
            Self::Loads => "loads",
        }
    }
}

/// The programs of the gated tier.
pub(crate) fn gated(pairing: Pairing, means: Means) -> DataPlane {
    let offsets = KernelOffsets {
        casts: (means == Means::Loads).then(|| Casts::resolve(btf_id).unwrap()),
        options: OPTIONS,
        iterators_have_storage: true,
        readers_can_be_woken: means != Means::Calls,
        ..simulated_offsets().unwrap()
    };
    let tier = Tier::Gated(offsets);
    let options = Options { pairing, tier, readers: Readers::NonBlocking, policy: Policy::default() };
    dataplane::build(options).unwrap()
}

/// Bits of options that keep the sender's and the receiver's bytes on the stack.
const OPTIONS: OptionBits = OptionBits { sender: 1 << 21, receiver: 1 << 2 | 1 << 11 };

/// One step of a history. Numbers choose among the sockets there are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Connect(Connect),
    Handshake(u8),
    Accept(u8),
    Send(u8, u16),
    FinishSend(u8),
    Deliver(u8),
    Ack(u8),
    Recv(u8, u16),
    RecvAll(u8, u16),
    StepRecv(u8),
    Close(u8),
    RcvLowAt(u8, u8),
    NonBlocking(u8, bool),
    Options(u8, u64, i32),
    /// kTLS, or another upper-layer protocol.
    Protocol(u8),
    /// Another sock_ops program sets these callback flags, and no others.
    OtherCallbacks(u8, u8),
    /// Another tool enters the socket into a map of its own.
    OtherMap(u8),
    ShutdownRead(u8),
    Switch(bool),
    Evict,
    /// An attacker makes a socket that could be the peer of this one, by its numbers and addresses.
    Forge(u8, u8, u32),
    /// A record in the rendezvous map becomes another's, but for the first words that a program reads.
    Tear(u8, u8, u8),
    Cpu(bool),
}

/// What a connection is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connect {
    /// Whether the client is in the namespace of its server, and by which address it then reaches it.
    same_namespace: bool,
    loopback: bool,
    /// Whether both are in the second of two groups of namespaces, which have the same addresses.
    second_group: bool,
    /// One of three services, which differ in address or port.
    service: u8,
    /// Whether another program has asked for the callbacks that we use.
    foreign_callbacks: bool,
    /// Few ports, so that addresses are used again.
    client_port: u8,
    /// Whether REDIRECT rewrites the server's local address.
    redirect: bool,
    client_in_cgroup: bool,
    server_in_cgroup: bool,
    client_nonblocking: bool,
    server_nonblocking: bool,
    /// Whether something on the way rewrites sequence numbers.
    rewritten: bool,
    /// Whether something on the way takes the kernel's mark from the client's packets, and from the server's.
    unmarked: (bool, bool),
    /// Whether an attacker who knows the sequence numbers is faster than the listener, and than the client.
    foreseen: (bool, bool),
    isn: (u32, u32),
}

impl Connect {
    /// Two non-blocking sockets of one namespace, with nothing between them.
    pub(crate) fn plain() -> Self {
        Self {
            same_namespace: true,
            loopback: true,
            second_group: false,
            service: 0,
            foreign_callbacks: false,
            client_port: 0,
            redirect: false,
            client_in_cgroup: true,
            server_in_cgroup: true,
            client_nonblocking: true,
            server_nonblocking: true,
            rewritten: false,
            unmarked: (false, false),
            foreseen: (false, false),
            isn: (1000, 2000),
        }
    }
}

fn connect() -> impl Strategy<Value = Op> {
    let mostly = || prop::bool::weighted(0.9);
    let rarely = || prop::bool::weighted(0.1);
    let place = (any::<bool>(), prop::bool::weighted(0.7), prop::bool::weighted(0.3), 0..3_u8, 0..3_u8, any::<bool>());
    let ends = (mostly(), mostly(), mostly(), mostly(), rarely(), rarely());
    let path = (rarely(), rarely(), rarely(), rarely());
    (place, ends, path, any::<(u32, u32)>()).prop_map(|(place, ends, path, isn)| {
        Op::Connect(Connect {
            same_namespace: place.0,
            loopback: place.1,
            second_group: place.2,
            service: place.3,
            client_port: place.4,
            redirect: place.5,
            client_in_cgroup: ends.0,
            server_in_cgroup: ends.1,
            client_nonblocking: ends.2,
            server_nonblocking: ends.3,
            rewritten: ends.4,
            foreign_callbacks: ends.5,
            unmarked: (path.0, path.1),
            foreseen: (path.2, path.3),
            isn,
        })
    })
}

/// None, one that matters at one end, one that matters nowhere.
fn options() -> impl Strategy<Value = u64> {
    prop_oneof![6 => Just(0), 1 => Just(1 << 21), 1 => Just(1 << 2), 1 => Just(1 << 11), 1 => Just(1 << 3 | 1 << 40)]
}

/// A step of connections that there are.
fn op() -> impl Strategy<Value = Op> {
    let socket = 0..8_u8;
    let size = || prop_oneof![7 => 1..100_u16, 3 => 1000..3000_u16];
    let wanted = prop_oneof![1..100_u16, 1000..5000_u16];
    prop_oneof![
        6 => socket.clone().prop_map(Op::Handshake),
        6 => socket.clone().prop_map(Op::Accept),
        25 => (socket.clone(), size()).prop_map(|(socket, len)| Op::Send(socket, len)),
        20 => socket.clone().prop_map(Op::FinishSend),
        16 => socket.clone().prop_map(Op::Deliver),
        // Late, since all that may happen between a message and its acknowledgement is of interest.
        6 => socket.clone().prop_map(Op::Ack),
        20 => (socket.clone(), wanted).prop_map(|(socket, len)| Op::Recv(socket, len)),
        2 => (socket.clone(), size()).prop_map(|(socket, len)| Op::RecvAll(socket, len)),
        30 => socket.clone().prop_map(Op::StepRecv),
        1 => socket.clone().prop_map(Op::Close),
        1 => (socket.clone(), 1..3_u8).prop_map(|(socket, bytes)| Op::RcvLowAt(socket, bytes)),
        6 => (socket.clone(), any::<bool>()).prop_map(|(socket, set)| Op::NonBlocking(socket, set)),
        2 => (socket.clone(), options(), prop_oneof![9 => Just(-1), 1 => Just(0)])
            .prop_map(|(socket, bits, peek_off)| Op::Options(socket, bits, peek_off)),
        1 => socket.clone().prop_map(Op::Protocol),
        1 => (socket.clone(), 0..128_u8).prop_map(|(socket, flags)| Op::OtherCallbacks(socket, flags)),
        2 => socket.clone().prop_map(Op::OtherMap),
        1 => socket.prop_map(Op::ShutdownRead),
        1 => prop::bool::weighted(0.8).prop_map(Op::Switch),
        1 => Just(Op::Evict),
        2 => (any::<u8>(), any::<u8>(), any::<u32>()).prop_map(|(of, how, mark)| Op::Forge(of, how, mark)),
        3 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(from, to, kept)| Op::Tear(from, to, kept)),
        1 => any::<bool>().prop_map(Op::Cpu),
    ]
}

/// Histories of up to `length` steps; the first one connects. Half of them are about that connection alone, which is
/// accepted at once, so that more happens to it.
pub(crate) fn history(length: usize) -> impl Strategy<Value = Vec<Op>> {
    let many = (connect(), prop::collection::vec(prop_oneof![1 => connect(), 49 => op()], length / 2..length));
    let many = many.prop_map(|(first, ops)| [vec![first], ops].concat());
    let one = (connect(), prop::collection::vec(op(), length / 4..length / 2));
    let one = one.prop_map(|(first, ops)| [vec![first, Op::Handshake(0), Op::Accept(0)], ops].concat());
    prop_oneof![many, one]
}

/// A broken promise.
#[derive(Debug)]
pub(crate) struct Broken(#[allow(dead_code, reason = "shown by a failing test")] pub(crate) String);

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self(failure.to_string())
    }
}

/// A world with our programs, and what its applications have seen.
pub(crate) struct Simulation {
    pub(crate) world: World,
    config: usize,
    rendezvous: usize,
    pairs: usize,
    storage: usize,
    enabled: bool,
    bounds: Config,
    /// By receiver: its peer, and the number of the next byte it must read.
    expected: BTreeMap<SocketId, (SocketId, u32)>,
    /// By sender: bytes handed over.
    sent: BTreeMap<SocketId, u32>,
    /// By sender: messages and bytes redirected since the receiver's queue was last empty.
    bursts: BTreeMap<SocketId, (u32, u32)>,
    /// Whether the gate looks at both ends for each message, or once and remembers.
    looks_each_time: bool,
    /// Whether a reader is woken again for stack bytes behind redirected ones.
    tells: bool,
    /// Directions whose two ends were as they must be when a message was sent.
    known: BTreeSet<(SocketId, SocketId)>,
    /// Sockets whose callbacks another program has asked for.
    foreign: BTreeSet<SocketId>,
    /// The callback flags that the programs need.
    callbacks: u32,
    /// Sockets whose callbacks another program has replaced.
    replaced: BTreeSet<SocketId>,
    /// Sockets that another tool has in a map of its own.
    elsewhere: BTreeSet<SocketId>,
    /// Active ends whose passive one has no program, or gets no proof: no end claims them.
    unclaimed: BTreeSet<SocketId>,
    /// Whether a record may be missing from the rendezvous map: taken out, damaged, or with four-tuple pairing
    /// overwritten by another connection of the same client address.
    disturbed: bool,
    /// Bytes whose sender was told to redirect them.
    pub(crate) redirected: u64,
}

fn program(program: &asm::Program, insns: Vec<asm::Insn>, numbers: &[usize]) -> Program {
    Program::new(insns, &map_loads(program), numbers)
}

/// The instructions of both programs, which a test may have changed.
#[derive(Clone)]
pub(crate) struct Insns {
    pub(crate) sock_ops: Vec<asm::Insn>,
    pub(crate) sk_msg: Vec<asm::Insn>,
}

impl Insns {
    pub(crate) fn of(plane: &DataPlane) -> Self {
        Self { sock_ops: plane.sock_ops.insns().to_vec(), sk_msg: plane.sk_msg.insns().to_vec() }
    }
}

/// Why messages may not be redirected between two ends, whatever else they do.
fn ends_fault(sender: &Socket, receiver: &Socket) -> Option<&'static str> {
    let options = sender.options() & u64::from(OPTIONS.sender) | receiver.options() & u64::from(OPTIONS.receiver);
    if !receiver.is_accepted() || !receiver.is_nonblocking() || !sender.is_nonblocking() {
        Some("and not both files are O_NONBLOCK")
    } else if options != 0 || receiver.peek_off() >= 0 {
        Some("in spite of a socket option")
    } else {
        None
    }
}

/// The end of an attacker who knows everything about the end of another, in a namespace of its own.
fn attacker(end: End) -> End {
    End { netns: 666, in_cgroup: true, cb_flags: 0, nonblocking: true, unmarked: false, ..end }
}

impl Simulation {
    pub(crate) fn new(plane: &DataPlane, insns: &Insns, bounds: Config) -> Self {
        let mut machine = Machine::new(2);
        let mut numbers = Vec::new();
        for mut map in map_specs(plane) {
            if map.map_type == MapType::SOCKHASH {
                map.max_entries = MEMBERS;
            }
            numbers.push(machine.add_map(&map).unwrap());
        }
        let number = |role: MapRole| numbers[role.map_ref().0 as usize];
        let sock_ops = program(&plane.sock_ops, insns.sock_ops.clone(), &numbers);
        let sk_msg = program(&plane.sk_msg, insns.sk_msg.clone(), &numbers);
        machine.value(number(MapRole::Config), &[0; 4]).unwrap().copy_from_slice(&bounds.to_bytes());
        Self {
            world: World::new(machine, sock_ops, sk_msg, number(MapRole::Sockets)),
            config: number(MapRole::Config),
            rendezvous: number(MapRole::Rendezvous),
            pairs: number(MapRole::Pairs),
            storage: number(MapRole::Storage),
            enabled: true,
            bounds,
            expected: BTreeMap::new(),
            sent: BTreeMap::new(),
            bursts: BTreeMap::new(),
            looks_each_time: matches!(plane.options.tier, Tier::Gated(KernelOffsets { casts: Some(_), .. })),
            tells: matches!(plane.options.tier, Tier::Gated(KernelOffsets { readers_can_be_woken: true, .. })),
            known: BTreeSet::new(),
            foreign: BTreeSet::new(),
            callbacks: match plane.options.tier {
                Tier::Gated(KernelOffsets { readers_can_be_woken: true, .. }) => RTT_FLAG | WRITE_HDR_OPT_FLAG,
                _ => RTT_FLAG,
            },
            replaced: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
            unclaimed: BTreeSet::new(),
            disturbed: plane.options.pairing == Pairing::FourTuple,
            redirected: 0,
        }
    }

    /// One of the sockets made last.
    fn pick(&self, number: u8) -> Option<SocketId> {
        let all: Vec<_> = self.world.socket_ids().into_iter().rev().take(8).collect();
        (!all.is_empty()).then(|| all[usize::from(number) % all.len()])
    }

    fn connect(&mut self, how: Connect) -> Result<(), Broken> {
        let (near, far) = match (how.same_namespace, how.loopback) {
            (true, true) => (LOOPBACK, LOOPBACK),
            (true, false) => (0x0a00_0001, 0x0a00_0001),
            (false, _) => (0x0a00_0001, 0x0a00_0002),
        };
        let client = Address { ip: near, port: 40000 + u16::from(how.client_port) };
        let service = match how.service {
            0 => Address { ip: far, port: 80 },
            1 => Address { ip: far, port: 81 },
            _ => Address { ip: far + 0x10, port: 80 },
        };
        let listener = if how.redirect { Address { ip: LOOPBACK, port: 15001 } } else { service };
        let group = if how.second_group { 100 } else { 0 };
        let (client_netns, server_netns) = (group + 11, group + if how.same_namespace { 11 } else { 22 });
        // A namespace has a 4-tuple once, and it is free again only when its socket is gone.
        let tuples = [(client_netns, client, service), (server_netns, listener, client)];
        let mut sockets = self.world.socket_ids().into_iter().filter_map(|id| self.world.socket(id));
        let taken = sockets.any(|socket| tuples.contains(&socket.addresses()));
        if taken {
            return Ok(());
        }
        // What this address has sent before arrives before what it sends now.
        for id in self.world.socket_ids() {
            let far = self.world.socket(id).map(Socket::addresses);
            if far.is_some_and(|(netns, _, remote)| netns == server_netns && remote == client) {
                self.finish_handshake(id)?;
            }
        }
        let cb_flags = if how.foreign_callbacks { FOREIGN } else { 0 };
        let client_end = End {
            netns: client_netns,
            in_cgroup: how.client_in_cgroup,
            local: client,
            remote: service,
            cb_flags,
            isn: how.isn.0,
            nonblocking: how.client_nonblocking,
            unmarked: how.unmarked.0,
        };
        let server_end = End {
            netns: server_netns,
            in_cgroup: how.server_in_cgroup,
            local: listener,
            remote: client,
            cb_flags,
            isn: how.isn.1,
            nonblocking: how.server_nonblocking,
            unmarked: how.unmarked.1,
        };
        let shift = if how.rewritten { 0x1234_5678 } else { 0 };
        if how.foreseen.0 {
            self.world.forge(attacker(server_end), client_end.isn.wrapping_add(shift), Forgery::Announced)?;
        }
        let (client, server) = self.world.syn(client_end, server_end, shift)?;
        if how.foreseen.1 {
            let forged = End { isn: client_end.isn.wrapping_add(shift), ..attacker(client_end) };
            let how = if how.isn.0 & 1 == 0 { Forgery::Repaired } else { Forgery::Connected(how.isn.1) };
            let forged = self.world.forge(forged, server_end.isn, how)?;
            self.check_pairing(forged)?;
        }
        self.world.syn_ack(client)?;
        self.expected.insert(client, (server, 0));
        self.expected.insert(server, (client, 0));
        if how.foreign_callbacks {
            self.foreign.extend([client, server]);
        }
        if !how.server_in_cgroup || how.unmarked.0 || how.unmarked.1 {
            self.unclaimed.insert(client);
        }
        let socket = self.world.socket(client).unwrap();
        if socket.is_member() && !self.enabled {
            return Err(Broken(format!("socket {client} enters the sockhash while the switch is off")));
        }
        if socket.is_member() && !how.client_nonblocking {
            return Err(Broken(format!("socket {client} enters the sockhash though it blocks")));
        }
        Ok(())
    }

    fn forge(&mut self, of: u8, how: u8, mark: u32) -> Result<(), Broken> {
        let Some(socket) = self.pick(of).and_then(|id| self.world.socket(id)) else { return Ok(()) };
        let (_, local, remote) = socket.addresses();
        let (next, expected) = socket.numbers();
        let end = End {
            netns: 666,
            in_cgroup: true,
            local: remote,
            remote: local,
            cb_flags: 0,
            isn: expected.wrapping_sub(1),
            nonblocking: true,
            unmarked: false,
        };
        let how = match how % 5 {
            0 => Forgery::Repaired,
            1 => Forgery::Connected(mark),
            2 => Forgery::Crossed(mark),
            3 => Forgery::Accepted(mark),
            _ => Forgery::Announced,
        };
        let forged = self.world.forge(end, next.wrapping_sub(1), how)?;
        self.check_pairing(forged)
    }

    /// The last ACK of the handshake arrives at `server`.
    fn finish_handshake(&mut self, server: SocketId) -> Result<(), Broken> {
        let is_member = |world: &World| world.socket(server).is_some_and(Socket::is_member);
        let before = is_member(&self.world);
        self.world.finish_handshake(server)?;
        if !self.enabled && !before && is_member(&self.world) {
            return Err(Broken(format!("socket {server} enters the sockhash while the switch is off")));
        }
        self.check_pairing(server)
    }

    /// Gives a record of the rendezvous map, or an answer of the pairs map, another's words, but for the first in the order
    /// of reading: what a program sees of an element that is given to another connection meanwhile. The cookie is always
    /// kept: each program looks at it before.
    fn tear(&mut self, from: u8, to: u8, kept: u8) {
        let machine = &mut self.world.machine;
        let map = if kept & 1 == 0 { self.rendezvous } else { self.pairs };
        let keys: Vec<Vec<u8>> = machine.map(map).unwrap().keys().map(<[u8]>::to_vec).collect();
        if keys.len() < 2 {
            return;
        }
        self.disturbed = true;
        let source = machine.value(map, &keys[usize::from(from) % keys.len()]).unwrap().to_vec();
        let target = machine.value(map, &keys[usize::from(to) % keys.len()]).unwrap();
        // The layout is drawn in src/dataplane/state/record.rs. The check is read last.
        let order = [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 3];
        let order: Vec<usize> = order.into_iter().filter(|word| word * 8 < source.len()).collect();
        for &word in order.iter().skip(usize::from(kept / 2) % order.len()) {
            let bytes = word * 8..word * 8 + 8;
            target[bytes.clone()].copy_from_slice(&source[bytes]);
        }
    }

    fn received(&mut self, reader: SocketId, chunk: Option<Chunk>) -> Result<(), Broken> {
        let (Some(chunk), Some((peer, next))) = (chunk, self.expected.get_mut(&reader)) else { return Ok(()) };
        if chunk.from != *peer || chunk.start != *next {
            return Err(Broken(format!("socket {reader} expects byte {next} of {peer} and reads {chunk:?}")));
        }
        *next += chunk.len;
        Ok(())
    }

    /// A socket that has a peer in its storage has the right one.
    fn check_pairing(&self, id: SocketId) -> Result<(), Broken> {
        let storage = self.world.machine.map(self.storage).and_then(|map| map.storage(id));
        let (Some(region), Some(socket)) = (storage, self.world.socket(id)) else { return Ok(()) };
        let bytes = self.world.machine.memory.bytes(region);
        let paired = bytes[STORAGE_STATE] == PAIRED;
        let cookie = u64::from_le_bytes(bytes[STORAGE_PEER..STORAGE_PEER + 8].try_into().unwrap());
        if paired && cookie != socket.peer() {
            return Err(Broken(format!("socket {id} takes {cookie} for its peer, which is {}", socket.peer())));
        }
        Ok(())
    }

    /// A message has just got the verdict "redirect": no application may be able to notice.
    fn check_redirect(&mut self, from: SocketId, to: SocketId, len: u32) -> Result<(), Broken> {
        let (sender, target) = (self.world.socket(from).unwrap(), self.world.socket(to).unwrap());
        let broken = |what: &str| Err(Broken(format!("socket {from} redirects to {to}, {what}")));
        let (messages, bytes) = target.redirected_waiting();
        if !self.enabled && messages == 0 {
            return broken("while the switch is off");
        }
        let leaving = |id| {
            let storage = self.world.machine.map(self.storage).and_then(|map| map.storage(id));
            storage.is_some_and(|region| self.world.machine.memory.bytes(region)[STORAGE_FLAGS] & LEAVING != 0)
        };
        if (leaving(from) || leaving(to)) && messages == 0 {
            return broken("while one of them wants to leave the map");
        }
        if to != sender.peer() || target.is_closed() {
            return broken("which is not its peer");
        }
        if sender.has_protocol() || target.has_protocol() {
            return broken("past a protocol above TCP");
        }
        if [sender, target].iter().any(|end| end.cb_flags() & self.callbacks != self.callbacks) && messages == 0 {
            return broken("without our callbacks at both ends");
        }
        if let Some(fault) = ends_fault(sender, target)
            && (self.looks_each_time || !self.known.contains(&(from, to)))
        {
            return broken(fault);
        }
        if target.rcvlowat() > 1 || target.shutdown_bits() & 1 != 0 {
            return broken("which wants several bytes at once, or none");
        }
        if messages > 0 && (messages >= self.bounds.max_messages as usize || bytes + len > self.bounds.max_bytes) {
            return broken("whose queue is full");
        }
        Ok(())
    }

    /// Whether a message of `from` that takes the stack now is behind redirected bytes for no good reason: a reader that is
    /// told once reads those, and waits for an event that has been.
    fn would_strand(&self, from: SocketId, len: u32) -> bool {
        let Some(sender) = self.world.socket(from) else { return false };
        let to = sender.peer();
        let Some(receiver) = self.world.socket(to) else { return false };
        let (messages, bytes) = receiver.redirected_waiting();
        let unread = self.expected.get(&to).map(|(_, next)| sender.sent() - next);
        let (burst, burst_bytes) = self.bursts.get(&from).copied().unwrap_or_default();
        messages > 0
            && unread == Some(bytes)
            && !sender.is_closed()
            && !receiver.is_closed()
            && sender.is_member()
            && receiver.rcvlowat() <= 1
            && receiver.shutdown_bits() & 1 == 0
            && ends_fault(sender, receiver).is_none()
            && !sender.has_protocol()
            && !receiver.has_protocol()
            && burst < self.bounds.max_messages
            && burst_bytes + len <= self.bounds.max_bytes
    }

    pub(crate) fn step(&mut self, op: Op) -> Result<(), Broken> {
        let world = &mut self.world;
        match op {
            Op::Connect(how) => return self.connect(how),
            Op::Switch(enabled) => {
                self.enabled = enabled;
                let config = Config { enabled, ..self.bounds };
                world.machine.value(self.config, &[0; 4]).unwrap().copy_from_slice(&config.to_bytes());
                return Ok(());
            }
            Op::Evict => {
                self.disturbed = true;
                world.machine.map_and_memory(self.rendezvous).unwrap().0.evict_early();
                return Ok(());
            }
            Op::Tear(from, to, kept) => {
                self.tear(from, to, kept);
                return Ok(());
            }
            Op::Forge(of, how, mark) => return self.forge(of, how, mark),
            Op::Cpu(second) => {
                world.machine.cpu = second.into();
                return Ok(());
            }
            _ => {}
        }
        let (Op::Handshake(number)
        | Op::Accept(number)
        | Op::Send(number, _)
        | Op::FinishSend(number)
        | Op::Deliver(number)
        | Op::Ack(number)
        | Op::Recv(number, _)
        | Op::RecvAll(number, _)
        | Op::StepRecv(number)
        | Op::Close(number)
        | Op::RcvLowAt(number, _)
        | Op::NonBlocking(number, _)
        | Op::Options(number, ..)
        | Op::Protocol(number)
        | Op::OtherCallbacks(number, _)
        | Op::OtherMap(number)
        | Op::ShutdownRead(number)) = op
        else {
            return Ok(());
        };
        let Some(id) = self.pick(number) else { return Ok(()) };
        let world = &mut self.world;
        match op {
            Op::Handshake(_) => self.finish_handshake(id)?,
            Op::Accept(_) => world.accept(id),
            Op::Send(_, len) => {
                let carried_before = world.socket(id).and_then(|socket| socket.redirecting_to());
                if let Some((sender, peer)) =
                    world.socket(id).and_then(|socket| Some((socket, world.socket(socket.peer())?)))
                    && ends_fault(sender, peer).is_none()
                {
                    self.known.insert((id, sender.peer()));
                }
                let stranded = self.would_strand(id, len.into());
                let world = &mut self.world;
                world.send(id, len.into())?;
                let socket = world.socket(id).unwrap();
                let before = self.sent.insert(id, socket.sent()).unwrap_or(0);
                if let (None, Some(to)) = (carried_before, socket.redirecting_to()) {
                    self.redirected += u64::from(len);
                    self.check_redirect(id, to, len.into())?;
                    let first = self.world.socket(to).is_some_and(|peer| peer.redirected_waiting().0 == 0);
                    let (messages, bytes) = self.bursts.get(&id).copied().filter(|_| !first).unwrap_or_default();
                    self.bursts.insert(id, (messages + 1, bytes + u32::from(len)));
                } else if stranded && carried_before.is_none() && socket.sent() != before {
                    return Err(Broken(format!("socket {id} leaves bytes on the stack behind unread redirected ones")));
                }
            }
            Op::FinishSend(_) => world.finish_send(id)?,
            Op::Deliver(_) => world.deliver(id)?,
            Op::Ack(_) => world.deliver_ack(id)?,
            Op::Recv(_, want) => world.recv(id, want.into()),
            Op::RecvAll(_, want) => world.recv_all(id, want.into()),
            Op::StepRecv(_) => {
                let chunk = world.step_recv(id)?;
                self.received(id, chunk)?;
            }
            Op::Close(_) => world.close(id)?,
            Op::RcvLowAt(_, bytes) => world.set_rcvlowat(id, bytes.into()),
            // Of two threads on one socket, one of which sets O_NONBLOCK while the other sleeps in recvmsg with MSG_WAITALL,
            // the programs know nothing.
            Op::NonBlocking(_, set) if !(set && world.is_reading(id)) => world.set_nonblocking(id, set),
            Op::Options(_, options, peek_off) => world.set_options(id, options, peek_off),
            Op::Protocol(_) => world.set_protocol(id),
            Op::OtherCallbacks(_, flags) => {
                world.replace_callbacks(id, flags.into());
                self.foreign.remove(&id);
                self.replaced.insert(id);
            }
            Op::OtherMap(_) => {
                world.enter_other_map(id);
                self.elsewhere.insert(id);
            }
            Op::ShutdownRead(_) => world.shutdown_read(id),
            _ => {}
        }
        self.check_pairing(id)
    }

    /// A reader that sleeps for more may not be passed by.
    fn wake(&mut self, id: SocketId) -> Result<(), Broken> {
        let Some(socket) = self.world.socket(id) else { return Ok(()) };
        if !self.world.is_asleep(id) || self.world.is_sending(socket.peer()) {
            return Ok(());
        }
        if socket.redirected_waiting().0 > 0 {
            return Err(Broken(format!("socket {id} sleeps in recvmsg while redirected bytes wait")));
        }
        self.world.interrupt(id);
        Ok(())
    }

    /// Lets everything arrive, while each application looks once and then waits until it is told again, as those do that
    /// are edge-triggered and stop at a short read: no application may wait forever.
    fn wait_for_events(&mut self) -> Result<(), Broken> {
        let mut looks: BTreeSet<SocketId> = self.world.socket_ids().into_iter().collect();
        for _ in 0..200 {
            for id in self.world.socket_ids() {
                self.world.finish_handshake(id)?;
                self.world.accept(id);
                self.world.finish_send(id)?;
                self.world.deliver(id)?;
                self.world.deliver_ack(id)?;
                if self.world.socket(id).is_some_and(Socket::probes) {
                    self.world.probe(id)?;
                }
                self.wake(id)?;
                if self.world.take_event(id) {
                    looks.insert(id);
                }
                // Who is inside a call looks again after it.
                if !self.world.is_reading(id) && looks.remove(&id) {
                    self.world.recv(id, u32::MAX);
                }
                let chunk = self.world.step_recv(id)?;
                self.received(id, chunk)?;
            }
        }
        for id in self.world.socket_ids() {
            let waits = self.world.socket(id).is_some_and(|socket| !socket.is_closed() && socket.has_unread());
            // Without our callbacks nothing wakes a reader when a queue has become full.
            if waits && !self.world.is_reading(id) && !self.replaced.contains(&id) {
                return Err(Broken(format!("socket {id} is not told of what it has not read")));
            }
        }
        Ok(())
    }

    /// Lets everything arrive and be read, and checks that nothing was lost.
    pub(crate) fn finish(&mut self) -> Result<(), Broken> {
        if self.tells {
            self.wait_for_events()?;
        }
        for _ in 0..10_000 {
            let mut busy = false;
            for id in self.world.socket_ids() {
                self.world.finish_handshake(id)?;
                self.world.accept(id);
                busy |= self.world.is_sending(id) || self.world.is_reading(id);
                self.world.finish_send(id)?;
                self.world.deliver(id)?;
                self.world.deliver_ack(id)?;
                self.wake(id)?;
                if !self.world.is_reading(id) && self.world.socket(id).is_some_and(|socket| socket.has_unread()) {
                    busy = true;
                    self.world.recv(id, u32::MAX);
                }
                let chunk = self.world.step_recv(id)?;
                self.received(id, chunk)?;
            }
            if !busy {
                break;
            }
        }
        for id in self.world.socket_ids() {
            while self.world.has_acks(id) {
                self.world.deliver_ack(id)?;
            }
        }
        for id in &self.foreign {
            if self.world.socket(*id).is_some_and(|socket| socket.cb_flags() & FOREIGN != FOREIGN) {
                return Err(Broken(format!("socket {id} has lost the callbacks of another program")));
            }
        }
        for id in self.unclaimed.iter().filter(|_| !self.disturbed) {
            let Some(socket) = self.world.socket(*id) else { continue };
            let acknowledged =
                socket.sent() > 0 && self.world.socket(socket.peer()).is_some_and(|peer| !peer.is_closed());
            if acknowledged && socket.is_member() && !self.elsewhere.contains(id) && !self.replaced.contains(id) {
                return Err(Broken(format!("socket {id} stays in the sockhash though no end has claimed it")));
            }
        }
        for key in self.world.machine.map(self.pairs).unwrap().keys() {
            let client = u64::from_le_bytes(key[..8].try_into().unwrap());
            let lives = |id: &SocketId| self.world.socket(*id).is_some_and(|socket| socket.peer() == client);
            // Without the callback of its close an answer stays: another program has taken it from the end that gave it.
            let unheard = |id: &SocketId| self.expected.get(id).is_some_and(|(peer, _)| *peer == client);
            if !self.world.socket_ids().iter().any(lives) && !self.replaced.iter().any(unheard) {
                return Err(Broken(format!("an answer to socket {client} has outlived the socket that gave it")));
            }
        }
        for (reader, (peer, next)) in &self.expected {
            let sent = self.sent.get(peer).copied().unwrap_or(0);
            let alive = self.world.socket(*reader).is_some_and(|socket| !socket.is_closed());
            if alive && *next != sent {
                return Err(Broken(format!("socket {reader} has read {next} of the {sent} bytes of {peer}")));
            }
        }
        Ok(())
    }

    pub(crate) fn run(&mut self, ops: &[Op]) -> Result<(), Broken> {
        for op in ops {
            self.step(*op)?;
        }
        self.finish()
    }
}
