//! What a relocation puts into the instruction, for a field by the types of one BTF.

use super::fault::Fault;
use super::kind::Kind;
use super::path::{Path, Step};
use crate::btf::{Btf, Head};
use crate::verifier_sim::byte_order::IS_BIG;

/// Bytes of the widest load.
const WIDEST: u32 = 8;

/// A value, and what a load or store of the field must agree with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) number: u64,
    /// Whether the compiler must have come to the same value. Of a bit field several loads are right.
    pub(super) is_exact: bool,
    /// Bytes of the field; 0 if the instruction's size does not follow it.
    pub(super) size: u32,
    /// The type of the field, if there is such a size.
    pub(super) type_id: u32,
}

fn no_size() -> Fault {
    Fault::refused("the field has no size")
}

/// What `kind` asks of the field that `path` leads to.
pub(super) fn of_field(btf: &Btf, path: &Path, kind: Kind) -> Result<Value, Fault> {
    match path.steps.last() {
        Some(&Step::Element { of, .. }) => of_element(btf, path, of, kind),
        Some(&Step::Member { of, index }) => of_member(btf, path, (of, index), kind),
        None => Err(no_size()),
    }
}

fn of_element(btf: &Btf, path: &Path, of: u32, kind: Kind) -> Result<Value, Fault> {
    let size = btf.size_of(of).ok_or_else(no_size)?;
    match kind {
        Kind::FieldByteOffset => {
            Ok(Value { number: u64::from(path.bit_offset / 8), is_exact: true, size, type_id: of })
        }
        Kind::FieldByteSize => Ok(Value { number: size.into(), is_exact: true, ..Value::default() }),
        _ => Err(Fault::refused(format!("{} cannot be asked of an element of an array", kind.name()))),
    }
}

fn of_member(btf: &Btf, path: &Path, (of, index): (u32, u32), kind: Kind) -> Result<Value, Fault> {
    let member = btf.head(of).and_then(|head| btf.member_of(head, index as usize)).ok_or_else(no_size)?;
    let type_id = btf.resolve(member.type_id).ok_or_else(no_size)?;
    let head = btf.head(type_id).ok_or_else(no_size)?;
    let is_bit_field = member.bits > 0;
    let (from, size, bits) = if is_bit_field {
        let (from, size) = load_of(head, path.bit_offset, member.bits)?;
        (from, size, member.bits)
    } else {
        let size = btf.size_of(type_id).ok_or_else(no_size)?;
        (path.bit_offset / 8, size, size.checked_mul(8).ok_or_else(no_size)?)
    };
    // How many bits of the loaded bytes lie before the field. The loader does not look whether the numbers make sense.
    let before = path.bit_offset.wrapping_sub(from.wrapping_mul(8));
    let value = Value { is_exact: !is_bit_field, ..Value::default() };
    Ok(match kind {
        Kind::FieldByteOffset if is_bit_field => Value { number: from.into(), ..value },
        Kind::FieldByteOffset => Value { number: from.into(), size, type_id, ..value },
        Kind::FieldByteSize => Value { number: size.into(), ..value },
        Kind::FieldSigned => Value { number: is_signed(btf, head).into(), is_exact: true, ..value },
        Kind::FieldLshiftU64 => Value { number: shift_left(IS_BIG, size, before, bits).into(), ..value },
        Kind::FieldRshiftU64 => Value { number: 64_u32.wrapping_sub(bits).into(), is_exact: true, ..value },
        _ => return Err(Fault::refused(format!("{} cannot be asked of a field", kind.name()))),
    })
}

/// The shift that puts the highest bit of a field to the top of a register into which `size` bytes are loaded.
fn shift_left(is_big: bool, size: u32, before: u32, bits: u32) -> u32 {
    if is_big {
        WIDEST.wrapping_sub(size).wrapping_mul(8).wrapping_add(before)
    } else {
        64_u32.wrapping_sub(before).wrapping_sub(bits)
    }
}

/// Where the load of a bit field begins, and its bytes: those of its type, or the fewest that hold it all.
fn load_of(of: Head, bit_offset: u32, bits: u32) -> Result<(u32, u32), Fault> {
    let wrong = || Fault::refused("a bit field cannot be loaded: no 8 bytes hold it");
    let mut size = of.size_or_type;
    if !(1..=WIDEST).contains(&size) {
        return Err(wrong());
    }
    loop {
        let from = bit_offset / 8 / size * size;
        if bit_offset - from * 8 + bits <= size * 8 {
            return Ok((from, size));
        }
        if size >= WIDEST {
            return Err(wrong());
        }
        size *= 2;
    }
}

