//! Calls of the kernel's functions (kfuncs) by the types of their arguments, and its variables (ksyms)
//! (`check_kfunc_call`, `check_pseudo_btf_id`).

mod args;
mod graph;
mod iterator;
mod memory;
mod object;
mod result;
mod role;
mod section;
mod structures;
mod table;
mod variable;

use table::Properties;

use crate::asm::opcode as op;
use crate::verifier_sim::helpers::dynptr::Dynptr;
use crate::verifier_sim::place::Place;
use crate::verifier_sim::program::record::Field;
use crate::verifier_sim::spec::Privilege;
use crate::verifier_sim::state::reg::Reg;
use crate::verifier_sim::stop::{Step, Stop, reject, unsupported};
use crate::verifier_sim::types::{KernelTypes, Prototype};
use crate::verifier_sim::walk::Flow;
use crate::verifier_sim::walk::env::Env;

/// The function that is called, and what its arguments have shown so far (`struct bpf_kfunc_call_arg_meta`).
struct Call {
    name: String,
    properties: Properties,
    prototype: Prototype,
    /// The reference that is passed.
    ref_id: u32,
    /// Whether it is released.
    releases: bool,
    /// The one argument that must be a constant.
    constant: Option<u64>,
    /// The dynptr that is passed.
    dynptr: Option<Dynptr>,
    /// The iterator that is passed: its frame and slot.
    iterator: Option<(usize, usize)>,
    /// The list or tree that is passed.
    root: Option<Field>,
    /// The structure of the object that is passed.
    object: Option<u32>,
    /// Whether the program owns it.
    owns: bool,
    /// The map of the work queue that is passed, and where it came from.
    map: Option<(u32, u32)>,
    /// The function that is passed.
    callback: Option<usize>,
}

impl Call {
    fn has(&self, properties: Properties) -> bool {
        self.properties.intersects(properties)
    }
}

impl Env<'_> {
    /// Notes what is known of each call of a kernel function before the walk.
    pub(in crate::verifier_sim) fn describe_kernel_calls(&mut self) {
        self.has_open_loops |= self.aux.iter().any(|aux| aux.calls_back);
        for (insn, aux) in self.insns.iter().zip(&mut self.aux) {
            if insn.code != op::JMP | op::CALL || insn.src != op::PSEUDO_KFUNC_CALL {
                continue;
            }
            let Some((properties, count)) = describe(insn.imm as u32, self.types, self.place) else { continue };
            aux.kfunc_reads = ((1u16 << count.min(5)) - 1) << 1;
            // Nothing is read, but that is known.
            aux.kfunc_reads |= 1;
            aux.moves_iterator = properties.contains(Properties::ITER_NEXT);
            let name = self.types.map_or(&[][..], |types| types.name(insn.imm as u32));
            aux.compares = name == graph::ADD.as_bytes();
            aux.calls_back = aux.compares;
            self.has_open_loops |= aux.moves_iterator || aux.calls_back;
            aux.calls_later = name == b"bpf_wq_set_callback_impl";
        }
    }
}

/// The properties of the function with this ID and how many arguments it has, if programs of this kind may call it.
fn describe(id: u32, types: Option<&KernelTypes>, place: Place) -> Option<(Properties, usize)> {
    let types = types?;
    let (properties, permitted) = table::find(str::from_utf8(types.name(id)).ok()?, place)?;
    permitted.then_some((properties, types.prototype_of(id)?.0.len()))
}

impl Env<'_> {
    /// Calls the kernel function with this ID.
    pub(in crate::verifier_sim) fn call_kernel_function(&mut self, id: u32) -> Step<Flow> {
        let types = self.kernel_types()?;
        let name = String::from_utf8_lossy(types.name(id)).into_owned();
        if !types.may_be_kfunc(id) {
            reject!("calling kernel function {name} is not allowed");
        }
        let Some((properties, permitted)) = table::find(&name, self.place) else {
            unsupported!("kernel function {name} is not simulated");
        };
        if !permitted {
            reject!("calling kernel function {name} is not allowed");
        }
        if self.privilege != Privilege::Full {
            unsupported!("kernel functions without CAP_PERFMON are not simulated");
        }
        if properties.intersects(Properties::SLEEPS | Properties::RCU_PROTECTED) && self.cur.may_sleep {
            unsupported!("kernel functions that may sleep are not simulated");
        }
        if properties.contains(Properties::SLEEPS) {
            reject!("program must be sleepable to call sleepable kfunc {name}");
        }
        let next = Flow::To(self.at + 1);
        if name == "bpf_rdonly_cast" {
            self.rdonly_cast()?;
            self.scratch(0x3f);
            return Ok(next);
        }
        let Some(prototype) = types.prototype_of(id) else {
            unsupported!("kernel function {name} has no prototype, or more than 5 parameters");
        };
        let mut call = Call {
            name,
            properties,
            prototype,
            ref_id: 0,
            releases: false,
            constant: None,
            dynptr: None,
            iterator: None,
            root: None,
            object: None,
            owns: false,
            map: None,
            callback: None,
        };
        self.check_kfunc_args(types, &mut call)?;
        if call.name == graph::ADD {
            self.compare(&call)?;
        }
        if let ("bpf_wq_set_callback_impl", Some(callback), Some(map)) = (call.name.as_str(), call.callback, call.map) {
            self.call_later(callback, map, true)?;
        }
        self.enter_or_leave_section(&call.name)?;
        if call.releases {
            self.release_of_kfunc(&call)?;
        }
        self.put(&call)?;
        if call.name == "bpf_throw" {
            self.throw()?;
            return Ok(Flow::End);
        }
        let result = self.kfunc_result(types, &call)?;
        let regs = &mut self.cur.top_mut().regs;
        regs[..6].fill(Reg::NOT_INIT);
        regs[0] = result;
        self.scratch(0x3f);
        if call.has(Properties::ITER_NEXT) {
            self.fork_iterator(&call)?;
        }
        Ok(next)
    }

    fn release_of_kfunc(&mut self, call: &Call) -> Step {
        match self.release(call.ref_id, 0) {
            Err(Stop::Reject(_)) => reject!("kfunc {} reference has not been acquired before", call.name),
            other => other,
        }
    }
}
