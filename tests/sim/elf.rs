//! ELF objects written here, read back and verified.

use byteorder::NativeEndian;
use object::elf::{R_BPF_64_32, R_BPF_64_64, RelocationType};
use object::write::{Object, Relocation, StandardSection, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
};
use proptest::prelude::*;

use sidestep::asm::{Insn, opcode as op};
use sidestep::btf::{BtfBuilder, Linkage};
use sidestep::verifier_sim::elf::{ElfError, ElfProgram, KernelConfig, Target, read, read_for, read_on};
use sidestep::verifier_sim::spec::{MapLoad, MapSpec, MapType, Options, ProgType, SpecialField};
use sidestep::verifier_sim::types::KernelTypes;
use sidestep::verifier_sim::{untyped_maps, verify};

/// The kernel's loader refuses it (Documentation/bpf/llvm_reloc.rst).
const R_BPF_64_ABS64: RelocationType = RelocationType(2);

pub(crate) fn i(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn { code, dst, src, off, imm }
}

pub(crate) fn bytes(insns: &[Insn]) -> Vec<u8> {
    insns.iter().flat_map(|insn| insn.encode::<NativeEndian>()).collect()
}

pub(crate) const WIDE: [Insn; 2] =
    [Insn { code: 0x18, dst: 1, src: 0, off: 0, imm: 0 }, Insn { code: 0, dst: 0, src: 0, off: 0, imm: 0 }];
pub(crate) const EXIT: Insn = Insn { code: 0x95, dst: 0, src: 0, off: 0, imm: 0 };
const RETURN_1: [Insn; 2] = [Insn { code: 0xb7, dst: 0, src: 0, off: 0, imm: 1 }, EXIT];

/// `__uint(name, value)`.
fn uint(btf: &mut BtfBuilder, int: u32, value: u32) -> u32 {
    let array = btf.array(int, int, value);
    btf.pointer(array)
}

/// BTF for two maps: `pairs`, a hash of `struct { u32 a; struct bpf_spin_lock lock; }`, and `outer`, an array of arrays.
fn btf() -> Vec<u8> {
    let mut btf = <BtfBuilder>::new();
    let int = btf.int("int", 4, false);
    let alias = btf.typedef("u32", int);
    let lock = btf.structure("bpf_spin_lock", 4, &[("val", int, 0)]);
    let value = btf.structure("value", 8, &[("a", int, 0), ("lock", lock, 32)]);
    let key = btf.array(alias, int, 3);
    let (key_pointer, value_pointer) = (btf.pointer(key), btf.pointer(value));
    let (hash, entries, flags) =
        (uint(&mut btf, int, MapType::HASH.number()), uint(&mut btf, int, 64), uint(&mut btf, int, 1));
    let pairs = [
        ("type", hash),
        ("max_entries", entries),
        ("key", key_pointer),
        ("value", value_pointer),
        ("map_flags", flags),
    ];
    let pairs: Vec<_> = pairs.into_iter().enumerate().map(|(n, (name, id))| (name, id, n as u32 * 64)).collect();
    let pairs = btf.structure("", 40, &pairs);
    let pairs = btf.variable("pairs", pairs, Linkage::Global);

    let (array, four, eight) =
        (uint(&mut btf, int, MapType::ARRAY.number()), uint(&mut btf, int, 4), uint(&mut btf, int, 8));
    let inner = [("type", array), ("key_size", four), ("value_size", eight), ("max_entries", four)];
    let inner: Vec<_> = inner.into_iter().enumerate().map(|(n, (name, id))| (name, id, n as u32 * 64)).collect();
    let inner = btf.structure("inner", 32, &inner);
    let inner_pointer = btf.pointer(inner);
    let values = btf.array(inner_pointer, int, 0);
    let outer_type = uint(&mut btf, int, MapType::ARRAY_OF_MAPS.number());
    let outer = [("type", outer_type), ("key_size", four), ("max_entries", four), ("values", values)];
    let outer: Vec<_> = outer.into_iter().enumerate().map(|(n, (name, id))| (name, id, n as u32 * 64)).collect();
    let outer = btf.structure("", 24, &outer);
    let outer = btf.variable("outer", outer, Linkage::Global);
    btf.section(".maps", 72, &[(pairs, 0, 40), (outer, 40, 32)]);
    btf.finish()
}

