//! What an instruction can be made of besides registers: sizes, operations, conditions.

use super::Reg;
use super::opcode as op;

/// The second operand of an arithmetic, jump or store instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// The value of a register.
    Reg(Reg),
    /// A constant, sign-extended to 64 bits by 64-bit operations.
    Imm(i32),
}

impl From<Reg> for Operand {
    fn from(reg: Reg) -> Self {
        Self::Reg(reg)
    }
}

impl From<i32> for Operand {
    fn from(imm: i32) -> Self {
        Self::Imm(imm)
    }
}

impl Operand {
    /// Source bit, source register and immediate as they go into the instruction.
    pub(super) const fn parts(self) -> (u8, u8, i32) {
        match self {
            Self::Reg(reg) => (op::X, reg.number(), 0),
            Self::Imm(imm) => (op::K, 0, imm),
        }
    }
}

/// Width of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Size {
    /// 1 byte.
    B,
    /// 2 bytes.
    H,
    /// 4 bytes.
    W,
    /// 8 bytes.
    DW,
}

impl Size {
    /// All sizes, smallest first.
    pub const ALL: [Self; 4] = [Self::B, Self::H, Self::W, Self::DW];

    /// The size bits of the opcode.
    pub const fn code(self) -> u8 {
        match self {
            Self::B => op::B,
            Self::H => op::H,
            Self::W => op::W,
            Self::DW => op::DW,
        }
    }

    /// Width in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::B => 1,
            Self::H => 2,
            Self::W => 4,
            Self::DW => 8,
        }
    }
}

/// A two-operand arithmetic operation, 32 or 64 bits wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AluOp {
    /// `dst += operand`
    Add,
    /// `dst -= operand`
    Sub,
    /// `dst *= operand`
    Mul,
    /// `dst /= operand`, unsigned; division by zero gives 0.
    Div,
    /// `dst /= operand`, signed (v4).
    Sdiv,
    /// `dst %= operand`, unsigned; modulo zero leaves `dst`.
    Mod,
    /// `dst %= operand`, signed (v4).
    Smod,
    /// `dst |= operand`
    Or,
    /// `dst &= operand`
    And,
    /// `dst ^= operand`
    Xor,
    /// `dst <<= operand`
    Lsh,
    /// `dst >>= operand`, zeros shifted in.
    Rsh,
    /// `dst >>= operand`, the sign shifted in.
    Arsh,
    /// `dst = operand`
    Mov,
}

impl AluOp {
    /// All operations.
    pub const ALL: [Self; 14] = [
        Self::Add,
        Self::Sub,
        Self::Mul,
        Self::Div,
        Self::Sdiv,
        Self::Mod,
        Self::Smod,
        Self::Or,
        Self::And,
        Self::Xor,
        Self::Lsh,
        Self::Rsh,
        Self::Arsh,
        Self::Mov,
    ];

    /// Operation bits and offset field. Offset 1 makes a division or modulo signed (RFC 9669, section 4.1).
    pub const fn code(self) -> (u8, i16) {
        match self {
            Self::Add => (op::ADD, 0),
            Self::Sub => (op::SUB, 0),
            Self::Mul => (op::MUL, 0),
            Self::Div => (op::DIV, 0),
            Self::Sdiv => (op::DIV, 1),
            Self::Mod => (op::MOD, 0),
            Self::Smod => (op::MOD, 1),
            Self::Or => (op::OR, 0),
            Self::And => (op::AND, 0),
            Self::Xor => (op::XOR, 0),
            Self::Lsh => (op::LSH, 0),
            Self::Rsh => (op::RSH, 0),
            Self::Arsh => (op::ARSH, 0),
            Self::Mov => (op::MOV, 0),
        }
    }
}

/// The condition of a jump. Names without `S` compare unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cond {
    /// `dst == operand`
    Eq,
    /// `dst != operand`
    Ne,
    /// `dst > operand`
    Gt,
    /// `dst >= operand`
    Ge,
    /// `dst < operand`
    Lt,
    /// `dst <= operand`
    Le,
    /// `dst > operand`, signed.
    Sgt,
    /// `dst >= operand`, signed.
    Sge,
    /// `dst < operand`, signed.
    Slt,
    /// `dst <= operand`, signed.
    Sle,
    /// `dst & operand != 0`
    Set,
}

