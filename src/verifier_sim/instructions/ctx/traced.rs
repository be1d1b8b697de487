//! The context of a tracing program: the arguments of what it traces (`btf_ctx_access`).

use crate::uapi::AttachType;
use crate::verifier_sim::program::hook::Given;
use crate::verifier_sim::state::reg::{Flags, Kind, Reg};
use crate::verifier_sim::stop::{Step, reject, unsupported};
use crate::verifier_sim::types::{KernelTypes, Value, structure_number};
use crate::verifier_sim::walk::env::Env;

/// Bytes of the context: 12 arguments (`MAX_BPF_FUNC_ARGS`).
const CONTEXT: i32 = 12 * 8;

impl Env<'_> {
    /// What a load of `size` bytes at `off` of a tracing program's context yields.
    pub(in crate::verifier_sim) fn load_argument(&mut self, off: i32, size: u32) -> Step<Reg> {
        let types = self.kernel_types()?;
        let Some(hook) = self.hook.clone() else { reject!("Tracing programs must provide btf_id") };
        let name = &hook.name;
        let bad = || format!("invalid bpf_context access off={off} size={size}");
        let Some(off) = u32::try_from(off).ok().filter(|at| off < CONTEXT && at % size == 0) else {
            reject!("{}", bad());
        };
        if !off.is_multiple_of(8) {
            reject!("func '{name}' offset {off} is not multiple of 8\n{}", bad());
        }
        let argument = match hook.argument(types, off) {
            Ok(argument) => argument,
            Err(number) => reject!("func '{name}' doesn't have {}-th argument\n{}", number + 1, bad()),
        };
        let number = argument.number;
        let structure = match types.value(argument.of) {
            Value::Number => return Ok(Reg::UNKNOWN),
            Value::Other(kind) => {
                reject!("func '{name}' arg{number} has type {kind}. Only pointer access is allowed\n{}", bad())
            }
            _ if size != 8 => reject!("func '{name}' size {size} must be 8\n{}", bad()),
            value => value,
        };
        if let Some(given) = hook.given(off) {
            return self.given(types, given);
        }
        let (to, tag) = match structure {
            Value::Address => return Ok(Reg::UNKNOWN),
            Value::Structure(to, tag) => (to, tag),
            _ => reject!("func '{name}' arg{number} type is not a struct\n{}", bad()),
        };
        let label = String::from_utf8_lossy(types.name(to));
        let kind = if types.is_union(to) { "UNION" } else { "STRUCT" };
        self.log_line(&format!("func '{name}' arg{number} has btf_id {to} type {kind} '{label}'"));
        let trusted = matches!(self.place.attach, AttachType::TRACE_RAW_TP | AttachType::TRACE_ITER);
        let mut flags = tag | if trusted { Flags::TRUSTED } else { Flags::empty() };
        if argument.may_be_null {
            flags |= Flags::MAYBE_NULL;
        }
        if argument.may_be_error {
            return Ok(Reg::UNKNOWN);
        }
        let id = if flags.contains(Flags::MAYBE_NULL) { self.new_id() } else { 0 };
        Ok(Reg { flags, id, ..Reg::pointer(Kind::BtfId, structure_number(types, to)) })
    }

    fn given(&mut self, types: &KernelTypes, given: Given) -> Step<Reg> {
        let id = self.new_id();
        let structure = |name: &str, flags| match types.named(name.as_bytes()) {
            Some(to) => Ok(Reg { flags, id, ..Reg::pointer(Kind::BtfId, structure_number(types, to)) }),
            None => unsupported!("this kernel has no struct {name}"),
        };
        match given {
            Given::Structure(name) => structure(name, Flags::MAYBE_NULL),
            Given::Trusted(name) => structure(name, Flags::MAYBE_NULL | Flags::TRUSTED),
            Given::Buffer => Ok(Reg { flags: Flags::MAYBE_NULL | Flags::RDONLY, id, ..Reg::pointer(Kind::Buf, 0) }),
            Given::WritableBuffer => Ok(Reg { flags: Flags::MAYBE_NULL, id, ..Reg::pointer(Kind::Buf, 0) }),
        }
    }
}
