//! Arguments of helpers (`check_func_arg`).

use crate::uapi::helper::{DynptrKind, Object, Properties, id};
use crate::verifier_sim::helpers::call::Call;
use crate::verifier_sim::helpers::mem::Use;
use crate::verifier_sim::helpers::{self, Arg, Proto};
use crate::verifier_sim::instructions::mem::Direction;
use crate::verifier_sim::program::record::FieldKind;
use crate::verifier_sim::spec::{Kernel, MapType};
use crate::verifier_sim::state::reg::{Flags, Kind, Reg, object_from_number};
use crate::verifier_sim::stop::{Step, reject, unsupported};
use crate::verifier_sim::types::structure_id;
use crate::verifier_sim::walk::env::Env;

/// Whether the helper takes the argument away from the program.
fn is_released(arg: Arg) -> bool {
    matches!(arg, Arg::RingbufMem | Arg::SockRelease | Arg::KptrSource)
}

const READS: Use = Use { direction: Direction::Read, fills: false, zero_ok: false };
const FILLS: Use = Use { direction: Direction::Write, fills: true, zero_ok: false };
const WRITES: Use = Use { direction: Direction::Write, fills: false, zero_ok: false };

impl Arg {
    /// Whether the number 0 stands for no pointer.
    fn nullable(self) -> bool {
        matches!(
            self,
            Self::CtxOrNull
                | Self::ValueOrNull
                | Self::MemOrNull
                | Self::MemOutOrNull
                | Self::TaskOrNull
                | Self::CgroupOrNull
                | Self::BtfSockOrNull
                | Self::SockStructOrNull
                | Self::FullSockOrNull
                | Self::StackOrNull
                | Self::KptrSource
        )
    }

    /// Whether a pointer that may only be read will do.
    fn only_reads(self) -> bool {
        matches!(self, Self::Mem | Self::MemOrNull)
    }

    fn is_memory(self) -> bool {
        matches!(
            self,
            Self::Key
                | Self::Value
                | Self::ValueOut
                | Self::ValueOrNull
                | Self::Mem
                | Self::MemOrNull
                | Self::MemOut
                | Self::MemOutOrNull
                | Self::MemInOut
                | Self::LongOut
        )
    }
}

