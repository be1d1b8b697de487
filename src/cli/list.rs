//! `sidestep list`: the TCP connections of this node.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::cgroups::{below, below_mount};
use super::cri::{self, CriArgs};
use super::error::Error;
use super::states::{EndWithTraffic, Sent, States};
use super::streams::{Streams, note};
use super::target::PinArgs;
use super::values::{MAX_PID, number, one_of};
use crate::observe::{Condition, End, Epolls, Observer, PodNames, Processes, State, conditions, is_running};
use crate::sockets::Connection;
use crate::syscall::btf::shared_vmlinux;
use crate::syscall::cgroup;

/// List the TCP connections between processes of this node, and what keeps each of them plain
///
/// One row a connection, with both ends as the processes that have them open, in their pods or cgroups, and with what each has sent past the stack and
/// by it where a pinned data plane knows its sockets. Changes nothing. Needs CAP_BPF and CAP_PERFMON, and Linux 5.10; without
/// CAP_SYS_PTRACE the executables of other users' processes cannot be seen, and some are shown by the kernel's name of them
/// (comm).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only connections with an end in this process
    #[arg(long, value_name = "PID", value_parser = number::<u32, 1, MAX_PID>)]
    pid: Option<u32>,
    /// Only connections with this port at either end
    #[arg(long, value_name = "PORT", value_parser = number::<u16, 1, 65_535>)]
    port: Option<u16>,
    /// Only connections with an end in this cgroup, or one below it; its directory, or its path below the cgroup2 mount
    #[arg(long, value_name = "PATH")]
    cgroup: Option<String>,
    /// Only connections with an end in this pod; its UID will do where no container runtime answers
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = cri::pod)]
    pod: Option<String>,
    /// Only connections in this state: both ends in a socket map, nothing seen that keeps them plain, or something
    #[arg(long, value_name = "STATE", value_parser = one_of(State::ALL.map(|state| (state.name(), state))))]
    state: Option<State>,
    /// Only connections of which an end is in no socket map
    #[arg(long)]
    not_accelerated: bool,
    /// Print one JSON object a line, also with how epoll instances watch the sockets of these connections: to read that takes such an
    /// instance's lock for a moment (some milliseconds for 10,000 sockets in it)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cri: CriArgs,
    #[command(flatten)]
    pins: PinArgs,
}

/// One connection, as it is printed.
#[derive(Debug, Serialize)]
struct Row {
    /// The end that has called connect(2).
    client: EndWithTraffic,
    /// The other end.
    server: EndWithTraffic,
    /// Whether both sockets are in a socket map, as those of an accelerated connection are.
    in_socket_map: bool,
    /// How it stands: in_socket_map, eligible (nothing seen keeps it plain) or plain.
    state: &'static str,
    /// What must hold for a connection to be accelerated by default.
    conditions: Vec<Condition>,
}

impl Args {
    fn wants(&self, row: &Row, connection: &Connection, cgroup: Option<&str>) -> bool {
        let ends = [&connection.client, &connection.server];
        let inside = |cgroup: &str| {
            [&row.client, &row.server]
                .iter()
                .any(|one| one.end.cgroup.as_deref().and_then(|path| below(path, cgroup)).is_some())
        };
        self.pid.is_none_or(|pid| ends.iter().any(|end| end.pid == pid))
            && self.port.is_none_or(|port| ends.iter().any(|end| end.local.port() == port || end.remote.port() == port))
            && self.state.is_none_or(|state| state.name() == row.state)
            && cgroup.is_none_or(inside)
            && self.pod.as_deref().is_none_or(|pod| [&row.client, &row.server].iter().any(|one| is_in(pod, &one.end)))
            && !(self.not_accelerated && row.in_socket_map)
    }
}

/// Fails where no connection could be shown, since the process is not there.
fn check_process(pid: Option<u32>) -> Result<(), Error> {
    match pid {
        Some(pid) if !is_running(pid) => Err(Error::Failed(format!("there is no process {pid}; it may have ended"))),
        _ => Ok(()),
    }
}

