//! What the programs count, per CPU.

use crate::asm::Field;

macro_rules! counters {
    ($( #[doc = $doc:literal] $variant:ident = $name:literal, $unit:literal; )*) => {
        /// A counter; its discriminant is its place in the per-CPU array's single value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Counter { $( #[doc = $doc] $variant, )* }

        impl Counter {
            /// All counters, in the order of their places.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// The name metrics and JSON use.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// What it counts, in one sentence.
            pub const fn description(self) -> &'static str {
                match self { $( Self::$variant => $doc.trim_ascii(), )* }
            }

            /// What one of it is: "bytes", "messages", "sockets", "connections" or "events".
            pub const fn unit(self) -> &'static str {
                match self { $( Self::$variant => $unit, )* }
            }
        }
    };
}

counters! {
    /// Active ends that entered the sockhash, or may join it when their readers have earned trust.
    Enrolled = "enrolled", "sockets";
    /// Connections whose passive end found its active end.
    Paired = "paired", "connections";
    /// Active ends that left the sockhash because no passive end claimed them: their peer is outside.
    Unclaimed = "unclaimed", "sockets";
    /// Pairs that left the sockhash and are plain TCP again.
    Unenrolled = "unenrolled", "connections";
    /// Receivers with stack bytes behind unread redirected bytes, which get a callback each second until they have read them.
    Armed = "armed", "sockets";
    /// Sockets that stay plain TCP because they block.
    Blocking = "blocking", "sockets";
    /// Ends that the policy excludes.
    Excluded = "excluded", "sockets";
    /// Sockets that the sockhash refused: it is full, or it does not take this kind of socket.
    MapRefused = "map_refused", "sockets";
    /// Sockets for whose state the kernel had no memory.
    NoStorage = "no_storage", "sockets";
    /// Messages redirected.
    RedirectedMessages = "redirected_messages", "messages";
    /// Bytes redirected.
    RedirectedBytes = "redirected_bytes", "bytes";
    /// Bytes that connections inside the cgroups have exchanged by the stack, also those that never were in the sockhash, except `left_alone`.
    StackBytes = "stack_bytes", "bytes";
    /// Bytes of sockets in the sockhash that took the stack, for any of the reasons below.
    PassedBytes = "passed_bytes", "bytes";
    /// To the stack: the soft switch is off.
    PassOff = "pass_off", "messages";
    /// To the stack: the socket is not paired (yet).
    PassUnpaired = "pass_unpaired", "messages";
    /// To the stack: the policy redirects the other direction only.
    PassDirection = "pass_direction", "messages";
    /// To the stack: the pair is leaving the sockhash.
    PassUnenrolling = "pass_unenrolling", "messages";
    /// To the stack: the peer is gone, or its state could not be read.
    PassStale = "pass_stale", "messages";
    /// To the stack: earlier bytes are still on their way or unread there.
    PassOrder = "pass_order", "messages";
    /// To the stack: the receiver may be inside a system call that still returns stack bytes.
    PassBusy = "pass_busy", "messages";
    /// To the stack: the receiver has set SO_RCVLOWAT or has shut down a direction, or connection tracking needs a packet.
    PassState = "pass_state", "messages";
    /// To the stack: the receiver is not accepted yet, or how it reads is not known yet.
    PassUnaccepted = "pass_unaccepted", "messages";
    /// To the stack: an end has set a socket option that has no effect on redirected bytes, or an upper-layer protocol (kTLS).
    PassOption = "pass_option", "messages";
    /// To the stack: another sock_ops program has replaced the callback flags of an end.
    PassCallbacks = "pass_callbacks", "messages";
    /// To the stack: an end is in blocking mode.
    PassBlocking = "pass_blocking", "messages";
    /// To the stack: too much waits unread at the receiver.
    PassBackpressure = "pass_backpressure", "messages";
    /// To the stack: a stream whose pair leaves since the stack carries it better, or a stream that is being measured.
    PassStream = "pass_stream", "messages";
    /// To the stack: the receiver's program is not (yet) trusted to read so much by recvmsg, or the last bytes were read in another way.
    PassReader = "pass_reader", "messages";
    /// To the stack: the kernel grants sockets no more memory.
    PassPressure = "pass_pressure", "messages";
    /// To the stack: the peer was not in the sockhash.
    PassAbsent = "pass_absent", "messages";
    /// Entries that the drain has removed.
    Drained = "drained", "sockets";
    /// Entries that the drain had to leave in its passes so far, because they held unread bytes.
    DrainWaiting = "drain_waiting", "sockets";
    /// Changes of connections for which the buffer of `sidestep watch` had no room.
    ChangesLost = "changes_lost", "events";
    /// SYNs that a listener has answered without an announcement, since its last connections ended before they could gain; also SYNs of a flood.
    LeftAlone = "left_alone", "connections";
}

/// One CPU's value: a u64 for each counter.
#[derive(Clone, Copy, Debug)]
pub(in crate::dataplane) enum Counters {}

impl Counter {
    /// Size of one CPU's value in bytes.
    pub const VALUE_SIZE: usize = Self::ALL.len() * 8;

    /// The counter at this place in one CPU's value.
    pub(in crate::dataplane) fn at(offset: u32) -> Option<Self> {
        offset.is_multiple_of(8).then(|| Self::ALL.get(offset as usize / 8).copied()).flatten()
    }

    /// Whether it counts messages that take the stack for one reason, or receivers that make their pair leave.
    pub(in crate::dataplane) fn is_reason(self) -> bool {
        self == Self::Armed || self.name().starts_with("pass_")
    }

    /// Its place in one CPU's value.
    pub(in crate::dataplane) const fn field(self) -> Field<Counters, u64> {
        Field::new(self as i32 * 8)
    }
}
