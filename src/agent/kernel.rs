//! What this kernel and this process allow: the tier.

use std::os::fd::AsFd;
use std::sync::OnceLock;

use super::error::{Context, Error, Result};
use crate::asm::{Asm, Field, Pointer, Reg};
use crate::btf::{self, Btf, Kind};
use crate::dataplane::{
    AdoptionFields, BufferLocks, Casts, EpollFields, Hooks, KernelField, KernelOffsets, LICENSE, MemberFields,
    MemoryLimit, OptionBits, Probation, Tier, TraceOffsets, Watch,
    objects::{Socket, TcpSock},
};
use crate::syscall::btf::shared_vmlinux;
use crate::syscall::caps::{Capabilities, Capability};
use crate::syscall::sysctl::{self, Lockdown};
use crate::syscall::{self, LinkTarget, Map, ProgSpec, Program, Release};
use crate::uapi::{AttachType, ProgType};

/// Whether this processor may do loads and stores in another order than x86 does (docs/explanation/memory-order.md).
pub(super) const WEAKLY_ORDERED: bool = !cfg!(any(target_arch = "x86", target_arch = "x86_64"));

/// Which tier to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TierChoice {
    /// Gated where possible, sticky elsewhere.
    #[default]
    Auto,
    /// Gated, or an error that says why not.
    Gated,
    /// Sticky.
    Sticky,
}

/// The tier for `choice`, and for [`TierChoice::Auto`] why it is not the gated one.
pub fn choose_tier(choice: TierChoice) -> Result<(Tier, Option<String>)> {
    let gated = match choice {
        TierChoice::Sticky => return Ok((Tier::Sticky, None)),
        TierChoice::Auto | TierChoice::Gated if cfg!(target_endian = "big") => {
            return Err(Error::Unsupported {
                what: "this machine is big-endian, on which the programs have never run",
                why: "the gate reads bit fields where little-endian kernels have them".into(),
                remedy: "--tier sticky tries the programs that read no memory of the kernel, which nothing has tested here",
            });
        }
        TierChoice::Auto | TierChoice::Gated => gated(),
    };
    match (gated, choice) {
        (Ok(offsets), _) => Ok((Tier::Gated(offsets), None)),
        (Err(why), TierChoice::Auto) => Ok((Tier::Sticky, Some(why))),
        (Err(why), _) => Err(Error::Unsupported {
            what: "the gated tier cannot be used",
            why,
            remedy: "leave out --tier to use what there is",
        }),
    }
}

/// The offsets the gate needs, or why the gate cannot work here.
fn gated() -> std::result::Result<KernelOffsets, String> {
    let text = |error: syscall::Error| error.to_string();
    if !Capabilities::effective().map_err(text)?.grants(Capability::Perfmon) {
        return Err("CAP_PERFMON is missing, and bpf_probe_read_kernel needs it".into());
    }
    if sysctl::lockdown().map_err(text)? == Some(Lockdown::Confidentiality) {
        return Err("the kernel is locked down for confidentiality, which forbids bpf_probe_read_kernel".into());
    }
    kernel_offsets().map_err(|error| error.to_string())
}

/// The offsets of [`crate::dataplane::FIELDS`] from `/sys/kernel/btf/vmlinux`, and the ids that direct loads need where
/// the kernel lets our programs use them.
pub fn kernel_offsets() -> Result<KernelOffsets> {
    kernel_types().map(|types| types.offsets)
}

/// The BTF id of the iterator the drain attaches to (`DEFINE_BPF_ITER_FUNC(sockmap, ...)`, net/core/sock_map.c).
pub(super) fn iter_sockmap_id() -> Result<u32> {
    Ok(kernel_types()?.iter_sockmap.ok_or(syscall::Error::Missing {
        what: "the iterator bpf_iter_sockmap".into(),
        remedy: "it needs Linux 5.10 or later with CONFIG_BPF_SYSCALL and CONFIG_NET_SOCK_MSG",
    })?)
}

/// Where a socket says to which cgroup it belongs, and which addresses it has.
pub(super) fn member_fields() -> Result<MemberFields> {
    Ok(kernel_types()?.members.ok_or(syscall::Error::Missing {
        what: "the cgroup of a socket in the kernel's BTF".into(),
        remedy: "detach instead, which sends all connections back to the stack",
    })?)
}