/// Whether the end is in this pod.
fn is_in(pod: &str, end: &End) -> bool {
    [&end.pod, &end.pod_uid].into_iter().any(|one| one.as_deref() == Some(pod))
}

/// Fails where no connection could be shown, since the pod has no name here.
fn check_name(pod: Option<&str>, names: &PodNames) -> Result<(), Error> {
    match pod {
        Some(pod) if pod.contains('/') && !names.holds(pod) => Err(Error::Failed(format!(
            "the container runtime lists no running pod {pod}; `crictl pods` shows those that run, and --cri names the runtime's socket"
        ))),
        _ => Ok(()),
    }
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    // Both that look for sockets and those that read their states read the kernel's types; held, they are read once.
    let _types = shared_vmlinux();
    let names = args.cri.names()?;
    check_name(args.pod.as_deref(), &names)?;
    check_process(args.pid)?;
    let cgroup = args.cgroup.as_deref().map(|path| below_mount(path, &cgroup::find_all().unwrap_or_default()));
    let observed = Observer::new()?.look()?;
    let states = States::read(&args.pins);
    if let Some(why) = &states.unseen {
        note(format_args!("sidestep: what the connections have sent is not shown: {why}"));
    }
    let mut processes = Processes::with(names);
    let (mut epolls, mut found) = (Epolls::default(), 0);
    for connection in &observed.connections.local {
        let conditions = conditions(connection, &mut processes);
        let mut row = Row {
            client: states.end(processes.end(&connection.client), &connection.client),
            server: states.end(processes.end(&connection.server), &connection.server),
            in_socket_map: connection.client.in_socket_map && connection.server.in_socket_map,
            state: State::of(connection).name(),
            conditions,
        };
        if !args.wants(&row, connection, cgroup.as_deref()) {
            continue;
        }
        found += 1;
        if args.json {
            row.client.end.epoll = Some(epolls.of(&connection.client));
            row.server.end.epoll = Some(epolls.of(&connection.server));
            serde_json::to_writer(&mut *streams.out, &row).map_err(io::Error::from)?;
            writeln!(streams.out)?;
        } else {
            print(&row, streams.out)?;
        }
    }
    if found == 0 && !args.json {
        writeln!(streams.out, "no such connection between processes of this node")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(row: &Row, out: &mut dyn Write) -> io::Result<()> {
    let end = |EndWithTraffic { end, .. }: &EndWithTraffic| {
        format!("{}[{}]:{} {} ({})", end.process, end.pid, end.fd, end.local, end.place())
    };
    let kept: Vec<_> = row.conditions.iter().filter(|one| !one.holds).map(|one| one.code.to_owned()).collect();
    let state = match (row.in_socket_map, kept.is_empty()) {
        (true, _) => "in a socket map".to_owned(),
        (false, true) => "plain, could be accelerated".to_owned(),
        (false, false) => format!("plain: not {}", kept.join(", not ")),
    };
    write!(out, "{} -> {}  {state}", end(&row.client), end(&row.server))?;
    let sent: Vec<_> = [&row.client, &row.server].into_iter().filter_map(|end| end.sent).collect();
    if !sent.is_empty() {
        let sum = |of: fn(&Sent) -> u64| sent.iter().map(of).sum::<u64>();
        write!(
            out,
            "; past the stack {} bytes in {} messages, by it {} in {}",
            sum(|one| one.redirected_bytes),
            sum(|one| one.redirected_messages),
            sum(|one| one.passed_bytes),
            sum(|one| one.passed_messages)
        )?;
        if let Some(reason) = sent.iter().find_map(|one| one.leaving.or(one.last_reason)) {
            write!(out, ", last because of {reason}")?;
        }
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(check_process(Some(std::process::id())).is_ok());
        assert!(check_process(None).is_ok());
        let error = check_process(Some(u32::MAX)).unwrap_err().to_string();
        assert!(error.contains("there is no process"), "{error}");
    }
}
