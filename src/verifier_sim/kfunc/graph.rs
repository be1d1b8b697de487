//! Lists and red-black trees of objects (`process_kf_arg_ptr_to_list_head` and the like). A lock beside the list or tree protects
//! it. What is put in belongs to it; what the program still points to is valid until the lock is given back.

use crate::verifier_sim::kfunc::Call;
use crate::verifier_sim::kfunc::args::Arg;
use crate::verifier_sim::program::record::{Field, FieldKind};
use crate::verifier_sim::spec::Kernel;
use crate::verifier_sim::state::reg::{Flags, Kind, Reg};
use crate::verifier_sim::stop::{Step, reject};
use crate::verifier_sim::walk::env::Env;

/// What elements are linked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    List,
    Tree,
}

impl Root {
    /// The structure of the list or tree.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::List => "bpf_list_head",
            Self::Tree => "bpf_rb_root",
        }
    }

    /// The structure of the node in an element.
    pub(super) fn node(self) -> &'static str {
        match self {
            Self::List => "bpf_list_node",
            Self::Tree => "bpf_rb_node",
        }
    }

    fn kinds(self) -> (FieldKind, FieldKind) {
        match self {
            Self::List => (FieldKind::ListHead, FieldKind::ListNode),
            Self::Tree => (FieldKind::RbRoot, FieldKind::RbNode),
        }
    }
}

/// The functions that put an element into a list or tree.
const PUTS: [&str; 3] = ["bpf_list_push_front_impl", "bpf_list_push_back_impl", ADD];
/// The one that has the elements compared.
pub(super) const ADD: &str = "bpf_rbtree_add_impl";
/// Those that take an element out.
const TAKES: [&str; 3] = ["bpf_list_pop_front", "bpf_list_pop_back", "bpf_rbtree_remove"];
/// Those that look at one.
const LOOKS: [&str; 6] =
    ["bpf_list_front", "bpf_list_back", "bpf_rbtree_first", "bpf_rbtree_root", "bpf_rbtree_left", "bpf_rbtree_right"];
/// What else may be called while a lock is held (`kfunc_spin_allowed`). Before Linux 6.13 iterators were not among them.
const OTHERS: [&str; 1] = ["bpf_refcount_acquire_impl"];
const COUNTING: [&str; 3] = ["bpf_iter_num_new", "bpf_iter_num_next", "bpf_iter_num_destroy"];

/// Whether the function looks at an element that stays where it is.
pub(super) fn looks(name: &str) -> bool {
    LOOKS.contains(&name)
}

/// Whether the result is an element.
pub(super) fn finds(name: &str) -> bool {
    looks(name) || TAKES.contains(&name)
}

