//! The child's half of a testbed process: what it is to do, and how it becomes that.

use std::io::{self, BufReader, Write};
use std::net::{IpAddr, SocketAddr};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Pid, Uid, getppid, setgroups, setresgid, setresuid};
use serde::{Deserialize, Serialize};

use super::address::{INBOUND_PORT, OUTBOUND_PORT};
use super::client::{self, Workload};
use super::echo::Echo;
use super::report::Event;
use super::server::serve;
use super::sidecar::{Routing, Sidecar};

/// The hidden command of the `sidestep` binary that a child is started with; its one argument is JSON.
pub const COMMAND: &str = "__pod";

/// A process's part in the testbed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Role {
    /// Answers every byte with itself.
    Echo {
        /// Where it listens.
        listen: SocketAddr,
    },
    /// A transparent proxy on Istio's two ports.
    Sidecar {
        /// The wildcard address of the family it serves.
        any: IpAddr,
        /// Where it sends what it gets.
        routing: Routing,
    },
    /// A closed-loop client.
    Client(Workload),
}

impl Role {
    /// What to call it in an error.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Echo { .. } => "app",
            Self::Sidecar { .. } => "sidecar",
            Self::Client(_) => "client",
        }
    }
}

/// All that a child needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Instructions {
    /// The parent's process id.
    pub(super) parent: i32,
    /// User and group id to run as.
    pub(super) id: u32,
    /// What to do.
    pub(super) role: Role,
}

/// Runs a child of the testbed: `argument` is what its parent gave it, its events go to `out` and its standard input
/// is its parent's leash. False when it failed; the reason has gone to the parent.
pub fn run_child(argument: &str, out: &mut dyn Write) -> io::Result<bool> {
    let mut tell = |event: &Event| {
        serde_json::to_writer(&mut *out, event)?;
        out.write_all(b"\n")?;
        out.flush()
    };
    let done = serde_json::from_str::<Instructions>(argument)
        .map_err(io::Error::from)
        .and_then(|instructions| play(&instructions, &mut tell));
    match done {
        Ok(report) => tell(&Event::Done(report)).map(|()| true),
        Err(error) => tell(&Event::Failed(error.to_string())).map(|()| false),
    }
}

fn play(
    instructions: &Instructions,
    tell: &mut impl FnMut(&Event) -> io::Result<()>,
) -> io::Result<super::report::Report> {
    become_user(instructions)?;
    raise_descriptor_limit()?;
    let stdin = io::stdin();
    match &instructions.role {
        Role::Echo { listen } => {
            let mut echo = Echo::new();
            serve(&[*listen], &mut echo, stdin, || tell(&Event::Ready))?;
            echo.finish()
        }
        Role::Sidecar { any, routing } => {
            let mut sidecar = Sidecar::new(*routing);
            let listeners = [OUTBOUND_PORT, INBOUND_PORT].map(|port| SocketAddr::new(*any, port));
            serve(&listeners, &mut sidecar, stdin, || tell(&Event::Ready))?;
            sidecar.finish()
        }
        Role::Client(workload) => client::run(workload, &mut BufReader::new(stdin), tell),
    }
}

/// Drops root's rights permanently, and sees to it that the process dies with its parent.
fn become_user(instructions: &Instructions) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(instructions.id), Gid::from_raw(instructions.id));
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    // A change of user clears the parent-death signal (commit_creds, kernel/cred.c), so it is set again.
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != Pid::from_raw(instructions.parent) {
        return Err(io::Error::other("its parent has gone"));
    }
    Ok(())
}

/// A connection through a sidecar takes two descriptors; the usual soft limit of 1024 is soon reached.
fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above; the kernel only reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
