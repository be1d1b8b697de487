//! The agent makes pairs of connections that exist already (src/agent/adoption), one step after the other while everything else goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use sidestep::dataplane::{
    AdoptionAnswer, AdoptionRequest, AdoptionStep, Change, LEVEL, NAME, Refusal, SocketState, Standing,
};
use sidestep::verifier_sim::kernel::{Cgroup, Socket, SocketId, Timers};
use sidestep::verifier_sim::spec::{MapSpec, MapType};

use super::{ARMED, Broken, PAIRED, PLAIN, RTT_FLAG, STORAGE_STATE, Simulation, WRITE_HDR_OPT_FLAG};

/// The client, and the server, in the arrays below.
const CLIENT: usize = 0;
const SERVER: usize = 1;

/// More stages than an adoption has, with all that it takes back.
const STAGES: usize = 16;

/// What the agent does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Look(usize),
    Prepare,
    Pair(usize),
    Enter(usize),
    /// Both are in the sockhash: are they still a pair?
    Check,
    Delete(usize),
    Undo(usize),
    /// Those that watch hear of it.
    Report,
    /// An agent that was killed has left them in the middle.
    Recover(usize),
    /// The same, with this one in the sockhash alone.
    TakeOut(usize),
    Over,
}

/// A connection that is being adopted.
#[derive(Clone, Debug)]
struct Underway {
    ends: [SocketId; 2],
    answers: [Option<AdoptionAnswer>; 2],
    stage: Stage,
    /// Whether the agent asks only for the proof, and takes every socket for fit and free.
    is_careless: bool,
    /// Of each end that has been told its peer: SO_KEEPALIVE before, and what its application had set.
    before: [Option<(bool, Option<Timers>)>; 2],
}

/// The map by which the agent asks.
pub(super) fn requests_spec() -> MapSpec {
    let value_size = AdoptionRequest::SIZE as u32;
    MapSpec { map_type: MapType::ARRAY, key_size: 4, value_size, max_entries: 1, ..MapSpec::default() }
}

/// What the agent adopts.
#[derive(Debug)]
pub(super) struct Adopting {
    requests: usize,
    /// The ring buffer of those that watch.
    changes: usize,
    underway: Option<Underway>,
    /// Sockets that their applications have closed while the agent has a descriptor of them.
    closing: BTreeSet<SocketId>,
    /// By active end: the bytes that the stack had carried when they began to count.
    not_counted: BTreeMap<SocketId, u64>,
    /// Sockets that an agent which was killed has left in the middle.
    pub(super) abandoned: BTreeSet<SocketId>,
    /// Sockets that have been told their peer.
    touched: BTreeSet<SocketId>,
    /// How many connections have become pairs.
    pub(super) adopted: usize,
    /// How many sockets have been made plain TCP again that a killed agent had left.
    pub(super) recovered: usize,
    /// How many of them were in the sockhash without their peer.
    pub(super) taken_out: usize,
}

impl Adopting {
    pub(super) fn new(requests: usize, changes: usize) -> Self {
        Self {
            requests,
            changes,
            underway: None,
            closing: BTreeSet::new(),
            not_counted: BTreeMap::new(),
            abandoned: BTreeSet::new(),
            touched: BTreeSet::new(),
            adopted: 0,
            recovered: 0,
            taken_out: 0,
        }
    }

    /// An application closes a socket: whether the agent's descriptor keeps it open.
    pub(super) fn keeps_open(&mut self, id: SocketId) -> bool {
        let has = self.underway.as_ref().is_some_and(|underway| underway.ends.contains(&id));
        if has {
            self.closing.insert(id);
        }
        has
    }

    pub(super) fn is_closing(&self, id: SocketId) -> bool {
        self.closing.contains(&id)
    }

    pub(super) fn not_counted(&self, id: SocketId) -> u64 {
        self.not_counted.get(&id).copied().unwrap_or(0)
    }
}

impl Simulation {
    /// How many connections have been adopted.
    pub(crate) fn adopted(&self) -> usize {
        self.adopting.adopted
    }

    /// How many sockets of a killed agent have been made plain TCP again.
    pub(crate) fn recovered(&self) -> usize {
        self.adopting.recovered
    }

    /// How many of them were in the sockhash without their peer.
    pub(crate) fn taken_out(&self) -> usize {
        self.adopting.taken_out
    }