/// An object under construction.
pub(crate) struct Writer {
    pub(crate) object: Object<'static>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        let order = if cfg!(target_endian = "big") { Endianness::Big } else { Endianness::Little };
        Self { object: Object::new(BinaryFormat::Elf, Architecture::Bpf, order) }
    }

    pub(crate) fn section(&mut self, name: &str, kind: SectionKind, data: &[u8]) -> object::write::SectionId {
        let id = if name == ".text" {
            self.object.section_id(StandardSection::Text)
        } else {
            self.object.add_section(Vec::new(), name.as_bytes().to_vec(), kind)
        };
        self.object.append_section_data(id, data, 8);
        id
    }

    pub(crate) fn symbol(
        &mut self,
        name: &str,
        section: Option<object::write::SectionId>,
        (value, size): (u64, u64),
        kind: SymbolKind,
        scope: SymbolScope,
    ) -> object::write::SymbolId {
        self.object.add_symbol(Symbol {
            name: name.as_bytes().to_vec(),
            value,
            size,
            kind,
            scope,
            weak: false,
            section: section.map_or(SymbolSection::Undefined, SymbolSection::Section),
            flags: SymbolFlags::None,
        })
    }

    pub(crate) fn function(
        &mut self,
        name: &str,
        section: object::write::SectionId,
        at: u64,
        size: u64,
    ) -> object::write::SymbolId {
        self.symbol(name, Some(section), (at, size), SymbolKind::Text, SymbolScope::Linkage)
    }

    pub(crate) fn relocate(
        &mut self,
        section: object::write::SectionId,
        offset: u64,
        r_type: RelocationType,
        symbol: object::write::SymbolId,
    ) {
        let relocation = Relocation { offset, symbol, addend: 0, flags: RelocationFlags::Elf { r_type } };
        self.object.add_relocation(section, relocation).unwrap();
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.object.write().unwrap()
    }
}

/// An object with a sock_ops and an sk_msg program, subprograms, both kinds of maps, and data.
fn full_object() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.section(".BTF", SectionKind::Other, &btf());
    let maps = writer.section(".maps", SectionKind::Data, &[0; 72]);
    let legacy = writer.section("maps", SectionKind::Data, &[18_u32, 8, 4, 4096, 0].map(u32::to_ne_bytes).concat());
    let constants = writer.section(".rodata", SectionKind::ReadOnlyData, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let pairs = writer.symbol("pairs", Some(maps), (0, 40), SymbolKind::Data, SymbolScope::Linkage);
    let outer = writer.symbol("outer", Some(maps), (40, 32), SymbolKind::Data, SymbolScope::Linkage);
    let sockets = writer.symbol("sockets", Some(legacy), (0, 20), SymbolKind::Data, SymbolScope::Linkage);
    let limit = writer.symbol("limit", Some(constants), (4, 4), SymbolKind::Data, SymbolScope::Linkage);

    // .text: never called; then `helper`, which calls `leaf` behind itself without a relocation.
    let unused = [i(0xb7, 0, 0, 0, 77), EXIT];
    let helper = [i(0x85, 0, 1, 0, 1), EXIT];
    let leaf = [i(0xb7, 0, 0, 0, 0), EXIT];
    let text = writer.section(".text", SectionKind::Text, &bytes(&[unused, helper, leaf].concat()));
    writer.function("unused", text, 0, 16);
    let helper = writer.function("helper", text, 16, 16);
    writer.symbol("leaf", Some(text), (32, 16), SymbolKind::Text, SymbolScope::Compilation);

    let program = [WIDE.as_slice(), &WIDE, &WIDE, &[i(0x85, 0, 1, 0, -1)], &RETURN_1].concat();
    let sockops = writer.section("sockops", SectionKind::Text, &bytes(&program));
    writer.function("on_established", sockops, 0, program.len() as u64 * 8);
    writer.relocate(sockops, 0, R_BPF_64_64, pairs);
    writer.relocate(sockops, 16, R_BPF_64_64, sockets);
    writer.relocate(sockops, 32, R_BPF_64_64, limit);
    writer.relocate(sockops, 48, R_BPF_64_32, helper);

    let program = [WIDE.as_slice(), &RETURN_1].concat();
    let sk_msg = writer.section("sk_msg", SectionKind::Text, &bytes(&[program.as_slice(), &RETURN_1].concat()));
    writer.function("on_send", sk_msg, 0, 32);
    writer.function("pass", sk_msg, 32, 16);
    writer.relocate(sk_msg, 0, R_BPF_64_64, outer);
    writer.finish()
}

