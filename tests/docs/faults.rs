//! The reference of the kernel's known faults, made from the list that `sidestep check` goes by.

use std::fmt::Write;

use sidestep::agent::check::faults::{DATE, Effect, Evidence, Fault, LIST, Probe, Reach, listed};

use crate::generated;

const HEAD: &str = "\
# Known faults of kernels

Made from the code by `UPDATE=1 cargo test --test docs`; the list was last compared with its sources on {date}.

`sidestep check` says which of these faults this kernel has, or may have, with a remedy. A fault that loses data or
crashes the kernel, that sidestep can meet, and that is surely there is a reason not to start: `attach`, `run` and
`upgrade` then refuse, unless they are given `--force`. On the kernels that are tested (5.10, 6.1, 6.12, 6.18 and the newest
of Debian) there is none.

How a fault is recognised:

- by **types**: the kernel's BTF has, or lacks, what comes with it;
- by **trying**: a loopback connection behaves as it should not;
- by **processor**: the kernel leaves an order to it, which x86_64 keeps and arm64 does not promise. No kernel has been seen to
  break it, so on arm64 the fault *may* be there. It is never a reason not to start;
- by **version**: only where nothing else tells. Distributions take corrections back into older kernels, so a version
  can say that a fault is corrected, and otherwise only that it *may* be there. It is never a reason not to start.

*Reached* means that what sidestep does can meet the fault. *Avoided* means that it could, and that sidestep does
something about it. *Not used* means that sidestep does not use that part of the kernel; a test looks for it in the
instructions of the programs.
";

fn recognised(evidence: Evidence) -> String {
    match evidence {
        Evidence::Field(structure, field) => format!("types: the field `{structure}.{field}`"),
        Evidence::Function(name, since) => {
            format!("types: the function `{name}`, or Linux {}", listed(&[since]))
        }
        Evidence::Probe(Probe::TlsKeys) => "trying, where kTLS is loaded; else version".into(),
        Evidence::Probe(_) => "trying".into(),
        Evidence::WeakOrder => "processor: arm64 may have it, x86_64 does not".into(),
        _ => "version".into(),
    }
}

fn section(fault: &Fault) -> String {
    let mut text = format!("\n## {}\n\n", fault.id);
    let Fault { holds, why, source, remedy, .. } = fault;
    writeln!(text, "Without the fault, {holds}. With the fault: {why}\n").unwrap();
    let named = [fault.cve.map(String::from), fault.commit.map(|hash| format!("commit {hash}"))];
    let named: Vec<_> = named.into_iter().flatten().chain([(*source).into()]).collect();
    writeln!(text, "- Source: {}.", named.join(", ").trim_end_matches('.')).unwrap();
    writeln!(text, "- Severity: {}; it {}.", fault.effect.severity(), fault.effect.words()).unwrap();
    let reach = match fault.reach {
        Reach::Reached => "reached".into(),
        Reach::Avoided(how) => format!("avoided: {how}"),
        Reach::NotUsed(why) => format!("not used: {why}"),
        _ => unreachable!(),
    };
    writeln!(text, "- Reach: {reach}.").unwrap();
    writeln!(text, "- Recognised by {}.", recognised(fault.evidence)).unwrap();
    let since = if fault.since.is_empty() { "before Linux 5.10".into() } else { listed(fault.since) };
    let is_proposed = source.starts_with("proposed patches");
    let since = if is_proposed { "no release yet".into() } else { since };
    let fixed = if fault.fixed.is_empty() { "no release yet".into() } else { listed(fault.fixed) };
    writeln!(text, "- Came with: {since}. Corrected in: {fixed}.").unwrap();
    writeln!(text, "- Remedy: {remedy}.").unwrap();
    text
}

#[test]
fn the_reference_has_every_known_fault() {
    let forbids = LIST.iter().filter(|fault| fault.forbids()).count();
    assert!(forbids > 3, "{forbids}");
    assert!(LIST.iter().any(|fault| fault.effect == Effect::CrashesKernel));
    let sections: Vec<String> = LIST.iter().map(section).collect();
    generated::compare("reference/kernel-faults.md", &(HEAD.replace("{date}", DATE) + &sections.concat()));
}