    /// The programs are attached.
    pub(super) fn attach_later(&mut self) {
        self.is_attached = true;
        self.world.set_attached(true);
    }

    /// The agent begins with the connection of a socket, if a scan shows that it may be adopted.
    pub(super) fn begin_adoption(&mut self, number: u8) {
        let Some(id) = self.pick(number) else { return };
        let peer = self.world.socket(id).map_or(0, Socket::peer);
        let ends = if self.servers.contains(&id) { [peer, id] } else { [id, peer] };
        self.adopt_if_fit(ends);
    }

    /// Begins with a connection that a scan shows as fit: in no socket map, or half of it as a killed agent leaves it.
    fn adopt_if_fit(&mut self, ends: [SocketId; 2]) {
        match self.only_member(ends) {
            Some(member) => self.begin(ends, Stage::TakeOut(member), false),
            None if ends.into_iter().all(|end| self.is_fit(end)) => self.adopt(ends, false),
            None => {}
        }
    }

    /// It takes two sockets for the ends of a connection.
    pub(super) fn nominate(&mut self, client: u8, server: u8, is_careless: bool) {
        let (Some(client), Some(server)) = (self.pick(client), self.pick(server)) else { return };
        let ends = [client, server];
        // A program sees that a cgroup has opted out only where the socket was made after that, so the agent always asks.
        let opted_out = |id| self.world.socket(id).is_some_and(|socket| socket.cgroup() == Cgroup::OptedOut);
        let may = |id| if is_careless { !opted_out(id) } else { self.is_fit(id) };
        if client != server && ends.into_iter().all(may) {
            self.adopt(ends, is_careless);
        }
    }

    fn adopt(&mut self, ends: [SocketId; 2], is_careless: bool) {
        self.begin(ends, Stage::Look(CLIENT), is_careless);
    }

    fn begin(&mut self, ends: [SocketId; 2], stage: Stage, is_careless: bool) {
        let is_open = |id: &SocketId| self.world.socket(*id).is_some_and(|socket| !socket.is_closed());
        let may_begin = self.form.adopts(self.pairing) && self.is_attached && !self.is_orphaned && self.enabled;
        if may_begin && self.adopting.underway.is_none() && ends.iter().all(is_open) {
            let (answers, before) = ([None; 2], [None; 2]);
            self.adopting.underway = Some(Underway { ends, answers, stage, is_careless, before });
        }
    }

    /// What a scan tells of a socket (src/agent/adoption/candidate.rs).
    fn is_fit(&self, id: SocketId) -> bool {
        self.is_fit_or_member(id) && self.world.socket(id).is_some_and(|socket| !socket.is_member())
    }

    /// Of two ends that are fit but for that, the one that is in the sockhash alone (src/agent/adoption/half.rs).
    fn only_member(&self, ends: [SocketId; 2]) -> Option<usize> {
        let state = |id| self.state(id).and_then(SocketState::from_bytes);
        let [client, server] = [state(ends[CLIENT])?, state(ends[SERVER])?];
        let may_be = !self.form.joins_later() && ends.into_iter().all(|id| self.is_fit_or_member(id));
        if !may_be || !client.is_pair_with(&server) || ends.iter().any(|id| self.elsewhere.contains(id)) {
            return None;
        }
        match ends.map(|id| self.world.socket(id).is_some_and(Socket::is_member)) {
            [true, false] if server.looked_at == 0 => Some(CLIENT),
            [false, true] if client.looked_at == 0 => Some(SERVER),
            _ => None,
        }
    }

    fn is_fit_or_member(&self, id: SocketId) -> bool {
        let Some(socket) = self.world.socket(id) else { return false };
        let is_served = match socket.cgroup() {
            Cgroup::Trusted => true,
            Cgroup::Accelerated => !self.form.serves_named(),
            Cgroup::Outside | Cgroup::OptedOut => false,
        };
        socket.is_established()
            && socket.is_accepted()
            && socket.shutdown_bits() == 0
            && !socket.has_protocol()
            && socket.is_nonblocking()
            && is_served
    }

