//! Histories for checks that random ones seldom meet.

use sidestep::verifier_sim::kernel::{Buffers, Cgroup, Refusals, Timers, Waiter, WrongDescriptor};

use crate::history::{Connect, Op, Settings, Watchers};

/// By their numbers: the newest socket is number 0.
const SERVER: u8 = 0;
const CLIENT: u8 = 1;
/// Keepalive sends one of the server's.
pub(super) const PROBE: Op = Op::Probe(SERVER);

const POLL: Option<Waiter> = Some(Waiter::Poll);
/// Data as nginx registers it, an address; as Go does, one with a tag; as libevent does, the descriptor.
const ADDRESS: u64 = 0x7f12_3456_7890;
const TAGGED: u64 = 0x5a00_7f12_3456_7890;
const DESCRIPTOR: u64 = 7;

const fn epoll(edge: bool, data: u64) -> Option<Waiter> {
    Some(Waiter::Epoll { edge, data, fd: DESCRIPTOR as u32 })
}

const LEVEL: Option<Waiter> = epoll(false, DESCRIPTOR);
const EDGE: Option<Waiter> = epoll(true, DESCRIPTOR);

/// A pair whose server has been accepted and is watched so.
fn pair(settings: Settings, watchers: Watchers) -> Vec<Op> {
    vec![
        Op::Settings(settings),
        Op::Connect(Connect::plain()),
        Op::Handshake(SERVER),
        Op::Accept(SERVER),
        Op::Watch(SERVER, watchers),
    ]
}

/// Messages of these sizes reach the server's queue, or the stack.
fn sends(sizes: &[u32]) -> impl Iterator<Item = Op> {
    sizes.iter().flat_map(|size| [Op::Send(CLIENT, *size), Op::FinishSend(CLIENT)])
}

/// A reader that has been looked at, and then sleeps for more on stack bytes (SO_RCVLOWAT sent them there).
fn falls_asleep() -> Vec<Op> {
    let mut ops = vec![Op::Connect(Connect::plain()), Op::Handshake(SERVER), Op::Accept(SERVER)];
    ops.extend([Op::Send(CLIENT, 10), Op::FinishSend(CLIENT), Op::Recv(SERVER, 10)]);
    ops.extend([Op::StepRecv(SERVER); 3]);
    ops.extend([Op::RcvLowAt(SERVER, 2), Op::Send(CLIENT, 10), Op::RcvLowAt(SERVER, 1)]);
    ops.extend([Op::NonBlocking(SERVER, false), Op::Deliver(CLIENT), Op::RecvAll(SERVER, 100)]);
    ops.extend([Op::StepRecv(SERVER); 3]);
    ops.extend([Op::Send(CLIENT, 10), Op::FinishSend(CLIENT)]);
    ops
}

/// A reader that blocks and whose FIONREAD does not see the stack's bytes, which is about to get some.
fn misses_bytes() -> Vec<Op> {
    let settings = Settings { fionread_misses: true, ..Settings::PLAIN };
    let begin = [Op::Settings(settings), Op::Connect(Connect::plain()), Op::Handshake(SERVER), Op::Accept(SERVER)];
    begin.into_iter().chain([Op::NonBlocking(SERVER, false)]).chain(sends(&[10])).collect()
}

/// Readers that may ask FIONREAD, and others, where they are spared.
fn askers() -> impl Iterator<Item = Vec<Op>> {
    let spared = Settings { spare_askers: true, ..Settings::PLAIN };
    let kinds = [epoll(true, ADDRESS), epoll(false, ADDRESS), epoll(true, TAGGED), EDGE, POLL];
    let lists = kinds.into_iter().flat_map(|kind| [[kind, None], [POLL, kind]]);
    // The server has sent before, as a program that calls poll(2) will have.
    let before = [Op::Send(SERVER, 5), Op::FinishSend(SERVER), Op::Deliver(SERVER), Op::Recv(CLIENT, 5)];
    let before = before.into_iter().chain([Op::StepRecv(CLIENT); 3]).collect::<Vec<_>>();
    lists.flat_map(move |list| {
        let pair = pair(spared, list);
        let later = [pair.clone(), before.clone(), sends(&[10]).collect()].concat();
        [pair.into_iter().chain(sends(&[10])).collect(), later]
    })
}

