//! The types of a kernel, and what the verifier asks of them: what is at a place in a structure.

use std::fmt;
use std::sync::OnceLock;

use crate::btf::{Btf, Error, Head, Kind, Member};
use crate::uapi::helper::Object;
use crate::verifier_sim::state::reg::{Flags, object_from_number};

/// Longest chain of arrays and qualifiers that is followed (`MAX_RESOLVE_DEPTH`).
const MAX_DEPTH: usize = 32;
/// Most members that one question about a structure looks at. The largest structure of a kernel has a few hundred; in a crafted
/// file a structure can contain itself.
const MAX_MEMBERS: u32 = 4096;
/// Parameters that functions of the kernel which programs call can have (`MAX_BPF_FUNC_REG_ARGS`).
const MAX_PARAMETERS: usize = 5;

/// The types of one kernel.
pub struct KernelTypes {
    btf: Btf,
    /// The structures and unions that have a name, in the order of their names.
    named: Vec<u32>,
    /// The functions that are tagged as ones programs may call, in order; empty where the kernel was built without the tags.
    kfuncs: Vec<u32>,
    /// The variables that each CPU has, in order.
    per_cpu: Vec<u32>,
    /// The functions and variables, in the order of names and kinds. Few programs ask for them.
    symbols: OnceLock<Vec<u32>>,
}

impl fmt::Debug for KernelTypes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KernelTypes({})", self.btf.type_count())
    }
}

impl PartialEq for KernelTypes {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for KernelTypes {}

/// What is at a place in a structure (`enum bpf_struct_walk_result`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A number, or a part of one.
    Scalar,
    /// A pointer to the structure with this id.
    Pointer {
        /// The structure.
        to: u32,
        /// Its tags, and that it may be another member of a union.
        flags: Flags,
        /// The member, as an offset of its name.
        field: u32,
    },
    /// A pointer to something else.
    Address,
}

/// A register names a structure by a number: those that helpers return have small ones, any other has its id in the kernel's
/// BTF plus this.
const FIRST_OTHER: u32 = 16;

/// The number by which registers name the structure with this id.
pub(super) fn structure_number(types: &KernelTypes, id: u32) -> u32 {
    let name = types.name(id);
    let known = Object::ALL.into_iter().find(|known| known.name().as_bytes() == name);
    known.map_or(id.saturating_add(FIRST_OTHER), |known| known as u32)
}

/// The id of the structure that registers name by this number.
pub(super) fn structure_id(types: &KernelTypes, number: u32) -> Option<u32> {
    match object_from_number(number) {
        Some(known) => types.named(known.name().as_bytes()),
        None => number.checked_sub(FIRST_OTHER),
    }
}

/// What an argument of a function is, as far as programs that trace it may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A number, or a structure in registers.
    Number,
    /// A pointer to a number, or to nothing in particular.
    Address,
    /// A pointer to this structure, and its tag.
    Structure(u32, Flags),
    /// A pointer to something else.
    Pointer,
    /// Nothing that programs may look at.
    Other(&'static str),
}

/// What a kernel function that programs call takes as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    /// A number.
    Number,
    /// A pointer to this; 0 is void.
    Pointer(u32),
    /// Anything else.
    Other,
}

/// What a load of the address of a variable of the kernel yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    /// A pointer to the variable of each CPU.
    OfEachCpu,
    /// A pointer to a structure.
    Structure,
    /// Memory of this many bytes.
    Memory(u32),
    /// Nothing that has a size.
    Other,
}

/// The section of the variables that each CPU has (`find_btf_percpu_datasec`).
const PER_CPU: &str = ".data..percpu";

/// Structures in structures that are looked into (`__btf_type_is_scalar_struct`).
const MAX_NESTED: u32 = 3;

/// The parameters of a function, each with the offset of its name and its type, and the type of its result.
pub(super) type Prototype = (Vec<(u32, u32)>, u32);

/// Whether one more member may be looked at.
fn take_one(left: &mut u32) -> bool {
    let more = *left > 0;
    *left = left.saturating_sub(1);
    more
}

/// One step into a structure.
enum Step {
    Ends(Found),
    /// At its start lies this structure.
    Inside(u32),
}

/// A member's type once arrays and qualifiers are looked through.
struct Resolved {
    /// Bytes in all.
    size: u64,
    /// Elements, all dimensions together; `None` if it is not an array.
    count: Option<u64>,
    /// What the elements are, or it is.
    kind: Kind,
    /// The id that stands for it.
    id: u32,
}

