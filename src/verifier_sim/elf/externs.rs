//! Symbols that the kernel defines: its functions and variables (`bpf_object__resolve_externs` of libbpf).

use std::collections::BTreeMap;

use super::ElfError;
use crate::asm::{Insn, opcode as op};
use crate::btf::{Btf, Kind};
use crate::verifier_sim::types::KernelTypes;

/// The section of BTF that lists such symbols. Another one, `.kconfig`, lists values of the kernel's configuration.
const SECTION: &str = ".ksyms";

/// libbpf's number of the helper that stands for a function that the kernel does not have (`POISON_CALL_KFUNC_BASE`).
const NO_SUCH_FUNCTION: i32 = 2_002_000_000;

/// What an object asks the kernel for.
enum Wanted {
    Function,
    /// A variable with a type.
    Variable,
    /// The address of something of which no type is known.
    Address,
}

/// The types of such symbols in the object's BTF, by name.
pub(super) type Symbols = BTreeMap<Vec<u8>, u32>;

/// Lists the symbols that the object wants from the kernel.
pub(super) fn symbols(btf: &Btf) -> Symbols {
    let section = btf.by_name(Kind::Datasec, SECTION).and_then(|section| btf.head(section));
    let mut all = Symbols::new();
    for id in section.into_iter().flat_map(|section| btf.variables(section)) {
        if let Some(name) = btf.short_name(id) {
            all.entry(name.to_owned()).or_insert(id);
        }
    }
    all
}

/// What the object's BTF says of the symbol.
fn wanted(btf: &Btf, known: &Symbols, name: &str) -> Option<Wanted> {
    let found = *known.get(name.as_bytes())?;
    if btf.kind(found) == Some(Kind::Func) {
        return Some(Wanted::Function);
    }
    // Void is not a type to which anything resolves.
    let of = btf.resolve(btf.head(found)?.size_or_type);
    Some(if of.is_some() { Wanted::Variable } else { Wanted::Address })
}

/// Puts the kernel's number for the symbol `name` into the load or call `insn`. A weak symbol may be missing.
pub(super) fn resolve(
    (btf, known): (&Btf, &Symbols),
    types: Option<&KernelTypes>,
    name: &str,
    weak: bool,
    insn: &mut Insn,
) -> Result<(), ElfError> {
    let unknown = || ElfError::Extern(name.to_owned());
    let types = types.ok_or_else(|| ElfError::NeedsTypes(name.to_owned()))?;
    let wanted = wanted(btf, known, name).ok_or_else(unknown)?;
    // Behind three underscores there is a name for one of several ways to declare it, which libbpf compares.
    if name.contains("___") {
        return Err(unknown());
    }
    let call = insn.code == op::JMP | op::CALL;
    let found = match wanted {
        Wanted::Function => types.function_id(name),
        Wanted::Variable => types.variable(name),
        Wanted::Address => return Err(unknown()),
    };
    match (found, wanted, call) {
        (Some(id), Wanted::Function, true) => (insn.src, insn.off, insn.imm) = (op::PSEUDO_KFUNC_CALL, 0, id as i32),
        (Some(id), _, false) => (insn.src, insn.imm) = (op::PSEUDO_BTF_ID, id as i32),
        (None, Wanted::Function, true) if weak => (insn.src, insn.imm) = (0, NO_SUCH_FUNCTION),
        (None, _, false) if weak => (insn.src, insn.imm) = (0, 0),
        _ => return Err(unknown()),
    }
    Ok(())
}