/// What proves that sockets are the ends of one connection; nothing where the kernel does not keep it.
pub(super) fn adoption_fields() -> Result<Option<AdoptionFields>> {
    Ok(kernel_types()?.adoption)
}

/// What the iterator that counts bytes looks at, and the iterator's BTF id.
#[derive(Clone, Copy, Debug)]
pub(super) enum TallyOver {
    /// A map of storages (`DEFINE_BPF_ITER_FUNC(bpf_sk_storage_map, ...)`, net/core/bpf_sk_storage.c).
    Storages(u32),
    /// The open files of all tasks (`DEFINE_BPF_ITER_FUNC(task_file, ...)`, kernel/bpf/task_iter.c).
    Files(u32),
}

impl TallyOver {
    pub(super) fn hook(self) -> Hook {
        let (Self::Storages(btf_id) | Self::Files(btf_id)) = self;
        Hook { attach_type: AttachType::TRACE_ITER, btf_id }
    }

    /// What the iterator is attached to, for the sockets that have a storage in this map.
    pub(super) fn target(self, storage: &Map) -> LinkTarget<'_> {
        match self {
            Self::Storages(_) => LinkTarget::IterMap(storage.as_fd()),
            Self::Files(_) => LinkTarget::None,
        }
    }
}

/// What the tally for these offsets looks at.
pub(super) fn tally_over(offsets: &KernelOffsets) -> Result<TallyOver> {
    let types = kernel_types()?;
    let missing = || syscall::Error::Missing {
        what: "the iterator over the sockets whose bytes are counted".into(),
        remedy: "it needs Linux 5.9 or later with CONFIG_BPF_SYSCALL",
    };
    let over = match offsets.sockets_by_file {
        None => types.iter_storage.map(TallyOver::Storages),
        Some(_) => types.iter_task_file.map(TallyOver::Files),
    };
    Ok(over.ok_or_else(missing)?)
}

/// How this kernel lets us see programs receive, or why not; `probation` says whose receives must be seen.
pub fn watch(probation: Probation) -> Result<Watch> {
    // Trying takes the kernel milliseconds, so only what is asked for is tried, and once.
    static USABLE: [OnceLock<Option<Hooks>>; 2] = [OnceLock::new(), OnceLock::new()];
    let types = kernel_types()?;
    let hooks = match probation {
        Probation::Inside => USABLE[0].get_or_init(|| types.trace.hooks()),
        Probation::Outside => USABLE[1].get_or_init(|| types.trace.hooks_outside()),
    };
    let watch = types.trace_offsets.zip(*hooks).map(|(offsets, hooks)| Watch { hooks, offsets, probation });
    watch.ok_or(Error::Unsupported {
        what: "this kernel does not show how programs read",
        why: "the kernel refuses programs at tcp_splice_read and tcp_bpf_recvmsg (fentry), and at the trace points sock_recv_length (Linux 6.3) and sys_enter"
            .into(),
        remedy: "name what you trust to read by recvmsg alone: --trust",
    })
}

/// Where in the kernel a tracing program goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hook {
    pub(super) attach_type: AttachType,
    pub(super) btf_id: u32,
}

/// Where data received is seen.
pub(super) fn receives_hook(hooks: Hooks) -> Result<Hook> {
    hook(hooks, |types| match hooks {
        Hooks::Functions { .. } => types.tcp_bpf_recvmsg,
        Hooks::TracePoints | Hooks::Mixed => types.sock_recv_length,
    })
}

/// Where splice(2) is seen.
pub(super) fn splices_hook(hooks: Hooks) -> Result<Hook> {
    hook(hooks, |types| match hooks {
        Hooks::Functions { .. } | Hooks::Mixed => types.tcp_splice_read,
        Hooks::TracePoints => types.sys_enter,
    })
}

fn hook(hooks: Hooks, id: impl Fn(&TraceTypes) -> Option<Hook>) -> Result<Hook> {
    Ok(id(&kernel_types()?.trace).ok_or(syscall::Error::Missing {
        what: format!("what the programs that watch readers are attached to ({hooks:?})"),
        remedy: "use --trust to name what you trust to read by recvmsg alone",
    })?)
}

