//! The instructions of every variant of the programs, as fingerprints in `fixtures/dataplane/fingerprints.txt`.
//!
//! A change that only rewrites the code which emits the programs must leave the table as it is. A change that is meant to
//! alter a program rewrites the table in the same commit: `UPDATE=1 cargo test --test dataplane fingerprints`.

use byteorder::LittleEndian;
use sidestep::asm::{Field, Insn, Program, opcode};
use sidestep::dataplane::{
    BufferLocks, Casts, EpollFields, Hooks, KernelOffsets, MemoryLimit, OptionBits, Options, Pairing, Policy,
    Probation, Readers, Streams, Tier, TraceOffsets, TrustBy, Watch, build,
};
use sidestep::uapi::helper::id as helper;

use crate::variants::policies;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/dataplane/fingerprints.txt");
/// In the binary, since the guests of the kernel matrix do not have the sources.
const KNOWN: &str = include_str!("../../fixtures/dataplane/fingerprints.txt");

/// What a kernel may offer beyond the fields that every variant needs.
const PARTS: [&str; 6] = ["casts", "locks", "epoll", "memory", "iterators", "woken"];

/// The programs, in the order of the table.
const COLUMNS: [&str; 9] =
    ["sock_ops", "sk_msg", "dispatcher", "drain", "tally", "opt_out", "trusted", "receives", "splices"];
/// Those that have a column only where readers are watched.
const WATCHING: [&str; 3] = ["trusted", "receives", "splices"];

/// Offsets of a kernel that does not exist: every field at a place of its own, and the parts whose bit is set.
fn offsets(parts: usize) -> KernelOffsets {
    let mut next = 0;
    let fields = KernelOffsets::resolve(|_| {
        next += 8;
        Ok::<_, std::convert::Infallible>(next)
    });
    let has = |name| PARTS.iter().position(|part| *part == name).is_some_and(|bit| parts & 1 << bit != 0);
    KernelOffsets {
        casts: has("casts").then_some(Casts {
            rdonly_cast: 1001,
            tcp_sock: 1002,
            sk_psock: 1003,
            sock_ops: 1004,
            request: 1005,
            words: 1006,
            packet: 1007,
        }),
        options: OptionBits { sender: 1 << 20, receiver: 1 << 21 | 1 << 22 | 1 << 23 },
        buffer_locks: has("locks").then_some(BufferLocks { byte: Field::new(508), shift: 1 }),
        epoll: has("epoll").then_some(EpollFields {
            queue: Field::new(600),
            list: Field::new(608),
            entry: Field::new(16),
            item: Field::new(0),
            file: Field::new(616),
            fd: Field::new(624),
            events: Field::new(632),
            data: Field::new(640),
        }),
        memory_limit: has("memory").then_some(MemoryLimit {
            granted: Field::new(700),
            group: Field::new(708),
            counter: Field::new(716),
            usage: Field::new(724),
            most: Field::new(732),
            parent: Field::new(740),
        }),
        iterators_have_storage: has("iterators"),
        readers_can_be_woken: has("woken"),
        ..fields.unwrap()
    }
}

/// FNV-1a (draft-eastlake-fnv) of the program's bytes, and their number of instructions.
fn fingerprint(program: Option<&Program>) -> String {
    let Some(program) = program else { return "-".into() };
    let bytes = program.insns().iter().flat_map(|insn| insn.encode::<LittleEndian>());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{}:{hash:016x}", program.insns().len())
}

fn row(name: &str, options: &Options) -> String {
    let plane = build(options.clone()).unwrap();
    let column = |name| {
        let program = plane.programs().find(|program| program.0 == name).map(|program| program.2);
        (plane.options.policy.trust.watch().is_some() || !WATCHING.contains(&name))
            .then(|| format!("{name}={}", fingerprint(program)))
    };
    let columns: Vec<_> = COLUMNS.into_iter().filter_map(column).collect();
    format!("{name}\t{}\n", columns.join(" "))
}

/// Every variant, with its name.
fn variants() -> Vec<(String, Options)> {
    let mut all = Vec::new();
    for pairing in [Pairing::Sequence, Pairing::FourTuple] {
        for (of_policy, policy) in ["all", "policy"].into_iter().zip(policies()) {
            let sticky = Options { pairing, tier: Tier::Sticky, readers: Readers::Any, policy: policy.clone() };
            all.push((format!("{} {of_policy} sticky", pairing.name()), sticky));
            for readers in [Readers::NonBlocking, Readers::Any] {
                for parts in 0..1 << PARTS.len() {
                    let there = PARTS.iter().enumerate().filter(|(bit, _)| parts & 1 << bit != 0);
                    let there: Vec<_> = there.map(|(_, part)| *part).collect();
                    let name = format!("{} {of_policy} gated {} [{}]", pairing.name(), readers.name(), there.join(","));
                    let tier = Tier::Gated(offsets(parts));
                    all.push((name, Options { pairing, tier, readers, policy: policy.clone() }));
                }
            }
        }
    }
    all.extend(watching());
    all.extend(by_file());
    all.extend(streams());
    all
}

