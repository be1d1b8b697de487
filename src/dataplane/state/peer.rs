//! The head of the peer's own state, which we read through the address that the pair keeps.

use crate::asm::{Asm, Base, Label, Place, Ptr};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::objects::Word;
use crate::dataplane::kernel::probe::probe_all;
use crate::dataplane::state::socket::Head;

impl KernelOffsets {
    /// Where the head of the storage can be loaded from whose address is in `base`, or a jump to `fail`. The answer holds
    /// until the frame ends in which this is called, and while `base` is kept, which this may change.
    #[track_caller]
    pub(in crate::dataplane) fn storage_head(&self, a: &mut Asm, base: Ptr<Head>, fail: Label) -> Place<Head> {
        if self.casts.is_some() {
            self.open(a, Ptr::<Word>::new(base.reg()));
            base.place()
        } else {
            let copy = a.slot::<Head>("peer's head");
            probe_all(a, copy, base.reg(), fail);
            copy.place()
        }
    }
}
