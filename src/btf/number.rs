//! What BTF says of integers and enumerations.

use super::kind::HEAD;
use super::{Btf, Head, Kind};

/// An integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Integer {
    /// Its encoding (`BTF_INT_SIGNED` is 1, `BTF_INT_CHAR` 2, `BTF_INT_BOOL` 4).
    pub encoding: u8,
    /// Where its bits begin; not 0 only in an old form of bit fields.
    pub first_bit: u8,
}

impl Integer {
    /// `BTF_INT_SIGNED`.
    const SIGNED: u8 = 1;

    /// Whether it can be negative.
    pub fn is_signed(self) -> bool {
        self.encoding & Self::SIGNED != 0
    }
}

/// One value of an enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Enumerator {
    /// Where its name is among the strings.
    pub name: u32,
    /// The value; a negative one of 32 bits is extended to 64.
    pub value: u64,
}

impl Head {
    /// The type's `kind_flag`: a signed enumeration, or a declaration of a union.
    pub fn flag(self) -> bool {
        self.flag
    }

    /// Whether it is an enumeration, of 32 or 64 bits.
    pub fn is_enumeration(self) -> bool {
        matches!(self.kind, Kind::Enum | Kind::Enum64)
    }

    /// Whether it is a struct or union.
    pub fn is_composite(self) -> bool {
        matches!(self.kind, Kind::Struct | Kind::Union)
    }
}

impl Btf {
    /// What kind of integer a type is; `None` for other kinds.
    pub fn integer(&self, head: Head) -> Option<Integer> {
        // BTF_INT_ENCODING and BTF_INT_OFFSET of include/uapi/linux/btf.h.
        let word = (head.kind == Kind::Int).then(|| self.word(head.start + HEAD))??;
        Some(Integer { encoding: (word >> 24 & 0xf) as u8, first_bit: (word >> 16 & 0xff) as u8 })
    }

    /// The values of an enumeration.
    pub fn enumerators(&self, head: Head) -> impl ExactSizeIterator<Item = Enumerator> {
        let count = if head.is_enumeration() { head.parts } else { 0 };
        (0..count).map(move |index| self.enumerator_at(head, index))
    }

    /// Value `index` of an enumeration.
    pub fn enumerator_of(&self, head: Head, index: usize) -> Option<Enumerator> {
        (head.is_enumeration() && index < head.parts).then(|| self.enumerator_at(head, index))
    }

    fn enumerator_at(&self, head: Head, index: usize) -> Enumerator {
        // struct btf_enum has a name and a value, struct btf_enum64 a name and two halves of one.
        let wide = head.kind == Kind::Enum64;
        let at = head.start + HEAD + index * if wide { 12 } else { 8 };
        let [name, low, high] = [0, 4, 8].map(|part| self.word(at + part).unwrap_or(0));
        let value = if wide { u64::from(high) << 32 | u64::from(low) } else { low as i32 as u64 };
        Enumerator { name, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::BtfBuilder;

    #[test]
    fn values_are_those_of_c() {
        let mut builder = <BtfBuilder>::new();
        let narrow = builder.enumeration("narrow", &[("A", 7), ("B", u32::MAX)]);
        let wide = builder.wide_enumeration("wide", &[("C", 1 << 40 | 5), ("D", u64::MAX)]);
        let int = builder.int("long", 8, true);
        let btf = Btf::parse(builder.finish()).unwrap();
        let values = |id| btf.enumerators(btf.head(id).unwrap()).map(|part| part.value).collect::<Vec<_>>();
        assert_eq!(values(narrow), [7, u64::MAX]);
        assert_eq!(values(wide), [1 << 40 | 5, u64::MAX]);
        assert!(values(int).is_empty());
        let names: Vec<_> =
            btf.enumerators(btf.head(wide).unwrap()).map(|part| btf.string(part.name).to_owned()).collect();
        assert_eq!(names, [b"C", b"D"]);
        let integer = btf.integer(btf.head(int).unwrap()).unwrap();
        assert!(integer.is_signed() && integer.first_bit == 0);
        assert_eq!(btf.integer(btf.head(wide).unwrap()), None);
    }
}
