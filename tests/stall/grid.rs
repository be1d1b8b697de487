//! Readers that pause: the stream survives, its last byte comes as soon as in plain TCP, and what waits pins no more
//! memory than plain TCP lets it, give or take a quarter; three times as much where the reader is edge-triggered, since
//! what takes the stack behind unread redirected bytes has no event of its own.

use std::time::{Duration, Instant};

use sidestep::agent::TierChoice;
use sidestep::dataplane::{Counter, Pairing, Policy, Streams};

use crate::cell::{Cell, Connection, Outcome, Places, Way};
use crate::feature::Feature;
use crate::link::pattern;
use crate::memory::redirected_bytes_are_charged;
use crate::nested::{NestedCgroups, describe};
use crate::reader::Reader;
use crate::refuser;

/// What may be later than in plain TCP: a reader is notified again after a second at most, and half a second is the
/// machine's.
const LATER: Duration = Duration::from_millis(1_500);
/// Memory, in times of plain TCP's.
const MEMORY: f64 = 1.25;
const MEMORY_EDGE: f64 = 3.0;
/// The second number of net.ipv4.tcp_rmem, with which a receiver begins.
const INITIAL_BUFFER: usize = 128 << 10;
/// How often a measurement is made before it counts.
const ROUNDS: usize = 3;
/// Between the pauses' ends.
const TURN: Duration = Duration::from_millis(20);
/// SO_RCVBUF, in KiB.
const BUFFERS: [Option<usize>; 7] = [Some(8), Some(16), Some(32), Some(64), Some(128), Some(256), None];
const WRITES: [usize; 4] = [100, 1_000, 10_000, 65_536];

/// Every cell of a pause.
fn cells(pause: u64, probes: Option<u32>, small: bool) -> Vec<Cell> {
    let mut cells = Vec::new();
    for way in [Way::Loopback, Way::Veth] {
        for reader in Reader::ALL {
            for buffer in BUFFERS.into_iter().filter(|buffer| !small || [Some(8), Some(64), None].contains(buffer)) {
                for write in WRITES.into_iter().filter(|write| !small || [1_000, 65_536].contains(write)) {
                    let (buffer, pause) = (buffer.map(|kib: usize| kib << 10), Duration::from_secs(pause));
                    cells.push(Cell { way, reader, buffer, write, grown: false, pause, probes });
                    if [Some(64 << 10), Some(256 << 10)].contains(&buffer) && write < 65_536 {
                        cells.push(Cell { way, reader, buffer, write, grown: true, pause, probes });
                    }
                }
            }
        }
    }
    cells
}

/// Whether another tool's program keeps ours from writing options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Neighbour {
    None,
    Refuser,
}

