//! What this kernel and this process allow: the tier.

use std::sync::OnceLock;

use super::error::{Context, Error, Result};
use crate::asm::{Asm, Reg};
use crate::btf::Btf;
use crate::dataplane::{BufferLocks, Casts, EpollFields, KernelOffsets, LICENSE, MemoryLimit, OptionBits, Tier};
use crate::syscall::btf::vmlinux;
use crate::syscall::caps::{Capabilities, Capability};
use crate::syscall::sysctl::{self, Lockdown};
use crate::syscall::{self, ProgSpec, Program};
use crate::uapi::ProgType;

/// Which tier to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// What we want to know of the kernel's types.
#[derive(Clone, Copy)]
struct KernelTypes {
    offsets: KernelOffsets,
    iter_sockmap: Option<u32>,
}

/// Reads them once: the file has megabytes, and when they are allocated a second time the C library keeps them.
fn kernel_types() -> Result<KernelTypes> {
    static KNOWN: OnceLock<KernelTypes> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(*known);
    }
    let btf = vmlinux().context("read the kernel's BTF")?;
    let casts = Casts::resolve(|name| btf.func_by_name(name).or_else(|| btf.struct_by_name(name))).filter(can_cast);
    let (buffer_locks, epoll, memory_limit) = (buffer_locks(&btf), epoll(&btf), memory_limit(&btf));
    let options = OptionBits::resolve(|name| btf.enumerator("sock_flags", name));
    let types = KernelTypes {
        offsets: KernelOffsets {
            casts,
            options,
            buffer_locks,
            epoll,
            memory_limit,
            // net/core/bpf_sk_storage.c: came with the permission, and says for which programs it holds.
            iterators_have_storage: btf.func_by_name("bpf_sk_storage_tracing_allowed").is_some(),
            // net/core/sock.c: since programs share it with system calls, they can read and set all that those can.
            readers_can_be_woken: btf.func_by_name("sk_getsockopt").is_some(),
            ..offsets(&btf)?
        },
        iter_sockmap: btf.func_by_name("bpf_iter_sockmap"),
    };
    Ok(*KNOWN.get_or_init(|| types))
}

/// How to find out who watches a socket; nothing when this kernel's epoll is another.
fn epoll(btf: &Btf) -> Option<EpollFields> {
    let offset = |structure, path| btf.offset_of(structure, path).ok().and_then(|offset| u16::try_from(offset).ok());
    let (item, entry) = (offset("eppoll_entry", "base")?, offset("eppoll_entry", "wait.entry")?);
    Some(EpollFields {
        queue: offset("sock", "sk_wq")?,
        list: offset("socket_wq", "wait.head")?,
        to_item: item.cast_signed() - entry.cast_signed(),
        file: offset("epitem", "ffd.file")?,
        fd: offset("epitem", "ffd.fd")?,
        events: offset("epitem", "event.events")?,
        data: offset("epitem", "event.data")?,
    })
}

/// Where a socket says which of its buffers the application has sized.
fn buffer_locks(btf: &Btf) -> Option<BufferLocks> {
    let field = btf.field("sock", "sk_userlocks").ok()?;
    Some(BufferLocks { byte: u16::try_from(field.bit_offset / 8).ok()?, shift: (field.bit_offset % 8) as u8 })
}

/// The offsets behind limits on memory: version 2 of the controller counts sockets with everything else, version 1 apart.
fn memory_limit(btf: &Btf) -> Option<MemoryLimit> {
    // name, number of the hierarchy (0 is version 2's), ...: proc_cgroupstats_show, kernel/cgroup/cgroup-v1.c.
    let controllers = sysctl::read(std::path::Path::new("/proc/cgroups")).unwrap_or_default();
    let hierarchy = controllers.lines().find_map(|line| line.strip_prefix("memory\t")?.split('\t').next());
    // Linux 6.15 and later do not list what version 1 does not have.
    let counter = if hierarchy.is_none_or(|number| number == "0") { "memory" } else { "tcpmem" };
    let offset = |structure, path| btf.offset_of(structure, path).ok().and_then(|offset| u16::try_from(offset).ok());
    Some(MemoryLimit {
        granted: offset("sock", "sk_forward_alloc")?,
        group: offset("sock", "sk_memcg")?,
        counter: offset("mem_cgroup", counter)?,
        usage: offset("page_counter", "usage.counter")?,
        most: offset("page_counter", "max")?,
        parent: offset("page_counter", "parent")?,
    })
}

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
    KernelOffsets::resolve(|wanted| {
        let field = btf
            .field(wanted.structure, wanted.path)
            .map_err(syscall::Error::from)
            .context("find a field in the kernel's BTF")?;
        // A field of another size would be read wrongly; only the head of a list is longer than what is read of it.
        let fits = field.size() == u32::from(wanted.size) || wanted.path == "ingress_msg";
        // A bit field must be the low bits of its byte.
        let fits = fits && field.bit_offset % 8 == 0;
        match u16::try_from(field.offset()) {
            Ok(offset) if fits => Ok(offset),
            _ => Err(Error::Unsupported {
                what: "the gate does not know this kernel",
                why: format!(
                    "{}.{} is at byte {} and {} bytes long, where {} bytes were expected",
                    wanted.structure,
                    wanted.path,
                    field.offset(),
                    field.size(),
                    wanted.size
                ),
                remedy: "use --tier sticky and report the kernel version",
            }),
        }
    })
}
