//! Runs cases in processes of their own, several at a time, each inside an accelerated cgroup or a plain one.

use std::collections::VecDeque;
use std::error::Error;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use sidestep::agent::{Acceleration, TierChoice, check, choose_tier};
use sidestep::dataplane::{self, Config, Counter, Options, Pairing, Readers};
use sidestep::syscall::cgroup::{self, Cgroup};

use crate::cases::Case;
use crate::column::{Column, Policy};
use crate::log::{BROKEN, END, Log};
use crate::notes;
use crate::support::wait::{scaled, timeout};
use crate::{support, sys};

/// A case that is not over after this (see [`scaled`]) hangs, which is its value.
const LIMIT: Duration = Duration::from_secs(40);
/// What such a case says last.
const HANGS: &str = "hangs";

/// What one case was in one column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Value {
    /// What it saw.
    pub(crate) lines: Vec<String>,
    /// Did a message skip the stack meanwhile?
    pub(crate) redirected: bool,
}

impl Value {
    /// The reason why the case could not do what it is for.
    pub(crate) fn broken(&self) -> Option<&str> {
        self.lines.last().filter(|line| line.starts_with(BROKEN)).map(String::as_str)
    }

    /// Was it still not over when its time was?
    pub(crate) fn hangs(&self) -> bool {
        self.lines.last().is_some_and(|line| line == HANGS)
    }
}

/// One place a case can run in: a cgroup for each [`Policy`], accelerated as it says.
struct Slot {
    groups: Vec<(Cgroup, Option<Acceleration>)>,
}

struct Running {
    case: usize,
    column: usize,
    slot: usize,
    pid: libc::pid_t,
    pipe: RawFd,
    output: Vec<u8>,
    started: Instant,
    limit: Duration,
    redirected_before: u64,
}

/// The places that cases run in.
pub(crate) struct Slots(Vec<Slot>);

impl Slots {
    pub(crate) fn new(count: usize) -> Result<Self, Box<dyn Error>> {
        let root =
            cgroup::find()?.ok_or("no cgroup2 is mounted; mount one with `mount -t cgroup2 none /sys/fs/cgroup`")?;
        // What the agent would choose for this kernel.
        let config = check::configuration().unwrap();
        Ok(Self((0..count).map(|index| Slot::new(&root, index, config)).collect::<Result<_, _>>()?))
    }

    /// Every case in every column, as many at a time as there are places: `values[case][column]`.
    pub(crate) fn run(&self, cases: &[&Case]) -> Result<Vec<Vec<Value>>, Box<dyn Error>> {
        run(cases, &self.0)
    }

    /// The columns of one case, with nothing beside them.
    pub(crate) fn run_alone(&self, case: &Case) -> Result<Vec<Value>, Box<dyn Error>> {
        Ok(run(&[case], &self.0[..1])?.remove(0))
    }

    pub(crate) fn remove(self) -> Result<(), Box<dyn Error>> {
        self.0.into_iter().try_for_each(Slot::remove)
    }
}

fn run(cases: &[&Case], slots: &[Slot]) -> Result<Vec<Vec<Value>>, Box<dyn Error>> {
    let mut values = vec![vec![Value::default(); Column::ALL.len()]; cases.len()];
    let every = (0..cases.len()).flat_map(|case| (0..Column::ALL.len()).map(move |column| (case, column)));
    let mut jobs: Vec<_> = every.collect();
    // Those that hang go first, beside all others, since no run should wait for them alone.
    jobs.sort_by_key(|(case, _)| !notes::HANGS.contains(&cases[*case].name));
    let mut jobs = VecDeque::from(jobs);
    let mut running: Vec<Running> = Vec::new();
    let result = loop {
        if let Err(error) = step(cases, slots, &mut jobs, &mut running, &mut values) {
            break Err(error);
        }
        if jobs.is_empty() && running.is_empty() {
            break Ok(values);
        }
        sleep(Duration::from_millis(5));
    };
    for job in running {
        sys::kill(-job.pid, libc::SIGKILL);
        sys::wait(job.pid, 0);
    }
    result
}

fn step(
    cases: &[&Case],
    slots: &[Slot],
    jobs: &mut VecDeque<(usize, usize)>,
    running: &mut Vec<Running>,
    values: &mut [Vec<Value>],
) -> Result<(), Box<dyn Error>> {
    for (slot, place) in slots.iter().enumerate() {
        if running.iter().any(|job| job.slot == slot) {
            continue;
        }
        let Some((case, column)) = jobs.pop_front() else { break };
        running.push(place.start(cases[case], case, column, slot)?);
    }
    for index in (0..running.len()).rev() {
        if running[index].is_over() {
            let job = running.swap_remove(index);
            let after = slots[job.slot].redirected(Column::ALL[job.column].policy)?;
            let place = &mut values[job.case][job.column];
            *place = Value { redirected: after > job.redirected_before, lines: job.lines() };
        }
    }
    Ok(())
}

