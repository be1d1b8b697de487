//! Whether a type of the kernel may stand for one of the object, by libbpf's rules for fields and for whole types.

use super::fault::Fault;
use super::path::skip;
use super::work::Work;
use crate::btf::{Btf, Head, Kind};
use crate::verifier_sim::types::names::essential;

/// Longest chain of pointers and arrays, and deepest nesting of functions that take functions, that libbpf follows.
pub(super) const MAX_DEPTH: u32 = 32;

/// The object's types and the kernel's, and how much they may still be compared.
pub(super) struct Pair<'a> {
    pub(super) local: &'a Btf,
    pub(super) kernel: &'a Btf,
    pub(super) work: &'a mut Work,
}

pub(super) fn too_deep() -> Fault {
    Fault::refused("its types are nested too deeply")
}

/// Whether they are of one kind; enumerations of 32 and 64 bits are. `None` is void.
fn alike(local: Option<Head>, kernel: Option<Head>) -> bool {
    let both = |is: fn(Head) -> bool| local.is_some_and(is) && kernel.is_some_and(is);
    local.map(|head| head.kind) == kernel.map(|head| head.kind) || both(Head::is_enumeration)
}

impl<'a> Pair<'a> {
    /// The name at this place in the object's BTF, without its variant.
    pub(super) fn own_name(&mut self, local: u32) -> Result<Option<&'a [u8]>, Fault> {
        let name = self.local.short_string(local);
        self.work.compare_name(name)?;
        Ok(name.map(essential))
    }

    /// Whether the name at this place in the kernel's BTF is that one of the object's, whatever its variant.
    pub(super) fn is_name(&mut self, own: Option<&[u8]>, kernel: u32) -> Result<bool, Fault> {
        let name = self.kernel.short_string(kernel);
        self.work.compare_name(name)?;
        Ok(own.is_some() && own == name.map(essential))
    }

    /// Both without typedefs and qualifiers: IDs and heads, of which void has none.
    pub(super) fn skip(&self, local: u32, kernel: u32) -> Result<[(u32, Option<Head>); 2], Fault> {
        let (local, kernel) = (skip(self.local, local)?, skip(self.kernel, kernel)?);
        Ok([(local, self.local.head(local)), (kernel, self.kernel.head(kernel))])
    }

    fn both_are_whole_integers(&self, local: Head, kernel: Head) -> bool {
        let first_bits = [self.local.integer(local), self.kernel.integer(kernel)].map(|of| of.map(|of| of.first_bit));
        first_bits == [Some(0), Some(0)]
    }

    /// Whether a field of the one type may be read where one of the other was meant.
    pub(super) fn fields(&mut self, local: u32, kernel: u32) -> Result<bool, Fault> {
        let (mut local, mut kernel) = (local, kernel);
        for _ in 0..MAX_DEPTH {
            self.work.compare(0)?;
            let [(_, Some(of_local)), (_, Some(of_kernel))] = self.skip(local, kernel)? else { return Ok(false) };
            if of_local.is_composite() && of_kernel.is_composite() {
                return Ok(true);
            }
            if !alike(Some(of_local), Some(of_kernel)) {
                return Ok(false);
            }
            match of_local.kind {
                Kind::Ptr | Kind::Float => return Ok(true),
                Kind::Int => return Ok(self.both_are_whole_integers(of_local, of_kernel)),
                Kind::Fwd | Kind::Enum | Kind::Enum64 => {
                    if !self.local.is_named(of_local.name) || !self.kernel.is_named(of_kernel.name) {
                        return Ok(true);
                    }
                    let own = self.own_name(of_local.name)?;
                    return self.is_name(own, of_kernel.name);
                }
                _ => match (self.local.array(of_local), self.kernel.array(of_kernel)) {
                    (Some(of_local), Some(of_kernel)) => (local, kernel) = (of_local.element, of_kernel.element),
                    _ => return Ok(false),
                },
            }
        }
        Err(too_deep())
    }

    /// Whether a whole type stands for the other; that they have the same name is known.
    pub(super) fn types(&mut self, local: u32, kernel: u32) -> Result<bool, Fault> {
        if !alike(self.local.head(local), self.kernel.head(kernel)) {
            return Ok(false);
        }
        self.types_at(local, kernel, MAX_DEPTH)
    }

    fn types_at(&mut self, local: u32, kernel: u32, level: u32) -> Result<bool, Fault> {
        let (mut local, mut kernel) = (local, kernel);
        for _ in 0..MAX_DEPTH {
            self.work.compare(0)?;
            let [(_, of_local), (_, of_kernel)] = self.skip(local, kernel)?;
            if !alike(of_local, of_kernel) {
                return Ok(false);
            }
            // Both are void.
            let (Some(of_local), Some(of_kernel)) = (of_local, of_kernel) else { return Ok(true) };
            match of_local.kind {
                Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Fwd => return Ok(true),
                Kind::Int => return Ok(self.both_are_whole_integers(of_local, of_kernel)),
                Kind::Ptr => (local, kernel) = (of_local.size_or_type, of_kernel.size_or_type),
                Kind::Array => match (self.local.array(of_local), self.kernel.array(of_kernel)) {
                    (Some(of_local), Some(of_kernel)) => (local, kernel) = (of_local.element, of_kernel.element),
                    _ => return Ok(false),
                },
                Kind::FuncProto => {
                    if of_local.parts != of_kernel.parts {
                        return Ok(false);
                    }
                    for (ours, theirs) in self.parameters(of_local, of_kernel)? {
                        let level = level.checked_sub(1).ok_or_else(too_deep)?;
                        if !self.types_at(ours, theirs, level)? {
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

    /// The types of the parameters of two prototypes, in pairs.
    pub(super) fn parameters(&mut self, local: Head, kernel: Head) -> Result<Vec<(u32, u32)>, Fault> {
        self.work.take(local.parts)?;
        let pairs = self.local.prototype(local).zip(self.kernel.prototype(kernel));
        Ok(pairs.map(|((_, local), (_, kernel))| (local, kernel)).collect())
    }
}
