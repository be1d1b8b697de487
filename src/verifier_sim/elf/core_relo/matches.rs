//! Whether a type of the kernel has everything that the object's type has (Documentation/bpf/llvm_reloc.rst,
//! `BPF_CORE_TYPE_MATCHES`).

use super::compatible::{MAX_DEPTH, Pair, too_deep};
use super::fault::Fault;
use crate::btf::{Head, Kind};

/// Whether the kernel's type `kernel` matches the object's type `local`.
pub(super) fn types(pair: &mut Pair<'_>, local: u32, kernel: u32) -> Result<bool, Fault> {
    at(pair, (local, kernel), false, MAX_DEPTH)
}

/// Behind a pointer only the names of structures are compared.
fn at(pair: &mut Pair<'_>, types: (u32, u32), behind_pointer: bool, level: u32) -> Result<bool, Fault> {
    if level == 0 {
        return Err(too_deep());
    }
    let ((mut local, mut kernel), mut behind_pointer) = (types, behind_pointer);
    for _ in 0..MAX_DEPTH {
        let [(_, of_local), (_, of_kernel)] = pair.skip(local, kernel)?;
        // Void is like a type without a name.
        let own = pair.own_name(of_local.map_or(0, |head| head.name))?;
        if !pair.is_name(own, of_kernel.map_or(0, |head| head.name))? {
            return Ok(false);
        }
        let (Some(of_local), Some(of_kernel)) = (of_local, of_kernel) else {
            return Ok(of_local.is_none() && of_kernel.is_none());
        };
        let same_kind = of_local.kind == of_kernel.kind;
        match of_local.kind {
            Kind::Fwd | Kind::Struct | Kind::Union if behind_pointer => return Ok(is_same_tag(of_local, of_kernel)),
            Kind::Fwd => return Ok(same_kind && of_local.flag() == of_kernel.flag()),
            Kind::Struct | Kind::Union => return Ok(same_kind && members(pair, of_local, of_kernel, level)?),
            Kind::Enum | Kind::Enum64 => return values(pair, of_local, of_kernel),
            _ if !same_kind => return Ok(false),
            Kind::Int => {
                let signed = [pair.local.integer(of_local), pair.kernel.integer(of_kernel)];
                let [ours, theirs] = signed.map(|integer| integer.is_some_and(|integer| integer.is_signed()));
                return Ok(of_local.size_or_type == of_kernel.size_or_type && ours == theirs);
            }
            Kind::Ptr => {
                behind_pointer = true;
                (local, kernel) = (of_local.size_or_type, of_kernel.size_or_type);
            }
            Kind::Array => match (pair.local.array(of_local), pair.kernel.array(of_kernel)) {
                (Some(ours), Some(theirs)) if ours.count == theirs.count => {
                    (local, kernel) = (ours.element, theirs.element);
                }
                _ => return Ok(false),
            },
            Kind::FuncProto => {
                if of_local.parts != of_kernel.parts {
                    return Ok(false);
                }
                for parameter in pair.parameters(of_local, of_kernel)? {
                    if !at(pair, parameter, behind_pointer, level - 1)? {
                        return Ok(false);
                    }
                }
                (local, kernel) = (of_local.size_or_type, of_kernel.size_or_type);
            }
            _ => return Ok(false),
        }
    }
    Err(too_deep())
}

/// Whether both are structs or both are unions, defined or only declared.
fn is_same_tag(local: Head, kernel: Head) -> bool {
    let is_union = |head: Head| match head.kind {
        Kind::Struct => Some(false),
        Kind::Union => Some(true),
        Kind::Fwd => Some(head.flag()),
        _ => None,
    };
    is_union(local) == is_union(kernel)
}

/// Whether each member of the object's type has one in the kernel's with the same name, and of a type that matches.
fn members(pair: &mut Pair<'_>, local: Head, kernel: Head, level: u32) -> Result<bool, Fault> {
    if local.parts > kernel.parts {
        return Ok(false);
    }
    for ours in 0..local.parts {
        let Some(ours) = pair.local.member_of(local, ours) else { return Ok(false) };
        let name = pair.own_name(ours.name)?;
        let mut found = false;
        for theirs in 0..kernel.parts {
            let Some(theirs) = pair.kernel.member_of(kernel, theirs) else { break };
            if pair.is_name(name, theirs.name)? && at(pair, (ours.type_id, theirs.type_id), false, level - 1)? {
                found = true;
                break;
            }
        }
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether each value of the object's enumeration has one in the kernel's with the same name.
fn values(pair: &mut Pair<'_>, local: Head, kernel: Head) -> Result<bool, Fault> {
    let fits = kernel.is_enumeration() && local.size_or_type == kernel.size_or_type && local.parts <= kernel.parts;
    if !fits {
        return Ok(false);
    }
    let (ours, theirs) = (pair.local, pair.kernel);
    for ours in ours.enumerators(local) {
        let name = pair.own_name(ours.name)?;
        let mut found = false;
        for theirs in theirs.enumerators(kernel) {
            found = pair.is_name(name, theirs.name)?;
            if found {
                break;
            }
        }
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}