/// Runs all cells side by side, each in plain TCP and accelerated, and says what is wrong with each.
fn run(
    cgroups: &NestedCgroups,
    cells: &[Cell],
    streams: Streams,
    neighbour: Neighbour,
    charged: bool,
) -> Vec<Complaint> {
    let (places, bytes) = (Places::new(), pattern(11, 4_700_000));
    let policy = Policy { streams, ..Policy::default() };
    let acceleration = cgroups.accelerate_by(policy, Pairing::Sequence, TierChoice::Gated, &[]);
    let _refuser = (neighbour == Neighbour::Refuser).then(|| refuser::attach(cgroups));
    let all = |first: u16| -> Vec<_> { (first..).zip(cells).map(|(port, cell)| cell.connect(&places, port)).collect() };
    cgroups.leave();
    let plain = all(10_000);
    cgroups.enter();
    let fast = all(20_000);
    let start = Instant::now();
    let outcomes: Vec<(Outcome, Outcome)> = std::thread::scope(|threads| {
        let spawn = |connection, start| {
            let bytes = &bytes;
            threads.spawn(move || Connection::run(connection, bytes, start, charged))
        };
        // Not all in the same moment, since the machine would be what they wait for.
        let starts = (0..).map(|turn| start + TURN * turn);
        let pairs = plain.iter().zip(&fast).zip(starts);
        let running: Vec<_> = pairs.map(|((plain, fast), start)| (spawn(plain, start), spawn(fast, start))).collect();
        running.into_iter().map(|(plain, fast)| (plain.join().unwrap(), fast.join().unwrap())).collect()
    });
    let counters = acceleration.snapshot().unwrap();
    eprintln!("{}", describe(&counters));
    if streams == Streams::Stay && cells.iter().any(|cell| cell.stays()) {
        assert!(counters.get(Counter::Unenrolled) < cells.len() as u64, "no pair has stayed");
    }
    // Where the sender cannot be made to ask for a window, receivers keep theirs closed, which fixes the size of their buffers.
    let fixed = outcomes.iter().filter(|(_, fast)| fast.fixed).count();
    eprintln!("{fixed} receive buffers have been made small");
    assert!(
        neighbour == Neighbour::None || (fixed > 0) != Feature::LongestTimeout.is_here(),
        "{fixed} receive buffers"
    );
    for reader in Reader::ALL {
        let of_it: Vec<_> = cells.iter().zip(&outcomes).filter(|(cell, _)| cell.reader == reader).collect();
        let later = of_it
            .iter()
            .filter_map(|(_, (plain, fast))| Some(fast.late.as_ref().ok()?.saturating_sub(*plain.late.as_ref().ok()?)));
        let memory = of_it.iter().map(|(_, (plain, fast))| times_of_plain(plain, fast)).fold(0.0, f64::max);
        eprintln!(
            "{reader:?}: at most {:.2?} later than in plain TCP, memory at most x{memory:.2}",
            later.max().unwrap_or_default()
        );
    }
    cells.iter().zip(outcomes).flat_map(|(cell, (plain, fast))| judge(*cell, &plain, &fast)).collect()
}

/// What is wrong with a cell.
struct Complaint {
    cell: Cell,
    what: String,
    /// It is a measurement, which a busy machine spoils.
    measured: bool,
}

/// What `fast` pins, in times of what plain TCP pins.
fn times_of_plain(plain: &Outcome, fast: &Outcome) -> f64 {
    fast.memory.total() as f64 / fast.memory.plain_would_hold(&plain.memory) as f64
}

fn judge(cell: Cell, plain: &Outcome, fast: &Outcome) -> Vec<Complaint> {
    let most = if cell.reader == Reader::Level { MEMORY } else { MEMORY_EDGE };
    let ratio = times_of_plain(plain, fast);
    let before = plain.late.as_ref().unwrap_or_else(|error| panic!("{cell}: plain TCP: {error}"));
    let complain = |measured, what| Complaint { cell, what, measured };
    let mut wrong = Vec::new();
    match &fast.late {
        Err(error) => wrong.push(complain(false, error.clone())),
        Ok(late) if *late > *before + LATER => {
            wrong.push(complain(true, format!("last byte after {late:.1?}, plain {before:.1?}")));
        }
        Ok(_) => {}
    }
    if fast.buffer < plain.buffer.min(INITIAL_BUFFER) || cell.buffer.is_some() && fast.buffer != plain.buffer {
        wrong.push(complain(false, format!("SO_RCVBUF is {}, in plain TCP {}", fast.buffer, plain.buffer)));
    }
    wrong.extend(fast.sender.clone().map(|error| complain(false, error)));
    if ratio > most {
        wrong.push(complain(true, format!("memory x{ratio:.2}: {:?}, plain {:?}", fast.memory, plain.memory)));
    }
    wrong
}

