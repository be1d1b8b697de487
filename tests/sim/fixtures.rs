//! Programs on which the simulator and a kernel once disagreed, or easily could: `fixtures/verifier/`.
//!
//! A fixture is a program as the disassembler writes it, below comments of the form `; key: value`:
//!
//! - `type`: sk_msg or sock_ops;
//! - `accepted on`, `refused on`: the kernels that do, without those that have not been asked;
//! - `rule`: a part of the newest kernel's reason to refuse it.
//!
//! The maps are those of `random::maps`, by their number in `map[fd:0]`. Other comments say what it is about.

use std::collections::BTreeMap;
use std::path::Path;

use sidestep::asm;
use sidestep::verifier_sim::spec::{Kernel, Options, ProgType, ProgramSpec};
use sidestep::verifier_sim::verify;

use crate::kernel::{Oracle, available};
use crate::link::map_loads;
use crate::random::maps;

struct Fixture {
    name: String,
    program: ProgramSpec,
    /// What each kernel does.
    accepted: BTreeMap<Kernel, bool>,
    rule: Option<String>,
}

fn parse(name: &str, text: &str) -> Fixture {
    let values = |key: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix("; ")?.strip_prefix(key)?.strip_prefix(": "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut accepted = BTreeMap::new();
    for (key, verdict) in [("accepted on", true), ("refused on", false)] {
        for kernel in values(key).iter().flat_map(|list| list.split(' ')) {
            accepted.insert(kernel.parse().unwrap(), verdict);
        }
    }
    assert!(!accepted.is_empty(), "{name} says no verdict");
    let insns = asm::parse_program(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let map_loads = map_loads(&insns);
    let prog_type = ProgType::from_name(&values("type")[0]).unwrap();
    let program = ProgramSpec { prog_type, insns, maps: maps(), map_loads, ..ProgramSpec::default() };
    Fixture { name: name.to_owned(), program, accepted, rule: values("rule").pop() }
}

fn fixtures() -> Vec<Fixture> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/verifier");
    let mut files: Vec<_> = directory.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read =
        |path: &Path| parse(&path.file_name().unwrap().to_string_lossy(), &std::fs::read_to_string(path).unwrap());
    files.iter().map(|path| read(path)).collect()
}

#[test]
fn the_simulator_judges_every_fixture_as_the_kernels_do() {
    let fixtures = fixtures();
    assert!(fixtures.len() >= 5, "only {} fixtures", fixtures.len());
    for fixture in fixtures {
        for (&kernel, &accepted) in &fixture.accepted {
            let verdict = verify(&fixture.program, &Options { kernel, cpus: 2, ..Options::default() });
            let reason = verdict.reason();
            assert_eq!(
                verdict.word(),
                if accepted { "accept" } else { "reject" },
                "{} on {kernel}: {reason}",
                fixture.name
            );
            if let (Some(rule), false, Kernel::V6_18) = (&fixture.rule, accepted, kernel) {
                assert!(reason.contains(rule), "{}: {reason}", fixture.name);
            }
        }
    }
}

#[test]
fn the_kernel_judges_every_fixture_as_it_says() {
    if !available("the_kernel_judges_every_fixture_as_it_says") {
        return;
    }
    let oracle = Oracle::new(maps);
    for fixture in fixtures() {
        let Some(&accepted) = fixture.accepted.get(&Kernel::V6_18) else { continue };
        let verdict = oracle.verdict(&fixture.program);
        assert_eq!(verdict.is_ok(), accepted, "{}: {verdict:?}", fixture.name);
        if let (Some(rule), Err(log)) = (&fixture.rule, verdict) {
            assert!(log.contains(rule), "{}: {log}", fixture.name);
        }
    }
}
