//! Calls of helpers (`check_helper_call`).

use crate::asm::Insn;
use crate::asm::opcode as op;
use crate::uapi::AttachType;
use crate::uapi::helper::{DynptrKind, Properties, id};
use crate::verifier_sim::helpers::dynptr::Dynptr;
use crate::verifier_sim::helpers::format;
use crate::verifier_sim::helpers::map_compat;
use crate::verifier_sim::helpers::{self, Arg, Ret};
use crate::verifier_sim::numbers::bounds::Bounds;
use crate::verifier_sim::program::record::{Field, FieldKind};
use crate::verifier_sim::spec::{Kernel, MapType, Privilege, ProgType};
use crate::verifier_sim::state::Reference;
use crate::verifier_sim::state::reg::{Flags, Kind, Reg};
use crate::verifier_sim::stop::{NOT_PROGRAMS, Step, reject, unsupported};
use crate::verifier_sim::walk::Flow;
use crate::verifier_sim::walk::env::Env;

/// What the arguments of a call have shown so far (`struct bpf_call_arg_meta`).
#[derive(Clone, Debug, Default)]
pub(in crate::verifier_sim) struct Call {
    /// The helper.
    pub(in crate::verifier_sim) helper: i32,
    /// The map that is worked on.
    pub(in crate::verifier_sim) map: Option<u32>,
    /// Where that map came from.
    pub(in crate::verifier_sim) map_uid: u32,
    /// The reference that is passed.
    pub(in crate::verifier_sim) ref_id: u32,
    /// The register whose reference is released.
    pub(in crate::verifier_sim) releases: Option<u8>,
    /// Stack that the helper fills: frame, offset, bytes.
    pub(in crate::verifier_sim) fills: Option<(usize, i64, u32)>,
    /// The greatest size of the last memory argument.
    pub(in crate::verifier_sim) max_size: u64,
    /// The size of the memory that is returned.
    pub(in crate::verifier_sim) alloc_size: u32,
    /// The key, if it is known.
    pub(in crate::verifier_sim) constant_key: Option<u64>,
    /// The dynptr that is passed.
    pub(in crate::verifier_sim) dynptr: Option<Dynptr>,
    /// The function that is passed.
    pub(in crate::verifier_sim) callback: Option<usize>,
    /// The place of a kernel pointer that is exchanged.
    pub(in crate::verifier_sim) exchanged: Option<Field>,
    /// The constant string that is passed, without its end.
    pub(in crate::verifier_sim) string: Vec<u8>,
}

/// Errors are -1 to -4095 (`MAX_ERRNO`).
const MAX_ERRNO: i64 = 4095;

/// What helpers that read up to `max` bytes return: their number or an error.
fn read_result(max: u64) -> Bounds {
    let mut val = Bounds::UNKNOWN;
    (val.smin, val.smax) = (-MAX_ERRNO, max as i64);
    (val.smin32, val.smax32) = (-MAX_ERRNO as i32, max as i32);
    val.sync();
    val
}

