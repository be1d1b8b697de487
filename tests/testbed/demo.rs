//! `sidestep demo` as a user runs it: all hops accelerated, and nothing left of it, however it ends.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sidestep::syscall::cgroup;
use sidestep::syscall::id::{self, Kind};

use crate::feature::Feature;
use crate::support::binary::PublicBinary;
use crate::support::machine::Turn;
use crate::support::wait::{timeout, wait_for};

fn demo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
    command.arg("demo").args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(args: &[&str]) -> Output {
    demo(args).output().unwrap()
}

/// All that a demo has in the kernel at some moment.
#[derive(Debug, Default)]
struct Traces {
    /// Program, map and link ids that its descriptors name.
    bpf: BTreeSet<(&'static str, u32)>,
    /// Its children.
    processes: BTreeSet<u32>,
    /// Network namespaces of its children, as "net:[inode]".
    namespaces: BTreeSet<PathBuf>,
}

impl Traces {
    fn look(&mut self, demo: u32) {
        for entry in fs::read_dir(format!("/proc/{demo}/fdinfo")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            for line in text.lines() {
                let Some((key, value)) = line.split_once(':') else { continue };
                let Some(kind) = ["prog_id", "map_id", "link_id"].into_iter().find(|kind| *kind == key) else {
                    continue;
                };
                self.bpf.extend(value.trim().parse().ok().map(|id: u32| (kind, id)));
            }
        }
        let children = fs::read_to_string(format!("/proc/{demo}/task/{demo}/children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            self.processes.insert(child);
            self.namespaces.extend(fs::read_link(format!("/proc/{child}/ns/net")).ok());
        }
        // A child that was just forked is still where its parent is.
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        self.namespaces.remove(&own);
    }

    /// Whether a link has been seen, the last that a demo loads, and a process in a pod, which comes after it.
    fn complete(&self) -> bool {
        self.bpf.iter().any(|(kind, _)| *kind == "link_id") && !self.namespaces.is_empty()
    }

    /// What of it is still there.
    fn remaining(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (kind, number) in &self.bpf {
            let kind_of = match *kind {
                "prog_id" => Kind::Prog,
                "map_id" => Kind::Map,
                _ => Kind::Link,
            };
            // Not opened: see `agent::lifecycle` on arrays of programs.
            let alive = id::ids(kind_of).any(|id| id.unwrap() == *number);
            found.extend(alive.then(|| format!("{kind} {number}")));
        }
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            if self.processes.contains(&pid) {
                found.push(format!("process {pid}"));
            }
            if fs::read_link(entry.path().join("ns/net")).is_ok_and(|netns| self.namespaces.contains(&netns)) {
                found.push(format!("process {pid} in a pod"));
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        found.extend(
            self.namespaces
                .iter()
                .filter(|netns| mounts.contains(&*netns.to_string_lossy()))
                .map(|netns| format!("{netns:?} mounted")),
        );
        found
    }

    /// The kernel frees some of it later: links and maps after an RCU grace period.
    fn assert_gone(&self, when: &str) {
        wait_for(|| match self.remaining() {
            none if none.is_empty() => Ok(()),
            some => Err(format!("{when}: still there: {some:?}")),
        });
    }
}

/// The cgroups of demos with this process id.
fn cgroups_of(demo: u32) -> Vec<PathBuf> {
    let path = cgroup::find().unwrap().unwrap().join(format!("sidestep-demo-{demo}"));
    path.exists().then_some(path).into_iter().collect()
}

/// Starts a long demo, watches it for a while, and ends it by a signal. The while starts when what it waits for has been
/// seen.
fn end_after(delay: Duration, awaited: fn(&Traces) -> bool, signal: Signal) -> (u32, Traces, Output) {
    let child: Child = demo(&["--rounds", "1000"]).spawn().unwrap();
    let pid = child.id();
    let mut traces = Traces::default();
    let deadline = Instant::now() + timeout();
    while !awaited(&traces) && Instant::now() < deadline {
        traces.look(pid);
    }
    let end = Instant::now() + delay;
    while Instant::now() < end {
        traces.look(pid);
        std::thread::sleep(Duration::from_millis(1));
    }
    kill(Pid::from_raw(pid as i32), signal).unwrap();
    (pid, traces, child.wait_with_output().unwrap())
}

#[test]
fn every_hop_is_accelerated_in_both_families_and_pairings() {
    // Demos remove what others left, so one at a time looks for leftovers.
    let _turn = Turn::take();
    let mut pairings = vec![&["--pairing", "sequence"][..]];
    if Feature::NetnsCookieHelper.required("the demo with four-tuple pairing") {
        pairings.push(&["--pairing", "four-tuple"]);
    }
    for args in pairings {
        for family in [&[][..], &["--ipv6"]] {
            let args = [args, family, &["--requests", "200", "--rounds", "1", "--json"]].concat();
            let output = run(&args);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{args:?}: {errors}");
            let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            let hops = summary["hops"].as_array().unwrap();
            assert_eq!(hops.len(), 4);
            for hop in hops {
                let share = |which: &str| hop[which]["share_past_stack"].as_f64().unwrap();
                assert!(share("accelerated") > 0.9, "{args:?}: {hop}");
                assert_eq!(share("plain"), 0.0, "{args:?}: {hop}");
                assert!(hop["plain"]["cpu_us_per_request"].as_f64().unwrap() > 0.0, "{hop}");
            }
            // Four hops, two ways, 200 requests and 100 before them.
            assert_eq!(summary["bytes_checked"], 4 * 2 * 300 * 1024);
        }
    }
}

#[test]
fn nothing_outlives_a_killed_demo_but_a_cgroup_that_the_next_removes() {
    // Demos remove what others left, so one at a time looks for leftovers.
    let _turn = Turn::take();
    let mut seen = Traces::default();
    let at_once: fn(&Traces) -> bool = |_| true;
    let moments = [0, 3, 10, 30, 60, 100, 200, 400, 800].map(|delay| (delay, at_once));
    // However slow the machine, one is killed with everything loaded and its pods at work.
    let moments = moments.into_iter().chain([(5, Traces::complete as fn(&Traces) -> bool)]);
    for (delay, awaited) in moments {
        let (pid, traces, _) = end_after(Duration::from_millis(delay), awaited, Signal::SIGKILL);
        traces.assert_gone(&format!("{delay} ms"));
        seen.bpf.extend(&traces.bpf);
        seen.namespaces.extend(traces.namespaces);
        let output = run(&["--rounds", "1", "--requests", "10"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(cgroups_of(pid), Vec::<PathBuf>::new(), "{delay} ms");
    }
    // The test has seen what it looked for.
    for kind in ["prog_id", "map_id", "link_id"] {
        assert!(seen.bpf.iter().any(|(one, _)| *one == kind), "no {kind} was seen: {seen:?}");
    }
    assert!(!seen.namespaces.is_empty());
}

#[test]
fn an_interrupted_demo_cleans_up_and_says_so() {
    // Demos remove what others left, so one at a time looks for leftovers.
    let _turn = Turn::take();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (pid, traces, output) = end_after(Duration::from_millis(500), |traces| !traces.bpf.is_empty(), signal);
        assert!(!traces.bpf.is_empty());
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).ends_with("sidestep: interrupted\n"));
        assert_eq!(cgroups_of(pid), Vec::<PathBuf>::new());
        traces.assert_gone(signal.as_str());
    }
}

#[test]
fn wrong_flags_get_one_sentence_and_status_2() {
    for args in [&["--requests", "0"][..], &["--size", "x"], &["--colour"], &["--pairing", "luck"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.starts_with("sidestep: ") && text.lines().count() == 1, "{args:?}: {text}");
    }
}

#[test]
fn without_root_it_says_who_may() {
    use std::os::unix::process::CommandExt;
    let binary = PublicBinary::new();
    let output = Command::new(&*binary).arg("demo").uid(1000).gid(1000).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("root") && text.lines().count() == 1, "{text}");
}
