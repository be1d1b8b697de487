//! `sidestep explain`: why a connection is accelerated, or is not.

mod finder;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::attached::Attached;
use crate::cli::cri::CriArgs;
use crate::cli::error::Error;
use crate::cli::states::{EndWithTraffic, Sent, States};
use crate::cli::streams::Streams;
use crate::cli::target::PinArgs;
use crate::cli::values::{MAX_PID, address, number};
use crate::dataplane::{Counter, SocketState, Standing};
use crate::observe::{Condition, End, Epoll, Epolls, Observer, Processes, conditions};
use crate::sockets::{Connection, Record};
use crate::syscall::btf::shared_vmlinux;
use finder::{Found, Wanted};

/// Say in words why a connection is accelerated, or is not
///
/// Names a connection by its two addresses in either order, as `ss` and `sidestep list` show them, or by a process that
/// has it open. Shows every condition with its present value, and a remedy where there is one. Changes nothing. Needs
/// CAP_BPF and CAP_PERFMON, and Linux 5.10. Exit status: 1 when there is no such connection.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The address of one end
    #[arg(value_name = "LOCAL", value_parser = address, requires = "remote")]
    local: Option<SocketAddr>,
    /// The address of the other end
    #[arg(value_name = "REMOTE", value_parser = address)]
    remote: Option<SocketAddr>,
    /// Every connection of this process
    #[arg(long, value_name = "PID", value_parser = number::<u32, 1, MAX_PID>, conflicts_with = "local")]
    pid: Option<u32>,
    /// Only the one of this descriptor
    #[arg(long, value_name = "FD", requires = "pid", conflicts_with = "local")]
    fd: Option<u32>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cri: CriArgs,
    #[command(flatten)]
    pins: PinArgs,
}

