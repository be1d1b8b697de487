//! Arguments of kernel functions (`check_kfunc_args`).

use crate::uapi::helper::DynptrKind;
use crate::verifier_sim::helpers;
use crate::verifier_sim::helpers::mem::Use;
use crate::verifier_sim::instructions::mem::Direction;
use crate::verifier_sim::kfunc::table::Properties;
use crate::verifier_sim::kfunc::{Call, structures};
use crate::verifier_sim::place::context_structure;
use crate::verifier_sim::spec::ProgType;
use crate::verifier_sim::state::reg::{Flags, Kind, Reg};
use crate::verifier_sim::stop::{Step, Stop, reject, unsupported};
use crate::verifier_sim::types::{KernelTypes, Parameter};
use crate::verifier_sim::walk::env::Env;

/// Structures that the program keeps, and pointers to them mean more than memory: lists, trees, locks, work.
const KEPT: [&str; 9] = [
    "bpf_list_head",
    "bpf_list_node",
    "bpf_rb_root",
    "bpf_rb_node",
    "bpf_wq",
    "bpf_timer",
    "bpf_task_work",
    "bpf_res_spin_lock",
    "bpf_spin_lock",
];

/// Ends of names of arguments of which nothing is simulated.
const OTHERS: [&[u8]; 7] =
    [b"__alloc", b"__refcounted_kptr", b"__map", b"__irq_flag", b"__prog", b"__const_map", b"buf_size"];

/// What a pointer is for.
enum Role {
    Context,
    Dynptr,
    Iterator,
    Structure,
    Text,
    Memory,
    /// Memory whose size is the next argument.
    SizedMemory,
}

/// One argument.
struct Arg<'a> {
    index: usize,
    number: u8,
    /// The end of its name says how it is passed.
    name: &'a [u8],
    /// The type that it points to.
    to: u32,
}