fn by_name<'a>(programs: &'a [ElfProgram], name: &str) -> &'a ElfProgram {
    programs.iter().find(|program| program.name == name).unwrap()
}

#[test]
fn programs_maps_and_calls_are_linked() {
    let programs = read(&full_object(), None).unwrap();
    assert_eq!(
        programs.iter().map(|program| program.name.as_str()).collect::<Vec<_>>(),
        ["on_established", "on_send", "pass"]
    );

    let established = by_name(&programs, "on_established");
    assert_eq!(established.section, "sockops");
    let spec = established.spec.as_ref().unwrap();
    assert_eq!((spec.prog_type, spec.expected_attach_type), (ProgType::SOCK_OPS, 3));
    // Nine slots of its own, then `helper` and `leaf` in the order in which they were reached.
    assert_eq!(spec.insns.len(), 13);
    assert_eq!(spec.insns[6], i(0x85, 0, op::PSEUDO_CALL, 0, 2));
    assert_eq!(spec.insns[9], i(0x85, 0, op::PSEUDO_CALL, 0, 1));
    assert_eq!(spec.insns[11].imm, 0);
    assert_eq!(spec.map_loads, [0, 2, 4].map(|insn| MapLoad { insn, map: insn / 2 }));
    assert_eq!((spec.insns[0].src, spec.insns[0].imm), (op::PSEUDO_MAP_FD, 0));
    assert_eq!((spec.insns[2].src, spec.insns[2].imm), (op::PSEUDO_MAP_FD, 1));
    assert_eq!((spec.insns[4].src, spec.insns[4].imm, spec.insns[5].imm), (op::PSEUDO_MAP_VALUE, 2, 4));
    assert_eq!(
        spec.maps,
        [
            MapSpec {
                name: "pairs".into(),
                map_type: MapType::HASH,
                key_size: 12,
                value_size: 8,
                max_entries: 64,
                map_flags: 1,
                typed: true,
                special: vec![SpecialField { name: "bpf_spin_lock".into(), offset: 4, ..SpecialField::default() }],
                ..MapSpec::default()
            },
            MapSpec {
                name: "sockets".into(),
                map_type: MapType::SOCKHASH,
                key_size: 8,
                value_size: 4,
                max_entries: 4096,
                ..MapSpec::default()
            },
            MapSpec {
                name: ".rodata".into(),
                map_type: MapType::ARRAY,
                key_size: 4,
                value_size: 8,
                max_entries: 1,
                map_flags: 1 << 7,
                data: Some(vec![1, 2, 3, 4, 5, 6, 7, 8]),
                frozen: true,
                ..MapSpec::default()
            },
        ]
    );

    let send = by_name(&programs, "on_send").spec.as_ref().unwrap();
    assert_eq!((send.prog_type, send.expected_attach_type), (ProgType::SK_MSG, 7));
    let inner = MapSpec { map_type: MapType::ARRAY, key_size: 4, value_size: 8, max_entries: 4, ..MapSpec::default() };
    assert_eq!(send.maps[0].inner, Some(Box::new(inner)));
    assert_eq!(send.maps[0].map_type, MapType::ARRAY_OF_MAPS);
    assert_eq!(by_name(&programs, "pass").spec.as_ref().unwrap().insns, RETURN_1);
}

