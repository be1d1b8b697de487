//! Random histories.

use proptest::prelude::*;

use sidestep::verifier_sim::kernel::{Buffers, Cgroup, Refusals, Timers, Waiter, WrongDescriptor};

use super::op::{Connect, Group, MAX_GROUPS, Op, Settings, Watchers};

/// A registration that is edge-triggered or not, with data as programs have it: a descriptor (libevent), an address
/// (nginx), an address with a tag (Go).
fn waiter() -> impl Strategy<Value = Waiter> {
    let data = prop_oneof![Just(7), Just(0x7f12_3456_7890), Just(0x5a00_7f12_3456_7890)];
    prop_oneof![
        2 => Just(Waiter::Poll),
        8 => (any::<bool>(), data).prop_map(|(edge, data)| Waiter::Epoll { edge, data, fd: 7 }),
    ]
}

fn watchers() -> impl Strategy<Value = Watchers> {
    let second = prop::option::weighted(0.3, waiter());
    (prop::option::weighted(0.9, waiter()), second).prop_map(|(first, second)| [first, second])
}

/// Sizes between the smallest that the kernel allows (include/net/sock.h) and large ones, set by the application or not.
fn buffers() -> impl Strategy<Value = Buffers> {
    let sizes = prop_oneof![
        2 => (2304..16_384_u32, 2304..16_384_u32),
        1 => (2304..16_384_u32, Just(1 << 20)),
        1 => Just((1 << 20, 1 << 20)),
    ];
    (sizes, prop_oneof![2 => Just(0), 3 => 1..4_u8]).prop_map(|((send, receive), locks)| Buffers {
        send,
        receive,
        locks,
    })
}

/// One more group than the programs look at; the memory of a message may just be free, or already granted.
fn group() -> impl Strategy<Value = Group> {
    let granted = prop_oneof![3 => Just(0), 1 => any::<i16>().prop_map(i32::from)];
    let free = prop_oneof![2 => 0..512_u16, 1 => 510..515_u16, 2 => Just(9000)];
    (0..=MAX_GROUPS, granted, 0..MAX_GROUPS, free).prop_map(|(depth, granted, full, free)| Group {
        depth,
        granted,
        // The programs look at the nearest groups only.
        full: if depth == MAX_GROUPS { full.max(1) } else { full % depth.max(1) },
        free,
    })
}

/// Times that are shorter or longer than ours, or both. The idle time says which, since the programs look at that.
fn timers() -> impl Strategy<Value = Timers> {
    let times = prop_oneof![
        Just((false, 5000, 75)),
        Just((true, 20, 10)),
        Just((false, 21, 11)),
        Just((true, 22, 900)),
        Just((true, 5001, 10)),
        Just((true, 5002, 900)),
    ];
    (times, prop_oneof![Just(0), Just(5000)]).prop_map(|((keepalive, idle, interval), user_timeout)| Timers {
        keepalive,
        idle,
        interval,
        user_timeout,
        ..Timers::default()
    })
}

fn settings() -> impl Strategy<Value = Settings> {
    let keepalive = prop_oneof![2 => Just(0), 2 => Just(600), 1 => Just(30)];
    (prop::bool::weighted(0.3), prop::bool::weighted(0.3), keepalive, any::<bool>()).prop_map(
        |(spare_askers, roomy, keepalive, unmaps_freed)| Settings {
            spare_askers,
            roomy,
            keepalive,
            unmaps_freed,
            // A socket that is not accepted yet is served then, however it will be read.
            fionread_misses: false,
            attached_later: false,
            // The two have nothing to do with each other.
            lacks_rto_max: unmaps_freed,
        },
    )
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
            client_cgroup: if ends.0 { Cgroup::Accelerated } else { Cgroup::Outside },
            server_cgroup: if ends.1 { Cgroup::Accelerated } else { Cgroup::Outside },
            client_nonblocking: ends.2,
            server_nonblocking: ends.3,
            rewritten: ends.4,
            foreign_callbacks: ends.5,
            unmarked: (path.0, path.1),
            foreseen: (path.2, path.3),
            isn,
            random: isn.0 ^ isn.1,
        })
    })
}