impl Slot {
    fn new(root: &Path, index: usize, config: Config) -> Result<Self, Box<dyn Error>> {
        let mut groups = Vec::new();
        for policy in [Policy::Plain, Policy::Default, Policy::AnyReader] {
            let name = format!("sidestep-semantics-{}-{index}-{}", std::process::id(), policy as u8);
            let group = Cgroup::create(&root.join(name))?;
            let readers = if policy == Policy::AnyReader { Readers::Any } else { Readers::NonBlocking };
            let acceleration = match policy {
                Policy::Plain => None,
                Policy::Default | Policy::AnyReader => {
                    let (tier, _) = choose_tier(TierChoice::Auto)?;
                    let options =
                        Options { pairing: Pairing::Sequence, tier, readers, policy: dataplane::Policy::default() };
                    Some(Acceleration::start(&group, options, config)?)
                }
            };
            groups.push((group, acceleration));
        }
        Ok(Self { groups })
    }

    /// Messages redirected so far.
    fn redirected(&self, policy: Policy) -> Result<u64, Box<dyn Error>> {
        Ok(match &self.groups[policy as usize].1 {
            Some(acceleration) => acceleration.snapshot()?.get(Counter::RedirectedMessages),
            None => 0,
        })
    }

    fn start(&self, case: &Case, number: usize, column: usize, slot: usize) -> Result<Running, Box<dyn Error>> {
        let Column { policy, modes, .. } = Column::ALL[column];
        let redirected_before = self.redirected(policy)?;
        let (pipe, output) = sys::pipe(libc::O_CLOEXEC)?;
        let group = &self.groups[policy as usize].0;
        let Some(pid) = sys::fork() else {
            sys::own_process_group();
            let log = Log(output);
            match group.enter(0) {
                Ok(()) => match catch_unwind(AssertUnwindSafe(|| (case.run)(log, modes))) {
                    Ok(()) => log.say(END),
                    Err(_) => log.say(format_args!("{BROKEN} panicked")),
                },
                Err(error) => log.say(format_args!("{BROKEN} {error}")),
            }
            sys::exit(0);
        };
        sys::close(output);
        let started = Instant::now();
        // The run waits for those that are known to hang.
        let may_hang = policy != Policy::Plain && notes::HANGS.contains(&case.name);
        let limit = if may_hang { LIMIT } else { scaled(LIMIT) };
        Ok(Running { case: number, column, slot, pid, pipe, output: Vec::new(), started, limit, redirected_before })
    }

    fn remove(self) -> Result<(), Box<dyn Error>> {
        for (group, acceleration) in self.groups {
            if let Some(acceleration) = acceleration {
                let left = acceleration.stop(timeout())?.remaining;
                if left > 0 {
                    return Err(format!("{left} sockets are still in the sockhash after every case is over").into());
                }
            }
            support::cgroup::remove([group.path()]);
        }
        Ok(())
    }
}

impl Running {
    /// Collects output; true when the process is gone, or has been made to go.
    fn is_over(&mut self) -> bool {
        let mut buffer = [0; 4096];
        while sys::poll(self.pipe, libc::POLLIN, 0).is_ok_and(|events| events & libc::POLLIN != 0) {
            match sys::read(self.pipe, &mut buffer) {
                Ok(length) if length > 0 => self.output.extend_from_slice(&buffer[..length]),
                _ => break,
            }
        }
        let gone = sys::wait(self.pid, libc::WNOHANG);
        let late = self.started.elapsed() > self.limit;
        if !gone && late {
            sys::kill(-self.pid, libc::SIGKILL);
            sys::wait(self.pid, 0);
        }
        if gone {
            // What it forked and left behind.
            sys::kill(-self.pid, libc::SIGKILL);
        }
        gone || late
    }

    fn lines(mut self) -> Vec<String> {
        let mut buffer = [0; 65536];
        while sys::poll(self.pipe, libc::POLLIN, 0).is_ok_and(|events| events & libc::POLLIN != 0) {
            match sys::read(self.pipe, &mut buffer) {
                Ok(length) if length > 0 => self.output.extend_from_slice(&buffer[..length]),
                _ => break,
            }
        }
        sys::close(self.pipe);
        let mut lines: Vec<_> = String::from_utf8_lossy(&self.output).lines().map(str::to_owned).collect();
        match lines.last().map(String::as_str) {
            Some(END) => {
                lines.pop();
            }
            Some(line) if line.starts_with(BROKEN) => {}
            _ => lines.push(HANGS.into()),
        }
        lines
    }
}
