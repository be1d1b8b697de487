//! One end of a measured pair: a process of its own, so that its CPU time is its own.
//!
//! It is the hidden command [`COMMAND`] of this binary, with a [`Spec`] in JSON. On standard output it says, a line
//! each: `ready PORT` (a server that listens), `ready 0` (connected), then for every number it reads on standard input
//! `ran START END CPU SWITCHES` (nanoseconds: CLOCK_MONOTONIC twice, CPU time once; and how often another thread got the CPU);
//! at the end of its input, or for the word `end`,
//! `bye WRITTEN STACK` (bytes it wrote, and those of them that TCP carried); or `failed WHY`.
//!
//! After `end` it may be asked, once, what a receiver that does not read makes the kernel keep: `fill` is for the sender,
//! which answers `filled ACCEPTED REDIRECTED QUEUED` (see [`Left`]), and `held` for the receiver, which answers `held MEMORY`.

mod connection;
mod pinned;
mod wire;

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::os::fd::RawFd;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Gid, Pid, Uid, getppid, setgroups, setresgid, setresuid};
use serde::{Deserialize, Serialize};

use super::cell::Workload;
use crate::syscall::run_first;
use wire::Wire;

pub(super) use pinned::Left;

/// The hidden command of the `sidestep` binary that a worker is started with; its one argument is a `Spec` as JSON.
pub const COMMAND: &str = "__bench";

/// The end of the rounds; see the module's description.
pub(super) const END: &str = "end";
/// What the sender is asked after them.
pub(super) const FILL: &str = "fill";
/// What the receiver is asked then.
pub(super) const HELD: &str = "held";

/// The priority of a server that runs first: the lowest above ordinary ones (sched(7)).
pub(super) const SERVER_FIRST: i32 = 1;

/// All that a worker needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    /// The parent's process id.
    pub(super) parent: i32,
    /// User and group id to run as.
    pub(super) id: u32,
    /// The server's end, or the client's.
    pub(super) is_server: bool,
    /// It runs as soon as it is woken.
    pub(super) first: bool,
    /// What to do.
    pub(super) workload: Workload,
    /// Bytes of a message.
    pub(super) size: usize,
    /// Without TCP_NODELAY.
    pub(super) nagle: bool,
    /// Over what.
    pub(super) transport: Transport,
}

/// What a worker talks over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Transport {
    /// TCP: where the server listens (port 0: anywhere), or where the client connects.
    Tcp(SocketAddr),
    /// Open descriptors: to read from and to write to; they may be the same.
    Inherited(RawFd, RawFd),
}

/// Runs a worker. False when it failed; the reason has gone to the parent.
pub fn run_worker(argument: &str, input: &mut dyn BufRead, out: &mut dyn Write) -> io::Result<bool> {
    match serde_json::from_str(argument).map_err(io::Error::from).and_then(|spec: Spec| work(&spec, input, out)) {
        Ok(()) => Ok(true),
        Err(error) => {
            writeln!(out, "failed {}", error.to_string().replace('\n', " "))?;
            out.flush()?;
            Ok(false)
        }
    }
}

fn work(spec: &Spec, input: &mut dyn BufRead, out: &mut dyn Write) -> io::Result<()> {
    if spec.first {
        run_first(SERVER_FIRST)?;
    }
    become_user(spec)?;
    if spec.workload == Workload::Connection {
        let Transport::Tcp(address) = spec.transport else {
            return Err(io::Error::other("only TCP connections can be opened again"));
        };
        return connection::work(spec, address, input, out);
    }
    let mut wire = match spec.transport {
        Transport::Inherited(read, write) => {
            say(out, "ready 0")?;
            Wire::inherited(read, write)?
        }
        Transport::Tcp(address) if spec.is_server => {
            let listener = wire::listen(address)?;
            say(out, &format!("ready {}", listener.local_addr()?.port()))?;
            Wire::of(wire::accept(&listener)?, spec.nagle)?
        }
        Transport::Tcp(address) => Wire::of(wire::connect(address)?, spec.nagle)?,
    };
    if !matches!(spec.transport, Transport::Inherited(..)) {
        say(out, "ready 0")?;
    }
    let mut message = vec![0x5a; spec.size];
    let mut scratch = vec![0; spec.size.max(256 << 10)];
    each_round(input, out, |operations| {
        for _ in 0..operations {
            match (spec.workload, spec.is_server) {
                (Workload::Stream, true) => {
                    // The reader counts bytes, not messages.
                    return wire.read_through(&mut scratch, operations * spec.size as u64);
                }
                (Workload::Stream, false) => wire.write_all(&message)?,
                (_, true) => {
                    wire.read_exact(&mut message)?;
                    wire.write_all(&message)?;
                }
                (_, false) => {
                    wire.write_all(&message)?;
                    wire.read_exact(&mut message)?;
                }
            }
        }
        Ok(())
    })?;
    let (written, by_stack) = wire.sent()?;
    say(out, &format!("bye {written} {by_stack}"))?;
    let mut line = String::new();
    while input.read_line(&mut line)? > 0 {
        match line.trim() {
            FILL => {
                let Left { accepted, redirected, queued } = wire.fill(&message)?;
                say(out, &format!("filled {accepted} {redirected} {queued}"))?;
            }
            _ => say(out, &format!("held {}", wire.held()?))?,
        }
        line.clear();
    }
    Ok(())
}

/// Does a round for every number of operations that comes in.
fn each_round(
    input: &mut dyn BufRead,
    out: &mut dyn Write,
    mut round: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 || line.trim() == END {
            return Ok(());
        }
        let operations = line.trim().parse().map_err(|_| io::Error::other(format!("{line:?} is not a number")))?;
        let before = switches()?;
        let (start, cpu) = (now(ClockId::CLOCK_MONOTONIC)?, now(ClockId::CLOCK_PROCESS_CPUTIME_ID)?);
        round(operations)?;
        let (end, used) = (now(ClockId::CLOCK_MONOTONIC)?, now(ClockId::CLOCK_PROCESS_CPUTIME_ID)?);
        say(out, &format!("ran {start} {end} {} {}", used - cpu, switches()? - before))?;
    }
}

fn say(out: &mut dyn Write, line: &str) -> io::Result<()> {
    writeln!(out, "{line}")?;
    out.flush()
}

/// How often another thread has got the CPU of ours.
fn switches() -> io::Result<i64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok(usage.voluntary_context_switches() + usage.involuntary_context_switches())
}

/// A clock, in nanoseconds. The process's CPU clock is what getrusage(2) rounds to microseconds.
fn now(clock: ClockId) -> io::Result<u64> {
    let time = clock_gettime(clock)?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// Becomes the user whose traffic Istio's rules look at, and sees to it that the process dies with its parent.
fn become_user(spec: &Spec) -> io::Result<()> {
    if spec.id != 0 {
        let (user, group) = (Uid::from_raw(spec.id), Gid::from_raw(spec.id));
        setgroups(&[])?;
        setresgid(group, group, group)?;
        setresuid(user, user, user)?;
    }
    // A change of user clears the parent-death signal (commit_creds, kernel/cred.c), so it is set again.
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != Pid::from_raw(spec.parent) {
        return Err(io::Error::other("its parent has gone"));
    }
    Ok(())
}
