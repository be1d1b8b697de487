//! What the programs count, per CPU.

macro_rules! counters {
    ($( $(#[doc = $doc:literal])* $variant:ident = $name:literal; )*) => {
        /// A counter; its discriminant is its place in the per-CPU array's single value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Counter { $( $(#[doc = $doc])* $variant, )* }

        impl Counter {
            /// All counters, in the order of their places.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// The name metrics and JSON use.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }
        }
    };
}

counters! {
    /// Active ends put into the sockhash.
    Enrolled = "enrolled";
    /// Connections whose passive end found its active one.
    Paired = "paired";
    /// Active ends that left because nobody claimed them: their peer is outside.
    Unclaimed = "unclaimed";
    /// Pairs that left for plain TCP.
    Unenrolled = "unenrolled";
    /// Receivers with bytes of the stack behind unread redirected ones, looked after until they have read them.
    Armed = "armed";
    /// Sockets left alone because they block.
    Blocking = "blocking";
    /// Ends left alone by the policy.
    Excluded = "excluded";
    /// Sockets the sockhash refused (full, or a kind of socket it does not take).
    MapRefused = "map_refused";
    /// Sockets without room for their state.
    NoStorage = "no_storage";
    /// Messages redirected.
    RedirectedMessages = "redirected_messages";
    /// Bytes redirected.
    RedirectedBytes = "redirected_bytes";
    /// Bytes of sockets in the map that took the stack, for any of the reasons below.
    PassedBytes = "passed_bytes";
    /// To the stack: the soft switch is off.
    PassOff = "pass_off";
    /// To the stack: not (yet) paired.
    PassUnpaired = "pass_unpaired";
    /// To the stack: the policy redirects only what comes the other way.
    PassDirection = "pass_direction";
    /// To the stack: the pair is leaving the map.
    PassUnenrolling = "pass_unenrolling";
    /// To the stack: the peer is gone, or its state could not be read.
    PassStale = "pass_stale";
    /// To the stack: earlier bytes are still under way or unread there.
    PassOrder = "pass_order";
    /// To the stack: the receiver is inside a system call that may still return stack bytes.
    PassBusy = "pass_busy";
    /// To the stack: the receiver has asked for SO_RCVLOWAT, or has shut down reading.
    PassState = "pass_state";
    /// To the stack: the receiver is not accepted yet, or ([`crate::dataplane::Config::spare_askers`]) nothing is known of it.
    PassUnaccepted = "pass_unaccepted";
    /// To the stack: an end has set a socket option that redirected bytes would pass by.
    PassOption = "pass_option";
    /// To the stack: an end is in blocking mode.
    PassBlocking = "pass_blocking";
    /// To the stack: the receiver is behind.
    PassBackpressure = "pass_backpressure";
    /// To the stack: a stream of messages that the stack may gather, whose pair leaves.
    PassStream = "pass_stream";
    /// To the stack: the kernel grants sockets no more memory.
    PassPressure = "pass_pressure";
    /// To the stack: the peer was not in the sockhash.
    PassAbsent = "pass_absent";
    /// Entries the drain has removed.
    Drained = "drained";
    /// Entries the drain had to leave, in its passes so far, because they held unread bytes.
    DrainWaiting = "drain_waiting";
}

impl Counter {
    /// Size of one CPU's value in bytes.
    pub const VALUE_SIZE: usize = Self::ALL.len() * 8;

    /// Byte offset in one CPU's value.
    pub(in crate::dataplane) const fn offset(self) -> i16 {
        self as i16 * 8
    }
}
