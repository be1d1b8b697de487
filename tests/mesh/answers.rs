//! What an operator wants to know, on two pods with Envoys, nginx, a client that blocks and a proxy that splices: how much of
//! this node's TCP can be accelerated, which connections are, why those two are not, and what it saves. The commands are those that
//! `sidestep help` prints for these questions, and each answer is looked for in its text and in its JSON.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use serde_json::Value;
use sidestep::testbed::Addresses;

use crate::load::{Client, Load};
use crate::mesh::{Kind, Mesh, Pod};
use crate::support::agent::{self, Agent};
use crate::support::bpffs::TestBpffs;
use crate::support::child::ChildGuard;
use crate::support::link::Finish;
use crate::support::wait::wait_for;
use crate::up;

const SPLICING_PROXY: &str = include_str!("../programs/sources/splice_proxy.py");
/// Where it listens, in the server's pod.
const PROXY_PORT: u16 = 18_900;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: app\r\n\r\n";

/// What the other threads do, and what the test wants to know of it.
#[derive(Default)]
struct Traffic {
    ended: AtomicBool,
    /// The blocking client's descriptor.
    blocking: AtomicI32,
    /// The splicing proxy's process.
    proxy: AtomicI32,
}

impl Traffic {
    /// Requests until it is to end: of clients that do not block and of one that does through the mesh, and of one through
    /// the splicing proxy beside the app.
    fn run(&self, mesh: &Mesh, kind: Kind) {
        let ended = || self.ended.load(Ordering::Relaxed);
        let load = Load { target: mesh.service, protocol: kind.protocol(), connections: 4, short: false };
        mesh.in_client_pod(|| {
            scope(|threads| {
                threads.spawn(|| Client::new(load).unwrap().run(|_| ended()).unwrap());
                threads.spawn(|| {
                    mesh.in_pod(Pod::Server, || {
                        let app = Addresses::V4.app.port().to_string();
                        let mut command = Command::new("python3");
                        command.args(["-c", SPLICING_PROXY, &PROXY_PORT.to_string(), &app]).stdin(Stdio::null());
                        let proxy = ChildGuard::spawn(&mut command);
                        self.proxy.store(proxy.id().cast_signed(), Ordering::Relaxed);
                        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, PROXY_PORT));
                        wait_for(|| TcpStream::connect(target));
                        Client::new(Load { target, connections: 1, ..load }).unwrap().run(|_| ended()).unwrap();
                    });
                });
                let mut client = TcpStream::connect(mesh.service).unwrap();
                self.blocking.store(client.as_raw_fd(), Ordering::Relaxed);
                while !ended() {
                    client.write_all(REQUEST).unwrap();
                    let mut answer = Vec::new();
                    while !answer.ends_with(b"segment of TCP\n") {
                        let mut bytes = [0; 1024];
                        let read = client.read(&mut bytes).unwrap();
                        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
                        answer.extend_from_slice(&bytes[..read]);
                    }
                    sleep(Duration::from_millis(1));
                }
            });
        });
    }

    /// Does `work` meanwhile, and ends the requests however it ends.
    fn meanwhile<T>(mesh: &Mesh, kind: Kind, work: impl FnOnce(&Self) -> T) -> T {
        let traffic = Self::default();
        scope(|threads| {
            threads.spawn(|| traffic.run(mesh, kind));
            let _finish = Finish(&traffic.ended);
            wait_for(|| {
                let known = [&traffic.blocking, &traffic.proxy].map(|number| number.load(Ordering::Relaxed));
                if known.contains(&0) { Err(format!("the clients have not begun: {known:?}")) } else { Ok(()) }
            });
            work(&traffic)
        })
    }
}

