//! What a message between two local processes costs on this machine, by the stack and past it: a second of ping-pong on each
//! way that packets take between local ends, in network namespaces and a cgroup of its own.
//!
//! Both ends are sockets of this thread, so the time includes what each end does, and no time of waiting. What a process
//! pays to sleep and wake is the same either way, and is left out of both.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Uid, setfsuid};

use super::error::{Error, Result, system};
use crate::agent::{Acceleration, TierChoice, check, choose_tier};
use crate::dataplane::{Counter, Options, Pairing, Policy, Readers};
use crate::observe::{Costs, MessageCost, Route, RouteCosts};
use crate::syscall::cgroup::{self, Cgroup};
use crate::testbed::{self, Addresses, INBOUND_PORT, OUTBOUND_PORT, Pods, SIDECAR_ID, StackBytes, TemporaryCgroup};

/// Bytes of the messages: between these the cost grows in proportion.
const SIZES: [usize; 4] = [64, 1 << 10, 8 << 10, 32 << 10];
/// Turns that plain and accelerated TCP take, each with each size on each way, and round trips of a turn: a second in all.
const TURNS: usize = 41;
const ROUNDS: u32 = 20;
/// Messages before a measurement: the first ones take the stack, since the passive end has yet to be found.
const WARM_UP: usize = 200;
/// What a program touches for each message besides the socket: twice the first-level data cache of many CPUs (32 KiB).
const WORKING_SET: usize = 64 << 10;
/// `L1_CACHE_BYTES` of x86 and arm64.
const CACHE_LINE: usize = 64;
/// How long a message may take on a machine that is busy with something else.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Measures. Attaches a data plane to a cgroup that it makes, for a second, and puts nothing into it but this thread's
/// process, which goes back to where it was. The connections are in network namespaces that it makes. Needs root.
pub fn calibrate() -> Result<Costs> {
    let mount = cgroup::find()?.ok_or(Error::NoCgroup)?;
    let group = TemporaryCgroup::new(&mount, "sidestep-survey-")?;
    let _home = Visit::to(group.path(), &mount)?;
    let (tier, _) = choose_tier(TierChoice::Auto)?;
    let options =
        Options { pairing: Pairing::Sequence, tier, readers: Readers::NonBlocking, policy: Policy::default() };
    let ways = Ways::new()?;
    // Connections that were made before it was attached stay plain.
    let plain = ways.connect()?;
    let acceleration = Acceleration::start(&Cgroup::open(group.path())?, options, check::configuration()?)?;
    let measured = ways.connect().and_then(|accelerated| {
        let mut work = Work::new();
        let pairs = plain.iter().zip(&accelerated);
        pairs.map(|(plain, accelerated)| work.measure(plain, accelerated)).collect::<Result<Vec<_>>>()
    });
    let counters = acceleration.snapshot();
    acceleration.stop(TIMEOUT)?;
    let (routes, redirected) = (measured?, counters?.get(Counter::RedirectedMessages));
    let messages = (routes.len() * SIZES.len() * (WARM_UP + TURNS * ROUNDS as usize) * 2) as u64;
    if redirected * 10 < messages * 9 {
        return Err(Error::NotAccelerated { redirected, messages });
    }
    Ok(Costs { routes })
}

/// The namespaces in which connections take each way.
struct Ways {
    plain: Pods,
    /// Nothing where this kernel has no NAT.
    tracked: Option<Pods>,
}

impl Ways {
    fn new() -> Result<Self> {
        Ok(Self { plain: Pods::without_sidecars()?, tracked: Pods::new(false).ok() })
    }

    /// A connection for each way.
    fn connect(&self) -> Result<Vec<Pair>> {
        let ways = Route::ALL.into_iter().filter_map(|route| {
            let pods = if route.is_tracked() { self.tracked.as_ref()? } else { &self.plain };
            Some((route, pods))
        });
        ways.map(|(route, pods)| Pair::new(route, pods)).collect()
    }
}

/// What a program does with a message besides sending and receiving it: it works on memory, and calls the kernel for other
/// things. With nothing between, the CPU's caches would keep all that sending and receiving need, and these would cost less
/// than they do in a program: docs/results has the comparison.
struct Work {
    memory: Vec<u8>,
}

impl Work {
    fn new() -> Self {
        Self { memory: vec![0; WORKING_SET] }
    }

    fn do_once(&mut self) {
        for byte in self.memory.iter_mut().step_by(CACHE_LINE) {
            *byte = std::hint::black_box(byte.wrapping_add(1));
        }
        // What they find does not matter.
        let _ = std::hint::black_box((fs::metadata("/etc/passwd"), fs::read_link("/proc/self/exe")));
    }

