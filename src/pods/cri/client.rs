//! One connection to a runtime.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use prost::Message;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::events::Events;
use super::framing::{Unframer, frame};
use super::messages::{
    GetEventsRequest, ListPodSandboxRequest, ListPodSandboxResponse, PodSandboxStatusRequest, PodSandboxStatusResponse,
};
use super::place::cgroup_parent;
use super::sandbox::Sandbox;
use super::status::{Status, UNIMPLEMENTED};
use crate::pods::error::{Error, Result};

/// For one call, the connection included. The kubelet gives two minutes, but nothing is wrong with asking again.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes of the head of an answer. gRPC's own libraries take 8 KiB.
const MAX_HEAD: u32 = 16 << 10;

/// Bytes that may come before they are read, of all calls together: a list of 250 pods fits.
const WINDOW: u32 = 1 << 20;

/// A connection to a runtime. It ends with this value.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    requests: SendRequest<Bytes>,
    driver: JoinHandle<Option<h2::Error>>,
    limit: Duration,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    /// Connects to the runtime that listens at `socket`.
    pub async fn connect(socket: &Path) -> Result<Self> {
        Self::connect_within(socket, TIMEOUT).await
    }

    /// The same with another limit for each call.
    pub async fn connect_within(socket: &Path, limit: Duration) -> Result<Self> {
        let unreachable = |why: String| Error::Unreachable { socket: socket.to_owned(), why };
        let late = |_| Error::Late { socket: socket.to_owned(), method: "a connection", limit };
        let connected = timeout(limit, UnixStream::connect(socket)).await.map_err(late)?;
        let stream = connected.map_err(|error| unreachable(error.to_string()))?;
        let mut builder = h2::client::Builder::new();
        builder.enable_push(false).max_header_list_size(MAX_HEAD);
        builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let shaken = timeout(limit, builder.handshake(stream)).await.map_err(late)?;
        let (requests, connection) = shaken.map_err(|error| unreachable(error.to_string()))?;
        let driver = tokio::spawn(async move { connection.await.err() });
        Ok(Self { socket: socket.to_owned(), requests, driver, limit })
    }

    /// All pod sandboxes of the runtime.
    pub async fn sandboxes(&self) -> Result<Vec<Sandbox>> {
        let list: ListPodSandboxResponse = self.call("ListPodSandbox", &ListPodSandboxRequest {}).await?;
        Ok(list.items.into_iter().map(Sandbox::from).collect())
    }

    /// The parent of the cgroups of a sandbox, by its ID, where the runtime says it.
    pub async fn cgroup_parent(&self, id: &str) -> Result<Option<String>> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: true };
        let status: PodSandboxStatusResponse = self.call("PodSandboxStatus", &request).await?;
        Ok(cgroup_parent(&status.info))
    }

    /// The stream of events. A runtime that has none may say so only when the first one is waited for.
    pub async fn events(&self) -> Result<Events> {
        let method = "GetContainerEvents";
        let call = Call { socket: &self.socket, method };
        let sent = self.within(method, self.send(call, &GetEventsRequest {})).await?;
        Ok(Events::new(self.socket.clone(), sent))
    }

    /// Calls a method of the runtime's service that is answered by one message.
    pub async fn call<Q: Message, A: Message + Default>(&self, method: &'static str, request: &Q) -> Result<A> {
        let call = Call { socket: &self.socket, method };
        let exchange = async {
            let answer = self.send(call, request).await?;
            let mut body = call.opened(answer.await)?;
            let (mut unframer, mut message) = (Unframer::default(), None);
            while let Some(bytes) = body.data().await {
                call.take(&mut body, bytes, &mut unframer)?;
                while let Some(next) = unframer.next().map_err(|why| call.malformed(why))? {
                    if message.replace(next).is_some() {
                        return Err(call.malformed("it answers twice".into()));
                    }
                }
            }
            call.ended(&mut body).await?;
            let message = message.filter(|_| unframer.is_empty());
            let message = message.ok_or_else(|| call.malformed("its answer is incomplete".into()))?;
            A::decode(message).map_err(|error| call.malformed(error.to_string()))
        };
        self.within(method, exchange).await
    }

    async fn within<T>(&self, method: &'static str, what: impl Future<Output = Result<T>>) -> Result<T> {
        let late = |_| Error::Late { socket: self.socket.clone(), method, limit: self.limit };
        timeout(self.limit, what).await.map_err(late)?
    }

    async fn send(&self, call: Call<'_>, request: &impl Message) -> Result<ResponseFuture> {
        let mut requests = self.requests.clone().ready().await.map_err(|error| call.broken(&error))?;
        let head = http::Request::post(format!("http://localhost/runtime.v1.RuntimeService/{}", call.method))
            .version(http::Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", concat!("sidestep/", env!("CARGO_PKG_VERSION")));
        let head = head.body(()).map_err(|error| call.malformed(error.to_string()))?;
        let (answer, mut body) = requests.send_request(head, false).map_err(|error| call.broken(&error))?;
        body.send_data(frame(request), true).map_err(|error| call.broken(&error))?;
        Ok(answer)
    }
}