#[test]
fn linked_programs_go_through_the_verifier() {
    for program in read(&full_object(), None).unwrap() {
        let spec = program.spec.unwrap();
        let verdict = verify(&spec, &Options::default());
        assert!(verdict.is_accept(), "{}: {}", program.name, verdict.reason());
    }
}

/// The kernel has no locks in least-recently-used maps, nor in maps that programs may only read (`map_check_btf`). It makes both without
/// types, and then their locks are none.
#[test]
fn maps_are_named_that_the_kernel_makes_only_without_types() {
    let programs = read(&full_object(), None).unwrap();
    let spec = programs.iter().filter_map(|program| program.spec.as_ref().ok()).find(|spec| spec.maps.len() == 3);
    let mut spec = spec.unwrap().clone();
    assert!(untyped_maps(&spec, &Options::default()).is_empty());
    // r1 = the map, r2 = a key of zeros on the stack, r1 = r0 + 4, the lock is taken and given back.
    let (add, call) = (i(0x07, 1, 0, 0, 4), |helper| i(0x85, 0, 0, 0, helper));
    spec.insns = vec![i(0x7a, 10, 0, -8, 0), i(0x7a, 10, 0, -16, 0), i(0xbf, 2, 10, 0, 0), i(0x07, 2, 0, 0, -16)];
    spec.insns.extend([WIDE[0], WIDE[1], call(1), i(0x55, 0, 0, 2, 0), RETURN_1[0], EXIT, i(0xbf, 6, 0, 0, 0)]);
    spec.insns.extend([i(0xbf, 1, 6, 0, 0), add, call(93), i(0xbf, 1, 6, 0, 0), add, call(94), RETURN_1[0], EXIT]);
    spec.insns[4].src = op::PSEUDO_MAP_FD;
    spec.map_loads = vec![MapLoad { insn: 4, map: 0 }];
    let verdict = verify(&spec, &Options::default());
    assert!(verdict.is_accept(), "{}", verdict.reason());
    let mut faulty = [spec.clone(), spec];
    faulty[0].maps[0].map_type = MapType::LRU_HASH;
    faulty[1].maps[0].map_flags = 1 << 7;
    for spec in &faulty {
        assert_eq!(untyped_maps(spec, &Options::default()), [&spec.maps[0]]);
        let reason = verify(spec, &Options::default()).reason();
        assert!(reason.contains("map 'pairs' has to have BTF in order to use bpf_spin_lock"), "{reason}");
    }
}

#[test]
fn the_caller_may_choose_the_type() {
    let mut writer = Writer::new();
    writer.section("my_programs", SectionKind::Text, &bytes(&RETURN_1));
    let object = writer.finish();
    let unnamed = read(&object, None).unwrap();
    assert_eq!(unnamed[0].spec, Err(ElfError::SectionName("my_programs".into())));
    let typed = read(&object, Some(ProgType::SK_MSG)).unwrap();
    assert_eq!(typed[0].spec.as_ref().unwrap().prog_type, ProgType::SK_MSG);
    assert_eq!(typed[0].name, "my_programs");
}

/// One program of `insns` in section `sk_msg` after `damage` has had its way with the object.
fn one(insns: &[Insn], damage: impl FnOnce(&mut Writer, object::write::SectionId)) -> Result<ElfProgram, ElfError> {
    let mut writer = Writer::new();
    let section = writer.section("sk_msg", SectionKind::Text, &bytes(insns));
    writer.function("main", section, 0, insns.len() as u64 * 8);
    damage(&mut writer, section);
    Ok(read(&writer.finish(), None)?.remove(0))
}