/// None, one that matters at one end, one that matters nowhere.
fn options() -> impl Strategy<Value = u64> {
    prop_oneof![6 => Just(0), 1 => Just(1 << 21), 1 => Just(1 << 2), 1 => Just(1 << 11), 1 => Just(1 << 4 | 1 << 40)]
}

/// A step of connections that there are.
fn op() -> impl Strategy<Value = Op> {
    let socket = 0..8_u8;
    let size = || prop_oneof![67 => 1..100_u32, 30 => 1000..3000_u32, 3 => 60_000..900_000_u32];
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
        2 => (socket.clone(), 1..3000_u16).prop_map(|(socket, len)| Op::RecvAll(socket, len)),
        30 => socket.clone().prop_map(Op::StepRecv),
        1 => socket.clone().prop_map(Op::Close),
        1 => (socket.clone(), 1..3_u8).prop_map(|(socket, bytes)| Op::RcvLowAt(socket, bytes)),
        6 => (socket.clone(), any::<bool>()).prop_map(|(socket, set)| Op::NonBlocking(socket, set)),
        2 => (socket.clone(), options(), prop_oneof![9 => Just(-1), 1 => Just(0)])
            .prop_map(|(socket, bits, peek_off)| Op::Options(socket, bits, peek_off)),
        1 => socket.clone().prop_map(Op::Protocol),
        1 => (socket.clone(), 0..128_u8).prop_map(|(socket, flags)| Op::OtherCallbacks(socket, flags)),
        2 => socket.clone().prop_map(Op::OtherMap),
        1 => socket.clone().prop_map(Op::ShutdownRead),
        1 => socket.clone().prop_map(Op::ShutdownWrite),
        1 => (socket.clone(), timers()).prop_map(|(socket, timers)| Op::Timers(socket, timers)),
        6 => (socket.clone(), watchers()).prop_map(|(socket, watchers)| Op::Watch(socket, watchers)),
        3 => (socket.clone(), buffers()).prop_map(|(socket, buffers)| Op::Buffers(socket, buffers)),
        4 => (socket, group()).prop_map(|(socket, group)| Op::Group(socket, group)),
        1 => prop::bool::weighted(0.3).prop_map(Op::Pressure),
        1 => prop::bool::weighted(0.8).prop_map(Op::Switch),
        1 => Just(Op::Evict),
        2 => (any::<u8>(), any::<u8>(), any::<u32>()).prop_map(|(of, how, mark)| Op::Forge(of, how, mark)),
        3 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(from, to, kept)| Op::Tear(from, to, kept)),
        1 => any::<bool>().prop_map(Op::Cpu),
    ]
}

/// The same, or a probe, or what is refused from now on.
fn op_or_refusal() -> impl Strategy<Value = Op> {
    let refusal = |(options, callbacks)| Op::Refuse(Refusals { options, callbacks, rto_max: false });
    prop_oneof![
        60 => op(),
        2 => (0..8_u8).prop_map(Op::Probe),
        1 => any::<(bool, bool)>().prop_map(refusal),
    ]
}

/// Histories of up to `length` steps; the first one connects. Half of them are about that connection alone, which is
/// accepted at once, and whose readers are mostly edge-triggered, so that more happens to it.
pub(crate) fn history(length: usize) -> impl Strategy<Value = Vec<Op>> {
    let many =
        (connect(), prop::collection::vec(prop_oneof![1 => connect(), 49 => op_or_refusal()], length / 2..length));
    let many = many.prop_map(|(first, ops)| [vec![first], ops].concat());
    let edge = [Some(Waiter::Epoll { edge: true, data: 7, fd: 7 }), None];
    let watched = || prop_oneof![Just(edge), watchers()];
    let begin = (connect(), watched(), watched(), prop::option::weighted(0.3, buffers()));
    let begin = begin.prop_map(|(first, server, client, buffers)| {
        let accepted = [first, Op::Handshake(0), Op::Accept(0), Op::Watch(0, server), Op::Watch(1, client)];
        let buffers = buffers.map(|sizes| [Op::Buffers(0, sizes), Op::Buffers(1, sizes)]);
        accepted.into_iter().chain(buffers.into_iter().flatten()).collect::<Vec<_>>()
    });
    let one = (begin, prop::collection::vec(op_or_refusal(), length / 4..length / 2));
    let one = one.prop_map(|(begin, ops)| [begin, ops].concat());
    (settings(), prop_oneof![many, one]).prop_map(|(settings, ops)| [vec![Op::Settings(settings)], ops].concat())
}

