//! The kernel, with maps and programs that have types.

use std::os::fd::{AsFd, AsRawFd};

use byteorder::NativeEndian;
use sidestep::asm::{self, Insn};
use sidestep::btf::{Btf, Kind};
use sidestep::syscall::btf::vmlinux;
use sidestep::syscall::{BtfObject, DebugInfo, Map, MapBtf, MapSpec, ProgSpec, Program};
use sidestep::uapi::ProgType;
use sidestep::verifier_sim::spec::{FunctionSpec, Options, ProgramSpec};

use super::types::Types;
use crate::link::{linked, map_loads};
use crate::rules::typed_options;

/// `BPF_LOG_LEVEL2` (include/linux/bpf_verifier.h).
const EVERYTHING: u32 = 2;

/// The kernel that is asked, its types, and the simulator's settings.
pub(super) struct Judges {
    types: Types,
    object: BtfObject,
    maps: Vec<Map>,
    kernel: Btf,
    pub(super) options: Options,
}

impl Judges {
    pub(super) fn new(test: &str) -> Option<Self> {
        let options = typed_options(test)?;
        let types = Types::new();
        let object = BtfObject::load(&types.bytes).unwrap();
        let make = |(number, map): (usize, sidestep::verifier_sim::spec::MapSpec)| {
            let request = MapSpec::new(&map.name, map.map_type, map.key_size, map.value_size, map.max_entries);
            match types.values.get(number) {
                Some(&value) => {
                    let described = MapBtf { fd: object.as_fd(), key_type_id: types.int, value_type_id: value };
                    Map::create(&request.btf(described)).unwrap()
                }
                None => Map::create(&request).unwrap(),
            }
        };
        let maps = types.maps().into_iter().enumerate().map(make).collect();
        Some(Self { types, object, maps, kernel: vmlinux().unwrap(), options })
    }

    /// The instructions of `text`; `@name` stands for the number of a function or structure of the kernel, `%name` for that of
    /// a structure of the program.
    fn parse(&self, text: &str) -> Vec<Insn> {
        let mut lines = String::new();
        for line in text.lines() {
            let line = match (line.split_once('@'), line.split_once('%')) {
                (Some((before, name)), _) => {
                    let found = self.kernel.func_by_name(name).or_else(|| self.kernel.by_name(Kind::Struct, name));
                    let id = found.unwrap_or_else(|| panic!("the kernel has no {name}"));
                    format!("{before}kernel-function#{id}")
                }
                (None, Some((before, name))) => {
                    let found = self.types.structures.iter().find(|(known, _)| *known == name);
                    format!("{before}{}", found.unwrap_or_else(|| panic!("no {name}")).1)
                }
                (None, None) => line.to_owned(),
            };
            lines.push_str(&line);
            lines.push('\n');
        }
        asm::parse_program(&lines).unwrap_or_else(|error| panic!("{error}\n{lines}"))
    }

    /// A program of these functions, the main one first. `subprog[+1]` names the second one.
    pub(super) fn program(&self, prog_type: ProgType, functions: &[&str]) -> ProgramSpec {
        let (insns, starts) = linked(functions.iter().map(|text| self.parse(text)));
        let describe = |(number, start): (usize, &usize)| FunctionSpec {
            name: format!("f{number}"),
            insn: *start,
            global: false,
            returns_number: true,
            arguments: Vec::new(),
        };
        ProgramSpec {
            name: "objects".into(),
            prog_type,
            functions: starts.iter().enumerate().map(describe).collect(),
            map_loads: map_loads(&insns),
            insns,
            maps: self.types.maps(),
            types: Some(self.types.parsed.clone()),
            ..ProgramSpec::default()
        }
    }

    /// Whether the kernel accepts the program, and its log.
    pub(super) fn ask(&self, program: &ProgramSpec) -> (bool, String) {
        let mut insns = program.insns.clone();
        for load in &program.map_loads {
            insns[load.insn].imm = self.maps[load.map].as_fd().as_raw_fd();
        }
        let bytes: Vec<u8> = insns.iter().flat_map(|insn| insn.encode::<NativeEndian>()).collect();
        let records = program.functions.iter().enumerate();
        let records = records.flat_map(|(number, function)| [function.insn as u32, self.types.function(number)]);
        let func_info: Vec<u8> = records.flat_map(u32::to_ne_bytes).collect();
        let mut request = ProgSpec::new("objects", program.prog_type, &bytes);
        request.debug = Some(DebugInfo { btf: self.object.as_fd(), func_info: &func_info, line_info: &[] });
        match Program::load_with_log(&request, EVERYTHING) {
            Ok((_, log)) => (true, log),
            Err(error) => (false, error.log().map_or_else(|| error.to_string(), str::to_owned)),
        }
    }
}

/// How many instructions the kernel has walked.
pub(super) fn walked(log: &str) -> Option<u64> {
    log.rsplit("processed ").next()?.split(' ').next()?.parse().ok()
}