    /// The agent goes on, unless a thread holds the socket.
    pub(super) fn go_on_adopting(&mut self) -> Result<(), Broken> {
        let Some(mut underway) = self.adopting.underway.take() else { return Ok(()) };
        let concerned = match underway.stage {
            Stage::Look(end) | Stage::Pair(end) | Stage::Enter(end) | Stage::Undo(end) | Stage::Recover(end) => {
                Some(underway.ends[end])
            }
            Stage::Prepare | Stage::Report => Some(underway.ends[SERVER]),
            Stage::Check | Stage::Delete(_) | Stage::TakeOut(_) | Stage::Over => None,
        };
        let is_held = |id: SocketId| self.world.socket(id).is_some_and(Socket::is_held);
        if concerned.is_none_or(|id| !is_held(id)) {
            underway.stage = self.take_stage(&mut underway)?;
            for id in underway.ends {
                self.check_pairing(id)?;
            }
        }
        let is_over = underway.stage == Stage::Over;
        self.adopting.underway = (!is_over).then_some(underway);
        if is_over { self.let_go() } else { Ok(()) }
    }

    /// The agent is killed in the middle. Its descriptors are closed.
    pub(super) fn stop_adopting(&mut self) -> Result<(), Broken> {
        if let Some(underway) = self.adopting.underway.take()
            && underway.stage != Stage::Look(CLIENT)
        {
            self.adopting.abandoned.extend(underway.ends);
        }
        self.let_go()
    }

    /// The agent closes its descriptors: what applications have closed is closed now.
    fn let_go(&mut self) -> Result<(), Broken> {
        for id in std::mem::take(&mut self.adopting.closing) {
            self.note_close(id);
            self.world.close(id)?;
        }
        Ok(())
    }

    /// Does what is next, and says what is next then.
    fn take_stage(&mut self, underway: &mut Underway) -> Result<Stage, Broken> {
        let give_back = Stage::Undo(CLIENT);
        Ok(match underway.stage {
            Stage::Look(end) => match self.ask(underway, end, AdoptionStep::Look)? {
                Ok(answer) => {
                    underway.answers[end] = Some(answer);
                    let [client, server] = underway.answers;
                    match (client, server) {
                        (Some(client), Some(server))
                            if !underway.is_careless && (client.is_taken || server.is_taken) =>
                        {
                            if self.is_abandoned([client, server]) { Stage::Recover(CLIENT) } else { Stage::Over }
                        }
                        (Some(client), Some(server)) if client.is_client_of(&server) => Stage::Prepare,
                        (Some(_), Some(_)) => Stage::Over,
                        _ => Stage::Look(SERVER),
                    }
                }
                Err(_) => Stage::Over,
            },
            Stage::Prepare => match self.ask_for_change(underway, SERVER, AdoptionStep::Prepare)? {
                Ok(_) => Stage::Pair(CLIENT),
                Err(_) => Stage::Over,
            },
            Stage::Pair(end) => {
                let id = underway.ends[end];
                let was_counted = self.is_counted(id);
                let kept_alive = self.world.socket(id).is_some_and(|socket| socket.timers().keepalive);
                underway.before[end] = Some((kept_alive, self.timers.get(&id).copied()));
                match self.ask_for_change(underway, end, AdoptionStep::Pair)? {
                    Ok(_) => {
                        self.note_paired(underway.ends, end, was_counted);
                        match end {
                            CLIENT => Stage::Pair(SERVER),
                            // It joins when its readers have earned it.
                            _ if self.form.joins_later() => self.note_pair(underway),
                            _ => Stage::Enter(CLIENT),
                        }
                    }
                    Err(_) => give_back,
                }
            }
            Stage::Enter(end) => match (self.world.enroll(underway.ends[end], &key(underway.ends[end])), end) {
                (true, CLIENT) => Stage::Enter(SERVER),
                (true, _) => {
                    self.note_adopted(underway.ends);
                    Stage::Check
                }
                (false, _) => Stage::Delete(CLIENT),
            },
            Stage::Check if underway.ends.into_iter().all(|id| self.is_one_of_pair(id)) => self.note_pair(underway),
            Stage::Check => Stage::Delete(CLIENT),
            Stage::Delete(end) => {
                self.world.expel(underway.ends[end], &key(underway.ends[end]));
                if end == CLIENT { Stage::Delete(SERVER) } else { give_back }
            }
            Stage::Undo(end) => {
                let id = underway.ends[end];
                // In one that has left in a callback of its own, SO_KEEPALIVE stays on.
                let before = underway.before[end].filter(|_| self.is_one_of_pair(id));
                match self.ask(underway, end, AdoptionStep::Undo)? {
                    Ok(_) => {
                        self.check_given_back(id)?;
                        self.check_keepalive_given_back(id, before)?;
                    }
                    // Its callbacks go on, and it becomes plain TCP in one of them when its peer is.
                    Err(Refusal::NoCallbacks) => self.adopting.abandoned.extend(underway.ends),
                    Err(_) => {}
                }
                if end == CLIENT { Stage::Undo(SERVER) } else { Stage::Over }
            }
            Stage::Report => {
                self.report(underway)?;
                Stage::Over
            }
            Stage::Recover(end) => {
                let is_paired = underway.answers[end].is_some_and(|answer| answer.standing == Standing::Paired);
                if is_paired && self.ask(underway, end, AdoptionStep::Recover)?.is_ok() {
                    self.check_given_back(underway.ends[end])?;
                    self.adopting.recovered += 1;
                }
                if end == CLIENT { Stage::Recover(SERVER) } else { Stage::Over }
            }
            Stage::TakeOut(end) => {
                self.world.expel(underway.ends[end], &key(underway.ends[end]));
                self.adopting.taken_out += 1;
                Stage::Look(CLIENT)
            }
            Stage::Over => Stage::Over,
        })
    }

