//! The stream of events of a runtime: that something has changed, not what.

use std::path::PathBuf;

use h2::RecvStream;
use h2::client::ResponseFuture;

use super::client::Call;
use super::framing::Unframer;
use crate::pods::error::Result;

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    socket: PathBuf,
    answer: Option<ResponseFuture>,
    body: Option<RecvStream>,
    unframer: Unframer,
}

impl Events {
    pub(super) fn new(socket: PathBuf, answer: ResponseFuture) -> Self {
        Self { socket, answer: Some(answer), body: None, unframer: Unframer::default() }
    }

    /// Waits for the next event. A call that is given up loses none. An error ends the stream.
    pub async fn next(&mut self) -> Result<()> {
        let Self { socket, answer, body, unframer } = self;
        let call = Call { socket, method: "GetContainerEvents" };
        if let Some(waiting) = answer {
            let head = waiting.await;
            *answer = None;
            *body = Some(call.opened(head)?);
        }
        let Some(body) = body else { return Err(call.malformed("its stream has ended".into())) };
        loop {
            // Several that have come at once are one.
            let mut has_come = false;
            while unframer.next().map_err(|why| call.malformed(why))?.is_some() {
                has_come = true;
            }
            if has_come {
                return Ok(());
            }
            match body.data().await {
                Some(bytes) => call.take(body, bytes, unframer)?,
                None => {
                    call.ended(body).await?;
                    return Err(call.malformed("its stream has ended".into()));
                }
            }
        }
    }
}
