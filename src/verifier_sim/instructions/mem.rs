//! Loads, stores and atomic operations (`check_mem_access`).

use crate::asm::Insn;
use crate::asm::opcode as op;
use crate::verifier_sim::byte_order::from_memory;
use crate::verifier_sim::instructions::ctx;
use crate::verifier_sim::numbers::tnum::Tnum;
use crate::verifier_sim::program::AccessKind;
use crate::verifier_sim::program::record::FieldKind;
use crate::verifier_sim::spec::{Kernel, ProgType};
use crate::verifier_sim::state::reg::{Flags, Kind, MAX_VAR_OFF, Reg};
use crate::verifier_sim::stop::{Step, reject, unsupported};
use crate::verifier_sim::walk::env::Env;

/// Bytes of `struct bpf_flow_keys` (include/uapi/linux/bpf.h).
const FLOW_KEYS: i64 = 56;

/// Whether memory is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) enum Direction {
    Read,
    Write,
}

/// One access: through which register, where, and what is read into or written from which register.
#[derive(Clone, Copy, Debug)]
pub(in crate::verifier_sim) struct Access {
    /// The pointer.
    pub(in crate::verifier_sim) base: u8,
    /// The instruction's offset.
    pub(in crate::verifier_sim) off: i16,
    /// Bytes.
    pub(in crate::verifier_sim) size: u32,
    pub(in crate::verifier_sim) direction: Direction,
    /// The register that is loaded or stored.
    pub(in crate::verifier_sim) value: Option<u8>,
    /// Demand alignment whatever the settings.
    pub(in crate::verifier_sim) aligned: bool,
    /// Sign-extend what is loaded.
    pub(in crate::verifier_sim) sign: bool,
}

/// Bytes of the access that the opcode asks for.
pub(in crate::verifier_sim) fn access_size(code: u8) -> u32 {
    match code & op::SIZE_MASK {
        op::B => 1,
        op::H => 2,
        op::W => 4,
        _ => 8,
    }
}

