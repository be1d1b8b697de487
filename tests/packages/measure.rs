//! What the agent takes of a node: memory and CPU time of the chart's container, by how many sockets are accelerated. The limits in the
//! chart follow from it; docs/how-to/kubernetes.md has the numbers.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sidestep::syscall::mounts;

use crate::container::{Container, is_possible};
use crate::streams::{Probe, listener};
use crate::support::child::{ChildGuard, this_test};
use crate::support::wait::wait_until;
use crate::walk::Walk;

/// Says to a test how many connections it holds.
const CONNECTIONS: &str = "SIDESTEP_TEST_CONNECTIONS";
/// Each takes two descriptors; a common limit is 20,000.
const MOST_IN_A_PROCESS: usize = 7_500;
/// Long enough for the CPU time, which has hundredths of a second.
const WINDOW: Duration = Duration::from_secs(30);
/// Between two scrapes in it.
const SCRAPE: Duration = Duration::from_secs(5);

#[test]
#[ignore = "a process of another test's"]
fn child() {
    let count: usize = std::env::var(CONNECTIONS).unwrap().parse().unwrap();
    let listener = listener();
    let connections: Vec<Probe> = (0..count).map(|_| Probe::on(&listener)).collect();
    println!("{} are open", connections.len());
    std::io::stdout().flush().unwrap();
    // Until it is killed.
    loop {
        std::thread::park();
    }
}

/// Processes in this cgroup that hold so many connections with themselves.
fn crowd(cgroup: &Path, connections: usize) -> Vec<ChildGuard> {
    let starts = (0..connections).step_by(MOST_IN_A_PROCESS);
    let spawn = |start: usize| {
        let count = MOST_IN_A_PROCESS.min(connections - start);
        let mut command = this_test("measure::child");
        ChildGuard::spawn_in(cgroup, command.env(CONNECTIONS, count.to_string()).stdout(Stdio::piped()))
    };
    let mut children: Vec<_> = starts.map(spawn).collect();
    for child in &mut children {
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("are open")), "it has ended");
    }
    children
}

/// The memory cgroup of a process, in either version.
fn memory(process: u64) -> PathBuf {
    let text = std::fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
    let path =
        |id: &str| text.lines().find_map(|line| line.split_once(id)).map(|(_, path)| path.trim_start_matches('/'));
    let mounts = mounts().unwrap();
    let is_v1 = |mount: &&sidestep::syscall::Mount| mount.fs_type == "cgroup" && mount.point.ends_with("memory");
    match mounts.iter().find(is_v1) {
        Some(mount) => mount.point.join(path(":memory:").unwrap()),
        None => crate::support::cgroup::root().join(path("0::").unwrap()),
    }
}

/// One of two files of the memory cgroup, in MiB.
fn mib(group: &Path, names: [&str; 2]) -> f64 {
    let text = names.iter().find_map(|name| std::fs::read_to_string(group.join(name)).ok()).unwrap();
    text.trim().parse::<f64>().unwrap() / f64::from(1 << 20)
}

/// The CPU time of a process in ms (proc_pid_stat(5): utime and stime are the 14th and 15th field, in hundredths of a second).
fn cpu_ms(process: u64) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().unwrap() * 10).sum()
}

/// One line of the table.
fn measure(container: &Container, what: &str) {
    let (process, group) = (container.id(), memory(container.id()));
    let before = cpu_ms(process);
    for _ in 0..WINDOW.as_secs() / SCRAPE.as_secs() {
        std::thread::sleep(SCRAPE);
        assert_eq!(container.probe(9847, "/metrics"), "200");
    }
    let cpu = (cpu_ms(process) - before) as f64 / WINDOW.as_secs_f64();
    let now = mib(&group, ["memory.usage_in_bytes", "memory.current"]);
    let most = mib(&group, ["memory.max_usage_in_bytes", "memory.peak"]);
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim();
    println!("MEASURED: {what}: {now:.1} MiB now, {most:.1} at most, {resident} resident, {cpu:.1} ms of CPU a second");
}

#[test]
#[ignore = "a measurement, which takes minutes"]
fn what_the_agent_takes() {
    assert!(is_possible());
    for sockets in [0, 10_000, 60_000] {
        let mut walk = Walk::new();
        let container = walk.install(true).expect("Helm's library is needed");
        let crowd = crowd(&walk.pod_a().work(), sockets / 2);
        wait_until("all are members", || walk.members() >= sockets * 99 / 100);
        measure(&container, &format!("{sockets} sockets that came"));
        container.stop();
        let container = walk.install(false).unwrap();
        measure(&container, &format!("{sockets} sockets taken over"));
        container.stop();
        drop(crowd);
        walk.leaves_nothing();
    }
}