/// What we want to know of the kernel's types.
#[derive(Clone, Copy)]
struct KernelTypes {
    offsets: KernelOffsets,
    members: Option<MemberFields>,
    adoption: Option<AdoptionFields>,
    iter_sockmap: Option<u32>,
    iter_storage: Option<u32>,
    iter_task_file: Option<u32>,
    trace: TraceTypes,
    trace_offsets: Option<TraceOffsets>,
}

/// Where tracing programs can go.
#[derive(Clone, Copy)]
struct TraceTypes {
    tcp_bpf_recvmsg: Option<Hook>,
    tcp_splice_read: Option<Hook>,
    sock_recv_length: Option<Hook>,
    sys_enter: Option<Hook>,
    /// [`Hooks::Functions`] for this kernel's `tcp_bpf_recvmsg`.
    functions: Option<Hooks>,
}

impl TraceTypes {
    fn read(btf: &Btf) -> Self {
        let function = |name, attach_type| Some(Hook { attach_type, btf_id: btf.func_by_name(name)? });
        let point = |name: &str| {
            let btf_id = btf.by_name(Kind::Typedef, &format!("btf_trace_{name}"))?;
            Some(Hook { attach_type: AttachType::TRACE_RAW_TP, btf_id })
        };
        let tcp_bpf_recvmsg = function("tcp_bpf_recvmsg", AttachType::TRACE_FEXIT);
        let functions = || {
            let parameters = btf.parameters(tcp_bpf_recvmsg?.btf_id)?;
            let flags = parameters.iter().position(|name| name == "flags")?;
            let [flags, arguments] = [flags, parameters.len()].map(u8::try_from);
            Some(Hooks::Functions { flags: flags.ok()?, arguments: arguments.ok()? })
        };
        Self {
            functions: functions(),
            tcp_bpf_recvmsg,
            tcp_splice_read: function("tcp_splice_read", AttachType::TRACE_FENTRY),
            sock_recv_length: point("sock_recv_length"),
            sys_enter: point("sys_enter"),
        }
    }

    /// The better hooks of those that the kernel lets us use, where only receives of members must be seen.
    fn hooks(&self) -> Option<Hooks> {
        if usable([self.tcp_bpf_recvmsg, self.tcp_splice_read]) {
            return self.functions;
        }
        usable([self.sock_recv_length, self.sys_enter]).then_some(Hooks::TracePoints)
    }

    /// The same where those of all sockets must be.
    fn hooks_outside(&self) -> Option<Hooks> {
        if usable([self.sock_recv_length, self.tcp_splice_read]) {
            return Some(Hooks::Mixed);
        }
        usable([self.sock_recv_length, self.sys_enter]).then_some(Hooks::TracePoints)
    }
}

fn usable(hooks: [Option<Hook>; 2]) -> bool {
    hooks.into_iter().all(|hook| hook.is_some_and(can_trace))
}

/// Whether a program of ours may be attached there. Tried, since no file says so.
fn can_trace(hook: Hook) -> bool {
    let mut asm = Asm::new();
    asm.mov(Reg::R0, 0);
    asm.exit();
    let Ok(insns) = asm.finish().and_then(|program| program.encode_native(|_| None)) else { return false };
    let spec = ProgSpec {
        license: LICENSE,
        expected_attach_type: Some(hook.attach_type),
        attach_btf_id: hook.btf_id,
        ..ProgSpec::new("sidestep_trace", ProgType::TRACING, &insns)
    };
    Program::load(&spec).is_ok_and(|program| {
        // Each trace point whose type is in the BTF takes programs (`bpf_raw_tp_link_attach`, kernel/bpf/syscall.c). One that has just
        // lost its only program makes the next one wait until all processors have noticed that (`tracepoint_add_func`): 15 ms.
        hook.attach_type == AttachType::TRACE_RAW_TP
            || syscall::Link::create(program.as_fd(), LinkTarget::None, hook.attach_type).is_ok()
    })
}