/// Histories in which the agent is killed.
pub(crate) fn killed_history(length: usize) -> impl Strategy<Value = Vec<Op>> {
    let after = prop::collection::vec(prop_oneof![1 => connect(), 29 => op()], length / 2..length);
    (history(length), after).prop_map(|(before, after)| [before, vec![Op::Kill], after].concat())
}

/// A step of readers that are watched.
fn watched_op() -> impl Strategy<Value = Op> {
    let socket = 0..4_u8;
    let wrong =
        || prop_oneof![Just(WrongDescriptor::Closed), Just(WrongDescriptor::BeyondTable), Just(WrongDescriptor::Pipe)];
    prop_oneof![
        1 => (socket.clone(), wrong()).prop_map(|(socket, wrong)| Op::SpliceAnother(socket, wrong)),
        3 => Just(Op::Join),
        1 => (socket.clone(), 1..3000_u16).prop_map(|(socket, want)| Op::Splice(socket, want)),
        1 => (socket.clone(), 1..3000_u16).prop_map(|(socket, want)| Op::Take(socket, want)),
        1 => socket.clone().prop_map(Op::Peek),
        2 => admit(),
        8 => (socket, 1..20_u8, 1..200_u32).prop_map(|(socket, rounds, len)| Op::Exchange(socket, rounds, len)),
    ]
}

fn cgroup() -> impl Strategy<Value = Cgroup> {
    prop_oneof![8 => Just(Cgroup::Accelerated), 2 => Just(Cgroup::Trusted), 1 => Just(Cgroup::OptedOut)]
}

fn admit() -> impl Strategy<Value = Op> {
    prop_oneof![Just(0), Just(100), Just(u32::MAX)].prop_map(Op::Admit)
}

/// Histories of readers that are watched: of a connection that has had some receives, of up to `length` steps.
pub(crate) fn watched_history(length: usize) -> impl Strategy<Value = Vec<Op>> {
    let edge = [Some(Waiter::Epoll { edge: true, data: 7, fd: 7 }), None];
    let begin = (settings(), (cgroup(), cgroup()), 15..20_u8, admit(), 1..8_u8, 1..200_u32);
    let begin = begin.prop_map(move |(settings, (client, server), rounds, admit, more, len)| {
        let connect = Op::Connect(Connect::between(client, server));
        let mut ops = vec![Op::Settings(settings), connect, Op::Handshake(0), Op::Accept(0)];
        ops.extend([Op::Watch(0, edge), Op::Watch(1, edge), Op::Exchange(1, rounds, len), admit]);
        ops.extend([Op::Exchange(1, more, len), Op::Join, Op::Exchange(1, more, len)]);
        ops
    });
    let more = prop::collection::vec(prop_oneof![3 => op(), 1 => watched_op()], 0..length);
    (begin, more).prop_map(|(begin, more)| [begin, more].concat())
}

/// A step of an agent that adopts.
fn adopting_op() -> impl Strategy<Value = Op> {
    let socket = || 0..4_u8;
    prop_oneof![
        6 => socket().prop_map(Op::Adopt),
        20 => Just(Op::AdoptStep),
        1 => Just(Op::AdoptStop),
        2 => (socket(), socket(), any::<bool>()).prop_map(|(client, server, careless)| Op::Nominate(client, server, careless)),
        1 => socket().prop_map(Op::Mark),
        1 => Just(Op::DrainMarked),
        1 => Just(Op::Tally),
        4 => (socket(), 1..3_u8, 1..200_u32).prop_map(|(socket, rounds, len)| Op::Exchange(socket, rounds, len)),
    ]
}