/// Queues that grow until the buffers allow no more, by how the reader is notified, and by what its FIONREAD sees.
fn queues() -> impl Iterator<Item = Vec<Op>> {
    let lists = [[LEVEL, None], [POLL, LEVEL], [LEVEL, POLL], [EDGE, None], [POLL, EDGE]];
    let small = |locks| Buffers { send: 16_000, receive: 16_000, locks };
    let tiny = |locks| Buffers { send: 4000, receive: 4000, locks };
    let large = |locks| Buffers { send: 1 << 20, receive: 1 << 20, locks };
    let cases = [
        (small(1), vec![10, 10, 10]),
        (small(2), vec![10, 10, 10]),
        (small(1), vec![10, 22_000]),
        (tiny(0), vec![10, 2000]),
        (tiny(2), vec![10, 2000]),
        (tiny(3), vec![70_000]),
        (Buffers { send: 1 << 20, ..tiny(2) }, vec![10, 2000]),
        (large(0), vec![60_000, 200_000]),
        (large(0), vec![60_000, 900_000]),
    ];
    let roomy = [false, true].map(|fionread_misses| Settings { roomy: true, fionread_misses, ..Settings::PLAIN });
    let kinds = roomy.into_iter().flat_map(move |settings| lists.into_iter().map(move |list| (settings, list)));
    kinds.flat_map(move |(settings, list)| {
        let of = move |(buffers, sizes): &(Buffers, Vec<u32>)| {
            let sized = [Op::Buffers(SERVER, *buffers), Op::Buffers(CLIENT, *buffers)];
            pair(settings, list).into_iter().chain(sized).chain(sends(sizes)).collect()
        };
        cases.iter().map(of).collect::<Vec<Vec<Op>>>()
    })
}

/// A pair that the agent marks while a message is unread, and when nothing is.
fn marked() -> impl Iterator<Item = Vec<Op>> {
    [false, true].into_iter().map(|reads| {
        let begin = pair(Settings::PLAIN, [LEVEL, None]).into_iter();
        let first = begin.chain([Op::Watch(CLIENT, [LEVEL, None]), Op::Exchange(CLIENT, 2, 10)]).chain(sends(&[10]));
        let read = [Op::Recv(SERVER, 100), Op::StepRecv(SERVER), Op::StepRecv(SERVER)];
        first.chain(read.into_iter().filter(|_| reads)).chain([Op::Mark(CLIENT)]).chain(sends(&[10])).collect()
    })
}

/// A client's message is read from the stack, and its acknowledgement is still underway.
fn unacknowledged() -> Vec<Op> {
    let mut ops = pair(Settings::PLAIN, [LEVEL, None]);
    ops.extend([Op::Watch(CLIENT, [LEVEL, None]), Op::Exchange(CLIENT, 2, 10)]);
    ops.extend([Op::Pressure(true), Op::Send(CLIENT, 10), Op::Deliver(CLIENT), Op::Pressure(false)]);
    ops.push(Op::Recv(SERVER, 100));
    ops.extend([Op::StepRecv(SERVER); 3]);
    ops
}

/// It arrives at a pair that is marked: when a redirected message has been read since, and while one is underway.
fn acknowledged_late() -> [Vec<Op>; 2] {
    let mut read = unacknowledged();
    read.extend(sends(&[10]).chain([Op::Recv(SERVER, 100)]));
    read.extend([Op::StepRecv(SERVER); 3]);
    read.extend([Op::Mark(CLIENT), Op::Ack(CLIENT)]);
    let mut underway = unacknowledged();
    underway.extend([Op::Send(CLIENT, 10), Op::Mark(CLIENT), Op::Ack(CLIENT), Op::FinishSend(CLIENT)]);
    [read, underway]
}

/// A pair leaves for an option in the client's callback, and the server, whose keepalive is still ours, shuts down before it has
/// a callback of its own.
fn shuts_down_after_its_peer_has_left() -> Vec<Op> {
    let mut ops = unacknowledged();
    ops[0] = Op::Settings(Settings { keepalive: 600, ..Settings::PLAIN });
    for op in &mut ops {
        // The message takes the stack for the option.
        if matches!(op, Op::Pressure(_)) {
            *op = Op::Options(CLIENT, 1 << 21, -1);
        }
    }
    ops.extend([Op::Ack(CLIENT), Op::ShutdownRead(SERVER), Op::ShutdownWrite(SERVER)]);
    ops
}

