//! `sidestep list` and `sidestep survey`, as an operator calls them.

use std::net::TcpStream;

use serde_json::Value;

use crate::pair;
use crate::support::machine::Turn;

fn call(args: &[&str]) -> String {
    let mut out = Vec::new();
    sidestep::cli::dispatch(args.iter().map(Into::into).collect(), &mut std::io::empty(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn list(filters: &[&str]) -> Vec<Value> {
    let text = call(&[&["list", "--json"], filters].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn port(socket: &TcpStream) -> u16 {
    socket.local_addr().unwrap().port()
}

#[test]
fn list_shows_both_ends_and_its_filters_hold() {
    // A child that another test starts has our descriptors until it executes its program.
    let _turn = Turn::take();
    let (client, server) = pair("127.0.0.1:0");
    server.set_nonblocking(true).unwrap();
    let number = port(&client).to_string();
    let pid = std::process::id().to_string();
    // Another process may use the same port with another address.
    let own = ["--port", &number, "--pid", &pid];
    let rows = list(&own);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert!(list(&["--port", &number]).contains(&rows[0]));
    assert_eq!(rows[0]["client"]["pid"], std::process::id());
    assert_eq!(rows[0]["server"]["local"], server.local_addr().unwrap().to_string());
    let of = |code: &str| {
        rows[0]["conditions"].as_array().unwrap().iter().find(|one| one["code"] == code).unwrap()["holds"] == true
    };
    assert_eq!((of("client_nonblocking"), of("server_nonblocking"), of("established")), (false, true, true));
    assert!(list(&["--pid", &pid]).len() >= rows.len());
    assert_eq!(list(&["--pid", &pid, "--port", &number, "--not-accelerated"]).len(), 1);
    assert_eq!(list(&["--pid", "1", "--port", &number]).len(), 0);
    assert_eq!(list(&["--cgroup", "/no/such/cgroup", "--port", &number]).len(), 0);
    assert!(call(&[&["list"], &own[..]].concat()).contains("not client_nonblocking"));
    drop(client);
    assert_eq!(list(&own).len(), 0, "one end is closed");
}

#[test]
fn a_survey_is_one_object() {
    let survey: Value = serde_json::from_str(&call(&["survey", "--seconds", "1", "--json"])).unwrap();
    assert!(survey["seconds"].as_f64().unwrap() >= 1.0 && survey["groups"].is_array(), "{survey}");
    let error = sidestep::cli::dispatch(
        ["survey", "--seconds", "0"].iter().map(Into::into).collect(),
        &mut std::io::empty(),
        &mut Vec::new(),
    );
    assert!(error.unwrap_err().to_string().contains("--seconds"));
}
