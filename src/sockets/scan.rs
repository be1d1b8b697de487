//! Running the iterator and reading what it writes.

use std::io::Read;
use std::os::fd::AsFd;

use super::fields::SocketOffsets;
use super::program::{self, SocketAccess};
use super::record::{Raw, Record};
use crate::asm::{self, Laid};
use crate::btf::Btf;
use crate::dataplane::{KernelField, LICENSE};
use crate::syscall::btf::shared_vmlinux;
use crate::syscall::{Error, Link, LinkTarget, ProgSpec, Program, Result, iter_reader, memlock};
use crate::uapi::{AttachType, ProgType};

/// The program's name in the kernel, at most 15 bytes.
const NAME: &str = "sidestep_socks";

/// The loaded iterator, with which one can look again and again.
#[derive(Debug)]
pub struct Scanner {
    link: Link,
}

impl Scanner {
    /// Assembles and loads the iterator. Needs CAP_BPF and CAP_PERFMON, and Linux 5.10.
    pub fn new() -> Result<Self> {
        let btf = shared_vmlinux()?;
        let helper = btf.func_by_name("bpf_sock_from_file").is_some();
        Self::load(&btf, if helper { SocketAccess::Helper } else { SocketAccess::SockFs })
    }

    /// The same, with this way from a file to its socket.
    pub fn with(access: SocketAccess) -> Result<Self> {
        let btf = shared_vmlinux()?;
        Self::load(&btf, access)
    }

    fn load(btf: &Btf, access: SocketAccess) -> Result<Self> {
        // Before Linux 5.11 programs count against it.
        memlock::raise_if_needed()?;
        let missing = |what: &str| Error::Missing { what: what.into(), remedy: "it needs Linux 5.10 or later" };
        let offsets = SocketOffsets::resolve(|wanted| offset(btf, wanted))?;
        let target =
            btf.func_by_name("bpf_iter_task_file").ok_or_else(|| missing("the iterator bpf_iter_task_file"))?;
        let invalid = |error: asm::Error| Error::Invalid(error.to_string());
        let program = program::build(&offsets, access).map_err(invalid)?;
        let spec = ProgSpec {
            license: LICENSE,
            expected_attach_type: Some(AttachType::TRACE_ITER),
            attach_btf_id: target,
            ..ProgSpec::new(NAME, ProgType::TRACING, &[])
        };
        let program = Program::assembled(&program, |_| None, spec)?;
        let link = Link::create(program.as_fd(), LinkTarget::None, AttachType::TRACE_ITER)?;
        Ok(Self { link })
    }

    /// Looks once.
    pub fn scan(&self) -> Result<Vec<Record>> {
        // What the kernel hands out at once is at most 8 pages (`bpf_seq_read`, kernel/bpf/bpf_iter.c).
        let mut bytes = Vec::with_capacity(1 << 16);
        let failed = |error| Error::Invalid(format!("the socket iterator stopped: {error}; try again"));
        iter_reader(&self.link)?.read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes.as_chunks::<{ Raw::BYTES }>().0.iter().map(Record::read).collect())
    }
}

/// Loads the iterator and looks once.
pub fn scan() -> Result<Vec<Record>> {
    Scanner::new()?.scan()
}

fn offset(btf: &Btf, wanted: &KernelField) -> Result<u16> {
    let field = btf.field(wanted.structure, wanted.path)?;
    let offset = wanted.offset(field.bit_offset, field.size());
    offset.map_err(|why| Error::Invalid(format!("{why}; report the kernel version")))
}
