//! Puts one program together: its function, the functions it reaches behind it, maps and calls resolved.

use std::collections::BTreeMap;

use object::SectionIndex;
use object::elf::{R_BPF_64_32, R_BPF_64_64};

use super::core_relo::CoreRelocations;
use super::object::{Code, Function, Object, Relocation, Symbol};
use super::{ElfError, Target, externs, functions, kconfig, map, section};
use crate::asm::{Insn, opcode as op};
use crate::uapi::AttachType;
use crate::verifier_sim::load_flags::BPF_F_SLEEPABLE;
use crate::verifier_sim::spec::{FunctionSpec, MapLoad, MapSpec, ProgType, ProgramSpec};

/// Characters of a map's name that the kernel keeps (`BPF_OBJ_NAME_LEN`, without the end).
const MAX_NAME: usize = 15;

/// `BPF_COMPLEXITY_LIMIT_INSNS` (include/linux/bpf.h).
const MAX_SLOTS: usize = 1_000_000;
/// Opcode of a 64-bit immediate load.
const WIDE_LOAD: u8 = op::LD | op::IMM | op::DW;
/// Opcode of a call.
const CALL: u8 = op::JMP | op::CALL;

/// A CO-RE relocation that is listed counts like as many slots of 8 bytes as it and its text take, and so does an error.
const LISTED: usize = 32;
const ERROR: usize = 128;

/// A program, or why there is none.
pub(super) struct Linked {
    pub(super) spec: Result<ProgramSpec, ElfError>,
    /// What became of its CO-RE relocations; without a program, nothing.
    pub(super) relocations: CoreRelocations,
    /// How much was looked at and is kept, in slots.
    pub(super) size: usize,
}

/// Links the program that begins with `function` of `section`; see [`super::read`] for `prog_type`.
pub(super) fn link(
    object: &Object<'_>,
    place: (SectionIndex, &Function),
    prog_type: Option<ProgType>,
    kernel: Target<'_>,
) -> Linked {
    let mut linker = Linker {
        object,
        kernel,
        relocations: CoreRelocations::default(),
        out: ProgramSpec::default(),
        slots: 0,
        placed: BTreeMap::new(),
        queue: Vec::new(),
        maps: BTreeMap::new(),
    };
    let spec = linker.program(place, prog_type);
    let maps = &spec.as_ref().unwrap_or(&linker.out).maps;
    let maps = maps.iter().map(|map| 1 + map.special.len() + map.data.as_ref().map_or(0, Vec::len) / 64);
    let size = linker.slots + linker.relocations.unresolved.len() * LISTED + maps.sum::<usize>();
    match spec {
        Ok(_) => Linked { spec, relocations: linker.relocations, size },
        Err(_) => Linked { spec, relocations: CoreRelocations::default(), size: size + ERROR },
    }
}

struct Linker<'o, 'a> {
    object: &'o Object<'a>,
    /// It has the symbols that are nowhere in the object.
    kernel: Target<'o>,
    /// What became of the CO-RE relocations in the output.
    relocations: CoreRelocations,
    out: ProgramSpec,
    /// How many slots the functions have that were to be placed.
    slots: usize,
    /// Where each function went: (section, first slot) to slot in the output.
    placed: BTreeMap<(usize, usize), usize>,
    /// Functions in the output that are not resolved yet.
    queue: Vec<Placed>,
    /// The number of the map at a place: (section, byte offset); global data sections are one map each.
    maps: BTreeMap<(usize, u64), usize>,
}

/// A function in the output.
struct Placed {
    section: SectionIndex,
    /// First slot in the section.
    start: usize,
    len: usize,
    /// First slot in the output.
    at: usize,
}

/// The slot being resolved.
#[derive(Clone, Copy)]
struct Site<'o> {
    code: &'o Code,
    section: SectionIndex,
    /// Slot in the section.
    slot: usize,
    /// Slot in the output.
    at: usize,
}

impl Site<'_> {
    fn bad_place(&self, relocation: Relocation, wanted: &'static str) -> ElfError {
        ElfError::RelocationPlace { section: self.code.name.clone(), offset: relocation.offset, wanted }
    }

    fn bad_target(&self, relocation: Relocation, target: impl Into<String>) -> ElfError {
        let section = self.code.name.clone();
        ElfError::RelocationTarget { section, offset: relocation.offset, target: target.into() }
    }
}

