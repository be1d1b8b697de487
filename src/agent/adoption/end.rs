//! One end of a connection that is adopted.

use std::os::fd::{AsFd, AsRawFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::candidate::Candidate;
use crate::dataplane::{
    AdoptionAnswer, AdoptionRequest, AdoptionStep, Change, LEVEL, NAME, Refusal, SocketState, Standing,
};
use crate::sockets::Record;
use crate::syscall::{ForeignSocket, Map, UpdateFlags};

/// How long readers are woken whose bytes came by the stack while they joined: what was on its way has come by then.
const WAKE: Duration = Duration::from_millis(50);

/// Where the socket is, and what is wanted of it.
#[derive(Clone, Debug)]
pub(super) struct End {
    process: u32,
    descriptor: u32,
    pub(super) sk: u64,
    is_client: bool,
    by_stack: bool,
    is_trusted: bool,
}

impl End {
    pub(super) fn new(record: &Record, is_client: bool, by_stack: bool, is_trusted: bool) -> Self {
        Self { process: record.pid, descriptor: record.fd, sk: record.sk(), is_client, by_stack, is_trusted }
    }

    /// One more descriptor of it; nothing when its process has closed it, or made another file of its number, or blocks.
    pub(super) fn open(&self) -> Option<ForeignSocket> {
        let socket = ForeignSocket::open_tcp(self.process, self.descriptor).ok()??;
        // It has a number from now on.
        (socket.is_nonblocking().ok()? && socket.cookie().ok()? != 0).then_some(socket)
    }
}

/// A socket that is asked by way of the program.
pub(super) struct Asked<'a> {
    requests: &'a Map,
    end: &'a End,
    socket: ForeignSocket,
}

impl<'a> Asked<'a> {
    pub(super) fn new(requests: &'a Map, end: &'a End, socket: ForeignSocket) -> Self {
        Self { requests, end, socket }
    }

    pub(super) fn look(&self) -> Result<AdoptionAnswer, Refusal> {
        self.ask(AdoptionStep::Look, [0; 2], None)
    }

    pub(super) fn prepare(&self, seen: &AdoptionAnswer) -> Result<(), Refusal> {
        self.ask(AdoptionStep::Prepare, seen.initial, None).map(drop)
    }

    /// Takes the peer that was looked at, with its address.
    pub(super) fn pair(&self, seen: &AdoptionAnswer, peer: (AdoptionAnswer, u64)) -> Result<(), Refusal> {
        self.ask(AdoptionStep::Pair, seen.initial, Some(peer)).map(drop)
    }

    pub(super) fn undo(&self, seen: &AdoptionAnswer) -> Result<(), Refusal> {
        self.ask(AdoptionStep::Undo, seen.initial, None).map(drop)
    }

    /// Makes it plain TCP again where an agent that was killed has left it as one of a pair that is in no sockhash.
    pub(super) fn recover(&self, seen: &AdoptionAnswer) -> Result<(), Refusal> {
        self.ask(AdoptionStep::Recover, seen.initial, None).map(drop)
    }

    /// Reports a change.
    pub(super) fn report(&self, change: Change) -> Result<(), Refusal> {
        self.request(AdoptionRequest { change: Some(change), ..self.about(AdoptionStep::Report) }).map(drop)
    }

    fn ask(
        &self,
        step: AdoptionStep,
        initial: [u32; 2],
        peer: Option<(AdoptionAnswer, u64)>,
    ) -> Result<AdoptionAnswer, Refusal> {
        self.request(AdoptionRequest { peer, initial, ..self.about(step) })
    }

    fn about(&self, step: AdoptionStep) -> AdoptionRequest {
        let End { is_client, sk, by_stack, is_trusted, .. } = *self.end;
        AdoptionRequest { step, is_client, sk, peer: None, initial: [0; 2], by_stack, is_trusted, change: None }
    }

    fn request(&self, request: AdoptionRequest) -> Result<AdoptionAnswer, Refusal> {
        self.requests.update(&[0; 4], &request.to_bytes(), UpdateFlags::empty()).map_err(|_| Refusal::NotReached)?;
        // Where the program does not run, no protocol knows the option; what it has done is in the map.
        let _ = self.socket.set_option(LEVEL, NAME);
        let answer = self.requests.lookup(&[0; 4]).ok().flatten().ok_or(Refusal::NotReached)?;
        AdoptionAnswer::from_bytes(&answer)
    }

    /// Puts it into the sockhash.
    pub(super) fn enter(&self, sockets: &Map, cookie: u64) -> bool {
        let value = (self.socket.as_fd().as_raw_fd() as u64).to_ne_bytes();
        sockets.update(&cookie.to_ne_bytes(), &value, UpdateFlags::NO_EXIST).is_ok()
    }

    /// Whether it is one end of a pair.
    pub(super) fn is_paired(&self, storage: &Map) -> bool {
        state_of(&self.socket, storage).is_some_and(|state| state.standing == Standing::Paired)
    }
}

/// How a socket stands; nothing where it has no state of ours.
pub(super) fn state_of(socket: &ForeignSocket, storage: &Map) -> Option<SocketState> {
    let state = storage.lookup(&socket.as_fd().as_raw_fd().to_ne_bytes()).ok().flatten()?;
    SocketState::from_bytes(&state)
}

/// Wakes readers that wait for what came by the stack while they joined, on kernels where FIONREAD does not show these bytes
/// (`readers::join`).
pub(super) fn wake_readers(joined: &[Candidate]) {
    let deadline = Instant::now() + WAKE;
    while !joined.is_empty() && Instant::now() < deadline {
        for end in joined.iter().flat_map(|one| [&one.client, &one.server]) {
            if let Some(socket) = end.open()
                && socket.unread_memory().is_ok_and(|bytes| bytes != 0)
            {
                // One that has closed meanwhile has no reader.
                let _ = socket.wake_readers();
            }
        }
        sleep(Duration::from_millis(1));
    }
}
