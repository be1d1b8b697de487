//! Random histories of connections in the simulated kernel, and what must hold in every one of them.
//!
//! `op` has the steps, `random` makes histories of them, `form` the programs that run. `redirect` says what must hold when
//! a message takes one way or the other, `ending` what must hold at the end, `connect` who may be taken for a peer, `trust` what
//! readers have earned, `buffers` how large receive buffers are, `joining` who joins the sockhash later, `short` which listeners have short connections, `adopting` how the agent adopts connections, `marking` how the
//! agent lists and marks sockets, `leaving` what those do that are marked, `maintenance` what the drain and the tally must do.

mod adopting;
mod buffers;
mod connect;
mod ending;
mod form;
mod joining;
mod leaving;
mod maintenance;
mod marking;
mod op;
mod random;
mod redirect;
mod short;
mod sockets;
mod trust;

use std::collections::{BTreeMap, BTreeSet};

use sidestep::agent::{map_loads, map_specs, simulated_adoption_fields, simulated_member_fields};
use sidestep::dataplane::{ADOPTION, CHOSEN, Config, DataPlane, MapRole, Pairing};
use sidestep::verifier_sim::interp::{Machine, Program};
use sidestep::verifier_sim::kernel::{
    Buffers, Chunk, Failure, GroupId, InnerPrograms, Refusals, Socket, SocketId, Timers, Tracing, World,
};
use sidestep::verifier_sim::spec::{MapLoad, MapType};
use sidestep::{asm, dataplane};

pub(crate) use form::{CONFIG, Form};
use marking::chosen_spec;
pub(crate) use op::{Connect, Op, Settings, Watchers};
pub(crate) use random::{
    adopted_and_watched_history, adopted_history, drained_history, history, killed_history, watched_history,
};

/// Few enough sockets in the sockhash for histories to fill it.
const MEMBERS: u32 = 8;
/// Pages that each memory group of a history may have.
const GROUP_LIMIT: u64 = 10_000;

/// `BPF_SOCK_OPS_RTT_CB_FLAG` and `BPF_SOCK_OPS_STATE_CB_FLAG`, of another program.
pub(crate) const FOREIGN: u32 = RTT_FLAG | 1 << 2;
/// `BPF_SOCK_OPS_RTT_CB_FLAG` and `BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG`, include/uapi/linux/bpf.h.
pub(crate) const RTT_FLAG: u32 = 1 << 3;
pub(crate) const WRITE_HDR_OPT_FLAG: u32 = 1 << 6;