    /// Measures messages of each size on two connections of one way.
    fn measure(&mut self, plain: &Pair, accelerated: &Pair) -> Result<RouteCosts> {
        let failed = system_io("send a message of a calibration");
        let mut messages = Vec::new();
        for bytes in SIZES {
            let mut buffer = vec![7; bytes];
            for pair in [plain, accelerated] {
                for _ in 0..WARM_UP {
                    pair.round(self, &mut buffer).map_err(&failed)?;
                }
            }
            let segments = || StackBytes::of(&plain.client).map(|sent| sent.data_segments).map_err(&failed);
            let (before, mut taken) = (segments()?, [const { Vec::new() }; 3]);
            for _ in 0..TURNS {
                for (taken, pair) in taken.iter_mut().zip([None, Some(plain), Some(accelerated)]) {
                    let start = cpu_time();
                    for _ in 0..ROUNDS {
                        match pair {
                            Some(pair) => pair.round(self, &mut buffer).map_err(&failed)?,
                            None => (0..2).for_each(|_| self.do_once()),
                        }
                    }
                    let time = cpu_time().saturating_sub(start).as_nanos() as f64;
                    taken.push(time / f64::from(2 * ROUNDS));
                }
            }
            let sent = TURNS as f64 * f64::from(ROUNDS);
            let [work, plain_ns, accelerated_ns] = taken.map(median);
            messages.push(MessageCost {
                bytes,
                segments: f64::from(segments()?.wrapping_sub(before)) / sent,
                plain_ns: plain_ns - work,
                accelerated_ns: accelerated_ns - work,
            });
        }
        Ok(RouteCosts { route: plain.route, messages })
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// This process in another cgroup, until it is dropped.
struct Visit {
    home: PathBuf,
}

impl Visit {
    fn to(group: &Path, mount: &Path) -> Result<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").map_err(&system_io("find the own cgroup"))?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
        let visit = Self { home: mount.join(own.trim_start_matches('/')) };
        join(group).map_err(system_io("enter a cgroup"))?;
        Ok(visit)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // The cgroup could not be removed with this process in it: the root takes any process.
        if join(&self.home).is_err() {
            let _ = cgroup::find().ok().flatten().map(|mount| join(&mount));
        }
    }
}

fn join(group: &Path) -> std::io::Result<()> {
    // 0 stands for the process that writes it (Documentation/admin-guide/cgroup-v2.rst).
    fs::write(group.join("cgroup.procs"), "0")
}

fn system_io(what: &'static str) -> impl Fn(std::io::Error) -> Error {
    let cannot = system(what);
    move |error| cannot(nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// Two connected sockets.
struct Pair {
    route: Route,
    client: TcpStream,
    server: TcpStream,
}

impl Pair {
    fn new(route: Route, pods: &Pods) -> Result<Self> {
        let failed = system_io("connect the ends of a calibration");
        let addresses = Addresses::V4;
        let at_any = |port| SocketAddr::new(addresses.any, port);
        // What is tracked is also redirected, as Istio does it: what leaves a pod, and what enters it.
        let (to, bound, called) = match route {
            Route::Loopback => (&pods.client, at_any(0), SocketAddr::new(addresses.loopback, 0)),
            Route::LoopbackTracked => (&pods.client, at_any(OUTBOUND_PORT), addresses.service),
            Route::Veth => (&pods.server, at_any(0), SocketAddr::new(addresses.server_pod, 0)),
            Route::VethTracked => (&pods.server, at_any(INBOUND_PORT), addresses.app),
        };
        let listener = to.run(|| testbed::listen(bound))?.map_err(&failed)?;
        let port = if called.port() == 0 { listener.local_addr().map_err(&failed)?.port() } else { called.port() };
        let connect = || {
            // Between the pods it is the sidecar that connects, whose packets the rules let through.
            let _sidecar = (route == Route::VethTracked).then(SidecarUser::new);
            testbed::connect(SocketAddr::new(called.ip(), port), None)
        };
        let client = pods.client.run(connect)?.map_err(&failed)?;
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(server) = testbed::accept(&listener).map_err(&failed)? {
                for end in [&client, &server] {
                    end.set_nodelay(true).map_err(&failed)?;
                }
                return Ok(Self { route, client, server });
            }
            if Instant::now() >= deadline {
                return Err(failed(ErrorKind::TimedOut.into()));
            }
        }
    }

    /// A message there and one back.
    fn round(&self, work: &mut Work, buffer: &mut [u8]) -> std::io::Result<()> {
        pass(&self.client, &self.server, buffer)?;
        work.do_once();
        pass(&self.server, &self.client, buffer)?;
        work.do_once();
        Ok(())
    }
}

/// One message from one socket to the other.
fn pass(mut from: &TcpStream, mut to: &TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    let (mut sent, mut received) = (0, 0);
    let mut deadline = None;
    while received < buffer.len() {
        if sent < buffer.len() {
            sent += ready(from.write(&buffer[sent..]))?;
        }
        let got = ready(to.read(&mut buffer[received..]))?;
        received += got;
        if got == 0 && Instant::now() > *deadline.get_or_insert_with(|| Instant::now() + TIMEOUT) {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

/// What was done; 0 when it would have had to wait.
fn ready(done: std::io::Result<usize>) -> std::io::Result<usize> {
    match done {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        done => done,
    }
}

/// This thread makes files as the user of a sidecar, whose packets Istio's rules let through, until this is dropped.
struct SidecarUser(Uid);

impl SidecarUser {
    fn new() -> Self {
        Self(setfsuid(Uid::from_raw(SIDECAR_ID)))
    }
}

impl Drop for SidecarUser {
    fn drop(&mut self) {
        setfsuid(self.0);
    }
}

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