impl Linker<'_, '_> {
    fn program(
        &mut self,
        (section, function): (SectionIndex, &Function),
        prog_type: Option<ProgType>,
    ) -> Result<ProgramSpec, ElfError> {
        let object = self.object;
        let name = object.code(section).map_or("", |code| code.name.as_str());
        let (prog_type, expected_attach_type) = match prog_type {
            Some(prog_type) => (prog_type, AttachType(0)),
            None => section::program_type(name).ok_or_else(|| ElfError::SectionName(name.to_owned()))?,
        };
        let target = section::target(name).filter(|_| prog_type == ProgType::TRACING).map(str::to_owned);
        if functions::has_exception_callback(&object.btf, function) {
            return Err(ElfError::ExceptionCallback(function.name.clone()));
        }
        self.place(section, function)?;
        self.resolve_all()?;
        Ok(ProgramSpec {
            name: function.name.clone(),
            prog_type,
            expected_attach_type: expected_attach_type.number(),
            attach_target: target,
            prog_flags: if section::may_sleep(name) { BPF_F_SLEEPABLE } else { 0 },
            functions: self.functions(prog_type),
            types: object.types(),
            not_gpl: object.not_gpl,
            ..std::mem::take(&mut self.out)
        })
    }

    /// What BTF says of the functions in the output; nothing if it does not know them all.
    fn functions(&self, prog_type: ProgType) -> Vec<FunctionSpec> {
        if !self.object.describes_functions {
            return Vec::new();
        }
        let mut placed: Vec<_> = self.placed.iter().map(|(&(section, start), &at)| (at, section, start)).collect();
        placed.sort_unstable();
        let describe = |(at, section, start)| {
            let functions = &self.object.code(SectionIndex(section))?.functions;
            let function = functions.iter().find(|function| function.start == start)?;
            functions::describe(&self.object.btf, function, at, prog_type)
        };
        placed.into_iter().map(describe).collect::<Option<_>>().unwrap_or_default()
    }

    /// Appends a function, once, and returns its first slot.
    fn place(&mut self, section: SectionIndex, function: &Function) -> Result<usize, ElfError> {
        if let Some(&at) = self.placed.get(&(section.0, function.start)) {
            return Ok(at);
        }
        let insns = self.object.code(section).and_then(|code| code.insns.get(function.start..)?.get(..function.len));
        let insns = insns.unwrap_or_default();
        let at = self.out.insns.len();
        if at + insns.len() > MAX_SLOTS {
            return Err(ElfError::TooLong(MAX_SLOTS));
        }
        self.slots += insns.len();
        let part = function.start..function.start + insns.len();
        self.object.relocated.count(&self.object.btf, section.0, part, at, &mut self.relocations)?;
        self.out.insns.extend_from_slice(insns);
        self.placed.insert((section.0, function.start), at);
        self.queue.push(Placed { section, start: function.start, len: insns.len(), at });
        Ok(at)
    }

    /// Resolves every placed function, and those that this places, until all is resolved.
    fn resolve_all(&mut self) -> Result<(), ElfError> {
        while let Some(Placed { section, start, len, at }) = self.queue.pop() {
            let Some(code) = self.object.code(section) else { continue };
            self.check_places(code, start, len)?;
            let mut slot = start;
            while slot < start + len {
                let wide = code.insns.get(slot).is_some_and(|insn| insn.code == WIDE_LOAD);
                self.resolve(Site { code, section, slot, at: at + slot - start })?;
                slot += if wide { 2 } else { 1 };
            }
        }
        Ok(())
    }

    /// Every relocation must lie on a slot that is looked at later.
    fn check_places(&self, code: &Code, start: usize, len: usize) -> Result<(), ElfError> {
        let size = Insn::SIZE as u64;
        let (from, to) = (start as u64 * size, (start + len) as u64 * size);
        let outside = code.relocations.range(code.insns.len() as u64 * size..).next();
        for (_, relocation) in code.relocations.range(from..to).chain(outside) {
            let slot = code.insns.get((relocation.offset / size) as usize);
            let takes = slot.is_some_and(|insn| matches!(insn.code, WIDE_LOAD | CALL));
            if !(relocation.offset.is_multiple_of(size) && takes) {
                return Err(ElfError::RelocationPlace {
                    section: code.name.clone(),
                    offset: relocation.offset,
                    wanted: "64-bit immediate load or a call",
                });
            }
        }
        Ok(())
    }

