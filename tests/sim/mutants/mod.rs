//! Our programs with one check dropped: the verifier refuses the mutant, or a history breaks a promise.
//!
//! The checks are those that the programs name (`require`, `permit`, `guard`); every other condition must be one of
//! [`CHOICES`]. [`REASONS`] says which mutants behave as the original does, and why.

mod directed;
mod reasons;

use std::collections::BTreeSet;
use std::thread;

use sidestep::agent::program_specs;
use sidestep::asm::{self, Insn, opcode as op};
use sidestep::dataplane::{DataPlane, Pairing};
use sidestep::verifier_sim::kernel::Socket;
use sidestep::verifier_sim::spec::{Kernel, Options, ProgramSpec};
use sidestep::verifier_sim::verify;

use super::history::{ADOPT, CONFIG, Form, Insns, LISTS, Op, STATES, Simulation, of_agent, programs};
use super::pairing::{adopted_histories, drained_histories, histories as random_histories, watched_histories};
use reasons::{REASONS, Reason};

/// Labels of jumps that are not checks: they choose the callback, how an address is written, or how the kernel is asked to
/// probe; they give up acceleration, or keep it for streams that are faster with it.
const CHOICES: &[&str] = &[
    "rtt",
    "active",
    "passive",
    "request",
    "packet",
    "written",
    "state",
    "closes",
    "closed",
    // Another tool's flags.
    "recover",
    "recovered",
    "unpaired",
    "waiting",
    "else",
    "end_if",
    "global",
    "node_local",
    "peer_left",
    "answered",
    "no_stream",
    "keepalive_done",
    "asks_or_not",
    // A network or port of the policy, where there is one.
    "outside",
    "port_above",
    // Whether the agent is asked once more, or the drain spares armed sockets.
    "not_yet_asked",
    "not_armed",
    "spared",
    "peer_still_quiet",
    "no_peer",
    // Which way a stream takes that stays.
    "watchers",
    "never_stayed",
    "room_counts",
    "stays",
    "measured",
    "unmeasured",
    "phase_goes_on",
    "too_soon",
    "looks",
    "no_pause",
    "not_settled",
    "next",
    "compares",
    "retries",
    "undecided",
    // Which addresses a socket has, and whether there is a cgroup above.
    "ipv4",
    "root",
    // What the agent asks of a socket that exists, and which end that is.
    "no_report",
    "has_room",
    "given_back",
    "no_look",
    "no_undo",
    "undo",
    "keepalive_stays",
    "no_preparation",
    "server",
    // What a process that watches is notified of.
    "unwatched",
    "left_before",
];

/// With direct loads the programs call a kernel function, of which the verifier simulator says nothing, so that what only
/// the verifier refuses is judged in the other form of the same checks.
const NULL_CHECKS: &[&str] = &[
    "count/there are counters",
    "it has a storage",
    "there is a record",
    "there is a socket",
    "there is memory for it",
];

/// How many histories a mutant must survive for one of [`REASONS`] to excuse it.
const FIRST: usize = 200;

/// The histories that mutants run.
struct Histories {
    /// Those that are written by hand, and random ones.
    random: Vec<Vec<Op>>,
    /// For the programs that run over all sockets.
    drained: Vec<Vec<Op>>,
    /// For readers that have to earn trust.
    watched: Vec<Vec<Op>>,
    /// For cgroups that opt out or are trusted.
    policy: Vec<Vec<Op>>,
    /// For connections that are adopted.
    adopted: Vec<Vec<Op>>,
}

/// One check of a program.
struct Check {
    program: &'static str,
    /// Behind that of its program.
    name: String,
    check: asm::Check,
}

impl Check {
    fn ends_with(&self, end: &str) -> bool {
        self.name.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('/'))
    }

    /// Whether it is there only where readers have to earn trust, or for a policy.
    fn is_of_trust(&self) -> bool {
        let name = self.name.as_str();
        ["receives/", "splices/", "opt_out/", "trusted/"].iter().any(|program| name.starts_with(program))
            || [
                "/short/",
                "it may gain from now on",
                "/reader/",
                "/received/",
                "/late/",
                "/policy/",
                "trusted",
                "its reader may be served",
            ]
            .iter()
            .any(|part| name.contains(part))
    }

    /// Which of a reason's checks this one of programs in these forms is.
    fn excused_by(&self, reason: &Reason, forms: [&str; 2]) -> Option<&'static str> {
        let applies = reason.forms.is_empty() || reason.forms.iter().any(|form| forms.contains(form));
        reason.checks.iter().find(|end| applies && self.ends_with(end)).copied()
    }
}

