//! The types of these programs and of their maps.

use std::sync::Arc;

use sidestep::btf::BtfBuilder;
use sidestep::verifier_sim::spec::{MapSpec, MapType, SpecialField};
use sidestep::verifier_sim::types::ProgramTypes;

use crate::random::map;

/// The BTF, and the IDs in it.
pub(super) struct Types {
    pub(super) bytes: Vec<u8>,
    pub(super) parsed: Arc<ProgramTypes>,
    pub(super) int: u32,
    /// The values of the maps, by their number.
    pub(super) values: [u32; 2],
    /// The type of a function of the program.
    pub(super) prototype: u32,
    /// Names of the structures that are allocated, and their IDs.
    pub(super) structures: Vec<(&'static str, u32)>,
    fields: [Vec<SpecialField>; 2],
}

fn field(name: &str, offset: u32, structure: u32, node: u32) -> SpecialField {
    SpecialField { name: name.to_owned(), offset, structure, node }
}

impl Types {
    /// Structures, whose names are none of the kernel's, and so begin with `sim_`:
    ///
    /// - `node`: data at 0, a list node at 8, a tree node at 32, a count of references at 64, data at 72.
    /// - `leaf`: a list node at 0, data at 24.
    /// - `plain`: 16 bytes of numbers.
    /// - `holder`: a lock at 0, a list of leaves at 8, data at 24, a `kptr` to `plain` at 32.
    ///
    /// Values of map 0: a lock at 0, a list of nodes at 8, a tree of nodes at 24, a list of leaves at 40. Values of map 1: a `kptr`
    /// to `task_struct` at 0, a `kptr_untrusted` to it at 8, `kptr`s to `node` at 16 and to `plain` at 32, a `percpu_kptr` to
    /// `plain` at 24, a number at 40, a timer at 48, a work queue at 64.
    pub(super) fn new() -> Self {
        let mut btf = <BtfBuilder>::new();
        let int = btf.int("int", 4, true);
        let long = btf.int("unsigned long", 8, false);
        let lock = btf.structure("bpf_spin_lock", 4, &[("val", int, 0)]);
        let mut opaque = |name: &str, count: u32| {
            let words = btf.array(long, int, count);
            btf.structure(name, count * 8, &[("__opaque", words, 0)])
        };
        let (list, tree) = (opaque("bpf_list_head", 2), opaque("bpf_rb_root", 2));
        let (list_node, tree_node) = (opaque("bpf_list_node", 3), opaque("bpf_rb_node", 4));
        let (timer, queue) = (opaque("bpf_timer", 2), opaque("bpf_wq", 2));
        let count = btf.structure("bpf_refcount", 4, &[("__opaque", int, 0)]);
        let node = btf.structure(
            "sim_node",
            80,
            &[
                ("data", long, 0),
                ("l", list_node, 64),
                ("r", tree_node, 256),
                ("count", count, 512),
                ("more", long, 576),
            ],
        );
        let leaf = btf.structure("sim_leaf", 32, &[("l", list_node, 0), ("data", long, 192)]);
        let plain = btf.structure("sim_plain", 16, &[("a", long, 0), ("b", long, 64)]);
        let mut tagged = |tag: &str, of: u32| {
            let tag = btf.type_tag(tag, of);
            btf.pointer(tag)
        };
        let (own_plain, own_node) = (tagged("kptr", plain), tagged("kptr", node));
        let each_plain = tagged("percpu_kptr", plain);
        let task = btf.structure("task_struct", 8, &[("x", long, 0)]);
        let mut tagged = |tag: &str, of: u32| {
            let tag = btf.type_tag(tag, of);
            btf.pointer(tag)
        };
        let (own_task, any_task) = (tagged("kptr", task), tagged("kptr_untrusted", task));
        let holder = btf.structure(
            "sim_holder",
            40,
            &[("lock", lock, 0), ("list", list, 64), ("data", long, 192), ("kept", own_plain, 256)],
        );
        btf.argument_tag("contains:sim_leaf:l", holder, 1);
        let roots = btf.structure(
            "roots",
            56,
            &[("lock", lock, 0), ("nodes", list, 64), ("tree", tree, 192), ("leaves", list, 320)],
        );
        btf.argument_tag("contains:sim_node:l", roots, 1);
        btf.argument_tag("contains:sim_node:r", roots, 2);
        btf.argument_tag("contains:sim_leaf:l", roots, 3);
        let keeps = btf.structure(
            "keeps",
            80,
            &[
                ("task", own_task, 0),
                ("any", any_task, 64),
                ("node", own_node, 128),
                ("each", each_plain, 192),
                ("plain", own_plain, 256),
                ("number", long, 320),
                ("timer", timer, 384),
                ("queue", queue, 512),
            ],
        );
        let prototype = btf.func_proto(int, &[]);
        let fields = [
            vec![
                field("bpf_spin_lock", 0, 0, 0),
                field("bpf_list_head", 8, node, 8),
                field("bpf_rb_root", 24, node, 32),
                field("bpf_list_head", 40, leaf, 0),
            ],
            vec![
                field("kptr", 0, task, 0),
                field("kptr_untrusted", 8, task, 0),
                field("kptr", 16, node, 0),
                field("percpu_kptr", 24, plain, 0),
                field("kptr", 32, plain, 0),
                field("bpf_timer", 48, 0, 0),
                field("bpf_wq", 64, 0, 0),
            ],
        ];
        for number in 0..8 {
            btf.func(&format!("f{number}"), prototype, sidestep::btf::Linkage::Static);
        }
        let bytes = btf.finish();
        let parsed = Arc::new(ProgramTypes::parse(bytes.clone()).unwrap());
        let structures = vec![
            ("node", node),
            ("leaf", leaf),
            ("plain", plain),
            ("holder", holder),
            ("task_struct", task),
            ("int", int),
        ];
        Self { bytes, parsed, int, values: [roots, keeps], prototype, structures, fields }
    }

    /// The ID of function `number`.
    pub(super) fn function(&self, number: usize) -> u32 {
        self.prototype + 1 + number as u32
    }

    /// The maps: 0 and 1 as above, 2 with nothing special.
    pub(super) fn maps(&self) -> Vec<MapSpec> {
        let [roots, keeps] = self.fields.clone();
        vec![
            MapSpec { name: "roots".into(), typed: true, special: roots, ..map(MapType::ARRAY, 4, 56, 1) },
            MapSpec { name: "keeps".into(), typed: true, special: keeps, ..map(MapType::ARRAY, 4, 80, 1) },
            map(MapType::ARRAY, 4, 16, 1),
        ]
    }
}
