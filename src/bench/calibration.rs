//! What a message between two local processes costs on this machine, by the stack and past it: a second of ping-pong over
//! loopback, in a cgroup of its own.
//!
//! Both ends are sockets of this thread, so the time includes what each end does, and no time of waiting. What a process
//! pays to sleep and wake is the same either way, and is left out of both.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::error::{Error, Result, system};
use crate::agent::{Acceleration, TierChoice, check, choose_tier};
use crate::dataplane::{Counter, Options, Pairing, Policy, Readers};
use crate::observe::Costs;
use crate::syscall::cgroup::{self, Cgroup};
use crate::testbed::{self, TemporaryCgroup};

/// Bytes of the messages: between these the cost grows in proportion.
const SIZES: [usize; 4] = [64, 1 << 10, 8 << 10, 32 << 10];
/// CPU time of one measurement; there are two rounds of each size each way, a second in all.
const ROUND: Duration = Duration::from_millis(60);
/// Messages before a measurement: the first ones take the stack, since the passive end has yet to be found.
const WARM_UP: usize = 200;
/// How long a message may take on a machine that is busy with something else.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Measures. Attaches a data plane to a cgroup that it makes, for half a second, and puts nothing into it but this
/// thread's process, which goes back to where it was. Needs root.
pub fn calibrate() -> Result<Costs> {
    let mount = cgroup::find()?.ok_or(Error::NoCgroup)?;
    let group = TemporaryCgroup::new(&mount, "sidestep-survey-")?;
    let _home = Visit::to(group.path(), &mount)?;
    let (tier, _) = choose_tier(TierChoice::Auto)?;
    let options =
        Options { pairing: Pairing::Sequence, tier, readers: Readers::NonBlocking, policy: Policy::default() };
    // What comes by the stack first: attaching changes the callbacks of new sockets only, but static branches for all.
    let plain = Pair::new()?;
    let mut costs = Costs { sizes: SIZES.to_vec(), plain_ns: vec![f64::MAX; SIZES.len()], ..Costs::default() };
    costs.accelerated_ns = costs.plain_ns.clone();
    let cgroup = Cgroup::open(group.path())?;
    for _ in 0..2 {
        plain.measure(&mut costs.plain_ns)?;
        let acceleration = Acceleration::start(&cgroup, options.clone(), check::configuration())?;
        let pair = Pair::new()?;
        let measured = pair.measure(&mut costs.accelerated_ns);
        let counters = acceleration.snapshot();
        drop(pair);
        acceleration.stop(TIMEOUT)?;
        let (messages, counters) = (measured?, counters?);
        let redirected = counters.get(Counter::RedirectedMessages);
        if redirected * 10 < messages * 9 {
            return Err(Error::NotAccelerated { redirected, messages });
        }
    }
    Ok(costs)
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
    client: TcpStream,
    server: TcpStream,
}

impl Pair {
    fn new() -> Result<Self> {
        let failed = system_io("connect over loopback");
        let listener = testbed::listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).map_err(&failed)?;
        let client = testbed::connect(listener.local_addr().map_err(&failed)?, None).map_err(&failed)?;
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(server) = testbed::accept(&listener).map_err(&failed)? {
                for end in [&client, &server] {
                    end.set_nodelay(true).map_err(&failed)?;
                }
                return Ok(Self { client, server });
            }
            if Instant::now() >= deadline {
                return Err(failed(ErrorKind::TimedOut.into()));
            }
        }
    }

    /// Measures each size, and keeps what is less than is known: the rest is disturbance. Returns how many messages it sent.
    fn measure(&self, known_ns: &mut [f64]) -> Result<u64> {
        let failed = system_io("send over loopback");
        let mut sent = 0;
        for (size, known) in SIZES.into_iter().zip(known_ns) {
            let mut buffer = vec![7; size];
            for _ in 0..WARM_UP {
                self.round(&mut buffer).map_err(&failed)?;
            }
            sent += 2 * WARM_UP as u64;
            let (start, mut messages) = (cpu_time(), 0_u32);
            let taken = loop {
                for _ in 0..50 {
                    self.round(&mut buffer).map_err(&failed)?;
                }
                messages += 100;
                let taken = cpu_time().saturating_sub(start);
                if taken >= ROUND {
                    break taken;
                }
            };
            sent += u64::from(messages);
            *known = known.min(taken.as_nanos() as f64 / f64::from(messages));
        }
        Ok(sent)
    }

    /// A message there and one back.
    fn round(&self, buffer: &mut [u8]) -> std::io::Result<()> {
        pass(&self.client, &self.server, buffer)?;
        pass(&self.server, &self.client, buffer)
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

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
