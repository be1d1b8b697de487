//! `sidestep dump`: the programs as annotated assembly.

use std::process::ExitCode;

use super::error::Error;
use super::plane::PlaneArgs;
use super::streams::Streams;
use crate::asm::{Cfg, Listing, MapRef};
use crate::dataplane::{self, MapRole};

/// Print the BPF programs as annotated assembly
///
/// Prints the BPF programs as they would be loaded here, one instruction a line in the kernel verifier's words, with
/// labels and comments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The programs to print; without a name, all that are loaded with these flags
    #[arg(value_name = "PROGRAM", value_parser = ["sock_ops", "sk_msg", "dispatcher", "drain", "opt_out", "trusted", "receives", "splices", "tally"])]
    programs: Vec<String>,
    /// Print the encoded bytes beside each instruction
    #[arg(long)]
    bytes: bool,
    /// Print the Rust file and line that emitted each instruction
    #[arg(long)]
    origins: bool,
    /// Print the control flow as graphs in the DOT language, with the names of the checks, for `dot -Tsvg`
    #[arg(long, conflicts_with_all = ["bytes", "origins"])]
    dot: bool,
    #[command(flatten)]
    plane: PlaneArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    let (names, out) = (&args.programs, streams.out);
    let plane = dataplane::build(args.plane.noted_options()?).map_err(crate::agent::Error::from)?;
    for (name, _, program) in plane.programs() {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            if args.dot {
                Cfg::of(program).write_dot(program, name, out)?;
                continue;
            }
            writeln!(out, "{name}: {} instructions", program.insns().len())?;
            let map_name = |map: MapRef| MapRole::ALL.get(map.0 as usize).map(|role| role.name().to_owned());
            Listing::new(program).hex(args.bytes).origins(args.origins).map_names(&map_name).write(out)?;
            writeln!(out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use crate::cli::dispatch;

    #[test]
    fn a_graph_has_the_names_of_the_checks() {
        let args = ["dump", "sk_msg", "--tier", "sticky", "--dot"].map(Into::into).to_vec();
        let mut out = Vec::new();
        dispatch(args, &mut std::io::empty(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("digraph \"sk_msg\" {") && text.ends_with("}\n"), "{text}");
        assert!(text.contains("no message has taken the stack"), "{text}");
    }
}