impl KernelTypes {
    /// Reads what /sys/kernel/btf/vmlinux or a file like it holds.
    pub fn parse(data: Vec<u8>) -> Result<Self, Error> {
        let btf = Btf::parse(data)?;
        let mut types =
            Self { btf, named: Vec::new(), kfuncs: Vec::new(), per_cpu: Vec::new(), symbols: OnceLock::new() };
        let ids = 1..=types.btf.type_count();
        let tags = ids.clone().filter_map(|id| types.btf.head(id)).filter(|head| head.kind == Kind::DeclTag);
        types.kfuncs =
            tags.filter(|tag| types.btf.string(tag.name) == b"bpf_kfunc").map(|tag| tag.size_or_type).collect();
        let mut named: Vec<u32> = ids.filter(|id| types.is_struct(*id) && !types.name(*id).is_empty()).collect();
        named.sort_by(|a, b| types.name(*a).cmp(types.name(*b)));
        types.named = named;
        types.kfuncs.sort_unstable();
        let section = types.btf.by_name(Kind::Datasec, PER_CPU).and_then(|section| types.btf.head(section));
        types.per_cpu = section.into_iter().flat_map(|section| types.btf.variables(section)).collect();
        types.per_cpu.sort_unstable();
        Ok(types)
    }

    /// The byte offset of a field, which a path of names leads to; `None` where there is none, or it is not whole bytes.
    pub fn offset(&self, structure: &str, path: &str) -> Option<u16> {
        let field = self.btf.field(structure, path).ok()?;
        u16::try_from(field.offset()).ok().filter(|_| field.bit_offset % 8 == 0)
    }

    /// The names of the parameters of a function.
    pub fn parameters(&self, function: &str) -> Option<Vec<String>> {
        self.btf.parameters(self.btf.func_by_name(function)?)
    }

    fn kind(&self, id: u32) -> Option<Kind> {
        self.btf.kind(id)
    }

    /// The type that type `id` refers to; void if it refers to none.
    fn target(&self, id: u32) -> u32 {
        self.btf.head(id).map_or(0, |head| head.size_or_type)
    }

    fn string(&self, offset: u32) -> &[u8] {
        self.btf.string(offset)
    }

    /// The type's name; empty if it has none.
    pub(super) fn name(&self, id: u32) -> &[u8] {
        self.btf.head(id).map_or(&[], |head| self.string(head.name))
    }

    /// Whether the type with this id is a union.
    pub(super) fn is_union(&self, id: u32) -> bool {
        self.btf.kind(id) == Some(Kind::Union)
    }

    /// Whether there is a type with this id; void is one.
    pub(super) fn exists(&self, id: u64) -> bool {
        id <= u64::from(self.btf.type_count())
    }

    /// Whether it is a structure or union.
    pub(super) fn is_struct(&self, id: u32) -> bool {
        matches!(self.kind(id), Some(Kind::Struct | Kind::Union))
    }

    /// Whether it is a function.
    pub(super) fn is_function(&self, id: u32) -> bool {
        self.kind(id) == Some(Kind::Func)
    }

    /// The function with this name.
    pub(super) fn function_id(&self, name: &str) -> Option<u32> {
        self.symbol(Kind::Func, name)
    }

    /// The variable with this name.
    pub(super) fn variable(&self, name: &str) -> Option<u32> {
        self.symbol(Kind::Var, name)
    }

    fn symbol(&self, kind: Kind, name: &str) -> Option<u32> {
        let key = |id: u32| (self.name(id), self.kind(id) == Some(Kind::Var));
        let all = self.symbols.get_or_init(|| {
            let is_symbol = |id: &u32| matches!(self.kind(*id), Some(Kind::Func | Kind::Var));
            let mut all: Vec<u32> = (1..=self.btf.type_count()).filter(is_symbol).collect();
            all.sort_by(|a, b| key(*a).cmp(&key(*b)));
            all
        });
        let wanted = (name.as_bytes(), kind == Kind::Var);
        let at = all.partition_point(|id| key(*id) < wanted);
        all.get(at).copied().filter(|id| key(*id) == wanted)
    }

    /// The prototype of the function with this name.
    pub(super) fn function(&self, name: &str) -> Option<Prototype> {
        self.prototype(self.target(self.btf.func_by_name(name)?))
    }

    /// The prototype behind the pointer that the typedef of a trace point names. Where the trace point has a function of
    /// its own, that one knows the names of the parameters.
    pub(super) fn trace_point(&self, typedef: &str) -> Option<Prototype> {
        let id = self.btf.by_name(Kind::Typedef, typedef)?;
        let own = typedef.strip_prefix("btf_trace_").and_then(|name| self.function(&format!("__bpf_trace_{name}")));
        let pointer = self.target(id);
        own.or_else(|| (self.kind(pointer) == Some(Kind::Ptr)).then(|| self.prototype(self.target(pointer)))?)
    }