impl Cond {
    /// All conditions.
    pub const ALL: [Self; 11] = [
        Self::Eq,
        Self::Ne,
        Self::Gt,
        Self::Ge,
        Self::Lt,
        Self::Le,
        Self::Sgt,
        Self::Sge,
        Self::Slt,
        Self::Sle,
        Self::Set,
    ];

    /// The operation bits.
    pub const fn code(self) -> u8 {
        match self {
            Self::Eq => op::JEQ,
            Self::Ne => op::JNE,
            Self::Gt => op::JGT,
            Self::Ge => op::JGE,
            Self::Lt => op::JLT,
            Self::Le => op::JLE,
            Self::Sgt => op::JSGT,
            Self::Sge => op::JSGE,
            Self::Slt => op::JSLT,
            Self::Sle => op::JSLE,
            Self::Set => op::JSET,
        }
    }

    /// The condition that holds exactly when this one does not. [`Cond::Set`] has none.
    pub const fn inverted(self) -> Option<Self> {
        Some(match self {
            Self::Eq => Self::Ne,
            Self::Ne => Self::Eq,
            Self::Gt => Self::Le,
            Self::Ge => Self::Lt,
            Self::Lt => Self::Ge,
            Self::Le => Self::Gt,
            Self::Sgt => Self::Sle,
            Self::Sge => Self::Slt,
            Self::Slt => Self::Sge,
            Self::Sle => Self::Sgt,
            Self::Set => return None,
        })
    }
}

/// An atomic operation on memory. `fetch` puts the old value into the source register (kernel 5.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AtomicOp {
    /// `*mem += src`
    Add {
        /// Whether `src` receives the old value.
        fetch: bool,
    },
    /// `*mem &= src` (5.12)
    And {
        /// Whether `src` receives the old value.
        fetch: bool,
    },
    /// `*mem |= src` (5.12)
    Or {
        /// Whether `src` receives the old value.
        fetch: bool,
    },
    /// `*mem ^= src` (5.12)
    Xor {
        /// Whether `src` receives the old value.
        fetch: bool,
    },
    /// Swap `*mem` and `src` (5.12).
    Xchg,
    /// If `*mem == r0`, store `src`; `r0` receives the old value in any case (5.12).
    CmpXchg,
    /// `src = *mem` with acquire ordering (6.15). The "source" is the register that receives the value.
    LoadAcquire,
    /// `*mem = src` with release ordering (6.15).
    StoreRelease,
}

impl AtomicOp {
    /// All operations.
    pub const ALL: [Self; 12] = [
        Self::Add { fetch: false },
        Self::And { fetch: false },
        Self::Or { fetch: false },
        Self::Xor { fetch: false },
        Self::Add { fetch: true },
        Self::And { fetch: true },
        Self::Or { fetch: true },
        Self::Xor { fetch: true },
        Self::Xchg,
        Self::CmpXchg,
        Self::LoadAcquire,
        Self::StoreRelease,
    ];

    /// The immediate that selects the operation.
    pub const fn code(self) -> i32 {
        const fn with(operation: u8, fetch: bool) -> i32 {
            operation as i32 | if fetch { op::FETCH } else { 0 }
        }
        match self {
            Self::Add { fetch } => with(op::ADD, fetch),
            Self::And { fetch } => with(op::AND, fetch),
            Self::Or { fetch } => with(op::OR, fetch),
            Self::Xor { fetch } => with(op::XOR, fetch),
            Self::Xchg => op::XCHG,
            Self::CmpXchg => op::CMPXCHG,
            Self::LoadAcquire => op::LOAD_ACQ,
            Self::StoreRelease => op::STORE_REL,
        }
    }

    /// Whether the operation exists for accesses of this size: 4 and 8 bytes, the plain load and store all sizes.
    pub const fn allows(self, size: Size) -> bool {
        matches!(self, Self::LoadAcquire | Self::StoreRelease) || matches!(size, Size::W | Size::DW)
    }
}