impl Env<'_> {
    /// A call instruction whose fields have been checked.
    pub(in crate::verifier_sim) fn call(&mut self, insn: &Insn) -> Step<Flow> {
        if self.cur.lock.is_some()
            && ((insn.src == op::PSEUDO_KFUNC_CALL && !self.may_call_locked(insn.imm as u32))
                || (insn.src == 0 && insn.imm != id::SPIN_UNLOCK))
        {
            reject!("function calls are not allowed while holding a lock");
        }
        match insn.src {
            op::PSEUDO_CALL => return self.call_function(insn).map(Flow::To),
            // The kernel refuses it after the walk if some path leads here.
            op::PSEUDO_KFUNC_CALL if insn.imm == 0 => {
                reject!("invalid kernel function call not eliminated in verifier pass")
            }
            op::PSEUDO_KFUNC_CALL => return self.call_kernel_function(insn.imm as u32),
            _ => self.call_helper(insn.imm)?,
        }
        // r0 to r5 are gone or new.
        self.scratch(0x3f);
        Ok(Flow::To(self.at + 1))
    }

    fn call_helper(&mut self, helper: i32) -> Step {
        if !helpers::exists(helper) {
            reject!("invalid func {}", Self::helper_label(helper));
        }
        let privileged = self.privilege == Privilege::Full;
        let needs_more = if privileged { Some(false) } else { helpers::needs_perfmon(helper, self.kernel) };
        let Some(needs_more) = needs_more else {
            unsupported!("whether {} needs CAP_PERFMON is not simulated", Self::helper_label(helper));
        };
        let option = matches!(helper, id::SETSOCKOPT | id::GETSOCKOPT);
        if option && self.place.prog == ProgType::TRACING && self.place.attach == AttachType::TRACE_ITER {
            // Those over TCP and UNIX sockets may call them, others may not.
            unsupported!("{} in iterators is not simulated", Self::helper_label(helper));
        }
        if needs_more || !helpers::available(helper, self.place) {
            if self.kernel >= Kernel::V6_12 {
                reject!("program of this type cannot use helper {}", Self::helper_label(helper));
            }
            reject!("unknown func {}", Self::helper_label(helper));
        }
        let Some(proto) = helpers::proto(helper, self.place) else {
            unsupported!("helper {} is not simulated", Self::helper_label(helper));
        };
        if proto.properties.contains(Properties::SLEEPS) && self.cur.may_sleep {
            unsupported!("helpers that may sleep are not simulated");
        }
        if proto.properties.contains(Properties::SLEEPS) {
            reject!("helper call might sleep in a non-sleepable prog");
        }
        if helper == id::GET_FUNC_IP && self.place.prog != ProgType::KPROBE {
            let functions = [AttachType::TRACE_FENTRY, AttachType::TRACE_FEXIT].contains(&self.place.attach);
            if self.place.prog != ProgType::TRACING {
                let number = self.place.prog.number();
                reject!("func {} not supported for program type {number}", Self::helper_label(helper));
            }
            if !functions {
                reject!("func {} supported only for fentry/fexit/fmod_ret programs", Self::helper_label(helper));
            }
        }
        let mut call = Call { helper, ..Call::default() };
        for index in 0..5 {
            self.check_arg(index, &proto, &mut call)?;
        }
        self.check_map_flags(&call)?;
        if let Some((frame, off, size)) = call.fills {
            self.clobber_stack(frame, off, size)?;
        }
        match call.dynptr {
            Some(dynptr) if proto.args.first() == Some(&Arg::DynptrRelease) => self.release_dynptr(dynptr, helper)?,
            _ if call.releases.is_some() => {
                if helper == id::KPTR_XCHG {
                    self.share_exchanged(call.ref_id);
                }
                self.release(call.ref_id, helper)?;
            }
            _ => {}
        }
        if helper == id::TAIL_CALL {
            self.check_leaks("tail_call")?;
        }
        if helper == id::GET_LOCAL_STORAGE && !self.reg(2).is_null() {
            reject!("get_local_storage() doesn't support non-zero flags");
        }
        if helper == id::GET_LOCAL_STORAGE {
            self.mark_precise(1 << 2);
        }
        if helper == id::SNPRINTF {
            // The known bits of the size count, even when it is not constant.
            let size = self.reg(5).val.bits.value;
            if !size.is_multiple_of(8) {
                self.log_no_rule();
                reject!("bpf_snprintf takes whole numbers of 8 bytes, not {size} bytes");
            }
            if !format::is_valid(&call.string, size / 8) {
                reject!("Invalid format string");
            }
        }
        if helper == id::DYNPTR_FROM_MEM && self.reg(1).kind != Kind::MapValue {
            reject!("Unsupported reg type {} for bpf_dynptr_from_mem data", self.reg(1).type_name());
        }
        self.call_back(&call)?;
        let key = self.reg(3).val.value(false);
        if let (id::TAIL_CALL, Some(key), Some(map)) = (helper, key.filter(|_| self.reg(3).is_scalar()), call.map)
            && key < u64::from(self.map(map).spec.max_entries)
        {
            self.mark_precise(1 << 3);
        }
        let result = self.result(proto.ret, &call)?;
        let regs = &mut self.cur.top_mut().regs;
        regs[..6].fill(Reg::NOT_INIT);
        regs[0] = result;
        let kind = call.map.map(|map| self.map(map).kind());
        if let Some(kind) = kind.filter(|kind| !map_compat::compatible(*kind, helper, self.place)) {
            reject!("cannot pass map_type {} into func {}", kind.number(), Self::helper_label(helper));
        }
        let into_packet =
            helper == id::DYNPTR_WRITE && call.dynptr.is_some_and(|dynptr| dynptr.kind == DynptrKind::Skb);
        if proto.properties.contains(Properties::MOVES_PACKET) || into_packet {
            self.forget_packets();
        }
        Ok(())
    }

    /// Packet pointers are stale (`clear_all_pkt_pointers`).
    pub(in crate::verifier_sim) fn forget_packets(&mut self) {
        let leaks = self.may_leak_pointers();
        let stale = |reg: &Reg| reg.is_packet_any() || reg.flags.contains(Flags::PACKET);
        self.cur.for_each_reg(stale, |reg| *reg = invalid(leaks));
    }

    /// A map that programs may not write is not changed by a helper (`record_func_map`).
    fn check_map_flags(&self, call: &Call) -> Step {
        let writes =
            matches!(call.helper, id::MAP_UPDATE_ELEM | id::MAP_DELETE_ELEM | id::MAP_PUSH_ELEM | id::MAP_POP_ELEM);
        match call.map {
            Some(map) if writes && !self.map(map).can_write() => reject!("write into map forbidden"),
            Some(map) if call.helper == id::TAIL_CALL && self.map(map).kind() != MapType::PROG_ARRAY => {
                reject!("{NOT_PROGRAMS}")
            }
            _ => Ok(()),
        }
    }

    /// Releases a reference and everything that depends on it.
    pub(in crate::verifier_sim) fn release(&mut self, id: u32, helper: i32) -> Step {
        if id == 0 {
            return Ok(());
        }
        self.check_reference_in_callback()?;
        let held = self.cur.refs.len();
        self.cur.refs.retain(|reference| reference.id != id);
        if self.cur.refs.len() == held {
            reject!("func {} reference has not been acquired before", Self::helper_label(helper));
        }
        let leaks = self.may_leak_pointers();
        self.cur.for_each_reg(|reg| reg.ref_id == id, |reg| *reg = invalid(leaks));
        Ok(())
    }

    /// What the helper leaves in r0.
    fn result(&mut self, ret: Ret, call: &Call) -> Step<Reg> {
        let mut reg = match ret {
            Ret::Void => return Ok(Reg::NOT_INIT),
            Ret::Int => {
                let mut reg = Reg::UNKNOWN;
                match call.helper {
                    // get_task_stack and the string reads return a length.
                    id::GET_TASK_STACK
                    | id::GET_STACK
                    | id::PROBE_READ_STR
                    | id::PROBE_READ_USER_STR
                    | id::PROBE_READ_KERNEL_STR => reg.val = read_result(call.max_size),
                    // get_smp_processor_id: the number of CPUs is not known here, only that it is bounded.
                    8 if self.kernel >= Kernel::V6_12 => {
                        reg.val = below(if self.cpus == 0 { MAX_CPUS } else { self.cpus });
                    }
                    _ => {}
                }
                return Ok(reg);
            }
            Ret::MapValue | Ret::MapValueOrNull => {
                let Some(map) = call.map else { reject!("kernel subsystem misconfigured verifier") };
                let mut reg = Reg { map_uid: call.map_uid, ..Reg::pointer(Kind::MapValue, map) };
                let in_range = call.constant_key.is_some_and(|key| key < u64::from(self.map(map).spec.max_entries));
                let certain = ret == Ret::MapValue || (call.helper == id::MAP_LOOKUP_ELEM && in_range);
                if !certain {
                    reg.flags = Flags::MAYBE_NULL;
                } else if self.map(map).field(FieldKind::SpinLock).is_some() {
                    reg.id = self.new_id();
                }
                reg
            }
            Ret::SocketOrNull => Reg { flags: Flags::MAYBE_NULL, ..Reg::pointer(Kind::Socket, 0) },
            Ret::SockCommonOrNull => Reg { flags: Flags::MAYBE_NULL, ..Reg::pointer(Kind::SockCommon, 0) },
            Ret::TcpSockOrNull => Reg { flags: Flags::MAYBE_NULL, ..Reg::pointer(Kind::TcpSock, 0) },
            Ret::RingbufMemOrNull => {
                Reg { flags: Flags::MAYBE_NULL | Flags::RINGBUF, ..Reg::pointer(Kind::Mem, call.alloc_size) }
            }
            Ret::DynptrMemOrNull => {
                let Some(dynptr) = call.dynptr else { reject!("kernel subsystem misconfigured verifier") };
                Reg {
                    flags: Flags::MAYBE_NULL,
                    map_uid: dynptr.id,
                    ref_id: dynptr.ref_id,
                    ..Reg::pointer(Kind::Mem, call.alloc_size)
                }
            }
            Ret::BtfOrNull(kind) => Reg { flags: Flags::MAYBE_NULL, ..Reg::pointer(Kind::BtfId, kind as u32) },
            Ret::Btf(kind) => Reg::pointer(Kind::BtfId, kind as u32),
            Ret::BtfTrusted(kind) => Reg { flags: Flags::TRUSTED, ..Reg::pointer(Kind::BtfId, kind as u32) },
            Ret::Other if matches!(call.helper, id::PER_CPU_PTR | id::THIS_CPU_PTR) => self.of_one_cpu(call.helper)?,
            Ret::Other if call.helper == id::KPTR_XCHG => self.exchanged(call)?,
            Ret::Other => unsupported!("helper {} is not simulated", Self::helper_label(call.helper)),
        };
        if reg.may_be_null() {
            reg.id = self.new_id();
        }
        let looks_up = [id::SK_LOOKUP_TCP, id::SK_LOOKUP_UDP, id::SKC_LOOKUP_TCP].contains(&call.helper);
        let acquires = looks_up
            || matches!(call.helper, id::RINGBUF_RESERVE | id::KPTR_XCHG)
            || (call.helper == id::MAP_LOOKUP_ELEM && call.map.is_some_and(|map| self.map(map).holds_sockets()));
        // Casts of sockets keep the reference; skc_to_unix_sock is not among them.
        let casts = matches!(
            call.helper,
            id::TCP_SOCK
                | id::SK_FULLSOCK
                | id::SKC_TO_TCP6_SOCK
                | id::SKC_TO_TCP_SOCK
                | id::SKC_TO_TCP_TIMEWAIT_SOCK
                | id::SKC_TO_TCP_REQUEST_SOCK
                | id::SKC_TO_UDP6_SOCK
                | id::SKC_TO_MPTCP_SOCK
        );
        if casts {
            reg.ref_id = call.ref_id;
        } else if acquires {
            self.check_reference_in_callback()?;
            let id = self.new_id();
            self.cur.refs.push(Reference { id, insn: self.at });
            (reg.id, reg.ref_id) = (id, id);
        }
        Ok(reg)
    }
}

/// A register whose pointer is stale (`mark_reg_invalid`).
fn invalid(leaks: bool) -> Reg {
    if leaks { Reg::UNKNOWN } else { Reg::NOT_INIT }
}

/// An upper bound of the number of CPUs (`NR_CPUS` of distribution kernels).
const MAX_CPUS: u32 = 8192;

/// A number from 0 to `end - 1`.
fn below(end: u32) -> Bounds {
    let last = end.saturating_sub(1);
    let mut val = Bounds::UNKNOWN;
    (val.umin, val.umax, val.smin, val.smax) = (0, u64::from(last), 0, i64::from(last));
    (val.umin32, val.umax32, val.smin32, val.smax32) = (0, last, 0, last as i32);
    val.sync();
    val
}