fn is_conditional(insn: Insn) -> bool {
    let class = insn.code & op::CLASS_MASK;
    let operation = insn.code & op::OP_MASK;
    (class == op::JMP || class == op::JMP32) && !matches!(operation, op::JA | op::CALL | op::EXIT | op::JCOND)
}

/// The checks of a program; a condition that is neither one nor a choice is a mistake.
fn checks(program: &asm::Program, name: &'static str) -> Vec<Check> {
    for (slot, insn) in program.insns().iter().enumerate().filter(|(_, insn)| is_conditional(**insn)) {
        if program.checks().iter().any(|check| check.slots.contains(&slot)) {
            continue;
        }
        let target = (slot as i64 + 1 + i64::from(insn.off)) as usize;
        let labels: Vec<_> = program.labels_at(target).collect();
        assert!(
            labels.iter().any(|label| CHOICES.contains(label)),
            "{}: a condition to {labels:?} has no name",
            program.origin(slot).unwrap()
        );
    }
    let named =
        |check: &asm::Check| Check { program: name, name: format!("{name}/{}", check.name), check: check.clone() };
    program.checks().iter().map(named).collect()
}

/// Whether a kernel refuses the mutant for another reason than that code which is not reached any more is left in it.
fn refused(spec: &ProgramSpec, mutant: &asm::Program, check: &Check) -> bool {
    let mut spec = spec.clone();
    for slot in &check.check.slots {
        spec.insns[*slot] = mutant.insns()[*slot];
    }
    [Kernel::V6_1, Kernel::V6_18].into_iter().any(|kernel| {
        let verdict = verify(&spec, &Options { kernel, ..Options::default() });
        verdict.rejection().is_some_and(|rejection| !rejection.rule.contains("unreachable"))
    })
}

