//! The steps of histories.

use sidestep::verifier_sim::kernel::{Buffers, Cgroup, Refusals, Timers, Waiter, WrongDescriptor};

/// One step of a history. Numbers choose among the sockets that there are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// What is the same during a history; before everything else.
    Settings(Settings),
    Connect(Connect),
    Handshake(u8),
    Accept(u8),
    Send(u8, u32),
    FinishSend(u8),
    Deliver(u8),
    Ack(u8),
    /// Keepalive sends a probe, if it does so every second.
    Probe(u8),
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
    ShutdownWrite(u8),
    /// The application sets keepalive's times and its limits.
    Timers(u8, Timers),
    Watch(u8, Watchers),
    Buffers(u8, Buffers),
    Group(u8, Group),
    Pressure(bool),
    Switch(bool),
    Evict,
    /// An attacker makes a socket that could be the peer of this one, by its numbers and addresses.
    Forge(u8, u8, u32),
    /// A record in the rendezvous map becomes another's, except the first words that a program reads.
    Tear(u8, u8, u8),
    Cpu(bool),
    /// The kernel, or another tool's program, refuses this from now on.
    Refuse(Refusals),
    /// The agent turns the switch off and runs the drain.
    Drain,
    /// It marks this socket and its peer, which are to leave.
    Mark(u8),
    /// It runs the drain for those that are marked.
    DrainMarked,
    /// It runs the tally.
    Tally,
    /// So many messages of this size, each read and answered by one byte.
    Exchange(u8, u8, u32),
    /// splice(2).
    Splice(u8, u16),
    /// Bytes of the stack are taken for io_uring.
    Take(u8, u16),
    /// recv(2) with MSG_PEEK.
    Peek(u8),
    /// splice(2) with a descriptor that is not a socket's, by the process of this one.
    SpliceAnother(u8, WrongDescriptor),
    /// The agent admits the processes that it has been notified of, trusted with so many bytes in a row.
    Admit(u32),
    /// It lets pairs join whose readers are trusted.
    Join,
    /// It begins to adopt the connection of this socket, unless it is at another one.
    Adopt(u8),
    /// The same of two sockets that may not be its ends, and whether it takes every socket for fit and free.
    Nominate(u8, u8, bool),
    /// It goes on with that.
    AdoptStep,
    /// It is killed meanwhile, and another one takes its place.
    AdoptStop,
    /// The programs are attached, when they have not been from the start.
    Attach,
    /// It is killed: from then on no process owns what it has attached.
    Kill,
}

impl Op {
    /// Whether no process does it.
    pub(super) fn is_of_network(self) -> bool {
        matches!(self, Self::Handshake(_) | Self::FinishSend(_) | Self::Deliver(_) | Self::Ack(_) | Self::Probe(_))
    }

    /// The socket that the step is about.
    pub(super) fn socket(self) -> Option<u8> {
        match self {
            Self::Handshake(number)
            | Self::Accept(number)
            | Self::Send(number, _)
            | Self::FinishSend(number)
            | Self::Deliver(number)
            | Self::Ack(number)
            | Self::Probe(number)
            | Self::Recv(number, _)
            | Self::RecvAll(number, _)
            | Self::StepRecv(number)
            | Self::Close(number)
            | Self::RcvLowAt(number, _)
            | Self::NonBlocking(number, _)
            | Self::Options(number, ..)
            | Self::Protocol(number)
            | Self::OtherCallbacks(number, _)
            | Self::OtherMap(number)
            | Self::ShutdownRead(number)
            | Self::ShutdownWrite(number)
            | Self::Timers(number, _)
            | Self::Watch(number, _)
            | Self::Buffers(number, _)
            | Self::Exchange(number, ..)
            | Self::Mark(number)
            | Self::Splice(number, _)
            | Self::Take(number, _)
            | Self::SpliceAnother(number, _)
            | Self::Peek(number)
            | Self::Group(number, _) => Some(number),
            _ => None,
        }
    }
}

