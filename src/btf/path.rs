//! Where a field lies: paths through nested and anonymous structs.

use super::{Btf, Error, Head, MAX_DEPTH};

/// A field of a struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Bits from the start of the outermost struct.
    pub bit_offset: u32,
    /// Width in bits.
    pub bits: u32,
    /// Whether it is a bit field: then a load must take the bytes around it and shift.
    pub is_bit_field: bool,
    /// Its type.
    pub type_id: u32,
}

impl Field {
    /// Bytes from the start of the outermost struct (rounded down for a bit field).
    pub fn offset(self) -> u32 {
        self.bit_offset / 8
    }

    /// Bytes it takes (rounded up for a bit field).
    pub fn size(self) -> u32 {
        self.bits.div_ceil(8)
    }
}

impl Btf {
    /// The field at `path` in the struct `name`: names joined by dots, where members of anonymous structs and unions
    /// count as the outer one's. `field("tcp_sock", "inet_conn.icsk_inet.sk.__sk_common.skc_cookie")`.
    pub fn field(&self, name: &str, path: &str) -> Result<Field, Error> {
        let id = self.struct_by_name(name).ok_or_else(|| Error::NoStruct(name.into()))?;
        self.field_in(id, path).ok_or_else(|| Error::NoField { name: name.into(), path: path.into() })
    }

    /// [`Btf::field`] in the struct or union with type `id`.
    pub fn field_in(&self, id: u32, path: &str) -> Option<Field> {
        let mut field = Field { bit_offset: 0, bits: 0, is_bit_field: false, type_id: id };
        for (depth, part) in path.split('.').enumerate() {
            if depth == MAX_DEPTH || field.is_bit_field {
                return None;
            }
            let inner = self.member(field.type_id, part.as_bytes(), 0)?;
            field = Field { bit_offset: field.bit_offset.checked_add(inner.bit_offset)?, ..inner };
        }
        Some(field)
    }

    /// The offset in bytes of a field that is not a bit field; see [`Btf::field`].
    pub fn offset_of(&self, name: &str, path: &str) -> Result<u32, Error> {
        let field = self.field(name, path)?;
        if field.is_bit_field {
            return Err(Error::BitField { name: name.into(), path: path.into() });
        }
        Ok(field.offset())
    }

    fn member(&self, id: u32, name: &[u8], depth: usize) -> Option<Field> {
        if depth == MAX_DEPTH || name.is_empty() {
            return None;
        }
        let head = self.head(self.resolve(id)?)?;
        self.members(head).find_map(|member| {
            if self.is_string(member.name, name) {
                let is_bit_field = member.bits != 0;
                let bits = if is_bit_field { member.bits } else { self.size_of(member.type_id)?.checked_mul(8)? };
                return Some(Field { bit_offset: member.bit_offset, bits, is_bit_field, type_id: member.type_id });
            }
            let anonymous =
                !self.is_named(member.name) && self.head(self.resolve(member.type_id)?).is_some_and(Head::is_composite);
            if !anonymous {
                return None;
            }
            let inner = self.member(member.type_id, name, depth + 1)?;
            Some(Field { bit_offset: member.bit_offset.checked_add(inner.bit_offset)?, ..inner })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::BtfBuilder;

    /// ```c
    /// struct inner { int a; int b; };
    /// struct outer { int head; struct { int x; struct inner deep; }; typedef of inner named; };
    /// ```
    fn sample() -> Btf {
        let mut builder = <BtfBuilder>::new();
        let int = builder.int("int", 4, true);
        let inner = builder.structure("inner", 8, &[("a", int, 0), ("b", int, 32)]);
        let anonymous = builder.structure("", 12, &[("x", int, 0), ("deep", inner, 32)]);
        let alias = builder.typedef("inner_t", inner);
        builder.structure("outer", 24, &[("head", int, 0), ("", anonymous, 32), ("named", alias, 128)]);
        Btf::parse(builder.finish()).unwrap()
    }

    #[test]
    fn paths_go_through_named_anonymous_and_aliased_structs() {
        let btf = sample();
        assert_eq!(btf.offset_of("outer", "head").unwrap(), 0);
        assert_eq!(btf.offset_of("outer", "x").unwrap(), 4);
        assert_eq!(btf.offset_of("outer", "deep.b").unwrap(), 12);
        assert_eq!(btf.offset_of("outer", "named.b").unwrap(), 20);
        assert_eq!(btf.field("outer", "named").unwrap().size(), 8);
    }

    #[test]
    fn what_is_missing_is_named() {
        let btf = sample();
        for (name, path, what) in [
            ("nothing", "a", "struct nothing"),
            ("outer", "y", "`y`"),
            ("outer", "head.x", "head.x"),
            ("outer", "", "``"),
        ] {
            let text = btf.offset_of(name, path).unwrap_err().to_string();
            assert!(text.contains(what), "{text}");
        }
    }

    #[test]
    fn bit_fields_are_told_apart() {
        let mut builder = <BtfBuilder>::new();
        let int = builder.int("int", 4, false);
        builder.bit_structure("flags", 4, &[("low", int, 0, 3), ("high", int, 3, 5), ("plain", int, 0, 0)]);
        let btf = Btf::parse(builder.finish()).unwrap();
        let high = btf.field("flags", "high").unwrap();
        assert_eq!((high.bit_offset, high.bits, high.is_bit_field), (3, 5, true));
        assert!(btf.offset_of("flags", "high").unwrap_err().to_string().contains("bit field"));
        assert_eq!(btf.offset_of("flags", "plain").unwrap(), 0);
    }

    #[test]
    fn a_struct_that_contains_itself_ends() {
        let mut builder = <BtfBuilder>::new();
        // Type 1 has an anonymous member of type 1.
        builder.structure("loop", 4, &[("", 1, 0)]);
        let btf = Btf::parse(builder.finish()).unwrap();
        assert!(btf.offset_of("loop", "x").is_err());
        assert_eq!(btf.size_of(1), Some(4));
    }
}