fn is_signed(btf: &Btf, head: Head) -> bool {
    head.is_enumeration() && head.flag() || btf.integer(head).is_some_and(|integer| integer.is_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::BtfBuilder;
    use crate::verifier_sim::elf::core_relo::path::{follow, numbers};

    /// ```c
    /// struct flags { unsigned a:3, b:7; unsigned long c:40; int plain; };
    /// ```
    fn sample() -> (Btf, u32) {
        let mut builder = <BtfBuilder>::new();
        let (unsigned, int) = (builder.int("unsigned int", 4, false), builder.int("int", 4, true));
        let long = builder.int("unsigned long", 8, false);
        let members = [("a", unsigned, 0, 3), ("b", unsigned, 3, 7), ("c", long, 10, 40), ("plain", int, 64, 0)];
        let flags = builder.bit_structure("flags", 16, &members);
        (Btf::parse(builder.finish()).unwrap(), flags)
    }

    fn number(access: &str, kind: Kind) -> u64 {
        let (btf, root) = sample();
        let path = follow(&btf, root, &numbers(access.as_bytes()).unwrap()).unwrap();
        of_field(&btf, &path, kind).unwrap().number
    }

    #[test]
    fn fields_have_offset_size_and_sign() {
        for (access, offset, size, signed) in [("0:0", 0, 4, 0), ("0:1", 0, 4, 0), ("0:2", 0, 8, 0), ("0:3", 8, 4, 1)] {
            let found =
                [Kind::FieldByteOffset, Kind::FieldByteSize, Kind::FieldSigned].map(|kind| number(access, kind));
            assert_eq!(found, [offset, size, signed], "{access}");
        }
    }

    /// With the shifts, the bits of a field remain of what was loaded.
    #[test]
    fn shifts_leave_the_bits_of_the_field() {
        for (access, from, bits) in [("0:0", 0, 3), ("0:1", 3, 7), ("0:2", 10, 40), ("0:3", 0, 32)] {
            assert_eq!(number(access, Kind::FieldRshiftU64), 64 - bits, "{access}");
            if !IS_BIG {
                assert_eq!(number(access, Kind::FieldLshiftU64), 64 - from - bits, "{access}");
            }
        }
        // In 4 bytes of a big-endian machine, 3 bits from bit 5: 32 bits are above them in a register, and 5 are before them.
        assert_eq!(shift_left(true, 4, 5, 3), 37);
        assert_eq!(shift_left(false, 4, 5, 3), 56);
    }

    #[test]
    fn a_bit_field_across_the_bytes_of_its_type_is_loaded_with_more() {
        let mut builder = <BtfBuilder>::new();
        let char = builder.int("char", 1, false);
        let long = builder.int("long", 8, false);
        let across = builder.bit_structure("across", 24, &[("a", char, 6, 4), ("b", long, 60, 8), ("c", long, 0, 0)]);
        let void = builder.bit_structure("void", 8, &[("a", 0, 0, 4)]);
        let btf = Btf::parse(builder.finish()).unwrap();
        let path = follow(&btf, across, &[0, 0]).unwrap();
        assert_eq!(of_field(&btf, &path, Kind::FieldByteSize).unwrap().number, 2);
        for (root, access) in [(across, [0, 1]), (void, [0, 0])] {
            let path = follow(&btf, root, &access).unwrap();
            assert!(of_field(&btf, &path, Kind::FieldByteSize).is_err(), "{access:?}");
        }
    }

    #[test]
    fn elements_have_offset_and_size_alone() {
        let (btf, root) = sample();
        let path = follow(&btf, root, &[3]).unwrap();
        let offset = of_field(&btf, &path, Kind::FieldByteOffset).unwrap();
        assert_eq!((offset.number, offset.size, offset.type_id), (48, 16, root));
        assert_eq!(of_field(&btf, &path, Kind::FieldByteSize).unwrap().number, 16);
        assert!(of_field(&btf, &path, Kind::FieldSigned).is_err());
    }
}
