//! Pods that leave while bytes of theirs are unread, and the cgroup that no agent uses any more.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

use sidestep::testbed::StackBytes;

use crate::fixture::Fixture;
use crate::opens::Opens;
use crate::sandbox::{Driver, TestPod};
use crate::streams::{Probe, listener, pair};
use crate::support::agent::Agent;
use crate::support::bpffs::TestBpffs;
use crate::support::link::expect;
use crate::support::machine::unique;
use crate::support::wait::wait_for;

/// A connection in whose server's queue these bytes wait, which did not take the stack.
fn unread(bytes: &[u8]) -> (TcpStream, TcpStream) {
    let (client, server) = pair(&listener());
    // One or another may take the stack at any time.
    wait_for(|| {
        let segments = || StackBytes::of(&client).unwrap().data_segments;
        let before = segments();
        (&client).write_all(bytes).unwrap();
        if segments() == before {
            return Ok(());
        }
        expect(&server, bytes);
        Err("nothing is redirected")
    });
    (client, server)
}

#[test]
fn a_pod_whose_bytes_are_unread_holds_up_neither_other_pods_nor_a_reload() {
    let mut fixture = Fixture::new();
    let mut slow = TestPod::new(&mut fixture.runtime, "slow", Driver::Cgroupfs, Some("true"));
    let mut quick = TestPod::new(&mut fixture.runtime, "quick", Driver::Systemd, Some("true"));
    let mut late = TestPod::new(&mut fixture.runtime, "late", Driver::Cgroupfs, Some("true"));
    let mut wrong = TestPod::new(&mut fixture.runtime, "wrong", Driver::Cgroupfs, Some("yes"));
    slow.start(&mut fixture.runtime);
    quick.start(&mut fixture.runtime);
    let file = std::env::temp_dir().join(unique("sidestep-leaving"));
    std::fs::write(&file, "pods = \"all\"\n").unwrap();
    // No wait of this test is as long as the drain may be.
    // Nothing is adopted: the agent opens each attached cgroup when it looks for connections that exist already.
    let mut command = fixture.command(&["--existing", "off", "--interval", "0", "--drain", "3000", "--config"]);
    let mut run = Agent::start(command.arg(&file));
    fixture.accelerates(&[&slow, &quick]);

    // What is known already is not looked for again. The agent lists all pods over another connection once more at its start.
    quick.enter();
    let stays = Probe::new();
    let mut odd = TestPod::new(&mut fixture.runtime, "odd", Driver::Cgroupfs, Some("maybe"));
    odd.start(&mut fixture.runtime);
    run.warns("pod shop/odd stays plain");
    let opens = Opens::of(&slow.cgroup());
    wrong.start(&mut fixture.runtime);
    run.warns("pod shop/wrong stays plain");
    assert_eq!(opens.count(), 0, "the cgroup of a pod is opened though nothing has changed");
    assert!(std::fs::read_dir(slow.cgroup()).is_ok() && opens.count() > 0, "opening it is not seen");

    slow.enter();
    let (client, server) = unread(&[7; 5000]);
    slow.recreate(&mut fixture.runtime, Some("false"));
    // It may have been seen with no sandbox; others come and go meanwhile, and settings are read again.
    late.start(&mut fixture.runtime);
    fixture.accelerates(&[&slow, &quick, &late]);
    quick.recreate(&mut fixture.runtime, Some("false"));
    fixture.accelerates(&[&slow, &late]);
    assert!(!stays.is_redirected(), "it has opted out");
    let reload = Command::new(env!("CARGO_BIN_EXE_sidestep"))
        .args(["reload", "--pid", &run.id().to_string(), "--bpffs"])
        .arg(fixture.bpffs())
        .output()
        .unwrap();
    assert!(reload.status.success(), "{reload:?}");
    fixture.accelerates(&[&slow, &late]);
    (&client).write_all(&[8; 3000]).unwrap();
    expect(&server, &[7; 5000]);
    expect(&server, &[8; 3000]);
    fixture.accelerates(&[&late]);
    run.says("pod shop/slow: plain TCP from now on");
    fixture.leave();
    run.stop();
    fixture.is_gone();
    std::fs::remove_file(file).unwrap();
}

#[test]
fn the_empty_cgroup_goes_with_the_last_agent_that_uses_it() {
    let mut fixture = Fixture::new();
    let mut pods = ["one", "two"].map(|name| TestPod::new(&mut fixture.runtime, name, Driver::Cgroupfs, None));
    for pod in &mut pods {
        pod.start(&mut fixture.runtime);
    }
    let anchor = fixture.anchor();
    let failed = fixture.command(&["--pods", "all", "--cri", "/no/such.sock"]).output().unwrap();
    assert!(!failed.status.success() && !anchor.exists(), "a start that fails leaves {}", anchor.display());

    // Two agents; the one with the other bpf file system goes on, also when it is killed.
    let other = TestBpffs::new();
    let elsewhere = ["--bpffs", other.path().to_str().unwrap()];
    let selects = |pod| ["--pods-default", "on", "--pods", pod];
    let first = fixture.run(&selects("label:app=one"));
    let second = fixture.run(&[&selects("label:app=two")[..], &elsewhere].concat());
    fixture.accelerates(&[&pods[0]]);
    pods[1].enter();
    let probe = wait_for(|| Some(Probe::new()).filter(Probe::is_redirected).ok_or("nothing is redirected"));
    let said = first.stop();
    assert!(!said.out.contains("stays for the next run") && anchor.exists(), "{}", said.out);
    assert!(probe.is_redirected(), "the end of one agent has disturbed the other");
    second.kill();
    assert!(anchor.exists() && probe.is_redirected());
    let detach =
        |flags: &[&str]| Command::new(env!("CARGO_BIN_EXE_sidestep")).arg("detach").args(flags).output().unwrap();
    let detached = detach(&elsewhere);
    assert!(detached.status.success() && !anchor.exists(), "{detached:?}");

    // One that pins nothing leaves it when it is killed; the next one removes it.
    fixture.run(&[&selects("all")[..], &["--unpinned"]].concat()).kill();
    assert!(anchor.exists());
    let last = fixture.run(&selects("all"));
    fixture.accelerates(&[&pods[0], &pods[1]]);
    fixture.leave();
    last.stop();
    fixture.is_gone();
}
