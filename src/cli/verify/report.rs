//! Verdicts as text and as JSON.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::asm::{Dialect, Disasm};
use crate::verifier_sim::elf::{CoreRelocations, Unresolved};
use crate::verifier_sim::spec::{Kernel, Origin, ProgramSpec};
use crate::verifier_sim::verdict::{Rejection, Verdict};

/// One judged program.
pub(super) struct Judged<'a> {
    /// The file that it came from, if it is not one of our own.
    pub(super) file: Option<&'a Path>,
    pub(super) name: &'a str,
    pub(super) kernel: Kernel,
    /// The program, or why there is none.
    pub(super) spec: Result<&'a ProgramSpec, &'a str>,
    /// What became of its CO-RE relocations.
    pub(super) relocations: &'a CoreRelocations,
    /// What the kernel lacks that the program needs: then a rejection is the right answer.
    pub(super) lacking: Option<&'static str>,
    /// The maps that the kernel makes only without their types: then the verdict is that of a loader which makes them so.
    pub(super) untyped_maps: Vec<&'a str>,
    /// The verdict on it.
    pub(super) verdict: Option<Verdict>,
    /// The log, if one was asked for.
    pub(super) log: Option<String>,
    /// In whose words instructions are printed outside the log.
    pub(super) dialect: Dialect,
}

