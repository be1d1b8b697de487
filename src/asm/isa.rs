//! Which instructions a kernel understands.
//!
//! The ISA versions are the compilers' (`-mcpu=v1` to `v4`); kernels do not line up with them, so an assembler is given a
//! set of [`Features`] and each instruction names the one that it needs.

use bitflags::bitflags;

use super::Insn;
use super::opcode as op;

bitflags! {
    /// Parts of the instruction set that came after the first BPF kernels.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Features: u32 {
        /// Jumps on less and less-or-equal (kernel 4.14).
        const JMP_LESS = 1;
        /// Class ALU. Every kernel has it; compilers use it from v3 on.
        const ALU32 = 1 << 1;
        /// Class JMP32: conditional jumps on 32 bits (kernel 5.1).
        const JMP32 = 1 << 2;
        /// Store of an immediate. Every kernel has it; compilers use it from v4 on.
        const STORE_IMM = 1 << 3;
        /// Signed division and modulo (kernel 6.6).
        const SDIV = 1 << 4;
        /// Sign-extending moves (kernel 6.6).
        const MOVSX = 1 << 5;
        /// Sign-extending loads (kernel 6.6).
        const LDSX = 1 << 6;
        /// Unconditional byte swap (kernel 6.6).
        const BSWAP = 1 << 7;
        /// The long unconditional jump, `gotol` (kernel 6.6).
        const GOTOL = 1 << 8;
        /// Atomic and, or, xor, exchanges, and everything that fetches (kernel 5.12).
        const ATOMIC_FETCH = 1 << 9;
        /// Load-acquire and store-release (kernel 6.15).
        const ACQUIRE_RELEASE = 1 << 10;
        /// `may_goto` (kernel 6.9).
        const MAY_GOTO = 1 << 11;
        /// Calls of subprograms (kernel 4.16).
        const SUBPROG = 1 << 12;
        /// Direct addresses of map values (kernel 5.2).
        const MAP_VALUE = 1 << 13;
        /// Addresses of subprograms as values (kernel 5.13).
        const FUNC_PTR = 1 << 14;
        /// Calls of kernel functions (kernel 5.13).
        const KFUNC = 1 << 15;
        /// Addresses of kernel variables by BTF id (kernel 5.10).
        const KSYM = 1 << 16;
        /// Maps by index into `fd_array` (kernel 5.14).
        const FD_ARRAY = 1 << 17;

        /// What is a matter of the loader and the kernel rather than of an ISA version.
        const LINKAGE = Self::SUBPROG.bits() | Self::MAP_VALUE.bits() | Self::FUNC_PTR.bits() | Self::KFUNC.bits()
            | Self::KSYM.bits() | Self::FD_ARRAY.bits();
        /// What Linux 5.10 verifies.
        const LINUX_5_10 = Self::JMP_LESS.bits() | Self::ALU32.bits() | Self::JMP32.bits() | Self::STORE_IMM.bits()
            | Self::SUBPROG.bits() | Self::MAP_VALUE.bits() | Self::KSYM.bits();
        /// What Linux 6.1 verifies (5.14 to 6.5).
        const LINUX_6_1 = Self::LINUX_5_10.bits() | Self::ATOMIC_FETCH.bits() | Self::FUNC_PTR.bits()
            | Self::KFUNC.bits() | Self::FD_ARRAY.bits();
        /// What Linux 6.6 verifies: the first with the v4 instructions.
        const LINUX_6_6 = Self::LINUX_6_1.bits() | Self::SDIV.bits() | Self::MOVSX.bits() | Self::LDSX.bits()
            | Self::BSWAP.bits() | Self::GOTOL.bits();
        /// What Linux 6.12 verifies (6.9 to 6.14).
        const LINUX_6_12 = Self::LINUX_6_6.bits() | Self::MAY_GOTO.bits();
        /// What Linux 6.15 and later verify.
        const LINUX_6_15 = Self::LINUX_6_12.bits() | Self::ACQUIRE_RELEASE.bits();
    }
}

/// The instruction set versions of the compilers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// The original set.
    V1,
    /// Adds the jumps on less and less-or-equal.
    V2,
    /// Adds 32-bit arithmetic, 32-bit conditional jumps and fetching atomics.
    V3,
    /// Adds signed division, sign extension, byte swap, the long jump, immediate stores, acquire and release.
    V4,
}

