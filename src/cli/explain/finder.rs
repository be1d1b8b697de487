//! Finding the connections that a user names.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use crate::cli::error::Error;
use crate::observe::is_running;
use crate::sockets::{Connection, Connections, Record};

/// What the user has named.
#[derive(Debug)]
pub(super) enum Wanted {
    /// The two addresses of a connection, in either order.
    Addresses(SocketAddr, SocketAddr),
    /// A process, and perhaps one of its descriptors.
    Process(u32, Option<u32>),
}

/// What was found.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// Both ends are here.
    Both(&'a Connection),
    /// One end.
    Single(&'a Record),
}

impl Wanted {
    fn is(&self, end: &Record) -> bool {
        match *self {
            Self::Addresses(one, other) => {
                let [one, other, local, remote] = [one, other, end.local, end.remote].map(canonical);
                (local, remote) == (one, other) || (local, remote) == (other, one)
            }
            Self::Process(pid, fd) => end.pid == pid && fd.is_none_or(|fd| end.fd == fd),
        }
    }
}

/// An IPv4 address that an IPv6 socket shows as mapped (RFC 4291, section 2.5.5.2) is the IPv4 address.
fn canonical(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

/// All that is wanted; an error that says what there is instead when there is nothing.
pub(super) fn find<'a>(connections: &'a Connections, wanted: &Wanted) -> Result<Vec<Found<'a>>, Error> {
    let both = connections.local.iter().filter(|one| wanted.is(&one.client) || wanted.is(&one.server)).map(Found::Both);
    let single = connections.single.iter().filter(|end| wanted.is(end)).map(Found::Single);
    let found: Vec<_> = both.chain(single).collect();
    if found.is_empty() { Err(Error::Failed(absent(connections, wanted))) } else { Ok(found) }
}

fn absent(connections: &Connections, wanted: &Wanted) -> String {
    match wanted {
        Wanted::Addresses(one, other) => format!(
            "no process of this node has a TCP connection between {one} and {other}; it may have closed. `sidestep list` shows \
             those that are open"
        ),
        Wanted::Process(pid, fd) => {
            if !is_running(*pid) {
                return format!("there is no process {pid}");
            }
            let Some(fd) = fd else { return format!("process {pid} has no TCP connection open") };
            if connections.listeners.iter().any(|end| end.pid == *pid && end.fd == *fd) {
                return format!("descriptor {fd} of process {pid} listens; it is not a connection");
            }
            match fs::read_link(format!("/proc/{pid}/fd/{fd}")) {
                Ok(target) => {
                    format!("descriptor {fd} of process {pid} is not a TCP connection: it is {}", target.display())
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    format!("process {pid} has no descriptor {fd}")
                }
                Err(error) => format!(
                    "process {pid} has no TCP connection with descriptor {fd}, and cannot be looked at: {error}"
                ),
            }
        }
    }
}
