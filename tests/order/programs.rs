//! Runs the real programs on a processor of a scenario.

use sidestep::asm::opcode::{ADD, FETCH};
use sidestep::dataplane::{self, AdoptionAnswer};
use sidestep::uapi::ctx::{iter_sockmap, sk_msg, sock_ops, sockopt};
use sidestep::uapi::flags::SK_PASS;
use sidestep::uapi::helper::id;
use sidestep::uapi::net;
use sidestep::verifier_sim::interp::{self, Args, ENOENT, Elsewhere, Environment, Fault, Limits, Machine};
use sidestep::verifier_sim::kernel::{btf_id, offset_of};

use super::event::{Change, Order};
use super::kernel;
use super::memory::Architecture;
use super::pair::{End, NEW_SK_MSG, NEW_SOCK_OPS};
use super::process::{Cpu, Stop};
use super::sleep;

/// The kernel around a program that runs.
struct Kernel<'a, 'b> {
    cpu: &'a mut Cpu<'b>,
    /// The end to whose queue the message is to go.
    redirect: Option<usize>,
}

fn stopped(_: Stop) -> Fault {
    Fault::Stopped
}

impl Kernel<'_, '_> {
    /// How an atomic operation orders accesses (docs/explanation/memory-order.md).
    fn order(&self, operation: i32) -> Order {
        match self.cpu.pair.architecture {
            Architecture::X86 => Order::Full,
            Architecture::Arm if operation & FETCH != 0 => Order::Full,
            Architecture::Arm => Order::Relaxed,
        }
    }

    /// The end that a key of the sockhash stands for.
    fn end_of(&mut self, machine: &Machine, args: &Args, argument: u8) -> Result<usize, Fault> {
        let address = args.get(argument)?;
        let cookie = match machine.memory.load(address, 8) {
            Ok(cookie) => cookie,
            Err(fault) => self.cpu.read(address, 8).ok_or(fault)?.map_err(stopped)?,
        };
        let end = self.cpu.pair.ends.iter().position(|end| end.cookie == cookie);
        end.ok_or_else(|| args.bad(argument, "the key of an end"))
    }

    fn atomic_elsewhere(
        &mut self,
        address: u64,
        size: u64,
        operation: i32,
        operand: u64,
    ) -> Option<Result<u64, Fault>> {
        assert_eq!(operation & !FETCH, i32::from(ADD), "the programs only add");
        let order = self.order(operation);
        if let [loc] = self.cpu.pair.words_in(address, size)[..] {
            return Some(self.cpu.update(loc, Change::Add(operand), order).map_err(stopped));
        }
        let old = match self.cpu.read(address, size)? {
            Ok(old) => old,
            Err(stop) => return Some(Err(stopped(stop))),
        };
        let done = self.cpu.write(address, size, old.wrapping_add(operand))?;
        let done = done.and_then(|()| if order == Order::Full { self.cpu.fence() } else { Ok(()) });
        Some(done.map(|()| old).map_err(stopped))
    }
}

impl Environment for Kernel<'_, '_> {
    fn helper(&mut self, machine: &mut Machine, args: &Args) -> Result<u64, Fault> {
        match args.helper {
            id::SK_STORAGE_GET => {
                let socket = args.get(2)?;
                let end = self.cpu.pair.ends.iter().find(|end| end.address == socket);
                end.map(|end| end.storage).ok_or_else(|| args.bad(2, "a socket"))
            }
            id::MAP_DELETE_ELEM => {
                let end = self.end_of(machine, args, 2)?;
                let found = kernel::sock_hash_delete(self.cpu, end).map_err(stopped)?;
                Ok(if found { 0 } else { ENOENT as u64 })
            }
            id::MSG_REDIRECT_HASH => {
                let end = self.end_of(machine, args, 3)?;
                let found = self.cpu.load(self.cpu.pair.ends[end].member).map_err(stopped)? != 0;
                self.redirect = found.then_some(end);
                Ok(if found { SK_PASS as u64 } else { 0 })
            }
            id::SETSOCKOPT if args.get(3)? == net::SO_RCVLOWAT as u64 && args.get(2)? == net::SOL_SOCKET as u64 => {
                sleep::wake(self.cpu).map_err(stopped).map(|()| 0)
            }
            // What the other options are does not matter here.
            id::SETSOCKOPT => Ok(0),
            id::GETSOCKOPT => {
                machine.memory.slice_mut(args.get(4)?, args.get(5)?)?.fill(0);
                Ok(0)
            }
            // The other end looks at these flags, and defers without them. They change when all is over.
            id::SOCK_OPS_CB_FLAGS_SET => Ok(0),
            other => Err(Fault::UnknownHelper(other)),
        }
    }

