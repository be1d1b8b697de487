//! The client against runtimes that answer badly: each answer is an error in one sentence, in time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{LocalSet, spawn_local};

use super::framing::frame;
use super::messages::{ListPodSandboxResponse, PodSandbox, PodSandboxMetadata, PodSandboxStatusResponse};
use super::{Client, Sandbox};
use crate::pods::error::{Error, Result};
use crate::pods::listing::event_loop;

/// For calls that are not meant to be late: long enough for a busy machine.
const PATIENT: Duration = Duration::from_secs(20);
/// For those that are.
const SHORT: Duration = Duration::from_millis(200);

/// A socket that goes with this value.
struct Socket(PathBuf);

impl Socket {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("sidestep-cri-{}-{number}.sock", std::process::id())))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Runs `ask` against a server, whose connection `serve` gets.
fn against<S: Future<Output = ()> + 'static, T, A: Future<Output = T>>(
    serve: impl Fn(UnixStream) -> S + 'static,
    ask: impl FnOnce(PathBuf) -> A,
) -> T {
    let socket = Socket::new();
    let event_loop = event_loop().unwrap();
    let path = socket.0.clone();
    let start = Instant::now();
    let answer = LocalSet::new().block_on(&event_loop, async {
        let listener = UnixListener::bind(&socket.0).unwrap();
        spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream).await;
        });
        ask(path).await
    });
    assert!(start.elapsed() < PATIENT, "it has taken {:?}", start.elapsed());
    answer
}

async fn list(socket: PathBuf, limit: Duration) -> Result<Vec<Sandbox>> {
    Client::connect_within(&socket, limit).await?.sandboxes().await
}

/// The error of a list, which is one sentence with a remedy.
fn error(serve: impl AsyncFn(UnixStream) + Copy + 'static, limit: Duration) -> Error {
    let error = against(move |stream| async move { serve(stream).await }, |socket| list(socket, limit)).unwrap_err();
    let text = error.to_string();
    assert!(!text.contains(char::is_control) && text.contains("; "), "{text:?}");
    error
}

/// Writes bytes, and closes the connection if it is to end there.
fn error_of_bytes(bytes: &'static [u8], ends: bool) -> Error {
    let serve = move |stream: UnixStream| async move {
        write(&stream, bytes).await;
        if !ends {
            std::future::pending::<()>().await;
        }
    };
    let limit = if ends { PATIENT } else { SHORT };
    against(serve, |socket| list(socket, limit)).unwrap_err()
}

async fn write(stream: &UnixStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        stream.ready(Interest::WRITABLE).await.unwrap();
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            // The client has seen enough.
            Err(_) => return,
        }
    }
}

/// Speaks HTTP/2, and answers each request with `answer`, until the client has gone.
async fn speak(stream: UnixStream, answer: impl AsyncFn(SendResponse<Bytes>) + 'static) {
    speak_of(stream, async move |_, respond| answer(respond).await).await;
}

/// The same by the method that is called.
async fn speak_of(stream: UnixStream, answer: impl AsyncFn(String, SendResponse<Bytes>) + 'static) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let answer = Rc::new(answer);
    while let Some(Ok((request, respond))) = connection.accept().await {
        let answer = Rc::clone(&answer);
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        spawn_local(async move { answer(method, respond).await });
    }
}

