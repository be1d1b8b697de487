//! Ungated redirection in the kernel, for the variant that shows what the gate costs and saves.

use std::os::fd::AsFd;

use super::error::Result;
use crate::agent;
use crate::dataplane::LICENSE;
use crate::dataplane::ungated::{Ungated, ungated};
use crate::syscall::cgroup::Cgroup;
use crate::syscall::{Link, LinkTarget, Map, MapSpec, ProgSpec, Program, memlock, prog_attach};
use crate::uapi::{AttachType, ProgType};

/// Both programs, attached. The sockets in the map keep the sk_msg program until they close, so it is dropped after the
/// processes of the benchmark.
#[derive(Debug)]
pub(super) struct Attached {
    _sock_ops: Link,
    sk_msg: Program,
    _sockets: Map,
}

impl Attached {
    /// The program that redirects.
    pub(super) fn sk_msg(&self) -> &Program {
        &self.sk_msg
    }

    /// Loads both programs and attaches them to `cgroup`, until the answer is dropped.
    pub(super) fn to(cgroup: &Cgroup) -> Result<Self> {
        memlock::raise_if_needed()?;
        let Ungated { sock_ops, sk_msg, sockets } = ungated().map_err(agent::Error::from)?;
        let spec = MapSpec::new(
            "bench_ungated",
            sockets.kind.map_type(),
            sockets.key_size,
            sockets.value_size,
            sockets.max_entries,
        );
        let sockets = Map::create(&spec)?;
        let load = |name, prog_type, program| {
            let spec = ProgSpec { license: LICENSE, ..ProgSpec::new(name, prog_type, &[]) };
            Program::assembled(program, |_| Some(&sockets), spec)
        };
        let sock_ops = load("bench_ops", ProgType::SOCK_OPS, &sock_ops)?;
        let sk_msg = load("bench_msg", ProgType::SK_MSG, &sk_msg)?;
        // First the verdict: a socket takes the program along when it enters the map. It goes with the map.
        prog_attach(sockets.as_fd(), sk_msg.as_fd(), AttachType::SK_MSG_VERDICT)?;
        let link = Link::create(sock_ops.as_fd(), LinkTarget::Fd(cgroup.as_fd()), AttachType::CGROUP_SOCK_OPS)?;
        Ok(Self { _sock_ops: link, sk_msg, _sockets: sockets })
    }
}
