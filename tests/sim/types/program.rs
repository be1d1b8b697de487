//! Random programs of one type: what may be done with its context, its packet, its sockets and its helpers.

use sidestep::asm::Insn;
use sidestep::asm::opcode as op;
use sidestep::uapi::helper::{Arg, Helper, Ret};
use sidestep::uapi::{AttachType, ProgType};
use sidestep::verifier_sim::spec::{MapLoad, MapSpec, MapType, ProgramSpec};

use super::places::Place;
use crate::random::map;
use crate::random::sandbox::Random;

/// `BPF_F_NO_PREALLOC`, which storage maps demand.
const NO_PREALLOC: u32 = 1;

/// The maps of these programs.
pub(crate) fn maps() -> Vec<MapSpec> {
    vec![
        map(MapType::HASH, 4, 16, 4),
        map(MapType::ARRAY, 4, 16, 1),
        map(MapType::PERCPU_ARRAY, 4, 16, 4),
        map(MapType::RINGBUF, 0, 0, 4096),
        map(MapType::PROG_ARRAY, 4, 4, 4),
        map(MapType::PERF_EVENT_ARRAY, 4, 4, 4),
        map(MapType::STACK_TRACE, 4, 64, 4),
        map(MapType::CGROUP_ARRAY, 4, 4, 4),
        map(MapType::DEVMAP, 4, 4, 4),
        map(MapType::CPUMAP, 4, 4, 1),
        map(MapType::SOCKHASH, 4, 8, 4),
        MapSpec { map_flags: NO_PREALLOC, ..map(MapType::SK_STORAGE, 4, 16, 0) },
        map(MapType::QUEUE, 0, 8, 4),
        map(MapType::SOCKMAP, 4, 4, 4),
        map(MapType::REUSEPORT_SOCKARRAY, 4, 8, 4),
        map(MapType::CGROUP_STORAGE, 16, 16, 0),
    ]
}

/// Bytes of stack that hold zeros, from the frame pointer down.
const STACK: i16 = 64;
const FP: u8 = 10;
/// The context.
const CTX: u8 = 6;
/// A number that programs compute with.
const NUMBER: u8 = 7;
/// What idioms keep across calls.
const KEPT: u8 = 8;

/// Of [`maps`].
const PROG_ARRAY: usize = 4;
const CGROUP_STORAGE: usize = 15;

struct Writer<'a> {
    place: &'a Place,
    numbers: &'a mut Random,
    insns: Vec<Insn>,
    loads: Vec<MapLoad>,
}

/// A program of a few idioms. Most are right.
pub(crate) fn random(place: &Place, numbers: &mut Random) -> ProgramSpec {
    let mut writer = Writer { place, numbers, insns: Vec::new(), loads: Vec::new() };
    writer.all();
    let Writer { insns, loads, .. } = writer;
    ProgramSpec { maps: maps(), map_loads: loads, ..place.program(insns) }
}

/// Where the context has a socket, if it has one.
pub(crate) fn socket_at(prog: ProgType) -> i16 {
    match prog {
        ProgType::CGROUP_SOCK_ADDR => 64,
        ProgType::CGROUP_SOCKOPT | ProgType::SK_LOOKUP => 0,
        ProgType::SK_REUSEPORT => 40,
        _ => 168,
    }
}