    fn prototype(&self, id: u32) -> Option<Prototype> {
        let head = self.btf.head(id).filter(|head| head.kind == Kind::FuncProto)?;
        Some((self.btf.prototype(head).collect(), head.size_or_type))
    }

    /// The prototype of function `id`, if programs can call functions with so many parameters.
    pub(super) fn prototype_of(&self, id: u32) -> Option<Prototype> {
        let id = self.target(id);
        self.btf.head(id).filter(|head| head.parts <= MAX_PARAMETERS)?;
        self.prototype(id)
    }

    /// The name of a parameter, at this offset.
    pub(super) fn label(&self, offset: u32) -> &[u8] {
        self.string(offset)
    }

    /// What a kernel function that programs call takes as an argument of type `id`.
    pub(super) fn parameter(&self, id: u32) -> Parameter {
        let id = self.skip(id);
        match self.kind(id) {
            _ if self.is_number(id) => Parameter::Number,
            Some(Kind::Ptr) => Parameter::Pointer(self.skip(self.target(id))),
            _ => Parameter::Other,
        }
    }

    /// Whether values of this type are numbers (`btf_type_is_scalar`).
    pub(super) fn is_number(&self, id: u32) -> bool {
        matches!(self.kind(id), Some(Kind::Int | Kind::Enum))
    }

    /// Whether it is a structure of numbers alone, nested not too deeply (`__btf_type_is_scalar_struct`).
    pub(super) fn is_numbers(&self, id: u32) -> bool {
        self.holds_numbers(id, 0, &mut MAX_MEMBERS.clone())
    }

    fn holds_numbers(&self, id: u32, depth: u32, left: &mut u32) -> bool {
        let Some(head) = self.structure(id) else { return false };
        self.btf.members(head).all(|member| {
            if !take_one(left) {
                return false;
            }
            let of = self.skip(member.type_id);
            match self.btf.head(of).and_then(|head| self.btf.array(head)) {
                Some(array) => array.count != 0 && self.is_number(self.skip(array.element)),
                None if self.is_struct(of) => depth < MAX_NESTED && self.holds_numbers(of, depth + 1, left),
                None => self.is_number(of),
            }
        })
    }

    /// The type of variable `id`, and what loads of its address yield.
    pub(super) fn variable_of(&self, id: u32) -> Option<(u32, Variable)> {
        let head = self.btf.head(id).filter(|head| head.kind == Kind::Var)?;
        let of = self.skip(head.size_or_type);
        let of_each = self.per_cpu.binary_search(&id).is_ok();
        Some(match self.size(of) {
            _ if of_each => (of, Variable::OfEachCpu),
            _ if self.is_struct(of) => (of, Variable::Structure),
            Some(size) => (of, Variable::Memory(size)),
            None => (of, Variable::Other),
        })
    }

    /// The type as the verifier names it: its kind, and its name.
    pub(super) fn describe(&self, id: u32) -> String {
        let kind = match self.kind(id) {
            Some(Kind::Struct) => "STRUCT",
            Some(Kind::Union) => "UNION",
            Some(Kind::Ptr) => "PTR",
            Some(Kind::Fwd) => "FWD",
            Some(Kind::Func) => "FUNC",
            Some(Kind::FuncProto) => "FUNC_PROTO",
            None => "UNKNOWN",
            _ => "type",
        };
        format!("{kind} {}", String::from_utf8_lossy(self.name(id)))
    }

    /// Bytes of a value of this type; `None` for void and what has none.
    pub(super) fn size(&self, id: u32) -> Option<u32> {
        self.btf.size_of(id)
    }

    /// Whether the name at this offset ends so.
    pub(super) fn string_ends_with(&self, offset: u32, end: &[u8]) -> bool {
        self.string(offset).ends_with(end)
    }

    /// What programs that trace a function make of an argument of type `id`.
    pub(super) fn value(&self, id: u32) -> Value {
        let id = self.skip(id);
        match self.kind(id) {
            Some(Kind::Int) if matches!(self.size(id), Some(1 | 2 | 4 | 8)) => Value::Number,
            Some(Kind::Enum | Kind::Enum64 | Kind::Struct | Kind::Union) => Value::Number,
            Some(Kind::Ptr) => {
                let first = self.target(id);
                let to = self.skip(first);
                match self.kind(to) {
                    None | Some(Kind::Int) => Value::Address,
                    Some(Kind::Struct | Kind::Union) => Value::Structure(to, self.tag(first)),
                    _ => Value::Pointer,
                }
            }
            Some(Kind::Int) => Value::Other("INT"),
            None => Value::Other("UNKNOWN"),
            _ => Value::Other("type"),
        }
    }

