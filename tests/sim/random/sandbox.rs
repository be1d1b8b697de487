//! A kernel for random programs: whatever the program does not decide itself is arbitrary, but possible.
//!
//! What a helper does to memory stands here once more, apart from the simulator's own tables, so that a mistake there
//! becomes a fault here.

use sidestep::verifier_sim::interp::{
    Access, Args, Environment, Fault, Limits, Machine, Outcome, Program, RegionId, RegionKind, Trap, run,
};
use sidestep::verifier_sim::spec::{MapType, ProgType, ProgramSpec};

use super::RDONLY_PROG;

/// A generator of numbers that needs no crate (Marsaglia's xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    /// A generator with a seed of its own.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1 << 63)
    }

    pub(crate) fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    fn one_in(&mut self, chances: u32) -> bool {
        self.next().is_multiple_of(chances)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| if self.one_in(4) { (self.next() % 3) as u8 } else { self.next() as u8 }).collect()
    }

    /// A number such as helpers return: often a small one, or a negative error.
    fn number(&mut self) -> u64 {
        match self.next() % 6 {
            0 => 0,
            1 => (self.next() % 64).into(),
            2 => -i64::from(self.next() % 100) as u64,
            3 => self.next().into(),
            4 => 1 << (self.next() % 64),
            _ => u64::from(self.next()) << 32 | u64::from(self.next()),
        }
    }
}

/// Runs the program once, in a world that `seed` makes.
pub(crate) fn execute(program: &ProgramSpec, seed: u64) -> Result<Outcome, Trap> {
    let mut random = Random::new(seed);
    let mut machine = Machine::new(2);
    machine.cpu = random.next() % 2;
    machine.stack_fill = random.next() as u8;
    let numbers: Vec<usize> = program.maps.iter().map_while(|map| machine.add_map(map)).collect();
    assert_eq!(numbers.len(), program.maps.len(), "the interpreter has all types of maps");
    for &number in &numbers {
        fill(&mut machine, number, &mut random);
    }
    let (context, mut sandbox) = Sandbox::new(&mut machine, program.prog_type, random);
    let ready = Program::new(program.insns.clone(), &program.map_loads, &numbers);
    run(&ready, &mut machine, &mut sandbox, &[context], LIMITS)
}

/// More instructions than any accepted program of the generator runs.
const LIMITS: Limits = Limits { instructions: 4_000_000, may_goto: 1000 };

/// Puts values under the keys that programs ask for most.
fn fill(machine: &mut Machine, number: usize, random: &mut Random) {
    let Some((map, memory)) = machine.map_and_memory(number) else { return };
    let spec = map.spec().clone();
    let filled = matches!(spec.map_type, MapType::HASH | MapType::ARRAY | MapType::PERCPU_ARRAY);
    if !filled || spec.map_flags & RDONLY_PROG != 0 {
        return;
    }
    for key in [0, 1, random.next()].into_iter().filter(|_| !random.one_in(4)) {
        let value = Random::new(key.into()).bytes(spec.value_size as usize);
        // A key outside an array is refused, and that is fine.
        let _ = map.update(memory, &key.to_ne_bytes(), &value, 0, 0);
    }
}

/// What surrounds one run.
struct Sandbox {
    random: Random,
    context: RegionId,
    /// Where the context keeps the packet's address, and whether the program may write the packet.
    packet_field: usize,
    packet_access: Access,
    packet: RegionId,
    records: Vec<RegionId>,
}

/// Bytes of `struct bpf_sock` and `struct bpf_tcp_sock` (include/uapi/linux/bpf.h).
const SOCK: usize = 80;
const TCP_SOCK: usize = 112;

