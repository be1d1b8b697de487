//! The real kernel's verdicts on simulated programs.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

use byteorder::NativeEndian;
use sidestep::asm::Insn;
use sidestep::asm::opcode as op;
use sidestep::btf::{Btf, BtfBuilder, Kind, Linkage};
use sidestep::syscall::btf::{StorageBtf, vmlinux};
use sidestep::syscall::{
    BtfObject, DebugInfo, Map, MapBtf, MapFlags, MapSpec, ProgSpec, Program, UpdateFlags, memlock,
};
use sidestep::uapi::{AttachType, ProgType};
use sidestep::verifier_sim::spec;

/// `BPF_LOG_STATS` (include/linux/bpf_verifier.h): the log is the statistics alone.
const STATISTICS: u32 = 4;

/// `BPF_LOG_LEVEL2`: the log has every path.
const EVERYTHING: u32 = 2;

/// Whether this machine can be asked. Without root it says loudly that nothing was compared and returns `false`; where
/// `CI` is set that is a failure, since CI runs as root. A kernel other than 6.18, whose rules the tests state, is not
/// compared either, and that is not a failure.
pub(crate) fn available(test: &str) -> bool {
    let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
    if !release.starts_with("6.18.") {
        eprintln!("\n*** {test}: NOT TESTED: it needs Linux 6.18, and this is {release} ***\n");
        return false;
    }
    if nix::unistd::geteuid().is_root() {
        memlock::raise_if_needed().unwrap();
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{test}: NOT TESTED: it needs root");
    eprintln!("\n*** {test}: NOT TESTED: it needs root ***\n");
    false
}

/// The release whose rules the simulator has, if that is the running kernel's.
pub(crate) fn running() -> Option<spec::Kernel> {
    let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
    spec::Kernel::ALL.into_iter().find(|kernel| release.starts_with(&format!("{kernel}.")))
}

/// The kernel's maps for a list of map descriptions. Each program type has its own: the first program that uses a
/// PROG_ARRAY decides which type may use it.
pub(crate) struct Oracle {
    descriptions: Vec<spec::MapSpec>,
    made: RefCell<HashMap<Place, Rc<Vec<Map>>>>,
    types: OnceCell<Btf>,
    targets: RefCell<HashMap<Place, u32>>,
}

/// Program type, attach type, and what is traced.
type Place = (ProgType, u32, Option<String>);

impl Oracle {
    /// For programs with these maps, which are created when they are needed.
    pub(crate) fn new(maps: impl Fn() -> Vec<spec::MapSpec>) -> Self {
        Self { descriptions: maps(), made: RefCell::default(), types: OnceCell::new(), targets: RefCell::default() }
    }

    fn maps(&self, place: &Place) -> Rc<Vec<Map>> {
        let mut made = self.made.borrow_mut();
        let maps = made.entry(place.clone()).or_insert_with(|| Rc::new(self.descriptions.iter().map(create).collect()));
        Rc::clone(maps)
    }

    /// Whether the kernel has what the program traces.
    pub(crate) fn has_target(&self, program: &spec::ProgramSpec) -> bool {
        let Some(name) = &program.attach_target else { return true };
        self.find(program.expected_attach_type, name).is_some()
    }

    /// The BTF ID of what programs of this attach type trace.
    fn find(&self, attach: u32, name: &str) -> Option<u32> {
        let types = self.types.get_or_init(|| vmlinux().unwrap());
        match AttachType(attach) {
            AttachType::TRACE_RAW_TP => types.by_name(Kind::Typedef, &format!("btf_trace_{name}")),
            AttachType::TRACE_ITER => types.func_by_name(&format!("bpf_iter_{name}")),
            _ => types.func_by_name(name),
        }
    }

    /// The BTF ID of what a tracing program traces.
    fn target(&self, place: &Place) -> u32 {
        let (_, attach, Some(name)) = place else { return 0 };
        let find = || self.find(*attach, name).unwrap_or_else(|| panic!("the kernel has no {name}"));
        *self.targets.borrow_mut().entry(place.clone()).or_insert_with(find)
    }

    /// Whether the kernel accepts the program, and its log if not.
    pub(crate) fn verdict(&self, program: &spec::ProgramSpec) -> Result<(), String> {
        self.load(program, |request| Program::load(request).map(drop))
    }

    /// How many instructions the kernel walks to accept the program, or its log.
    pub(crate) fn processed(&self, program: &spec::ProgramSpec) -> Result<u64, String> {
        let log = self.load(program, |request| Program::load_with_log(request, STATISTICS).map(|(_, log)| log))?;
        let number = log.split("processed ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        Ok(number.unwrap_or_else(|| panic!("a log without statistics: {log}")))
    }

    /// Whether the kernel accepts the program, and its log of level 2.
    pub(crate) fn whole_log(&self, program: &spec::ProgramSpec) -> (bool, String) {
        let log = self.load(program, |request| Program::load_with_log(request, EVERYTHING).map(|(_, log)| log));
        log.map_or_else(|log| (false, log), |log| (true, log))
    }

    fn load<T>(
        &self,
        program: &spec::ProgramSpec,
        load: impl Fn(&ProgSpec<'_>) -> sidestep::syscall::Result<T>,
    ) -> Result<T, String> {
        let mut insns = program.insns.clone();
        for insn in &mut insns {
            if insn.code == op::LD | op::IMM | op::DW && matches!(insn.src, op::PSEUDO_MAP_FD | op::PSEUDO_MAP_VALUE) {
                insn.imm = -1;
            }
        }
        let place = (program.prog_type, program.expected_attach_type, program.attach_target.clone());
        let maps = self.maps(&place);
        for load in &program.map_loads {
            insns[load.insn].imm = maps[load.map].as_fd().as_raw_fd();
        }
        let bytes = encode(&insns);
        let mut request = ProgSpec::new("sim", program.prog_type, &bytes);
        request.flags = program.prog_flags;
        request.license = c"GPL";
        request.expected_attach_type = Some(AttachType(program.expected_attach_type));
        request.attach_btf_id = self.target(&place);
        let types = (!program.functions.is_empty()).then(|| describe(&program.functions));
        request.debug =
            types.as_ref().map(|(object, func_info)| DebugInfo { btf: object.as_fd(), func_info, line_info: &[] });
        load(&request).map_err(|error| error.log().map_or_else(|| error.to_string(), str::to_owned))
    }
}

/// The BTF of functions whose context is `struct __sk_buff`, and the records that say where each begins.
fn describe(functions: &[spec::FunctionSpec]) -> (BtfObject, Vec<u8>) {
    let mut btf = <BtfBuilder>::new();
    let (int, byte) = (btf.int("int", 4, true), btf.int("char", 1, false));
    let context = btf.structure("__sk_buff", 4, &[("len", int, 0)]);
    let context = btf.pointer(context);
    let mut records = Vec::new();
    for function in functions {
        let mut tagged = Vec::new();
        let types = function.arguments.iter().enumerate().map(|(index, argument)| match *argument {
            spec::Argument::Context => context,
            spec::Argument::Memory { size, nullable } => {
                tagged.extend((!nullable).then_some(index as u32));
                let bytes = btf.array(byte, int, size);
                btf.pointer(bytes)
            }
            _ => int,
        });
        let types: Vec<_> = types.collect();
        let names: Vec<_> = (0..types.len()).map(|index| format!("a{index}")).collect();
        let parameters: Vec<_> = names.iter().map(String::as_str).zip(types).collect();
        let returns = if function.returns_number { int } else { 0 };
        let prototype = btf.func_proto(returns, &parameters);
        let linkage = if function.global { Linkage::Global } else { Linkage::Static };
        let id = btf.func(&function.name, prototype, linkage);
        for index in tagged {
            btf.argument_tag("arg:nonnull", id, index);
        }
        records.extend([function.insn as u32, id].map(u32::to_ne_bytes).concat());
    }
    (BtfObject::load(&btf.finish()).unwrap(), records)
}

fn encode(insns: &[Insn]) -> Vec<u8> {
    insns.iter().flat_map(|insn| insn.encode::<NativeEndian>()).collect()
}

fn create(map: &spec::MapSpec) -> Map {
    let kind = map.map_type;
    let request = MapSpec::new(&map.name, kind, map.key_size, map.value_size, map.max_entries)
        .flags(MapFlags::from_bits_retain(map.map_flags));
    use spec::MapType as Of;
    let stores = [Of::CGRP_STORAGE, Of::INODE_STORAGE, Of::SK_STORAGE, Of::TASK_STORAGE];
    let created = if stores.contains(&map.map_type) {
        let types = StorageBtf::load(map.value_size).unwrap();
        Map::create(&request.btf(types.for_map())).unwrap()
    } else if map.special.is_empty() {
        Map::create(&request).unwrap()
    } else {
        assert_eq!((map.special.len(), map.special[0].name.as_str()), (1, "bpf_spin_lock"));
        let mut btf = <BtfBuilder>::new();
        let int = btf.int("int", 4, true);
        let lock = btf.structure("bpf_spin_lock", 4, &[("val", int, 0)]);
        let value = btf.structure("value", map.value_size, &[("lock", lock, map.special[0].offset * 8)]);
        let object = BtfObject::load(&btf.finish()).unwrap();
        Map::create(&request.btf(MapBtf { fd: object.as_fd(), key_type_id: int, value_type_id: value })).unwrap()
    };
    if let Some(data) = &map.data {
        created.update(&[0; 4], data, UpdateFlags::empty()).unwrap();
    }
    if map.frozen {
        created.freeze().unwrap();
    }
    created
}
