//! What a policy says of one connection.

use super::conditions::Condition;

/// The default is that of a policy that admits every connection.
#[derive(Clone, Debug, Default)]
pub struct Ruling {
    /// What keeps the connection plain. The policy itself has the code `policy`.
    pub refusals: Vec<Condition>,
    /// Whether a blocking end does not keep it plain.
    pub any_reader: bool,
    /// Whether what the client sends, and what the server sends, takes the stack all the same.
    pub kept: [bool; 2],
}