/// Histories of up to `length` steps of connections that exist before the programs are attached, or whose pairs have left, and that
/// the agent adopts.
pub(crate) fn adopted_history(length: usize) -> impl Strategy<Value = Vec<Op>> {
    let edge = [Some(Waiter::Epoll { edge: true, data: 7, fd: 7 }), None];
    let rarely = || prop::bool::weighted(0.05);
    let connections = prop::collection::vec((rarely(), rarely(), any::<(u32, u32)>()), 1..3);
    let begin = (settings(), any::<bool>(), connections, prop_oneof![Just(edge), watchers()]);
    let begin = begin.prop_map(move |(settings, attached_later, connections, watchers)| {
        let mut ops = vec![Op::Settings(Settings { attached_later, ..settings })];
        for ((rewritten, unmarked, isn), port) in connections.into_iter().zip(0..) {
            let how = Connect { rewritten, unmarked: (unmarked, false), isn, ..Connect::from_port(port) };
            ops.extend([Op::Connect(how), Op::Handshake(0), Op::Accept(0)]);
            ops.extend([Op::Watch(0, watchers), Op::Watch(1, edge), Op::Exchange(1, 2, 10)]);
            if !attached_later {
                ops.extend([Op::Mark(1), Op::Exchange(1, 2, 10)]);
            }
        }
        if attached_later {
            ops.push(Op::Attach);
        }
        ops
    });
    let more = prop::collection::vec(prop_oneof![3 => op_or_refusal(), 2 => adopting_op()], 0..length);
    (begin, more).prop_map(|(begin, more)| [begin, more].concat())
}

/// Histories of a connection that is adopted, whose readers earn trust then, of up to `length` steps.
pub(crate) fn adopted_and_watched_history(length: usize) -> impl Strategy<Value = Vec<Op>> {
    let edge = [Some(Waiter::Epoll { edge: true, data: 7, fd: 7 }), None];
    let begin = (settings(), (cgroup(), cgroup()), 0..10_usize, 15..20_u8, admit(), 1..8_u8, 1..200_u32);
    let begin = begin.prop_map(move |(settings, (client, server), steps, rounds, admit, more, len)| {
        let connect = Op::Connect(Connect::between(client, server));
        let settings = Settings { attached_later: true, ..settings };
        let mut ops = vec![Op::Settings(settings), connect, Op::Handshake(0), Op::Accept(0)];
        ops.extend([Op::Watch(0, edge), Op::Watch(1, edge), Op::Exchange(1, 2, 10), Op::Attach, Op::Adopt(1)]);
        // The readers earn it before, while and after the connection becomes a pair.
        ops.extend(vec![Op::AdoptStep; steps]);
        ops.extend([Op::Exchange(1, rounds, len), admit]);
        ops.extend(vec![Op::AdoptStep; 10 - steps]);
        ops.extend([Op::Exchange(1, more, len), Op::Join, Op::Exchange(1, more, len)]);
        ops
    });
    let more = prop_oneof![6 => op(), 2 => watched_op(), 1 => adopting_op()];
    (begin, prop::collection::vec(more, 0..length)).prop_map(|(begin, more)| [begin, more].concat())
}

/// Histories that end with the drain, while messages are underway, and with the tally.
pub(crate) fn drained_history(length: usize) -> impl Strategy<Value = Vec<Op>> {
    let socket = 0..4_u8;
    let step = prop_oneof![
        3 => Just(Op::Drain),
        3 => Just(Op::DrainMarked),
        1 => Just(Op::Switch(true)),
        3 => socket.clone().prop_map(Op::Mark),
        1 => Just(Op::Tally),
        3 => (socket.clone(), 1..2000_u32).prop_map(|(socket, len)| Op::Send(socket, len)),
        3 => socket.clone().prop_map(Op::FinishSend),
        2 => socket.clone().prop_map(Op::Deliver),
        2 => socket.clone().prop_map(Op::Ack),
        2 => socket.clone().prop_map(|socket| Op::Recv(socket, 5000)),
        4 => socket.clone().prop_map(Op::StepRecv),
        1 => socket.clone().prop_map(Op::Close),
        2 => socket.prop_map(Op::OtherMap),
    ];
    (history(length), prop::collection::vec(step, 5..40)).prop_map(|(ops, end)| [ops, end].concat())
}