impl Sandbox {
    /// The address of the context, and its surroundings.
    fn new(machine: &mut Machine, prog_type: ProgType, mut random: Random) -> (u64, Self) {
        let msg = prog_type == ProgType::SK_MSG;
        let (size, packet_field, sk_field) = if msg { (80, 0, 72) } else { (224, 192, 184) };
        let mut bytes = random.bytes(size);
        let has_socket = msg || !random.one_in(4);
        let socket = machine.memory.add(RegionKind::Socket(1), Access::Read, random.bytes(SOCK));
        let address = if has_socket { socket.address() } else { 0 };
        bytes[sk_field..sk_field + 8].copy_from_slice(&address.to_ne_bytes());
        let access = if msg { Access::Read } else { Access::WriteWithin(&[(4, 8), (164, 168)]) };
        let context = machine.memory.add(RegionKind::Context, access, bytes);
        let packet_access = if msg { Access::ReadWrite } else { Access::Read };
        let packet = machine.memory.add(RegionKind::Input, packet_access, Vec::new());
        let mut sandbox = Self { random, context, packet_field, packet_access, packet, records: Vec::new() };
        sandbox.move_packet(machine);
        (context.address(), sandbox)
    }

    /// The packet goes to another place: pointers to the old one dangle.
    fn move_packet(&mut self, machine: &mut Machine) {
        machine.memory.free(self.packet);
        let len = match self.random.next() % 4 {
            0 => self.random.next() % 9,
            1 => self.random.next() % 0x1_1000,
            _ => self.random.next() % 100,
        };
        let bytes = self.random.bytes(len as usize);
        self.packet = machine.memory.add(RegionKind::Input, self.packet_access, bytes);
        let start = self.packet.address();
        let context = &mut machine.memory.bytes_mut(self.context)[self.packet_field..];
        context[..8].copy_from_slice(&start.to_ne_bytes());
        context[8..16].copy_from_slice(&(start + u64::from(len)).to_ne_bytes());
    }

    fn must_be_context(&self, args: &Args, argument: u8) -> Result<(), Fault> {
        if args.get(argument)? == self.context.address() { Ok(()) } else { Err(args.bad(argument, "the context")) }
    }

    /// Does to memory what the helper does. `None` for helpers that are not known here.
    fn touch(&mut self, machine: &mut Machine, args: &Args) -> Option<Result<(), Fault>> {
        let effects = effects(args.helper)?;
        for effect in effects {
            if let Err(fault) = self.apply(machine, args, effect) {
                return Some(Err(fault));
            }
        }
        Some(Ok(()))
    }

    fn apply(&mut self, machine: &mut Machine, args: &Args, effect: &Effect) -> Result<(), Fault> {
        let spec = |machine: &Machine, argument| -> Result<_, Fault> {
            let number = args.map(machine, argument)?;
            Ok(machine.map(number).map(|map| map.spec().clone()).unwrap_or_default())
        };
        let (argument, size, writes) = match *effect {
            Effect::Context(argument) => return self.must_be_context(args, argument),
            Effect::ContextOrNull(argument) if args.get(argument)? == 0 => return Ok(()),
            Effect::ContextOrNull(argument) => return self.must_be_context(args, argument),
            Effect::Map(argument) => return args.map(machine, argument).map(drop),
            Effect::Read(argument, size) => (argument, size, false),
            Effect::Write(argument, size) => (argument, size, true),
        };
        let size = match size {
            Size::Bytes(size) => size,
            // Sizes are 32 bits wide.
            Size::Argument(argument) => args.get(argument)? & 0xffff_ffff,
            Size::Key(argument) => spec(machine, argument)?.key_size.into(),
            Size::Value(argument) => spec(machine, argument)?.value_size.into(),
        };
        let address = args.get(argument)?;
        if size == 0 {
            return Ok(());
        }
        if writes {
            let bytes = self.random.bytes(size as usize);
            machine.memory.slice_mut(address, size)?.copy_from_slice(&bytes);
        } else {
            machine.memory.slice(address, size)?;
        }
        Ok(())
    }

    /// `bpf_ringbuf_reserve`: nothing when the ring is full, as it is for a record that is larger than it.
    fn reserve(&mut self, machine: &mut Machine, args: &Args) -> Result<u64, Fault> {
        let ring = args.map(machine, 1)?;
        let room = machine.map(ring).map_or(0, |map| u64::from(map.spec().max_entries));
        let size = args.get(2)?;
        if size > room || self.random.one_in(4) {
            return Ok(0);
        }
        let bytes = self.random.bytes(size as usize);
        let record = machine.memory.add(RegionKind::MapValue, Access::ReadWrite, bytes);
        self.records.push(record);
        Ok(record.address())
    }

