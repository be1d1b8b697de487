//! `sidestep dump`: the programs as annotated assembly.

use std::process::ExitCode;

use super::error::Error;
use super::plane::PlaneArgs;
use super::streams::Streams;
use super::values::one_of;
use crate::asm::{Cfg, Dialect, Listing, MapRef};
use crate::dataplane::{self, MapRole};

/// Print the BPF programs as annotated assembly
///
/// Prints the BPF programs as they would be loaded here, one instruction a line in the kernel verifier's words or LLVM's,
/// with labels and comments.
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
    #[arg(long, conflicts_with_all = ["bytes", "origins", "dialect"])]
    dot: bool,
    /// Whose words: kernel, as in the verifier's log, or llvm, as llvm-objdump prints them
    #[arg(long, value_name = "DIALECT", default_value = "kernel", value_parser = one_of(Dialect::ALL))]
    dialect: Dialect,
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
            let listing = Listing::new(program).hex(args.bytes).origins(args.origins).map_names(&map_name);
            listing.dialect(args.dialect).write(out)?;
            writeln!(out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use crate::asm::Dialect;
    use crate::cli::dispatch;

    fn printed(args: &[&str]) -> String {
        let args = [&["dump", "sk_msg", "--tier", "sticky"], args].concat();
        let mut out = Vec::new();
        dispatch(args.iter().map(Into::into).collect(), &mut std::io::empty(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Both dialects say the same program.
    #[test]
    fn listings_can_be_read_back() {
        let read = |dialect: Dialect, name| {
            let text = printed(&["--dialect", name]);
            // The first line counts the instructions.
            let (head, listing) = text.split_once('\n').unwrap();
            assert!(head.starts_with("sk_msg: ") && head.ends_with(" instructions"), "{head}");
            dialect.parse(listing).unwrap()
        };
        let [kernel, llvm] = Dialect::ALL.map(|(name, dialect)| read(dialect, name));
        assert_eq!(kernel, llvm);
        assert!(kernel.len() > 50 && printed(&["--dialect", "llvm"]).contains("\tr1, 0x1, "));
    }

    #[test]
    fn a_graph_has_the_names_of_the_checks() {
        let text = printed(&["--dot"]);
        assert!(text.starts_with("digraph \"sk_msg\" {") && text.ends_with("}\n"), "{text}");
        assert!(text.contains("no message has taken the stack"), "{text}");
    }
}
