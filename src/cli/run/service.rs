//! What a service manager hears of this process: sd_notify(3), as systemd defines it.
//!
//! It is one datagram of lines `NAME=VALUE` to the socket that $NOTIFY_SOCKET names. A manager that does not listen is not
//! worth an error.

use std::env;
use std::io;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};

/// How long a message waits for a manager whose queue is full. A manager that does not read delays this process by no more than that.
const PATIENCE: Duration = Duration::from_secs(1);

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
            // A manager that does not read must not stop this process; see PATIENCE.
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
            // The next one says the same, so this one is not waited for.
            let _ = self.try_send("WATCHDOG=1");
            self.next = Some(Instant::now() + every);
        }
    }

    /// Sends a message. While the manager's queue is full, waits for at most [`PATIENCE`]: no later message says the same.
    fn send(&self, message: &str) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.try_send(message) {
            let left = deadline.saturating_duration_since(Instant::now());
            if error.kind() != io::ErrorKind::WouldBlock || left.is_zero() || !self.wait(left) {
                break;
            }
        }
    }

    fn try_send(&self, message: &str) -> io::Result<()> {
        let Some((socket, address)) = &self.socket else { return Ok(()) };
        socket.send_to_addr(message.as_bytes(), address).map(drop)
    }

    /// Waits until there is room in the manager's queue, or the time is over. Returns false when it cannot wait.
    fn wait(&self, time: Duration) -> bool {
        let Some((socket, address)) = &self.socket else { return false };
        // poll(2) looks at the queue of a peer (`unix_dgram_poll`, net/unix/af_unix.c), and without connect(2) there is none.
        if socket.connect_addr(address).is_err() {
            return false;
        }
        // A millisecond more, so that it is over when poll(2) returns.
        let time = PollTimeout::try_from(time + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], time).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// A manager, and who tells it; the manager's queue is full.
    fn full_queue(name: &str) -> (UnixDatagram, Service) {
        let address = SocketAddr::from_abstract_name(format!("sidestep-{name}-{}", std::process::id())).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        socket.set_nonblocking(true).unwrap();
        while socket.send_to_addr(b"old", &address).is_ok() {}
        let every = Some(Duration::from_secs(1));
        (manager, Service { socket: Some((socket, address)), every, next: Some(Instant::now()) })
    }

    #[test]
    fn a_manager_whose_queue_is_full_hears_every_message_but_signs_of_life_when_it_reads_late() {
        let (manager, mut service) = full_queue("late");
        let late = thread::spawn(move || {
            // So that the first message is sent while the queue is full.
            thread::sleep(Duration::from_millis(200));
            manager.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut heard = Vec::new();
            let mut buffer = [0; 64];
            while let Ok(size) = manager.recv(&mut buffer) {
                heard.push(String::from_utf8_lossy(&buffer[..size]).into_owned());
            }
            heard.retain(|message| message != "old");
            heard
        });
        service.sign();
        service.ready("works");
        service.stopping();
        assert_eq!(late.join().unwrap(), ["READY=1\nSTATUS=works", "STOPPING=1\nSTATUS=detaching"]);
    }

    #[test]
    fn a_manager_that_does_not_read_delays_a_message_for_a_second_and_a_sign_of_life_not_at_all() {
        let (manager, mut service) = full_queue("never");
        let start = Instant::now();
        service.sign();
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
        let start = Instant::now();
        service.stopping();
        assert!(start.elapsed() >= PATIENCE, "{:?}", start.elapsed());
        // Without a manager there is nothing to wait for.
        drop(manager);
        let start = Instant::now();
        service.stopping();
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    }
}
