//! The ring buffer: records that a program wrote come out in order and whole, round after round.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use sidestep::asm::{Insn, opcode};
use sidestep::syscall::{Map, MapSpec, ProgSpec, Program, RingBuffer, RingFollower, UpdateFlags, prog_attach};

use crate::program::{bytes, call, exit, load_map, mov, mov_reg};
use crate::support::machine::require_root;
use sidestep::uapi::{AttachType, MapType, ProgType};

/// The size of a message, `struct sk_msg_md` field `size` at offset 68.
const SIZE: i16 = 68;
/// `BPF_FUNC_ringbuf_output`.
const RINGBUF_OUTPUT: i32 = 130;

#[test]
fn records_come_out_whole_and_in_order() {
    if !require_root("records_come_out_whole_and_in_order") {
        return;
    }
    let ring = Map::create(&MapSpec::new("t.ring", MapType::RINGBUF, 0, 0, 4096)).unwrap();
    let sockets = Map::create(&MapSpec::new("t.sockets", MapType::SOCKHASH, 8, 8, 4)).unwrap();
    // *(u64 *)(r10 - 8) = ctx->size; bpf_ringbuf_output(ring, r10 - 8, 8, 0); return SK_PASS
    let [map_low, map_high] = load_map(1, ring.as_fd().as_raw_fd());
    let program = [
        Insn { code: opcode::LDX | opcode::MEM | opcode::W, dst: 2, src: 1, off: SIZE, imm: 0 },
        Insn { code: opcode::STX | opcode::MEM | opcode::DW, dst: 10, src: 2, off: -8, imm: 0 },
        map_low,
        map_high,
        mov_reg(2, 10),
        Insn { code: opcode::ALU64 | opcode::ADD | opcode::K, ..mov(2, -8) },
        mov(3, 8),
        mov(4, 0),
        call(RINGBUF_OUTPUT),
        mov(0, 1),
        exit(),
    ];
    let program = Program::load(&ProgSpec::new("t.report", ProgType::SK_MSG, &bytes(&program))).unwrap();
    prog_attach(sockets.as_fd(), program.as_fd(), AttachType::SK_MSG_VERDICT).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    sockets.update(&[1; 8], &u64::from(client.as_raw_fd() as u32).to_ne_bytes(), UpdateFlags::empty()).unwrap();

    let mut follower = RingFollower::new(ring.try_clone().unwrap()).unwrap();
    let mut reader = RingBuffer::new(ring).unwrap();
    assert_eq!(reader.drain(|_| panic!("nothing was written yet")), 0);
    assert!(!reader.wait(Duration::from_millis(1)).unwrap());
    // 16 bytes a record, 256 records a round: 4 rounds.
    for round in 0..1024_usize {
        let size = round % 50 + 1;
        client.write_all(&vec![0; size]).unwrap();
        server.read_exact(&mut vec![0; size]).unwrap();
        assert!(reader.wait(Duration::from_secs(5)).unwrap());
        let mut got = Vec::new();
        assert_eq!(reader.drain(|record| got.push(u64::from_ne_bytes(record.try_into().unwrap()))), 1);
        assert_eq!(got, [size as u64]);
        // Beside the reader, each record is there a second time.
        let mut followed = Vec::new();
        assert_eq!(follower.drain(|record| followed.push(u64::from_ne_bytes(record.try_into().unwrap()))), 0);
        assert_eq!(followed, got);
    }
    // A full buffer drops, and what is there still comes out in order.
    for size in 1..=300_usize {
        client.write_all(&vec![0; size]).unwrap();
        server.read_exact(&mut vec![0; size]).unwrap();
    }
    let mut got = Vec::new();
    let count = reader.drain(|record| got.push(u64::from_ne_bytes(record.try_into().unwrap())));
    assert!((250..=256).contains(&count), "{count}");
    assert_eq!(got, (1..=count as u64).collect::<Vec<_>>());
    // A follower that comes too late says how much it has missed, and goes on with what comes.
    assert_eq!(follower.drain(|record| panic!("{record:?} can be written over at any time")), 16 * count);
    client.write_all(&[0; 77]).unwrap();
    server.read_exact(&mut [0; 77]).unwrap();
    let mut followed = Vec::new();
    assert_eq!(follower.drain(|record| followed.push(record.to_vec())), 0);
    assert_eq!(followed, [77_u64.to_ne_bytes()]);
    // Without a reader it takes over, where it is: the reader had not read this one.
    drop(reader);
    let mut reader = follower.reader().unwrap();
    client.write_all(&[0; 78]).unwrap();
    server.read_exact(&mut [0; 78]).unwrap();
    let mut got = Vec::new();
    assert_eq!(reader.drain(|record| got.push(record.to_vec())), 1);
    assert_eq!(got, [78_u64.to_ne_bytes()]);
    assert!(RingBuffer::new(sockets).unwrap_err().to_string().contains("not a ring buffer"));
}