/// What is the same during a history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Whether readers are spared that may ask FIONREAD.
    pub(crate) spare_askers: bool,
    /// Whether much may wait at a reader.
    pub(crate) roomy: bool,
    /// Keepalive for connection tracking, in seconds.
    pub(crate) keepalive: u32,
    /// Whether freed memory cannot be read.
    pub(crate) unmaps_freed: bool,
    /// Whether FIONREAD does not see the stack's bytes of a member.
    pub(crate) fionread_misses: bool,
    /// Whether the programs are attached only later.
    pub(crate) attached_later: bool,
    /// Whether TCP_RTO_MAX_MS is unknown, as before Linux 6.15.
    pub(crate) lacks_rto_max: bool,
}

impl Settings {
    /// Nothing in particular.
    pub(crate) const PLAIN: Self = Self {
        spare_askers: false,
        roomy: false,
        keepalive: 0,
        unmaps_freed: false,
        fionread_misses: false,
        attached_later: false,
        lacks_rto_max: false,
    };
}

/// Groups above each other that a socket can have: one more than the programs look at (src/dataplane/gate/memory.rs).
pub(crate) const MAX_GROUPS: u8 = 7;

/// What memory a socket may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    /// How many groups are above each other; none for a socket that is in no group.
    pub(super) depth: u8,
    /// Bytes that the socket has been granted already.
    pub(super) granted: i32,
    /// Of which group few pages are free, and how many.
    pub(super) full: u8,
    pub(super) free: u16,
}

/// The first two waiters of a socket, which the programs look at.
pub(crate) type Watchers = [Option<Waiter>; 2];

/// What a connection is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connect {
    /// Whether the client is in the namespace of its server, and by which address it then reaches it.
    pub(super) same_namespace: bool,
    pub(super) loopback: bool,
    /// Whether both are in the second of two groups of namespaces, which have the same addresses.
    pub(super) second_group: bool,
    /// One of three services, which differ in address or port.
    pub(super) service: u8,
    /// Whether another program has asked for the callbacks that we use.
    pub(super) foreign_callbacks: bool,
    /// Few ports, so that addresses are used again.
    pub(super) client_port: u8,
    /// Whether REDIRECT rewrites the server's local address.
    pub(super) redirect: bool,
    pub(super) client_cgroup: Cgroup,
    pub(super) server_cgroup: Cgroup,
    pub(super) client_nonblocking: bool,
    pub(super) server_nonblocking: bool,
    /// Whether something on the way rewrites sequence numbers.
    pub(super) rewritten: bool,
    /// Whether something on the way takes the kernel's mark from the client's packets, and from the server's.
    pub(super) unmarked: (bool, bool),
    /// Whether an attacker who knows the sequence numbers is faster than the listener, and than the client.
    pub(super) foreseen: (bool, bool),
    pub(super) isn: (u32, u32),
    /// The kernel's random number when the listener answers.
    pub(super) random: u32,
}

impl Connect {
    /// As [`Connect::plain`], between sockets of these cgroups.
    pub(crate) fn between(client_cgroup: Cgroup, server_cgroup: Cgroup) -> Self {
        Self { client_cgroup, server_cgroup, ..Self::plain() }
    }

    /// As [`Connect::plain`], from another port.
    pub(crate) fn from_port(client_port: u8) -> Self {
        Self { client_port, ..Self::plain() }
    }

    /// The same, which is tried where the last connections to its server were short.
    pub(crate) fn tried(self) -> Self {
        Self { random: 0, ..self }
    }

    /// As [`Connect::plain`], where another program has asked for callbacks.
    pub(crate) fn with_foreign_callbacks() -> Self {
        Self { foreign_callbacks: true, ..Self::plain() }
    }

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
            client_cgroup: Cgroup::Accelerated,
            server_cgroup: Cgroup::Accelerated,
            client_nonblocking: true,
            server_nonblocking: true,
            rewritten: false,
            unmarked: (false, false),
            foreseen: (false, false),
            isn: (1000, 2000),
            random: 1,
        }
    }
}