    /// The connection is a pair.
    fn note_pair(&mut self, underway: &Underway) -> Stage {
        self.adopting.adopted += 1;
        self.adopting.abandoned.retain(|id| !underway.ends.contains(id));
        Stage::Report
    }

    /// The program writes into the ring buffer what the agent says, once, and leaves the socket as it is.
    fn report(&mut self, underway: &Underway) -> Result<(), Broken> {
        let [client, server] = underway.ends;
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let change = Change::adopted(7, [server, client], [at(80), at(4000)]);
        let known = |simulation: &Self| {
            let map = simulation.world.machine.map(simulation.adopting.changes);
            let changes = map.map_or(&[][..], |map| map.records());
            let changes: Vec<_> = changes.iter().map(|bytes| Change::from_bytes(bytes)).collect();
            (changes, simulation.state(server).map(<[u8]>::to_vec))
        };
        let (mut changes, state) = known(self);
        changes.push(Some(change));
        let answer = self.request(
            underway,
            SERVER,
            AdoptionRequest { change: Some(change), ..self.about(underway, SERVER, AdoptionStep::Report) },
        )?;
        if answer.is_ok() && known(self) == (changes, state) {
            Ok(())
        } else {
            Err(Broken(format!("the adoption of sockets {client} and {server} is not reported as it is: {answer:?}")))
        }
    }

    fn is_one_of_pair(&self, id: SocketId) -> bool {
        self.state(id).is_some_and(|bytes| bytes[STORAGE_STATE] == PAIRED)
    }

    /// Asks an end to become one of a pair: it does so when it is free, and else refuses.
    fn ask_for_change(
        &mut self,
        underway: &Underway,
        end: usize,
        step: AdoptionStep,
    ) -> Result<Result<AdoptionAnswer, Refusal>, Broken> {
        let id = underway.ends[end];
        let is_free = self.is_free(id) && !(step == AdoptionStep::Pair && self.refuses.callbacks);
        let answer = self.ask(underway, end, step)?;
        if answer.is_ok() == is_free {
            Ok(answer)
        } else {
            Err(Broken(format!("socket {id} answers {answer:?} to {step:?}, and whether it is free is {is_free}")))
        }
    }

    /// Whether a socket may become one end of a pair.
    fn is_free(&self, id: SocketId) -> bool {
        let Some(socket) = self.world.socket(id) else { return false };
        let state = self.state(id).map_or(0, |bytes| bytes[STORAGE_STATE]);
        socket.is_established()
            && socket.shutdown_bits() == 0
            && !socket.is_member()
            && !socket.has_protocol()
            && socket.cgroup() != Cgroup::Outside
            && [0, PLAIN].contains(&state)
            && !self.has_flag(id, ARMED)
            && !self.is_never_served(id)
    }

    /// Asks an end for a step.
    fn ask(
        &mut self,
        underway: &Underway,
        end: usize,
        step: AdoptionStep,
    ) -> Result<Result<AdoptionAnswer, Refusal>, Broken> {
        self.request(underway, end, self.about(underway, end, step))
    }