impl Env<'_> {
    /// A load into a register.
    pub(in crate::verifier_sim) fn load(&mut self, insn: &Insn, sign: bool, context: &str) -> Step {
        self.check_source(insn.src)?;
        self.check_destination(insn.dst)?;
        let kind = access_kind(self.reg(insn.src));
        self.access(&Access {
            base: insn.src,
            off: insn.off,
            size: access_size(insn.code),
            direction: Direction::Read,
            value: Some(insn.dst),
            aligned: false,
            sign,
        })?;
        self.remember_access(kind)?;
        let mut loaded = *self.reg(insn.dst);
        self.check_bounds(&mut loaded, context)?;
        *self.reg_mut(insn.dst) = loaded;
        Ok(())
    }

    /// A store of a register.
    pub(in crate::verifier_sim) fn store(&mut self, insn: &Insn) -> Step {
        self.check_source(insn.src)?;
        self.check_source(insn.dst)?;
        self.store_value(insn, Some(insn.src))
    }

    /// A store of an immediate.
    pub(in crate::verifier_sim) fn store_imm(&mut self, insn: &Insn) -> Step {
        self.check_source(insn.dst)?;
        if self.kernel < Kernel::V6_12 && self.reg(insn.dst).kind == Kind::Ctx {
            reject!("BPF_ST stores into R{} ctx is not allowed", insn.dst);
        }
        self.store_value(insn, None)
    }

    fn store_value(&mut self, insn: &Insn, value: Option<u8>) -> Step {
        let kind = access_kind(self.reg(insn.dst));
        self.access(&Access {
            base: insn.dst,
            off: insn.off,
            size: access_size(insn.code),
            direction: Direction::Write,
            value,
            aligned: false,
            sign: false,
        })?;
        self.remember_access(kind)
    }

    /// An atomic operation.
    pub(in crate::verifier_sim) fn atomic(&mut self, insn: &Insn) -> Step {
        match insn.imm {
            op::LOAD_ACQ if self.kernel >= Kernel::V6_18 => {
                self.check_atomic_base(insn.src)?;
                return self.load(insn, false, "atomic_load");
            }
            op::STORE_REL if self.kernel >= Kernel::V6_18 => {
                self.check_atomic_base(insn.dst)?;
                return self.store(insn);
            }
            _ => {}
        }
        const ADD: i32 = op::ADD as i32;
        const AND: i32 = op::AND as i32;
        const OR: i32 = op::OR as i32;
        const XOR: i32 = op::XOR as i32;
        let known = match insn.imm & !op::FETCH {
            ADD | AND | OR | XOR => true,
            _ => matches!(insn.imm, op::XCHG | op::CMPXCHG),
        };
        if self.kernel < Kernel::V6_1 && insn.imm != ADD {
            reject!("BPF_STX uses reserved fields");
        }
        if !known {
            reject!("BPF_ATOMIC uses invalid atomic opcode {:02x}", insn.imm);
        }
        let size = access_size(insn.code);
        if size < 4 {
            reject!("invalid atomic operand size");
        }
        self.check_source(insn.src)?;
        self.check_source(insn.dst)?;
        if insn.imm == op::CMPXCHG {
            self.check_source(0)?;
            if self.is_secret(0) {
                reject!("R0 leaks addr into mem");
            }
        }
        if self.is_secret(insn.src) {
            reject!("R{} leaks addr into mem", insn.src);
        }
        self.check_atomic_base(insn.dst)?;
        let fetched = match insn.imm {
            op::CMPXCHG => Some(0),
            imm if imm & op::FETCH != 0 => Some(insn.src),
            _ => None,
        };
        if let Some(fetched) = fetched {
            self.check_destination(fetched)?;
        }
        let kind = access_kind(self.reg(insn.dst));
        let access = Access {
            base: insn.dst,
            off: insn.off,
            size,
            direction: Direction::Read,
            value: None,
            aligned: true,
            sign: false,
        };
        // The result is unknown from here on, even if it is the base itself, which then is a number.
        if let Some(fetched) = fetched {
            *self.reg_mut(fetched) = Reg::UNKNOWN;
        }
        self.access(&access)?;
        if let Some(fetched) = fetched {
            self.access(&Access { value: Some(fetched), ..access })?;
        }
        self.remember_access(kind)?;
        self.access(&Access { direction: Direction::Write, ..access })
    }

    /// Atomic operations only work on plain memory.
    fn check_atomic_base(&self, number: u8) -> Step {
        self.check_source(number)?;
        let reg = self.reg(number);
        if matches!(reg.kind, Kind::Ctx | Kind::FlowKeys) || reg.is_packet() || reg.is_sock() {
            reject!("BPF_ATOMIC stores into R{number} {} is not allowed", reg.type_name());
        }
        Ok(())
    }

    /// One instruction must always access the same kind of memory where the kernel translates accesses.
    fn remember_access(&mut self, kind: AccessKind) -> Step {
        let load = self.insns[self.at].code & op::CLASS_MASK == op::LDX;
        let seen = &mut self.aux[self.at].access;
        let plain = |kind| matches!(kind, AccessKind::Plain | AccessKind::Memory);
        let fault_safe = |kind| matches!(kind, AccessKind::Kernel(_) | AccessKind::Memory);
        let structure = |kind| matches!(kind, AccessKind::Kernel(_));
        match *seen {
            None => *seen = Some(kind),
            Some(before) if before == kind || (plain(before) && plain(kind)) => {}
            Some(before) if load && structure(before) && structure(kind) => {}
            Some(before) if load && fault_safe(before) && fault_safe(kind) && self.kernel >= Kernel::V6_18 => {
                *seen = Some(AccessKind::Memory);
            }
            Some(_) => reject!("same insn cannot be used with different pointers"),
        }
        Ok(())
    }

    /// Checks one access and sets the register that is loaded.
    pub(in crate::verifier_sim) fn access(&mut self, access: &Access) -> Step {
        let reg = *self.reg(access.base);
        let write = access.direction == Direction::Write;
        self.check_alignment(&reg, i64::from(access.off), access.size, access.aligned)?;
        let off = reg.off.wrapping_add(i32::from(access.off));
        let mut loaded = Reg::UNKNOWN;
        let leak = |env: &Self, into: &str| -> Step {
            if let Some(value) = access.value.filter(|value| write && env.is_secret(*value)) {
                reject!("R{value} leaks addr into {into}");
            }
            Ok(())
        };
        match reg.kind {
            Kind::MapValue if !reg.may_be_null() => {
                leak(self, "map")?;
                self.check_map_direction(&reg, off, access.size, write)?;
                self.check_map_value(access.base, &reg, off, access.size, false, true)?;
                let at = i64::from(off).wrapping_add(reg.val.bits.value as i64);
                let pointer = self.map(reg.arg).record.at(at, FieldKind::is_pointer);
                if let Some(field) = pointer.filter(|_| reg.val.bits.is_known()) {
                    loaded = self.access_kernel_pointer(&field, access.value)?;
                } else if let Some(value) = self.constant(&reg, off, access).filter(|_| !write) {
                    loaded = Reg::known(value);
                }
            }
            Kind::MapKey => {
                if write {
                    reject!("write to change key R{} not allowed", access.base);
                }
                let size_of_key = self.map(reg.arg).spec.key_size;
                self.check_region(access.base, &reg, off, access.size, size_of_key, false)?;
            }
            Kind::Mem if !reg.may_be_null() => {
                if write && reg.flags.contains(Flags::RDONLY) {
                    reject!("R{} cannot write into {}", access.base, reg.type_name());
                }
                leak(self, "mem")?;
                // Loads of what need not be valid fault safely, wherever they are.
                if !reg.flags.contains(Flags::UNTRUSTED) {
                    self.check_region(access.base, &reg, off, access.size, reg.arg, false)?;
                }
            }
            Kind::Ctx => {
                leak(self, "ctx")?;
                self.check_fixed_offset(access.base, &reg, false)?;
                if write {
                    if self.place.prog == ProgType::KPROBE && self.kernel >= Kernel::V6_18 {
                        // Some of these kernels let uprobes change registers (measured: Debian's does).
                        unsupported!("stores into the registers of a probed function are not simulated");
                    }
                    if !ctx::writable(self.place, off, access.size) {
                        reject!("invalid bpf_context access off={off} size={}", access.size);
                    }
                } else if self.place.prog == ProgType::TRACING {
                    loaded = self.load_argument(off, access.size)?;
                } else {
                    match ctx::read(self.place, off, access.size) {
                        Some(ctx::Field::Scalar) => {}
                        // A pointer in four bytes, which are not a number that has a sign.
                        Some(ctx::Field::Pointer(Kind::Packet | Kind::PacketMeta | Kind::PacketEnd, _))
                            if access.sign =>
                        {
                            reject!("invalid bpf_context access off={off} size={}", access.size)
                        }
                        Some(ctx::Field::Pointer(kind, flags)) => {
                            loaded = Reg { flags, ..Reg::pointer(kind, 0) };
                            if loaded.may_be_null() {
                                loaded.id = self.new_id();
                            }
                        }
                        None => reject!("invalid bpf_context access off={off} size={}", access.size),
                    }
                }
            }
            Kind::Stack => return self.access_stack(access, &reg, off),
            Kind::Packet | Kind::PacketMeta => {
                if write && !self.place.writes_packets() {
                    reject!("cannot write into packet");
                }
                leak(self, "packet")?;
                self.check_packet(access.base, &reg, off, access.size, false)?;
            }
            Kind::FlowKeys => {
                leak(self, "flow keys")?;
                if off < 0 || i64::from(off) + i64::from(access.size) > FLOW_KEYS {
                    reject!("invalid access to flow keys off={off} size={}", access.size);
                }
            }
            Kind::Socket | Kind::SockCommon | Kind::TcpSock | Kind::XdpSock if !reg.may_be_null() => {
                if write {
                    reject!("R{} cannot write into {}", access.base, reg.type_name());
                }
                if reg.val.smin < 0 {
                    reject!(
                        "R{} min value is negative, either use unsigned index or do a if (index >=0) check.",
                        access.base
                    );
                }
                let readable = match reg.kind {
                    Kind::Socket => ctx::sock_readable(off, access.size),
                    Kind::SockCommon => ctx::sock_common_readable(off, access.size),
                    // `queue_id` is all there is.
                    Kind::XdpSock => (off, access.size) == (0, 4),
                    _ => ctx::tcp_sock_readable(off, access.size),
                };
                if !readable {
                    reject!("R{} invalid {} access off={off} size={}", access.base, reg.type_name(), access.size);
                }
            }
            Kind::BtfId if !reg.may_be_null() => {
                if write && !reg.is_object() {
                    reject!("only read is supported");
                }
                loaded = self.load_structure(access.base, &reg, off, access.size)?;
            }
            Kind::Buf if !reg.may_be_null() => {
                if write && reg.flags.contains(Flags::RDONLY) {
                    reject!("R{} cannot write into {}", access.base, reg.type_name());
                }
                self.check_buffer(access.base, &reg, off, access.size)?;
            }
            Kind::ConstMapPtr => {
                loaded = self.access_map_structure(access.base, &reg, off, access.size, write)?;
            }
            _ => reject!("R{} invalid mem access '{}'", access.base, reg.type_name()),
        }
        if let Some(value) = access.value.filter(|_| !write) {
            if access.size < 8 && loaded.is_scalar() {
                if access.sign {
                    loaded.val.sign_extend64(access.size);
                } else {
                    loaded.val.truncate(access.size);
                }
            }
            *self.reg_mut(value) = loaded;
        }
        Ok(())
    }

    /// The constant that a load from frozen map data yields, if the kernel knows it.
    fn constant(&self, reg: &Reg, off: i32, access: &Access) -> Option<u64> {
        let map = self.map(reg.arg);
        if !map.has_direct_values() || !map.is_constant() || !reg.val.bits.is_known() {
            return None;
        }
        let at = usize::try_from(i64::from(off) + reg.val.bits.value as i64).ok()?;
        let value = from_memory(&map.constant(at, access.size as usize));
        let unused = 64 - access.size * 8;
        Some(if access.sign { (((value << unused) as i64) >> unused) as u64 } else { value })
    }

    /// Alignment: always for the stack, elsewhere where it is demanded (`check_ptr_alignment`).
    pub(in crate::verifier_sim) fn check_alignment(&self, reg: &Reg, off: i64, size: u32, aligned: bool) -> Step {
        let strict = self.strict_alignment || aligned || reg.kind == Kind::Stack;
        if !strict || size == 1 {
            return Ok(());
        }
        // Packets begin two bytes off, so that the IP header is aligned (NET_IP_ALIGN).
        let start = if reg.is_packet() { 2 } else { 0 };
        let fixed = start + i64::from(reg.off) + off;
        if reg.val.bits.add(Tnum::known(fixed as u64)).is_aligned(u64::from(size)) {
            return Ok(());
        }
        let (bits, reg_off) = (reg.val.bits, reg.off);
        let what = match reg.kind {
            Kind::Packet | Kind::PacketMeta => {
                reject!("misaligned packet access off 2+{bits}+{reg_off}+{off} size {size}")
            }
            Kind::MapKey => "key ",
            Kind::MapValue => "value ",
            Kind::Ctx => "context ",
            Kind::Stack => "stack ",
            Kind::Socket => "sock ",
            Kind::SockCommon => "sock_common ",
            Kind::TcpSock => "tcp_sock ",
            Kind::XdpSock => "xdp_sock ",
            Kind::FlowKeys => "flow keys ",
            _ => "",
        };
        reject!("misaligned {what}access off {bits}+{reg_off}+{off} size {size}")
    }

    /// The pointer must not have been moved, or (`fixed_ok`) only by a constant (`__check_ptr_off_reg`).
    pub(in crate::verifier_sim) fn check_fixed_offset(&self, number: u8, reg: &Reg, fixed_ok: bool) -> Step {
        let (name, off) = (reg.type_name(), reg.off);
        if off < 0 {
            reject!("negative offset {name} ptr R{number} off={off} disallowed");
        }
        if !fixed_ok && off != 0 {
            reject!("dereference of modified {name} ptr R{number} off={off} disallowed");
        }
        if !reg.val.bits.is(0) {
            reject!("variable {name} access var_off={} disallowed", reg.val.bits);
        }
        Ok(())
    }

    /// The map's flags permit the access (`check_map_access_type`).
    pub(in crate::verifier_sim) fn check_map_direction(&self, reg: &Reg, off: i32, size: u32, write: bool) -> Step {
        let map = self.map(reg.arg);
        let value_size = map.spec.value_size;
        if write && !map.can_write() {
            reject!("write into map forbidden, value_size={value_size} off={off} size={size}");
        }
        if !write && !map.can_read() {
            reject!("read from map forbidden, value_size={value_size} off={off} size={size}");
        }
        Ok(())
    }

    /// The access lies in the value and touches no special field; an instruction (`direct`) may load and store kernel pointers
    /// (`check_map_access`).
    pub(in crate::verifier_sim) fn check_map_value(
        &self,
        number: u8,
        reg: &Reg,
        off: i32,
        size: u32,
        zero_ok: bool,
        direct: bool,
    ) -> Step {
        let map = self.map(reg.arg);
        self.check_region(number, reg, off, size, map.spec.value_size, zero_ok)?;
        let begin = reg.val.smin.wrapping_add(i64::from(off));
        let end = reg.val.umax.wrapping_add(off as i64 as u64).wrapping_add(u64::from(size));
        for field in map.record.touched(begin, end) {
            if field.kind == FieldKind::Other {
                unsupported!("some kernel pointers in map values are not simulated");
            }
            if !field.kind.is_pointer() {
                reject!("{} cannot be accessed directly by load/store", field.kind.name());
            }
            if !direct {
                reject!("kptr cannot be accessed indirectly by helper");
            }
            if !reg.val.bits.is_known() {
                reject!("kptr access cannot have variable offset");
            }
            let at = i64::from(off).wrapping_add(reg.val.bits.value as i64);
            if at != i64::from(field.offset) {
                reject!("kptr access misaligned expected={} off={at}", field.offset);
            }
            if size != field.size {
                reject!("kptr access size must be BPF_DW");
            }
        }
        Ok(())
    }

    /// The access lies in memory of `total` bytes, wherever in its range the pointer is (`check_mem_region_access`).
    pub(in crate::verifier_sim) fn check_region(
        &self,
        number: u8,
        reg: &Reg,
        off: i32,
        size: u32,
        total: u32,
        zero_ok: bool,
    ) -> Step {
        let smin = reg.val.smin;
        let off = i64::from(off);
        let least = smin.wrapping_add(off);
        if smin < 0 && (smin == i64::MIN || i32::try_from(least).is_err() || least < 0) {
            reject!("R{number} min value is negative, either use unsigned index or do a if (index >=0) check.");
        }
        check_span(number, reg, least, size, total, zero_ok, "min value")?;
        if reg.val.umax >= MAX_VAR_OFF as u64 {
            reject!("R{number} unbounded memory access, make sure to bounds check any such access");
        }
        check_span(number, reg, (reg.val.umax as i64).wrapping_add(off), size, total, zero_ok, "max value")
    }

    /// An iterator's memory: how much there must be is checked when the iterator is attached (`__check_buffer_access`).
    pub(in crate::verifier_sim) fn check_buffer(&self, number: u8, reg: &Reg, off: i32, size: u32) -> Step {
        if off < 0 {
            reject!("R{number} invalid {} buffer access: off={off}, size={size}", reg.type_name());
        }
        if !reg.val.bits.is(0) {
            reject!("R{number} invalid variable buffer offset: off={off}, var_off={}", reg.val.bits);
        }
        Ok(())
    }

    /// The access lies in the part of the packet that is known to be there (`check_packet_access`).
    pub(in crate::verifier_sim) fn check_packet(
        &self,
        number: u8,
        reg: &Reg,
        off: i32,
        size: u32,
        zero_ok: bool,
    ) -> Step {
        if reg.val.smin < 0 {
            reject!("R{number} min value is negative, either use unsigned index or do a if (index >=0) check.");
        }
        let outside = format!("R{number} offset is outside of the packet");
        let Ok(range) = u32::try_from(reg.range()) else { reject!("{outside}") };
        if !fits(i64::from(off), size, range, zero_ok) {
            let id = reg.id;
            let access = format!("off={off} size={size}, R{number}(id={id},off={off},r={range})");
            reject!("invalid access to packet, {access}\n{outside}");
        }
        Ok(())
    }
}