impl Judged<'_> {
    /// Whether the kernel would load it, or refuse it where it must.
    pub(super) fn as_wanted(&self) -> bool {
        match &self.verdict {
            Some(Verdict::Accept(_)) => self.lacking.is_none(),
            Some(Verdict::Reject(_)) => self.lacking.is_some(),
            Some(Verdict::Unsupported(_)) | None => false,
        }
    }

    fn insn(&self, slot: usize) -> String {
        let text = self.spec.ok().and_then(|spec| Disasm::at(&spec.insns, slot));
        text.map_or_else(|| "(outside the program)".into(), |insn| self.dialect.text(insn))
    }

    /// One line, and with `explain` what led to it.
    pub(super) fn write_text(&self, out: &mut dyn Write, explain: bool) -> io::Result<()> {
        let head = format!("{} on {}", self.name, self.kernel);
        match (&self.verdict, self.spec) {
            (None, reason) => writeln!(out, "{head}: no program: {}", reason.err().unwrap_or("not read"))?,
            (Some(Verdict::Accept(stats)), _) => {
                writeln!(
                    out,
                    "{head}: accept ({} slots, {} instructions walked, {} states kept, {} paths pruned, {} bytes of stack)",
                    self.spec.map_or(0, |spec| spec.insns.len()),
                    stats.insns_processed,
                    stats.states_kept,
                    stats.paths_pruned,
                    stats.stack_depth
                )?;
            }
            (Some(Verdict::Reject(rejection)), _) => {
                write!(out, "{head}: reject: {rejection}")?;
                if let Some(what) = self.lacking {
                    write!(out, "; as it must: it {what}")?;
                }
                writeln!(out)?;
                if explain {
                    self.explain(out, rejection)?;
                }
            }
            (Some(Verdict::Unsupported(unsupported)), _) => {
                writeln!(out, "{head}: unsupported: {unsupported}")?;
            }
        }
        if !self.untyped_maps.is_empty() {
            let maps = self.untyped_maps.join(", ");
            writeln!(out, "  the kernel makes these maps only without types, as libbpf then does: {maps}")?;
        }
        self.write_relocations(out)?;
        match &self.log {
            Some(log) => out.write_all(log.as_bytes()),
            None => Ok(()),
        }
    }

    /// How many CO-RE relocations were applied, and which were not.
    fn write_relocations(&self, out: &mut dyn Write) -> io::Result<()> {
        let CoreRelocations { applied, unresolved, unlisted, .. } = self.relocations;
        match applied {
            0 => {}
            1 => writeln!(out, "  1 CO-RE relocation is applied")?,
            _ => writeln!(out, "  {applied} CO-RE relocations are applied")?,
        }
        for Unresolved { insn, what, .. } in unresolved {
            writeln!(out, "  the kernel's types do not have what instruction {insn} asks for: {what}")?;
        }
        if *unlisted > 0 {
            writeln!(out, "  the kernel's types do not have what {unlisted} more ask for")?;
        }
        Ok(())
    }

    /// What is not as wanted.
    pub(super) fn finding(&self) -> Option<Finding> {
        let (rule, reason) = match (&self.verdict, self.spec) {
            _ if self.as_wanted() => return None,
            (Some(Verdict::Unsupported(unsupported)), _) => (Finding::NOT_JUDGED, format!("not judged: {unsupported}")),
            (Some(Verdict::Reject(rejection)), _) => (Finding::REJECTED, rejection.to_string()),
            (Some(Verdict::Accept(_)), _) => {
                (Finding::ACCEPTED, "accepted, although the kernel must refuse it".to_owned())
            }
            (None, reason) => (Finding::UNREADABLE, format!("no program: {}", reason.err().unwrap_or("not read"))),
        };
        let origin = self.verdict.as_ref().and_then(Verdict::rejection).and_then(|rejection| rejection.origin);
        Some(Finding { rule, reason, origin })
    }

    /// A workflow command of GitHub Actions for what is not as wanted, which then stands beside the source:
    /// `::error file=F,line=N,title=T::MESSAGE`.
    pub(super) fn write_github(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(finding) = self.finding() else { return Ok(()) };
        let level = if finding.is_error() { "error" } else { "warning" };
        let place = match finding.place(self) {
            Some((file, line)) => {
                let line = line.map_or_else(String::new, |line| format!("line={line},"));
                format!("file={},{line}", escaped(&file.to_string_lossy(), true))
            }
            None => String::new(),
        };
        let title = escaped(&format!("{} on Linux {}", self.name, self.kernel), true);
        writeln!(out, "::{level} {place}title={title}::{}", escaped(&finding.reason, false))
    }

    fn explain(&self, out: &mut dyn Write, rejection: &Rejection) -> io::Result<()> {
        if !rejection.path.is_empty() {
            writeln!(out, "  the path that led there:")?;
        }
        for &slot in &rejection.path {
            writeln!(out, "    {slot:5}: {}", self.insn(slot))?;
        }
        if let Some(slot) = rejection.insn {
            writeln!(out, "  the instruction:\n    {slot:5}: {}", self.insn(slot))?;
        }
        for (register, state) in &rejection.registers {
            writeln!(out, "  r{register} = {state}")?;
        }
        Ok(())
    }

    /// The same as a JSON object.
    pub(super) fn to_json(&self) -> Json<'_> {
        let mut json = Json {
            name: self.name,
            kernel: self.kernel.name(),
            prog_type: self.spec.ok().map(|spec| spec.prog_type.to_string()),
            verdict: "error",
            reason: self.spec.err().unwrap_or_default().to_owned(),
            insn: None,
            origin: None,
            lacking: self.lacking,
            untyped_maps: &self.untyped_maps,
            core_relocations: JsonRelocations::of(self.relocations),
            registers: Vec::new(),
            path: Vec::new(),
            stats: None,
            log: self.log.as_deref(),
        };
        let Some(verdict) = &self.verdict else { return json };
        json.verdict = verdict.word();
        json.reason = verdict.reason();
        match verdict {
            Verdict::Accept(stats) => {
                json.stats = Some(JsonStats {
                    insns_processed: stats.insns_processed,
                    states_kept: stats.states_kept,
                    paths_pruned: stats.paths_pruned,
                    stack_depth: stats.stack_depth,
                });
            }
            Verdict::Reject(rejection) => {
                json.insn = rejection.insn.map(|slot| JsonInsn { slot, text: self.insn(slot) });
                json.origin = rejection.origin.map(|origin| origin.to_string());
                json.path = rejection.path.iter().map(|&slot| JsonInsn { slot, text: self.insn(slot) }).collect();
                json.registers = rejection
                    .registers
                    .iter()
                    .map(|(register, state)| JsonRegister { register: *register, state })
                    .collect();
            }
            Verdict::Unsupported(unsupported) => {
                json.insn = unsupported.insn.map(|slot| JsonInsn { slot, text: self.insn(slot) });
            }
        }
        json
    }
}

/// What is not as wanted of a program.
pub(super) struct Finding {
    /// Which kind it is.
    pub(super) rule: &'static str,
    /// Why, in words.
    pub(super) reason: String,
    origin: Option<Origin>,
}

