//! The kernel and the simulator, for programs that call functions of the kernel.

use sidestep::asm;
use sidestep::btf::{Btf, Kind};
use sidestep::syscall::btf::vmlinux;
use sidestep::uapi::{AttachType as At, ProgType as Of};
use sidestep::verifier_sim::spec::{MapSpec, MapType, Options, ProgramSpec};
use sidestep::verifier_sim::verdict::Verdict;
use sidestep::verifier_sim::verify_with_log;

use crate::kernel::Oracle;
use crate::link::map_loads;
use crate::random::map;
use crate::reasons::reason;
use crate::rules::typed_options;
use crate::types::places::Place;

fn maps() -> Vec<MapSpec> {
    vec![map(MapType::ARRAY, 4, 64, 1), map(MapType::HASH, 4, 64, 4), map(MapType::RINGBUF, 0, 0, 4096)]
}

/// The kernel that is asked, its types, and the simulator's settings.
pub(super) struct Judges {
    pub(super) oracle: Oracle,
    pub(super) btf: Btf,
    pub(super) options: Options,
}

impl Judges {
    pub(super) fn new(test: &str) -> Option<Self> {
        let options = typed_options(test)?;
        Some(Self { oracle: Oracle::new(maps), btf: vmlinux().unwrap(), options })
    }

    /// The program `text` at a place; `@name` stands for the number of a function or variable of the kernel.
    pub(super) fn program(&self, place: &Place, text: &str) -> ProgramSpec {
        let mut lines = String::new();
        for line in text.lines() {
            let line = match line.split_once('@') {
                None => line.to_owned(),
                Some((before, name)) => {
                    let (name, after) = name.split_at(name.find([']', ' ']).unwrap_or(name.len()));
                    let found = self.btf.func_by_name(name).or_else(|| self.btf.by_name(Kind::Var, name));
                    let found = found.or_else(|| self.btf.struct_by_name(name));
                    let id = found.unwrap_or_else(|| panic!("the kernel has no {name}"));
                    let call = if before.ends_with("call ") { "kernel-function#" } else { "" };
                    format!("{before}{call}{id}{after}")
                }
            };
            lines.push_str(&line);
            lines.push('\n');
        }
        let insns = asm::parse_program(&lines).unwrap_or_else(|error| panic!("{error}\n{lines}"));
        ProgramSpec { maps: maps(), map_loads: map_loads(&insns), ..place.program(insns) }
    }

    /// Both say what is expected: that it is accepted, or a part of the reason, which is the kernel's.
    pub(super) fn check(&self, place: &Place, cases: &[(&str, Result<(), &str>)]) {
        for (text, expected) in cases {
            let program = self.program(place, &format!("{text}\nr0 = 0\nexit"));
            let (ours, log) = verify_with_log(&program, &self.options);
            let (accepted, theirs) = self.oracle.whole_log(&program);
            assert_eq!(accepted, expected.is_ok(), "the kernel: {theirs}\n{text}");
            match expected {
                Ok(()) => {
                    let Verdict::Accept(stats) = &ours else { panic!("{}: {}\n{text}", ours.word(), ours.reason()) };
                    // Of iterators more may be walked: all that is live counts when states are compared.
                    if !text.contains("bpf_iter") {
                        assert_eq!(self.oracle.processed(&program), Ok(stats.insns_processed), "{text}");
                    }
                }
                Err(part) => {
                    assert_eq!(ours.word(), "reject", "{}\n{text}", ours.reason());
                    assert!(ours.reason().contains(part), "{}\n{text}", ours.reason());
                    assert_eq!(reason(&log), reason(&theirs), "{text}");
                }
            }
        }
    }
}

pub(super) fn place(prog: Of) -> Place {
    Place { prog, attach: At(0), target: None }
}

pub(super) fn traced(attach: At, target: &'static str) -> Place {
    Place { prog: Of::TRACING, attach, target: Some(target) }
}
