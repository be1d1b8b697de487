//! Emptying the sockhash at detach. [`super::leave`] takes out a part of it.

use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::error::{Context, Error, Result};
use super::kernel::kernel_offsets;
use super::wake::Waker;
use crate::syscall::{self, Link, LinkTarget, Map, Program, iter_reader};
use crate::uapi::AttachType;

/// How long a verdict may take to be carried out: from `sk_psock_msg_verdict` to the end of `bpf_tcp_ingress`, which
/// may wait for the receiver's socket lock. Microseconds in practice; a thread can be preempted in between, and where the
/// drain sees that, this only saves it passes.
pub(super) const IN_FLIGHT: Duration = Duration::from_millis(200);

/// The same where the drain does not see it (Linux 5.10). A guest with 16 busy threads on a host with ten times more work
/// than processors took longer than 200 ms.
const IN_FLIGHT_UNSEEN: Duration = Duration::from_secs(3);

/// Between two passes over entries whose reader is slow.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Deletes the entries of the sockhash as their queues become empty; the soft switch must be off. Returns how many
/// are left when `timeout` is over. With `wakes`, readers are woken meanwhile ([`Waker`]).
pub(super) fn drain(sockets: &Map, program: Option<&Program>, timeout: Duration, wakes: bool) -> Result<usize> {
    let start = Instant::now();
    if members(sockets)? == 0 {
        return Ok(0);
    }
    let Some(program) = program else {
        // The sticky tier cannot see the queues. Members pass everything to the stack and leave when they close.
        sleep(IN_FLIGHT);
        return members(sockets);
    };
    let waker = if wakes { Waker::of_members(sockets) } else { Waker::default() };
    waker.wake_for(if kernel_offsets()?.iterators_have_storage { IN_FLIGHT } else { IN_FLIGHT_UNSEEN });
    let passes = Passes::new(sockets, program)?;
    loop {
        passes.run()?;
        // Those that have just left are told of all that came before.
        waker.wake();
        let left = members(sockets)?;
        if left == 0 || start.elapsed() >= timeout {
            return Ok(left);
        }
        waker.wake_for(RETRY_INTERVAL);
    }
}

/// Held during a pass: what a drain writes down for a sender, the next one must not replace before the first has looked whether that
/// sender has sent since (`gate::underway`). Processes take turns by the lock of the instance (`lifecycle::lock`).
static PASS: Mutex<()> = Mutex::new(());

/// The drain, attached to a sockhash.
pub(super) struct Passes(Link);

impl Passes {
    pub(super) fn new(sockets: &Map, program: &Program) -> Result<Self> {
        Link::create(program.as_fd(), LinkTarget::IterMap(sockets.as_fd()), AttachType::TRACE_ITER)
            .context("attach the drain to the sockhash")
            .map(Self)
    }

    /// Looks once at every entry.
    pub(super) fn run(&self) -> Result<()> {
        let _turn = PASS.lock().unwrap_or_else(PoisonError::into_inner);
        iter_reader(&self.0).context("start the drain")?.run().map_err(drain_failed)
    }
}

/// How many sockets are in the sockhash.
pub(super) fn members(sockets: &Map) -> Result<usize> {
    let mut count = 0;
    for key in sockets.keys() {
        key.context("list the sockets in the sockhash")?;
        count += 1;
    }
    Ok(count)
}

fn drain_failed(error: std::io::Error) -> Error {
    Error::Syscall(syscall::Error::Invalid(format!(
        "the drain stopped with {error}; the connections are on the stack and leave the sockhash as they close"
    )))
}
