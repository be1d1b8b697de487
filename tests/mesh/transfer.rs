//! A hundred megabytes in either direction, and every byte where it belongs.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sidestep::dataplane::{Counter, Pairing};
use sidestep::testbed;

use crate::mesh::Kind;
use crate::support::wait::timeout;
use crate::up;

const LENGTH: usize = 100 << 20;

/// Pseudo-random bytes again and again; the prime length makes a shift by any power of two show.
fn block() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..1_000_003)
        .map(|_| {
            // xorshift64: G. Marsaglia, Xorshift RNGs, 2003.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

/// Compares what comes with what should, wherever the pieces end.
struct Check<'a> {
    block: &'a [u8],
    at: usize,
}

impl Check<'_> {
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let expected = &self.block[self.at % self.block.len()..];
            let length = bytes.len().min(expected.len());
            assert!(bytes[..length] == expected[..length], "wrong bytes between {} and {}", self.at, self.at + length);
            self.at += length;
            bytes = &bytes[length..];
        }
    }
}

fn write_all(stream: &mut TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(stream, PollFlags::POLLOUT),
            Err(error) => panic!("send: {error}"),
        }
    }
}

fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> usize {
    loop {
        match stream.read(buffer) {
            Ok(length) => return length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(stream, PollFlags::POLLIN),
            Err(error) => panic!("receive: {error}"),
        }
    }
}

fn wait(stream: &TcpStream, events: PollFlags) {
    let limit = PollTimeout::try_from(timeout()).unwrap();
    let ready = poll(&mut [PollFd::new(stream.as_fd(), events)], limit).unwrap();
    assert!(ready > 0, "stalled, waiting for {events:?}");
}

/// The head of an answer, and what has come of its body with it.
fn head(stream: &mut TcpStream, buffer: &mut [u8]) -> (String, Vec<u8>) {
    let mut all = Vec::new();
    loop {
        let length = read(stream, buffer);
        assert!(length > 0, "closed after {:?}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&buffer[..length]);
        if let Some(end) = all.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = all.split_off(end + 4);
            return (String::from_utf8(all).unwrap(), body);
        }
    }
}

fn download(service: SocketAddr, block: &[u8]) {
    let mut stream = testbed::connect(service, None).unwrap();
    wait(&stream, PollFlags::POLLOUT);
    write_all(&mut stream, b"GET /files/big HTTP/1.1\r\nHost: app\r\n\r\n");
    let mut buffer = vec![0; 256 << 10];
    let (head, body) = head(&mut stream, &mut buffer);
    assert!(head.starts_with("HTTP/1.1 200") && head.to_lowercase().contains(&format!("length: {LENGTH}")), "{head}");
    let mut check = Check { block, at: 0 };
    check.feed(&body);
    while check.at < LENGTH {
        let length = read(&mut stream, &mut buffer);
        assert!(length > 0, "closed after {} bytes", check.at);
        check.feed(&buffer[..length]);
    }
    assert_eq!(check.at, LENGTH);
}

fn upload(service: SocketAddr, block: &[u8]) {
    let mut stream = testbed::connect(service, None).unwrap();
    wait(&stream, PollFlags::POLLOUT);
    let request =
        format!("POST /upload HTTP/1.1\r\nHost: app\r\nContent-Length: {LENGTH}\r\nConnection: close\r\n\r\n");
    write_all(&mut stream, request.as_bytes());
    let mut left = LENGTH;
    while left > 0 {
        let length = left.min(block.len());
        write_all(&mut stream, &block[..length]);
        left -= length;
    }
    let mut buffer = vec![0; 256 << 10];
    let (head, mut body) = head(&mut stream, &mut buffer);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    loop {
        match read(&mut stream, &mut buffer) {
            0 => break,
            length => body.extend_from_slice(&buffer[..length]),
        }
    }
    // The app answers with the name of the file in which it has put the body.
    let path = String::from_utf8(body).unwrap();
    let mut file = File::open(path.trim()).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let mut check = Check { block, at: 0 };
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => break,
            length => check.feed(&buffer[..length]),
        }
    }
    assert_eq!(check.at, LENGTH);
    std::fs::remove_file(path.trim()).unwrap();
}

#[test]
fn a_hundred_megabytes_arrive_whole_in_both_directions() {
    let block = block();
    for kind in [Kind::Tcp, Kind::Http] {
        let Some(mesh) = up(kind, &[]) else { return };
        let mut big = File::create(mesh.directory().join("files/big")).unwrap();
        for at in (0..LENGTH).step_by(block.len()) {
            big.write_all(&block[..block.len().min(LENGTH - at)]).unwrap();
        }
        let acceleration = mesh.accelerate(Pairing::Sequence);
        mesh.in_client_pod(|| {
            download(mesh.service, &block);
            upload(mesh.service, &block);
        });
        let snapshot = acceleration.snapshot().unwrap();
        assert!(snapshot.get(Counter::Paired) >= 3, "{}", kind.name());
        println!(
            "{}: {} MB past the stack, {} MB by it on the same sockets",
            kind.name(),
            snapshot.get(Counter::RedirectedBytes) >> 20,
            snapshot.get(Counter::PassedBytes) >> 20
        );
        assert_eq!(acceleration.stop(timeout()).unwrap().remaining, 0);
    }
}
