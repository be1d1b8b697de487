//! A small HTTP client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::wait::timeout;

/// The status and the body. HTTP 1.0 has no chunks.
pub(crate) fn get(address: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let text = send(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n{headers}\r\n"));
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {text:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// What comes back for these bytes.
pub(crate) fn send(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(timeout())).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A server that has not read all of a refused request resets the connection behind its answer.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// For a query in a URL.
pub(crate) fn escape(text: &str) -> String {
    let plain = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).into() } else { format!("%{byte:02X}") };
    text.bytes().map(plain).collect()
}

/// The samples: each series, and its value.
pub(crate) fn samples(text: &str) -> Vec<(&str, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap()).map(|(series, value)| (series, value.parse().unwrap())).collect()
}

/// The sum over the series whose name and labels begin with `start`.
pub(crate) fn sum(text: &str, start: &str) -> f64 {
    samples(text).into_iter().filter(|(series, _)| series.starts_with(start)).map(|(_, value)| value).sum()
}
