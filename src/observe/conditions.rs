//! What must hold of a connection before sidestep accelerates it by default, and what holds.

use serde::Serialize;

use super::process::Processes;
use crate::sockets::{Connection, Record, TcpState};

/// One condition and its present value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Condition {
    /// A word for machines that never changes.
    pub code: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// What is the case, in one sentence.
    pub finding: String,
    /// What to do when it does not hold and should.
    pub remedy: Option<&'static str>,
}

/// The codes that the ends do not block.
const BLOCKING: [&str; 2] = ["client_nonblocking", "server_nonblocking"];

impl Condition {
    fn new(code: &'static str, holds: bool, [yes, no]: [&str; 2], remedy: &'static str) -> Self {
        let finding = if holds { yes } else { no }.to_owned();
        Self { code, holds, finding, remedy: (!holds).then_some(remedy) }
    }

    /// Whether it is that an end does not block, which `--readers any` does not ask for.
    pub(crate) fn is_of_blocking(&self) -> bool {
        BLOCKING.contains(&self.code)
    }
}

/// Every condition that a look at the sockets shows, for a connection of which both ends are here. Socket options and
/// ways of reading are not among them: the data plane looks at these when a message is sent.
pub fn conditions(connection: &Connection, processes: &mut Processes) -> Vec<Condition> {
    judged(connection, |end| processes.name(end).to_owned())
}

/// Whether all of them hold. Does not ask for the names of processes.
pub(super) fn all_hold(connection: &Connection) -> bool {
    judged(connection, |_| String::new()).iter().all(|condition| condition.holds)
}

fn judged(connection: &Connection, mut name_of: impl FnMut(&Record) -> String) -> Vec<Condition> {
    let ends = [("client", &connection.client), ("server", &connection.server)];
    let mut found = Vec::new();
    for (name, end) in ends {
        found.push(nonblocking(name, end, &name_of(end)));
    }
    found.push(open(ends.map(|(_, end)| end)));
    found.push(Condition::new(
        "no_ulp",
        ends.iter().all(|(_, end)| !end.has_ulp),
        [
            "No upper layer protocol is set.",
            "An end has set an upper layer protocol such as kernel TLS, which redirected bytes would pass by.",
        ],
        "nothing: such a connection stays on the stack",
    ));
    found
}

fn nonblocking(role: &str, end: &Record, process: &str) -> Condition {
    let [client, server] = BLOCKING;
    let code = if role == "client" { client } else { server };
    Condition {
        code,
        holds: end.nonblocking,
        finding: format!(
            "The {role} ({process}, process {}) {} its descriptor {}.",
            end.pid,
            if end.nonblocking { "does not block on" } else { "blocks on" },
            end.fd
        ),
        remedy: (!end.nonblocking).then_some(
            "to accelerate blocking readers too, use --readers any; the safety matrix says how they then differ",
        ),
    }
}

fn open(ends: [&Record; 2]) -> Condition {
    let open = ends.iter().all(|end| end.state == TcpState::Established);
    Condition::new(
        "established",
        open,
        ["Both directions are open.", "An end has closed its direction, or the connection is not established yet."],
        "nothing: a connection that is closing stays as it is",
    )
}
