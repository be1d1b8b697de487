//! What the pinned data planes know of each socket.

use std::collections::HashMap;

use serde::Serialize;

use super::error::Error;
use super::target::PinArgs;
use crate::agent::StateReader;
use crate::agent::lifecycle::Pins;
use crate::dataplane::{SocketState, SocketTraffic, Standing};
use crate::observe::End;
use crate::sockets::Record;

/// The states of sockets, by their cookies.
#[derive(Debug, Default)]
pub(super) struct States {
    sockets: HashMap<u64, SocketState>,
    /// Why they could not be looked at.
    pub(super) unseen: Option<String>,
}

/// One end, with what it has sent.
#[derive(Clone, Debug, Serialize)]
pub(super) struct EndWithTraffic {
    #[serde(flatten)]
    pub(super) end: End,
    /// Nothing when no pinned data plane has a state for this socket, or it cannot be looked at.
    pub(super) sent: Option<Sent>,
}

/// What an end has sent since it was paired, by the way it took.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Sent {
    /// Where the socket stands: waiting, paired, plain, opted_out or unknown.
    standing: &'static str,
    /// Past the stack.
    pub(super) redirected_bytes: u64,
    /// Past the stack.
    pub(super) redirected_messages: u64,
    /// By the stack, while the socket was in the sockhash.
    pub(super) passed_bytes: u64,
    /// By the stack, while the socket was in the sockhash.
    pub(super) passed_messages: u64,
    /// The counter that says why the last message took the stack.
    pub(super) last_reason: Option<&'static str>,
    /// The counter that says why the pair leaves, or has left.
    pub(super) leaving: Option<&'static str>,
}

impl States {
    /// Looks. What cannot be seen is a finding, not a failure.
    pub(super) fn read(pins: &PinArgs) -> Self {
        read(pins).unwrap_or_else(|error| Self { sockets: HashMap::new(), unseen: Some(error.to_string()) })
    }

    /// The state of the socket.
    pub(super) fn of(&self, record: &Record) -> Option<&SocketState> {
        // A socket that has been asked for no cookie has 0, and is in no data plane.
        self.sockets.get(&record.cookie).filter(|_| record.cookie != 0)
    }

    /// The end, with what it has sent.
    pub(super) fn end(&self, end: End, record: &Record) -> EndWithTraffic {
        EndWithTraffic { end, sent: self.of(record).map(Sent::of) }
    }
}

impl Sent {
    fn of(state: &SocketState) -> Self {
        let SocketTraffic { redirected_bytes, redirected_messages, passed_bytes, passed_messages, .. } = state.traffic;
        Self {
            standing: match state.standing {
                Standing::Waiting => "waiting",
                Standing::Paired => "paired",
                Standing::Plain => "plain",
                Standing::OptedOut => "opted_out",
                _ => "unknown",
            },
            redirected_bytes,
            redirected_messages,
            passed_bytes,
            passed_messages,
            last_reason: state.traffic.last_reason.map(|reason| reason.name()),
            leaving: state.traffic.leaving.map(|reason| reason.name()),
        }
    }
}

fn read(pins: &PinArgs) -> Result<States, Error> {
    let mut states = States::default();
    if pins.bpffs.is_none() && !Pins::are_possible()? {
        return Ok(states);
    }
    for instance in pins.find(false)?.instances()? {
        for storage in instance.storages()? {
            let found = StateReader::new(&storage)?.read()?;
            states.sockets.extend(found.into_iter().map(|state| (state.cookie, state)));
        }
    }
    Ok(states)
}
