//! The registers (RFC 9669, section 2.2).

/// A BPF register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reg {
    /// Return value of calls and of the program.
    R0,
    /// First argument; the context at program entry. Clobbered by calls.
    R1,
    /// Second argument. Clobbered by calls.
    R2,
    /// Third argument. Clobbered by calls.
    R3,
    /// Fourth argument. Clobbered by calls.
    R4,
    /// Fifth argument. Clobbered by calls.
    R5,
    /// Kept over calls.
    R6,
    /// Kept over calls.
    R7,
    /// Kept over calls.
    R8,
    /// Kept over calls.
    R9,
    /// Frame pointer, read-only.
    R10,
}

/// The frame pointer: the stack is the 512 bytes below it.
pub const FP: Reg = Reg::R10;

impl Reg {
    /// All registers, in the order of their numbers.
    pub const ALL: [Self; 11] =
        [Self::R0, Self::R1, Self::R2, Self::R3, Self::R4, Self::R5, Self::R6, Self::R7, Self::R8, Self::R9, Self::R10];

    /// The register's number in the encoding.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The register with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}
