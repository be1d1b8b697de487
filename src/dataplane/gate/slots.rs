//! Where the gate keeps numbers on the stack.

use crate::dataplane::kernel::probe::SLOTS_END;

/// Stack place of a number that a call would take away.
pub(in crate::dataplane) const VALUE_SLOT: i16 = SLOTS_END - 8;
/// Stack place of a group's usage.
pub(in crate::dataplane) const USAGE_SLOT: i16 = VALUE_SLOT - 8;
/// Stack place of the reason for which a message should take the stack: the place of its counter, or 0.
pub(in crate::dataplane) const REASON_SLOT: i16 = USAGE_SLOT - 8;
/// Stack places of the socket's file and of an epoll item; `backpressure` has nothing there at the time.
pub(in crate::dataplane) const FILE_SLOT: i16 = SLOTS_END - 8;
pub(in crate::dataplane) const ITEM_SLOT: i16 = SLOTS_END - 16;
/// Stack place of what an item is registered with.
pub(in crate::dataplane) const DATA_SLOT: i16 = SLOTS_END - 32;