/// What a helper takes in programs of this type, where that differs from the others.
pub(crate) fn arguments(prog: ProgType, helper: i32, usual: &'static [Arg]) -> &'static [Arg] {
    match (helper, prog) {
        (49, ProgType::CGROUP_SOCKOPT) => &[Arg::BtfSock, Arg::Anything, Arg::Anything, Arg::Mem, Arg::Size],
        (57, ProgType::CGROUP_SOCKOPT) => &[Arg::BtfSock, Arg::Anything, Arg::Anything, Arg::MemOut, Arg::Size],
        (46, ProgType::SK_REUSEPORT) => &[Arg::BtfSockOrNull],
        (124, ProgType::SK_LOOKUP) => &[Arg::Ctx, Arg::FullSockOrNull, Arg::Anything],
        _ => usual,
    }
}

impl Writer<'_> {
    fn below(&mut self, end: usize) -> usize {
        self.numbers.next() as usize % end
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn push(&mut self, code: u8, dst: u8, src: u8, off: i16, imm: i32) {
        self.insns.push(Insn { code, dst, src, off, imm });
    }

    fn set(&mut self, dst: u8, imm: i32) {
        self.push(op::ALU64 | op::MOV | op::K, dst, 0, 0, imm);
    }

    fn copy(&mut self, dst: u8, src: u8) {
        self.push(op::ALU64 | op::MOV | op::X, dst, src, 0, 0);
    }

    fn stack(&mut self, dst: u8) {
        self.copy(dst, FP);
        self.push(op::ALU64 | op::ADD | op::K, dst, 0, 0, -i32::from(STACK));
    }

    fn map(&mut self, dst: u8, map: usize) {
        // The first program that uses a PROG_ARRAY decides whether the others may have storage of cgroups.
        let other = if map == PROG_ARRAY { CGROUP_STORAGE } else { PROG_ARRAY };
        let both = [PROG_ARRAY, CGROUP_STORAGE].contains(&map) && self.loads.iter().any(|load| load.map == other);
        let map = if both { 0 } else { map };
        self.loads.push(MapLoad { insn: self.insns.len(), map });
        self.push(op::LD | op::IMM | op::DW, dst, op::PSEUDO_MAP_FD, 0, map as i32);
        self.push(0, 0, 0, 0, 0);
    }

    fn size(&mut self) -> (u8, i16) {
        [(op::B, 1), (op::H, 2), (op::W, 4), (op::DW, 8)][self.below(4)]
    }

    /// Runs `then` only where the register is not 0.
    fn unless_null(&mut self, reg: u8, then: impl FnOnce(&mut Self)) {
        let at = self.insns.len();
        self.push(op::JMP | op::JEQ | op::K, reg, 0, 0, 0);
        then(self);
        self.insns[at].off = (self.insns.len() - at - 1) as i16;
    }

    fn all(&mut self) {
        self.copy(CTX, 1);
        for slot in 1..=STACK / 8 {
            self.push(op::ST | op::MEM | op::DW, FP, 0, slot * -8, 0);
        }
        self.set(NUMBER, 1);
        for _ in 0..=self.below(5) {
            match self.below(8) {
                0 | 1 => self.load_context(),
                2 => self.store_context(),
                3 => self.packet(),
                4..=6 => self.helper(),
                _ => self.compute(),
            }
        }
        self.finish();
    }

    /// An offset in the context: a whole one mostly.
    fn context_offset(&mut self, size: i16) -> i16 {
        let (prog, far) = (self.place.prog, self.one_in(8));
        let end = match prog {
            ProgType::XDP => 28,
            ProgType::CGROUP_SOCK | ProgType::CGROUP_SOCK_ADDR => 88,
            ProgType::CGROUP_DEVICE | ProgType::CGROUP_SYSCTL => 16,
            ProgType::CGROUP_SOCKOPT => 48,
            ProgType::SK_LOOKUP | ProgType::SK_REUSEPORT => 80,
            ProgType::TRACING => 48,
            ProgType::TRACEPOINT if far => 8208,
            ProgType::RAW_TRACEPOINT => 104,
            _ => 200,
        };
        let off = self.below(end) as i16 - if self.one_in(20) { 8 } else { 0 };
        if self.one_in(20) { off } else { off / size * size }
    }

    /// What a flow dissector has found, which it reads and writes.
    fn flow_keys(&mut self) {
        self.push(op::LDX | op::MEM | op::DW, KEPT, CTX, 144, 0);
        if self.one_in(3) {
            let by = [4, 56, -8][self.below(3)];
            self.push(op::ALU64 | op::ADD | op::K, KEPT, 0, 0, by);
        }
        if self.one_in(8) {
            self.push(op::ALU64 | op::ADD | op::X, KEPT, NUMBER, 0, 0);
        }
        for _ in 0..=self.below(2) {
            let (code, bytes) = self.size();
            let off = self.below(60) as i16 / bytes * bytes;
            match self.below(8) {
                0 => self.push(op::STX | op::ATOMIC | op::DW, KEPT, NUMBER, off, i32::from(op::ADD)),
                1..=3 => self.push(op::STX | op::MEM | code, KEPT, NUMBER, off, 0),
                4 => self.push(op::ST | op::MEM | code, KEPT, 0, off, 1),
                _ => self.push(op::LDX | op::MEM | code, 3, KEPT, off, 0),
            }
        }
    }

    fn load_context(&mut self) {
        if self.place.prog == ProgType::FLOW_DISSECTOR && !self.one_in(3) {
            return self.flow_keys();
        }
        let (prog, usual) = (self.place.prog, !self.one_in(5));
        let (code, bytes) = match prog {
            ProgType::TRACING | ProgType::PERF_EVENT | ProgType::RAW_TRACEPOINT if usual => (op::DW, 8),
            ProgType::XDP if usual => (op::W, 4),
            _ => self.size(),
        };
        let off = self.context_offset(bytes);
        let mode = if self.one_in(12) { op::MEMSX } else { op::MEM };
        self.push(op::LDX | mode | code, KEPT, CTX, off, 0);
        if self.one_in(2) {
            return;
        }
        // It may be a pointer: looks behind it, with or without a check.
        let (code, bytes) = self.size();
        let off = self.below(96) as i16 / bytes * bytes;
        if self.one_in(8) {
            self.push(op::LDX | op::MEM | code, 3, KEPT, off, 0);
            return;
        }
        self.unless_null(KEPT, |w| {
            w.push(op::LDX | op::MEM | code, 3, KEPT, off, 0);
            if code == op::DW && w.one_in(2) {
                let (code, bytes) = w.size();
                let off = w.below(64) as i16 / bytes * bytes;
                w.push(op::LDX | op::MEM | code, 4, 3, off, 0);
            }
        });
    }

    fn store_context(&mut self) {
        let (code, bytes) = if self.one_in(3) { self.size() } else { (op::W, 4) };
        let off = self.context_offset(bytes);
        if self.one_in(3) {
            self.push(op::ST | op::MEM | code, CTX, 0, off, 1);
        } else {
            let value = if self.one_in(10) { CTX } else { NUMBER };
            self.push(op::STX | op::MEM | code, CTX, value, off, 0);
        }
    }

    /// A load of classic BPF. The context is where it has to be.
    fn legacy(&mut self) {
        let mode = if self.one_in(3) { op::IND } else { op::ABS };
        let (size, _) = self.size();
        let size = if size == op::DW && !self.one_in(4) { op::W } else { size };
        let src = if mode == op::IND || self.one_in(8) { NUMBER } else { 0 };
        let dst = u8::from(self.one_in(12));
        let imm = self.below(64) as i32;
        self.push(op::LD | mode | size, dst, src, 0, imm);
        if self.one_in(2) {
            self.copy(NUMBER, 0);
        }
    }

    /// Packet bytes, mostly behind a check that they are there.
    fn packet(&mut self) {
        let legacy = matches!(self.place.prog, ProgType::SOCKET_FILTER | ProgType::SCHED_CLS | ProgType::SCHED_ACT);
        if self.one_in(if legacy { 4 } else { 16 }) {
            return self.legacy();
        }
        // What lies before the packet ends where the packet begins.
        let meta = self.one_in(4);
        let (data, end, code) = match self.place.prog {
            ProgType::XDP if meta => (8, 0, op::W),
            ProgType::SCHED_CLS | ProgType::SCHED_ACT if meta => (140, 76, op::W),
            ProgType::XDP => (0, 4, op::W),
            ProgType::SK_REUSEPORT => (0, 8, op::DW),
            ProgType::CGROUP_SOCKOPT => (8, 16, op::DW),
            _ => (76, 80, op::W),
        };
        let reach = self.below(40) as i32;
        self.push(op::LDX | op::MEM | code, 2, CTX, data, 0);
        self.push(op::LDX | op::MEM | code, 3, CTX, end, 0);
        if meta && self.one_in(8) {
            self.push(op::ALU64 | op::ADD | op::K, 3, 0, 0, 1);
        }
        if self.one_in(3) {
            self.push(op::ALU64 | op::AND | op::K, NUMBER, 0, 0, 63);
            self.push(op::ALU64 | op::ADD | op::X, 2, NUMBER, 0, 0);
        }
        self.copy(4, 2);
        self.push(op::ALU64 | op::ADD | op::K, 4, 0, 0, reach);
        let at = self.insns.len();
        let compare = [op::JGT, op::JGE, op::JLE, op::JLT][if self.one_in(3) { self.below(4) } else { 0 }];
        let (left, right) = if self.one_in(6) { (3, 4) } else { (4, 3) };
        if !self.one_in(10) {
            self.push(op::JMP | compare | op::X, left, right, 0, 0);
        }
        let (code, bytes) = self.size();
        let slack = if self.one_in(8) { 1 } else { 0 };
        let off = self.below((reach.max(1)) as usize) as i16 / bytes * bytes - slack;
        match self.below(6) {
            0 => self.push(op::STX | op::MEM | code, 2, NUMBER, off, 0),
            // A key in the packet.
            1 => {
                self.map(1, 0);
                self.push(op::JMP | op::CALL, 0, 0, 0, 1);
            }
            // A helper that takes no packets: trace_printk.
            2 => {
                self.copy(1, 2);
                self.set(2, reach);
                self.push(op::JMP | op::CALL, 0, 0, 0, 6);
            }
            3 => {
                self.copy(1, 2);
                self.set(2, reach & !3);
                self.set(3, 0);
                self.set(4, 0);
                self.set(5, 0);
                self.push(op::JMP | op::CALL, 0, 0, 0, 28);
            }
            _ => self.push(op::LDX | op::MEM | code, 5, 2, off, 0),
        }
        let skip = (self.insns.len() - at) as i16 - 1;
        if let Some(jump) = self.insns.get_mut(at).filter(|insn| insn.code & op::CLASS_MASK == op::JMP && insn.off == 0)
        {
            jump.off = skip;
        }
    }

    /// A call of a helper, mostly one that the type may call, with what it takes.
    fn helper(&mut self) {
        let kernel = sidestep::uapi::Kernel::default();
        let any = self.one_in(12);
        let (prog, attach) = (self.place.prog, self.place.attach);
        let attach = if prog == ProgType::CGROUP_SOCK && attach == AttachType(0) {
            AttachType::CGROUP_INET_SOCK_CREATE
        } else {
            attach
        };
        let all: Vec<&Helper> = Helper::all()
            .iter()
            .filter(|helper| any || (helper.proto.is_some() && helper.is_available(prog, attach, kernel)))
            .collect();
        let helper = all[self.below(all.len())];
        let Some(proto) = helper.proto else {
            self.push(op::JMP | op::CALL, 0, 0, 0, helper.id);
            return;
        };
        let args = arguments(prog, helper.id, proto.args);
        // A socket or structure is fetched first, into r8.
        let wants_socket = args.iter().any(|arg| {
            matches!(
                arg,
                Arg::SockCommon
                    | Arg::BtfSock
                    | Arg::BtfSockOrNull
                    | Arg::FullSockOrNull
                    | Arg::Structure(_)
                    | Arg::Task
                    | Arg::TaskOrNull
                    | Arg::SockRelease
            )
        });
        if wants_socket || self.place.prog == ProgType::TRACING {
            let off = match self.place.prog {
                ProgType::SK_REUSEPORT => 40 + 8 * self.below(2) as i16,
                ProgType::TRACING => self.below(5) as i16 * 8,
                prog => socket_at(prog),
            };
            self.push(op::LDX | op::MEM | op::DW, KEPT, CTX, off, 0);
            if !self.one_in(8) {
                self.unless_null(KEPT, |w| w.call(helper.id, args, proto.ret));
                return;
            }
        }
        self.call(helper.id, args, proto.ret);
    }

    fn call(&mut self, helper: i32, args: &[Arg], ret: Ret) {
        for (index, arg) in args.iter().enumerate() {
            let reg = index as u8 + 1;
            if self.one_in(25) {
                match self.below(3) {
                    0 => self.set(reg, 0),
                    1 => self.copy(reg, CTX),
                    _ => self.copy(reg, FP),
                }
                continue;
            }
            match arg {
                Arg::Ctx | Arg::CtxOrNull => self.copy(reg, CTX),
                Arg::Map => {
                    let fits = match helper {
                        12 => PROG_ARRAY,
                        25 | 22 | 55 => 5,
                        27 => 6,
                        33 | 37 => 7,
                        51 => 8 + self.below(2),
                        52 => 13,
                        72 => 10,
                        81 => CGROUP_STORAGE,
                        82 => [10, 13, 14][self.below(3)],
                        107 | 108 => 11,
                        130 | 131 | 134 => 3,
                        _ => self.below(3),
                    };
                    let map = if self.one_in(8) { self.below(maps().len()) } else { fits };
                    self.map(reg, map);
                }
                Arg::Size | Arg::SizeOrZero | Arg::AllocSize => {
                    let size = [4, 8, 16, 0, 64, 65, -1][if self.one_in(4) { self.below(7) } else { self.below(3) }];
                    self.set(reg, size);
                }
                Arg::Anything => {
                    let number = self.below(4) as i32;
                    self.set(reg, number);
                }
                Arg::SockCommon
                | Arg::BtfSock
                | Arg::BtfSockOrNull
                | Arg::SockStructOrNull
                | Arg::FullSockOrNull
                | Arg::Structure(_)
                | Arg::Task
                | Arg::SockRelease => self.copy(reg, KEPT),
                Arg::ValueOrNull | Arg::MemOrNull | Arg::MemOutOrNull if self.one_in(2) => self.set(reg, 0),
                _ => self.stack(reg),
            }
        }
        self.push(op::JMP | op::CALL, 0, 0, 0, helper);
        if matches!(ret, Ret::Int | Ret::Void) {
            if matches!(ret, Ret::Int) && self.one_in(3) {
                self.copy(NUMBER, 0);
            }
            return;
        }
        // What it returns is a pointer, which may have to be given back.
        let (code, bytes) = self.size();
        let off = self.below(24) as i16 / bytes * bytes;
        let release = match helper {
            84 | 85 | 99 => 86,
            131 => 133,
            _ => 0,
        };
        if self.one_in(12) {
            return;
        }
        self.unless_null(0, |w| {
            w.push(op::LDX | op::MEM | code, 4, 0, off, 0);
            if release != 0 && !w.one_in(10) {
                w.copy(1, 0);
                w.set(2, 0);
                w.push(op::JMP | op::CALL, 0, 0, 0, release);
            }
        });
    }

    fn compute(&mut self) {
        let operation = [op::ADD, op::AND, op::OR, op::XOR, op::RSH][self.below(5)];
        let imm = self.below(64) as i32;
        self.push(op::ALU64 | operation | op::K, NUMBER, 0, 0, imm);
        let compare = [op::JGT, op::JSLT, op::JEQ, op::JSET][self.below(4)];
        let imm = self.below(16) as i32;
        self.push(op::JMP | compare | op::K, NUMBER, 0, 1, imm);
        self.push(op::ALU64 | op::ADD | op::K, NUMBER, 0, 0, 1);
    }

    fn finish(&mut self) {
        match self.below(12) {
            0 => self.copy(0, NUMBER),
            1 => {
                self.copy(0, NUMBER);
                self.push(op::ALU64 | op::AND | op::K, 0, 0, 0, 3);
            }
            2 => {
                let imm = self.below(5) as i32 - 1;
                self.set(0, imm);
            }
            3..=6 => self.set(0, 0),
            _ => {
                let traced = self.place.prog == ProgType::TRACING;
                self.set(0, i32::from(!traced));
            }
        }
        self.push(op::JMP | op::EXIT, 0, 0, 0, 0);
    }
}
