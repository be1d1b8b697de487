//! All bytes by the stack count, of connections inside the accelerated cgroup alone.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use sidestep::agent::{Acceleration, TierChoice};
use sidestep::asm::Field;
use sidestep::dataplane::{Counter, Pairing, Tier, build};
use sidestep::syscall::btf::vmlinux;

use crate::link::ANY_PORT;
use crate::nested::NestedCgroups;
use crate::support::wait;

/// Bytes each way.
const BYTES: usize = 100_000;
/// The FINs count as bytes.
const FINS: u64 = 2;

fn counted(acceleration: &Acceleration) -> u64 {
    acceleration.snapshot().unwrap().get(Counter::StackBytes)
}

/// Both directions of a connection between blocking sockets, one after the other.
fn exchange(client: &TcpStream, server: &TcpStream) {
    for (mut from, mut to) in [(client, server), (server, client)] {
        std::thread::scope(|scope| {
            scope.spawn(move || from.write_all(&vec![1; BYTES]).unwrap());
            to.read_exact(&mut vec![0; BYTES]).unwrap();
        });
    }
}

/// What was acknowledged counts: waits until the last bytes are.
fn wait_for(acceleration: &Acceleration, wanted: std::ops::RangeInclusive<u64>) -> u64 {
    wait::wait_for(|| {
        let now = counted(acceleration);
        let counts = wanted.contains(&now);
        if counts { Ok(now) } else { Err(format!("{now} bytes counted, where {wanted:?} were exchanged")) }
    })
}

#[test]
fn bytes_by_the_stack_count_while_a_connection_lasts_and_when_it_ends() {
    let cgroups = NestedCgroups::new();
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    bytes_count(&cgroups, acceleration);
}

/// As on kernels whose iterator over storages is not safe, on each kernel that could do so.
#[test]
fn bytes_count_also_where_sockets_are_found_by_their_files() {
    let types = vmlinux().unwrap();
    if types.func_by_name("bpf_sock_from_file").is_none() {
        return eprintln!("*** sockets found by their files: NOT TESTED: bpf_sock_from_file takes Linux 5.11 ***");
    }
    let sk = types.field("socket", "sk").unwrap();
    let cgroups = NestedCgroups::new();
    let acceleration = cgroups.accelerate_with(Pairing::Sequence, TierChoice::Gated, |plane| {
        let Tier::Gated(offsets) = &mut plane.options.tier else { panic!("asked for the gated tier") };
        offsets.sockets_by_file = Some(Field::new(sk.offset() as i32));
        *plane = build(plane.options.clone()).unwrap();
    });
    bytes_count(&cgroups, acceleration);
}

fn bytes_count(cgroups: &NestedCgroups, acceleration: Acceleration) {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let both = 2 * BYTES as u64;

    // Sockets that block never enter the sockhash.
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = listener.accept().unwrap().0;
    exchange(&client, &server);
    let open = wait_for(&acceleration, both..=both);
    assert_eq!(counted(&acceleration), open, "looking twice counts nothing twice");
    exchange(&client, &server);
    drop((client, server));
    let closed = wait_for(&acceleration, 2 * both..=2 * both + FINS);

    // A server outside the cgroup is as one on another node.
    cgroups.leave();
    let outside = TcpListener::bind(ANY_PORT).unwrap();
    cgroups.enter();
    let client = TcpStream::connect(outside.local_addr().unwrap()).unwrap();
    let server = outside.accept().unwrap().0;
    exchange(&client, &server);
    drop((client, server));
    cgroups.leave();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = listener.accept().unwrap().0;
    exchange(&client, &server);
    drop((client, server));
    assert_eq!(counted(&acceleration), closed, "bytes of another cgroup");
    cgroups.enter();
    drop(acceleration);
}