    /// `bpf_ringbuf_submit` and `bpf_ringbuf_discard`.
    fn release(&mut self, machine: &mut Machine, args: &Args) -> Result<u64, Fault> {
        let address = args.get(1)?;
        match self.records.iter().position(|record| record.address() == address) {
            Some(at) => {
                machine.memory.free(self.records.swap_remove(at));
                Ok(0)
            }
            None => Err(args.bad(1, "a record that is reserved")),
        }
    }
}

impl Environment for Sandbox {
    fn helper(&mut self, machine: &mut Machine, args: &Args) -> Result<u64, Fault> {
        if let Some(done) = self.touch(machine, args) {
            done?;
        } else if !matches!(args.helper, 131..=133) {
            return Err(Fault::UnknownHelper(args.helper));
        }
        match args.helper {
            // Tail calls fail here, after which the program goes on as if the packet had moved.
            12 | 63 | 90 | 91 => self.move_packet(machine),
            131 => return self.reserve(machine, args),
            132 | 133 => return self.release(machine, args),
            96 if !self.random.one_in(4) => {
                let bytes = self.random.bytes(TCP_SOCK);
                return Ok(machine.memory.add(RegionKind::Socket(2), Access::Read, bytes).address());
            }
            // Pointers that may be NULL.
            96 | 136..=140 | 178 | 195 | 196 => return Ok(0),
            // Strings return their length, at most the size of the buffer.
            114 | 115 => {
                let size = args.get(2)? & 0xffff_ffff;
                let length = u64::from(self.random.next()) % (size + 1);
                return Ok(if self.random.one_in(4) { -14_i64 as u64 } else { length });
            }
            _ => {}
        }
        Ok(self.random.number())
    }
}

/// How much memory a helper touches.
#[derive(Clone, Copy)]
enum Size {
    Bytes(u64),
    /// As many as this argument says.
    Argument(u8),
    /// A key of the map in this argument.
    Key(u8),
    /// A value of the map in this argument.
    Value(u8),
}

/// What a helper wants of an argument.
#[derive(Clone, Copy)]
enum Effect {
    Context(u8),
    ContextOrNull(u8),
    Map(u8),
    Read(u8, Size),
    Write(u8, Size),
}

/// What helpers do, by number (`enum bpf_func_id`, include/uapi/linux/bpf.h); `None` for those that random programs hardly
/// ever call rightly.
fn effects(helper: i32) -> Option<&'static [Effect]> {
    use Effect::{Context, ContextOrNull, Map, Read, Write};
    use Size::{Argument, Bytes, Key, Value};
    Some(match helper {
        5 | 7 | 14 | 15 | 17 | 35 | 42 | 80 | 109 | 117 | 118 | 123 | 125 | 136..=140 | 160 | 178 | 196 | 208 => &[],
        6 => &[Read(1, Argument(2))],
        12 => &[Context(1), Map(2)],
        16 | 112 | 114 | 115 | 176 => &[Write(1, Argument(2))],
        46 | 59 | 61 | 62 | 63 | 90 | 91 | 144 => &[Context(1)],
        53 | 70 | 71 => &[Context(1), Map(2), Read(3, Key(2))],
        87 => &[Map(1), Read(2, Value(1))],
        88 | 89 => &[Map(1), Write(2, Value(1))],
        // The word of a lock, which no other program writes.
        93 | 94 => &[Read(1, Bytes(4))],
        96 => &[Read(1, Bytes(SOCK as u64))],
        105 | 106 => &[Read(1, Argument(2)), Write(4, Bytes(8))],
        120 => &[Write(3, Argument(4))],
        122 => &[ContextOrNull(1)],
        134 => &[Map(1)],
        149 => &[Write(1, Argument(2)), Read(3, Argument(4))],
        195 => &[Map(1), Read(2, Key(1))],
        _ => return None,
    })
}