/// The functions and variables that an object asks the kernel for, as the kernel numbers them.
#[test]
fn symbols_of_the_kernel_are_found_in_its_types() {
    let mut kernel = <BtfBuilder>::new();
    let int = kernel.int("int", 4, true);
    let nothing = kernel.func_proto(0, &[]);
    let function = kernel.func("bpf_rcu_read_lock", nothing, Linkage::Static);
    let variable = kernel.variable("bpf_prog_active", int, Linkage::Global);
    kernel.func("bpf_preempt", nothing, Linkage::Static);
    kernel.variable("bpf_stats", int, Linkage::Global);
    let types: &'static KernelTypes = Box::leak(Box::new(KernelTypes::parse(kernel.finish()).unwrap()));

    let mut own = <BtfBuilder>::new();
    let int = own.int("int", 4, true);
    let nothing = own.func_proto(0, &[]);
    let mut asked = Vec::new();
    for name in ["bpf_rcu_read_lock", "bpf_missing", "bpf_rcu_read_lock___other"] {
        asked.push((own.func(name, nothing, Linkage::Global), 0, 0));
    }
    let one = own.func_proto(0, &[("", int)]);
    asked.push((own.func("bpf_rcu_read_lock___wrong", one, Linkage::Global), 0, 0));
    let pointer = own.pointer(int);
    for (name, of) in
        [("bpf_prog_active", int), ("missing", int), ("address", 0), ("bpf_preempt", 0), ("bpf_stats", pointer)]
    {
        asked.push((own.variable(name, of, Linkage::Global), 0, 0));
    }
    own.section(".ksyms", 0, &asked);
    let own = own.finish();

    let link = |name: &str, call: bool, weak: bool| {
        let insns = if call { vec![i(0x85, 0, 1, 0, -1), EXIT] } else { [WIDE.as_slice(), &RETURN_1].concat() };
        let mut writer = Writer::new();
        writer.section(".BTF", SectionKind::Other, &own);
        let section = writer.section("tc", SectionKind::Text, &bytes(&insns));
        writer.function("main", section, 0, insns.len() as u64 * 8);
        let symbol = writer.symbol(name, None, (0, 0), SymbolKind::Unknown, SymbolScope::Linkage);
        writer.object.symbol_mut(symbol).weak = weak;
        writer.relocate(section, 0, if call { R_BPF_64_32 } else { R_BPF_64_64 }, symbol);
        let object = writer.finish();
        let program = |types| read_for(&object, None, types).unwrap().remove(0).spec.map(|spec| spec.insns[0]);
        assert_eq!(program(None), Err(ElfError::NeedsTypes(name.to_owned())));
        program(Some(types)).map(|insn| (insn.src, insn.imm))
    };
    assert_eq!(link("bpf_rcu_read_lock", true, false), Ok((op::PSEUDO_KFUNC_CALL, function as i32)));
    assert_eq!(link("bpf_rcu_read_lock", false, false), Ok((op::PSEUDO_BTF_ID, function as i32)));
    assert_eq!(link("bpf_prog_active", false, false), Ok((op::PSEUDO_BTF_ID, variable as i32)));
    // A weak symbol may be missing: its address is 0, and a call of it is one of a helper that does not exist.
    assert_eq!(link("missing", false, true), Ok((0, 0)));
    assert_eq!(link("bpf_missing", true, true), Ok((0, 2_002_000_000)));
    let missing = |name: &str| Err(ElfError::Extern(name.to_owned()));
    assert_eq!(link("missing", false, false), missing("missing"));
    assert_eq!(link("bpf_missing", true, false), missing("bpf_missing"));
    assert_eq!(link("address", false, true), missing("address"));
    // Of a function without a type there is only the address.
    assert_eq!(link("bpf_preempt", false, false), Ok((0, 0x8100_0000_u32 as i32)));
    // A function may be declared in several ways; a weak one that the kernel has in another way is missing.
    assert_eq!(link("bpf_rcu_read_lock___other", true, false), Ok((op::PSEUDO_KFUNC_CALL, function as i32)));
    assert_eq!(link("bpf_rcu_read_lock___wrong", true, true), Ok((0, 2_002_000_000)));
    let other = |name: &str| Err(ElfError::OtherType(name.to_owned()));
    assert_eq!(link("bpf_rcu_read_lock___wrong", true, false), other("bpf_rcu_read_lock___wrong"));
    assert_eq!(link("bpf_stats", false, true), other("bpf_stats"));
    assert_eq!(link("not_in_btf", false, false), missing("not_in_btf"));
}

