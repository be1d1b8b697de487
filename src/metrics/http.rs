//! A server for a scraper and for probes: GET and HEAD, one answer a connection.
//!
//! A scraper comes every few seconds, so a few threads that answer one connection after the other are enough, and a client
//! that is slow or silent holds one of them for `TIMEOUT` at most. The parser is httparse's.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Threads that answer. More than one, so that a silent client does not keep a scraper waiting.
const THREADS: usize = 4;
/// For one connection, from accept(2) to the end of the answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of a request: Prometheus sends about 300.
const MAX_REQUEST: usize = 8_192;
/// Most header lines of one.
const MAX_HEADERS: usize = 64;
/// Between two attempts to accept when the process has no descriptor left.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The path, without what stands behind a question mark.
    pub path: String,
    /// Whether the client takes OpenMetrics.
    pub openmetrics: bool,
}

/// What it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The content type.
    pub content_type: &'static str,
    /// The content.
    pub body: String,
}

impl Response {
    /// A sentence.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into() + "\n" }
    }
}

/// Answers what comes to `listener` by `answer` until the process ends.
pub fn serve(listener: &TcpListener, answer: impl Fn(Request) -> Response + Send + Sync + 'static) -> io::Result<()> {
    let answer = Arc::new(answer);
    for _ in 0..THREADS {
        let (listener, answer) = (listener.try_clone()?, Arc::clone(&answer));
        thread::Builder::new().name("metrics".into()).spawn(move || {
            loop {
                match listener.accept() {
                    // What goes wrong with one client is that client's matter.
                    Ok((stream, _)) => drop(converse(stream, answer.as_ref())),
                    Err(_) => thread::sleep(RETRY_INTERVAL),
                }
            }
        })?;
    }
    Ok(())
}

fn converse(mut stream: TcpStream, answer: &dyn Fn(Request) -> Response) -> io::Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut bytes = Vec::new();
    let (response, with_body) = loop {
        if let Some(asked) = parse(&bytes) {
            break match asked {
                Ok((request, with_body)) => (answer(request), with_body),
                Err(refusal) => (refusal, true),
            };
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break (Response::text(408, "the request did not come in time"), true);
        }
        stream.set_read_timeout(Some(left))?;
        let mut part = [0; 1_024];
        match stream.read(&mut part) {
            Ok(0) => return Ok(()),
            Ok(count) => bytes.extend_from_slice(part.get(..count).unwrap_or_default()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    };
    let Response { status, content_type, body } = response;
    let reason = if status == 200 { "OK" } else { "Refused" };
    let mut text = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    if with_body {
        text += &body;
    }
    stream.write_all(text.as_bytes())
}

/// The request and whether its answer has a body; nothing while the request is incomplete.
fn parse(bytes: &[u8]) -> Option<Result<(Request, bool), Response>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) if bytes.len() < MAX_REQUEST => None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            Some(Err(Response::text(431, "the request is too long")))
        }
        Err(error) => Some(Err(Response::text(400, format!("this is not an HTTP request: {error}")))),
        Ok(httparse::Status::Complete(_)) => {
            let with_body = match request.method {
                Some("GET") => true,
                Some("HEAD") => false,
                _ => return Some(Err(Response::text(405, "only GET and HEAD are answered"))),
            };
            let path = request.path.unwrap_or_default();
            let path = path.split_once('?').map_or(path, |(path, _)| path).to_owned();
            let accepts = |header: &httparse::Header<'_>| {
                header.name.eq_ignore_ascii_case("accept")
                    && String::from_utf8_lossy(header.value).contains("application/openmetrics-text")
            };
            let openmetrics = request.headers.iter().any(accepts);
            Some(Ok((Request { path, openmetrics }, with_body)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_parsed_or_refused() {
        let asked = |text: &str| parse(text.as_bytes());
        assert_eq!(asked("GET /metrics HT"), None);
        let (request, with_body) =
            asked("GET /metrics?a=b HTTP/1.1\r\nACCEPT: application/openmetrics-text;q=1\r\n\r\n").unwrap().unwrap();
        assert_eq!((request.path.as_str(), request.openmetrics, with_body), ("/metrics", true, true));
        assert!(!asked("HEAD / HTTP/1.1\r\nA: application/openmetrics-text\r\n\r\n").unwrap().unwrap().0.openmetrics);
        let status = |text: &str| asked(text).unwrap().unwrap_err().status;
        assert_eq!(status("POST / HTTP/1.1\r\n\r\n"), 405);
        assert_eq!(status("\u{16}\u{3}\u{1}"), 400);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(MAX_REQUEST))), 431);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1))), 431);
    }
}