/// An application sets keepalive's times: short ones without keepalive, before there is a pair and later; long ones just before its
/// first message; and some where connections are not tracked.
fn times() -> [Vec<Op>; 4] {
    let timers = |keepalive, idle| Op::Timers(SERVER, Timers { keepalive, idle, interval: 10, ..Timers::default() });
    let tracked = |keepalive| Op::Settings(Settings { keepalive, ..Settings::PLAIN });
    let connect = || [Op::Connect(Connect::plain())].into_iter();
    let accepted = || [Op::Handshake(SERVER), Op::Accept(SERVER)].into_iter();
    let watched = || [SERVER, CLIENT].map(|id| Op::Watch(id, [EDGE, None])).into_iter();
    let sent = || [Op::Send(SERVER, 10), Op::FinishSend(SERVER)].into_iter();
    let before = [tracked(600)].into_iter().chain(connect()).chain([timers(false, 20)]).chain(accepted());
    let later = |keepalive, idle| {
        let begin = [tracked(keepalive)].into_iter().chain(connect()).chain(accepted()).chain(watched());
        begin.chain([timers(true, idle)]).chain(sent()).collect()
    };
    let silenced = [tracked(600)].into_iter().chain(connect()).chain(accepted()).chain(watched());
    let by_stack = [Op::Pressure(true), Op::Exchange(CLIENT, 1, 10), Op::Pressure(false)];
    let silenced = silenced.chain([Op::Exchange(CLIENT, 2, 10), timers(false, 20)]).chain(by_stack);
    let before = before.chain([Op::Exchange(CLIENT, 2, 10)]);
    [before.collect(), silenced.collect(), later(600, 5001), later(0, 20)]
}

/// A receiver on a kernel without TCP_RTO_MAX_MS, whose window is closed by bytes of the stack behind a redirected message, and who
/// sends packets meanwhile: when it is armed, before and after the redirected message has been read. Another program may
/// refuse the options of these packets, and the application may set SO_RCVBUF meanwhile.
pub(super) fn closed_windows() -> impl Iterator<Item = Vec<Op>> {
    let small = |receive| Buffers { send: 1 << 20, receive, locks: 0 };
    let reads = |len| [Op::Recv(SERVER, len), Op::StepRecv(SERVER), Op::StepRecv(SERVER), Op::StepRecv(SERVER)];
    let ends = [Op::Probe(SERVER), Op::ShutdownWrite(SERVER), Op::Close(SERVER)];
    let cases = [false, true].into_iter().flat_map(|options| [false, true].map(|sets| (options, sets)));
    let cases = cases.flat_map(move |(options, sets)| ends.map(|end| (options, sets, end)));
    cases.map(move |(options, sets, end)| {
        let settings = Settings { lacks_rto_max: true, roomy: true, ..Settings::PLAIN };
        let mut ops = pair(settings, [EDGE, None]);
        ops.extend([Op::Buffers(SERVER, small(4000)), Op::Refuse(Refusals { options, ..Refusals::default() })]);
        // More than the first window.
        ops.extend(sends(&[10]).chain([Op::Pressure(true)]).chain(sends(&[40_000; 3])).chain([Op::Pressure(false)]));
        ops.extend([Op::Deliver(CLIENT); 3]);
        ops.extend([Op::Probe(SERVER); 2]);
        if sets {
            ops.push(Op::Buffers(SERVER, Buffers { locks: 2, ..small(6000) }));
            ops.push(Op::Probe(SERVER));
        }
        ops.extend(reads(100));
        ops.extend([Op::Probe(SERVER), end, Op::Probe(SERVER)]);
        ops
    })
}

/// A receiver as in [`closed_windows`], whose application sets such a size when the programs have fixed another one. From then on another
/// program refuses the options of packets. A probe may follow.
pub(super) fn sized_later(receive: u32) -> Vec<Op> {
    let mut ops = pair(Settings { lacks_rto_max: true, roomy: true, ..Settings::PLAIN }, [EDGE, None]);
    let sized = |receive, locks| Op::Buffers(SERVER, Buffers { send: 1 << 20, receive, locks });
    ops.push(sized(4_000, 0));
    ops.extend(sends(&[10]).chain([Op::Pressure(true)]).chain(sends(&[40_000; 3])).chain([Op::Pressure(false)]));
    ops.extend([Op::Deliver(CLIENT); 3]);
    ops.extend([Op::Probe(SERVER); 2]);
    // `SOCK_RCVBUF_LOCK`
    ops.extend([sized(receive, 2), Op::Refuse(Refusals { options: true, ..Refusals::default() })]);
    ops
}