impl Env<'_> {
    /// Checks argument `index` (0 to 4) of a helper.
    pub(in crate::verifier_sim) fn check_arg(&mut self, index: usize, proto: &Proto, call: &mut Call) -> Step {
        let number = index as u8 + 1;
        let Some(&(mut arg)) = proto.args.get(index) else { return Ok(()) };
        self.check_source(number)?;
        if arg == Arg::Anything {
            if self.is_secret(number) {
                reject!("R{number} leaks addr into helper function");
            }
            return Ok(());
        }
        let reg = *self.reg(number);
        if reg.is_packet() && !self.place.gives_packets(proto.properties.contains(Properties::PACKET)) {
            reject!("helper access to the packet is not allowed");
        }
        if matches!(arg, Arg::Value | Arg::ValueOut | Arg::ValueOrNull) {
            arg = self.resolve_value(arg, call)?;
        }
        let absent = reg.is_null() && arg.nullable();
        if absent {
            self.mark_precise(1 << number);
        } else {
            match arg {
                Arg::KptrSource => self.check_given(number, &reg, call)?,
                _ => self.check_arg_type(number, arg, &reg, call.helper)?,
            }
            self.check_arg_offset(number, arg, &reg)?;
        }
        if is_released(arg) {
            if reg.ref_id == 0 && !reg.is_null() {
                reject!("R{number} must be referenced when passed to release function");
            }
            call.releases = Some(number);
        }
        if reg.ref_id != 0 && arg != Arg::KptrDest {
            if call.ref_id != 0 {
                reject!("more than one arg with ref_obj_id R{number} {} {}", reg.ref_id, call.ref_id);
            }
            call.ref_id = reg.ref_id;
        }
        self.check_arg_meaning(index, number, arg, &reg, proto, call)
    }

    /// The value of some maps is not memory (`resolve_map_arg_type`).
    fn resolve_value(&self, arg: Arg, call: &Call) -> Step<Arg> {
        let Some(map) = call.map else { reject!("invalid map_ptr to access map->type") };
        let map = self.map(map);
        if map.holds_sockets() {
            if arg != Arg::Value {
                reject!("invalid arg_type for sockmap/sockhash");
            }
            return Ok(Arg::BtfSock);
        }
        // Peeking into a Bloom filter asks for the value that is given.
        Ok(if map.kind() == MapType::BLOOM_FILTER && call.helper == id::MAP_PEEK_ELEM { Arg::Value } else { arg })
    }

    fn check_arg_type(&self, number: u8, arg: Arg, reg: &Reg, helper: i32) -> Step {
        let mut flags = reg.flags;
        if arg.only_reads() {
            flags.remove(Flags::RDONLY);
        }
        // 5.10 takes the number 0, but not a pointer that may be NULL.
        if arg.nullable() && self.kernel >= Kernel::V6_1 {
            flags.remove(Flags::MAYBE_NULL);
        }
        let of_map = matches!(arg, Arg::Key | Arg::Value | Arg::ValueOut | Arg::ValueOrNull);
        if arg.is_memory() && !of_map {
            flags.remove(Flags::SLICE | Flags::PACKET);
        }
        let plain = flags.is_empty();
        let btf = reg.kind == Kind::BtfId;
        let (fits, expected) = match arg {
            Arg::Ctx | Arg::CtxOrNull => (reg.kind == Kind::Ctx && plain, "ctx"),
            Arg::Map => (reg.kind == Kind::ConstMapPtr && plain, "map_ptr"),
            arg if arg.is_memory() => {
                if btf && flags == Flags::TRUSTED {
                    if !arg.only_reads() {
                        let (helper, kind) = (helpers::name(helper), reg.type_name());
                        reject!("{helper}() may write into memory pointed by R{number} type={kind}");
                    }
                    return Ok(());
                }
                let memory = match reg.kind {
                    Kind::Stack | Kind::Packet | Kind::PacketMeta | Kind::MapKey | Kind::MapValue | Kind::Buf => plain,
                    Kind::Mem => flags.is_empty() || flags == Flags::RINGBUF,
                    _ => false,
                };
                (memory, "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_")
            }
            Arg::Size | Arg::SizeOrZero | Arg::AllocSize => (reg.is_scalar(), "scalar"),
            Arg::SpinLock | Arg::KptrDest => {
                let object = btf && flags == Flags::ALLOC;
                ((reg.kind == Kind::MapValue && plain) || object, "map_value, ptr_")
            }
            Arg::Timer | Arg::ConstStr => (reg.kind == Kind::MapValue && plain, "map_value"),
            Arg::FullSockOrNull => (reg.kind == Kind::Socket && plain, "sock"),
            Arg::SockCommon => (reg.is_sock() && plain, "sock_common, sock, tcp_sock, xdp_sock"),
            Arg::BtfSock | Arg::BtfSockOrNull | Arg::SockRelease => {
                let structure = btf && (plain || flags == Flags::TRUSTED);
                if structure && !self.is_structure(reg, "sock_common", Object::is_sock)? {
                    let name = self.structure_name(reg.arg);
                    reject!("R{number} is of type {name} but sock_common is expected");
                }
                (structure || (reg.is_sock() && plain), "sock_common, sock, tcp_sock, xdp_sock, ptr_, trusted_ptr_")
            }
            Arg::SockStructOrNull => {
                let structure = btf && (plain || flags == Flags::TRUSTED || flags == Flags::RCU);
                if structure && !self.is_structure(reg, "sock_common", Object::is_sock)? {
                    let name = self.structure_name(reg.arg);
                    reject!("R{number} is of type {name} but sock_common is expected");
                }
                (structure, "ptr_, trusted_ptr_, rcu_ptr_")
            }
            Arg::Structure(wanted) => {
                let structure = btf && (plain || flags == Flags::TRUSTED || flags == Flags::RCU);
                if structure && !self.is_structure(reg, wanted.name(), |known| known == wanted)? {
                    let name = self.structure_name(reg.arg);
                    reject!("R{number} is of type {name} but {} is expected", wanted.name());
                }
                (structure, "ptr_, trusted_ptr_, rcu_ptr_")
            }
            Arg::Task | Arg::TaskOrNull | Arg::CgroupOrNull => {
                let structure = btf && (plain || flags == Flags::TRUSTED || flags == Flags::RCU);
                let wanted = if arg == Arg::CgroupOrNull { "cgroup" } else { "task_struct" };
                let task = arg != Arg::CgroupOrNull;
                if structure && !self.is_structure(reg, wanted, |known| task && known == Object::Task)? {
                    let name = self.structure_name(reg.arg);
                    reject!("R{number} is of type {name} but {wanted} is expected");
                }
                (structure, "ptr_, trusted_ptr_, rcu_ptr_")
            }
            Arg::RingbufMem => (reg.kind == Kind::Mem && flags == Flags::RINGBUF, "ringbuf_mem"),
            Arg::Func => (reg.kind == Kind::Func && plain, "func"),
            Arg::StackOrNull => (reg.kind == Kind::Stack && plain, "fp"),
            Arg::PerCpu => (
                btf && (flags == Flags::PERCPU
                    || flags == Flags::PERCPU | Flags::TRUSTED
                    || flags == Flags::PERCPU | Flags::RCU),
                "percpu_ptr_, percpu_rcu_ptr_, percpu_trusted_ptr_",
            ),
            Arg::Dynptr | Arg::DynptrOut(_) | Arg::DynptrRelease => (reg.kind == Kind::Stack, "fp, dynptr_ptr"),
            _ => (true, ""),
        };
        if !fits {
            reject!("R{number} type={} expected={expected}", reg.type_name());
        }
        Ok(())
    }

    /// Whether a pointer to one of the kernel's structures points to one of this name. Without the kernel's types only
    /// the structures that helpers return are known, by `is_known`, and only their beginnings.
    fn is_structure(&self, reg: &Reg, wanted: &str, is_known: impl Fn(Object) -> bool) -> Step<bool> {
        let Some(types) = self.types else {
            if reg.off != 0 {
                unsupported!("the members of the kernel's structures need its BTF");
            }
            return Ok(object_from_number(reg.arg).is_some_and(is_known));
        };
        let ids = structure_id(types, reg.arg).zip(types.named(wanted.as_bytes())).zip(u32::try_from(reg.off).ok());
        Ok(ids.is_some_and(|((id, wanted), off)| types.contains(id, off, wanted)))
    }

    /// Pointers that are no memory must not have been moved (`check_func_arg_reg_off`).
    fn check_arg_offset(&self, number: u8, arg: Arg, reg: &Reg) -> Step {
        self.check_pointer_offset(number, reg, is_released(arg))
    }

    /// The same for an argument that is `released`, or not.
    pub(in crate::verifier_sim) fn check_pointer_offset(&self, number: u8, reg: &Reg, released: bool) -> Step {
        if released {
            if reg.off != 0 {
                reject!("R{number} must have zero offset when passed to release func or trusted arg to kfunc");
            }
            return self.check_fixed_offset(number, reg, false);
        }
        match reg.kind {
            Kind::Stack | Kind::Packet | Kind::PacketMeta | Kind::MapKey | Kind::MapValue | Kind::Scalar => Ok(()),
            Kind::Mem | Kind::Buf if !reg.flags.intersects(Flags::MAYBE_NULL | Flags::SLICE | Flags::UNTRUSTED) => {
                Ok(())
            }
            Kind::BtfId => {
                let element = Flags::ALLOC | Flags::NON_OWNING;
                let fixed_ok =
                    [Flags::empty(), Flags::TRUSTED, Flags::RCU, Flags::ALLOC, element, element | Flags::RCU];
                let fixed_ok = fixed_ok.contains(&reg.flags);
                self.check_fixed_offset(number, reg, fixed_ok)
            }
            _ => self.check_fixed_offset(number, reg, false),
        }
    }

    fn check_arg_meaning(
        &mut self,
        index: usize,
        number: u8,
        arg: Arg,
        reg: &Reg,
        proto: &Proto,
        call: &mut Call,
    ) -> Step {
        match arg {
            Arg::Map => {
                if call.map.is_some_and(|map| (map, call.map_uid) != (reg.arg, reg.map_uid)) {
                    reject!(
                        "timer pointer in R1 map_uid={} doesn't match map pointer in R2 map_uid={}",
                        call.map_uid,
                        reg.map_uid
                    );
                }
                call.map = Some(reg.arg);
                call.map_uid = reg.map_uid;
                Ok(())
            }
            Arg::Key => {
                let Some(map) = call.map else { reject!("invalid map_ptr to access map->key") };
                let size = self.map(map).spec.key_size;
                let constant = self.constant_key(reg, size, map);
                self.check_helper_memory(number, size, READS, call)?;
                call.constant_key = constant;
                Ok(())
            }
            Arg::Value | Arg::ValueOut | Arg::ValueOrNull => {
                if reg.is_null() && arg == Arg::ValueOrNull {
                    return Ok(());
                }
                let Some(map) = call.map else { reject!("invalid map_ptr to access map->value") };
                let how = if arg == Arg::ValueOut { FILLS } else { READS };
                self.check_helper_memory(number, self.map(map).spec.value_size, how, call)
            }
            Arg::LongOut => {
                self.check_helper_memory(number, 8, FILLS, call)?;
                self.check_alignment(self.reg(number), 0, 8, true)
            }
            Arg::Size | Arg::SizeOrZero => {
                let how = match proto.args[index - 1] {
                    Arg::MemOut | Arg::MemOutOrNull => FILLS,
                    Arg::MemInOut => WRITES,
                    _ => READS,
                };
                self.check_sized_memory(number, Use { zero_ok: arg == Arg::SizeOrZero, ..how }, call)
            }
            Arg::AllocSize => {
                let Some(size) = reg.val.value(false) else { reject!("R{number} is not a known constant'") };
                call.alloc_size = size as u32;
                self.mark_precise(1 << number);
                Ok(())
            }
            Arg::Dynptr => self.use_dynptr(index, None, call),
            Arg::DynptrOut(kind) => self.make_dynptr(number, kind),
            Arg::DynptrRelease => self.use_dynptr(index, Some(DynptrKind::Ringbuf), call),
            Arg::Func => {
                call.callback = Some(reg.arg as usize);
                Ok(())
            }
            Arg::SpinLock => self.check_spin_lock(number, reg, call.helper == id::SPIN_LOCK),
            Arg::Timer => self.check_timer(number, reg, call),
            Arg::ConstStr => self.check_constant_string(number, reg, call),
            Arg::KptrDest => self.check_exchanged(number, reg, call),
            _ => Ok(()),
        }
    }

    /// The key, if the verifier knows it: a number saved on the stack, or zeros (`get_constant_map_key`).
    fn constant_key(&mut self, reg: &Reg, size: u32, map: u32) -> Option<u64> {
        let known = reg.kind == Kind::Stack && reg.val.bits.is_known();
        if self.kernel < Kernel::V6_18 || !known || !self.map(map).lookup_by_index() {
            return None;
        }
        let off = i64::from(reg.off) + reg.val.bits.value as i64;
        if !(-512..0).contains(&off) {
            return None;
        }
        let (index, byte) = crate::verifier_sim::state::stack::locate(off);
        let slot = self.cur.frames[reg.arg as usize].slot(index);
        let run = |wanted| slot.bytes[..=byte].iter().rev().take_while(|kind| **kind == wanted).count();
        if run(crate::verifier_sim::state::stack::Byte::Zero) >= size as usize {
            return Some(0);
        }
        if !slot.is_scalar_spill() || run(crate::verifier_sim::state::stack::Byte::Spill) != size as usize {
            return None;
        }
        let key = slot.reg.val.value(false);
        if key.is_some() {
            self.mark_slot_precise(reg.arg as usize, index);
        }
        key
    }

    fn check_timer(&self, number: u8, reg: &Reg, call: &mut Call) -> Step {
        if !reg.val.bits.is_known() {
            reject!("R{number} doesn't have constant offset. bpf_timer has to be at the constant offset");
        }
        let map = self.map(reg.arg);
        let name = &map.spec.name;
        if !map.is_typed() {
            reject!("map '{name}' has to have BTF in order to use bpf_timer");
        }
        let Some(field) = map.field(FieldKind::Timer) else { reject!("map '{name}' has no valid bpf_timer") };
        let off = reg.place();
        if off != i64::from(field.offset) {
            reject!("off {off} doesn't point to 'struct bpf_timer' that is at {}", field.offset);
        }
        call.map = Some(reg.arg);
        call.map_uid = reg.map_uid;
        Ok(())
    }

    /// A string in map data that can no longer change (`check_reg_const_str`).
    pub(in crate::verifier_sim) fn check_constant_string(&self, number: u8, reg: &Reg, call: &mut Call) -> Step {
        let map = self.map(reg.arg);
        if !map.is_constant() {
            reject!("R{number} does not point to a readonly map'");
        }
        if !reg.val.bits.is_known() {
            reject!("R{number} is not a constant address'");
        }
        if !map.has_direct_values() {
            reject!("no direct value access support for this map type");
        }
        let size = map.spec.value_size;
        let rest = i64::from(size) - i64::from(reg.off);
        let Ok(rest) = u32::try_from(rest) else { reject!("R{number} offset is outside of the map value") };
        self.check_map_value(number, reg, reg.off, rest, false, false)?;
        let start = i64::from(reg.off) + reg.val.bits.value as i64;
        if map.spec.max_entries != 1 {
            reject!("direct value access on string failed");
        }
        let Ok(start) = usize::try_from(start) else { reject!("direct value access on string failed") };
        let mut string = map.constant(start, (size as usize).saturating_sub(start));
        let Some(end) = string.iter().position(|byte| *byte == 0) else { reject!("string is not zero-terminated") };
        string.truncate(end);
        call.string = string;
        Ok(())
    }

    /// The helper's name and number, as messages give it.
    pub(in crate::verifier_sim) fn helper_label(number: i32) -> String {
        format!("{}#{number}", helpers::name(number))
    }
}
