//! What the registers are for, throughout the gate.

use crate::asm::Reg::{R8, R9};
use crate::asm::{Ptr, Uses};
use crate::dataplane::kernel::ctx::SK_MSG;
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::state::socket::OWN;

/// The peer's socket, while the gate is passed; opened.
pub(in crate::dataplane) const PEER: Ptr<TcpSock> = Ptr::new(R8);

/// What every part of the gate may do: read the context and our own state, use R9.
pub(in crate::dataplane) fn uses() -> Uses {
    Uses::scratch().reads([SK_MSG.reg(), OWN.reg()]).writes(R9)
}

/// The same for parts that look at the peer.
pub(in crate::dataplane) fn uses_peer() -> Uses {
    uses().reads(PEER.reg())
}
