//! Bytes and slots are two views of the same bits, in either byte order.

use byteorder::{BigEndian, ByteOrder, LittleEndian};
use proptest::collection::vec;
use proptest::prelude::*;
use sidestep::asm::{Asm, Error, Insn, MapRef, decode_program};

use crate::strategies::{call, insn, make};

fn encode<B: ByteOrder>(insns: &[Insn]) -> Vec<u8> {
    insns.iter().flat_map(|insn| insn.encode::<B>()).collect()
}

proptest! {
    #[test]
    fn slots_survive_bytes(insns in vec(insn(), 0..20)) {
        let (little, big) = (encode::<LittleEndian>(&insns), encode::<BigEndian>(&insns));
        prop_assert_eq!(&decode_program::<LittleEndian>(&little)?, &insns);
        prop_assert_eq!(&decode_program::<BigEndian>(&big)?, &insns);
    }

    #[test]
    fn bytes_survive_slots(bytes in vec(any::<u8>(), 0..100)) {
        let little = decode_program::<LittleEndian>(&bytes);
        let big = decode_program::<BigEndian>(&bytes);
        if bytes.len() % 8 == 0 {
            prop_assert_eq!(&encode::<LittleEndian>(&little?), &bytes);
            prop_assert_eq!(&encode::<BigEndian>(&big?), &bytes);
        } else {
            prop_assert_eq!(&little, &Err(Error::TruncatedProgram { len: bytes.len() }));
            prop_assert_eq!(&big, &little);
        }
    }

    /// The two orders hold the same fields: opcode, swapped register nibbles, reversed offset and immediate.
    #[test]
    fn the_orders_mirror_each_other(insn in insn()) {
        let (little, mut big) = (insn.encode::<LittleEndian>(), insn.encode::<BigEndian>());
        big[1] = big[1].rotate_left(4);
        big[2..4].reverse();
        big[4..8].reverse();
        prop_assert_eq!(little, big);
    }

    #[test]
    fn programs_survive_bytes(calls in vec(call(), 1..30)) {
        let mut a = Asm::new();
        let start = a.here("start");
        for call in &calls {
            make(&mut a, call, start);
        }
        let program = a.finish()?;
        let same = |map: MapRef| Some(map.0 as i32);
        prop_assert_eq!(&decode_program::<LittleEndian>(&program.encode::<LittleEndian>(same)?)?, program.insns());
        prop_assert_eq!(&decode_program::<BigEndian>(&program.encode::<BigEndian>(same)?)?, program.insns());
        let shifted = program.resolve(|map| Some(map.0 as i32 + 1))?;
        let changed = shifted.iter().zip(program.insns()).filter(|(new, old)| new != old).count();
        prop_assert_eq!(changed, program.maps().len());
    }
}