    fn resolve(&mut self, site: Site<'_>) -> Result<(), ElfError> {
        let offset = (site.slot * Insn::SIZE) as u64;
        let relocation = site.code.relocations.get(&offset);
        let insn = self.out.insns[site.at];
        match relocation {
            Some(&relocation) => {
                let index = relocation.symbol.ok_or_else(|| site.bad_target(relocation, "no symbol"))?;
                let symbol = self.object.symbol(index);
                let symbol = symbol.ok_or_else(|| site.bad_target(relocation, format!("symbol {}", index.0)))?;
                match relocation.kind {
                    R_BPF_64_64 if insn.code == WIDE_LOAD => self.load(site, relocation, insn, &symbol),
                    R_BPF_64_64 => Err(site.bad_place(relocation, "64-bit immediate load")),
                    R_BPF_64_32 if insn.code == CALL => self.call_symbol(site, relocation, insn, &symbol),
                    R_BPF_64_32 => Err(site.bad_place(relocation, "call")),
                    kind => Err(ElfError::RelocationKind {
                        section: site.code.name.clone(),
                        offset: relocation.offset,
                        kind: kind.0,
                    }),
                }
            }
            // The assembler resolves calls within a section itself.
            None if insn.code == CALL && insn.src == op::PSEUDO_CALL => {
                let target = site.slot as i64 + 1 + i64::from(insn.imm);
                self.call(site, site.section, target)
            }
            None => Ok(()),
        }
    }

    fn call_symbol(
        &mut self,
        site: Site<'_>,
        relocation: Relocation,
        insn: Insn,
        symbol: &Symbol,
    ) -> Result<(), ElfError> {
        let Some(section) = symbol.section else { return self.resolve_extern(site, relocation, symbol) };
        if self.object.code(section).is_none() {
            return Err(site.bad_target(relocation, format!("{:?}", symbol.name)));
        }
        // The immediate counts slots from the symbol, less one: -1 for a function, more for a section.
        let start = i64::try_from(symbol.offset / Insn::SIZE as u64).unwrap_or(i64::MAX);
        self.call(site, section, start.saturating_add(1).saturating_add(i64::from(insn.imm)))
    }

    fn resolve_extern(&mut self, site: Site<'_>, relocation: Relocation, symbol: &Symbol) -> Result<(), ElfError> {
        let object = self.object;
        let name = symbol.name.as_str();
        if let Some(place) = object.kconfig.place(name).filter(|_| self.out.insns[site.at].code == WIDE_LOAD) {
            let place = place?;
            let config = self.kernel.config.ok_or_else(|| ElfError::NeedsConfig(name.to_owned()))?;
            // Its map is not in a section of the file.
            let kernel = self.kernel.kernel;
            let spec = |_: &mut u32| object.kconfig.map(config, kernel, &object.weak);
            let map = self.map_number((usize::MAX, 0), kconfig::SECTION, spec)?;
            return self.load_map(site, relocation, map, op::PSEUDO_MAP_VALUE, place as i32);
        }
        let insns = &mut self.out.insns[site.at..];
        externs::resolve((&object.btf, &object.externs), self.kernel.types, (name, symbol.is_weak), insns)
    }

    /// Makes the call at `site` lead to the function at slot `target` of `section`.
    fn call(&mut self, site: Site<'_>, section: SectionIndex, target: i64) -> Result<(), ElfError> {
        let distance = self.function_distance(site, section, target)?;
        let insn = &mut self.out.insns[site.at];
        insn.src = op::PSEUDO_CALL;
        insn.imm = distance;
        Ok(())
    }

    fn function_distance(&mut self, site: Site<'_>, section: SectionIndex, target: i64) -> Result<i32, ElfError> {
        let functions = self.object.code(section).map(|code| code.functions.as_slice()).unwrap_or_default();
        let function = functions.iter().find(|function| function.start as i64 == target);
        let function = function.ok_or_else(|| ElfError::Call { section: site.code.name.clone(), insn: site.slot })?;
        let at = self.place(section, function)?;
        // Both are below MAX_SLOTS.
        Ok((at as i64 - site.at as i64 - 1) as i32)
    }

