//! Scenarios in which the agent makes a pair of two open sockets while messages flow: `adopt` runs for setsockopt(2) calls of the
//! agent, and then both enter the sockhash.

use sidestep::agent::{map_loads, simulated_adoption_fields};
use sidestep::asm;
use sidestep::dataplane::{ADOPTION, AdoptionRequest, AdoptionStep, Tier, adopt};
use sidestep::verifier_sim::interp::Program;
use sidestep::verifier_sim::kernel::offset_of;
use sidestep::verifier_sim::spec::{MapSpec, MapType};

use super::event::{Change, Order};
use super::kernel::{Message, acknowledge, lock_sock, recvmsg, release_sock, sock_hash_delete};
use super::pair::{COOKIE, End, KEEPALIVE_TIME, PAIRED, PLAIN, Pair, R, S};
use super::process::{Cpu, Stop};
use super::programs;
use super::scenario::{Named, Scenario, arriving, large, mark, order_reader, sends};

/// Where a request has the peer's cookie, the address of its storage, and its own.
const PEER: [usize; 3] = [16, 24, 32];

/// Two sockets that have been a pair before. Now they are plain TCP.
fn plain(pair: &mut Pair) {
    let Tier::Gated(offsets) = pair.options().tier else { panic!("the gated tier") };
    let program: asm::Program = adopt(pair.options(), &offsets, &simulated_adoption_fields().unwrap()).unwrap();
    let size = AdoptionRequest::SIZE as u32;
    let map = MapSpec { map_type: MapType::ARRAY, key_size: 4, value_size: size, max_entries: 1, ..MapSpec::default() };
    let requests = pair.machine.add_map(&map).unwrap();
    let mut numbers = pair.numbers.clone();
    numbers.resize(ADOPTION.0 as usize, usize::MAX);
    numbers.push(requests);
    let program = Program::new(program.insns().to_vec(), &map_loads(&program), &numbers);
    pair.programs.insert("adopt", program);
    pair.requests = Some(requests);
    for end in [S, R] {
        let End { storage, refs, user_data, member, state, .. } = pair.ends[end].clone();
        for (loc, value) in [(refs, 0), (user_data, 0), (member, 0), (state, PLAIN)] {
            pair.begin_with(loc, value);
        }
        pair.declare(format!("{}.COOKIE", ["S", "R"][end]), storage + COOKIE, 8);
    }
    // The passive end's, which the active end's gate looks at.
    pair.declare("R.KEEPALIVE_TIME", pair.ends[R].storage + KEEPALIVE_TIME, 4);
    pair.share(S);
    pair.count_senders(1);
}

/// What the agent asks for.
fn request(pair: &Pair, end: usize, step: AdoptionStep) -> Vec<u8> {
    let (own, peer) = (&pair.ends[end], &pair.ends[1 - end]);
    let number = |path, size| pair.number_at(own.sk + u64::from(offset_of("tcp_sock", path).unwrap()), size) as u32;
    let initial = [("snd_una", "bytes_acked"), ("rcv_nxt", "bytes_received")]
        .map(|(number_path, bytes)| number(number_path, 4).wrapping_sub(number(bytes, 8)));
    let (is_client, sk) = (end == S, own.address);
    let about =
        AdoptionRequest { step, is_client, sk, peer: None, initial, by_stack: false, is_trusted: false, change: None };
    let mut bytes = about.to_bytes().to_vec();
    for (at, value) in PEER.into_iter().zip([peer.cookie, peer.storage, peer.address]) {
        bytes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
    }
    bytes
}

/// setsockopt(2) of the agent. Nothing can be in the way of what it asks for.
fn asks(cpu: &mut Cpu, end: usize, step: AdoptionStep) -> Result<(), Stop> {
    lock_sock(cpu, end)?;
    let request = request(cpu.pair, end, step);
    if !programs::adopt(cpu, end, &request)? {
        return Err(cpu.fail(format!("{step:?} is refused")));
    }
    release_sock(cpu, end)
}

/// `sock_map_update_elem_sys`: the socket gets a psock, and then its entry in the sockhash.
fn enters(cpu: &mut Cpu, end: usize) -> Result<(), Stop> {
    let End { refs, user_data, member, .. } = cpu.pair.ends[end].clone();
    lock_sock(cpu, end)?;
    cpu.store(refs, 1)?;
    cpu.store_release(user_data, cpu.pair.psocks[end])?;
    // Under the lock of its bucket.
    cpu.update(member, Change::Set(1), Order::Release)?;
    release_sock(cpu, end)
}

