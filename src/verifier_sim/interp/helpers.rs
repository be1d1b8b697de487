//! Helpers that need nothing but memory and maps.

use super::fault::Fault;
use super::machine::Machine;
use super::map::{EINVAL, Map};
use crate::uapi::helper::id;
use crate::verifier_sim::byte_order::to_memory;

/// -EFAULT.
const EFAULT: i64 = -14;

/// What a program passes to a helper: r1 to r5, some of which may never have been written.
#[derive(Clone, Copy, Debug)]
pub struct Args {
    /// The helper's id.
    pub helper: i32,
    values: [u64; 5],
    written: u16,
}

impl Args {
    /// The values of r1 to r5; bit n of `written` says that rn holds something.
    pub(super) fn new(helper: i32, values: [u64; 5], written: u16) -> Self {
        Self { helper, values, written }
    }

    /// Argument 1 to 5.
    pub fn get(&self, argument: u8) -> Result<u64, Fault> {
        match self.values.get(usize::from(argument).wrapping_sub(1)) {
            Some(&value) if self.written & (1 << argument) != 0 => Ok(value),
            _ => Err(Fault::Uninitialized(argument)),
        }
    }

    /// The fault of an argument the helper cannot take.
    pub fn bad(&self, argument: u8, wanted: &'static str) -> Fault {
        let value = self.values.get(usize::from(argument).wrapping_sub(1)).copied().unwrap_or(0);
        Fault::BadArgument { helper: self.helper, argument, value, wanted }
    }

    /// Argument 1 to 5 as a map's number.
    pub fn map(&self, machine: &Machine, argument: u8) -> Result<usize, Fault> {
        machine.map_at(self.get(argument)?).ok_or_else(|| self.bad(argument, "a map"))
    }

    /// The bytes that argument 1 to 5 points to.
    pub fn bytes(&self, machine: &Machine, argument: u8, size: u64) -> Result<Vec<u8>, Fault> {
        machine.memory.slice(self.get(argument)?, size).map(<[u8]>::to_vec)
    }

    /// The key that argument `argument` points to, for map number `map`.
    pub fn key(&self, machine: &Machine, argument: u8, map: usize) -> Result<Vec<u8>, Fault> {
        let size = machine.map(map).map_or(0, |map| map.spec().key_size);
        self.bytes(machine, argument, u64::from(size))
    }
}

/// An access to memory that the machine does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// A load of `size` bytes.
    Load {
        /// Where.
        address: u64,
        /// How many.
        size: u64,
    },
    /// A store of the low `size` bytes of `value`.
    Store {
        /// Where.
        address: u64,
        /// How many.
        size: u64,
        /// What.
        value: u64,
    },
    /// An atomic operation; the answer is what was there before.
    Atomic {
        /// Where.
        address: u64,
        /// On how many bytes.
        size: u64,
        /// The immediate of its instruction.
        operation: i32,
        /// Its source register.
        operand: u64,
    },
}

/// The kernel around a program: everything a program can ask for that is not plain memory or a map.
pub trait Environment {
    /// Runs helper `args.helper`; the result becomes r0.
    fn helper(&mut self, machine: &mut Machine, args: &Args) -> Result<u64, Fault>;

    /// Runs the kernel function with BTF id `args.helper`.
    fn kfunc(&mut self, machine: &mut Machine, args: &Args) -> Result<u64, Fault> {
        let _ = machine;
        Err(Fault::UnknownKfunc(args.helper))
    }

    /// Whether a tail call finds a program in the map. If so the run ends here, and the caller of [`super::run`] runs the other one.
    fn tail_call(&mut self, machine: &mut Machine, args: &Args) -> Result<bool, Fault> {
        self.helper(machine, args).map(|_| false)
    }

    /// The BTF id of the kernel function `bpf_rdonly_cast`, where there is one.
    fn rdonly_cast(&self) -> Option<i32> {
        None
    }

    /// Serves an access to memory that the machine does not have; `None` where there is none.
    fn elsewhere(&mut self, access: Elsewhere) -> Option<Result<u64, Fault>> {
        let _ = access;
        None
    }

    /// An atomic operation on the machine's own memory has run; `operation` is its immediate. It may order the accesses around it.
    fn atomic(&mut self, operation: i32) -> Result<(), Fault> {
        let _ = operation;
        Ok(())
    }

    /// The packet for legacy absolute and indirect loads, when the program has one.
    fn packet(&self) -> Option<&[u8]> {
        None
    }
}

/// An environment with no kernel: only the helpers on maps and memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoKernel;

impl Environment for NoKernel {
    fn helper(&mut self, _machine: &mut Machine, args: &Args) -> Result<u64, Fault> {
        Err(Fault::UnknownHelper(args.helper))
    }
}