    fn rdonly_cast(&self) -> Option<i32> {
        btf_id("bpf_rdonly_cast").map(|id| id as i32)
    }

    fn elsewhere(&mut self, access: Elsewhere) -> Option<Result<u64, Fault>> {
        match access {
            Elsewhere::Load { address, size } => Some(self.cpu.read(address, size)?.map_err(stopped)),
            Elsewhere::Store { address, size, value } => {
                Some(self.cpu.write(address, size, value)?.map(|()| 0).map_err(stopped))
            }
            Elsewhere::Atomic { address, size, operation, operand } => {
                self.atomic_elsewhere(address, size, operation, operand)
            }
        }
    }

    fn atomic(&mut self, operation: i32) -> Result<(), Fault> {
        match self.order(operation) {
            Order::Full => self.cpu.fence().map_err(stopped),
            _ => Ok(()),
        }
    }
}

/// Runs a program to its end; gives its return value, and the end to which it redirects.
fn run(cpu: &mut Cpu, name: &'static str, context: u64, fields: &[(i16, &[u8])]) -> Result<(u64, Option<usize>), Stop> {
    let mut machine = std::mem::replace(&mut cpu.machine, Machine::new(1));
    let region = machine.memory.region_of(context).expect("a context");
    for (offset, value) in fields {
        machine.memory.bytes_mut(region)[*offset as usize..][..value.len()].copy_from_slice(value);
    }
    let program = &cpu.pair.programs[name];
    let mut kernel = Kernel { cpu, redirect: None };
    let end = interp::run(program, &mut machine, &mut kernel, &[context], Limits::default());
    let redirect = kernel.redirect;
    cpu.machine = machine;
    match end {
        Ok(outcome) => Ok((outcome.r0, redirect)),
        Err(trap) if trap.fault == Fault::Stopped => Err(Stop),
        Err(trap) => panic!("the {name} program faults at {trap}"),
    }
}

/// The program of the sockhash, on a message of this size: whether the message is to go to the other end's queue.
pub(crate) fn verdict(cpu: &mut Cpu, end: usize, size: u32) -> Result<bool, Stop> {
    let (context, socket) = (cpu.pair.contexts.sk_msg, cpu.pair.ends[end].address.to_ne_bytes());
    let fields: [(i16, &[u8]); 2] = [(sk_msg::LENGTH, &size.to_ne_bytes()), (sk_msg::SK, &socket)];
    // The dispatcher finds the program in its array (`bpf_tail_call`).
    let is_new = match cpu.pair.verdict {
        Some(verdict) => cpu.load(verdict)? != 0,
        None => false,
    };
    let (result, redirect) = run(cpu, if is_new { NEW_SK_MSG } else { "sk_msg" }, context, &fields)?;
    assert_eq!(result, SK_PASS as u64, "no message is dropped");
    Ok(redirect == Some(1 - end))
}

/// The callback of a measured round-trip time.
pub(crate) fn callback(cpu: &mut Cpu, end: usize) -> Result<(), Stop> {
    let (context, socket) = (cpu.pair.contexts.sock_ops, cpu.pair.ends[end].address.to_ne_bytes());
    let op = sock_ops::RTT.to_ne_bytes();
    let flags = (sock_ops::RTT_FLAG | sock_ops::WRITE_HDR_OPT_FLAG).to_ne_bytes();
    let one = 1_u32.to_ne_bytes();
    let fields: [(i16, &[u8]); 4] =
        [(sock_ops::OP, &op), (sock_ops::IS_FULLSOCK, &one), (sock_ops::CB_FLAGS, &flags), (sock_ops::SK, &socket)];
    let program = sock_ops_program(cpu)?;
    run(cpu, program, context, &fields).map(drop)
}

