//! Scenarios in which the agent makes a pair of two open sockets while messages flow: `adopt` runs for setsockopt(2) calls of the
//! agent, and then both enter the sockhash.

use sidestep::agent::map_loads;
use sidestep::asm;
use sidestep::dataplane::{ADOPTION, AdoptionFields, AdoptionRequest, AdoptionStep, Tier, adopt};
use sidestep::verifier_sim::interp::Program;
use sidestep::verifier_sim::kernel::offset_of;
use sidestep::verifier_sim::spec::{MapSpec, MapType};

use super::event::{Change, Order};
use super::kernel::{Message, lock_sock, recvmsg, release_sock};
use super::pair::{COOKIE, End, PLAIN, Pair, R, S};
use super::process::{Cpu, Stop};
use super::programs;
use super::scenario::{Scenario, arriving, large, order_reader, sends};

/// Places that nothing else uses in the simulated `struct sock`, for what only `adopt` reads.
const STATE: u16 = 0x012;
const NUMBERS: [(&str, u16); 4] =
    [("sk_txhash", 0x340), ("__sk_common.skc_rxhash", 0x344), ("snd_una", 0x348), ("rcv_nxt", 0x34c)];
/// `TCP_ESTABLISHED`, include/net/tcp_states.h.
const ESTABLISHED: u8 = 1;

/// Where a request has the peer's cookie, the address of its storage, and its own.
const PEER: [usize; 3] = [16, 24, 32];

fn fields() -> AdoptionFields {
    let place = |path: &str| NUMBERS.iter().find(|(known, _)| *known == path).map(|(_, place)| *place);
    AdoptionFields::resolve(|field| match field.path {
        "__sk_common.skc_state" => Ok(STATE),
        "__sk_common.skc_cookie" => Ok(offset_of("sock", "__sk_common.skc_cookie.counter").unwrap()),
        path => place(path).ok_or(format!("{path} has no place")),
    })
    .unwrap()
}

/// Two sockets that have been a pair before. Now they are plain TCP.
fn plain(pair: &mut Pair) {
    let Tier::Gated(offsets) = pair.options().tier else { panic!("the gated tier") };
    let program: asm::Program = adopt(pair.options(), &offsets, &fields()).unwrap();
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
        let End { sk, storage, refs, user_data, member, state, .. } = pair.ends[end].clone();
        pair.poke(sk + u64::from(STATE), &[ESTABLISHED]);
        for (loc, value) in [(refs, 0), (user_data, 0), (member, 0), (state, PLAIN)] {
            pair.begin_with(loc, value);
        }
        pair.declare(format!("{}.COOKIE", ["S", "R"][end]), storage + COOKIE, 8);
    }
    pair.share(S);
    pair.count_senders(1);
}

/// What the agent asks for.
fn request(pair: &Pair, end: usize, step: AdoptionStep) -> Vec<u8> {
    let (own, peer) = (&pair.ends[end], &pair.ends[1 - end]);
    // The acknowledged bytes are counted from 0, as are those of `NUMBERS`.
    let initial = ["bytes_acked", "bytes_received"].map(|path| {
        let at = own.sk + u64::from(offset_of("tcp_sock", path).unwrap());
        0_u32.wrapping_sub(pair.number_at(at, 8) as u32)
    });
    let (is_client, sk) = (end == S, own.address);
    let about =
        AdoptionRequest { step, is_client, sk, peer: None, initial, by_stack: false, is_trusted: false, change: None };
    let mut bytes = about.to_bytes().to_vec();
    for (at, value) in PEER.into_iter().zip([peer.cookie, peer.storage, peer.address]) {
        bytes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
    }
    bytes
}

/// setsockopt(2) of the agent.
fn asks(cpu: &mut Cpu, end: usize, step: AdoptionStep) -> Result<(), Stop> {
    lock_sock(cpu, end)?;
    let request = request(cpu.pair, end, step);
    programs::adopt(cpu, end, &request)?;
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

fn adopts(cpu: &mut Cpu) -> Result<(), Stop> {
    asks(cpu, R, AdoptionStep::Prepare)?;
    asks(cpu, S, AdoptionStep::Pair)?;
    asks(cpu, R, AdoptionStep::Pair)?;
    enters(cpu, S)?;
    enters(cpu, R)
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
        mended: Some(look_under_lock),
    },
    Scenario {
        name: "adoption, two messages, the second by the stack",
        before: plain,
        processes: &[("sender", |cpu| sends(cpu, &BOTH_WAYS)), ("agent", adopts), ("reader", |cpu| reads(cpu, [2, 0]))],
        mended: Some(look_under_lock),
    },
];

/// The reader looks at the redirect queue once more when it has the lock: on arm64 the kernel lacks an order there.
fn look_under_lock(pair: &mut Pair) {
    order_reader(pair);
    pair.looks_under_lock = true;
}
