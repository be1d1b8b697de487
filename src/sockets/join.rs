//! Which two sockets are the ends of one connection.
//!
//! What an end derives of the two initial sequence numbers is off by the SYN: the client counts its own as acknowledged and
//! the server does not, and each counts the peer's as received. So with the client's number C and the server's S, the
//! client derives (C, S + 1) and the server (S + 1, C + 1). SYN cookies keep this. What rewrites sequence numbers (a SYN
//! proxy) breaks it, and such a connection counts as two single ends.

use std::collections::HashMap;

use super::record::{Record, TcpState};

/// A connection of which both ends are on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connection {
    /// The end that called connect(2).
    pub client: Record,
    /// The end that accept(2) returned.
    pub server: Record,
}

/// What a scan found, joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connections {
    /// Both ends are here.
    pub local: Vec<Connection>,
    /// One end is here: the peer is on another machine, has closed, or could not be recognised.
    pub single: Vec<Record>,
    /// Sockets that listen.
    pub listeners: Vec<Record>,
}

/// Joins what a scan found. Of a socket that several processes have open, the process with the lowest number speaks.
pub fn join(records: Vec<Record>) -> Connections {
    let mut sockets: HashMap<u64, Record> = HashMap::new();
    for record in records {
        match sockets.get(&record.sk) {
            Some(known) if (known.pid, known.fd) <= (record.pid, record.fd) => {}
            _ => {
                sockets.insert(record.sk, record);
            }
        }
    }
    let mut joined = Connections::default();
    let mut open = Vec::new();
    for record in sockets.into_values() {
        match record.state {
            TcpState::Listen => joined.listeners.push(record),
            TcpState::Closed | TcpState::SynSent => {}
            _ => open.push(record),
        }
    }
    let mut same: HashMap<[u32; 2], Vec<usize>> = HashMap::new();
    for (at, record) in open.iter().enumerate() {
        if let Some(initial) = record.initial {
            same.entry(initial).or_default().push(at);
        }
    }
    let mut partner = vec![None; open.len()];
    for (server, record) in open.iter().enumerate() {
        let Some(initial @ [own, peers]) = record.initial else { continue };
        // Two ends with the same numbers are a chance of one in 2^64; then neither is believed.
        let is_only_server = same.get(&initial).is_some_and(|servers| servers.len() == 1);
        if let Some(&[client]) = same.get(&[peers.wrapping_sub(1), own]).map(Vec::as_slice)
            && is_only_server
            && client != server
            && partner[client].is_none()
            && partner[server].is_none()
        {
            partner[client] = Some(server);
            partner[server] = Some(client);
        }
    }
    let mut open: Vec<_> = open.into_iter().map(Some).collect();
    for (client, server) in partner.iter().enumerate() {
        let Some(server) = *server else { continue };
        let is_client = open[client].as_ref().zip(open[server].as_ref()).is_some_and(|(a, b)| {
            a.initial
                .zip(b.initial)
                .is_some_and(|([iss, irs], [own, peers])| own == irs && peers == iss.wrapping_add(1))
        });
        if is_client && let (Some(client), Some(server)) = (open[client].take(), open[server].take()) {
            joined.local.push(Connection { client, server });
        }
    }
    joined.single = open.into_iter().flatten().collect();
    let owner = |one: &Record| (one.pid, one.fd);
    joined.local.sort_by_cached_key(|one| owner(&one.client));
    joined.single.sort_by_cached_key(owner);
    joined.listeners.sort_by_cached_key(owner);
    joined
}
