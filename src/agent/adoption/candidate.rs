//! Which connections may be adopted, as far as a scan tells.

use std::net::SocketAddr;

use super::cgroups::CgroupSets;
use super::end::End;
use crate::dataplane::{Direction, Options, TrustBy};
use crate::sockets::{Connection, Record, TcpState};

/// A connection that may be adopted, if it is proven.
pub(super) struct Candidate {
    pub(super) client: End,
    pub(super) server: End,
    /// Of the client's socket.
    pub(super) inode: u64,
    /// One end is in a socket map and the other is not: an agent may have been killed between the two.
    pub(super) has_member: bool,
    /// Of the client's socket and the server's, as the scan has seen them.
    pub(super) cookies: [u64; 2],
    /// The server's own address, and the client's, as the server sees them.
    pub(super) addresses: [SocketAddr; 2],
}

impl Candidate {
    /// What the policy says of new connections holds for it.
    pub(super) fn new(connection: Connection, cgroups: &CgroupSets, options: &Options) -> Option<Self> {
        let Connection { client, server } = connection;
        let policy = &options.policy;
        let is_fit = |end: &Record| {
            end.state == TcpState::Established
                && end.shutdown == [false; 2]
                && !end.has_ulp
                // A reader that sleeps in a call of before would not see redirected bytes.
                && end.nonblocking
                && cgroups.holds(end.cgroup)
        };
        let are_members = [client.in_socket_map, server.in_socket_map];
        let is_admitted = are_members != [true; 2]
            && is_fit(&client)
            && is_fit(&server)
            && policy.admits(false, client.local, client.remote)
            && policy.admits(true, server.local, server.remote);
        let is_trusted = |end: &Record, port: u16| {
            policy.trust.ports.iter().any(|range| range.holds(port)) || cgroups.trusts(end.cgroup)
        };
        let trusted = [is_trusted(&client, client.remote.port()), is_trusted(&server, server.local.port())];
        if !is_admitted || (policy.trust.by == TrustBy::Name && trusted != [true; 2]) {
            return None;
        }
        let watched = policy.trust.watch().is_some();
        let by_stack = [policy.direction == Direction::ToActive, policy.direction == Direction::ToPassive];
        Some(Self {
            inode: client.inode,
            has_member: are_members.contains(&true),
            cookies: [client.cookie, server.cookie],
            addresses: [server.local, server.remote],
            client: End::new(&client, true, by_stack[0], watched && trusted[0]),
            server: End::new(&server, false, by_stack[1], watched && trusted[1]),
        })
    }
}