/// Whether `size` bytes at `off` lie in `total` bytes.
fn fits(off: i64, size: u32, total: u32, zero_ok: bool) -> bool {
    // The kernel's parameters are int here: the offset is cut to 32 bits.
    let off = i64::from(off as i32);
    off >= 0 && (size > 0 || zero_ok) && off + i64::from(size) <= i64::from(total)
}

fn check_span(number: u8, reg: &Reg, off: i64, size: u32, total: u32, zero_ok: bool, end: &str) -> Step {
    if fits(off, size, total, zero_ok) {
        return Ok(());
    }
    let what = match reg.kind {
        Kind::MapKey => format!("map key, key_size={total}"),
        Kind::MapValue => format!("map value, value_size={total}"),
        _ => format!("memory, mem_size={total}"),
    };
    reject!("invalid access to {what} off={off} size={size}\nR{number} {end} is outside of the allowed memory range")
}

/// How the kernel translates accesses through this pointer.
fn access_kind(reg: &Reg) -> AccessKind {
    match reg.kind {
        Kind::Ctx | Kind::Socket | Kind::SockCommon | Kind::TcpSock | Kind::XdpSock => AccessKind::Translated(reg.kind),
        Kind::BtfId => AccessKind::Kernel(reg.flags),
        Kind::Mem => AccessKind::Memory,
        _ => AccessKind::Plain,
    }
}
