//! A helper function of the kernel, as the assembler knows it.

use crate::uapi::helper;

/// A helper's number (`enum bpf_func_id`), and how many of R1 to R5 it takes, so that a contract sees what a call reads.
///
/// A bare number takes as many as [`uapi::helper`](crate::uapi::helper) says, and none where it says nothing.
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
        let known = helper::Helper::from_id(id).and_then(|helper| helper.proto);
        Self { id, arguments: known.map_or(0, |proto| proto.args.len() as u8) }
    }
}
