//! What a service manager hears of this process: sd_notify(3), as systemd defines it.
//!
//! It is one datagram of lines `NAME=VALUE` to the socket that $NOTIFY_SOCKET names. A manager that does not listen is not
//! worth an error.

use std::env;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Who is told, and how often it wants a sign of life.
#[derive(Debug, Default)]
pub(super) struct Service {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// Half of the time after which the manager takes the process for dead, as sd_watchdog_enabled(3) advises.
    every: Option<Duration>,
    next: Option<Instant>,
}

impl Service {
    /// What the environment says of it.
    pub(super) fn of_this_process() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let name = name.into_encoded_bytes();
            let address = match name.strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(std::path::Path::new(std::str::from_utf8(&name).ok()?)),
            };
            let socket = UnixDatagram::unbound().ok()?;
            // A manager that does not read must not stop this process.
            socket.set_nonblocking(true).ok()?;
            Some((socket, address.ok()?))
        });
        let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        // The variables may have been inherited from another process that is watched.
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let every = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0);
        let every = every.filter(|_| socket.is_some()).map(|usec| Duration::from_micros(usec) / 2);
        Self { socket, every, next: every.map(|_| Instant::now()) }
    }

    /// It does its work.
    pub(super) fn ready(&self, status: &str) {
        // A line break would begin another variable.
        self.send(&format!("READY=1\nSTATUS={}", status.replace('\n', " ")));
    }

    /// It reads its settings again; [`Service::ready`] ends that.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    /// It ends.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=detaching");
    }

    /// When the next sign of life is due.
    pub(super) fn next_sign(&self) -> Option<Instant> {
        self.next
    }

    /// Gives a sign of life, if one is due.
    pub(super) fn sign(&mut self) {
        if let (Some(every), Some(next)) = (self.every, self.next)
            && Instant::now() >= next
        {
            self.send("WATCHDOG=1");
            self.next = Some(Instant::now() + every);
        }
    }

    fn send(&self, message: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(message.as_bytes(), address);
        }
    }
}
