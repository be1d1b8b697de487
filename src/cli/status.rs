//! `sidestep status`: what is attached, and whether exactly that is in the kernel.

use std::io::{self, Write};
use std::process::ExitCode;

use super::error::Error;
use super::streams::Streams;
use super::target::PinArgs;
use crate::agent::lifecycle::{AttachedCgroup, GenerationStatus, InstanceStatus, Object, Pins, State, Status};
use crate::agent::readers::{Readers, Splicer};

/// Say what is attached, and whether exactly that is in the kernel
///
/// Lists what is pinned, and compares it with the programs, maps and links in the kernel (which takes CAP_SYS_ADMIN). Changes nothing. Exit status: 1 when something is not as it should be; the lines
/// that begin with ! say what.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pins: PinArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    let out = streams.out;
    // Without a bpf file system nothing is pinned, which is not a failure.
    let mounted = args.pins.bpffs.is_some() || Pins::are_possible()?;
    let pins = if mounted { Some(args.pins.find(false)?) } else { None };
    let status = Status::read(pins.as_ref())?;
    if args.json {
        serde_json::to_writer(&mut *out, &status).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        print(&status, pins.as_ref(), out)?;
    }
    Ok(if status.is_healthy() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(status: &Status, pins: Option<&Pins>, out: &mut dyn Write) -> io::Result<()> {
    match pins {
        None => writeln!(out, "nothing is pinned: no bpf file system is on /sys/fs/bpf")?,
        Some(pins) if status.instances.is_empty() => writeln!(out, "nothing is pinned in {}", pins.root().display())?,
        Some(_) => {}
    }
    for instance in &status.instances {
        print_instance(instance, out)?;
    }
    for orphan in &status.orphans {
        writeln!(
            out,
            "! sockhash {} has no owner: its sockets use the stack (programs {:?}); `sidestep detach --orphans`",
            orphan.sockhash, orphan.programs
        )?;
    }
    for other in &status.others {
        writeln!(out, "sockhash {other} is another agent's, unpinned or pinned elsewhere")?;
    }
    for problem in &status.problems {
        writeln!(out, "! {problem}")?;
    }
    for neighbour in &status.neighbours {
        writeln!(out, "{neighbour}")?;
    }
    if let Some(why) = status.existing_stay_plain.as_ref().filter(|_| !status.instances.is_empty()) {
        writeln!(out, "connections made before an attach stay plain TCP: {why}")?;
    }
    if !status.inventoried {
        writeln!(out, "the programs and links of the kernel were not listed: that takes CAP_SYS_ADMIN")?;
    }
    Ok(())
}

fn print_instance(instance: &InstanceStatus, out: &mut dyn Write) -> io::Result<()> {
    let state = match instance.state {
        State::Attached => "attached",
        State::CgroupGone => "cgroup gone",
        State::Detached => "detached",
    };
    writeln!(out, "{} (cgroup {}): {state}", instance.cgroup.display(), instance.cgroup_id)?;
    writeln!(
        out,
        "  by sidestep {}, layout {}, {}; pins in {}",
        instance.version,
        instance.layout,
        if instance.owned { "owned by a running agent" } else { "without a running agent" },
        instance.pins.display()
    )?;
    if !instance.flags.is_empty() {
        writeln!(out, "  flags {}", instance.flags.join(" "))?;
    }
    for AttachedCgroup { id, path, state, link, .. } in &instance.cgroups {
        let path = path.as_ref().map_or_else(String::new, |path| format!(" {}", path.display()));
        let state = if *state == State::Attached { "" } else { ", which is gone" };
        writeln!(out, "  link {link} on cgroup {id}{path}{state}")?;
    }
    for generation in &instance.generations {
        print_generation(generation, out)?;
    }
    for problem in &instance.problems {
        writeln!(out, "! {problem}")?;
    }
    Ok(())
}

fn print_generation(generation: &GenerationStatus, out: &mut dyn Write) -> io::Result<()> {
    let life = if generation.live { "live" } else { "on its way out" };
    let switch = if generation.enabled { "on" } else { "off" };
    writeln!(out, "  {}: {life}, switched {switch}, {} sockets", generation.name, generation.members)?;
    for (kind, objects) in
        [("programs", &generation.programs), ("maps", &generation.maps), ("links", &generation.links)]
    {
        write!(out, "    {kind}")?;
        for Object { name, id } in objects {
            write!(out, "  {id} {name}")?;
        }
        writeln!(out)?;
    }
    if let Some(Readers { trusted, on_probation, splicers }) = &generation.readers {
        writeln!(out, "    readers  {trusted} trusted, {on_probation} on probation, {} that splice", splicers.len())?;
        for Splicer { process, program } in splicers {
            writeln!(out, "      {program} (process {process}) reads with splice(2): on the stack")?;
        }
    }
    for (name, value) in &generation.counters {
        writeln!(out, "    {name} {value}")?;
    }
    Ok(())
}