/// Offsets in a socket's storage (src/dataplane/state/socket.rs).
const STORAGE_COOKIE: usize = 0;
/// The byte of the state that holds its number, which is small.
const STORAGE_STATE: usize = if cfg!(target_endian = "big") { 9 } else { 8 };
const STORAGE_FLAGS: usize = 12;
const STORAGE_SENT: usize = 16;
const STORAGE_PEER: usize = 24;
const STORAGE_PEER_STORAGE: usize = 32;
const STORAGE_PEER_SK: usize = 40;
/// The byte that is not 0 when the agent wants a socket to leave.
const STORAGE_LEAVING: usize = if cfg!(target_endian = "big") { 11 } else { 10 };
/// The states of a socket that waits for its peer, of one that knows it and of one that has left, and flags: it is to leave the map, and it has timers of ours.
const WAITING: u8 = 1;
const PAIRED: u8 = 2;
const PLAIN: u8 = 3;
const UNENROLLING: u32 = 1 << 0;
const ARMED: u32 = 1 << 6;
/// The flag of a stream that stays, and where its phase is (src/dataplane/gate/pace.rs).
const STAYS: u32 = 1 << 20;
const STORAGE_PHASE: usize = 360;
/// The size of a receive buffer before it was small for a packet, and that while it is small; else 0.
const STORAGE_BUFFER: usize = 152;
const STORAGE_SMALL_BUFFER: usize = 156;
/// How many messages have been redirected because another one may be underway (src/dataplane/gate/underway.rs).
const STORAGE_UNSURE: usize = 140;

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
    form: Form,
    pairing: Pairing,
    config: usize,
    rendezvous: usize,
    pairs: usize,
    storage: usize,
    counters: usize,
    members: usize,
    /// The cookies of sockets that are to be marked.
    chosen: usize,
    /// Where readers are watched.
    readers: Option<usize>,
    events: Option<usize>,
    trust: trust::Trust,
    /// Where connections are left alone whose listener has had only short ones.
    listeners: Option<usize>,
    short: short::Short,
    joining: joining::Joining,
    adopting: adopting::Adopting,
    /// Memory groups, each below the one before it.
    groups: Vec<GroupId>,
    enabled: bool,
    /// Whether the programs are attached.
    is_attached: bool,
    /// Whether the agent has been killed.
    is_orphaned: bool,
    bounds: Config,
    /// By receiver: its peer, and the number of the next byte it must read.
    expected: BTreeMap<SocketId, (SocketId, u32)>,
    /// By sender: bytes handed over.
    sent: BTreeMap<SocketId, u32>,
    /// By sender: messages and bytes redirected since the receiver's queue was last empty.
    bursts: BTreeMap<SocketId, (u32, u32)>,
    /// By sender: messages and bytes since its peer last sent one.
    rows: BTreeMap<SocketId, (u32, u32)>,
    /// Directions whose two ends were as they must be when a message was sent.
    known: BTreeSet<(SocketId, SocketId)>,
    /// Directions whose reader has been found not to ask FIONREAD.
    harmless: BTreeSet<(SocketId, SocketId)>,
    /// Sockets whose callbacks another program has asked for.
    foreign: BTreeSet<SocketId>,
    /// Sockets whose callbacks another program has replaced.
    replaced: BTreeSet<SocketId>,
    /// Sockets that another tool has in a map of its own.
    elsewhere: BTreeSet<SocketId>,
    /// What applications have set.
    timers: BTreeMap<SocketId, Timers>,
    /// The sizes of buffers, as applications or the kernel have made them.
    buffers: BTreeMap<SocketId, Buffers>,
    refuses: Refusals,
    /// The addresses of both ends of each connection, and the other end.
    addresses: Vec<(connect::Tuple, SocketId)>,
    /// How many sockets attackers have made.
    attackers: u64,
    /// Ends that have accepted.
    servers: BTreeSet<SocketId>,
    /// Ends that will accept connections with nothing between them, made while the switch was on.
    plain: BTreeSet<SocketId>,
    /// Sockets whose application has turned keepalive off since they were paired.
    silenced: BTreeSet<SocketId>,
    /// Whether the programs may look at both ends of the message that is sent for the first time.
    first_look: bool,
    /// Active ends whose passive one has no program, or gets no proof: no passive end claims them.
    unclaimed: BTreeSet<SocketId>,
    /// Whether a record may be missing from the rendezvous map: taken out, damaged, or with four-tuple pairing
    /// overwritten by another connection of the same client address.
    disturbed: bool,
    /// Whether records or answers have been damaged.
    torn: bool,
    /// Sockets that the drain has taken out.
    drained: BTreeSet<SocketId>,
    /// By active end that counts: the bytes that its connection has exchanged by the stack.
    tallied: BTreeMap<SocketId, u64>,
    /// Bytes whose sender was told to redirect them.
    pub(crate) redirected: u64,
}

