//! What a pointer that a kernel function takes is for (`get_kfunc_ptr_arg_type`).

use crate::verifier_sim::kfunc::args::Arg;
use crate::verifier_sim::kfunc::graph::Root;
use crate::verifier_sim::kfunc::table::Properties;
use crate::verifier_sim::kfunc::{Call, structures};
use crate::verifier_sim::place::context_structure;
use crate::verifier_sim::state::reg::{Kind, Reg};
use crate::verifier_sim::stop::{Step, reject, unsupported};
use crate::verifier_sim::types::{KernelTypes, Parameter};
use crate::verifier_sim::walk::env::Env;

/// Structures that the program keeps, and pointers to them mean more than memory.
const KEPT: [&str; 4] = ["bpf_timer", "bpf_task_work", "bpf_res_spin_lock", "bpf_spin_lock"];

/// What a pointer is for.
pub(super) enum Role {
    Context,
    Dynptr,
    Iterator,
    Structure,
    /// An object that the program has allocated, and gives back.
    Object,
    /// An object that counts its references.
    Counted,
    /// A list or tree.
    Root(Root),
    /// An element of one.
    Node(Root),
    Map,
    /// A work queue.
    Queue,
    /// A function of the program.
    Callback,
    Text,
    Memory,
    /// Memory whose size is the next argument.
    SizedMemory,
}

impl Env<'_> {
    /// What the pointer is for (`get_kfunc_ptr_arg_type`).
    pub(super) fn role(
        &self,
        types: &KernelTypes,
        arg: &Arg<'_>,
        reg: &Reg,
        next: Option<(&[u8], Parameter)>,
        call: &Call,
    ) -> Step<Role> {
        let structure = types.is_struct(arg.to);
        let name = if structure { types.name(arg.to) } else { &[] };
        let is = |wanted: &str| name == wanted.as_bytes();
        let context = context_structure(self.place.prog);
        if call.name == "bpf_cast_to_kern_ctx"
            || context.is_some_and(|context| is(context) || structures::is_projection_of(context.as_bytes(), name))
        {
            return Ok(Role::Context);
        }
        if arg.name.ends_with(b"__alloc") {
            return Ok(Role::Object);
        }
        if arg.name.ends_with(b"__refcounted_kptr") {
            return Ok(Role::Counted);
        }
        if is("bpf_dynptr") {
            return Ok(Role::Dynptr);
        }
        let iterates = call.has(Properties::ITER_NEW | Properties::ITER_NEXT | Properties::ITER_DESTROY);
        if iterates && arg.index == 0 {
            return Ok(Role::Iterator);
        }
        for root in [Root::List, Root::Tree] {
            if is(root.name()) {
                return Ok(Role::Root(root));
            }
            if is(root.node()) {
                return Ok(Role::Node(root));
            }
        }
        if is("bpf_wq") {
            return Ok(Role::Queue);
        }
        if KEPT.iter().any(|kept| is(kept)) || arg.name.ends_with(b"__iter") {
            unsupported!("argument {} of kernel function {} is not simulated", arg.index, call.name);
        }
        if arg.name.ends_with(b"__str") {
            return Ok(Role::Text);
        }
        if arg.name.ends_with(b"__map") {
            return Ok(Role::Map);
        }
        if reg.kind == Kind::BtfId || structures::behind(reg).is_some() {
            if !structure {
                reject!("kernel function {} args#{} pointer type is not supported", call.name, arg.index);
            }
            return Ok(Role::Structure);
        }
        if types.is_prototype(arg.to) {
            return Ok(Role::Callback);
        }
        let sized = next.is_some_and(|(name, kind)| {
            matches!(kind, Parameter::Number) && (name.ends_with(b"__sz") || name.ends_with(b"__szk"))
        });
        let sized = sized && self.reg(arg.number + 1).is_scalar();
        let plain = types.is_number(arg.to) || types.is_numbers(arg.to) || (sized && arg.to == 0);
        if !plain {
            let void = if sized { "void, " } else { "" };
            let to = types.describe(arg.to);
            reject!("arg#{} pointer type {to} must point to {void}scalar, or struct with scalar", arg.index);
        }
        Ok(if sized { Role::SizedMemory } else { Role::Memory })
    }
}
