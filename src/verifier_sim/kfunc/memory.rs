//! Memory and dynptrs that kernel functions take.

use crate::uapi::helper::DynptrKind;
use crate::verifier_sim::helpers;
use crate::verifier_sim::helpers::mem::Use;
use crate::verifier_sim::instructions::mem::Direction;
use crate::verifier_sim::kfunc::Call;
use crate::verifier_sim::kfunc::args::Arg;
use crate::verifier_sim::spec::ProgType;
use crate::verifier_sim::state::reg::{Flags, Kind, Reg};
use crate::verifier_sim::stop::{Step, Stop, reject, unsupported};
use crate::verifier_sim::walk::env::Env;

impl Env<'_> {
    pub(super) fn check_kfunc_dynptr(&mut self, arg: &Arg<'_>, reg: &Reg, call: &mut Call) -> Step {
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

    pub(super) fn check_kfunc_sized_memory(
        &mut self,
        arg: &Arg<'_>,
        reg: &Reg,
        constant: bool,
        call: &mut Call,
    ) -> Step {
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
    pub(super) fn with_pointer(&mut self, number: u8, mut check: impl FnMut(&mut Self, Use) -> Step) -> Step {
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
