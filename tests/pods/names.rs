//! `list`, `survey` and `explain` name the pods of both ends, as the container runtime does.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::sandbox::TestPod;
use crate::support::cgroup::enter;
use crate::support::child::{ChildGuard, this_test};
use crate::support::wait::wait_for;

/// How a child process is told where it runs, and with whom it speaks.
const PLACE: &str = "SIDESTEP_TEST_PLACE";
const TARGET: &str = "SIDESTEP_TEST_TARGET";

/// In another process: a connection from inside a pod, until its input ends.
#[test]
#[ignore = "a process of another test's"]
fn child() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    enter(Path::new(&place));
    let target: SocketAddr = std::env::var(TARGET).unwrap().parse().unwrap();
    let _connection = TcpStream::connect(target).unwrap();
    let _ = std::io::stdin().read(&mut [0]);
}

fn sidestep(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sidestep")).args(words).stdin(Stdio::null()).output().unwrap()
}

fn answer(words: &[&str]) -> String {
    let output = sidestep(words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The one row, which may be missing while its numbers change.
fn row(words: &[&str]) -> Value {
    wait_for(|| {
        let said = answer(words);
        let rows: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [row] = rows.as_slice() else { return Err(said) };
        Ok(row.clone())
    })
}

/// Asks of a connection from `client`'s pod to `server`'s.
pub(crate) fn are_shown(socket: &Path, bpffs: &Path, client: &TestPod, server: &TestPod) {
    server.enter();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = this_test("names::child");
    command.env(PLACE, client.work()).env(TARGET, address.to_string());
    let _child = ChildGuard::spawn(command.stdin(Stdio::piped()).stdout(Stdio::null()));
    let _accepted = listener.accept().unwrap();

    let (cri, port) = (socket.to_str().unwrap(), address.port().to_string());
    let [client_name, server_name] = [client, server].map(|pod| format!("shop/{}", pod.name()));
    let common = ["--bpffs", bpffs.to_str().unwrap(), "--port", &port];
    let base = [&["list"], &common[..]].concat();
    for filter in [[].as_slice(), &["--pod", &client_name], &["--pod", &server_name], &["--pod", client.uid()]] {
        let row = row(&[&base, &["--json", "--cri", cri][..], filter].concat());
        assert_eq!([&row["client"]["pod"], &row["server"]["pod"]], [&client_name, &server_name], "{row}");
        assert_eq!([&row["client"]["pod_uid"], &row["server"]["pod_uid"]], [client.uid(), server.uid()], "{row}");
    }
    // A runtime that does not know them leaves their UIDs.
    let unnamed = row(&[&base, &["--json", "--pod", server.uid()][..]].concat());
    assert_eq!((&unnamed["client"]["pod"], &unnamed["client"]["pod_uid"]), (&Value::Null, &client.uid().into()));
    let text = answer(&[&base, &["--cri", &format!("unix://{cri}")][..]].concat());
    assert!(text.contains(&format!(" ({client_name}) -> ")) && text.contains(&format!(" ({server_name})  ")), "{text}");
    let unknown = sidestep(&[&base, &["--cri", cri, "--pod", "shop/none"][..]].concat());
    let sentence = String::from_utf8_lossy(&unknown.stderr);
    assert!(unknown.status.code() == Some(1) && sentence.contains("lists no running pod shop/none; "), "{sentence}");

    let pid = std::process::id().to_string();
    let explained = answer(&["explain", "--pid", &pid, "--cri", cri, "--bpffs", common[1]]);
    assert!(explained.contains(&format!(", pod {client_name}\n")), "{explained}");
    wait_for(|| {
        let survey = answer(&["survey", "--seconds", "1", "--cri", cri]);
        if survey.contains(&format!("    in {client_name} -> {server_name}\n")) { Ok(()) } else { Err(survey) }
    });
}
