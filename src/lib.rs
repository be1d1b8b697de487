//! sidestep: TCP between an application and its sidecar proxy on one node, past the TCP/IP stack.
//!
//! The layers, from the bottom; imports only ever point upwards in this list:
//!
//! - [`uapi`]: the numbers and names of the kernel's ABI for BPF. Plain data.
//! - [`btf`]: type information, read and made. Uses nothing.
//! - [`asm`]: a typed BPF assembler and disassembler. Knows nothing of the kernel.
//! - [`syscall`]: bpf(2) and the few other raw calls. Knows nothing of the programs.
//! - [`verifier_sim`]: the kernel's verifier and a BPF interpreter in user space. Uses only [`asm`].
//! - [`dataplane`]: the BPF programs and their maps, as data. Uses only [`asm`].
//! - [`sockets`]: every TCP socket of the machine, and which two are one connection.
//! - [`observe`]: what runs on this node, and which of its connections can be accelerated.
//! - [`pods`]: the pods of this node, by the container runtime's word, and their cgroups.
//! - [`testbed`]: two pods with sidecars on one machine, for the demo, benchmarks and tests.
//! - [`agent`]: loads, attaches, watches and removes the data plane.
//! - [`metrics`]: what the data plane tells, for Prometheus.
//! - [`mod@bench`]: measures the data plane against plain TCP, in the testbed's namespaces.
//! - [`cli`]: one file a command.

#[cfg(feature = "agent")]
pub mod agent;
pub mod asm;
#[cfg(feature = "bench")]
pub mod bench;
pub mod btf;
#[cfg(feature = "cli")]
pub mod cli;
pub mod dataplane;
#[cfg(feature = "cli")]
pub mod metrics;
#[cfg(feature = "agent")]
pub mod observe;
#[cfg(feature = "pods")]
pub mod pods;
#[cfg(feature = "syscall")]
pub mod sockets;
#[cfg(feature = "syscall")]
pub mod syscall;
#[cfg(feature = "demo")]
pub mod testbed;
pub mod uapi;
pub mod verifier_sim;