/// One connection, explained.
#[derive(Debug, Serialize)]
struct Explanation {
    /// The end that has called connect(2), and the other one; one end alone when the other was not found on this node.
    ends: Vec<EndWithTraffic>,
    /// Whether both sockets are in a socket map, as those of an accelerated connection are.
    accelerated: bool,
    /// One sentence.
    answer: String,
    /// What must hold, with its present value. Those that do not hold keep the connection plain.
    conditions: Vec<Condition>,
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    let wanted = match (args.local.zip(args.remote), args.pid) {
        (Some((local, remote)), _) => Wanted::Addresses(local, remote),
        (None, Some(pid)) => Wanted::Process(pid, args.fd),
        (None, None) => {
            return Err(Error::Usage(
                "name a connection: its two addresses, or --pid and a process that has it open".into(),
            ));
        }
    };
    // Both that look for sockets and those that read their states read the kernel's types; held, they are read once.
    let _types = shared_vmlinux();
    let names = args.cri.names()?;
    let observed = Observer::new()?.look()?;
    let found = finder::find(&observed.connections, &wanted)?;
    let attached = Attached::read(&args.pins);
    let states = States::read(&args.pins);
    let (mut processes, mut epolls) = (Processes::with(names), Epolls::default());
    for one in found {
        let records = match one {
            Found::Both(connection) => vec![&connection.client, &connection.server],
            Found::Single(record) => vec![record],
        };
        let mut explanation = match one {
            Found::Both(connection) => explain(connection, &attached, &states, &mut processes),
            Found::Single(record) => alone(record, &states, &mut processes),
        };
        for (end, record) in explanation.ends.iter_mut().zip(records) {
            end.end.epoll = Some(epolls.of(record));
        }
        if args.json {
            serde_json::to_writer(&mut *streams.out, &explanation).map_err(io::Error::from)?;
            writeln!(streams.out)?;
        } else {
            print(&explanation, streams.out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn explain(connection: &Connection, attached: &Attached, states: &States, processes: &mut Processes) -> Explanation {
    let ends = [processes.end(&connection.client), processes.end(&connection.server)];
    let accelerated = connection.client.in_socket_map && connection.server.in_socket_map;
    // A cgroup that is trusted leaves a mark on each of its sockets.
    let is_in_no_pair =
        |record| states.of(record).is_none_or(|state: &SocketState| state.standing == Standing::Unknown);
    let were_in_no_pair = [&connection.client, &connection.server].into_iter().all(is_in_no_pair);
    let mut all = attached.conditions(&ends, connection, were_in_no_pair);
    let own = conditions(connection, processes).into_iter();
    // Where --readers any is given, an end that blocks does not keep the connection plain.
    all.extend(own.filter(|one| one.holds || !(attached.any_reader(&ends) && one.is_of_blocking())));
    let hindrance = all.iter().find(|one| !one.holds).map(|one| one.finding.clone());
    all.push(Condition {
        code: "in_socket_map",
        holds: accelerated,
        finding: match (connection.client.in_socket_map, connection.server.in_socket_map) {
            (true, true) => "Both sockets are in a socket map.",
            (true, false) => "The client's socket is in a socket map, and the server's is not.",
            (false, true) => "The server's socket is in a socket map, and the client's is not.",
            (false, false) => "No socket is in a socket map.",
        }
        .into(),
        remedy: (!accelerated).then_some(
            "`sidestep run` takes in a connection that was made before, or has left, when it is calm (Linux 6.12 or later); else make a new one",
        ),
    });
    let answer = match (accelerated, hindrance) {
        (true, None) => "Accelerated: both sockets are in a socket map.".to_owned(),
        (true, Some(why)) => format!("In a socket map, but its messages take the stack: {why}"),
        (false, Some(why)) => format!("Not accelerated: {why}"),
        (false, None) => {
            "Not accelerated, although nothing that can be seen keeps it plain: it was made before sidestep was \
                          attached, or has left. A new connection would be accelerated."
                .to_owned()
        }
    };
    let [client, server] = ends;
    let ends = vec![states.end(client, &connection.client), states.end(server, &connection.server)];
    Explanation { ends, accelerated, answer, conditions: all }
}

fn alone(record: &Record, states: &States, processes: &mut Processes) -> Explanation {
    let finding = format!("The peer of this end, {}, was not found among the sockets of this node.", record.remote);
    Explanation {
        ends: vec![states.end(processes.end(record), record)],
        accelerated: false,
        answer: format!("Not accelerated: {finding}"),
        conditions: vec![Condition {
            code: "both_ends_here",
            holds: false,
            finding,
            remedy: Some(
                "a connection to another node stays plain; one whose peer is here is seen again when both ends are open",
            ),
        }],
    }
}

fn print(explanation: &Explanation, out: &mut dyn Write) -> io::Result<()> {
    for EndWithTraffic { end, sent } in &explanation.ends {
        let End { process, pid, fd, local, remote, .. } = end;
        let place = match &end.pod {
            Some(_) => format!("pod {}", end.place()),
            None => format!("cgroup {}", end.place()),
        };
        writeln!(out, "{process}[{pid}] descriptor {fd}: {local} to {remote}, {place}")?;
        if let Some(epoll) = &end.epoll {
            writeln!(out, "  {}", described(epoll))?;
        }
        if let Some(sent) = sent {
            print_sent(sent, out)?;
        }
    }
    writeln!(out, "{}", explanation.answer)?;
    for condition in &explanation.conditions {
        writeln!(out, "  {}  {}", if condition.holds { "yes" } else { "NO " }, condition.finding)?;
        if let Some(remedy) = condition.remedy {
            writeln!(out, "       -> {remedy}")?;
        }
    }
    Ok(())
}

/// How the process waits for the socket, as far as epoll shows it.
fn described(epoll: &Epoll) -> String {
    let Epoll { registered, events, unseen, .. } = epoll;
    match (unseen, *registered) {
        (Some(why), _) => format!("whether an epoll instance watches it is not seen ({why}): this takes root or, from Linux 5.14 on, CAP_SYS_PTRACE"),
        (None, "none") => "no epoll instance of this process watches it; it may block, use poll(2) or io_uring, or leave it to another \
                           process"
            .into(),
        (None, "both") => format!("epoll instances watch it, level-triggered and edge-triggered: {}", events.join(", ")),
        (None, trigger) => format!("an epoll instance watches it, {trigger}-triggered: {}", events.join(", ")),
    }
}

fn print_sent(sent: &Sent, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "  has sent {} bytes in {} messages past the stack, and {} in {} by the stack while it was in the sockhash",
        sent.redirected_bytes, sent.redirected_messages, sent.passed_bytes, sent.passed_messages
    )?;
    for (what, reason) in [("the last of these took the stack", sent.last_reason), ("its pair leaves", sent.leaving)] {
        let known = Counter::ALL.iter().find(|counter| Some(counter.name()) == reason);
        if let Some(counter) = known {
            writeln!(out, "  {what} because of {}: {}", counter.name(), counter.description())?;
        }
    }
    Ok(())
}
