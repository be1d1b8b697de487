//! How a connection stands, in one word.

use super::conditions::all_hold;
use crate::sockets::Connection;

/// The state of a connection of which both ends are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Both sockets are in a socket map, as those of an accelerated connection are.
    InSocketMap,
    /// A socket is in no socket map, but nothing that can be seen keeps the pair plain: it was made before sidestep was
    /// attached, or outside its cgroup, or has left.
    Eligible,
    /// A condition does not hold.
    Plain,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::InSocketMap, Self::Eligible, Self::Plain];

    /// The state of `connection`.
    pub fn of(connection: &Connection) -> Self {
        if connection.client.in_socket_map && connection.server.in_socket_map {
            Self::InSocketMap
        } else if all_hold(connection) {
            Self::Eligible
        } else {
            Self::Plain
        }
    }

    /// The word for flags, JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InSocketMap => "in_socket_map",
            Self::Eligible => "eligible",
            Self::Plain => "plain",
        }
    }
}
