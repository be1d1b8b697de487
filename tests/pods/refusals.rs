//! What is wrong with flags, files, annotations and runtimes is one sentence, and harms no pod that is accelerated.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::fixture::Fixture;
use crate::sandbox::{Driver, TestPod};
use crate::streams::Probe;
use crate::support::agent::{self, Agent};

/// The one sentence with which it refuses to start.
#[track_caller]
fn sentence(output: &Output, status: i32) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!((output.status.code(), text.lines().count()), (Some(status), 1), "{text}");
    assert!(output.stdout.is_empty(), "{output:?}");
    text
}

#[test]
fn wrong_flags_and_dead_sockets_are_refused_before_anything_is_attached() {
    for (flags, status, part) in [
        (&["--pods", "shop"][..], 2, "--pods: \"shop\" selects no pods; write all, or namespace=NAME"),
        (&["--pods", "all", "--pods-default", "maybe"], 2, "--pods-default takes on or off, not \"maybe\""),
        (&["--pods", "all", "--cri", "run.sock"], 2, "--cri: \"run.sock\" is not an absolute path"),
        (&["--pods", "all", "--cgroup", "/x"], 2, "--pods and --cgroup do not go together"),
        (&["--pods-default", "on"], 2, "--pods all"),
        (&["--pods", "all", "--cri", "/no/such.sock"], 1, "/no/such.sock: No such file or directory"),
        (&["--pods", "all", "--cri", "/etc/hosts"], 1, "/etc/hosts: Connection refused"),
    ] {
        let text = sentence(&agent::command().args(flags).output().unwrap(), status);
        assert!(text.contains(part), "{flags:?}: {text}");
    }
    // Other commands do without a runtime, unless they are told of one.
    for (words, status, part) in [
        (&["list", "--cri", "/no/such.sock"][..], 1, "/no/such.sock: No such file or directory"),
        (&["survey", "--cri", "/etc/hosts"], 1, "/etc/hosts: Connection refused"),
        (&["list", "--pod", "shop/"], 2, "--pod: \"shop/\" is not NAMESPACE/NAME"),
    ] {
        let text = sentence(&Command::new(env!("CARGO_BIN_EXE_sidestep")).args(words).output().unwrap(), status);
        assert!(text.contains(part), "{words:?}: {text}");
    }
}

#[test]
fn another_user_than_root_needs_a_group_that_may_open_the_socket() {
    let mut fixture = Fixture::new();
    let mut pod = TestPod::new(&mut fixture.runtime, "one", Driver::Cgroupfs, None);
    pod.start(&mut fixture.runtime);
    // Not that of this machine, which would become that user's.
    let state = std::env::temp_dir().join(format!("sidestep-pods-state-{}", std::process::id()));
    let command = |user| {
        let mut command = fixture.command(&["--pods", "all", "--pods-default", "on", "--user", user]);
        command.env("STATE_DIRECTORY", &state);
        command
    };
    let text = sentence(&command("65534").output().unwrap(), 1);
    assert!(text.contains("name the group that may with --user UID:GID"), "{text}");
    fixture.is_gone();
    let run = Agent::start(&mut command("65534:0"));
    fixture.accelerates(&[&pod]);
    pod.enter();
    assert!(Probe::new().is_redirected());
    fixture.leave();
    run.stop();
    fixture.is_gone();
    std::fs::remove_dir_all(state).unwrap();
}

/// A configuration file, removed with the test.
struct File(PathBuf);

impl File {
    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn the_selector_changes_live_and_a_runtime_that_goes_away_changes_nothing() {
    let mut fixture = Fixture::new();
    let mut pods = ["one", "two"].map(|name| TestPod::new(&mut fixture.runtime, name, Driver::Cgroupfs, None));
    for pod in &mut pods {
        pod.start(&mut fixture.runtime);
    }
    let [one, two] = &pods;
    let file = File(std::env::temp_dir().join(format!("sidestep-pods-{}.toml", std::process::id())));
    file.write("pods = \"label:app=one\"\npods-default = \"on\"\n");
    let mut command = fixture.command(&["--config"]);
    let run = Agent::start(command.arg(&file.0));
    fixture.accelerates(&[one]);
    one.enter();
    let of_one = Probe::new();
    assert!(of_one.is_redirected());
    let sidestep = |words: &[&str]| Command::new(env!("CARGO_BIN_EXE_sidestep")).args(words).output().unwrap();
    let (pid, bpffs) = (run.id().to_string(), fixture.bpffs().to_owned());
    let reload = || sidestep(&["reload", "--pid", &pid, "--bpffs", bpffs.to_str().unwrap()]);
    for (text, part) in [
        ("pods = \"one\"\n", "line 1: pods: \"one\" selects no pods"),
        ("pods = \"all\"\npods-default = true\n", "line 2: pods-default takes"),
        ("pod = \"all\"\n", "there is no key \"pod\"; did you mean pods?"),
        ("pods = \"all\"\ncgroup = \"/x\"\n", "do not go together"),
    ] {
        file.write(text);
        let text = sentence(&reload(), 1);
        assert!(text.contains(part), "{text}");
        let check = sidestep(&["config", "check", file.0.to_str().unwrap()]);
        let found = String::from_utf8(check.stdout).unwrap();
        assert!(check.status.code() == Some(1) && found.contains(part), "{found}");
    }
    fixture.accelerates(&[one]);
    file.write("pods = [\"label:app=two\", \"namespace=none\"]\npods-default = \"on\"\n");
    let answer = reload();
    assert!(answer.status.success(), "{answer:?}");
    fixture.accelerates(&[two]);
    assert!(!of_one.is_redirected(), "it is not selected any more");
    two.enter();
    let of_two = Probe::new();
    assert!(of_two.is_redirected());

    fixture.runtime.pause();
    file.write("pods = \"all\"\npods-default = \"on\"\n");
    assert!(reload().status.success(), "the rule holds for the pods that were read last");
    let [one, two] = &mut pods;
    fixture.accelerates(&[one, two]);
    assert!(of_two.is_redirected());
    fixture.runtime.go_on();
    two.stop(&mut fixture.runtime);
    fixture.accelerates(&[one]);
    fixture.leave();
    let said = run.stop();
    // Once each time: on a busy machine it may have been away more often.
    let away = said.err.matches("cannot speak with the container runtime").count();
    let again = said.out.matches("the container runtime answers again").count();
    assert!(again >= 1 && (again..=again + 1).contains(&away), "{}{}", said.out, said.err);
    fixture.is_gone();
}