/// Which of a reason's checks: the number of the reason, and the end of the check's name.
type Excuse = (usize, &'static str);

/// The mutants that nothing catches and no reason excuses; adds what excuses one to `excused`.
fn survivors(plane: &DataPlane, form: Form, all: &Histories, excused: &mut BTreeSet<Excuse>) -> Vec<String> {
    let original = Insns::of(plane, form);
    // Else every mutant would be caught.
    let (first, rest) = match form {
        Form::Named => (&all.policy[..], &[][..]),
        _ if form.watches() => (&all.watched[..], &[][..]),
        _ => all.random.split_at(FIRST),
    };
    let adopted: &[_] = if form.adopts(plane.options.pairing) { &all.adopted } else { &[] };
    for ops in first.iter().chain(rest).chain(&all.drained).chain(adopted) {
        Simulation::new(plane, form, &original, CONFIG).run(ops).unwrap();
    }
    let specs = program_specs(plane).unwrap();
    let forms = [plane.options.pairing.name(), form.name()];
    let of_agent = of_agent(plane, form);
    let all_programs = || programs(plane).chain(of_agent.iter().map(|(name, program)| (*name, program)));
    let checks: Vec<_> = all_programs().flat_map(|(name, program)| checks(program, name)).collect();
    assert!(checks.len() > 40, "only {} checks", checks.len());
    let mut survivors = Vec::new();
    for check in checks {
        if form.has_policy() && !check.is_of_trust() {
            continue;
        }
        let runs_over_sockets = ["drain", "tally", STATES].contains(&check.program) || LISTS.contains(&check.program);
        let (first, rest) = match () {
            () if runs_over_sockets => (&all.drained[..], &[][..]),
            () if check.program == ADOPT => (adopted, &[][..]),
            () => (first, rest),
        };
        if form == Form::Loads && NULL_CHECKS.iter().any(|end| check.ends_with(end)) {
            continue;
        }
        let program = all_programs().find_map(|(name, program)| (name == check.program).then_some(program));
        let without = program.unwrap().without(&check.check);
        let mut mutant = original.clone();
        mutant.set(check.program, without.insns().to_vec());
        let caught = |ops: &Vec<Op>| Simulation::new(plane, form, &mutant, CONFIG).run(ops).is_err();
        // Judging a tracing program takes the types of a kernel.
        let spec = specs.iter().find(|spec| spec.name == check.program);
        if spec.is_some_and(|spec| refused(spec, &without, &check)) || first.iter().any(caught) {
            continue;
        }
        let known = REASONS.iter().enumerate().filter_map(|(at, reason)| Some((at, check.excused_by(reason, forms)?)));
        let known: Vec<_> = known.collect();
        if !known.is_empty() {
            excused.extend(known);
        } else if !rest.iter().any(caught) {
            survivors.push(format!("{} ({})", check.name, check.check.origin));
        }
    }
    survivors
}

#[test]
fn a_program_that_drops_a_check_is_caught() {
    let histories = Histories {
        random: [directed::histories(), random_histories(7_000)].concat(),
        drained: [directed::drained_histories(), drained_histories(100)].concat(),
        watched: [directed::watched_histories(), watched_histories(60)].concat(),
        policy: directed::policy_histories().collect(),
        adopted: [directed::adopted_histories(), adopted_histories(300)].concat(),
    };
    let planes = [
        (Pairing::FourTuple, Form::Calls),
        (Pairing::Sequence, Form::Calls),
        (Pairing::Sequence, Form::Waking),
        (Pairing::Sequence, Form::Loads),
        (Pairing::Sequence, Form::Paced),
        (Pairing::Sequence, Form::Any),
        (Pairing::Sequence, Form::Sticky),
        (Pairing::FourTuple, Form::Sticky),
        (Pairing::Sequence, Form::Watched),
        (Pairing::Sequence, Form::Joining),
        (Pairing::Sequence, Form::Named),
    ];
    let excused: BTreeSet<Excuse> = thread::scope(|scope| {
        let workers = planes.map(|(pairing, form)| {
            let histories = &histories;
            scope.spawn(move || {
                let mut excused = BTreeSet::new();
                let plane = form.plane(pairing);
                let survivors = survivors(&plane, form, histories, &mut excused);
                assert_eq!(survivors, Vec::<String>::new(), "{}, {}", plane.options, form.name());
                excused
            })
        });
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let all = REASONS.iter().enumerate().flat_map(|(at, reason)| reason.checks.iter().map(move |end| (at, *end)));
    let unused: Vec<_> =
        all.filter(|excuse| !excused.contains(excuse)).map(|(at, end)| (REASONS[at].why, end)).collect();
    assert_eq!(unused, [], "no check is like these any more");
}

#[test]
fn receivers_do_keep_a_closed_window_closed() {
    for form in [Form::Waking, Form::Loads, Form::Paced] {
        let plane = form.plane(Pairing::Sequence);
        let insns = Insns::of(&plane, form);
        for ops in directed::closed_windows() {
            let mut simulation = Simulation::new(&plane, form, &insns, CONFIG);
            for op in &ops {
                simulation.step(*op).unwrap();
            }
            let closes = ops.iter().any(|op| matches!(op, Op::Close(_)));
            assert!(closes || simulation.small_buffers() == 1, "{}: {ops:?}", form.name());
            simulation.finish().unwrap();
        }
    }
}

/// Its sender discards what a probe offers, so a probe that offers something keeps the reader waiting. This holds also where an
/// application has set the size of the buffer, which the probe leaves as it was.
#[test]
fn a_probe_does_not_open_a_closed_window() {
    for (form, locks) in [Form::Waking, Form::Loads, Form::Paced].into_iter().flat_map(|form| [(form, 0), (form, 2)]) {
        let plane = form.plane(Pairing::Sequence);
        let mut simulation = Simulation::new(&plane, form, &Insns::of(&plane, form), CONFIG);
        for op in directed::room_behind_a_closed_window(locks) {
            simulation.step(op).unwrap();
        }
        let before = offered(&simulation);
        simulation.step(directed::PROBE).unwrap();
        assert_eq!(offered(&simulation), before, "{}, locks {locks}", form.name());
        assert_eq!(simulation.fixed_buffers(), usize::from(locks == 0), "{}, locks {locks}", form.name());
        simulation.finish().unwrap();
    }
}

/// A size that the application sets when the programs have fixed another one is the application's: programs may not be able to set it
/// again. Another program refuses the options of the last packet, so that a buffer that is made small is seen.
#[test]
fn a_size_that_is_set_later_is_the_applications() {
    for form in [Form::Waking, Form::Loads, Form::Paced] {
        let plane = form.plane(Pairing::Sequence);
        for (size, is_left_alone) in [(6_000, false), (1 << 20, true)] {
            let mut simulation = Simulation::new(&plane, form, &Insns::of(&plane, form), CONFIG);
            for op in directed::sized_later(size) {
                simulation.step(op).unwrap();
            }
            assert_eq!(server(&simulation).buffers().receive, size, "{}", form.name());
            simulation.step(directed::PROBE).unwrap();
            let is_same = server(&simulation).buffers().receive == size;
            assert_eq!(is_same, is_left_alone, "{}: a buffer of {size} bytes", form.name());
        }
    }
}

/// The server, the newest socket.
fn server(simulation: &Simulation) -> &Socket {
    simulation.world.socket(*simulation.world.socket_ids().last().unwrap()).unwrap()
}

/// What the server lets its client send.
fn offered(simulation: &Simulation) -> u32 {
    server(simulation).offered()
}
