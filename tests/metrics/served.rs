//! What `run --metrics` answers.

use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};

use sidestep::agent::capabilities;
use sidestep::dataplane::Counter;
use sidestep::syscall::caps::Capability;
use sidestep::syscall::cgroup::Cgroup;
use sidestep::syscall::prog_query;
use sidestep::testbed::listen;
use sidestep::uapi::AttachType;

use crate::fetch::{get, samples, send, sum};
use crate::prometheus::promtool;
use crate::start;
use crate::support::cgroup::remove;
use crate::support::link::{ANY_PORT, back_and_forth, pair, pattern};
use crate::support::nested::NestedCgroups;
use crate::support::wait::wait_until;

const REFERENCE: &str = include_str!("../../docs/reference/metrics.md");

/// The only labels. None of them depends on connections, processes or addresses.
const LABELS: [&str; 8] = ["cgroup", "map", "outcome", "program", "reason", "release", "state", "version"];

#[test]
fn metrics_say_what_the_programs_counted() {
    let cgroups = NestedCgroups::new();
    let (agent, address) = start(&cgroups, &[]);
    let (_, idle) = get(address, "/metrics", "");
    promtool(&["check", "metrics"], &idle);
    let counters = [
        "redirected",
        "stack",
        "passed",
        "enrolled",
        "paired",
        "unenrolled",
        "unclaimed",
        "plain",
        "drained",
        "armed",
        "left_alone",
        "lost",
    ];
    let is_counter = |series: &str| counters.iter().any(|name| series.starts_with(&format!("sidestep_{name}_")));
    let count = samples(&idle).into_iter().filter(|(series, _)| is_counter(series)).count();
    assert_eq!(count, Counter::ALL.len(), "one series for each counter, also before it has counted:\n{idle}");
    let listener = listen(ANY_PORT).unwrap();
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    wait_until("messages are redirected", || {
        back_and_forth(&client, &server, &pattern(1, 1_000), 3);
        sum(&get(address, "/metrics", "").1, "sidestep_redirected_bytes_total") > 10_000.0
    });
    let (status, busy) = get(address, "/metrics", "Accept: application/openmetrics-text;version=1.0.0,text/plain\r\n");
    assert_eq!(status, 200);
    assert!(busy.ends_with("# EOF\n"), "{busy}");
    assert_eq!(sum(&busy, "sidestep_map_entries{"), sum(&busy, "sidestep_map_entries{cgroup"));
    let capacity = samples(&busy)
        .into_iter()
        .find(|(series, _)| series.starts_with("sidestep_map_capacity") && series.contains("sidestep_socks"));
    assert_eq!(capacity.unwrap().1, 65_536.0);
    assert!(sum(&busy, "sidestep_connections{state=\"in_socket_map\"}") >= 1.0, "{busy}");
    assert_eq!(sum(&busy, "sidestep_problems"), 0.0, "{busy}");
    for (series, _) in samples(&busy) {
        let labels = series.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let name = label.split_once('=').unwrap().0;
            assert!(LABELS.contains(&name), "{series} has the label {name}");
        }
    }
    for line in busy.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (family, kind) = line.split_once(' ').unwrap();
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        assert!(REFERENCE.contains(&format!("`{family}{suffix}`")), "docs/reference/metrics.md lacks {family}{suffix}");
    }
    // The same families before and after traffic.
    let names = |text: &str| {
        samples(text).into_iter().map(|(series, _)| series.to_owned()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(names(&idle), names(&busy));
    agent.stop();
}

#[test]
fn probes_say_whether_new_connections_are_accelerated() {
    let cgroups = NestedCgroups::new();
    let (agent, address) = start(&cgroups, &[]);
    assert_eq!(get(address, "/healthz", ""), (200, "ok\n".into()));
    assert_eq!(get(address, "/readyz", ""), (200, "ready\n".into()));
    cgroups.leave();
    remove([cgroups.path()]);
    wait_until("/readyz says that the cgroup was removed", || {
        let (status, why) = get(address, "/readyz", "");
        status == 503 && (why.contains("the cgroup was removed") || why.contains("nothing is attached"))
    });
    assert_eq!(get(address, "/healthz", "").0, 200, "a restart would not help");
    agent.stop();
}

#[test]
fn bad_clients_get_a_sentence_and_disturb_no_other() {
    let cgroups = NestedCgroups::new();
    let (agent, address) = start(&cgroups, &["--unpinned"]);
    assert_eq!(get(address, "/", "").0, 404);
    assert!(send(address, "POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(send(address, "\u{16}\u{3}\u{1}\u{2}").starts_with("HTTP/1.1 400 "));
    assert!(send(address, &format!("GET /{} HTTP/1.1\r\n", "a".repeat(20_000))).starts_with("HTTP/1.1 431 "));
    assert!(!send(address, "HEAD /metrics HTTP/1.1\r\n\r\n").contains("sidestep_"));
    // Fewer than the threads that answer: silent ones hold theirs for a while.
    let silent: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).unwrap();
        std::io::Write::write_all(&mut stream, b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        reset(stream);
    }
    assert_eq!(get(address, "/healthz", "").0, 200);
    drop(silent);
    let said = agent.stop();
    assert!(said.err.is_empty(), "{said:?}");
}

/// Closes with RST.
fn reset(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the option's value is a live `linger` of the size given.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0);
}

#[test]
fn an_address_that_is_taken_changes_nothing() {
    let cgroups = NestedCgroups::new();
    let taken = listen(ANY_PORT).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (given, says) in [(address.as_str(), "cannot listen"), ("9847", "is not an IP address with a port")] {
        let mut command = crate::agent::command();
        command.args(["--metrics", given, "--cgroup"]).arg(cgroups.path());
        let ended = crate::support::child::ChildGuard::spawn(&mut command).end();
        assert!(!ended.status.success() && ended.err.contains(says), "{ended:?}");
    }
    let cgroup = Cgroup::open(&cgroups.path()).unwrap();
    assert!(prog_query(cgroup.as_fd(), AttachType::CGROUP_SOCK_OPS).unwrap().is_empty());
}

#[test]
fn no_thread_has_more_capabilities_than_are_documented() {
    let cgroups = NestedCgroups::new();
    let (agent, address) = start(&cgroups, &[]);
    assert_eq!(get(address, "/healthz", "").0, 200);
    let mut kept = capabilities();
    kept.push(Capability::DacReadSearch);
    let all: u64 = kept.iter().map(|capability| 1 << *capability as u8).sum();
    for thread in std::fs::read_dir(format!("/proc/{}/task", agent.id())).unwrap() {
        // One may have ended meanwhile.
        let Ok(status) = std::fs::read_to_string(thread.unwrap().path().join("status")) else { continue };
        for set in ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
            let value = status.lines().find_map(|line| line.strip_prefix(set)).unwrap().trim();
            let more = u64::from_str_radix(value, 16).unwrap() & !all;
            assert_eq!(more, 0, "{set} {value} has more than {all:016x}:\n{status}");
        }
    }
    agent.stop();
}
