//! What an object's BTF says of its functions, as libbpf passes it on with a program (`func_info`).

use super::object::Function;
use crate::btf::{Btf, Kind};
use crate::uapi::ProgType;
use crate::verifier_sim::place::context_structure;
use crate::verifier_sim::spec::{Argument, FunctionSpec};

/// `BTF_KIND_DECL_TAG`s of arguments begin so (`btf_prepare_func_args`).
const ARGUMENT_TAG: &str = "arg:";

/// The tag that names a program's callback for exceptions, and the number that stands for the function itself.
const EXCEPTION_CALLBACK: (&str, u32) = ("exception_callback:", u32::MAX);

/// Whether BTF names a function that the kernel calls when `function` throws an exception.
pub(super) fn has_exception_callback(btf: &Btf, function: &Function) -> bool {
    let (tag, whole) = EXCEPTION_CALLBACK;
    let tags = btf.func_by_name(&function.name).map(|id| btf.argument_tags(id, whole)).unwrap_or_default();
    tags.iter().any(|text| text.starts_with(tag))
}

/// Describes `function`, which begins at slot `insn` of a program of this type; `None` if BTF does not know it.
pub(super) fn describe(btf: &Btf, function: &Function, insn: usize, prog_type: ProgType) -> Option<FunctionSpec> {
    let id = btf.func_by_name(&function.name)?;
    let prototype = btf.head(btf.head(id)?.size_or_type).filter(|head| head.kind == Kind::FuncProto)?;
    let arguments = btf.prototype(prototype).enumerate().map(|(index, (_, argument))| {
        let tags = btf.argument_tags(id, index as u32);
        let tags: Vec<_> = tags.iter().filter_map(|tag| tag.strip_prefix(ARGUMENT_TAG)).collect();
        self::argument(btf, argument, &tags, prog_type)
    });
    Some(FunctionSpec {
        name: function.name.clone(),
        insn,
        global: function.is_judged_alone(),
        returns_number: is_number(btf, prototype.size_or_type),
        arguments: arguments.collect(),
    })
}

fn is_number(btf: &Btf, id: u32) -> bool {
    let kind = btf.resolve(id).and_then(|id| btf.kind(id));
    matches!(kind, Some(Kind::Int | Kind::Enum | Kind::Enum64))
}

fn argument(btf: &Btf, id: u32, tags: &[&str], prog_type: ProgType) -> Argument {
    if is_number(btf, id) {
        return if tags.is_empty() { Argument::Number } else { Argument::Other };
    }
    let pointer = btf.resolve(id).filter(|id| btf.kind(*id) == Some(Kind::Ptr));
    let Some(target) = pointer.and_then(|pointer| btf.target(pointer)) else { return Argument::Other };
    let nullable = match tags {
        [] => true,
        ["nonnull"] => false,
        _ => return Argument::Other,
    };
    let target = btf.resolve(target);
    let name = target.and_then(|id| btf.name(id)).unwrap_or_default();
    match (context_structure(prog_type), target.and_then(|id| btf.size_of(id))) {
        // What the context of this type is called is not known here, so any pointer could be one.
        (None, _) => Argument::Other,
        (Some(context), _) if name == context && nullable => Argument::Context,
        (_, Some(size)) if size > 0 && name != "bpf_dynptr" => Argument::Memory { size, nullable },
        _ => Argument::Other,
    }
}