/// A receiver as in [`closed_windows`], whose buffer has room again when the redirected message has been read, but not the stack's
/// bytes. A probe may follow.
pub(super) fn room_behind_a_closed_window(locks: u8) -> Vec<Op> {
    let mut ops = pair(Settings { lacks_rto_max: true, roomy: true, ..Settings::PLAIN }, [EDGE, None]);
    // Together 500 bytes more than the buffer; the first is less than a 32nd of it, so that it is redirected.
    ops.push(Op::Buffers(SERVER, Buffers { send: 1 << 20, receive: 123_000, locks }));
    ops.extend(sends(&[3_500]).chain([Op::Pressure(true)]).chain(sends(&[40_000; 3])).chain([Op::Pressure(false)]));
    ops.extend([Op::Deliver(CLIENT); 3]);
    ops.extend([Op::Probe(SERVER); 2]);
    ops.extend([Op::Recv(SERVER, 3_500), Op::StepRecv(SERVER), Op::StepRecv(SERVER), Op::StepRecv(SERVER)]);
    ops
}

/// All of them.
pub(super) fn histories() -> Vec<Vec<Op>> {
    let begin = [falls_asleep(), misses_bytes()].into_iter().chain(askers()).chain(queues()).chain(marked());
    let begin = begin.chain(acknowledged_late()).chain(times());
    begin.chain([shuts_down_after_its_peer_has_left()]).chain(closed_windows()).collect()
}

/// Messages on a connection between sockets of these cgroups.
fn between(client: Cgroup, server: Cgroup) -> Vec<Op> {
    let mut ops = vec![Op::Settings(Settings::PLAIN), Op::Connect(Connect::between(client, server))];
    ops.extend([Op::Handshake(SERVER), Op::Accept(SERVER)]);
    ops.extend([Op::Watch(SERVER, [EDGE, None]), Op::Watch(CLIENT, [EDGE, None]), Op::Exchange(CLIENT, 3, 10)]);
    ops
}

/// Of cgroups: connections between each two.
pub(super) fn policy_histories() -> impl Iterator<Item = Vec<Op>> {
    let all = [Cgroup::Accelerated, Cgroup::OptedOut, Cgroup::Trusted, Cgroup::Outside];
    all.into_iter().flat_map(move |client| all.into_iter().map(move |server| between(client, server)))
}

/// A connection that has had enough receives for its program's word to count, and whose agent has admitted its processes,
/// trusted with so many bytes.
fn admitted(proven: u32) -> Vec<Op> {
    let mut ops = pair(Settings::PLAIN, [EDGE, None]);
    ops.extend([Op::Watch(CLIENT, [EDGE, None]), Op::Exchange(CLIENT, 17, 10), Op::Admit(proven)]);
    ops.push(Op::Exchange(CLIENT, 2, 10));
    ops
}

/// The agent lets it join where it is not in the sockhash yet, and its first messages have been read.
fn trusted(proven: u32) -> Vec<Op> {
    [admitted(proven), vec![Op::Join, Op::Exchange(CLIENT, 1, 10)]].concat()
}

/// A message of so many bytes is sent, arrives by either way, and is read by a call that may wait for all of them.
fn read(len: u32, all: bool) -> Vec<Op> {
    let call = if all { Op::RecvAll(SERVER, len as u16) } else { Op::Recv(SERVER, 5000) };
    let mut ops = vec![Op::Send(CLIENT, len), Op::FinishSend(CLIENT), Op::Deliver(CLIENT), call];
    ops.extend([Op::StepRecv(SERVER); 4]);
    ops
}

/// The server's reader has entered recv(2), and gets the socket's lock when the pair has joined and two messages have come.
fn held_while_joining() -> Vec<Op> {
    let mut ops = admitted(u32::MAX);
    ops.extend([Op::Recv(SERVER, 5000), Op::Join]);
    ops.extend(sends(&[10]).chain([Op::Deliver(CLIENT), Op::Pressure(true)]));
    ops.extend(sends(&[10]).chain([Op::Deliver(CLIENT), Op::Pressure(false)]));
    ops.extend([Op::StepRecv(SERVER); 4]);
    ops.push(Op::Exchange(CLIENT, 3, 10));
    ops
}

