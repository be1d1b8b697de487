//! The non-blocking clients: many at a time in one loop.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sidestep::testbed::connect;

use super::Listeners;
use super::plan::{End, Place, Plan, Tally};
use super::server::reset_on_close;
use crate::support::wait::timeout;

/// Connections at a time.
const WINDOW: usize = 48;

/// Makes the first `count` connections.
pub(super) fn run(count: usize, listeners: &Listeners, tally: &Tally) {
    let mut open: Vec<Client> = Vec::new();
    let mut started = 0;
    let mut buffer = vec![0; 65_536];
    let mut reported = Instant::now();
    while started < count || !open.is_empty() {
        while started < count && open.len() < WINDOW {
            let plan = Plan::new(started as u64);
            started += 1;
            match connect(listeners.target(&plan), None) {
                Ok(stream) => open.push(Client::new(plan, stream)),
                Err(error) => refused(&plan, &error, tally),
            }
        }
        let mut fds: Vec<PollFd<'_>> =
            open.iter().map(|client| PollFd::new(client.stream.as_fd(), client.wants())).collect();
        poll(&mut fds, PollTimeout::from(1000_u16)).unwrap();
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
        let mut ready = ready.into_iter();
        open.retain_mut(|client| {
            if ready.next() == Some(true) && !client.advance(&mut buffer) {
                tally.add(&client.plan, client.compared);
                return false;
            }
            assert!(client.since.elapsed() < timeout(), "hung: {:?}", client.place());
            true
        });
        if reported.elapsed() > Duration::from_secs(30) {
            reported = Instant::now();
            eprintln!("{started} of {count} connections started");
        }
    }
}

/// A connection that could not be made: right only where there is no listener.
pub(super) fn refused(plan: &Plan, error: &std::io::Error, tally: &Tally) {
    let right = plan.place == Place::Closed && error.kind() == ErrorKind::ConnectionRefused;
    assert!(right, "connect to {:?}: {error}", plan.place);
    tally.add(plan, 0);
}

struct Client {
    stream: TcpStream,
    plan: Plan,
    connected: bool,
    step: usize,
    sent: usize,
    received: usize,
    half_closed: bool,
    compared: usize,
    since: Instant,
}

impl Client {
    fn new(plan: Plan, stream: TcpStream) -> Self {
        Self {
            stream,
            plan,
            connected: false,
            step: 0,
            sent: 0,
            received: 0,
            half_closed: false,
            compared: 0,
            since: Instant::now(),
        }
    }

    /// For messages.
    fn place(&self) -> String {
        let Self { plan, step, sent, received, .. } = self;
        let of = plan.steps.get(*step).map(|step| (step.send.len(), step.expect.len()));
        format!(
            "{} {:?} {:?} IPv{}, step {step} of {}, sent {sent} and received {received} of {of:?}",
            plan.seed,
            plan.kind,
            plan.place,
            if plan.ipv6 { 6 } else { 4 },
            plan.steps.len()
        )
    }

    fn wants(&self) -> PollFlags {
        let sending = self.plan.steps.get(self.step).is_some_and(|step| self.sent < step.send.len());
        let mut flags = PollFlags::POLLIN;
        flags.set(PollFlags::POLLOUT, sending || !self.connected);
        flags
    }

    /// False when the connection has ended as it should.
    fn advance(&mut self, buffer: &mut [u8]) -> bool {
        if !self.connected {
            if let Some(error) = self.stream.take_error().unwrap() {
                assert!(
                    self.plan.place == Place::Closed && error.kind() == ErrorKind::ConnectionRefused,
                    "{}: {error}",
                    self.place()
                );
                return false;
            }
            self.connected = true;
        }
        let server_resets = self.plan.end == End::ServerResets;
        while let Some(step) = self.plan.steps.get(self.step) {
            if self.sent < step.send.len() {
                let end = self.sent.saturating_add(self.plan.chunk).min(step.send.len());
                match self.stream.write(&step.send[self.sent..end]) {
                    Ok(written) => self.sent += written,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        // The echo may have to be read first.
                        if !self.read(buffer, server_resets) {
                            return true;
                        }
                    }
                    Err(error) => panic!("{}: send: {error}", self.place()),
                }
                continue;
            }
            if self.received < step.expect.len() {
                let before = self.step;
                if !self.read(buffer, server_resets) {
                    return !(server_resets && self.step != before);
                }
                continue;
            }
            self.step += 1;
            (self.sent, self.received) = (0, 0);
        }
        match self.plan.end {
            End::Close => false,
            End::Reset => {
                reset_on_close(&self.stream);
                false
            }
            End::HalfClose | End::ServerEnds | End::ServerResets => {
                if self.plan.end == End::HalfClose && !self.half_closed {
                    self.stream.shutdown(Shutdown::Write).unwrap();
                    self.half_closed = true;
                }
                match self.stream.read(buffer) {
                    Ok(0) => false,
                    Ok(read) => panic!("{}: {read} bytes after the end", self.place()),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => true,
                    Err(_) if server_resets => false,
                    Err(error) => panic!("{}: recv: {error}", self.place()),
                }
            }
        }
    }

    /// Reads once and compares; false when there is nothing to read. A server's reset ends the last step.
    fn read(&mut self, buffer: &mut [u8], server_resets: bool) -> bool {
        let step = &self.plan.steps[self.step];
        // More than is expected is a fault, but for the part of an echo behind which the client resets.
        let most = if self.plan.end == End::Reset { step.expect.len() - self.received } else { buffer.len() };
        let most = most.min(buffer.len());
        match self.stream.read(&mut buffer[..most]) {
            Ok(0) if server_resets => self.step += 1,
            Ok(0) => panic!("{}: the end came early", self.place()),
            Ok(read) => {
                assert!(
                    step.expect[self.received..].starts_with(&buffer[..read]),
                    "{}: reordered or foreign bytes",
                    self.place()
                );
                self.received += read;
                self.compared += read;
                return true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) if server_resets => self.step += 1,
            Err(error) => panic!("{}: recv: {error}", self.place()),
        }
        false
    }
}