impl Env<'_> {
    /// Whether the kernel function may be called while a lock is held.
    pub(in crate::verifier_sim) fn may_call_locked(&self, id: u32) -> bool {
        let Some(types) = self.types else { return false };
        let Ok(name) = str::from_utf8(types.name(id)) else { return false };
        let counting = self.kernel >= Kernel::V6_18 && COUNTING.contains(&name);
        PUTS.contains(&name) || finds(name) || OTHERS.contains(&name) || counting
    }

    /// The list or tree, whose lock must be held.
    pub(super) fn check_root(&self, arg: &Arg<'_>, reg: &Reg, root: Root, call: &mut Call) -> Step {
        let index = arg.index;
        let object = reg.kind == Kind::BtfId && reg.flags == Flags::ALLOC;
        if !object && (reg.kind != Kind::MapValue || !reg.flags.is_empty()) {
            reject!("arg#{index} expected pointer to map value or allocated object");
        }
        if object && reg.ref_id == 0 {
            reject!("allocated object must be referenced");
        }
        let (name, number) = (root.name(), arg.number);
        if !reg.val.bits.is_known() {
            reject!("R{number} doesn't have constant offset. {name} has to be at the constant offset");
        }
        let Some(field) = self.field_at(reg, root.kinds().0) else {
            reject!("{name} not found at offset={}", reg.place() as u32);
        };
        self.check_locked(reg, name)?;
        call.root = Some(field);
        Ok(())
    }

    /// An element of it, or what becomes one.
    pub(super) fn check_node(&self, arg: &Arg<'_>, reg: &Reg, root: Root, call: &Call) -> Step {
        let puts = PUTS.contains(&call.name.as_str());
        if puts {
            if reg.kind != Kind::BtfId || reg.flags != Flags::ALLOC {
                reject!("arg#{} expected pointer to allocated object", arg.index);
            }
            if reg.ref_id == 0 {
                reject!("allocated object must be referenced");
            }
        } else {
            let newer = self.kernel >= Kernel::V6_18;
            if !(reg.is_non_owning() || newer && reg.ref_id != 0) {
                match newer {
                    true => reject!("{} can only take non-owning or refcounted bpf_rb_node pointer", call.name),
                    false => reject!("rbtree_remove node input must be non-owning ref"),
                }
            }
            if self.in_comparison() {
                let name = if newer { call.name.as_str() } else { "rbtree_remove" };
                reject!("{name} not allowed in rbtree cb");
            }
        }
        let (name, node, number) = (root.name(), root.node(), arg.number);
        if !reg.val.bits.is_known() {
            reject!("R{number} doesn't have constant offset. {node} has to be at the constant offset");
        }
        let at = reg.place();
        if self.field_at(reg, root.kinds().1).is_none() {
            reject!("{node} not found at offset={}", at as u32);
        }
        let Some(field) = call.root else { reject!("kernel subsystem misconfigured verifier") };
        let element = self.structure_name(field.structure);
        if reg.arg != field.structure {
            let given = self.structure_name(reg.arg);
            reject!(
                "operation on {name} expects arg#1 {node} at offset={} in struct {element}, but arg is at offset={at} in struct {given}",
                field.node
            );
        }
        if at != i64::from(field.node) {
            reject!("arg#1 offset={at}, but expected {node} at offset={} in struct {element}", field.node);
        }
        Ok(())
    }

    fn field_at(&self, reg: &Reg, kind: FieldKind) -> Option<Field> {
        self.kept().record(reg)?.at(reg.place(), |found| found == kind)
    }

    /// A pointer to the node of an element (`mark_reg_graph_node`).
    fn element(&self, field: &Field) -> Reg {
        Reg { flags: Flags::ALLOC, off: field.node as i32, ..Reg::pointer(Kind::BtfId, field.structure) }
    }

    /// The element that was found, if there is one.
    pub(super) fn found_element(&self, call: &Call) -> Step<Reg> {
        let Some(field) = call.root else { reject!("kernel subsystem misconfigured verifier") };
        Ok(self.element(&field))
    }

    /// What is put into a list or tree belongs to it from now on (`ref_convert_owning_non_owning`).
    pub(super) fn put(&mut self, call: &Call) -> Step {
        if !PUTS.contains(&call.name.as_str()) {
            return Ok(());
        }
        let id = self.reg(2).ref_id;
        let mut sample = *self.reg(2);
        self.set_non_owning(&mut sample);
        let added = sample.flags & (Flags::NON_OWNING | Flags::RCU);
        self.cur.for_each_reg(
            |reg| reg.ref_id == id,
            |reg| {
                reg.ref_id = 0;
                reg.flags |= added;
            },
        );
        self.check_reference_in_callback()?;
        self.cur.refs.retain(|held| held.id != id);
        Ok(())
    }

    /// `bpf_rbtree_add`: the function compares elements (`set_rbtree_add_callback_state`).
    pub(super) fn compare(&mut self, call: &Call) -> Step {
        let (Some(callback), Some(field)) = (call.callback, call.root) else { return Ok(()) };
        let mut element = self.element(&field);
        self.set_non_owning(&mut element);
        let unset = Reg::NOT_INIT;
        self.push_callback(callback, [element, element, unset, unset, unset])
    }
}