/// A reader of a second process has spliced when a third connection, of processes that are trusted, is new.
fn new_connection_after_splice() -> Vec<Op> {
    let mut ops = trusted(u32::MAX);
    for port in 1..3 {
        ops.extend([Op::Connect(Connect::from_port(port)), Op::Handshake(SERVER), Op::Accept(SERVER)]);
    }
    // By their numbers, the server of the second connection, and the client of the third.
    ops.extend([Op::Splice(2, 10), Op::Exchange(1, 2, 10)]);
    ops
}

/// On a connection that has not joined: a reader asks for all, which ends its trust, and then peeks.
fn waits_for_all_and_peeks() -> Vec<Op> {
    let mut ops = pair(Settings::PLAIN, [EDGE, None]);
    ops.extend([Op::Watch(CLIENT, [EDGE, None]), Op::Exchange(CLIENT, 2, 10)]);
    ops.extend(read(10, true));
    ops.extend([Op::Send(CLIENT, 10), Op::Deliver(CLIENT), Op::Peek(SERVER)]);
    ops
}

/// Three messages are unread when a trusted reader asks for all of one, which ends its trust. It reads the second, or peeks at it and reads both.
fn goes_on_after_waiting_for_all(peeks: bool) -> Vec<Op> {
    let mut ops = trusted(u32::MAX);
    ops.extend(sends(&[10; 3]).chain([Op::RecvAll(SERVER, 10)]).chain([Op::StepRecv(SERVER); 4]));
    ops.extend(Some(Op::Peek(SERVER)).filter(|_| peeks));
    for _ in 0..2 {
        ops.extend([Op::Recv(SERVER, 10), Op::StepRecv(SERVER), Op::StepRecv(SERVER), Op::StepRecv(SERVER)]);
    }
    ops.push(Op::Exchange(CLIENT, 3, 10));
    ops
}

/// The process of a trusted reader splices on its other connection.
fn spliced_elsewhere() -> Vec<Op> {
    let mut ops = trusted(u32::MAX);
    for port in 1..3 {
        ops.extend([Op::Connect(Connect::from_port(port)), Op::Handshake(SERVER), Op::Accept(SERVER)]);
    }
    // The server of the third connection, and the client of the first: every fourth socket is of one process.
    ops.extend([Op::Splice(0, 10), Op::Exchange(5, 2, 10)]);
    ops
}

/// Between trusted cgroups: a reader peeks, which ends its trust, and then gets bytes by the stack.
fn trusted_reader_peeks() -> Vec<Op> {
    let mut ops = between(Cgroup::Trusted, Cgroup::Trusted);
    ops.extend(sends(&[10]).chain([Op::Peek(SERVER), Op::Pressure(true), Op::Exchange(CLIENT, 2, 10)]));
    ops.push(Op::Pressure(false));
    ops
}

/// A connection whose server is accepted.
fn accepted(how: Connect) -> Vec<Op> {
    vec![Op::Connect(how), Op::Handshake(SERVER), Op::Accept(SERVER)]
}

/// One whose server has received so often, and closes.
fn short(how: Connect, receives: u8) -> Vec<Op> {
    [accepted(how), vec![Op::Exchange(CLIENT, receives, 10)], closes()].concat()
}

/// Both ends close.
fn closes() -> Vec<Op> {
    vec![Op::Close(CLIENT), Op::Close(SERVER)]
}

