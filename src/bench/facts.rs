//! What does not depend on traffic: size and speed of the programs, memory, start-up times.

use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::cgroups::options;
use super::error::{Result, system};
use super::stats::Estimate;
use crate::agent::Acceleration;
use crate::asm::Insn;
use crate::dataplane::{Config, MapRole, Pairing, Tier};
use crate::syscall::ProgInfo;
use crate::syscall::cgroup::Cgroup;
use crate::testbed::TemporaryCgroup;

/// One program.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ProgramFacts {
    /// Its name in the kernel.
    pub name: String,
    /// Instructions after the verifier's rewriting.
    pub instructions: u32,
    /// Bytes of machine code; 0 when it is interpreted.
    pub machine_code: u32,
    /// Instructions that the verifier walked.
    pub verified: u32,
    /// Nanoseconds of one run, the kernel's own measuring included; none when it did not run. The kernel books a program that is
    /// called by another (`bpf_tail_call`) on that one: `sidestep_msg` on `sidestep_disp`.
    pub run_ns: Option<f64>,
    /// Runs that were measured.
    pub runs: u64,
}

impl ProgramFacts {
    /// From what the kernel says.
    pub(super) fn of(info: &ProgInfo) -> Self {
        Self {
            name: info.name.clone(),
            instructions: info.xlated_len / Insn::SIZE as u32,
            machine_code: info.jited_len,
            verified: info.verified_insns,
            run_ns: (info.run_count > 0).then(|| info.run_time_ns as f64 / info.run_count as f64),
            runs: info.run_count,
        }
    }
}

/// Facts of a data plane.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PlaneFacts {
    /// Its pairing.
    pub pairing: &'static str,
    /// Its programs.
    pub programs: Vec<ProgramFacts>,
    /// Kernel memory of each map without sockets in it, bytes.
    pub map_bytes: Vec<(&'static str, u64)>,
    /// Nanoseconds that the gate takes of a run of the dispatcher: the difference to the program that redirects without it, in
    /// rounds that take turns. The redirection itself and the kernel's own measuring are in both.
    pub gate_ns: Option<Estimate>,
    /// Milliseconds from nothing to attached: assembling, loading, verification.
    pub attach_ms: Option<Estimate>,
    /// Milliseconds from attached to gone, without connections.
    pub detach_ms: Option<Estimate>,
}

/// Starts and stops a data plane some times over, and looks at it. `config` is the one that is measured.
pub(super) fn of_plane(
    parent: &Path,
    pairing: Pairing,
    tier: Tier,
    config: Config,
    starts: usize,
) -> Result<PlaneFacts> {
    let group = TemporaryCgroup::new(parent, "sidestep-bench-start-")?;
    let (mut attach, mut detach, mut map_bytes) = (Vec::new(), Vec::new(), Vec::new());
    for start in 0..starts {
        let began = Instant::now();
        let plane = Acceleration::start(&Cgroup::open(group.path())?, options(pairing, tier), config)?;
        attach.push(millis(began.elapsed()));
        if start == 0 {
            for role in MapRole::ALL {
                map_bytes.push((role.name(), memlock(plane.loaded().map(role).as_fd().as_raw_fd())?));
            }
        }
        let began = Instant::now();
        plane.stop(Duration::from_secs(1))?;
        detach.push(millis(began.elapsed()));
    }
    Ok(PlaneFacts {
        pairing: pairing.name(),
        programs: Vec::new(),
        map_bytes,
        gate_ns: None,
        attach_ms: Estimate::of(attach),
        detach_ms: Estimate::of(detach),
    })
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What a map occupies, as `bpf_map_show_fdinfo` of kernel/bpf/syscall.c says it.
fn memlock(fd: i32) -> Result<u64> {
    field(&format!("/proc/self/fdinfo/{fd}"), "memlock:")
}

/// The probation of readers, by messages of 64 bytes there and back on one CPU. Both ends are new processes.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct ProbationFacts {
    /// Where readers are watched, and where their sockets are meanwhile.
    pub by: &'static str,
    /// Messages of both ends until the first one that was redirected; a multiple of 8.
    pub messages: Option<Estimate>,
    /// Milliseconds until then.
    pub milliseconds: Option<Estimate>,
}

/// An agent as a process of its own.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct AgentFacts {
    /// Milliseconds from starting the process to its word that it has attached: the median of some starts.
    pub start_ms: f64,
    /// Resident memory once it has attached, bytes.
    pub resident_bytes: u64,
}

/// Starts an agent some times over.
pub(super) fn of_agent(program: &Path, parent: &Path, starts: usize) -> Result<AgentFacts> {
    let group = TemporaryCgroup::new(parent, "sidestep-bench-agent-")?;
    let (mut times, mut resident_bytes) = (Vec::new(), 0);
    for _ in 0..starts {
        let (start_ms, resident) = start(program, group.path())?;
        times.push(start_ms);
        resident_bytes = resident;
    }
    Ok(AgentFacts { start_ms: Estimate::of(times).map_or(0.0, |times| times.median), resident_bytes })
}

/// Starts an agent: its milliseconds and bytes.
fn start(program: &Path, group: &Path) -> Result<(f64, u64)> {
    let cannot = system("run an agent");
    let began = Instant::now();
    let mut agent = Command::new(program)
        .args(["run", "--unpinned", "--interval", "0", "--cgroup"])
        .arg(group)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(&cannot)?;
    let mut line = String::new();
    // Its first line comes when it has attached.
    let said = agent.stdout.take().map_or(Ok(0), |stdout| BufReader::new(stdout).read_line(&mut line));
    let start_ms = millis(began.elapsed());
    let resident = field(&format!("/proc/{}/status", agent.id()), "VmRSS:");
    // Nothing is connected through it, so that nothing is lost; the kernel detaches a program that no process holds.
    agent.kill().and_then(|()| agent.wait()).map_err(&cannot)?;
    said.map_err(&cannot)?;
    Ok((start_ms, resident? << 10))
}

/// The number after a word in a file of /proc; 0 when the kernel does not say.
fn field(path: &str, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(path).map_err(system("read from /proc"))?;
    let number = text.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse().ok());
    Ok(number.unwrap_or(0))
}
