//! What the agent asks of a socket that exists already, and what `programs::adopt` answers.

use crate::asm::{Field, Laid, Pointer};
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::state::Counter;
use crate::dataplane::state::change::{Change, Raw};
use crate::dataplane::state::socket::{ANY, BY_STACK, Head, PAIRED, PLAIN, Standing};
use crate::dataplane::state::traffic::{number, put};
use crate::layout;

layout! {
    /// The value of the map by which the two talk: one request at a time.
    pub(in crate::dataplane) struct Adoption: 208 {
        /// One of [`AdoptionStep`]; 0 when it has been taken.
        STEP: u32 = 0;
        /// Not 0 for the end that has called connect(2).
        IS_CLIENT: u32 = 4;
        /// The address of the socket that is meant, which the agent only compares.
        SK: u64 = 8;
        /// The peer that it is to have; as the answer to a look, the one that it has had, or 0.
        PEER_COOKIE: u64 = 16;
        PEER_STORAGE: Pointer<Head> = 24;
        PEER_SK: Pointer<TcpSock> = 32;
        /// The initial sequence numbers as this end derives them: an answer to a look, and later what must still hold.
        OWN_INITIAL: u32 = 40;
        PEER_INITIAL: u32 = 44;
        /// What is to be set in [`Head::FLAGS`].
        FLAGS: u32 = 48;
        /// What [`Head::READER`] is to be, or 0 to leave it.
        READER: u32 = 52;
        /// The answer: 0 when the socket was not reached, [`DONE`], or one of [`Refusal`].
        OUTCOME: u32 = 56;
        /// Answer to a look: [`Head::STATE`].
        STATE: u32 = 60;
        COOKIE: u64 = 64;
        STORAGE: Pointer<Head> = 72;
        /// The mark of the packets that it sends, and that of the last one that it has received.
        SENT_MARK: u32 = 80;
        RECEIVED_MARK: u32 = 84;
        /// Answer to a look: why its pair has left, as [`Traffic::LEAVING`](super::traffic::Traffic::LEAVING) says it.
        LEAVING: u32 = 88;
        UNUSED: u32 = 92;
        /// What [`AdoptionStep::Report`] reports.
        CHANGE: Raw = 96;
    }
}

/// [`Adoption::OUTCOME`].
pub(in crate::dataplane) const DONE: i32 = 1;

/// What is to be done to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdoptionStep {
    /// Say what it is.
    Look = 1,
    /// Be ready for a new pair.
    Prepare = 2,
    /// Take this peer.
    Pair = 3,
    /// Be plain TCP again.
    Undo = 4,
    /// Let those that watch know.
    Report = 5,
    /// Be plain TCP again, if you are one of a pair that is in no sockhash: its agent was killed.
    Recover = 6,
}

/// Why a socket does not do what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The program has not run for it: it belongs to none of the cgroups, or its descriptor was of another one.
    NotReached,
    /// It is not established, or one end has shut down.
    NotOpen = 2,
    /// It is in a socket map, or has a protocol above TCP.
    NotPlain = 3,
    /// There is no memory for its storage.
    NoMemory = 4,
    /// It has another connection by now.
    OtherConnection = 5,
    /// It is in a pair already, its cgroup has opted out, or its program reads in a way that redirected bytes do not support.
    NotFree = 6,
    /// The kernel does not let the program ask for callbacks (before Linux 6.12).
    NoCallbacks = 7,
}

/// The refusals that a program writes.
const REFUSALS: [Refusal; 6] = [
    Refusal::NotOpen,
    Refusal::NotPlain,
    Refusal::NoMemory,
    Refusal::OtherConnection,
    Refusal::NotFree,
    Refusal::NoCallbacks,
];

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct AdoptionRequest {
    /// What is to be done.
    pub step: AdoptionStep,
    /// The socket has called connect(2).
    pub is_client: bool,
    /// Its address.
    pub sk: u64,
    /// What the look at its peer has answered, and that peer's address.
    pub peer: Option<(AdoptionAnswer, u64)>,
    /// The initial sequence numbers that it had at the look.
    pub initial: [u32; 2],
    /// What it sends takes the stack.
    pub by_stack: bool,
    /// Its reader is trusted by name.
    pub is_trusted: bool,
    /// What is to be reported.
    pub change: Option<Change>,
}

/// What a socket has answered to a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdoptionAnswer {
    /// Its number.
    pub cookie: u64,
    /// The address of its storage.
    storage: u64,
    /// The initial sequence numbers as it derives them: its own, and its peer's.
    pub initial: [u32; 2],
    /// The mark of the packets that it sends, and that of the last one that it has received.
    pub marks: [u32; 2],
    /// It is in a pair, or about to be.
    pub is_taken: bool,
    /// Where it stands.
    pub standing: Standing,
    /// It has been in a pair, which has left. One that blocked when it was established has not been in one.
    pub has_left: bool,
    /// Why its pair has left.
    pub leaving: Option<Counter>,
}

impl AdoptionRequest {
    /// Bytes of the map's value.
    pub const SIZE: usize = Adoption::SIZE;