impl Finding {
    pub(super) const REJECTED: &'static str = "rejected";
    pub(super) const ACCEPTED: &'static str = "accepted";
    pub(super) const UNREADABLE: &'static str = "unreadable";
    pub(super) const NOT_JUDGED: &'static str = "not-judged";

    /// Whether something is wrong with the program, and not with what the simulator can do.
    pub(super) fn is_error(&self) -> bool {
        self.rule != Self::NOT_JUDGED
    }

    /// The file, and the line in it where that is known: the source of our own programs, or the file that was given.
    pub(super) fn place<'a>(&self, program: &Judged<'a>) -> Option<(&'a Path, Option<u32>)> {
        let source = self.origin.map(|origin| (Path::new(origin.file), Some(origin.line)));
        source.or_else(|| program.file.map(|file| (file, None)))
    }
}

/// Text as the value of a workflow command, or with `property` of one of its properties (actions/toolkit, command.ts).
fn escaped(text: &str, property: bool) -> String {
    let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    if property { text.replace(':', "%3A").replace(',', "%2C") } else { text }
}

/// The JSON form of a verdict. `verdict` is accept, reject, unsupported, or error when there was no program to judge.
#[derive(Serialize)]
pub(super) struct Json<'a> {
    /// The program, and the section or variant it comes from.
    name: &'a str,
    /// The kernel whose rules were applied.
    kernel: &'a str,
    /// The program type by the kernel's name; null when there is no program.
    prog_type: Option<String>,
    /// accept, reject, unsupported, or error when there is no program to judge.
    verdict: &'a str,
    /// Why; empty for accept.
    reason: String,
    /// The instruction at which the rule was broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    insn: Option<JsonInsn>,
    /// The line of Rust that emitted it, for our own programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    /// What the kernel lacks that the program needs: then a rejection is the right answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    lacking: Option<&'a str>,
    /// The maps that the kernel makes only without their types: the verdict is that of a loader which makes them so, as libbpf does.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    untyped_maps: &'a [&'a str],
    /// What became of the CO-RE relocations of an object's program.
    #[serde(skip_serializing_if = "Option::is_none")]
    core_relocations: Option<JsonRelocations<'a>>,
    /// The registers that the instruction uses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    registers: Vec<JsonRegister<'a>>,
    /// The last instructions of the path that led there, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    path: Vec<JsonInsn>,
    /// How much work an accepted program was.
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<JsonStats>,
    /// The log, with --log.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonRelocations<'a> {
    /// How many instructions have their value.
    applied: usize,
    /// The others, which the program must not reach: the kernel's types do not have what they ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unresolved: Vec<JsonUnresolved<'a>>,
    /// How many there are besides these: 1,000 are listed at most.
    #[serde(skip_serializing_if = "is_zero")]
    unlisted: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl<'a> JsonRelocations<'a> {
    fn of(relocations: &'a CoreRelocations) -> Option<Self> {
        let CoreRelocations { applied, unresolved, unlisted, .. } = relocations;
        let unresolved: Vec<_> =
            unresolved.iter().map(|Unresolved { insn, what, .. }| JsonUnresolved { slot: *insn, what }).collect();
        (*applied > 0 || !unresolved.is_empty()).then_some(Self { applied: *applied, unresolved, unlisted: *unlisted })
    }
}

#[derive(Serialize)]
struct JsonUnresolved<'a> {
    /// The slot of the instruction.
    slot: usize,
    /// What it asks for: the kind of the relocation, and the type with the field or value.
    what: &'a str,
}

#[derive(Serialize)]
struct JsonInsn {
    /// Its slot, from 0.
    slot: usize,
    /// It in the words of the kernel's log, or those of --dialect.
    text: String,
}

#[derive(Serialize)]
struct JsonRegister<'a> {
    /// Its number.
    register: u8,
    /// What is known of it, in the words of the kernel's log.
    state: &'a str,
}

#[derive(Serialize)]
struct JsonStats {
    /// Instructions walked over all paths.
    insns_processed: u64,
    /// States kept for pruning at the end.
    states_kept: u64,
    /// Paths cut short since an earlier state covered them.
    paths_pruned: u64,
    /// Bytes of stack of the deepest chain of calls.
    stack_depth: u32,
}