    /// What the agent asks of an end.
    fn about(&self, underway: &Underway, end: usize, step: AdoptionStep) -> AdoptionRequest {
        let [id, peer] = [underway.ends[end], underway.ends[1 - end]];
        let address = |id: SocketId| self.world.socket(id).map_or(0, Socket::address);
        let is_trusted =
            self.form.watches() && self.world.socket(id).is_some_and(|one| one.cgroup() == Cgroup::Trusted);
        let seen = underway.answers[1 - end].filter(|_| step == AdoptionStep::Pair);
        AdoptionRequest {
            step,
            is_client: end == CLIENT,
            sk: address(id),
            peer: seen.map(|answer| (answer, address(peer))),
            initial: underway.answers[end].map_or([0; 2], |answer| answer.initial),
            by_stack: false,
            is_trusted,
            change: None,
        }
    }

    /// Asks an end by setsockopt(2).
    fn request(
        &mut self,
        underway: &Underway,
        end: usize,
        request: AdoptionRequest,
    ) -> Result<Result<AdoptionAnswer, Refusal>, Broken> {
        let [id, peer] = [underway.ends[end], underway.ends[1 - end]];
        let step = request.step;
        let requests = self.adopting.requests;
        let value = |simulation: &mut Self| simulation.world.machine.value(requests, &[0; 4]).unwrap().to_vec();
        self.world.machine.value(requests, &[0; 4]).unwrap().copy_from_slice(&request.to_bytes());
        // A call of another program passes by, and one on another socket.
        let before = value(self);
        self.world.call_setsockopt(id, LEVEL, NAME + 1)?;
        self.world.call_setsockopt(id, LEVEL + 1, NAME)?;
        if peer != id && !self.world.socket(peer).is_some_and(Socket::is_held) {
            self.world.call_setsockopt(peer, LEVEL, NAME)?;
        }
        if value(self) != before {
            return Err(Broken(format!("{step:?} for socket {id} is answered by a call that is not for it")));
        }
        self.world.call_setsockopt(id, LEVEL, NAME)?;
        let answered = value(self);
        // It is answered once.
        self.world.call_setsockopt(id, LEVEL, NAME)?;
        if value(self) != answered {
            return Err(Broken(format!("{step:?} for socket {id} is answered twice")));
        }
        Ok(AdoptionAnswer::from_bytes(&answered))
    }

    /// One end has been told its peer.
    fn note_paired(&mut self, ends: [SocketId; 2], end: usize, was_counted: bool) {
        let [id, peer] = [ends[end], ends[1 - end]];
        let Some(socket) = self.world.socket(id) else { return };
        let (cgroup, exchanged) = (socket.cgroup(), socket.exchanged());
        if end == CLIENT && !was_counted {
            self.adopting.not_counted.insert(id, exchanged);
        }
        self.adopting.touched.insert(id);
        self.known.remove(&(id, peer));
        self.harmless.remove(&(id, peer));
        self.rows.remove(&id);
        self.silenced.remove(&id);
        self.unclaimed.remove(&id);
        self.drained.remove(&id);
        self.begin_again(id, cgroup);
        if self.form.joins_later() {
            self.begin_outside(id);
        }
    }

    /// A socket that is plain TCP again has nothing of ours.
    fn check_given_back(&self, id: SocketId) -> Result<(), Broken> {
        let Some(socket) = self.world.socket(id) else { return Ok(()) };
        // A thread inside recv(2), or another tool's map, keeps the socket's psock.
        let is_kept = self.world.is_reading(id) || self.elsewhere.contains(&id);
        if self.is_one_of_pair(id) || (socket.is_member() && !is_kept) {
            return Err(Broken(format!("socket {id} is taken back, and is still one of a pair")));
        }
        let is_foreign = self.foreign.contains(&id) || self.replaced.contains(&id);
        if !is_foreign && socket.cb_flags() & (RTT_FLAG | WRITE_HDR_OPT_FLAG) != 0 {
            return Err(Broken(format!("socket {id} is taken back, and still has our callbacks")));
        }
        let set = self.timers.get(&id).copied().unwrap_or_default();
        if !is_foreign && !socket.timers().agrees(set) {
            let now = socket.timers();
            return Err(Broken(format!("socket {id} is taken back with {now:?}, and its application has set {set:?}")));
        }
        Ok(())
    }

