//! What an operator wants to know, on two pods with Envoys, nginx, a client that blocks and a proxy that splices: how much of
//! this node's TCP can be accelerated, which connections are, why those two are not, and what it saves.

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
        struct End<'a>(&'a AtomicBool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let traffic = Self::default();
        scope(|threads| {
            threads.spawn(|| traffic.run(mesh, kind));
            let _end = End(&traffic.ended);
            wait_for(|| {
                let known = [&traffic.blocking, &traffic.proxy].map(|number| number.load(Ordering::Relaxed));
                if known.contains(&0) { Err(format!("the clients have not begun: {known:?}")) } else { Ok(()) }
            });
            work(&traffic)
        })
    }
}

/// The command's JSON lines.
fn ask(args: &[&str]) -> Result<Vec<Value>, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
    let output = command.args(args).arg("--json").stdin(Stdio::null()).output().unwrap();
    if !output.status.success() {
        return Err(format!("{args:?}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// The condition with this code, when it does not hold.
fn broken(explained: &Value, code: &str) -> Option<Value> {
    let conditions = explained["conditions"].as_array()?;
    conditions.iter().find(|one| one["code"] == code && one["holds"] == false).cloned()
}

/// Whether all five connections of each hop are there, with the share that can be accelerated and what that saves, and
/// under the names of their programs: the sidecars are started by a descriptor, whose number is the kernel's name of them.
fn says_what_can_be_gained(survey: &Value, sidecar: &str) -> Result<(), String> {
    let groups = survey["groups"].as_array().ok_or("there are no groups")?;
    for (client, server, share, route, name) in [
        // One of the five clients blocks.
        ("client-app", "client-sidecar", 0.8, "loopback_tracked", sidecar),
        ("client-sidecar", "server-sidecar", 1.0, "veth_tracked", sidecar),
        ("server-sidecar", "server-app", 1.0, "loopback_tracked", "nginx"),
    ] {
        let in_group = |end: &Value, name: &str| end.as_str().is_some_and(|path| path.ends_with(&format!("/{name}")));
        let mut hops = groups.iter();
        let hop = hops.find(|one| in_group(&one["client_cgroup"], client) && in_group(&one["server_cgroup"], server));
        let hop = hop.ok_or_else(|| format!("{client} -> {server}: {survey}"))?;
        let whole = hop["connections"] == 5 && hop["eligible_share"] == share && hop["routes"][0]["route"] == route;
        let named = hop["server"] == name && hop["server_comm"].is_string();
        if !(whole && named)
            || hop["eligible_bytes_per_second"].as_f64() <= Some(1000.0)
            || hop["saved_cpus"].as_f64() <= Some(0.0)
        {
            return Err(format!("{client} -> {server}: {hop}"));
        }
    }
    let saved = survey["saved_cpus"].as_f64();
    if saved > Some(0.0) && saved < Some(4.0) { Ok(()) } else { Err(format!("{survey}")) }
}

#[test]
fn an_operator_gets_four_answers() {
    let kind = Kind::Tcp;
    let Some(mesh) = up(kind, &[]) else { return };
    let own = std::process::id().to_string();
    let envoy = std::fs::read_to_string(mesh.directory().join("envoy")).unwrap();
    let sidecar = envoy.trim().rsplit('/').next().unwrap();
    // Before: how much can be accelerated, and what would that save?
    // A connection whose numbers change while they are read is missing, and on a busy machine the calibration of a second
    // may find that acceleration costs: then an operator asks again.
    let survey = wait_for(|| {
        let asked = Traffic::meanwhile(&mesh, kind, |_| ask(&["survey", "--seconds", "2", "--calibrate"]));
        let survey = asked.unwrap().remove(0);
        says_what_can_be_gained(&survey, sidecar).map(|()| survey)
    });
    let groups = survey["groups"].as_array().unwrap();
    let blocked = groups.iter().flat_map(|one| one["why_not"].as_array().unwrap());
    let blocked = blocked.filter(|why| why["condition"]["code"] == "client_nonblocking");
    assert!(blocked.clone().any(|why| why["condition"]["remedy"].is_string()), "{survey}");

    // After: which connections are accelerated, and why are those two not?
    let pins = TestBpffs::new();
    let bpffs = pins.path().to_str().unwrap();
    let mut run = agent::command();
    let agent = Agent::start(run.args(["--bpffs", bpffs, "--cgroup"]).arg(mesh.cgroup().path()));
    Traffic::meanwhile(&mesh, kind, |traffic| {
        let group = format!("/{}", mesh.cgroup().path().file_name().unwrap().display());
        wait_for(|| {
            let rows = ask(&["list", "--bpffs", bpffs, "--cgroup", &group, "--state", "in_socket_map"])?;
            let is_in = |end: &Value, name: &str| {
                end["cgroup"].as_str().is_some_and(|path| path.ends_with(&format!("/{name}")))
            };
            let sent = |row: &Value| row["client"]["sent"]["redirected_messages"].as_u64() > Some(0);
            let hops = [
                ("client-app", "client-sidecar"),
                ("client-sidecar", "server-sidecar"),
                ("server-sidecar", "server-app"),
            ];
            let seen = hops.map(|(client, server)| {
                rows.iter().any(|row| is_in(&row["client"], client) && is_in(&row["server"], server) && sent(row))
            });
            if seen == [true; 3] { Ok(()) } else { Err(format!("{seen:?}: {rows:?}")) }
        });
        let descriptor = traffic.blocking.load(Ordering::Relaxed).to_string();
        let explained = ask(&["explain", "--bpffs", bpffs, "--pid", &own, "--fd", &descriptor]).unwrap().remove(0);
        assert!(
            explained["accelerated"] == false && explained["answer"].as_str().unwrap().starts_with("Not accelerated: ")
        );
        let why = broken(&explained, "client_nonblocking").unwrap_or_else(|| panic!("{explained}"));
        assert!(why["finding"].as_str().unwrap().contains(&format!("blocks on its descriptor {descriptor}")), "{why}");
        assert!(why["remedy"].as_str().unwrap().contains("--readers any"), "{why}");

        let proxy = traffic.proxy.load(Ordering::Relaxed).to_string();
        wait_for(|| {
            let explained = ask(&["explain", "--bpffs", bpffs, "--pid", &proxy])?;
            let splices = explained.iter().filter_map(|one| {
                broken(one, "client_trusted")
                    .into_iter()
                    .chain(broken(one, "server_trusted"))
                    .find(|why| why["finding"].as_str().is_some_and(|text| text.contains("reads with splice(2)")))
            });
            if splices.count() > 0 { Ok(()) } else { Err(format!("{explained:?}")) }
        });
    });
    agent.stop();
}