/// What the command answers.
fn output(args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
    let output = command.args(args).stdin(Stdio::null()).output().unwrap();
    if !output.status.success() {
        return Err(format!("{args:?}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8(output.stdout).unwrap())
}

/// A question of the help, and the arguments of the command that it prints for it.
struct Question(Vec<String>);

impl Question {
    /// The one that begins with these words; PID in its command stands for this process.
    fn asks(words: &str, pid: &str) -> Self {
        let help = output(&["help"]).unwrap();
        let mut lines = help.lines().skip_while(|line| *line != "Questions:");
        lines.find(|line| line.trim().starts_with(words)).unwrap_or_else(|| panic!("{words}: {help}"));
        let command =
            lines.next().and_then(|line| line.strip_prefix("      sidestep ")).unwrap_or_else(|| panic!("{help}"));
        Self(command.split(' ').map(|word| if word == "PID" { pid } else { word }.to_owned()).collect())
    }

    /// The answer in words, and its JSON lines, of two calls. Only where the pins of the test are is added.
    fn answers(&self, bpffs: &str) -> Result<(String, Vec<Value>), String> {
        let args: Vec<_> = self.0.iter().map(String::as_str).chain(["--bpffs", bpffs]).collect();
        let (text, json) = (output(&args)?, output(&[&args[..], &["--json"]].concat())?);
        Ok((text, json.lines().map(|line| serde_json::from_str(line).unwrap()).collect()))
    }
}

/// The condition with this code, when it does not hold.
fn broken(explained: &Value, code: &str) -> Option<Value> {
    let conditions = explained["conditions"].as_array()?;
    conditions.iter().find(|one| one["code"] == code && one["holds"] == false).cloned()
}

/// The hops, by the cgroups of their ends; the share of their five connections that can be accelerated, since one of the five clients
/// blocks; and the way between the ends.
const HOPS: [(&str, &str, f64, &str); 3] = [
    ("client-app", "client-sidecar", 0.8, "loopback_tracked"),
    ("client-sidecar", "server-sidecar", 1.0, "veth_tracked"),
    ("server-sidecar", "server-app", 1.0, "loopback_tracked"),
];

/// Whether all five connections of each hop are there, with the share that can be accelerated and what that saves, and
/// under the names of their programs: the sidecars are started by a descriptor, whose number is the kernel's name of them.
fn says_what_can_be_gained(text: &str, survey: &Value, sidecar: &str) -> Result<(), String> {
    let groups = survey["groups"].as_array().ok_or("there are no groups")?;
    for (client, server, share, route) in HOPS {
        let in_group = |end: &Value, name: &str| end.as_str().is_some_and(|path| path.ends_with(&format!("/{name}")));
        let mut hops = groups.iter();
        let hop = hops.find(|one| in_group(&one["client_cgroup"], client) && in_group(&one["server_cgroup"], server));
        let hop = hop.ok_or_else(|| format!("{client} -> {server}: {survey}"))?;
        let whole = hop["connections"] == 5 && hop["eligible_share"] == share && hop["routes"][0]["route"] == route;
        let name = if server == "server-app" { "nginx" } else { sidecar };
        let named = hop["server"] == name && hop["server_comm"].is_string();
        if !(whole && named)
            || hop["eligible_bytes_per_second"].as_f64() <= Some(1000.0)
            || hop["saved_cpus"].as_f64() <= Some(0.0)
        {
            return Err(format!("{client} -> {server}: {hop}"));
        }
        let names = format!("{} -> {name} ", hop["client"].as_str().unwrap());
        let row = text.lines().find_map(|line| line.strip_prefix(&names)).map(str::split_whitespace);
        let row: Vec<_> = row.ok_or_else(|| format!("{names}: {text}"))?.collect();
        if row.first() != Some(&"5") || row.get(3) != Some(&format!("{:.0}", share * 100.0).as_str()) {
            return Err(format!("{names}{row:?}: {text}"));
        }
    }
    let why = groups.iter().flat_map(|one| one["why_not"].as_array().unwrap());
    let mut why = why.filter(|why| why["condition"]["code"] == "client_nonblocking");
    let has_remedy = why.any(|why| why["condition"]["remedy"].is_string());
    let says_why = text.contains("    1 of 5: The client (")
        && text.contains("-> to accelerate blocking readers too, use --readers any");
    let saved = survey["saved_cpus"].as_f64();
    let line = text.lines().find_map(|line| line.strip_prefix("acceleration would save "));
    let percent =
        line.and_then(|line| line.split_once(" % of a CPU in all")).and_then(|(number, _)| number.parse::<f64>().ok());
    let plausible = saved > Some(0.0) && saved < Some(4.0) && percent > Some(0.0) && percent < Some(400.0);
    if has_remedy && says_why && plausible { Ok(()) } else { Err(format!("{text}\n{survey}")) }
}

/// Whether connections of each hop are accelerated, and have been used.
fn says_which_are_accelerated(text: &str, rows: &[Value]) -> Result<(), String> {
    for (client, server, ..) in HOPS {
        let is_in =
            |end: &Value, name: &str| end["cgroup"].as_str().is_some_and(|path| path.ends_with(&format!("/{name}")));
        let sent = |row: &Value| row["client"]["sent"]["redirected_messages"].as_u64() > Some(0);
        let by_json =
            rows.iter().any(|row| is_in(&row["client"], client) && is_in(&row["server"], server) && sent(row));
        let by_text = text.lines().any(|line| {
            line.contains(&format!("/{client}) -> "))
                && line.contains(&format!("/{server})  in a socket map; past the stack "))
                && !line.contains("; past the stack 0 bytes")
        });
        if !(by_json && by_text) {
            return Err(format!("{client} -> {server}: {by_json} {by_text}: {text}\n{rows:?}"));
        }
    }
    Ok(())
}

/// Whether it says that the client blocks on this descriptor, and what to do.
fn says_that_it_blocks(text: &str, explained: &[Value], pid: &str, descriptor: i32) -> Result<(), String> {
    let number: u32 = pid.parse().unwrap();
    let of_descriptor = |one: &&Value| one["ends"][0]["fd"] == descriptor && one["ends"][0]["pid"] == number;
    let one = explained.iter().find(of_descriptor).ok_or_else(|| format!("descriptor {descriptor}: {explained:?}"))?;
    let plain = one["accelerated"] == false && one["answer"].as_str().unwrap().starts_with("Not accelerated: ");
    let why = broken(one, "client_nonblocking").ok_or_else(|| one.to_string())?;
    let sentence = format!("process {pid}) blocks on its descriptor {descriptor}.");
    let has_remedy = why["remedy"].as_str().is_some_and(|remedy| remedy.contains("--readers any"));
    let mut lines =
        text.lines().skip_while(|line| !(line.starts_with("  NO   The client (") && line.ends_with(&sentence)));
    let by_text =
        lines.nth(1).is_some_and(|remedy| remedy.trim().starts_with("-> ") && remedy.contains("--readers any"));
    let by_json = plain && has_remedy && why["finding"].as_str().unwrap().ends_with(&sentence);
    if by_json && by_text { Ok(()) } else { Err(format!("{by_json} {by_text}: {text}\n{one}")) }
}

/// Whether it says that the proxy splices.
fn says_that_it_splices(text: &str, explained: &[Value], pid: &str) -> Result<(), String> {
    let sentence = format!("process {pid}) reads with splice(2)");
    let splices = |one: &Value| {
        let mut ends = ["client_trusted", "server_trusted"].into_iter().filter_map(|code| broken(one, code));
        ends.any(|why| why["finding"].as_str().is_some_and(|text| text.contains(&sentence)))
    };
    let by_text = text.lines().any(|line| line.starts_with("  NO   The ") && line.contains(&sentence));
    let by_json = explained.iter().any(splices);
    if by_json && by_text { Ok(()) } else { Err(format!("{by_json} {by_text}: {text}\n{explained:?}")) }
}

#[test]
fn an_operator_gets_four_answers() {
    let kind = Kind::Tcp;
    let Some(mesh) = up(kind, &[]) else { return };
    let own = std::process::id().to_string();
    let envoy = std::fs::read_to_string(mesh.directory().join("envoy")).unwrap();
    let sidecar = envoy.trim().rsplit('/').next().unwrap();
    let pins = TestBpffs::new();
    let bpffs = pins.path().to_str().unwrap();
    // Before: how much can be accelerated, and what would that save?
    // A connection whose numbers change while they are read is missing, and on a busy machine the calibration of a second
    // may find that acceleration costs: then an operator asks again.
    let question = Question::asks("How much of this node's TCP can be accelerated, and what would it save?", &own);
    wait_for(|| {
        let (text, survey) = Traffic::meanwhile(&mesh, kind, |_| question.answers(bpffs)).unwrap();
        says_what_can_be_gained(&text, &survey[0], sidecar)
    });

    // After: which connections are accelerated, and why are those two not?
    let mut run = agent::command();
    let agent = Agent::start(run.args(["--bpffs", bpffs, "--cgroup"]).arg(mesh.cgroup().path()));
    Traffic::meanwhile(&mesh, kind, |traffic| {
        let question = Question::asks("Which connections are accelerated?", &own);
        wait_for(|| question.answers(bpffs).and_then(|(text, rows)| says_which_are_accelerated(&text, &rows)));
        let question = |pid: &str| Question::asks("Why are those of a process not?", pid);
        let (blocking, descriptor) = (question(&own), traffic.blocking.load(Ordering::Relaxed));
        wait_for(|| {
            let (text, explained) = blocking.answers(bpffs)?;
            says_that_it_blocks(&text, &explained, &own, descriptor)
        });
        let proxy = traffic.proxy.load(Ordering::Relaxed).to_string();
        let splicing = question(&proxy);
        wait_for(|| {
            let (text, explained) = splicing.answers(bpffs)?;
            says_that_it_splices(&text, &explained, &proxy)
        });
    });
    agent.stop();
}