    /// The flags that a type tag stands for.
    fn tag(&self, id: u32) -> Flags {
        let tag = if self.kind(id) == Some(Kind::TypeTag) { self.name(id) } else { &[] };
        match tag {
            b"user" => Flags::USER,
            b"percpu" => Flags::PERCPU,
            _ => Flags::empty(),
        }
    }

    /// Whether programs of some type may call the function; where the kernel does not say so, whether they might.
    pub(super) fn may_be_kfunc(&self, id: u32) -> bool {
        if self.kfuncs.is_empty() { self.name(id).starts_with(b"bpf_") } else { self.kfuncs.binary_search(&id).is_ok() }
    }

    /// The structure or union with this name.
    pub(super) fn named(&self, name: &[u8]) -> Option<u32> {
        let at = self.named.partition_point(|id| self.name(*id) < name);
        self.named.get(at).copied().filter(|id| self.name(*id) == name)
    }

    /// The type without typedefs, qualifiers and tags.
    fn skip(&self, id: u32) -> u32 {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            match self.kind(id) {
                Some(kind) if kind.is_modifier() => id = self.target(id),
                _ => break,
            }
        }
        id
    }

    /// Looks through arrays and qualifiers (`__btf_resolve_size`).
    fn resolve(&self, id: u32) -> Option<Resolved> {
        let mut at = id;
        let mut last = id;
        let mut count: Option<u64> = None;
        let mut element = None;
        for _ in 0..MAX_DEPTH {
            let head = self.btf.head(at)?;
            let kind = head.kind;
            let size = match kind {
                Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Float | Kind::Enum64 => head.size_or_type,
                Kind::Ptr => 8,
                kind if kind.is_modifier() => {
                    at = head.size_or_type;
                    last = at;
                    continue;
                }
                Kind::Array => {
                    let array = self.btf.array(head)?;
                    count = Some(count.unwrap_or(1).checked_mul(u64::from(array.count))?);
                    at = array.element;
                    element = Some(at);
                    continue;
                }
                _ => return None,
            };
            let size = count.unwrap_or(1).checked_mul(u64::from(size)).filter(|size| *size <= u64::from(u32::MAX))?;
            return Some(Resolved { size, count, kind, id: element.unwrap_or(last) });
        }
        None
    }

    /// What a load of `size` bytes at `off` of a structure finds (`btf_struct_access`).
    pub(super) fn find(&self, id: u32, off: u32, size: u32) -> Result<Found, String> {
        let (mut id, mut off) = (id, off);
        let mut flags = Flags::empty();
        let mut left = MAX_MEMBERS;
        loop {
            match self.step(id, u64::from(off), u64::from(size), &mut flags, &mut left)? {
                Step::Ends(found) => return Ok(found),
                Step::Inside(next) => (id, off) = (next, 0),
            }
        }
    }

    /// Whether a structure of type `wanted` is at `off` of a structure (`btf_struct_ids_match`).
    pub(super) fn contains(&self, id: u32, off: u32, wanted: u32) -> bool {
        if off == 0 && id == wanted {
            return true;
        }
        let (mut id, mut off) = (id, off);
        let mut left = MAX_MEMBERS;
        loop {
            match self.step(id, u64::from(off), 1, &mut Flags::empty(), &mut left) {
                Ok(Step::Inside(next)) if next == wanted => return true,
                Ok(Step::Inside(next)) => (id, off) = (next, 0),
                _ => return false,
            }
        }
    }

    /// `btf_struct_walk`, which looks at as many members as are `left`.
    fn step(&self, id: u32, off: u64, size: u64, flags: &mut Flags, left: &mut u32) -> Result<Step, String> {
        let (mut id, mut off) = (self.skip(id), off);
        'structure: loop {
            let name = || match self.name(id) {
                b"" => "(anon)".to_owned(),
                name => String::from_utf8_lossy(name).into_owned(),
            };
            let Some(head) = self.structure(id) else { return Err(format!("Type '{}' is not a struct", name())) };
            let bytes = u64::from(head.size_or_type);
            if head.kind == Kind::Union && head.parts != 1 {
                *flags |= Flags::UNTRUSTED;
            }
            if off + size > bytes {
                let beyond = || format!("access beyond struct {} at off {off} size {size}", name());
                let Some(Member { type_id, bit_offset, .. }) = self.btf.members(head).next_back() else {
                    return Err(beyond());
                };
                let bit = u64::from(bit_offset);
                let array = self.btf.head(self.skip(type_id)).and_then(|last| self.btf.array(last));
                // What follows a structure that ends in an array of no fixed length.
                let Some(array) = array.filter(|array| array.count == 0 && off >= bit / 8) else {
                    return Err(beyond());
                };
                let element = self.skip(array.element);
                if self.kind(element) == Some(Kind::Int) {
                    return Ok(Step::Ends(Found::Scalar));
                }
                let step = u64::from(self.target(element));
                if !self.is_struct(element) || step == 0 {
                    return Err(beyond());
                }
                // It may be the same structure, and the same place in it.
                if !take_one(left) {
                    return Err(beyond());
                }
                (id, off) = (element, (off - bit / 8) % step);
                continue 'structure;
            }
            for Member { name_offset: field, type_id: of, bit_offset, bits, .. } in self.btf.members(head) {
                if !take_one(left) {
                    return Err(format!("struct {} has too many members", name()));
                }
                let (bit, width) = (u64::from(bit_offset), u64::from(bits));
                let begin = bit / 8;
                if off + size <= begin {
                    break;
                }
                if width != 0 {
                    if off <= begin && (bit + width).div_ceil(8) <= off + size {
                        return Ok(Step::Ends(Found::Scalar));
                    }
                    continue;
                }
                if off < begin {
                    break;
                }
                let Some(mut inner) = self.resolve(of) else {
                    return Err(format!("field {} doesn't have size", String::from_utf8_lossy(self.string(field))));
                };
                let end = begin + inner.size;
                let mut begin = begin;
                if off >= end {
                    continue;
                }
                if let Some(count) = inner.count.filter(|count| *count != 0) {
                    inner.size /= count;
                    begin += (off - begin) / inner.size.max(1) * inner.size;
                }
                if matches!(inner.kind, Kind::Struct | Kind::Union) {
                    if off == begin {
                        return Ok(Step::Inside(inner.id));
                    }
                    (id, off) = (self.skip(inner.id), off - begin);
                    continue 'structure;
                }
                if inner.kind == Kind::Ptr {
                    if inner.size != size || off != begin {
                        let field = String::from_utf8_lossy(self.string(field)).into_owned();
                        let name = name();
                        return Err(format!(
                            "cannot access ptr member {field} with moff {begin} in struct {name} with off {off} size {size}"
                        ));
                    }
                    return Ok(Step::Ends(self.pointer(self.skip(inner.id), field, *flags)));
                }
                if off + size > end && !flags.contains(Flags::UNTRUSTED) {
                    let field = String::from_utf8_lossy(self.string(field)).into_owned();
                    return Err(format!(
                        "access beyond the end of member {field} (mend:{end}) in struct {} with off {off} size {size}",
                        name()
                    ));
                }
                return Ok(Step::Ends(Found::Scalar));
            }
            return Err(format!("struct {} doesn't have field at offset {off}", name()));
        }
    }

    /// What the pointer type `id`, of a member, points to.
    fn pointer(&self, id: u32, field: u32, flags: Flags) -> Found {
        let first = self.target(id);
        let to = self.skip(first);
        if !self.is_struct(to) {
            return Found::Address;
        }
        let tag = if self.kind(first) == Some(Kind::TypeTag) { self.name(first) } else { &[] };
        let tag = match tag {
            b"user" => Flags::USER,
            b"percpu" => Flags::PERCPU,
            b"rcu" => Flags::RCU,
            _ => Flags::empty(),
        };
        Found::Pointer { to, flags: flags | tag, field }
    }

    /// Whether the kernel lists the member as one that keeps its parent's state of trust: in a structure named like the
    /// parent with a suffix (`btf_nested_type_is_trusted`).
    pub(super) fn is_listed(&self, parent: u32, suffix: &str, field: u32, to: u32) -> bool {
        let name = [self.name(parent), suffix.as_bytes()].concat();
        let Some(list) = self.named(&name).filter(|list| self.kind(*list) == self.kind(parent)) else { return false };
        let Some(head) = self.structure(list) else { return false };
        self.btf.members(head).any(|member| {
            self.kind(member.type_id) == Some(Kind::Ptr)
                && self.skip(self.target(member.type_id)) == to
                && member.name == self.string(field)
        })
    }

    /// The head of a structure or union.
    fn structure(&self, id: u32) -> Option<Head> {
        self.btf.head(id).filter(|head| matches!(head.kind, Kind::Struct | Kind::Union))
    }
}
