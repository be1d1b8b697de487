//! The simulator gives the kernel's reason, and its log is the kernel's, line by line.

use sidestep::verifier_sim::spec::{Options, ProgType, ProgramSpec};
use sidestep::verifier_sim::verdict::Verdict;
use sidestep::verifier_sim::verify_with_log;

use crate::agreement::options;
use crate::kernel::{Oracle, available};
use crate::random;
use crate::random::sandbox::Random;
use crate::rules::kernel_types;
use crate::types::{places, program};

/// The line of a log that says why a program is refused: the last one before the summary.
pub(crate) fn reason(log: &str) -> &str {
    let before = log.rfind("processed ").map_or(log, |end| &log[..end]);
    before.lines().rfind(|line| !line.is_empty()).unwrap_or_default()
}

/// A line without what only the kernel that printed it can know: the address of a map, and the column behind it.
fn comparable(line: &str) -> String {
    let Some((start, load)) =
        line.split_once("(18) ").filter(|(_, load)| load.contains(" = 0xffff") || load.contains(" = map["))
    else {
        return line.to_owned();
    };
    let (dst, _) = load.split_once(" = ").unwrap_or_default();
    let state = load.split_once(';').map_or("", |(_, state)| state);
    format!("{start}(18) {dst} = map;{state}")
}

/// How the logs of a group of programs compare.
#[derive(Default)]
struct Comparison {
    refused: u32,
    same_reason: u32,
    logs: u32,
    same_log: u32,
    differences: Vec<String>,
}

impl Comparison {
    fn add(&mut self, oracle: &Oracle, program: &ProgramSpec, options: &Options, what: &str) {
        let (ours, log) = verify_with_log(program, options);
        if matches!(ours, Verdict::Unsupported(_)) {
            return;
        }
        let (accepted, theirs) = oracle.whole_log(program);
        assert_eq!(ours.is_accept(), accepted, "{what}: {}\n{theirs}", ours.reason());
        if !accepted {
            self.refused += 1;
            let (here, there) = (reason(&log), reason(&theirs));
            self.same_reason += u32::from(here == there);
            if here != there {
                self.differences.push(format!("{what}:\n  here:   {here}\n  kernel: {there}"));
            }
        }
        self.logs += 1;
        let different = log.lines().zip(theirs.lines()).find(|(here, there)| comparable(here) != comparable(there));
        let same_log = different.is_none() && log.lines().count() == theirs.lines().count();
        self.same_log += u32::from(same_log);
        if !same_log {
            let (here, there) = different.unwrap_or(("one log is longer", ""));
            self.differences.push(format!("{what}, log:\n  here:   {here}\n  kernel: {there}"));
        }
    }
}

/// `SIM_COUNT=100` compares 100 times as many programs.
#[test]
fn reasons_and_logs_are_the_kernels() {
    let test = "reasons_and_logs_are_the_kernels";
    if !available(test) {
        return;
    }
    let Some(types) = kernel_types(test) else { return };
    let options = Options { types: Some(types), ..options() };
    let times: usize = std::env::var("SIM_COUNT").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut numbers = Random::new(1);
    let mut seen = Comparison::default();
    let oracle = Oracle::new(random::maps);
    for _ in 0..400 * times {
        let choices: Vec<u32> = (0..numbers.next() as usize % 140).map(|_| numbers.next()).collect();
        let prog_type = if numbers.next() & 1 == 0 { ProgType::SK_MSG } else { ProgType::SOCK_OPS };
        seen.add(&oracle, &random::program(prog_type, &choices), &options, &prog_type.to_string());
    }
    let oracle = Oracle::new(program::maps);
    for place in places::places().into_iter().filter(|place| place.loads(&oracle)) {
        for _ in 0..20 * times {
            seen.add(&oracle, &program::random(&place, &mut numbers), &options, &place.to_string());
        }
    }
    let Comparison { refused, same_reason, logs, same_log, differences } = seen;
    eprintln!("{same_reason} of {refused} reasons and {same_log} of {logs} logs are the kernel's");
    let differences = differences.into_iter().take(20).collect::<Vec<_>>().join("\n");
    assert!(refused > 500 && logs > refused + 100, "{refused} refused of {logs}: too few to compare");
    assert!(same_reason * 100 >= refused * 99, "reasons differ:\n{differences}");
    assert!(same_log * 100 >= logs * 95, "logs differ:\n{differences}");
}
