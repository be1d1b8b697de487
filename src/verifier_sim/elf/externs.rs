//! Symbols that the kernel defines: its functions and variables (`bpf_object__resolve_externs` of libbpf).

use std::collections::BTreeMap;

use super::ElfError;
use super::core_relo::are_compatible;
use crate::asm::{Insn, opcode as op};
use crate::btf::{Btf, Kind};
use crate::verifier_sim::types::KernelTypes;
use crate::verifier_sim::types::names::essential;

/// The section of BTF that lists such symbols. Another one, `.kconfig`, lists values of the kernel's configuration.
const SECTION: &str = ".ksyms";

/// libbpf's number of the helper that stands for a function that the kernel does not have (`POISON_CALL_KFUNC_BASE`).
const NO_SUCH_FUNCTION: i32 = 2_002_000_000;

/// An address in the kernel, for functions of which a program wants only the address. The loader reads it from /proc/kallsyms; for the
/// verifier it is a number like any other. This is where kernels for x86_64 begin (`__START_KERNEL_map` and `CONFIG_PHYSICAL_START`).
const SOME_ADDRESS: u64 = 0xffff_ffff_8100_0000;

/// What an object asks the kernel for.
#[derive(Clone, Copy, PartialEq, Eq)]
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

/// What the object's BTF says of the symbol, and the type that it declares.
fn wanted(btf: &Btf, known: &Symbols, name: &str) -> Option<(Wanted, u32)> {
    let found = btf.head(*known.get(name.as_bytes())?)?;
    if found.kind == Kind::Func {
        return Some((Wanted::Function, found.size_or_type));
    }
    // Void is not a type to which anything resolves.
    let of = btf.resolve(found.size_or_type);
    Some(of.map_or((Wanted::Address, 0), |of| (Wanted::Variable, of)))
}

/// Puts the kernel's number for the symbol `name` into the load or call that `insns` begin with. A weak symbol may be missing.
pub(super) fn resolve(
    (btf, known): (&Btf, &Symbols),
    types: Option<&KernelTypes>,
    (name, weak): (&str, bool),
    insns: &mut [Insn],
) -> Result<(), ElfError> {
    let unknown = || ElfError::Extern(name.to_owned());
    let types = types.ok_or_else(|| ElfError::NeedsTypes(name.to_owned()))?;
    let (wanted, declared) = wanted(btf, known, name).ok_or_else(unknown)?;
    let [insn, rest @ ..] = insns else { return Err(unknown()) };
    let call = insn.code == op::JMP | op::CALL;
    // A function may be declared in several ways, of which the kernel has one: `name___one`.
    let found = match wanted {
        Wanted::Function => types.function_id(&String::from_utf8_lossy(essential(name.as_bytes()))),
        Wanted::Variable => types.variable(name),
        Wanted::Address => types.function_id(name),
    };
    let alike = |id| {
        types.btf().head(id).is_some_and(|head| {
            let theirs = if wanted == Wanted::Variable {
                types.btf().resolve(head.size_or_type).unwrap_or(0)
            } else {
                head.size_or_type
            };
            are_compatible(btf, declared, types, theirs)
        })
    };
    let found = match found {
        Some(id) if wanted == Wanted::Address || alike(id) => Some(id),
        Some(_) if weak && wanted == Wanted::Function => None,
        Some(_) => return Err(ElfError::OtherType(name.to_owned())),
        None => None,
    };
    match (found, wanted, call) {
        (Some(id), Wanted::Function, true) => (insn.src, insn.off, insn.imm) = (op::PSEUDO_KFUNC_CALL, 0, id as i32),
        (Some(_), Wanted::Address, false) => {
            let [second, ..] = rest else { return Err(unknown()) };
            (insn.src, insn.imm, second.imm) = (0, SOME_ADDRESS as i32, (SOME_ADDRESS >> 32) as i32);
        }
        (Some(id), Wanted::Function | Wanted::Variable, false) => (insn.src, insn.imm) = (op::PSEUDO_BTF_ID, id as i32),
        (None, Wanted::Function, true) if weak => (insn.src, insn.imm) = (0, NO_SUCH_FUNCTION),
        // What is not a function may be in the kernel all the same; only the kernel's list of symbols says so.
        (None, Wanted::Function | Wanted::Variable, false) if weak => (insn.src, insn.imm) = (0, 0),
        _ => return Err(unknown()),
    }
    Ok(())
}
