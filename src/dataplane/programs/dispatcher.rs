//! The program on the sockhash: tail-calls the sk_msg program in [`MapRole::Programs`].
//!
//! A socket keeps the program that was on the sockhash when it entered (`sock_map_link`, net/core/sock_map.c): neither
//! BPF_LINK_UPDATE nor detaching reaches it. Through this step an upgrade reaches every socket with its next message.
//! And the kernel empties the array when its last descriptor and pin are gone (`prog_array_map_clear`,
//! kernel/bpf/arraymap.c), so that messages of sockets without an owner take the stack.

use crate::asm::Reg::{R0, R2, R3};
use crate::asm::{self, Asm, Features, Program};
use crate::dataplane::state::MapRole;
use crate::uapi::flags;
use crate::uapi::helper::id as helper;

pub(in crate::dataplane) fn build() -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(Features::LINUX_5_10);
    let a = &mut asm;
    a.comment("only named: the sockhash lives as long as a socket runs this, and no unread bytes go with it");
    a.load_map(R2, MapRole::Sockets.map_ref());
    a.load_map(R2, MapRole::Programs.map_ref());
    a.mov(R3, 0);
    a.call(helper::TAIL_CALL);
    a.comment("no program there: the stack takes the message");
    a.mov(R0, flags::SK_PASS);
    a.exit();
    asm.finish()
}
