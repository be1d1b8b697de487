//! Half of an adoption: an agent was killed after it had put one end into the sockhash, and before the other. Both ends know each
//! other, and the messages of the one that is in take the stack. When that one is out as well, both are as an agent leaves them that
//! is killed a moment before.
//!
//! A scan shows such a connection with one end in a socket map. That map may be another tool's: the sockhash tells, by the cookies of
//! the scan.

use super::Adopting;
use super::candidate::Candidate;
use super::end::state_of;
use crate::dataplane::SocketState;

impl Adopting<'_> {
    /// The only member of a candidate, by its cookie, if a killed agent has left it for certain.
    ///
    /// The sockhash and the states are those of our data plane, so nothing of another one is taken. The ends of every other pair are
    /// both in the sockhash, from the callback on in which it becomes one, or join it later. A pair that leaves is marked, or one end
    /// is plain TCP.
    pub(super) fn only_member(&self, candidate: &Candidate) -> Option<u64> {
        if self.options.joins_later() || !self.has_member(candidate) {
            return None;
        }
        let state = |end: &super::End| state_of(&end.open()?, self.storage);
        let [client, server] = [state(&candidate.client)?, state(&candidate.server)?];
        let is_member = |state: &SocketState| Some(self.sockets.lookup(&state.cookie.to_ne_bytes()).ok()?.is_some());
        let (member, other) = match [is_member(&client)?, is_member(&server)?] {
            [true, false] => (client, server),
            [false, true] => (server, client),
            _ => return None,
        };
        // What the other one has redirected could be unread, and would be lost.
        (member.is_pair_with(&other) && other.looked_at == 0).then_some(member.cookie)
    }

    /// Whether the sockhash has one of its ends. No socket is opened for this: what another tool has in a map of its own is looked at
    /// no further.
    fn has_member(&self, candidate: &Candidate) -> bool {
        let is_member = |cookie: u64| matches!(self.sockets.lookup(&cookie.to_ne_bytes()), Ok(Some(_)));
        // 0 is not a cookie: nothing has asked for it yet.
        candidate.cookies.into_iter().any(|cookie| cookie != 0 && is_member(cookie))
    }

    /// Takes it out. Its peer is in no sockhash, so nothing is redirected to it.
    ///
    /// A gap remains between the look at both ends and this. When the member disconnects in it, connects again to another local
    /// socket, and is put into the sockhash under the same cookie, this takes out an end of the new pair. Bytes that have been redirected
    /// to it by then are lost. From then on the messages of that pair take the stack: it is such a half itself.
    pub(super) fn take_out(&self, member: u64) {
        // It may have closed, or left.
        let _ = self.sockets.delete(&member.to_ne_bytes());
    }
}
