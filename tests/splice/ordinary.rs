//! Programs that read by recv: accelerated after their probation.

use crate::others::{named, said_of};
use crate::role::start;
use crate::running::{Place, readers_are_seen};
use crate::support::link::free_port;
use crate::support::machine::require_root;

/// Messages that a process takes the stack with first: 16 receives of its connection and 64 that count, and some while
/// the agent has not looked yet.
const PROBATION: u64 = 16 + 64;

#[test]
fn an_ordinary_program_is_accelerated_after_its_probation() {
    let test = "an_ordinary_program_is_accelerated_after_its_probation";
    if !require_root(test) || !readers_are_seen(test) {
        return;
    }
    let place = Place::new();
    let port = free_port();
    let running = place.run(&[]);
    let _echo = start(place.cgroup(), &format!("echo {port}"));
    // How many round trips it takes until the server is trusted is up to the machine: until both processes are admitted, which
    // takes as long as it takes the agent to get a processor. So those are counted that come then.
    const MOST: u64 = 2_000;
    const TRIPS: u64 = 5_000;
    std::fs::create_dir_all(place.state()).unwrap();
    let count = place.state().join("count");
    let role = format!("earns {port} {MOST} {TRIPS} {}", count.display());
    assert!(start(place.cgroup(), &role).wait().unwrap().success(), "it was not trusted");
    let said = running.stop();
    let messages = 2 * std::fs::read_to_string(count).unwrap().parse::<u64>().unwrap();
    let redirected = said.counter("redirected_messages");
    println!("{redirected} of {messages} messages redirected");
    assert!(redirected <= messages - (2 * PROBATION - 2), "{redirected} messages were redirected, some on probation");
    // Of the later trips all requests and, once the client is trusted, too, all answers; one or another meets a busy receiver.
    // One direction alone would be at most TRIPS and a few.
    assert!(redirected > TRIPS * 11 / 10, "only {redirected} of {messages} messages were redirected");
}

#[test]
fn an_ordinary_proxy_moves_every_byte_past_the_stack() {
    let test = "an_ordinary_proxy_moves_every_byte_past_the_stack";
    if !require_root(test) || !readers_are_seen(test) {
        return;
    }
    let place = Place::new();
    let [front, back] = [free_port(), free_port()];
    let running = place.run(&[]);
    let echo = start(place.cgroup(), &format!("echo {back}"));
    let proxy = start(place.cgroup(), &format!("proxy {front} {back} receive"));
    for _ in 0..3 {
        assert!(start(place.cgroup(), &format!("drive {front}")).wait().unwrap().success());
        assert!(start(place.cgroup(), &format!("pings {front} 500")).wait().unwrap().success());
    }
    let said = running.stop();
    assert!(said.counter("redirected_messages") > 0);
    assert!(!said_of(&said.err, &[named(echo.id()), named(proxy.id())]).contains("splice"), "{}", said.err);
}

#[test]
fn names_are_trusted_at_once() {
    if !require_root("names_are_trusted_at_once") {
        return;
    }
    let (port, other) = (free_port(), free_port());
    let share = |flags: &dyn Fn(&Place) -> Vec<String>| {
        let place = Place::new();
        let flags = flags(&place);
        let running = place.run(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        let _echo = start(place.cgroup(), &format!("echo {port}"));
        assert!(start(place.cgroup(), &format!("pings {port} 60")).wait().unwrap().success());
        running.stop().counter("redirected_messages")
    };
    assert!(share(&|_| vec!["--trust".into(), "all".into()]) >= 110);
    assert!(share(&|_| vec!["--trust".into(), format!("port:{port}")]) >= 110);
    assert!(share(&|place| vec!["--trust".into(), format!("cgroup:{}", place.cgroup().display())]) >= 110);
    assert_eq!(share(&|_| vec!["--trust".into(), format!("port:{other}")]), 0);
    if readers_are_seen("names_are_trusted_at_once: by program") {
        // From the 16th receive of a connection on, when the agent has seen what runs.
        let program = std::env::current_exe().unwrap();
        let place = Place::new();
        let running = place.run(&["--trust", &format!("program:{}", program.display())]);
        let _echo = start(place.cgroup(), &format!("echo {port}"));
        let early = format!("until-trusted {port} {}", PROBATION - 10);
        assert!(
            start(place.cgroup(), &early).wait().unwrap().success(),
            "a name on the list has not shortened its probation"
        );
        assert!(running.stop().counter("redirected_messages") > 0);
    }
}
