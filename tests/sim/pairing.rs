//! Our programs in the simulated kernel: every byte arrives once, in order, at the right socket.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config as RunnerConfig, RngAlgorithm, TestRng, TestRunner};

use sidestep::dataplane::Pairing;

use super::history::{
    CONFIG, Form, Insns, Op, Simulation, adopted_and_watched_history, adopted_history, drained_history, history,
    killed_history, watched_history,
};

/// The same histories in every run.
pub(crate) fn histories(count: usize) -> Vec<Vec<Op>> {
    same_each_time(history(300), count)
}

/// The same of readers that are watched.
pub(crate) fn watched_histories(count: usize) -> Vec<Vec<Op>> {
    same_each_time(watched_history(60), count)
}

/// The same of connections that are adopted.
pub(crate) fn adopted_histories(count: usize) -> Vec<Vec<Op>> {
    same_each_time(adopted_history(60), count)
}

/// The same that end with the drain.
pub(crate) fn drained_histories(count: usize) -> Vec<Vec<Op>> {
    same_each_time(drained_history(60), count)
}

fn same_each_time(strategy: impl Strategy<Value = Vec<Op>>, count: usize) -> Vec<Vec<Op>> {
    let mut runner =
        TestRunner::new_with_rng(RunnerConfig::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_arrives_in_order_by_sequence(ops in history(300), form in select(&Form::ALL)) {
        let plane = form.plane(Pairing::Sequence);
        Simulation::new(&plane, form, &Insns::of(&plane, form), CONFIG).run(&ops).unwrap();
    }

    #[test]
    fn every_byte_arrives_in_order_by_four_tuple(ops in history(300), form in select(&Form::ALL)) {
        let plane = form.plane(Pairing::FourTuple);
        Simulation::new(&plane, form, &Insns::of(&plane, form), CONFIG).run(&ops).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_arrives_in_order_while_streams_are_measured(ops in history(300)) {
        for pairing in [Pairing::Sequence, Pairing::FourTuple] {
            let plane = Form::Paced.plane(pairing);
            Simulation::new(&plane, Form::Paced, &Insns::of(&plane, Form::Paced), CONFIG).run(&ops).unwrap();
        }
    }

    #[test]
    fn nothing_is_lost_at_the_end_of_a_stream_that_stays(ops in drained_history(60)) {
        let plane = Form::Paced.plane(Pairing::Sequence);
        Simulation::new(&plane, Form::Paced, &Insns::of(&plane, Form::Paced), CONFIG).run(&ops).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn readers_get_redirected_bytes_when_they_have_earned_it(ops in watched_history(60), form in select(&Form::WATCHED)) {
        let plane = form.plane(Pairing::Sequence);
        Simulation::new(&plane, form, &Insns::of(&plane, form), CONFIG).run(&ops).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_byte_is_lost_when_the_agent_is_killed(ops in killed_history(100), form in select(&Form::ALL)) {
        let plane = form.plane(Pairing::Sequence);
        Simulation::new(&plane, form, &Insns::of(&plane, form), CONFIG).run(&ops).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_drain_loses_nothing(ops in drained_history(60), form in select(&Form::ALL)) {
        for pairing in [Pairing::Sequence, Pairing::FourTuple] {
            let plane = form.plane(pairing);
            Simulation::new(&plane, form, &Insns::of(&plane, form), CONFIG).run(&ops).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn connections_that_exist_are_adopted_and_lose_nothing(ops in adopted_history(100), form in select(&Form::ADOPTING)) {
        let plane = form.plane(Pairing::Sequence);
        Simulation::new(&plane, form, &Insns::of(&plane, form), CONFIG).run(&ops).unwrap();
    }

    #[test]
    fn adopted_connections_earn_trust_and_lose_nothing(ops in adopted_and_watched_history(100), form in select(&Form::WATCHED)) {
        let plane = form.plane(Pairing::Sequence);
        Simulation::new(&plane, form, &Insns::of(&plane, form), CONFIG).run(&ops).unwrap();
    }
}

#[test]
fn adopted_connections_do_redirect() {
    for form in Form::ADOPTING {
        let plane = form.plane(Pairing::Sequence);
        let insns = Insns::of(&plane, form);
        let (mut redirected, mut adopted, mut recovered, mut taken_out) = (0, 0, 0, 0);
        for ops in adopted_histories(200) {
            let mut simulation = Simulation::new(&plane, form, &insns, CONFIG);
            simulation.run(&ops).unwrap();
            redirected += simulation.redirected;
            adopted += simulation.adopted();
            recovered += simulation.recovered();
            taken_out += simulation.taken_out();
        }
        println!(
            "{}: {adopted} connections adopted, {recovered} sockets recovered, {taken_out} of them from the sockhash, \
             {redirected} bytes redirected",
            form.name()
        );
        assert!(recovered > 0, "{}: {recovered} sockets that a killed agent had left", form.name());
        let any = form.joins_later() || taken_out > 0;
        assert!(any, "{}: no socket that a killed agent had left in the sockhash without its peer", form.name());
        assert!(adopted > 20, "{}: {adopted} connections", form.name());
        assert!(form.watches() || redirected > 1_000, "{}: {redirected} bytes", form.name());
    }
}

#[test]
fn adopted_connections_redirect_when_their_readers_have_earned_it() {
    for form in Form::WATCHED {
        let plane = form.plane(Pairing::Sequence);
        let insns = Insns::of(&plane, form);
        let (mut redirected, mut adopted) = (0, 0);
        for ops in same_each_time(adopted_and_watched_history(40), 100) {
            let mut simulation = Simulation::new(&plane, form, &insns, CONFIG);
            simulation.run(&ops).unwrap();
            redirected += if simulation.adopted() > 0 { simulation.redirected } else { 0 };
            adopted += simulation.adopted();
        }
        println!("{}: {adopted} connections adopted, {redirected} bytes redirected", form.name());
        assert!(adopted > 20 && redirected > 1_000, "{}: {adopted} connections, {redirected} bytes", form.name());
    }
}

#[test]
fn trusted_readers_do_get_redirected_bytes() {
    for form in Form::WATCHED {
        let plane = form.plane(Pairing::Sequence);
        let mut redirected = 0;
        for ops in watched_histories(50) {
            let mut simulation = Simulation::new(&plane, form, &Insns::of(&plane, form), CONFIG);
            simulation.run(&ops).unwrap();
            redirected += simulation.redirected;
        }
        assert!(redirected > 5_000, "{}: {redirected} bytes", form.name());
    }
}

#[test]
fn histories_do_redirect_and_all_forms_decide_much_alike() {
    for pairing in [Pairing::Sequence, Pairing::FourTuple] {
        let redirected = Form::ALL.map(|form| {
            let plane = form.plane(pairing);
            let insns = Insns::of(&plane, form);
            let mut redirected = 0;
            for mut ops in histories(100) {
                // What is looked at once by calls and each time by loads, and what not all forms need.
                ops.retain(|op| {
                    !matches!(op, Op::NonBlocking(..) | Op::Options(..) | Op::Timers(..) | Op::OtherCallbacks(..))
                });
                // One message of a megabyte, which only some forms redirect, would outweigh all others.
                ops.retain(|op| !matches!(op, Op::Send(_, 60_000..)));
                let mut simulation = Simulation::new(&plane, form, &insns, CONFIG);
                simulation.run(&ops).unwrap();
                redirected += simulation.redirected;
            }
            redirected
        });
        let [calls, waking, loads, any, sticky] = redirected;
        assert!(calls > 5_000, "{pairing:?}: {redirected:?} bytes");
        // Where readers are woken, pairs leave that have bytes of the stack behind redirected ones, and the first message is
        // bounded by the receiver's buffer, too.
        assert!(loads <= calls && loads * 4 > calls * 3, "{pairing:?}: {redirected:?} bytes");
        assert_eq!(waking, loads, "{pairing:?}: {redirected:?} bytes");
        assert!(any > 0 && sticky > 0);
    }
}