    /// The map's value.
    pub fn to_bytes(&self) -> [u8; Adoption::SIZE] {
        let mut bytes = [0; Adoption::SIZE];
        let mut put = |at: i32, value: &[u8]| put(&mut bytes, at, value);
        put(Adoption::STEP.offset(), &(self.step as u32).to_ne_bytes());
        put(Adoption::IS_CLIENT.offset(), &u32::from(self.is_client).to_ne_bytes());
        put(Adoption::SK.offset(), &self.sk.to_ne_bytes());
        if let Some((peer, sk)) = self.peer {
            put(Adoption::PEER_COOKIE.offset(), &peer.cookie.to_ne_bytes());
            put(Adoption::PEER_STORAGE.offset(), &peer.storage.to_ne_bytes());
            put(Adoption::PEER_SK.offset(), &sk.to_ne_bytes());
        }
        for (place, value) in [Adoption::OWN_INITIAL, Adoption::PEER_INITIAL].into_iter().zip(self.initial) {
            put(place.offset(), &value.to_ne_bytes());
        }
        let flags = if self.by_stack { BY_STACK } else { 0 };
        put(Adoption::FLAGS.offset(), &flags.to_ne_bytes());
        let reader = if self.is_trusted { ANY } else { 0 };
        put(Adoption::READER.offset(), &reader.to_ne_bytes());
        if let Some(change) = self.change {
            put(Adoption::CHANGE.offset(), &change.to_bytes());
        }
        bytes
    }
}

impl AdoptionAnswer {
    /// Whether this is the client of a connection whose server has given the other answer: both know the same initial sequence
    /// numbers, of which the client counts its own SYN and the server does not (`crate::sockets::join`), and the last packet that each
    /// has received was the other's.
    ///
    /// No process can see or choose the marks; see `dataplane::pairing::proof`.
    pub fn is_client_of(&self, server: &Self) -> bool {
        let [own, peers] = self.initial;
        let numbers = server.initial == [peers, own.wrapping_add(1)];
        let [sent, received] = self.marks;
        numbers && server.marks == [received, sent] && sent != 0 && received != 0
    }

    /// From the map's value, after the program has run.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        let word = |field: Field<Adoption, u32>| number(bytes, field.offset()).map_or(0, u32::from_ne_bytes);
        let long = |at: i32| number(bytes, at).map_or(0, u64::from_ne_bytes);
        match word(Adoption::OUTCOME).cast_signed() {
            DONE => {
                let state = word(Adoption::STATE).cast_signed();
                Ok(Self {
                    cookie: long(Adoption::COOKIE.offset()),
                    storage: long(Adoption::STORAGE.offset()),
                    initial: [word(Adoption::OWN_INITIAL), word(Adoption::PEER_INITIAL)],
                    marks: [word(Adoption::SENT_MARK), word(Adoption::RECEIVED_MARK)],
                    is_taken: (1..=PAIRED).contains(&state),
                    standing: Standing::of(state),
                    has_left: state == PLAIN && long(Adoption::PEER_COOKIE.offset()) != 0,
                    leaving: Counter::at(word(Adoption::LEAVING)).filter(|one| one.is_reason()),
                })
            }
            other => Err(REFUSALS.into_iter().find(|one| *one as i32 == other).unwrap_or(Refusal::NotReached)),
        }
    }
}

const _: () = assert!(Adoption::SIZE == <Adoption as Laid>::BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_and_an_answer_read_as_the_program_has_them() {
        let mut answer = [0; Adoption::SIZE];
        assert_eq!(AdoptionAnswer::from_bytes(&answer), Err(Refusal::NotReached));
        let word = |answer: &mut [u8], at: usize, value: u32| answer[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        let long = |answer: &mut [u8], at: usize, value: u64| answer[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        for refusal in REFUSALS {
            word(&mut answer, 56, refusal as u32);
            assert_eq!(AdoptionAnswer::from_bytes(&answer), Err(refusal));
        }
        for (at, value) in [(56, DONE as u32), (60, PLAIN as u32), (40, 2), (80, 4), (84, 5)] {
            word(&mut answer, at, value);
        }
        for (at, value) in [(16, 1), (64, 3)] {
            long(&mut answer, at, value);
        }
        let read = AdoptionAnswer::from_bytes(&answer).unwrap();
        assert_eq!((read.cookie, read.initial, read.marks), (3, [2, 0], [4, 5]));
        assert!(read.has_left && !read.is_taken && read.leaving.is_none());
        long(&mut answer, 16, 0);
        assert!(!AdoptionAnswer::from_bytes(&answer).unwrap().has_left, "it has had no peer");
        word(&mut answer, 60, PAIRED as u32);
        assert!(AdoptionAnswer::from_bytes(&answer).unwrap().is_taken);
        let request = AdoptionRequest {
            step: AdoptionStep::Pair,
            is_client: true,
            sk: 6,
            peer: Some((read, 7)),
            initial: [8, 9],
            by_stack: true,
            is_trusted: true,
            change: None,
        };
        let bytes = request.to_bytes();
        assert_eq!([0, 4, 40, 44].map(|at| number(&bytes, at)), [3, 1, 8, 9].map(|word: u32| Some(word.to_ne_bytes())));
        assert_eq!([8, 16, 32].map(|at| number(&bytes, at)), [6, 3, 7].map(|long: u64| Some(long.to_ne_bytes())));
        assert_eq!((number(&bytes, 48) != Some([0; 4]), bytes[52]), (true, 0xff));
    }
}