/// Reads them once: the file has megabytes, and when they are allocated a second time the C library keeps them.
fn kernel_types() -> Result<KernelTypes> {
    static KNOWN: OnceLock<KernelTypes> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(*known);
    }
    let btf = shared_vmlinux().context("read the kernel's BTF")?;
    let casts = Casts::resolve(|name| btf.func_by_name(name).or_else(|| btf.struct_by_name(name))).filter(can_cast);
    let (buffer_locks, memory_limit) = (buffer_locks(&btf)?, memory_limit(&btf)?);
    let epoll = optional(|lookup| EpollFields::resolve(|field| lookup(&btf, field)))?;
    let options = OptionBits::resolve(|name| btf.enumerator("sock_flags", name));
    // net/core/bpf_sk_storage.c: came with the permission for tracing programs, and says for which of them it holds.
    let storage = btf.func_by_name("bpf_sk_storage_tracing_allowed").is_some();
    let trace = TraceTypes::read(&btf);
    let trace_offsets = TraceOffsets::resolve(|wanted| field_offset(&btf, wanted)).ok().filter(|_| storage);
    let types = KernelTypes {
        offsets: KernelOffsets {
            casts,
            options,
            buffer_locks,
            epoll,
            memory_limit,
            iterators_have_storage: storage,
            sockets_by_file: sockets_by_file(&btf)?,
            // net/core/sock.c: since programs share it with system calls, they can read and set all that those can.
            readers_can_be_woken: btf.func_by_name("sk_getsockopt").is_some(),
            weakly_ordered: WEAKLY_ORDERED,
            ..offsets(&btf)?
        },
        members: resolve_members(&btf)?,
        adoption: optional(|lookup| AdoptionFields::resolve(|field| lookup(&btf, field)))?,
        iter_sockmap: btf.func_by_name("bpf_iter_sockmap"),
        iter_storage: btf.func_by_name("bpf_iter_bpf_sk_storage_map"),
        iter_task_file: btf.func_by_name("bpf_iter_task_file"),
        trace,
        trace_offsets,
    };
    Ok(*KNOWN.get_or_init(|| types))
}

/// See [`KernelOffsets::sockets_by_file`].
fn sockets_by_file(btf: &Btf) -> Result<Option<Field<Socket, Pointer<TcpSock>>>> {
    // A kernel that has inlined the function does not name it.
    let is_new = Release::running().is_none_or(|release| release >= Release(7, 0, 0));
    if !is_new && btf.func_by_name(KernelOffsets::UNSAFE_STORAGE_ITERATOR).is_none() {
        return Ok(None);
    }
    field_offset(btf, &KernelOffsets::SOCK_OF_SOCKET).map(|offset| Some(Field::new(offset.into())))
}

/// Where a socket says which of its buffers the application has sized; nothing when this kernel does not say it.
fn buffer_locks(btf: &Btf) -> Result<Option<BufferLocks>> {
    let Ok(field) = btf.field("sock", "sk_userlocks") else { return Ok(None) };
    let shift = field.bit_offset % 8;
    // Both bits, in one byte.
    match u16::try_from(field.offset()) {
        Ok(byte) if field.bits >= 2 && shift + 2 <= 8 => {
            Ok(Some(BufferLocks { byte: Field::new(byte.into()), shift: shift as u8 }))
        }
        _ => Err(unexpected(format!(
            "sock.sk_userlocks is at bit {} and {} bits long, where 2 bits or more in one byte were expected",
            field.bit_offset, field.bits
        ))),
    }
}

/// Where sockets say what they belong to; nothing when this kernel does not say it.
fn resolve_members(btf: &Btf) -> Result<Option<MemberFields>> {
    // The cgroup above is reached through the first part of a cgroup.
    if btf.field("cgroup", "self").ok().is_none_or(|field| field.bit_offset != 0) {
        return Ok(None);
    }
    optional(|lookup| {
        MemberFields::resolve(|field| match lookup(btf, field) {
            Err(None) if field.path == "sk_cgrp_data.cgroup" => lookup(btf, &MemberFields::OLDER_CGROUP),
            found => found,
        })
    })
}

/// The offsets behind limits on memory: version 2 of the controller counts sockets with everything else, version 1 apart.
fn memory_limit(btf: &Btf) -> Result<Option<MemoryLimit>> {
    // name, number of the hierarchy (0 is version 2's), ...: proc_cgroupstats_show, kernel/cgroup/cgroup-v1.c.
    let controllers = sysctl::read(std::path::Path::new("/proc/cgroups")).unwrap_or_default();
    let hierarchy = controllers.lines().find_map(|line| line.strip_prefix("memory\t")?.split('\t').next());
    // Linux 6.15 and later do not list what version 1 does not have.
    let version_2 = hierarchy.is_none_or(|number| number == "0");
    optional(|lookup| MemoryLimit::resolve(version_2, |field| lookup(btf, field)))
}

