//! Sockets that look like an end of another's connection when connections that exist already are adopted.
//!
//! The victim's own end is hidden from the iterator, in the queue of a Unix socket, so that only the forged one is nominated:
//! without a proof it would be paired with the victim's peer.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use sidestep::agent::{Adopted, Looks, Marked, TierChoice, choose_tier};
use sidestep::dataplane::{Counter, Options, Pairing, Policy, Readers};
use sidestep::testbed::listen;

use crate::attacker::Attacker;
use crate::forged::{SERVER, victims};
use crate::link::{back_and_forth, expect, pair, send};
use crate::nested::{NestedCgroups, describe};
use crate::repair::{self, Numbers};
use crate::role::Forgery;
use crate::support::feature::Feature;

/// Puts a socket into the queue of a Unix socket, where no process has it open.
fn hide(socket: std::net::TcpStream) -> UnixStream {
    let (queue, end) = UnixStream::pair().unwrap();
    let fds = [socket.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(end.as_raw_fd(), &[std::io::IoSlice::new(b"!")], &rights, MsgFlags::empty(), None).unwrap();
    queue
}

fn find(queue: &UnixStream) -> std::net::TcpStream {
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let (mut byte, fd) = ([0], queue.as_raw_fd());
    let mut parts = [std::io::IoSliceMut::new(&mut byte)];
    let received = recvmsg::<()>(fd, &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).unwrap();
    match received.cmsgs().unwrap().next() {
        // SAFETY: the kernel has just made the descriptor for us.
        Some(ControlMessageOwned::ScmRights(fds)) => unsafe { std::os::fd::FromRawFd::from_raw_fd(fds[0]) },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_forged_socket_is_not_adopted() {
    let cgroups = NestedCgroups::new();
    if !Feature::Adoption.required("forged sockets and adoption") {
        return;
    }
    let (tier, _) = choose_tier(TierChoice::Gated).unwrap();
    let policy = Policy::default();
    let options = Options { pairing: Pairing::Sequence, tier, readers: Readers::NonBlocking, policy };
    for forges_client in [true, false] {
        let space = victims();
        let mut attacker = Attacker::new();
        let (client, server) = space
            .run(|| {
                let listener = listen(SocketAddr::V4(SERVER)).unwrap();
                let (client, server) = pair(&listener, SocketAddr::V4(SERVER));
                let at = |address| match address {
                    Ok(SocketAddr::V4(at)) => at,
                    other => panic!("{other:?}"),
                };
                let (here, there) = (at(client.local_addr()), at(client.peer_addr()));
                let Numbers { sends, expects } = repair::numbers(&client).unwrap();
                // What each end derives of the initial numbers is that it has acknowledged nothing, but the client its SYN.
                if forges_client {
                    attacker.forge(Forgery::Repaired, here, there, Numbers { sends: sends.wrapping_sub(1), expects });
                } else {
                    attacker.forge(Forgery::Repaired, there, here, Numbers { sends: expects, expects: sends });
                }
                (client, server)
            })
            .unwrap();
        back_and_forth(&client, &server, b"plain", 3);
        let acceleration = cgroups.accelerate(Pairing::Sequence);
        let (hidden, seen) = if forges_client { (client, server) } else { (server, client) };
        let queue = hide(hidden);
        let adopted = acceleration.adopt(&options, Marked::default(), &mut Looks::default()).unwrap();
        assert_eq!((adopted.pairs, adopted.others), (0, 1), "the forged socket is nominated, and refused");
        let hidden = find(&queue);
        // With both in sight neither is believed.
        let both = acceleration.adopt(&options, Marked::default(), &mut Looks::default()).unwrap();
        assert_eq!(both, Adopted::default());
        for round in 0..5 {
            let (request, answer) = (format!("request {round}"), format!("answer {round}"));
            send(&hidden, request.as_bytes());
            expect(&seen, request.as_bytes());
            send(&seen, answer.as_bytes());
            assert_eq!(attacker.stolen(), "", "the attacker has got what was meant for another");
            expect(&hidden, answer.as_bytes());
        }
        drop(attacker);
        // Without the attacker the same connection is adopted.
        let adopted = crate::support::wait::wait_for(|| {
            let adopted = acceleration.adopt(&options, Marked::default(), &mut Looks::default()).unwrap();
            if adopted.pairs == 1 { Ok(adopted) } else { Err(format!("{adopted:?}")) }
        });
        assert_eq!(adopted.others, 0);
        back_and_forth(&hidden, &seen, b"message", 5);
        let counters = acceleration.snapshot().unwrap();
        assert!(counters.get(Counter::RedirectedMessages) > 0, "{}", describe(&counters));
    }
}