    fn load(&mut self, site: Site<'_>, relocation: Relocation, insn: Insn, symbol: &Symbol) -> Result<(), ElfError> {
        let Some(section) = symbol.section else { return self.resolve_extern(site, relocation, symbol) };
        if site.at + 1 >= self.out.insns.len() {
            return Err(site.bad_place(relocation, "64-bit immediate load with both its slots"));
        }
        let offset = symbol.offset.wrapping_add_signed(i64::from(insn.imm));
        if self.object.code(section).is_some() {
            let target = i64::try_from(offset / Insn::SIZE as u64).unwrap_or(i64::MAX);
            let distance = self.function_distance(site, section, target)?;
            self.set_load(site, op::PSEUDO_FUNC, distance, 0);
            return Ok(());
        }
        let (name, size, data) = self.object.section(section)?;
        let stem = name.split('.').nth(1).unwrap_or_default();
        let (map, source, inside) = if name == ".maps" || name == "maps" {
            (self.map_at(site, relocation, section, offset, name == ".maps")?, op::PSEUDO_MAP_FD, 0)
        } else if matches!(stem, "data" | "rodata" | "bss") {
            let inside = u32::try_from(offset).ok().filter(|offset| u64::from(*offset) < size);
            let inside = inside.ok_or_else(|| site.bad_target(relocation, format!("byte {offset} of {name:?}")))?;
            let object = self.object;
            let spec = |visits: &mut u32| {
                let place = |variable: &[u8]| object.place_of(section, variable);
                map::from_data(&object.btf, &name, size, data.map(<[u8]>::to_vec), place, visits)
            };
            (self.map_number((section.0, 0), &name, spec)?, op::PSEUDO_MAP_VALUE, inside as i32)
        } else {
            return Err(site.bad_target(relocation, format!("{:?} in section {name:?}", symbol.name)));
        };
        self.load_map(site, relocation, map, source, inside)
    }

    /// Makes the load at `site` one of a map, or of a place in its value.
    fn load_map(
        &mut self,
        site: Site<'_>,
        relocation: Relocation,
        map: usize,
        source: u8,
        inside: i32,
    ) -> Result<(), ElfError> {
        if site.at + 1 >= self.out.insns.len() {
            return Err(site.bad_place(relocation, "64-bit immediate load with both its slots"));
        }
        self.set_load(site, source, map as i32, inside);
        self.out.map_loads.push(MapLoad { insn: site.at, map });
        Ok(())
    }

    fn set_load(&mut self, site: Site<'_>, source: u8, low: i32, high: i32) {
        if let Some([first, second]) = self.out.insns.get_mut(site.at..site.at + 2) {
            first.src = source;
            first.imm = low;
            second.imm = high;
        }
    }

    fn map_at(
        &mut self,
        site: Site<'_>,
        relocation: Relocation,
        section: SectionIndex,
        offset: u64,
        btf: bool,
    ) -> Result<usize, ElfError> {
        let symbol = self.object.symbol_at(section, offset);
        let symbol = symbol.ok_or_else(|| site.bad_target(relocation, format!("byte {offset} of the maps")))?;
        let object = self.object;
        self.map_number((section.0, offset), &symbol.name, |visits| {
            if btf {
                return map::from_btf(&object.btf, &symbol.name, visits);
            }
            let (_, _, data) = object.section(section)?;
            let bytes = data.unwrap_or_default().get(offset as usize..).unwrap_or_default();
            let size = if symbol.size == 0 { bytes.len() } else { bytes.len().min(symbol.size as usize) };
            map::from_legacy(&symbol.name, &bytes[..size])
        })
    }

    fn map_number(
        &mut self,
        place: (usize, u64),
        name: &str,
        spec: impl FnOnce(&mut u32) -> Result<MapSpec, ElfError>,
    ) -> Result<usize, ElfError> {
        if let Some(&number) = self.maps.get(&place) {
            return Ok(number);
        }
        let number = self.out.maps.len();
        let spec = self
            .object
            .made
            .borrow_mut()
            .map(place, |visits| Ok(MapSpec { name: name.chars().take(MAX_NAME).collect(), ..spec(visits)? }))?;
        self.out.maps.push(spec);
        self.maps.insert(place, number);
        Ok(number)
    }
}
