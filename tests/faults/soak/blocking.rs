//! Both ends in the blocking style: one connection at a time, on sockets that wait.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Listeners;
use super::client::refused;
use super::plan::{End, HEADER, Header, Kind, Plan, Tally, VERIFIED};
use super::server::reset_on_close;
use crate::link::pattern;
use crate::support::wait::timeout;

fn patient(stream: &TcpStream) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(timeout())).unwrap();
    stream.set_write_timeout(Some(timeout())).unwrap();
}

/// A socket that waits. In a sockhash a recv(2) that is woken without data, as by a reset, returns EAGAIN (the safety
/// matrix has it); asked again, it tells. That does not hang; EAGAIN after the receive timeout is.
struct Patient<'a>(&'a TcpStream);

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let start = Instant::now();
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if start.elapsed() >= timeout() {
                        return Err(ErrorKind::TimedOut.into());
                    }
                }
                done => return done,
            }
        }
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
            _ => error,
        })
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Serves one connection after the other until the clients are done.
pub(super) fn serve(listeners: &[TcpListener], done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        let mut fds: Vec<PollFd<'_>> =
            listeners.iter().map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)).collect();
        poll(&mut fds, PollTimeout::from(20_u8)).unwrap();
        for (fd, listener) in fds.iter().zip(listeners) {
            // The listener does not block, so another thread may be quicker; what it accepts does.
            if fd.any() == Some(true)
                && let Ok((stream, _)) = listener.accept()
            {
                patient(&stream);
                // A reset by the client is an error here, and no fault.
                match answer(&mut Patient(&stream)) {
                    Err(error) if error.kind() == ErrorKind::TimedOut => panic!("a blocking server hung"),
                    _ => {}
                }
            }
        }
    }
}

fn answer(stream: &mut Patient<'_>) -> std::io::Result<()> {
    let mut start = [0; HEADER];
    stream.read_exact(&mut start)?;
    let header = Header::from_bytes(&start);
    match header.kind {
        Kind::Upload => {
            let mut bytes = vec![0; header.length];
            stream.read_exact(&mut bytes)?;
            assert!(bytes == pattern(header.seed, header.length), "{header:?}: other bytes than were sent");
            stream.write_all(&[VERIFIED])?;
        }
        Kind::Download => {
            stream.write_all(&pattern(header.seed, header.length))?;
            stream.0.shutdown(Shutdown::Write)?;
        }
        Kind::ServerResets => {
            stream.write_all(&pattern(header.seed, header.length))?;
            reset_on_close(stream.0);
            return Ok(());
        }
        _ => {}
    }
    let mut buffer = vec![0; 65_536];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => stream.write_all(&buffer[..read])?,
        }
    }
}

/// Makes one connection and sees it through.
pub(super) fn run(plan: &Plan, listeners: &Listeners, tally: &Tally) {
    let target = listeners.target(plan);
    // std's connect_timeout makes the socket non-blocking for the handshake, so it is enrolled and found out later.
    let connected = if plan.seed.is_multiple_of(2) {
        TcpStream::connect(target)
    } else {
        TcpStream::connect_timeout(&target, timeout())
    };
    let stream = match connected {
        Ok(stream) => stream,
        Err(error) => return refused(plan, &error, tally),
    };
    patient(&stream);
    let mut stream = Patient(&stream);
    let mut compared = 0;
    for step in &plan.steps {
        for part in step.send.chunks(plan.chunk) {
            stream.write_all(part).unwrap_or_else(|error| panic!("{plan:?}: send: {error}"));
        }
        let mut bytes = vec![0; step.expect.len()];
        let mut at = 0;
        while at < bytes.len() {
            match stream.read(&mut bytes[at..]) {
                Ok(0) | Err(_) if plan.end == End::ServerResets => break,
                Ok(0) => panic!("blocking {} {:?}: the end came after {at} bytes", plan.seed, plan.kind),
                Ok(read) => at += read,
                Err(error) => panic!("blocking {} {:?} {:?}: recv: {error}", plan.seed, plan.kind, plan.place),
            }
        }
        assert!(
            step.expect.starts_with(&bytes[..at]),
            "blocking {} {:?}: reordered or foreign bytes",
            plan.seed,
            plan.kind
        );
        compared += at;
    }
    match plan.end {
        End::HalfClose | End::ServerEnds => {
            if plan.end == End::HalfClose {
                stream.0.shutdown(Shutdown::Write).unwrap();
            }
            assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0, "bytes after the end");
        }
        End::Reset => reset_on_close(stream.0),
        End::Close | End::ServerResets => {}
    }
    tally.add(plan, compared);
}