/// Of listeners whose connections are short.
pub(super) fn short_histories() -> Vec<Vec<Op>> {
    let each = |count: u8, receives: u8, how: fn(u8) -> Connect| {
        (0..count).flat_map(move |port| short(how(port), receives)).collect::<Vec<_>>()
    };
    let row = |receives, count| each(count, receives, Connect::from_port);
    let plain = |port| accepted(Connect::from_port(port));
    let plains = |count| each(count, 0, Connect::from_port);
    let tried = |port| Connect::from_port(port).tried();
    // One that is tried lives longer, and its listener is set back.
    let lives = [row(1, 32), plains(3), short(tried(0), 17), plain(0)].concat();
    // The server has gained from what it has sent, and received seldom, or never.
    let watched = vec![Op::Watch(SERVER, [EDGE, None]), Op::Watch(CLIENT, [EDGE, None])];
    let sent = [Op::Send(SERVER, 10), Op::FinishSend(SERVER), Op::Deliver(SERVER), Op::Recv(CLIENT, 5000)];
    let sent = [sent.to_vec(), vec![Op::StepRecv(CLIENT); 4], vec![Op::Ack(SERVER)]].concat();
    let gains = |rounds: Vec<Op>| {
        let begin = [trusted(u32::MAX), row(1, 3), plain(9), watched.clone(), rounds.clone()];
        [begin.concat(), vec![Op::Admit(u32::MAX)], rounds, vec![Op::Join], closes(), plain(10)].concat()
    };
    let seldom = gains([vec![Op::Exchange(CLIENT, 1, 10)], sent.repeat(3)].concat().repeat(4));
    let never = gains(sent.repeat(12));
    // One whose reader is trusted by name sets its listener back, when it is tried.
    let by_name = Connect::between(Cgroup::Accelerated, Cgroup::Trusted);
    let by_name = [row(1, 33), plains(2), accepted(by_name.tried()), closes(), plain(40)].concat();
    // One whose pair has left, which had received once.
    let leaves = vec![Op::Exchange(CLIENT, 1, 10), Op::Mark(CLIENT), Op::Mark(SERVER), Op::Exchange(CLIENT, 3, 10)];
    let acknowledged = vec![Op::Ack(CLIENT), Op::Ack(SERVER), Op::Ack(CLIENT), Op::Ack(SERVER)];
    let left = [row(1, 3), plain(9), leaves, acknowledged, closes()].concat();
    vec![
        // One, and then another; many, and then those that are left alone and those that are tried.
        [row(1, 1), plain(9)].concat(),
        [row(1, 33), plains(10), short(tried(0), 1), plains(10), short(tried(0), 0)].concat(),
        // Until no agent adopts any more.
        [each(255, 1, |port| Connect::from_port(port).tried()), plain(0)].concat(),
        // Their receives are not seen, since there are none; and they are just long enough.
        [row(0, 33), plain(40)].concat(),
        [row(16, 33), plain(40)].concat(),
        lives,
        seldom,
        never,
        by_name,
        short(Connect::between(Cgroup::Accelerated, Cgroup::Trusted), 2),
        left,
    ]
}

/// Of readers that have to earn trust.
pub(super) fn watched_histories() -> Vec<Vec<Op>> {
    let after = |proven, more: &[Vec<Op>]| [trusted(proven), more.concat()].concat();
    let any = u32::MAX;
    let by_stack = [vec![Op::Pressure(true), Op::Send(CLIENT, 10), Op::Deliver(CLIENT), Op::Pressure(false)]].concat();
    vec![
        // Trust that is earned, and then used up; that of a stream; a row of messages.
        after(
            0,
            &[vec![Op::Exchange(CLIENT, 70, 10), Op::Join, Op::Exchange(CLIENT, 2, 10), Op::Exchange(CLIENT, 2, 20)]],
        ),
        after(0, &[vec![Op::Exchange(CLIENT, 66, 1 << 20), Op::Join, Op::Exchange(CLIENT, 2, 2 << 20)]]),
        after(1000, &[read(600, false), read(600, false), read(600, false)]),
        // A reader that peeks, one that waits for all, one that splices, one for which the kernel reads.
        after(any, &[vec![Op::Peek(SERVER), Op::Exchange(CLIENT, 3, 10)]]),
        after(
            any,
            &[vec![Op::Send(CLIENT, 10), Op::FinishSend(CLIENT), Op::Peek(SERVER), Op::Exchange(CLIENT, 3, 10)]],
        ),
        after(any, &[read(10, true), read(10, false), read(10, false)]),
        after(any, &[read(10, true), by_stack.clone(), vec![Op::Peek(SERVER), Op::Exchange(CLIENT, 3, 10)]]),
        after(any, &[vec![Op::Splice(SERVER, 10), Op::Exchange(CLIENT, 3, 10)]]),
        after(any, &[vec![Op::Send(CLIENT, 10), Op::FinishSend(CLIENT), Op::Splice(SERVER, 10)]]),
        after(any, &[by_stack, vec![Op::Take(SERVER, 100), Op::Exchange(CLIENT, 3, 10)]]),
        new_connection_after_splice(),
        held_while_joining(),
        // Calls that name no socket; a reader of a trusted cgroup that peeks; the agent is asked again.
        after(any, &[vec![Op::SpliceAnother(SERVER, WrongDescriptor::BeyondTable)]]),
        after(any, &[vec![Op::SpliceAnother(SERVER, WrongDescriptor::Pipe)]]),
        after(any, &[vec![Op::Exchange(CLIENT, 250, 10)]]),
        trusted_reader_peeks(),
        waits_for_all_and_peeks(),
        goes_on_after_waiting_for_all(false),
        goes_on_after_waiting_for_all(true),
        spliced_elsewhere(),
    ]
    .into_iter()
    .chain(policy_histories())
    .chain(short_histories())
    .collect()
}

