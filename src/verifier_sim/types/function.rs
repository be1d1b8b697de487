//! Functions and variables: what they take and are.

use crate::btf::Kind;
use crate::verifier_sim::state::reg::Flags;
use crate::verifier_sim::types::KernelTypes;

/// Parameters that functions of the kernel which programs call can have (`MAX_BPF_FUNC_REG_ARGS`).
const MAX_PARAMETERS: usize = 5;

/// What an argument of a function is, as far as programs that trace it may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) enum Value {
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
pub(in crate::verifier_sim) enum Parameter {
    /// A number.
    Number,
    /// A pointer to this; 0 is void.
    Pointer(u32),
    /// Anything else.
    Other,
}

/// What a load of the address of a variable of the kernel yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) enum Variable {
    /// A pointer to the variable of each CPU.
    OfEachCpu,
    /// A pointer to a structure.
    Structure,
    /// Memory of this many bytes.
    Memory(u32),
    /// Nothing that has a size.
    Other,
}

/// The parameters of a function, each with the offset of its name and its type, and the type of its result.
pub(in crate::verifier_sim) type Prototype = (Vec<(u32, u32)>, u32);

impl KernelTypes {
    /// The names of the parameters of a function.
    pub fn parameters(&self, function: &str) -> Option<Vec<String>> {
        self.btf.parameters(self.btf.func_by_name(function)?)
    }

    /// The function with this name.
    pub(in crate::verifier_sim) fn function_id(&self, name: &str) -> Option<u32> {
        self.symbol(Kind::Func, name)
    }

    /// The variable with this name.
    pub(in crate::verifier_sim) fn variable(&self, name: &str) -> Option<u32> {
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
    pub(in crate::verifier_sim) fn function(&self, name: &str) -> Option<Prototype> {
        self.prototype(self.target(self.btf.func_by_name(name)?))
    }

    /// The prototype behind the pointer that the typedef of a trace point names. Where the trace point has a function of
    /// its own, that one knows the names of the parameters.
    pub(in crate::verifier_sim) fn trace_point(&self, typedef: &str) -> Option<Prototype> {
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
    pub(in crate::verifier_sim) fn prototype_of(&self, id: u32) -> Option<Prototype> {
        let id = self.target(id);
        self.btf.head(id).filter(|head| head.parts <= MAX_PARAMETERS)?;
        self.prototype(id)
    }

    /// The name of a parameter, at this offset.
    pub(in crate::verifier_sim) fn label(&self, offset: u32) -> &[u8] {
        self.string(offset)
    }

    /// What a kernel function that programs call takes as an argument of type `id`.
    pub(in crate::verifier_sim) fn parameter(&self, id: u32) -> Parameter {
        let id = self.skip(id);
        match self.kind(id) {
            _ if self.is_number(id) => Parameter::Number,
            Some(Kind::Ptr) => Parameter::Pointer(self.skip(self.target(id))),
            _ => Parameter::Other,
        }
    }

    /// The type of variable `id`, and what loads of its address yield.
    pub(in crate::verifier_sim) fn variable_of(&self, id: u32) -> Option<(u32, Variable)> {
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

    /// What programs that trace a function make of an argument of type `id`.
    pub(in crate::verifier_sim) fn value(&self, id: u32) -> Value {
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
    pub(in crate::verifier_sim) fn may_be_kfunc(&self, id: u32) -> bool {
        if self.kfuncs.is_empty() { self.name(id).starts_with(b"bpf_") } else { self.kfuncs.binary_search(&id).is_ok() }
    }
}