/// A call that is under way.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) socket: &'a Path,
    pub(super) method: &'static str,
}

impl Call<'_> {
    /// The body of an answer whose head is right.
    pub(super) fn opened(
        self,
        answer: std::result::Result<http::Response<RecvStream>, h2::Error>,
    ) -> Result<RecvStream> {
        let (head, body) = answer.map_err(|error| self.broken(&error))?.into_parts();
        if head.status != http::StatusCode::OK {
            return Err(self.malformed(format!("it answers with HTTP status {}", head.status.as_u16())));
        }
        let kind = head.headers.get("content-type").map_or(&b""[..], |kind| kind.as_bytes());
        if !kind.starts_with(b"application/grpc") {
            return Err(self.malformed("its answer is not of the type application/grpc".into()));
        }
        match Status::of(&head.headers) {
            Some(status) if status.code != 0 => Err(self.refused(status)),
            _ => Ok(body),
        }
    }

    /// Hands on what has come of a body, and lets as much come after it.
    pub(super) fn take(
        self,
        body: &mut RecvStream,
        bytes: std::result::Result<Bytes, h2::Error>,
        unframer: &mut Unframer,
    ) -> Result<()> {
        let bytes = bytes.map_err(|error| self.broken(&error))?;
        unframer.push(&bytes);
        body.flow_control().release_capacity(bytes.len()).map_err(|error| self.broken(&error))
    }

    /// Whether a call whose body has ended has succeeded.
    pub(super) async fn ended(self, body: &mut RecvStream) -> Result<()> {
        let trailers = body.trailers().await.map_err(|error| self.broken(&error))?;
        match trailers.as_ref().and_then(Status::of) {
            Some(Status { code: 0, .. }) => Ok(()),
            Some(status) => Err(self.refused(status)),
            None => Err(self.malformed("its answer has no status".into())),
        }
    }

    fn refused(self, status: Status) -> Error {
        let (socket, method) = (self.socket.to_owned(), self.method);
        match status {
            Status { code: UNIMPLEMENTED, .. } => Error::Unknown { socket, method },
            Status { code, message } => Error::Refused { socket, method, code, message },
        }
    }

    pub(super) fn malformed(self, why: String) -> Error {
        Error::Malformed { socket: self.socket.to_owned(), method: self.method, why }
    }

    /// The connection or the call has ended before its answer.
    pub(super) fn broken(self, error: &h2::Error) -> Error {
        let is_ours = error.is_library() && error.reason().is_some_and(|reason| reason != Reason::NO_ERROR);
        // The text of a GOAWAY is the peer's.
        let why = error.to_string().escape_debug().take(200).collect();
        if is_ours { self.malformed(why) } else { Error::Unreachable { socket: self.socket.to_owned(), why } }
    }
}
