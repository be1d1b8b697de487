//! A non-blocking HTTP/1.1 client that checks every byte, and never waits longer than a stall.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sidestep::testbed;

use crate::support::wait::timeout;

/// One request and its response, in bytes beside the fixed parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    pub(crate) header: usize,
    pub(crate) body: usize,
    pub(crate) response: usize,
}

/// The body of a response, as the server's file has it.
pub(crate) fn content(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index.wrapping_mul(2_654_435_761) >> 7) as u8).collect()
}

/// Makes the exchanges over one kept connection.
pub(crate) fn run(port: u16, exchanges: &[Exchange]) {
    let mut stream = testbed::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), None).unwrap();
    wait(&stream, PollFlags::POLLOUT, "connect");
    for exchange in exchanges {
        let what = format!("{exchange:?}");
        let method = if exchange.body > 0 { "POST" } else { "GET" };
        let mut request = format!(
            "{method} /{} HTTP/1.1\r\nHost: test\r\nX-Long: {}\r\nContent-Length: {}\r\n\r\n",
            exchange.response,
            "x".repeat(exchange.header),
            exchange.body
        )
        .into_bytes();
        request.extend(content(exchange.body));
        send(&mut stream, &request, &what);
        let (status, body) = response(&mut stream, &what);
        assert!(status.starts_with("HTTP/1.1 200"), "{what}: {status}");
        assert_eq!(body.len(), exchange.response, "{what}");
        assert!(body == content(exchange.response), "{what}: wrong bytes");
    }
}

fn send(stream: &mut TcpStream, mut data: &[u8], what: &str) {
    // As an application writes: a header's worth first, then larger pieces.
    while !data.is_empty() {
        match stream.write(&data[..data.len().min(9000)]) {
            Ok(sent) => data = &data[sent..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(stream, PollFlags::POLLOUT, what),
            Err(error) => panic!("{what}: send: {error}"),
        }
    }
}

fn response(stream: &mut TcpStream, what: &str) -> (String, Vec<u8>) {
    let mut all = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if let Some(end) = all.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&all[..end]).into_owned();
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let length: usize = length.unwrap_or_else(|| panic!("{what}: no length: {head}"));
            let body = all.split_off(end + 4);
            return (head, rest(stream, body, length, what));
        }
        receive(stream, &mut all, &mut buffer, what);
    }
}

fn rest(stream: &mut TcpStream, mut body: Vec<u8>, length: usize, what: &str) -> Vec<u8> {
    let mut buffer = vec![0; 64 * 1024];
    while body.len() < length {
        receive(stream, &mut body, &mut buffer, what);
    }
    body
}

fn receive(stream: &mut TcpStream, all: &mut Vec<u8>, buffer: &mut [u8], what: &str) {
    match stream.read(buffer) {
        Ok(0) => panic!("{what}: closed after {} bytes", all.len()),
        Ok(length) => all.extend_from_slice(&buffer[..length]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => wait(stream, PollFlags::POLLIN, what),
        Err(error) => panic!("{what}: recv: {error}"),
    }
}

fn wait(stream: &TcpStream, events: PollFlags, what: &str) {
    let limit = PollTimeout::try_from(timeout()).unwrap();
    let ready = poll(&mut [PollFd::new(stream.as_fd(), events)], limit).unwrap();
    assert!(ready > 0, "{what}: stalled, waiting for {events:?}");
}