fn table() -> String {
    variants().iter().map(|(name, options)| row(name, options)).collect()
}

/// The variants whose tally finds sockets by their files.
fn by_file() -> impl Iterator<Item = (String, Options)> {
    let offsets = [0, 1].map(|parts| KernelOffsets { sockets_by_file: Some(Field::new(24)), ..offsets(parts) });
    ["", "casts"].into_iter().zip(offsets).map(|(with, offsets)| {
        let (pairing, tier) = (Pairing::Sequence, Tier::Gated(offsets));
        let options = Options { pairing, tier, readers: Readers::NonBlocking, policy: Policy::default() };
        (format!("sequence sockets by file gated nonblocking [{with}]"), options)
    })
}

/// The variants whose streams may stay, where readers can be woken.
fn streams() -> impl Iterator<Item = (String, Options)> {
    let all_but_casts = (1 << PARTS.len()) - 2;
    let variants = [Pairing::Sequence, Pairing::FourTuple].into_iter().flat_map(|pairing| {
        [Streams::Stay, Streams::Auto]
            .into_iter()
            .flat_map(move |streams| [0, 1].map(|casts| (pairing, streams, casts)))
    });
    variants.map(move |(pairing, streams, casts)| {
        let tier = Tier::Gated(offsets(all_but_casts | casts));
        let policy = Policy { streams, ..Policy::default() };
        let name = format!("{} streams {} gated [{}]", pairing.name(), streams.name(), ["", "casts"][casts]);
        (name, Options { pairing, tier, readers: Readers::NonBlocking, policy })
    })
}

/// The variants that watch readers, of which the three programs for that depend on little.
fn watching() -> Vec<(String, Options)> {
    let mut next = 2_000;
    let trace = TraceOffsets::resolve(|_| {
        next += 8;
        Ok::<_, std::convert::Infallible>(next)
    });
    let functions = Hooks::Functions { flags: 3, arguments: 5 };
    let mut all = Vec::new();
    let variants = [
        ("functions", functions, Probation::Inside),
        ("trace points", Hooks::TracePoints, Probation::Inside),
        ("trace points, outside", Hooks::TracePoints, Probation::Outside),
        ("mixed, outside", Hooks::Mixed, Probation::Outside),
    ];
    for (name, hooks, probation) in variants {
        for (parts, with) in [(0, ""), (1, "casts"), (1 | 4 | 32, "casts,epoll,woken")] {
            let mut policy = Policy::default();
            policy.trust.by = TrustBy::Watching(Watch { hooks, offsets: trace.unwrap(), probation });
            policy.trust.cgroups = true;
            let (pairing, tier) = (Pairing::Sequence, Tier::Gated(offsets(parts)));
            let options = Options { pairing, tier, readers: Readers::NonBlocking, policy };
            let mut sparing = options.clone();
            sparing.policy.spares_short = true;
            all.push((format!("sequence watching by {name} gated nonblocking [{with}]"), options));
            all.push((format!("sequence watching by {name}, short left alone, gated nonblocking [{with}]"), sparing));
        }
    }
    all
}

/// The kernel's code behind these two helpers splits and gathers messages, and has had faults that corrupt memory.
#[test]
fn no_program_calls_msg_apply_bytes_or_msg_cork_bytes() {
    let called = |program: &Program, helper| {
        let is_call = |insn: &Insn| insn.code == opcode::JMP | opcode::CALL && insn.src == 0 && insn.imm == helper;
        program.insns().iter().any(is_call)
    };
    let mut redirecting = 0;
    for (variant, options) in variants() {
        for (name, _, program) in build(options).unwrap().programs() {
            redirecting += usize::from(called(program, helper::MSG_REDIRECT_HASH));
            for (helper, forbidden) in [("apply", helper::MSG_APPLY_BYTES), ("cork", helper::MSG_CORK_BYTES)] {
                assert!(!called(program, forbidden), "{name} of {variant} calls bpf_msg_{helper}_bytes");
            }
        }
    }
    assert_eq!(redirecting, variants().len(), "calls are not recognised");
}

#[test]
fn every_variant_has_the_instructions_of_the_table() {
    let now = table();
    if std::env::var_os("UPDATE").is_some() {
        return std::fs::write(TABLE, &now).unwrap();
    }
    let changed: Vec<_> = now.lines().filter(|row| !KNOWN.lines().any(|old| old == *row)).collect();
    assert!(
        changed.is_empty() && now.lines().count() == KNOWN.lines().count(),
        "{} of {} variants differ from {TABLE}, the first: {:?}; if that is meant, run `UPDATE=1 cargo test --test \
         dataplane fingerprints` and commit the table with the change",
        changed.len(),
        now.lines().count(),
        changed.first(),
    );
}