/// Programs read how the kernel is configured from a map that cannot change, so the verifier knows the values.
#[test]
fn the_kernels_configuration_is_a_map() {
    let mut btf = <BtfBuilder>::new();
    let int = btf.int("int", 4, true);
    let parts = ["CONFIG_HZ", "CONFIG_WEAK"].map(|name| (btf.variable(name, int, Linkage::Global), 0, 0));
    btf.section(".kconfig", 0, &parts);
    // r0 = *(u32 *)(r1 +0); a path that leaves r0 unset is not taken if CONFIG_HZ is 250.
    let load = i(0x61, 0, 1, 0, 0);
    let insns = [WIDE.as_slice(), &[load, i(0x15, 0, 0, 1, 250), i(0xbf, 0, 7, 0, 0), EXIT]].concat();
    let mut writer = Writer::new();
    writer.section(".BTF", SectionKind::Other, &btf.finish());
    let section = writer.section("sk_msg", SectionKind::Text, &bytes(&insns));
    writer.function("main", section, 0, insns.len() as u64 * 8);
    let symbol = writer.symbol("CONFIG_HZ", None, (0, 0), SymbolKind::Unknown, SymbolScope::Linkage);
    writer.relocate(section, 0, R_BPF_64_64, symbol);
    let weak = writer.symbol("CONFIG_WEAK", None, (0, 0), SymbolKind::Unknown, SymbolScope::Linkage);
    writer.object.symbol_mut(weak).weak = true;
    let object = writer.finish();
    let program = |text: &str| {
        let config = KernelConfig::parse(text);
        read_on(&object, None, Target { config: Some(&config), ..Target::default() }).unwrap().remove(0).spec
    };
    let spec = program("CONFIG_HZ=250\n").unwrap();
    assert_eq!((spec.insns[0].src, spec.insns[1].imm), (op::PSEUDO_MAP_VALUE, 0));
    let map = &spec.maps[0];
    assert_eq!((map.name.as_str(), map.frozen), (".kconfig", true));
    assert_eq!(map.data.as_deref(), Some([250_i32, 0].map(i32::to_ne_bytes).as_flattened()));
    assert!(verify(&spec, &Options::default()).is_accept());
    let other = verify(&program("CONFIG_HZ=100\n").unwrap(), &Options::default());
    assert!(other.reason().contains("R7 !read_ok"), "{}", other.reason());
    let missing = program("CONFIG_OTHER=y\n").unwrap_err();
    assert!(matches!(&missing, ElfError::Kconfig { name, .. } if name == "CONFIG_HZ") && !missing.needs_more());
    let unknown = read(&object, None).unwrap().remove(0).spec.unwrap_err();
    assert!(unknown == ElfError::NeedsConfig("CONFIG_HZ".into()) && unknown.needs_more());
}