/// The program that is attached to the cgroup (`bpf_prog_array` of the cgroup).
fn sock_ops_program(cpu: &mut Cpu) -> Result<&'static str, Stop> {
    let is_new = match cpu.pair.attached {
        Some(attached) => cpu.load(attached)? != 0,
        None => false,
    };
    Ok(if is_new { NEW_SOCK_OPS } else { "sock_ops" })
}

/// The callback of a packet that an end makes, which knows of bytes by the stack up to `rcv_nxt`.
pub(crate) fn packet(cpu: &mut Cpu, end: usize, rcv_nxt: u32) -> Result<(), Stop> {
    let (contexts, End { address, sk, .. }) = (cpu.pair.contexts, cpu.pair.ends[end].clone());
    let kern = cpu.machine.memory.region_of(contexts.sock_ops_kern).expect("the context");
    let at = usize::from(offset_of("bpf_sock_ops_kern", "sk").expect("its socket"));
    cpu.machine.memory.bytes_mut(kern)[at..at + 8].copy_from_slice(&sk.to_ne_bytes());
    let (op, socket) = (sock_ops::HDR_OPT_LEN.to_ne_bytes(), address.to_ne_bytes());
    let flags = (sock_ops::RTT_FLAG | sock_ops::WRITE_HDR_OPT_FLAG).to_ne_bytes();
    let (one, rcv_nxt) = (1_u32.to_ne_bytes(), rcv_nxt.to_ne_bytes());
    let fields: [(i16, &[u8]); 5] = [
        (sock_ops::OP, &op),
        (sock_ops::IS_FULLSOCK, &one),
        (sock_ops::CB_FLAGS, &flags),
        (sock_ops::RCV_NXT, &rcv_nxt),
        (sock_ops::SK, &socket),
    ];
    let program = sock_ops_program(cpu)?;
    run(cpu, program, contexts.sock_ops, &fields).map(drop)
}

/// The program of an adoption, for setsockopt(2) on the socket of an end: whether it has done what is asked for.
pub(crate) fn adopt(cpu: &mut Cpu, end: usize, request: &[u8]) -> Result<bool, Stop> {
    let (context, socket) = (cpu.pair.contexts.sockopt, cpu.pair.ends[end].address.to_ne_bytes());
    let requests = cpu.pair.requests.expect("the map of requests");
    cpu.machine.value(requests, &[0; 4]).expect("its value").copy_from_slice(request);
    let (level, name) = (dataplane::LEVEL.to_ne_bytes(), dataplane::NAME.to_ne_bytes());
    let fields: [(i16, &[u8]); 3] = [(sockopt::SK, &socket), (sockopt::LEVEL, &level), (sockopt::OPTNAME, &name)];
    run(cpu, "adopt", context, &fields)?;
    let answer = cpu.machine.value(requests, &[0; 4]).expect("its value");
    Ok(AdoptionAnswer::from_bytes(answer).is_ok())
}

/// The drain, at the entry of an end.
pub(crate) fn drain(cpu: &mut Cpu, end: usize) -> Result<(), Stop> {
    let contexts = cpu.pair.contexts;
    let (socket, cookie) = (cpu.pair.ends[end].address.to_ne_bytes(), cpu.pair.ends[end].cookie.to_ne_bytes());
    let key = cpu.machine.memory.region_of(contexts.key).expect("the key");
    cpu.machine.memory.bytes_mut(key).copy_from_slice(&cookie);
    let at = contexts.key.to_ne_bytes();
    run(cpu, "drain", contexts.iterator, &[(iter_sockmap::KEY, &at), (iter_sockmap::SK, &socket)]).map(drop)
}