/// The instructions of the programs, which a test may have changed, and where they load maps.
#[derive(Clone)]
pub(crate) struct Insns(BTreeMap<&'static str, (Vec<asm::Insn>, Vec<MapLoad>)>);

impl Insns {
    pub(crate) fn of(plane: &DataPlane, form: Form) -> Self {
        let of_agent = of_agent(plane, form);
        let of_agent = of_agent.iter().map(|(name, program)| (*name, program));
        let of_program = |program: &asm::Program| (program.insns().to_vec(), map_loads(program));
        Self(programs(plane).chain(of_agent).map(|(name, program)| (name, of_program(program))).collect())
    }

    pub(crate) fn set(&mut self, name: &'static str, insns: Vec<asm::Insn>) {
        self.0.entry(name).or_default().0 = insns;
    }
}

/// The programs of a data plane, by their names.
pub(crate) fn programs(plane: &DataPlane) -> impl Iterator<Item = (&'static str, &asm::Program)> {
    plane.programs().map(|(name, _, program)| (name, program))
}

/// What the agent loads to read the states of sockets, and what lists and marks them.
pub(crate) const STATES: &str = "states";
pub(crate) const LISTS: [&str; 2] = ["members", "members_outside"];

/// What the agent loads to adopt connections.
pub(crate) const ADOPT: &str = "adopt";

/// These programs, by their names.
pub(crate) fn of_agent(plane: &DataPlane, form: Form) -> Vec<(&'static str, asm::Program)> {
    let storage = plane.maps.iter().find(|map| map.role == MapRole::Storage).unwrap().value_size;
    let (offsets, fields) = (form.offsets(), simulated_member_fields().unwrap());
    let states = sidestep::dataplane::states(&offsets, storage).unwrap();
    let members =
        form.lists().into_iter().map(|(over, _)| dataplane::members(&offsets, &fields, over, storage).unwrap());
    let adopt = form.adopts(plane.options.pairing).then(|| {
        let fields = simulated_adoption_fields().unwrap();
        (ADOPT, dataplane::adopt(&plane.options, &offsets, &fields).unwrap())
    });
    [(STATES, states)].into_iter().chain(LISTS.into_iter().zip(members)).chain(adopt).collect()
}

impl Simulation {
    pub(crate) fn new(plane: &DataPlane, form: Form, insns: &Insns, bounds: Config) -> Self {
        let mut machine = Machine::new(2);
        let mut numbers = Vec::new();
        for mut map in map_specs(plane) {
            if map.map_type == MapType::SOCKHASH {
                map.max_entries = MEMBERS;
            }
            numbers.push(machine.add_map(&map).unwrap());
        }
        let chosen = machine.add_map(&chosen_spec()).unwrap();
        let requests = machine.add_map(&adopting::requests_spec()).unwrap();
        for (map, number) in [(CHOSEN, chosen), (ADOPTION, requests)] {
            numbers.resize(map.0 as usize, chosen);
            numbers.push(number);
        }
        let number = |role: MapRole| numbers[role.map_ref().0 as usize];
        let loaded = |(name, (insns, loads)): (&&'static str, &(Vec<_>, Vec<_>))| {
            (*name, Program::new(insns.clone(), loads, &numbers))
        };
        let mut programs: BTreeMap<_, _> = insns.0.iter().map(loaded).collect();
        let [sock_ops, sk_msg, dispatcher] =
            ["sock_ops", "sk_msg", "dispatcher"].map(|name| programs.remove(name).unwrap());
        let has = |role: MapRole| plane.maps.iter().any(|map| map.role == role).then(|| number(role));
        let (readers, events) = (has(MapRole::Readers), has(MapRole::Events));
        machine.value(number(MapRole::Config), &[0; 4]).unwrap().copy_from_slice(&bounds.to_bytes());
        if let Some(adopts) = has(MapRole::Adopts) {
            machine.value(adopts, &[0; 4]).unwrap().copy_from_slice(&short::ADOPTS_UNTIL.to_ne_bytes());
        }
        let mut world = World::new(machine, sock_ops, sk_msg, number(MapRole::Sockets));
        world.dispatch(dispatcher, number(MapRole::Programs));
        world.attach_inside(InnerPrograms { opt_out: programs.remove("opt_out"), trusted: programs.remove("trusted") });
        let overs = form.lists().into_iter().map(|(_, over)| over);
        world.attach(Tracing {
            drain: programs.remove("drain"),
            tally: programs.remove("tally").map(|program| (program, form.over())),
            states: programs.remove(STATES).map(|program| (program, form.over())),
            members: LISTS.into_iter().filter_map(|name| programs.remove(name)).zip(overs).collect(),
            ..form.watching(programs.remove("receives"), programs.remove("splices"))
        });
        if let Some(program) = programs.remove(ADOPT) {
            world.attach_setsockopt(program);
        }
        let mut groups = Vec::new();
        for _ in 0..op::MAX_GROUPS {
            groups.push(world.add_group(groups.last().copied(), GROUP_LIMIT));
        }
        Self {
            world,
            form,
            pairing: plane.options.pairing,
            config: number(MapRole::Config),
            rendezvous: number(MapRole::Rendezvous),
            pairs: number(MapRole::Pairs),
            storage: number(MapRole::Storage),
            counters: number(MapRole::Counters),
            members: number(MapRole::Sockets),
            chosen,
            readers,
            events,
            trust: trust::Trust::default(),
            listeners: has(MapRole::Listeners).filter(|_| plane.options.policy.spares_short),
            short: short::Short::default(),
            joining: joining::Joining::default(),
            adopting: adopting::Adopting::new(requests, number(MapRole::Changes)),
            groups,
            enabled: true,
            is_attached: true,
            is_orphaned: false,
            bounds,
            expected: BTreeMap::new(),
            sent: BTreeMap::new(),
            bursts: BTreeMap::new(),
            rows: BTreeMap::new(),
            known: BTreeSet::new(),
            harmless: BTreeSet::new(),
            foreign: BTreeSet::new(),
            replaced: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
            timers: BTreeMap::new(),
            buffers: BTreeMap::new(),
            refuses: Refusals::default(),
            addresses: Vec::new(),
            attackers: 0,
            servers: BTreeSet::new(),
            plain: BTreeSet::new(),
            silenced: BTreeSet::new(),
            first_look: false,
            unclaimed: BTreeSet::new(),
            disturbed: plane.options.pairing == Pairing::FourTuple,
            torn: false,
            drained: BTreeSet::new(),
            tallied: BTreeMap::new(),
            redirected: 0,
        }
    }

    /// One of the sockets made last.
    fn pick(&self, number: u8) -> Option<SocketId> {
        let all: Vec<_> = self.world.socket_ids().into_iter().rev().take(8).collect();
        (!all.is_empty()).then(|| all[usize::from(number) % all.len()])
    }

    /// What our programs have written of a socket.
    fn state(&self, id: SocketId) -> Option<&[u8]> {
        let region = self.world.machine.map(self.storage)?.storage(id)?;
        Some(self.world.machine.memory.bytes(region))
    }

    /// The word of 8 bytes at `offset` of what our programs have written of a socket.
    fn word(&self, id: SocketId, offset: usize) -> Option<u64> {
        self.state(id).map(|bytes| u64::from_ne_bytes(bytes[offset..offset + 8].try_into().unwrap()))
    }

    /// Whether our programs have set one of these flags.
    fn has_flag(&self, id: SocketId, flag: u32) -> bool {
        self.half(id, STORAGE_FLAGS) & flag != 0
    }

    fn configure(&mut self) {
        let config = Config { enabled: self.enabled, ..self.bounds };
        self.world.machine.value(self.config, &[0; 4]).unwrap().copy_from_slice(&config.to_bytes());
    }

    pub(crate) fn step(&mut self, op: Op) -> Result<(), Broken> {
        let world = &mut self.world;
        match op {
            Op::Settings(settings) => {
                self.bounds.spare_askers = settings.spare_askers;
                self.bounds.keepalive = settings.keepalive;
                self.bounds.redirect_unaccepted = settings.fionread_misses;
                if settings.roomy {
                    (self.bounds.max_messages, self.bounds.max_bytes) = (100, 3 << 20);
                }
                if settings.unmaps_freed {
                    world.unmap_freed();
                }
                self.refuses.rto_max = settings.lacks_rto_max;
                world.refuse(self.refuses);
                self.is_attached = !settings.attached_later;
                world.set_attached(self.is_attached);
                self.configure();
            }
            Op::Connect(how) => return self.connect(how),
            Op::Switch(enabled) => {
                self.enabled = enabled;
                self.configure();
            }
            Op::Evict => {
                self.disturbed = true;
                world.machine.map_and_memory(self.rendezvous).unwrap().0.evict_early();
            }
            Op::Tear(from, to, kept) => self.tear(from, to, kept),
            Op::Forge(of, how, mark) => return self.forge(of, how, mark),
            Op::Kill => {
                self.is_orphaned = true;
                world.lose_owner();
                self.stop_adopting()?;
            }
            // What the agent would do.
            Op::Drain | Op::DrainMarked | Op::Tally | Op::Admit(_) | Op::Join | Op::Attach if self.is_orphaned => {}
            Op::Drain => self.drain()?,
            Op::DrainMarked => self.drain_marked()?,
            Op::Tally => self.tally()?,
            Op::Admit(proven) => self.admit(proven)?,
            Op::Join => self.join()?,
            Op::Attach => self.attach_later(),
            Op::Adopt(number) => self.begin_adoption(number),
            Op::Nominate(client, server, careless) => self.nominate(client, server, careless),
            Op::AdoptStep => self.go_on_adopting()?,
            Op::AdoptStop => self.stop_adopting()?,
            Op::Refuse(refuses) => {
                self.refuses = Refusals { rto_max: self.refuses.rto_max, ..refuses };
                world.refuse(self.refuses);
            }
            Op::Cpu(second) => world.machine.cpu = second.into(),
            Op::Pressure(is_high) => world.set_memory_pressure(is_high),
            _ => {}
        }
        let Some(id) = op.socket().and_then(|number| self.pick(number)) else { return Ok(()) };
        self.socket_step(id, op)?;
        self.check_buffers()?;
        self.check_joined(id)?;
        self.check_listeners()?;
        self.check_pairing(id)
    }

    fn socket_step(&mut self, id: SocketId, op: Op) -> Result<(), Broken> {
        if self.adopting.is_closing(id) && !op.is_of_network() {
            return Ok(());
        }
        let armed = self.has_flag(id, ARMED);
        let world = &mut self.world;
        match op {
            Op::Handshake(_) => self.finish_handshake(id)?,
            Op::Mark(_) => self.mark(id)?,
            Op::Accept(_) => world.accept(id),
            Op::Send(_, len) => self.send(id, len)?,
            Op::FinishSend(_) => world.finish_send(id)?,
            Op::Deliver(_) => world.deliver(id)?,
            Op::Ack(_) => self.acknowledge(id)?,
            Op::Probe(_) => self.probe(id)?,
            Op::Recv(_, want) => world.recv(id, want.into()),
            Op::RecvAll(_, want) => world.recv_all(id, want.into()),
            Op::StepRecv(_) => self.step_recv(id)?,
            Op::Exchange(_, rounds, len) => {
                let peer = world.socket(id).map_or(0, Socket::peer);
                for _ in 0..rounds {
                    self.carry(id, len)?;
                    self.carry(peer, 1)?;
                }
            }
            Op::Splice(_, want) => self.splice(id, want.into())?,
            Op::Take(_, want) => self.take(id, want.into())?,
            Op::SpliceAnother(_, wrong) => self.splice_another(id, wrong)?,
            Op::Peek(_) => self.peek(id)?,
            Op::Close(_) => {
                let before = self.before_end(id);
                self.close(id)?;
                self.note_end(id, &before);
            }
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
            Op::ShutdownWrite(_) => {
                let before = self.before_end(id);
                self.world.shutdown_write(id)?;
                self.note_end(id, &before);
            }
            // What an application sets while the programs have their own times is not kept: they are there for a second.
            // Nor what leaves the idle time as it was: that is what they look at.
            Op::Timers(_, timers) if !armed && self.timers.get(&id).is_none_or(|set| set.idle != timers.idle) => {
                world.set_timers(id, timers);
                self.timers.insert(id, timers);
                let paired = self.state(id).is_some_and(|bytes| bytes[STORAGE_STATE] == PAIRED);
                if paired && !timers.keepalive {
                    self.silenced.insert(id);
                }
            }
            Op::Watch(_, watchers) => world.set_waiters(id, &watchers.into_iter().flatten().collect::<Vec<_>>()),
            Op::Buffers(_, buffers) => {
                world.set_buffers(id, buffers);
                self.buffers.insert(id, buffers);
            }
            Op::Group(_, group) => {
                let own = usize::from(group.depth).checked_sub(1).map(|at| self.groups[at]);
                world.set_group(id, own, group.granted);
                for (at, id) in self.groups.iter().enumerate() {
                    world.set_free_pages(*id, if at == usize::from(group.full) { group.free.into() } else { 9000 });
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The reading thread goes on.
    fn step_recv(&mut self, id: SocketId) -> Result<(), Broken> {
        let before = self.world.call(id);
        let chunk = self.world.step_recv(id)?;
        self.received(id, chunk)?;
        self.note_receive(id, before)
    }

    /// A message is sent, arrives, and is read.
    fn carry(&mut self, id: SocketId, len: u32) -> Result<(), Broken> {
        let Some(peer) = self.world.socket(id).map(Socket::peer) else { return Ok(()) };
        self.send(id, len)?;
        self.world.finish_send(id)?;
        self.world.deliver(id)?;
        self.world.recv(peer, u32::MAX);
        for _ in 0..4 {
            self.step_recv(peer)?;
        }
        self.acknowledge(id)
    }

    fn received(&mut self, reader: SocketId, chunk: Option<Chunk>) -> Result<(), Broken> {
        let (Some(chunk), Some((peer, next))) = (chunk, self.expected.get_mut(&reader)) else { return Ok(()) };
        if chunk.from != *peer || chunk.start != *next {
            return Err(Broken(format!("socket {reader} expects byte {next} of {peer} and reads {chunk:?}")));
        }
        *next += chunk.len;
        Ok(())
    }

    pub(crate) fn run(&mut self, ops: &[Op]) -> Result<(), Broken> {
        for op in ops {
            self.step(*op)?;
        }
        self.finish()
    }
}

/// Whether a socket is in the sockhash.
fn is_member(world: &World, id: SocketId) -> bool {
    world.socket(id).is_some_and(Socket::is_member)
}
