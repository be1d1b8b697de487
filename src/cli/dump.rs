//! `sidestep dump`: the programs as annotated assembly.

use std::process::ExitCode;

use lexopt::{Arg, ValueExt};

use super::plane::PlaneFlags;
use super::{Error, Invocation};
use crate::asm::{Listing, MapRef};
use crate::dataplane::{self, MapRole};

/// The line of `sidestep help`.
pub(super) const SUMMARY: &str = "print the BPF programs as annotated assembly";

const HELP: &str = "\
usage: sidestep dump [sock_ops|opt_out|entry|sk_msg|drain ...] [FLAGS]

Prints the BPF programs as they would be loaded here, one instruction a line in the kernel verifier's words, with
labels and comments.

  --bytes        the encoded bytes beside each instruction
  --origins      the Rust file and line that emitted each instruction
";

/// Runs the command.
pub(super) fn run(invocation: Invocation<'_>) -> Result<ExitCode, Error> {
    let Invocation { mut args, out, .. } = invocation;
    let (mut flags, mut names, mut bytes, mut origins) = (PlaneFlags::default(), Vec::<String>::new(), false, false);
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => {
                write!(out, "{HELP}")?;
                PlaneFlags::help(out)?;
                return Ok(ExitCode::SUCCESS);
            }
            Arg::Long("bytes") => bytes = true,
            Arg::Long("origins") => origins = true,
            Arg::Value(name) => names.push(name.string()?),
            other => match PlaneFlags::name(&other) {
                Some(name) => flags.take(name, &mut args)?,
                None => return Err(other.unexpected().into()),
            },
        }
    }
    for name in &names {
        if !["sock_ops", "opt_out", "dispatcher", "sk_msg", "drain"].contains(&name.as_str()) {
            return Err(Error::Usage(format!(
                "there is no program {name:?}; there are sock_ops, opt_out, dispatcher, sk_msg and drain"
            )));
        }
    }
    let plane = dataplane::build(flags.options(&mut std::io::stderr())?).map_err(crate::agent::Error::from)?;
    let programs = [
        ("sock_ops", Some(&plane.sock_ops)),
        ("opt_out", plane.opt_out.as_ref()),
        ("dispatcher", Some(&plane.dispatcher)),
        ("sk_msg", Some(&plane.sk_msg)),
        ("drain", plane.drain.as_ref()),
    ];
    for (name, program) in programs {
        let wanted = names.is_empty() || names.iter().any(|wanted| wanted == name);
        if let (true, Some(program)) = (wanted, program) {
            writeln!(out, "{name}: {} instructions", program.insns().len())?;
            let map_name = |map: MapRef| MapRole::ALL.get(map.0 as usize).map(|role| role.name().to_owned());
            Listing::new(program).hex(bytes).origins(origins).map_names(&map_name).write(out)?;
            writeln!(out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
