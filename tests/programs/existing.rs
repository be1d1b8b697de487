//! A database that works already when sidestep comes: its connections are accelerated, and go back to the stack when it goes.

use std::time::{Duration, Instant};

use sidestep::agent::{TierChoice, adoption_support, choose_tier};
use sidestep::dataplane::{Counter, Options, Pairing, Policy, Readers};

use crate::agent::counters;
use crate::case::readers_are_seen;
use crate::cases::{DSN, POSTGRES, SUMS, postgres};
use crate::fixture::Fixture;
use crate::{alone, tools};

/// Seconds that pgbench runs, each of its clients on one connection.
const SECONDS: &str = "8";
/// Transactions between two changes: more than programs need to earn trust.
const SOME: u64 = 300;
/// Longer than anything takes here.
const LIMIT: Duration = Duration::from_secs(180);

/// Whether this kernel adopts connections and lets programs earn trust.
fn adopts() -> bool {
    let Ok((tier, _)) = choose_tier(TierChoice::Auto) else { return false };
    let (pairing, readers, policy) = (Pairing::Sequence, Readers::NonBlocking, Policy::default());
    readers_are_seen() && adoption_support(&Options { pairing, tier, readers, policy }).is_none()
}

#[test]
fn a_database_that_works_is_adopted_and_let_go_again_and_again() {
    let _alone = alone();
    let missing: Vec<_> = POSTGRES.iter().filter(|name| tools::find(name).is_none()).collect();
    if !missing.is_empty() {
        assert!(std::env::var_os("CI").is_none(), "NOT TESTED: {missing:?} not found");
        return eprintln!("*** NOT TESTED: {missing:?} not found ***");
    }
    let fixture = Fixture::plain("existing").unwrap();
    postgres(&fixture).unwrap();
    fixture.run(&["pgbench", "-i", "-q", "-s", "1", DSN]).unwrap();
    let ask = |question: &str| fixture.run(&["psql", DSN, "-Atc", question]).unwrap().trim().to_owned();
    let done = || ask("SELECT count(*) FROM pgbench_history").parse::<u64>().unwrap();
    let mut bench = fixture.start(&["pgbench", "-c", "4", "-T", SECONDS, "-n", DSN], "pgbench").unwrap();
    let start = Instant::now();
    let (mut rounds, mut redirected) = (0, 0);
    let mut goes_on = || {
        assert!(start.elapsed() < LIMIT, "pgbench does not end");
        bench.try_wait().unwrap().is_none()
    };
    while done() < SOME && goes_on() {}
    while goes_on() {
        let sidestep = fixture.sidestep().unwrap();
        let before = done();
        while done() < before + SOME && goes_on() {}
        let said = sidestep.stop().unwrap();
        let count = counters(&said).into_iter().find(|(counter, _)| *counter == Counter::RedirectedMessages);
        redirected += count.map_or(0, |(_, value)| value);
        rounds += 1;
    }
    let said = std::fs::read_to_string(fixture.path("pgbench.out")).unwrap();
    assert!(bench.wait().unwrap().success(), "{said}");
    assert!(said.contains("number of failed transactions: 0 "), "{said}");
    assert_eq!(ask(SUMS), "t", "the balances do not add up");
    println!("{rounds} rounds, {redirected} messages past the stack, {} transactions", done());
    assert!(redirected > SOME || !adopts(), "only {redirected} messages were redirected in {rounds} rounds");
}
