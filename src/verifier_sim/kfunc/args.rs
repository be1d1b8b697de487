//! Arguments of kernel functions (`check_kfunc_args`).

use crate::verifier_sim::helpers;
use crate::verifier_sim::kfunc::role::Role;
use crate::verifier_sim::kfunc::table::Properties;
use crate::verifier_sim::kfunc::{Call, structures};
use crate::verifier_sim::state::reg::{Flags, Kind, Reg};
use crate::verifier_sim::stop::{Step, reject, unsupported};
use crate::verifier_sim::types::{KernelTypes, Parameter};
use crate::verifier_sim::walk::env::Env;

/// Ends of names of arguments of which nothing is simulated.
const OTHERS: [&[u8]; 3] = [b"__irq_flag", b"__const_map", b"buf_size"];

/// One argument.
pub(super) struct Arg<'a> {
    pub(super) index: usize,
    pub(super) number: u8,
    /// The end of its name says how it is passed.
    pub(super) name: &'a [u8],
    /// The type that it points to.
    pub(super) to: u32,
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
                // The kernel itself passes the program.
                _ if name.ends_with(b"__ign") || name.ends_with(b"__prog") => {}
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
        if matches!(role, Role::Structure | Role::Object | Role::Map) && careful {
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
            Role::Object => self.check_dropped(arg, &reg, call)?,
            Role::Counted => self.check_counted(arg, &reg, call)?,
            Role::Root(root) => self.check_root(arg, &reg, root, call)?,
            Role::Node(root) => self.check_node(arg, &reg, root, call)?,
            Role::Map => self.check_kfunc_map(arg, &reg, call)?,
            Role::Queue => self.check_queue(arg, &reg, call)?,
            Role::Callback => {
                if reg.kind != Kind::Func {
                    reject!("arg{index} expected pointer to func");
                }
                call.callback = Some(reg.arg as usize);
            }
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

    /// The structure is one that stays valid during the call.
    fn check_trust(&self, number: u8, reg: &Reg, call: &Call) -> Step {
        if reg.is_trusted() || (structures::behind(reg).is_some() && reg.flags.is_empty()) {
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

    fn check_kfunc_structure(&self, types: &KernelTypes, arg: &Arg<'_>, reg: &Reg, call: &Call) -> Step {
        let trusted = Flags::TRUSTED | Flags::ALLOC | Flags::NON_OWNING;
        let unsafe_flags = !(reg.flags - trusted).is_empty();
        if reg.kind == Kind::BtfId && unsafe_flags && !reg.flags.contains(Flags::RCU) {
            let flags = reg.flags & trusted;
            let expected = Reg { flags, ..*reg }.type_name();
            reject!("arg#{} is {} expected {expected} or socket", arg.index, reg.type_name());
        }
        let strict = call.has(Properties::RELEASES) && reg.ref_id != 0;
        if !structures::matches(types, reg, arg.to, strict) {
            let (wanted, given) = (types.describe(arg.to), structures::describe(types, self.own, reg));
            reject!(
                "kernel function {} args#{} expected pointer to {wanted} but R{} has a pointer to {given}",
                call.name,
                arg.index,
                arg.number
            );
        }
        Ok(())
    }
}