impl From<Isa> for Features {
    fn from(isa: Isa) -> Self {
        let mut features = Self::LINKAGE;
        if isa >= Isa::V2 {
            features |= Self::JMP_LESS;
        }
        if isa >= Isa::V3 {
            features |= Self::ALU32 | Self::JMP32 | Self::ATOMIC_FETCH;
        }
        if isa >= Isa::V4 {
            features = Self::all();
        }
        features
    }
}

impl Features {
    /// What this instruction needs; nothing for the original set and for slots that are no instruction at all.
    pub fn needed_by(insn: Insn) -> Self {
        match insn.code & op::CLASS_MASK {
            op::LD if insn.code == op::LD | op::IMM | op::DW => Self::of_wide_load(insn.src),
            op::LDX if insn.code & op::MODE_MASK == op::MEMSX => Self::LDSX,
            op::ST => Self::STORE_IMM,
            op::STX if insn.code & op::MODE_MASK == op::ATOMIC => match insn.imm {
                op::LOAD_ACQ | op::STORE_REL => Self::ACQUIRE_RELEASE,
                imm if imm == i32::from(op::ADD) => Self::empty(),
                _ => Self::ATOMIC_FETCH,
            },
            op::ALU if insn.code & op::OP_MASK == op::END => Self::empty(),
            op::ALU => Self::ALU32 | Self::of_alu(insn),
            op::ALU64 => Self::of_alu(insn),
            op::JMP => Self::of_jump(insn),
            op::JMP32 if insn.code & op::OP_MASK == op::JA => Self::GOTOL,
            op::JMP32 => Self::JMP32 | Self::of_jump(insn),
            _ => Self::empty(),
        }
    }

    fn of_wide_load(src: u8) -> Self {
        match src {
            op::PSEUDO_MAP_VALUE => Self::MAP_VALUE,
            op::PSEUDO_BTF_ID => Self::KSYM,
            op::PSEUDO_FUNC => Self::FUNC_PTR,
            op::PSEUDO_MAP_IDX | op::PSEUDO_MAP_IDX_VALUE => Self::FD_ARRAY,
            _ => Self::empty(),
        }
    }

    fn of_alu(insn: Insn) -> Self {
        match insn.code & op::OP_MASK {
            op::DIV | op::MOD if insn.off != 0 => Self::SDIV,
            op::MOV if insn.off != 0 => Self::MOVSX,
            op::END => Self::BSWAP,
            _ => Self::empty(),
        }
    }

    fn of_jump(insn: Insn) -> Self {
        match (insn.code & op::OP_MASK, insn.src) {
            (op::JLT | op::JLE | op::JSLT | op::JSLE, _) => Self::JMP_LESS,
            (op::JCOND, _) => Self::MAY_GOTO,
            (op::CALL, op::PSEUDO_CALL) => Self::SUBPROG,
            (op::CALL, op::PSEUDO_KFUNC_CALL) => Self::KFUNC,
            _ => Self::empty(),
        }
    }

    /// The first kernel that has all of these, as text.
    pub fn since(self) -> &'static str {
        const HISTORY: [(Features, &str); 8] = [
            (Features::ACQUIRE_RELEASE, "6.15"),
            (Features::MAY_GOTO, "6.9"),
            (Features::LINUX_6_6.difference(Features::LINUX_6_1), "6.6"),
            (Features::FD_ARRAY, "5.14"),
            (Features::FUNC_PTR.union(Features::KFUNC), "5.13"),
            (Features::ATOMIC_FETCH, "5.12"),
            (Features::KSYM, "5.10"),
            (Features::MAP_VALUE, "5.2"),
        ];
        for (features, version) in HISTORY {
            if self.intersects(features) {
                return version;
            }
        }
        if self.intersects(Self::JMP32) {
            "5.1"
        } else if self.intersects(Self::SUBPROG) {
            "4.16"
        } else if self.intersects(Self::JMP_LESS) {
            "4.14"
        } else {
            "3.18"
        }
    }

    /// The names of the features, joined by commas.
    pub(super) fn names(self) -> String {
        let mut names = String::new();
        for (name, _) in self.iter_names().filter(|(_, feature)| feature.bits().count_ones() == 1) {
            if !names.is_empty() {
                names.push_str(", ");
            }
            names.push_str(name);
        }
        names
    }
}