/// A runtime with one pod, in a thread that ends with the process. It has an event to tell once something is received.
pub(in crate::pods) fn runtime_with_events(socket: PathBuf, events: std::sync::mpsc::Receiver<()>) {
    let events = Rc::new(events);
    LocalSet::new().block_on(&event_loop().unwrap(), async {
        let listener = UnixListener::bind(&socket).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        speak_of(stream, async move |method, mut respond| {
            if method != "GetContainerEvents" {
                return answer(respond, frame(&good()), OK);
            }
            let mut stream = respond.send_response(head(), false).unwrap();
            loop {
                if events.try_recv().is_ok() {
                    stream.send_data(frame(&PodSandboxStatusResponse::default()), false).unwrap();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    });
}

fn head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

fn fields(all: &[(&'static str, &str)]) -> HeaderMap {
    let fields =
        all.iter().map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
    fields.collect()
}

/// Answers with a body and trailers.
fn answer(mut respond: SendResponse<Bytes>, body: Bytes, trailers: &[(&'static str, &str)]) {
    let mut stream = respond.send_response(head(), false).unwrap();
    stream.send_data(body, false).unwrap();
    let _ = stream.send_trailers(fields(trailers));
}

const OK: &[(&str, &str)] = &[("grpc-status", "0")];

fn good() -> ListPodSandboxResponse {
    let metadata = PodSandboxMetadata { name: "web".into(), uid: "u".into(), namespace: "shop".into(), attempt: 2 };
    let item = PodSandbox {
        id: "s".into(),
        metadata: Some(metadata),
        state: 0,
        created_at: 5,
        labels: BTreeMap::from([("app".into(), "web".into())]),
        annotations: BTreeMap::from([("a".into(), "b".into())]),
    };
    // An item without anything is not an error of the protocol.
    ListPodSandboxResponse { items: vec![item, PodSandbox::default()] }
}

#[test]
fn a_good_answer_is_read_however_it_is_cut() {
    for step in [1, 7, 1000] {
        let serve = move |stream| {
            speak(stream, async move |mut respond| {
                let mut stream = respond.send_response(head(), false).unwrap();
                for part in frame(&good()).chunks(step) {
                    stream.send_data(Bytes::copy_from_slice(part), false).unwrap();
                }
                stream.send_trailers(fields(OK)).unwrap();
            })
        };
        let sandboxes = against(serve, |socket| list(socket, PATIENT)).unwrap();
        let [sandbox, empty] = sandboxes.as_slice() else { panic!("{sandboxes:?}") };
        assert_eq!((sandbox.namespace.as_str(), sandbox.uid.as_str(), sandbox.attempt), ("shop", "u", 2));
        assert!(sandbox.is_ready && sandbox.labels["app"] == "web" && sandbox.annotations["a"] == "b");
        assert_eq!(*empty, Sandbox { is_ready: true, ..Sandbox::default() });
    }
}

#[test]
fn a_list_of_many_pods_is_longer_than_the_window_and_is_read() {
    let serve = |stream| {
        speak(stream, async |mut respond| {
            let item = good().items.remove(0);
            let list = ListPodSandboxResponse { items: vec![PodSandbox { id: "x".repeat(10_000), ..item }; 500] };
            let mut stream = respond.send_response(head(), false).unwrap();
            stream.send_data(frame(&list), false).unwrap();
            stream.send_trailers(fields(OK)).unwrap();
        })
    };
    assert_eq!(against(serve, |socket| list(socket, PATIENT)).unwrap().len(), 500);
}

#[test]
fn an_error_of_the_runtime_is_named() {
    let refused = error(
        async |stream| {
            speak(stream, async |respond| {
                answer(respond, Bytes::new(), &[("grpc-status", "14"), ("grpc-message", "no%20runtime%0Ahere")])
            })
            .await
        },
        PATIENT,
    );
    let Error::Refused { code: 14, message, method: "ListPodSandbox", .. } = refused else { panic!("{refused:?}") };
    assert_eq!(message, "no runtime\nhere");
    // Without a body the head has the status.
    let unknown = error(
        async |stream| {
            speak(stream, async |mut respond| {
                let mut head = head();
                head.headers_mut().insert("grpc-status", HeaderValue::from_static("12"));
                respond.send_response(head, true).unwrap();
            })
            .await
        },
        PATIENT,
    );
    assert!(matches!(unknown, Error::Unknown { .. }), "{unknown:?}");
    assert!(unknown.to_string().contains("CRI version 1"), "{unknown}");
}

#[test]
fn answers_that_are_not_grpc_are_malformed() {
    let malformed = |respond: fn(SendResponse<Bytes>)| {
        let error = error(async move |stream| speak(stream, async move |answer| respond(answer)).await, PATIENT);
        let Error::Malformed { why, .. } = error else { panic!("{error:?}") };
        why
    };
    assert!(malformed(|respond| answer(respond, frame(&good()), &[])).contains("no status"));
    assert!(malformed(|respond| answer(respond, frame(&good()), &[("grpc-status", "good")])).contains("no status"));
    assert!(malformed(|respond| answer(respond, Bytes::new(), OK)).contains("incomplete"));
    assert!(malformed(|respond| answer(respond, Bytes::from_static(&[0, 0, 0, 0, 9, 1]), OK)).contains("incomplete"));
    assert!(malformed(|respond| answer(respond, Bytes::from_static(&[0; 10]), OK)).contains("twice"));
    assert!(malformed(|respond| answer(respond, Bytes::from_static(&[0, 0, 0, 0, 0, 1]), OK)).contains("incomplete"));
    assert!(malformed(|respond| answer(respond, Bytes::from_static(&[1, 0, 0, 0, 0]), OK)).contains("compressed"));
    assert!(malformed(|respond| answer(respond, Bytes::from_static(&[0, 255, 0, 0, 0]), OK)).contains("longer"));
    // A field that ends behind its message, a wrong type, text that is not UTF-8.
    malformed(|respond| answer(respond, Bytes::from_static(&[0, 0, 0, 0, 2, 0x0a, 0x7f]), OK));
    malformed(|respond| answer(respond, Bytes::from_static(&[0, 0, 0, 0, 2, 0x08, 0x01]), OK));
    malformed(|respond| answer(respond, Bytes::from_static(&[0, 0, 0, 0, 5, 0x0a, 3, 0x0a, 1, 0xff]), OK));
    let status = |mut respond: SendResponse<Bytes>| {
        respond.send_response(Response::builder().status(404).body(()).unwrap(), true).unwrap();
    };
    assert!(malformed(status).contains("404"));
    let kind = |mut respond: SendResponse<Bytes>| {
        respond.send_response(Response::builder().header("content-type", "text/html").body(()).unwrap(), true).unwrap();
    };
    assert!(malformed(kind).contains("application/grpc"));
}

#[test]
fn calls_and_connections_that_are_broken_off_are_errors() {
    error(
        async |stream| speak(stream, async |mut respond| respond.send_reset(h2::Reason::INTERNAL_ERROR)).await,
        PATIENT,
    );
    error(
        async |stream| {
            speak(stream, async |mut respond| {
                let mut stream = respond.send_response(head(), false).unwrap();
                stream.send_data(Bytes::from_static(&[0, 0, 0, 0, 9]), false).unwrap();
                stream.send_reset(h2::Reason::CANCEL);
            })
            .await
        },
        PATIENT,
    );
    // Says that it goes, and closes.
    error(
        async |stream| {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
            let _ = std::future::poll_fn(|context| connection.poll_closed(context)).await;
        },
        PATIENT,
    );
    let many = error(
        async |stream| {
            speak(stream, async |respond| {
                let long = "x".repeat(100_000);
                answer(respond, frame(&good()), &[("grpc-status", "0"), ("grpc-message", &long)]);
            })
            .await
        },
        PATIENT,
    );
    assert!(!matches!(many, Error::Late { .. }), "{many:?}");
}

#[test]
fn what_does_not_speak_http_2_is_an_error() {
    // Nothing, text, an older version, noise, and a frame of the longest length that no setting allows.
    for bytes in [
        &b""[..],
        b"hello\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        &[0xff; 64],
        &[0; 64],
        &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1, 0, 0],
        // SETTINGS, then HEADERS with a broken block, DATA of a stream that was not asked for, CONTINUATION alone.
        &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 2, 1, 4, 0, 0, 0, 1, 0xff, 0xff],
        &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 9, 0],
        &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 9, 0, 0, 0, 0, 1, 0],
    ] {
        let error = error_of_bytes(bytes, true);
        assert!(!matches!(error, Error::Late { .. }), "{bytes:?}: {error:?}");
        let text = error_of_bytes(bytes, false).to_string();
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

#[test]
fn silence_and_drops_are_late() {
    let silent = error(async |_stream| std::future::pending().await, SHORT);
    assert!(matches!(silent, Error::Late { limit: SHORT, .. }), "{silent:?}");
    let dripping = error(
        async |stream| {
            speak(stream, async |mut respond| {
                let mut stream = respond.send_response(head(), false).unwrap();
                stream.send_data(Bytes::from_static(&[0, 0, 1, 0, 0]), false).unwrap();
                loop {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    if stream.send_data(Bytes::from_static(&[0]), false).is_err() {
                        return;
                    }
                }
            })
            .await
        },
        SHORT,
    );
    assert!(matches!(dripping, Error::Late { .. }), "{dripping:?}");
}

#[test]
fn a_socket_that_does_not_answer_or_is_not_there_is_named() {
    let socket = Socket::new();
    let ask = || event_loop().unwrap().block_on(list(socket.0.clone(), PATIENT)).unwrap_err();
    let named =
        |error: &Error| error.to_string().contains(socket.0.to_str().unwrap()) && error.to_string().contains("--cri");
    let missing = ask();
    assert!(named(&missing) && missing.to_string().contains("No such file"), "{missing}");
    std::fs::write(&socket.0, "").unwrap();
    let file = ask();
    assert!(named(&file) && file.to_string().contains("refused"), "{file}");
    std::fs::remove_file(&socket.0).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&socket.0).unwrap());
    let dead = ask();
    assert!(named(&dead) && dead.to_string().contains("refused"), "{dead}");
    let error = crate::pods::read(Path::new("/")).unwrap_err();
    assert!(error.to_string().contains("--cri"), "{error}");
}

#[test]
fn events_are_waited_for_until_their_stream_ends() {
    let serve = |stream| {
        speak(stream, async |mut respond| {
            let mut stream = respond.send_response(head(), false).unwrap();
            let event = frame(&PodSandboxStatusResponse::default());
            stream.send_data(event.clone(), false).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            stream.send_data(event.slice(..3), false).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            stream.send_data(event.slice(3..), false).unwrap();
            stream.send_trailers(fields(&[("grpc-status", "13")])).unwrap();
        })
    };
    against(serve, async |socket: PathBuf| {
        let client = Client::connect_within(&socket, PATIENT).await.unwrap();
        let mut events = client.events().await.unwrap();
        // A wait that is given up loses nothing.
        let _ = tokio::time::timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
        events.next().await.unwrap();
        while tokio::time::timeout(Duration::from_millis(1), events.next()).await.is_err() {}
        let ended = events.next().await.unwrap_err();
        assert!(matches!(ended, Error::Refused { code: 13, .. }), "{ended:?}");
        assert!(events.next().await.is_err());
    });
    let first = |status| {
        let serve =
            move |stream| speak(stream, async move |respond| answer(respond, Bytes::new(), &[("grpc-status", status)]));
        against(serve, async |socket: PathBuf| {
            let client = Client::connect_within(&socket, PATIENT).await.unwrap();
            client.events().await.unwrap().next().await
        })
    };
    assert!(matches!(first("12"), Err(Error::Unknown { .. })));
    // CRI-O whose events are turned off has a stream without any.
    assert!(matches!(first("0"), Err(Error::Malformed { .. })));
}