/// A connection that exists before the programs are attached, whose agent has looked at both ends.
fn looked_at(settings: Settings) -> Vec<Op> {
    let mut ops = pair(Settings { attached_later: true, ..settings }, [EDGE, None]);
    ops.extend([Op::Watch(CLIENT, [EDGE, None]), Op::Exchange(CLIENT, 2, 10), Op::Attach]);
    ops.extend([Op::Adopt(CLIENT), Op::AdoptStep, Op::AdoptStep]);
    ops
}

/// Of connections that are adopted.
pub(super) fn adopted_histories() -> Vec<Vec<Op>> {
    let steps = |count: usize| vec![Op::AdoptStep; count];
    let tracked = || looked_at(Settings { keepalive: 600, ..Settings::PLAIN });
    let with = |more: &[Vec<Op>]| [tracked(), more.concat()].concat();
    let used = || vec![Op::Exchange(CLIENT, 4, 10), Op::Tally];
    // What happens between the steps, before each of them.
    let between = [
        Op::ShutdownWrite(CLIENT),
        Op::ShutdownWrite(SERVER),
        Op::ShutdownRead(CLIENT),
        Op::ShutdownRead(SERVER),
        Op::Protocol(CLIENT),
        Op::Protocol(SERVER),
        Op::Close(CLIENT),
        Op::Close(SERVER),
        Op::Switch(false),
    ];
    let interrupted = between.into_iter().flat_map(|op| {
        (0..5).map(move |before| [tracked(), vec![Op::AdoptStep; before], vec![op], vec![Op::AdoptStep; 12]].concat())
    });
    let stopped = (0..6).map(|before| with(&[steps(before), vec![Op::AdoptStop], used()]));
    // It is adopted, leaves, and is adopted again; the tally comes by meanwhile.
    let again = [vec![Op::Mark(CLIENT)], used(), vec![Op::Adopt(CLIENT)], steps(8), used(), used()].concat();
    let again = with(&[steps(6), used(), used(), again]);
    // An agent that asks nothing takes those for free that are one of a pair.
    let careless = |more: &[Vec<Op>]| {
        let begin = [steps(3), vec![Op::AdoptStop, Op::Nominate(CLIENT, SERVER, true)], steps(2)].concat();
        with(&[vec![begin], more.to_vec()].concat())
    };
    // Another program's callbacks at an end that has only been prepared.
    let mut foreign = tracked();
    foreign[1] = Op::Connect(Connect::with_foreign_callbacks());
    foreign.extend([Op::AdoptStep, Op::ShutdownWrite(CLIENT)]);
    foreign.extend(steps(6));
    // A reader that has waited for all, and whose pair has left for that.
    let never = [
        pair(Settings::PLAIN, [EDGE, None]),
        vec![Op::Watch(CLIENT, [EDGE, None]), Op::Exchange(CLIENT, 2, 10)],
        read(10, true),
        used(),
        vec![Op::Mark(CLIENT)],
        used(),
        vec![Op::Adopt(CLIENT)],
        steps(6),
    ]
    .concat();
    // A pair that has left, and one end of which another tool has in a map of its own.
    let elsewhere = [
        pair(Settings::PLAIN, [EDGE, None]),
        vec![Op::Watch(CLIENT, [EDGE, None]), Op::Exchange(CLIENT, 2, 10), Op::OtherMap(SERVER), Op::Mark(CLIENT)],
        used(),
        vec![Op::Nominate(CLIENT, SERVER, true)],
        steps(6),
    ]
    .concat();
    // An end that a callback arms, since the agent has marked it and bytes are unread, and that is given back then; also one that probes.
    let mut armed = [tracked(), tracked()];
    armed[1].insert(5, Op::Timers(CLIENT, Timers { keepalive: true, idle: 20, interval: 10, ..Timers::default() }));
    for ops in &mut armed {
        ops.extend([steps(2), vec![Op::Mark(CLIENT), Op::Send(SERVER, 10), Op::FinishSend(SERVER)]].concat());
        ops.extend([Op::Deliver(SERVER), Op::Ack(SERVER), Op::Send(CLIENT, 1), Op::FinishSend(CLIENT)]);
        ops.extend([vec![Op::Deliver(CLIENT), Op::ShutdownWrite(SERVER)], steps(8)].concat());
    }
    // An application that has set short times, and does not probe.
    let mut silent = tracked();
    silent.insert(5, Op::Timers(SERVER, Timers { keepalive: false, idle: 20, interval: 10, ..Timers::default() }));
    silent.extend([steps(6), used(), used()].concat());
    let all =
        [with(&[steps(6), used(), used()]), again, careless(&[steps(8), used()]), foreign, never, elsewhere, silent];
    // Both ends have been told their peers, when something happens, and the client cannot enter any more.
    let timers = Op::Timers(SERVER, Timers { keepalive: true, idle: 22, interval: 10, ..Timers::default() });
    let refused = Op::Refuse(Refusals { callbacks: true, ..Refusals::default() });
    let given_back = [timers, refused].map(|op| with(&[steps(3), vec![op, Op::ShutdownWrite(CLIENT)], steps(8)]));
    // An application that probes already, though too seldom.
    let mut probes = tracked();
    probes.insert(5, Op::Timers(SERVER, Timers { keepalive: true, idle: 5001, interval: 10, ..Timers::default() }));
    probes.extend([steps(3), vec![Op::ShutdownWrite(CLIENT)], steps(8)].concat());
    let without_callbacks = with(&[vec![refused], steps(8), used()]);
    // An agent was killed, and the next one looks.
    let recovered =
        (1..6).map(|before| with(&[steps(before), vec![Op::AdoptStop, Op::Adopt(CLIENT)], steps(8), used()]));
    let all = all.into_iter().chain(armed).chain(interrupted).chain(stopped).chain(given_back).chain(recovered);
    all.chain([without_callbacks, probes]).collect()
}

