//! `sidestep explain`, as an operator calls it.

use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::process::Command;

use serde_json::Value;
use sidestep::testbed::listen;

use crate::pair;
use crate::support::agent::{self, Agent};
use crate::support::bpffs::TestBpffs;
use crate::support::link::{ANY_PORT, back_and_forth, pattern};
use crate::support::machine::Turn;
use crate::support::nested::NestedCgroups;
use crate::support::wait::wait_until;

fn explain(args: &[&str]) -> Result<String, String> {
    let mut out = Vec::new();
    let args = [&["explain"], args].concat().iter().map(Into::into).collect();
    match sidestep::cli::dispatch(args, &mut std::io::empty(), &mut out) {
        Ok(_) => Ok(String::from_utf8(out).unwrap()),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether the condition holds, in the one connection that is explained.
fn holds(json: &str, code: &str) -> Option<bool> {
    let explained: Value = serde_json::from_str(json).unwrap();
    let conditions = explained["conditions"].as_array().unwrap();
    conditions.iter().find(|one| one["code"] == code).map(|one| one["holds"] == true)
}

#[test]
fn a_blocking_server_is_named_with_a_remedy() {
    // Other tests move this process to other cgroups.
    let _turn = Turn::take();
    let (client, server) = pair("127.0.0.1:0");
    client.set_nonblocking(true).unwrap();
    let [one, other] = [&client, &server].map(|socket| socket.local_addr().unwrap().to_string());
    let pins = TestBpffs::new();
    let bpffs = ["--bpffs", pins.path().to_str().unwrap()];
    let by_addresses = explain(&[&[one.as_str(), &other], &bpffs[..]].concat()).unwrap();
    assert_eq!(by_addresses, explain(&[&[other.as_str(), &one], &bpffs[..]].concat()).unwrap());
    let (pid, fd) = (std::process::id().to_string(), server.as_raw_fd().to_string());
    assert_eq!(by_addresses, explain(&[&["--pid", &pid, "--fd", &fd], &bpffs[..]].concat()).unwrap());
    assert!(by_addresses.contains("Not accelerated: No data plane is pinned"), "{by_addresses}");
    assert!(
        by_addresses.contains("  NO   The server (") && by_addresses.contains("blocks on its descriptor"),
        "{by_addresses}"
    );
    assert!(by_addresses.contains("--readers any"), "{by_addresses}");
    let json = explain(&[&[one.as_str(), &other, "--json"], &bpffs[..]].concat()).unwrap();
    assert_eq!([holds(&json, "client_nonblocking"), holds(&json, "server_nonblocking")], [Some(true), Some(false)]);
    drop(client);
    let gone = explain(&[&["--pid", &pid, "--fd", &fd], &bpffs[..]].concat()).unwrap();
    assert!(gone.contains("was not found among the sockets of this node"), "{gone}");
}

#[test]
fn what_is_not_a_connection_gets_a_sentence() {
    let _turn = Turn::take();
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let (own, dead) = (std::process::id().to_string(), child.id().to_string());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    let fd = |number: i32| number.to_string();
    for (args, says) in [
        (vec!["--pid", &dead], "there is no process"),
        (vec!["--pid", &own, "--fd", &fd(listener.as_raw_fd())], "listens"),
        (vec!["--pid", &own, "--fd", &fd(file.as_raw_fd())], "it is /dev/null"),
        (vec!["--pid", &own, "--fd", "999999"], "has no descriptor 999999"),
        (vec!["127.0.0.1:1", "127.0.0.1:2"], "no process of this node has a TCP connection between"),
        (vec!["127.0.0.1", "127.0.0.1:2"], "is not an IP address with a port"),
        (vec!["127.0.0.1:1"], "REMOTE"),
        (vec![], "name a connection"),
        (vec!["--pid", "0"], "--pid"),
        (vec!["--fd", "1", "127.0.0.1:1", "127.0.0.1:2"], "--fd"),
    ] {
        let error = explain(&args).expect_err(&format!("{args:?}"));
        assert!(error.contains(says), "{args:?}: {error}");
    }
}

#[test]
fn an_accelerated_connection_says_so_until_an_end_blocks() {
    let cgroups = NestedCgroups::new();
    let pins = TestBpffs::new();
    let bpffs = ["--bpffs", pins.path().to_str().unwrap()];
    let listener = listen(ANY_PORT).unwrap();
    let connect = || crate::support::link::pair(&listener, listener.local_addr().unwrap());
    let before = connect();
    cgroups.leave();
    let mut command = agent::command();
    let agent =
        Agent::start(command.args(["--trust", "all", "--existing", "off", "--cgroup"]).arg(cgroups.path()).args(bpffs));
    cgroups.enter();
    let explain = |(client, server): &(std::net::TcpStream, std::net::TcpStream)| {
        let [one, other] = [client, server].map(|socket| socket.local_addr().unwrap().to_string());
        explain(&[&[one.as_str(), &other], &bpffs[..]].concat()).unwrap()
    };
    let (client, server) = connect();
    wait_until("the pair is accelerated", || {
        back_and_forth(&client, &server, &pattern(1, 1_000), 3);
        explain(&(client.try_clone().unwrap(), server.try_clone().unwrap())).contains("\nAccelerated: ")
    });
    let old = explain(&before);
    assert!(old.contains("it was made before sidestep was attached") && old.contains("inside /"), "{old}");
    server.set_nonblocking(false).unwrap();
    let blocked = explain(&(client, server));
    assert!(
        blocked.contains("its messages take the stack: The server (")
            || blocked.contains("Not accelerated: The server ("),
        "{blocked}"
    );
    agent.stop();
}

#[test]
fn a_policy_that_leaves_a_connection_alone_is_named() {
    let cgroups = NestedCgroups::new();
    let pins = TestBpffs::new();
    let bpffs = ["--bpffs", pins.path().to_str().unwrap()];
    let [excluded, admitted] = [(); 2].map(|()| listen(ANY_PORT).unwrap());
    let port = excluded.local_addr().unwrap().port().to_string();
    cgroups.leave();
    let mut command = agent::command();
    let flags = ["--trust", "all", "--exclude-port", &port, "--cgroup"];
    let agent = Agent::start(command.args(flags).arg(cgroups.path()).args(bpffs));
    cgroups.enter();
    let explained = [&excluded, &admitted].map(|listener| {
        let (client, server) = crate::support::link::pair(listener, listener.local_addr().unwrap());
        let [one, other] = [&client, &server].map(|socket| socket.local_addr().unwrap().to_string());
        explain(&[&[one.as_str(), &other], &bpffs[..]].concat()).unwrap()
    });
    let why = format!("Not accelerated: The policy (--exclude-port={port}) does not admit the client's end, ");
    assert!(explained[0].contains(&why) && explained[0].contains("`sidestep upgrade`"), "{}", explained[0]);
    assert!(explained[1].contains("  yes  The policy admits the server's port and addresses."), "{}", explained[1]);
    agent.stop();
}