    /// Keepalive of an end that is plain TCP again is on or off as before, unless its application has set something meanwhile.
    fn check_keepalive_given_back(&self, id: SocketId, before: Option<(bool, Option<Timers>)>) -> Result<(), Broken> {
        let (Some(socket), Some((kept_alive, set))) = (self.world.socket(id), before) else { return Ok(()) };
        let is_foreign = self.foreign.contains(&id) || self.replaced.contains(&id);
        let (now, latest) = (socket.timers().keepalive, self.timers.get(&id).copied());
        // What the application has turned on meanwhile stays on.
        let is_right = if latest == set { now == kept_alive } else { now || !latest.is_some_and(|set| set.keepalive) };
        if is_foreign || is_right {
            return Ok(());
        }
        Err(Broken(format!("socket {id} is taken back, and its keepalive was on before: {kept_alive}")))
    }

    /// At the end of a history the agent comes to the end of what it does, or is killed where a thread is in its way.
    pub(super) fn end_adopting(&mut self) -> Result<(), Broken> {
        for _ in 0..2 * STAGES {
            self.go_on_adopting()?;
        }
        self.stop_adopting()
    }

    /// When all has arrived, the next agent looks at what was left in the middle: then no two ends are a pair of which one is
    /// outside of the sockhash.
    pub(super) fn recover_abandoned(&mut self) -> Result<(), Broken> {
        for client in self.adopting.abandoned.clone() {
            let server = self.world.socket(client).map_or(0, Socket::peer);
            let ends = [client, server];
            if !self.servers.contains(&server) {
                continue;
            }
            self.adopt_if_fit(ends);
            self.end_adopting()?;
            if self.only_member(ends).is_some() && self.enabled && !self.is_orphaned && self.is_attached {
                return Err(Broken(format!("of sockets {client} and {server} one stays in the sockhash alone")));
            }
            let is_left =
                ends.into_iter().all(|end| self.is_one_of_pair(end) && self.is_fit(end) && !self.has_flag(end, ARMED));
            if is_left && self.enabled && !self.refuses.callbacks && !self.form.joins_later() {
                return Err(Broken(format!("sockets {client} and {server} stay a pair outside of the sockhash")));
            }
        }
        Ok(())
    }

    /// When all has arrived: of a connection that the agent has tried to adopt, both ends are one of a pair, or neither is. Each end has
    /// had callbacks since.
    pub(super) fn check_both_or_neither(&mut self) -> Result<(), Broken> {
        for id in self.adopting.touched.clone() {
            let peer = self.world.socket(id).map_or(0, Socket::peer);
            if ![id, peer].into_iter().all(|end| self.is_undisturbed(end)) {
                continue;
            }
            // A reader that has spliced is found out by what it receives here, and then the pair leaves.
            for _ in 0..4 {
                self.carry(id, 1)?;
                self.carry(peer, 1)?;
            }
            let [one, other] = [id, peer].map(|end| self.is_one_of_pair(end));
            if one != other {
                return Err(Broken(format!("of sockets {id} and {peer} only one is one of a pair: {one}, {other}")));
            }
        }
        Ok(())
    }

    /// Whether a socket is open, and nothing but our programs and its application has touched it.
    fn is_undisturbed(&self, id: SocketId) -> bool {
        let is_open = self.world.socket(id).is_some_and(|socket| socket.is_established() && socket.is_accepted());
        let is_touched =
            [&self.replaced, &self.elsewhere, &self.adopting.abandoned].iter().any(|set| set.contains(&id));
        is_open && !is_touched && !self.torn && !self.disturbed && !self.world.is_reading(id)
    }

    /// Whether an agent that was killed has left these two in the middle (`agent::adoption`).
    fn is_abandoned(&self, ends: [AdoptionAnswer; 2]) -> bool {
        match ends.map(|end| end.standing) {
            [Standing::Paired, Standing::Paired] => !self.form.joins_later(),
            [Standing::Paired, Standing::Unknown] => true,
            _ => false,
        }
    }
}

/// Of the sockhash.
fn key(id: SocketId) -> [u8; 8] {
    id.to_ne_bytes()
}