/// Of the drain: bytes that are unread, and a reader that has read the redirected ones and is still armed for others.
pub(super) fn drained_histories() -> Vec<Vec<Op>> {
    let unread: Vec<_> = pair(Settings::PLAIN, [EDGE, None]).into_iter().chain(sends(&[10])).collect();
    let mut armed = unread.clone();
    armed.extend([Op::Pressure(true), Op::Send(CLIENT, 10), Op::Deliver(CLIENT), Op::Pressure(false)]);
    armed.push(Op::Recv(SERVER, 10));
    armed.extend([Op::StepRecv(SERVER); 3]);
    let quiet: Vec<_> = pair(Settings::PLAIN, [EDGE, None]).into_iter().chain([Op::Exchange(CLIENT, 2, 10)]).collect();
    let marked = |ops: &Vec<Op>| [ops.clone(), vec![Op::Mark(CLIENT), Op::DrainMarked, Op::DrainMarked]].concat();
    // A pair that the drain has taken out while its callbacks are there, and one that stays beside it.
    let mut gone = marked(&quiet);
    gone.extend([Op::Connect(Connect::from_port(1)), Op::Handshake(SERVER), Op::Accept(SERVER)]);
    gone.extend([Op::Exchange(CLIENT, 2, 10), Op::DrainMarked]);
    // A sender is underway while its own entry, whose queue is empty, is looked at.
    let underway = [vec![Op::Drain; 2], vec![Op::Mark(CLIENT), Op::DrainMarked, Op::DrainMarked]].map(|drains| {
        let ops = [quiet.clone(), vec![Op::Send(CLIENT, 10)], drains, vec![Op::FinishSend(CLIENT)]];
        ops.concat()
    });
    let marked = [&unread, &armed, &quiet].map(marked);
    let all = [unread, armed].map(|ops| [ops, vec![Op::Drain, Op::Drain]].concat());
    all.into_iter().chain(marked).chain(underway).chain([gone]).collect()
}
