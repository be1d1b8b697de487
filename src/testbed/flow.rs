//! One direction of a relayed connection: a buffer between a reader and a writer.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

/// Bytes that may wait in one direction before reading stops. Envoy's per-connection limit is larger (1 MiB); a small
/// one makes backpressure an everyday event.
const CAPACITY: usize = 64 << 10;

/// What has been read from one socket and not yet been written to the other (or the same).
#[derive(Debug)]
pub(super) struct Flow {
    buffer: Vec<u8>,
    /// The waiting bytes are `buffer[start..end]`.
    start: usize,
    end: usize,
    /// The reader has seen the end of the stream.
    ended: bool,
    /// The end has been passed on.
    finished: bool,
    /// Bytes written so far.
    written: u64,
}

impl Flow {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; CAPACITY], start: 0, end: 0, ended: false, finished: false, written: 0 }
    }

    /// There is room to read into, and something may still come.
    pub(super) fn wants_input(&self) -> bool {
        !self.ended && self.end - self.start < CAPACITY
    }

    /// Bytes wait for the writer.
    pub(super) fn has_output(&self) -> bool {
        self.start < self.end
    }

    /// Everything including the end of the stream has been passed on.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Reads once if `readable`, writes what it can, and passes the end of the stream on (half-close).
    pub(super) fn advance(&mut self, mut from: &TcpStream, mut to: &TcpStream, readable: bool) -> io::Result<()> {
        if readable && self.wants_input() {
            if self.end == CAPACITY {
                self.buffer.copy_within(self.start.., 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            match ready(from.read(&mut self.buffer[self.end..]))? {
                Some(0) => self.ended = true,
                Some(length) => self.end += length,
                None => {}
            }
        }
        while self.has_output() {
            let Some(length) = ready(to.write(&self.buffer[self.start..self.end]))? else { return Ok(()) };
            self.start += length;
            self.written += length as u64;
        }
        (self.start, self.end) = (0, 0);
        if self.ended && !self.finished {
            self.finished = true;
            match to.shutdown(Shutdown::Write) {
                // The peer has already reset it: the other direction will say so.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                done => done?,
            }
        }
        Ok(())
    }
}

/// `None` when the socket has nothing to give or take now.
pub(super) fn ready(transferred: io::Result<usize>) -> io::Result<Option<usize>> {
    match transferred {
        Ok(length) => Ok(Some(length)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}