/// A group of fields; nothing when this kernel does not have one of them, an error when it is not what we expect.
fn optional<T>(
    resolve: impl FnOnce(&dyn Fn(&Btf, &KernelField) -> LookUp) -> std::result::Result<T, Option<Error>>,
) -> Result<Option<T>> {
    let lookup = |btf: &Btf, wanted: &KernelField| match btf.field(wanted.structure, wanted.path) {
        Ok(field) => expected(wanted, field).map_err(Some),
        Err(_) => Err(None),
    };
    match resolve(&lookup) {
        Ok(group) => Ok(Some(group)),
        Err(None) => Ok(None),
        Err(Some(error)) => Err(error),
    }
}

/// The offset of a field, or why it cannot be read, or that there is none.
type LookUp = std::result::Result<u16, Option<Error>>;

/// Whether a program of ours may cast and load: a kernel that has the function still refuses it without a compiler for
/// BPF (`net.core.bpf_jit_enable`). Tried, since no file says so.
fn can_cast(casts: &Casts) -> bool {
    let mut asm = Asm::new();
    asm.mov(Reg::R1, 0);
    asm.mov(Reg::R2, casts.words as i32);
    asm.call_kfunc(casts.rdonly_cast as i32, 0);
    asm.load(crate::asm::Size::DW, Reg::R0, Reg::R0, 0);
    asm.mov(Reg::R0, 1);
    asm.exit();
    let Ok(insns) = asm.finish().and_then(|program| program.encode_native(|_| None)) else { return false };
    [ProgType::SOCK_OPS, ProgType::SK_MSG].into_iter().all(|prog_type| {
        let spec = ProgSpec { license: LICENSE, ..ProgSpec::new("sidestep_cast", prog_type, &insns) };
        Program::load(&spec).is_ok()
    })
}

fn offsets(btf: &Btf) -> Result<KernelOffsets> {
    KernelOffsets::resolve(|wanted| field_offset(btf, wanted))
}

fn field_offset(btf: &Btf, wanted: &KernelField) -> Result<u16> {
    let field = btf.field(wanted.structure, wanted.path).map_err(syscall::Error::from);
    expected(wanted, field.context("find a field in the kernel's BTF")?)
}

/// The offset of a field that is as long as our programs take it to be: another would be read wrongly.
fn expected(wanted: &KernelField, field: btf::Field) -> Result<u16> {
    wanted.offset(field.bit_offset, field.size()).map_err(unexpected)
}

fn unexpected(why: String) -> Error {
    Error::Unsupported {
        what: "the gate does not know this kernel",
        why,
        remedy: "use --tier sticky and report the kernel version",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(bit_offset: u32, bits: u32) -> btf::Field {
        btf::Field { bit_offset, bits, is_bit_field: false, type_id: 1 }
    }

    #[test]
    fn a_field_of_another_size_is_named_with_both_sizes() {
        let wanted = KernelField { structure: "epitem", path: "event.data", size: 8 };
        assert_eq!(expected(&wanted, field(64, 64)).unwrap(), 8);
        let error = expected(&wanted, field(64, 32)).unwrap_err().to_string();
        assert!(error.contains("epitem.event.data is at bit 64 and 4 bytes long, where 8 bytes"), "{error}");
        assert!(expected(&wanted, field(65_536 * 8, 64)).is_err());
        assert!(expected(&wanted, field(4, 64)).is_err());
        // Of an embedded structure only other fields are read.
        assert_eq!(expected(&MemoryLimit::VERSION_1, field(128, 9_999)).unwrap(), 16);
    }

    #[test]
    fn a_group_without_one_of_its_fields_is_left_out_and_one_of_another_size_is_an_error() {
        let resolve = |answer: fn() -> LookUp| {
            optional(|_| EpollFields::resolve(|field| if field.path == "ffd.fd" { answer() } else { Ok(8) }))
        };
        assert!(resolve(|| Ok(16)).unwrap().is_some());
        assert!(resolve(|| Err(None)).unwrap().is_none());
        assert!(resolve(|| Err(Some(unexpected("epitem.ffd.fd has 8 bytes".into())))).is_err());
    }
}