#[test]
fn a_license_is_read() {
    let not_gpl = |license: Option<&[u8]>| {
        let damage = |writer: &mut Writer, _| {
            license.map(|license| writer.section("license", SectionKind::Data, license));
        };
        one(&RETURN_1, damage).unwrap().spec.unwrap().not_gpl
    };
    assert!(!not_gpl(Some(b"GPL\0")) && !not_gpl(Some(b"Dual BSD/GPL\0rest")));
    // libbpf gives an empty one where there is none.
    assert!(not_gpl(None) && not_gpl(Some(b"")) && not_gpl(Some(b"Proprietary\0")) && not_gpl(Some(b"gpl\0")));
}

/// Very many fields in variables, and very many loads of one, take neither time nor memory.
#[test]
fn crafted_data_is_read_soon() {
    let data = |variables: usize, loads: usize| {
        let mut btf = <BtfBuilder>::new();
        let int = btf.int("int", 4, false);
        let timer = btf.structure("bpf_timer", 16, &[("x", int, 0)]);
        let timers = btf.array(timer, int, 60_000);
        let mut writer = Writer::new();
        let section = writer.section(".data", SectionKind::Data, &[0; 64]);
        let mut parts = Vec::new();
        let mut symbols = Vec::new();
        for number in 0..variables {
            let name = format!("variable{number}");
            parts.push((btf.variable(&name, timers, Linkage::Global), 0, 4));
            symbols.push(writer.symbol(&name, Some(section), (0, 4), SymbolKind::Data, SymbolScope::Linkage));
        }
        btf.section(".data", 64, &parts);
        writer.section(".BTF", SectionKind::Other, &btf.finish());
        let insns = [WIDE.repeat(loads).as_slice(), &RETURN_1].concat();
        let code = writer.section("sk_msg", SectionKind::Text, &bytes(&insns));
        writer.function("main", code, 0, insns.len() as u64 * 8);
        for load in 0..loads {
            writer.relocate(code, load as u64 * 16, R_BPF_64_64, symbols[load % variables]);
        }
        let object = writer.finish();
        let start = std::time::Instant::now();
        let spec = read(&object, None).unwrap().remove(0).spec;
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
        spec
    };
    let one = data(1, 50_000).unwrap();
    // The kernel has room for eleven fields, and takes care of none where there are more.
    assert_eq!((one.maps.len(), one.maps[0].special.len(), one.map_loads.len()), (1, 0, 50_000));
    let many = data(10_000, 50_000).unwrap();
    assert_eq!((many.maps.len(), many.maps[0].special.len()), (1, 0));
}

#[test]
fn bad_relocations_are_named() {
    let call = [i(0x85, 0, 1, 0, -1), EXIT];
    let load = [WIDE.as_slice(), &RETURN_1].concat();
    let check = |what: &str, program: Result<ElfProgram, ElfError>, part: &str| {
        let error = match program {
            Ok(program) => program.spec.unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(part), "{what}: {error}");
    };
    let undefined = |kind: RelocationType| {
        move |writer: &mut Writer, section| {
            let symbol = writer.symbol("jiffies", None, (0, 0), SymbolKind::Unknown, SymbolScope::Linkage);
            writer.relocate(section, 0, kind, symbol);
        }
    };
    check("extern variable", one(&load, undefined(R_BPF_64_64)), "\"jiffies\" is not defined");
    check("extern function", one(&call, undefined(R_BPF_64_32)), "\"jiffies\" is not defined");
    check("other kind", one(&load, undefined(R_BPF_64_ABS64)), "of type 2");
    check("load on a call", one(&call, undefined(R_BPF_64_64)), "does not point to a 64-bit immediate load");
    check("call on a load", one(&load, undefined(R_BPF_64_32)), "does not point to a call");
    for offset in [4, 8, 16, 32, 1 << 40] {
        let at = |writer: &mut Writer, section: object::write::SectionId| {
            let symbol = writer.function("f", section, 0, 16);
            writer.relocate(section, offset, R_BPF_64_32, symbol);
        };
        check("between or behind instructions", one(&load, at), "does not point to a 64-bit immediate load or a call");
    }
    let into_section = |name: &'static str, size: usize, value: u64| {
        move |writer: &mut Writer, section| {
            let target = writer.section(name, SectionKind::Data, &vec![0; size]);
            let symbol = writer.symbol("thing", Some(target), (value, 4), SymbolKind::Data, SymbolScope::Linkage);
            writer.relocate(section, 0, R_BPF_64_64, symbol);
        }
    };
    check("not data", one(&load, into_section("other", 8, 0)), "neither a map, data nor a function");
    check("behind the data", one(&load, into_section(".data", 8, 8)), "byte 8 of \".data\"");
    check("no BTF", one(&load, into_section(".maps", 32, 0)), "missing from the object's BTF");
    check("short map", one(&load, into_section("maps", 12, 0)), "shorter than 16 bytes");
    let middle = |writer: &mut Writer, section| {
        let text = writer.section(".text", SectionKind::Text, &bytes(&RETURN_1));
        writer.function("f", text, 0, 16);
        let symbol = writer.function("middle", text, 8, 8);
        writer.relocate(section, 0, R_BPF_64_32, symbol);
    };
    let call_behind = [i(0x85, 0, 1, 0, 0), EXIT];
    check("call behind a function", one(&call_behind, middle), "does not lead to a function");
    check("relative call to nowhere", one(&[i(0x85, 0, 1, 0, 100), EXIT], |_, _| ()), "does not lead to a function");
    check("half a load", one(&WIDE[..1], into_section(".data", 8, 0)), "with both its slots");
}