/// Runs `args.helper` if it needs no kernel; `None` when it does.
pub(super) fn plain(
    machine: &mut Machine,
    environment: &mut dyn Environment,
    args: &Args,
) -> Option<Result<u64, Fault>> {
    Some(match args.helper {
        id::MAP_LOOKUP_ELEM => lookup(machine, args),
        id::MAP_UPDATE_ELEM => update(machine, args),
        // Taking a socket out of a map changes the socket, which is the environment's.
        id::MAP_DELETE_ELEM if !names_sock_hash(machine, args) => delete(machine, args),
        id::GET_SMP_PROCESSOR_ID => Ok(u64::from(machine.cpu)),
        id::PROBE_READ_KERNEL => probe_read(machine, environment, args),
        id::PERF_EVENT_OUTPUT | id::RINGBUF_OUTPUT => output(machine, args),
        _ => return None,
    })
}

fn names_sock_hash(machine: &Machine, args: &Args) -> bool {
    args.map(machine, 1).is_ok_and(|number| machine.map(number).is_some_and(Map::is_sock_hash))
}

fn lookup(machine: &mut Machine, args: &Args) -> Result<u64, Fault> {
    let number = args.map(machine, 1)?;
    let key = args.key(machine, 2, number)?;
    let cpu = machine.cpu;
    let found = machine.map_and_memory(number).and_then(|(map, memory)| map.lookup(memory, &key, cpu));
    Ok(found.map_or(0, |region| region.address()))
}

fn update(machine: &mut Machine, args: &Args) -> Result<u64, Fault> {
    let number = args.map(machine, 1)?;
    let key = args.key(machine, 2, number)?;
    let size = machine.map(number).map_or(0, |map| map.spec().value_size);
    let value = args.bytes(machine, 3, u64::from(size))?;
    let flags = args.get(4)?;
    let cpu = machine.cpu;
    let result = match machine.map_and_memory(number) {
        Some((map, memory)) => map.update(memory, &key, &value, flags, cpu),
        None => Err(EINVAL),
    };
    Ok(status(result))
}

fn delete(machine: &mut Machine, args: &Args) -> Result<u64, Fault> {
    let number = args.map(machine, 1)?;
    let key = args.key(machine, 2, number)?;
    let result = machine.map_and_memory(number).map_or(Err(EINVAL), |(map, _)| map.delete(&key));
    Ok(status(result))
}

/// `bpf_probe_read_kernel(dst, size, src)`: a bad source is an error number, and the destination is cleared.
///
/// Memory elsewhere is read as the kernel does, a word after the other (`copy_from_kernel_nofault`, mm/maccess.c).
fn probe_read(machine: &mut Machine, environment: &mut dyn Environment, args: &Args) -> Result<u64, Fault> {
    let (to, size, from) = (args.get(1)?, args.get(2)? & 0xffff_ffff, args.get(3)?);
    let from = machine.memory.kernel_address(from);
    let mut found = machine.memory.slice(from, size).map(<[u8]>::to_vec).ok();
    if found.is_none() {
        let (mut bytes, mut left) = (Vec::new(), size);
        while let Some(word) = [8, 4, 2, 1].into_iter().find(|word| *word <= left) {
            let load = Elsewhere::Load { address: from.wrapping_add(size - left), size: word };
            let Some(value) = environment.elsewhere(load) else { break };
            let mut place = [0; 8];
            to_memory(&mut place[..word as usize], value?);
            bytes.extend(&place[..word as usize]);
            left -= word;
        }
        found = (left == 0).then_some(bytes);
    }
    let target = machine.memory.slice_mut(to, size)?;
    Ok(match found {
        Some(bytes) => {
            target.copy_from_slice(&bytes);
            0
        }
        None => {
            target.fill(0);
            EFAULT as u64
        }
    })
}

/// `bpf_ringbuf_output(map, data, size, flags)` and `bpf_perf_event_output(ctx, map, flags, data, size)`.
fn output(machine: &mut Machine, args: &Args) -> Result<u64, Fault> {
    let (map, data, size) = if args.helper == id::RINGBUF_OUTPUT { (1, 2, 3) } else { (2, 4, 5) };
    let number = args.map(machine, map)?;
    let record = args.bytes(machine, data, args.get(size)?)?;
    let sent = machine.map_and_memory(number).is_some_and(|(map, _)| map.push_record(&record));
    if sent { Ok(0) } else { Err(args.bad(map, "a ring buffer")) }
}

fn status(result: Result<(), i64>) -> u64 {
    match result {
        Ok(()) => 0,
        Err(errno) => errno as u64,
    }
}