/// The complaints about `cells` that do not go away when what was measured is measured again.
fn complaints(
    cgroups: &NestedCgroups,
    mut cells: Vec<Cell>,
    streams: Streams,
    neighbour: Neighbour,
    charged: bool,
) -> Vec<Complaint> {
    let mut final_ones = Vec::new();
    for round in 1..=ROUNDS {
        let found = run(cgroups, &cells, streams, neighbour, charged);
        eprintln!("round {round}: {} cells, {} complaints", cells.len(), found.len());
        found.iter().for_each(|complaint| eprintln!("  {}: {}", complaint.cell, complaint.what));
        let (measured, wrong): (Vec<_>, _) = found.into_iter().partition(|complaint| complaint.measured);
        final_ones.extend(wrong);
        cells = measured.iter().map(|complaint| complaint.cell).collect();
        cells.dedup();
        if round == ROUNDS {
            final_ones.extend(measured);
        } else if cells.is_empty() {
            break;
        }
    }
    final_ones
}

fn all_hold(pauses: &[u64], probes: Option<u32>, streams: Streams, neighbour: Neighbour) {
    if !Feature::SocketOptions.required("readers that pause") {
        return;
    }
    let small = crate::support::machine::is_emulated();
    let cgroups = NestedCgroups::new();
    let charged = redirected_bytes_are_charged(&cgroups);
    // For a closer look at some: words that a cell's name must have, separated by semicolons, and how often it is there.
    // Pauses end one after the other, and so at other moments between two probes. Other pauses, in seconds.
    let meant = std::env::var("STALL_PAUSES").map(|list| list.split(',').map(|each| each.parse().unwrap()).collect());
    let pauses: Vec<u64> = meant.unwrap_or_else(|_| pauses.to_vec());
    let only = std::env::var("STALL_ONLY").unwrap_or_default();
    let copies = std::env::var("STALL_COPIES").map_or(1, |number| number.parse().unwrap());
    let is_meant = |cell: &Cell| {
        only.split(';').all(|word| cell.to_string().contains(word))
            && (streams == Streams::Leave && neighbour == Neighbour::None || cell.buffer.is_none())
    };
    let cells = |pause: &u64| -> Vec<_> {
        let chosen = cells(*pause, probes, small).into_iter().filter(is_meant);
        chosen.flat_map(|cell| std::iter::repeat_n(cell, copies)).collect()
    };
    let wrong: Vec<_> =
        pauses.iter().flat_map(|pause| complaints(&cgroups, cells(pause), streams, neighbour, charged)).collect();
    // In the message itself, since a matrix prints little more of a test that failed.
    let list: String = wrong.iter().map(|complaint| format!("\n{}: {}", complaint.cell, complaint.what)).collect();
    assert!(wrong.is_empty(), "{} complaints:{list}", wrong.len());
}

/// Long enough for a sender in back-off to be late: it sends again after 0.2, 0.6, 1.4, 3, 6.2 and 12.6 s. Two probes
/// without an answer would kill a receiver that is probed each second.
#[test]
fn readers_that_pause_for_seconds() {
    all_hold(&[7], Some(2), Streams::Leave, Neighbour::None);
}

/// Only pairs whose buffers have the default size, since no other pair stays. Its reader is behind for the whole pause.
#[test]
fn readers_that_pause_while_a_stream_stays() {
    all_hold(&[3], Some(2), Streams::Stay, Neighbour::None);
}

/// Only receivers whose application has not set SO_RCVBUF, since no other buffer is made small. Another tool's program then keeps
/// the kernel from asking ours once more for the same packet.
#[test]
fn readers_that_pause_beside_a_program_that_refuses_options() {
    all_hold(&[3], Some(2), Streams::Leave, Neighbour::Refuser);
}

#[test]
#[ignore = "four minutes; --include-ignored runs it"]
fn readers_that_pause_for_up_to_two_minutes() {
    all_hold(&[1, 3, 12, 30, 60, 120], None, Streams::Leave, Neighbour::None);
    all_hold(&[1, 12, 30, 60], None, Streams::Stay, Neighbour::None);
    all_hold(&[7, 30], None, Streams::Leave, Neighbour::Refuser);
}
