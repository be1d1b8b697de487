//! Slots: where they lie, and what using them wrongly says.

use crate::asm::Reg::*;
use crate::asm::{Asm, Base, Error, Slot};

/// Bytes from the frame pointer.
fn offset<S>(a: &mut Asm, slot: Slot<S>) -> i32 {
    let place = slot.place();
    a.resolve(place.root, place.offset).1
}

#[test]
fn slots_take_the_highest_gap() {
    let mut a = Asm::new();
    let first = a.slot::<u32>("first");
    let (second, third) = a.frame(|a| {
        let second = a.slot::<[u8; 24]>("second");
        let third = a.frame(|a| {
            let third = a.slot::<u64>("third");
            offset(a, third)
        });
        (offset(a, second), third)
    });
    let reused = a.slot::<u64>("reused");
    assert_eq!((offset(&mut a, first), second, third, offset(&mut a, reused)), (-8, -32, -40, -16));
}

#[test]
fn a_slot_after_its_frame_names_three_lines() {
    let mut a = Asm::new();
    let opened = line!() + 1;
    let slot = a.frame(|a| {
        a.mov(R2, 0);
        a.slot::<u64>("gone")
    });
    a.get(R1, slot);
    a.exit();
    let error = a.finish().unwrap_err();
    let Error::SlotEnded { name, made, ended, used } = &error else { panic!("{error}") };
    assert_eq!((name.as_str(), ended.line(), made.line(), used.line()), ("gone", opened, opened + 2, opened + 4));
}

#[test]
fn more_than_the_stack_names_the_slot_and_those_beside_it() {
    let mut a = Asm::new();
    a.slot::<[u64; 63]>("large");
    a.frame(|a| a.slot::<u64>("fits"));
    let line = line!() + 1;
    a.slot::<[u64; 2]>("too_much");
    a.exit();
    let error = a.finish().unwrap_err();
    assert!(matches!(&error, Error::StackTooLarge { bytes: 520, made, .. } if made.line() == line), "{error}");
    assert!(error.to_string().contains("`large` are in use"), "{error}");
}

#[test]
fn a_slot_of_another_assembler_is_refused() {
    let slot = Asm::new().slot::<u64>("foreign");
    let mut a = Asm::new();
    a.set(slot, 1);
    a.exit();
    assert!(matches!(a.finish(), Err(Error::ForeignSlot { .. })));
}
