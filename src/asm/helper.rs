//! A helper function of the kernel, as the assembler knows it.

/// A helper's number (`enum bpf_func_id`), and how many of R1 to R5 it takes, so that a contract sees what a call reads.
///
/// A bare number is a helper of whose arguments nothing is known: its call then reads nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Helper {
    /// The number.
    pub id: i32,
    /// How many arguments it takes, at most 5.
    pub arguments: u8,
}

impl Helper {
    /// A helper with this many arguments.
    pub const fn new(id: i32, arguments: u8) -> Self {
        Self { id, arguments }
    }
}

impl From<i32> for Helper {
    fn from(id: i32) -> Self {
        Self { id, arguments: 0 }
    }
}
