//! Readers that are trusted by name: by the server's port, or by their cgroup, which `programs::mark` marks.

use crate::asm::Reg::{R0, R1, R3, R8};
use crate::asm::{Asm, Label, Regs, Uses};
use crate::dataplane::emit::storage_get;
use crate::dataplane::kernel::ctx::{SOCK_OPS, SockOps};
use crate::dataplane::options::{Options, Side};
use crate::dataplane::pairing::address::End;
use crate::dataplane::policy::port;
use crate::dataplane::state::socket::{self, Head, OWN, Socket};

/// R3 = the mark, from before our own state is written.
#[track_caller]
pub(in crate::dataplane) fn keep_mark(a: &mut Asm, options: &Options) {
    if options.watch().is_some() && options.policy.trust.cgroups {
        a.idiom("keep_mark", Uses::nothing().reads(OWN.reg()).gives(R3), |a| a.ld(R3, OWN, Head::READER));
    }
}

/// What is known of a reader when its connection is established; our own state is all zeros. R3 is from [`keep_mark`].
#[track_caller]
pub(in crate::dataplane) fn begin(a: &mut Asm, options: &Options, side: Side) {
    if options.watch().is_none() {
        return;
    }
    let trust = &options.policy.trust;
    let mark = if trust.cgroups { R3.into() } else { Regs::NONE };
    a.idiom("trust", Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]).reads(mark), |a| {
        a.comment("nothing has come by the stack, or recvmsg will have to take it");
        a.ld(R1, SOCK_OPS, SockOps::RCV_NXT);
        a.st(OWN, Socket::READ_SEQ, R1);
        if trust.cgroups {
            a.guard(R3.w().equals(socket::ANY), "its cgroup is trusted", |a| a.st(OWN, Head::READER, socket::ANY));
        }
        if !trust.ports.is_empty() {
            a.block("port_not_trusted", |a, other| {
                named_port(a, options, side, other);
                a.st(OWN, Head::READER, socket::ANY);
            });
        }
    });
}

/// Goes on when the socket of the context is trusted by name, else to `no`.
#[track_caller]
pub(in crate::dataplane) fn require_named(a: &mut Asm, options: &Options, side: Side, no: Label) {
    let trust = &options.policy.trust;
    a.emitter("named", Uses::scratch().reads(SOCK_OPS.reg()).writes(R8), |a| {
        a.block("named", |a, named| {
            a.comment("this kernel does not show how programs read, so only those are served that are named");
            if !trust.ports.is_empty() {
                a.block("port_not_named", |a, other| {
                    named_port(a, options, side, other);
                    a.goto(named);
                });
            }
            if trust.cgroups {
                a.ld(R8, SOCK_OPS, SockOps::SK);
                a.require(R8.differs(0), no, "there is a socket");
                let storage = storage_get(a, R8, false);
                a.require(R0.differs(0), no, "it has a storage");
                a.ld(R1, storage, Head::READER);
                a.permit(R1.w().equals(socket::ANY), named, "its cgroup is trusted");
            }
            if trust.ports.is_empty() && !trust.cgroups {
                a.comment("nothing is named; before Linux 5.11 a program with code that is never reached is refused");
                a.ld(R1, SOCK_OPS, SockOps::FAMILY);
                a.require(R1.equals(0), no, "no connection has the family AF_UNSPEC");
            } else {
                a.goto(no);
            }
        });
    });
}

/// A listener answers a SYN: goes to `named` when its port is named, else on.
#[track_caller]
pub(in crate::dataplane) fn permit_named_port(a: &mut Asm, options: &Options, named: Label) {
    if options.policy.trust.ports.is_empty() {
        return;
    }
    a.block("port_not_trusted", |a, other| {
        named_port(a, options, Side::Passive, other);
        a.goto(named);
    });
}

/// Whether the ports that are named are all that there are.
pub(in crate::dataplane) fn names_every_port(options: &Options) -> bool {
    let ports = &options.policy.trust.ports;
    !ports.is_empty() && port::boundaries(ports, &[]).is_none()
}

/// Goes on when the server's port is named, else to `no`.
#[track_caller]
fn named_port(a: &mut Asm, options: &Options, side: Side, no: Label) {
    let end = if side == Side::Active { End::Remote } else { End::Local };
    // All ports: there is no boundary.
    if let Some(boundaries) = port::boundaries(&options.policy.trust.ports, &[]) {
        port::require(a, &boundaries, end, no);
    }
}