impl Env<'_> {
    pub(super) fn check_kfunc_args(&mut self, types: &KernelTypes, call: &mut Call) -> Step {
        let parameters = call.prototype.0.clone();
        let mut index = 0;
        while let Some(&(label, of)) = parameters.get(index) {
            let number = index as u8 + 1;
            let name = types.label(label);
            if OTHERS.iter().any(|end| name.ends_with(end)) {
                unsupported!("argument {index} of kernel function {} is not simulated", call.name);
            }
            let next = parameters.get(index + 1).map(|(label, of)| (types.label(*label), types.parameter(*of)));
            match types.parameter(of) {
                _ if name.ends_with(b"__ign") => {}
                Parameter::Number => self.check_kfunc_number(number, name, call)?,
                Parameter::Pointer(to) => {
                    let arg = Arg { index, number, name, to };
                    if self.check_kfunc_pointer(types, &arg, next, call)? {
                        index += 1;
                    }
                }
                Parameter::Other => unsupported!("argument {index} of kernel function {} is not simulated", call.name),
            }
            index += 1;
        }
        if call.has(Properties::RELEASES) && !call.releases {
            reject!("release kernel function {} expects refcounted PTR_TO_BTF_ID", call.name);
        }
        Ok(())
    }

    fn check_kfunc_number(&mut self, number: u8, name: &[u8], call: &mut Call) -> Step {
        let reg = *self.reg(number);
        if !reg.is_scalar() {
            reject!("R{number} is not a scalar");
        }
        if name.ends_with(b"__k") {
            if !reg.val.bits.is_known() {
                reject!("R{number} must be a known constant");
            }
            self.mark_precise(1 << number);
            call.constant = Some(reg.val.bits.value);
        }
        Ok(())
    }

    /// Whether the next argument is the size of this one, and checked with it.
    fn check_kfunc_pointer(
        &mut self,
        types: &KernelTypes,
        arg: &Arg<'_>,
        next: Option<(&[u8], Parameter)>,
        call: &mut Call,
    ) -> Step<bool> {
        let (index, number) = (arg.index, arg.number);
        let reg = *self.reg(number);
        let careful = call.has(Properties::TRUSTED | Properties::RELEASES | Properties::RCU);
        let nullable = arg.name.ends_with(b"__nullable");
        if careful && (reg.is_null() || reg.may_be_null()) && !nullable {
            reject!("Possibly NULL pointer passed to trusted arg{index}");
        }
        let releases = call.has(Properties::RELEASES) && reg.ref_id != 0;
        if reg.ref_id != 0 {
            if releases && call.ref_id != 0 {
                reject!("more than one arg with ref_obj_id R{number} {} {}", reg.ref_id, call.ref_id);
            }
            call.ref_id = reg.ref_id;
            call.releases |= releases;
        }
        if nullable && reg.is_null() {
            return Ok(false);
        }
        let role = self.role(types, arg, &reg, next, call)?;
        if matches!(role, Role::Structure) && careful {
            self.check_trust(number, &reg, call)?;
        }
        self.check_pointer_offset(number, &reg, releases)?;
        match role {
            Role::Context => {
                if reg.kind != Kind::Ctx {
                    reject!("arg#{index} expected pointer to ctx, but got {}", reg.type_name());
                }
            }
            Role::Dynptr => self.check_kfunc_dynptr(arg, &reg, call)?,
            Role::Iterator => self.check_iterator(types, arg.index, arg.to, call)?,
            Role::Structure => self.check_kfunc_structure(types, arg, &reg, call)?,
            Role::Text => {
                if reg.kind != Kind::MapValue || !reg.flags.is_empty() {
                    reject!("arg#{index} doesn't point to a const string");
                }
                self.check_constant_string(number, &reg, &mut helpers::call::Call::default())?;
            }
            Role::Memory => {
                let Some(size) = types.size(arg.to) else {
                    unsupported!("argument {index} of kernel function {} has no size", call.name);
                };
                if !reg.is_null() {
                    self.with_pointer(number, |env, how| {
                        env.check_helper_memory(number, size, how, &mut helpers::call::Call::default())
                    })?;
                }
            }
            Role::SizedMemory => {
                self.check_kfunc_sized_memory(arg, &reg, next.is_some_and(|(name, _)| name.ends_with(b"__szk")), call)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the pointer is for (`get_kfunc_ptr_arg_type`).
    fn role(
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
        if is("bpf_dynptr") {
            return Ok(Role::Dynptr);
        }
        let iterates = call.has(Properties::ITER_NEW | Properties::ITER_NEXT | Properties::ITER_DESTROY);
        if iterates && arg.index == 0 {
            return Ok(Role::Iterator);
        }
        if KEPT.iter().any(|kept| is(kept)) || arg.name.ends_with(b"__iter") {
            unsupported!("argument {} of kernel function {} is not simulated", arg.index, call.name);
        }
        if arg.name.ends_with(b"__str") {
            return Ok(Role::Text);
        }
        if reg.kind == Kind::BtfId || structures::behind(reg).is_some() {
            if !structure {
                reject!("kernel function {} args#{} pointer type is not supported", call.name, arg.index);
            }
            return Ok(Role::Structure);
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

    /// The structure is one that stays valid during the call.
    fn check_trust(&self, number: u8, reg: &Reg, call: &Call) -> Step {
        let plain_but_trusted = (reg.flags - Flags::TRUSTED).is_empty();
        let trusted = reg.ref_id != 0
            || (structures::behind(reg).is_some() && plain_but_trusted)
            || (reg.flags == Flags::TRUSTED);
        if trusted {
            return Ok(());
        }
        if !call.has(Properties::RCU) {
            reject!("R{number} must be referenced or trusted");
        }
        if !reg.flags.contains(Flags::RCU) {
            reject!("R{number} must be a rcu pointer");
        }
        Ok(())
    }

    fn check_kfunc_dynptr(&mut self, arg: &Arg<'_>, reg: &Reg, call: &mut Call) -> Step {
        if reg.kind != Kind::Stack {
            reject!("arg#{} expected pointer to stack or const struct bpf_dynptr", arg.index);
        }
        if !arg.name.ends_with(b"__uninit") {
            let mut found = helpers::call::Call::default();
            self.use_dynptr(arg.index, None, &mut found)?;
            call.dynptr = found.dynptr;
            return Ok(());
        }
        let kind = match (call.name.as_str(), call.dynptr) {
            ("bpf_dynptr_from_skb", _) => DynptrKind::Skb,
            ("bpf_dynptr_from_xdp", _) => DynptrKind::Xdp,
            ("bpf_dynptr_clone", Some(parent)) if parent.ref_id == 0 => parent.kind,
            _ => unsupported!("this dynptr of kernel function {} is not simulated", call.name),
        };
        self.make_dynptr(arg.number, kind)
    }

    fn check_kfunc_structure(&self, types: &KernelTypes, arg: &Arg<'_>, reg: &Reg, call: &Call) -> Step {
        let unsafe_flags = !(reg.flags - Flags::TRUSTED).is_empty();
        if reg.kind == Kind::BtfId && unsafe_flags && !reg.flags.contains(Flags::RCU) {
            let flags = reg.flags & Flags::TRUSTED;
            let expected = Reg { flags, ..*reg }.type_name();
            reject!("arg#{} is {} expected {expected} or socket", arg.index, reg.type_name());
        }
        let strict = call.has(Properties::RELEASES) && reg.ref_id != 0;
        if !structures::matches(types, reg, arg.to, strict) {
            let (wanted, given) = (types.describe(arg.to), structures::describe(types, reg));
            reject!(
                "kernel function {} args#{} expected pointer to {wanted} but R{} has a pointer to {given}",
                call.name,
                arg.index,
                arg.number
            );
        }
        Ok(())
    }

    fn check_kfunc_sized_memory(&mut self, arg: &Arg<'_>, reg: &Reg, constant: bool, call: &mut Call) -> Step {
        let (index, size) = (arg.index, arg.number + 1);
        if !(reg.is_null() && arg.name.ends_with(b"__opt")) {
            let checked = self.with_pointer(arg.number, |env, how| {
                env.check_sized_memory(size, how, &mut helpers::call::Call::default())
            });
            checked.map_err(|stop| match stop {
                Stop::Reject(rule) => {
                    let pair = format!("arg#{index} arg#{} memory, len pair", index + 1);
                    Stop::Reject(format!("{rule}\n{pair} leads to invalid memory access"))
                }
                other => other,
            })?;
        }
        if constant {
            let bits = self.reg(size).val.bits;
            if !bits.is_known() {
                reject!("R{size} must be a known constant");
            }
            self.mark_precise(1 << size);
            call.constant = Some(bits.value);
        }
        Ok(())
    }

    /// Does `check` for reading and for writing, as if the pointer were not NULL.
    fn with_pointer(&mut self, number: u8, mut check: impl FnMut(&mut Self, Use) -> Step) -> Step {
        let reg = *self.reg(number);
        // Where the kernel does not translate accesses to the context, it is memory.
        let raw = [ProgType::KPROBE, ProgType::TRACEPOINT, ProgType::RAW_TRACEPOINT, ProgType::TRACING];
        if reg.kind == Kind::Ctx && raw.contains(&self.place.prog) {
            unsupported!("the context as memory of a kernel function is not simulated");
        }
        self.reg_mut(number).flags.remove(Flags::MAYBE_NULL);
        for direction in [Direction::Read, Direction::Write] {
            check(self, Use { direction, fills: false, zero_ok: true })?;
        }
        self.reg_mut(number).flags = reg.flags;
        Ok(())
    }
}