fn pairs(cpu: &mut Cpu) -> Result<(), Stop> {
    asks(cpu, R, AdoptionStep::Prepare)?;
    asks(cpu, S, AdoptionStep::Pair)?;
    asks(cpu, R, AdoptionStep::Pair)
}

fn adopts(cpu: &mut Cpu) -> Result<(), Stop> {
    pairs(cpu)?;
    enters(cpu, S)?;
    enters(cpu, R)
}

/// Takes back what it has begun.
fn unasks(cpu: &mut Cpu) -> Result<(), Stop> {
    for end in [S, R] {
        sock_hash_delete(cpu, end)?;
    }
    for end in [S, R] {
        asks(cpu, end, AdoptionStep::Undo)?;
    }
    Ok(())
}

/// The sockhash has room for one end only.
fn enters_alone(cpu: &mut Cpu, end: usize) -> Result<(), Stop> {
    pairs(cpu)?;
    enters(cpu, end)?;
    unasks(cpu)
}

/// Looks whether both are still a pair when both are in the sockhash, as the agent does.
fn adopts_and_looks(cpu: &mut Cpu) -> Result<(), Stop> {
    adopts(cpu)?;
    for end in [S, R] {
        let state = cpu.pair.ends[end].state;
        if cpu.load(state)? != PAIRED {
            return unasks(cpu);
        }
    }
    Ok(())
}

/// Reads once at any time, and then all that there is.
fn reads(cpu: &mut Cpu, messages: [u64; 2]) -> Result<(), Stop> {
    recvmsg(cpu, R)?;
    cpu.wait_for_senders()?;
    (0..3).try_for_each(|_| recvmsg(cpu, R))?;
    cpu.has_received(messages)
}

const BOTH_WAYS: [Message; 2] = [arriving(1), large(2)];

pub(crate) const ADOPTIONS: &[Scenario] = &[
    Scenario {
        name: "adoption, two messages",
        before: plain,
        processes: &[
            ("sender", |cpu| sends(cpu, &[arriving(1), arriving(2)])),
            ("agent", adopts),
            ("reader", |cpu| reads(cpu, [2, 0])),
        ],
        corrected: Some(look_under_lock),
    },
    Scenario {
        name: "adoption, two messages, the second by the stack",
        before: plain,
        processes: &[("sender", |cpu| sends(cpu, &BOTH_WAYS)), ("agent", adopts), ("reader", |cpu| reads(cpu, [2, 0]))],
        corrected: Some(look_under_lock),
    },
];

/// Adoptions that fail half-way, or whose pair leaves at once.
pub(crate) const TAKEN_BACK: &[Scenario] = &[
    Scenario {
        name: "adoption, taken back when the sender's end is in the sockhash",
        before: plain,
        processes: &[SENDER, ("agent", |cpu| enters_alone(cpu, S)), READER],
        corrected: Some(look_under_lock),
    },
    Scenario {
        name: "adoption, taken back when the receiver's end is in the sockhash",
        before: plain,
        processes: &[SENDER, ("agent", |cpu| enters_alone(cpu, R)), READER],
        corrected: Some(look_under_lock),
    },
];

/// The same with callbacks at both ends.
pub(crate) const LEAVES_MEANWHILE: &[Scenario] = &[
    Scenario {
        name: "adoption, a callback of the receiver's end",
        before: |pair| {
            plain(pair);
            pair.share(R);
        },
        processes: &[SENDER, ("agent", adopts_and_looks), READER, ("leaver", |cpu| acknowledge(cpu, R))],
        corrected: Some(look_under_lock),
    },
    Scenario {
        name: "adoption, the pair leaves for a mark",
        before: |pair| {
            plain(pair);
            pair.share(R);
        },
        processes: &[
            SENDER,
            ("agent", |cpu| {
                adopts_and_looks(cpu)?;
                mark(cpu)
            }),
            READER,
            ("leaver", |cpu| acknowledge(cpu, R)),
        ],
        corrected: Some(look_under_lock),
    },
];

const SENDER: Named = ("sender", |cpu| sends(cpu, &[arriving(1), arriving(2)]));
const READER: Named = ("reader", |cpu| reads(cpu, [2, 0]));

/// The reader looks at the redirect queue once more when it has the lock: on arm64 the kernel lacks an order there.
fn look_under_lock(pair: &mut Pair) {
    order_reader(pair);
    pair.looks_under_lock = true;
}