#[test]
fn files_that_are_no_bpf_objects_are_refused() {
    let good = full_object();
    let with = |offset: usize, value: u8| {
        let mut object = good.clone();
        object[offset] = value;
        read(&object, None).unwrap_err()
    };
    assert_eq!(read(b"", None), Err(ElfError::NotElf));
    assert_eq!(read(b"#!/bin/sh", None), Err(ElfError::NotElf));
    assert_eq!(with(4, 1), ElfError::Class);
    let (other_order, low) = if cfg!(target_endian = "big") { (1, 1) } else { (2, 0) };
    assert_eq!(with(5, other_order), ElfError::Endianness);
    assert_eq!(with(16 + low, 2), ElfError::Type(2));
    assert_eq!(with(18 + low, 62), ElfError::Machine(62));
    assert_eq!(read(&Writer::new().finish(), None), Err(ElfError::NoPrograms));

    let mut writer = Writer::new();
    writer.section("sk_msg", SectionKind::Text, &[0; 12]);
    assert_eq!(read(&writer.finish(), None), Err(ElfError::SectionSize { section: "sk_msg".into(), size: 12 }));
    let mut writer = Writer::new();
    let section = writer.section("sk_msg", SectionKind::Text, &bytes(&RETURN_1));
    writer.function("long", section, 8, 16);
    assert!(matches!(read(&writer.finish(), None), Err(ElfError::Function { .. })));
}

#[test]
fn every_truncation_is_an_error_or_harmless() {
    let good = full_object();
    for length in 0..good.len() {
        if let Err(error) = read(&good[..length], None) {
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
    // The section headers are at the end, so every real cut is noticed.
    assert!(read(&good[..good.len() - 1], None).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn mutated_objects_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut object = full_object();
        for (place, value) in changes {
            let place = place.index(object.len());
            object[place] = value;
        }
        if let Ok(programs) = read(&object, None) {
            for program in programs {
                if let Err(error) = program.spec {
                    prop_assert!(!error.to_string().is_empty());
                }
            }
        }
    }

    #[test]
    fn mutated_type_information_never_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let types = btf();
        let object = full_object();
        let start = object.windows(types.len()).position(|window| window == types).unwrap();
        let mut object = object;
        for (place, value) in changes {
            let place = start + place.index(types.len());
            object[place] = value;
        }
        let _ = read(&object, None).map(|programs| programs.len());
    }
}
