//! What a variable is set to, by its type and the option's text.

use crate::btf::{Btf, Kind};
use crate::verifier_sim::byte_order;

/// What a variable in `.kconfig` can be (`enum kcfg_type` of libbpf).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Char {
        signed: bool,
    },
    Bool,
    Int {
        signed: bool,
    },
    /// `enum libbpf_tristate`.
    Tristate,
    /// An array of characters.
    Text,
}

/// `BTF_INT_BOOL`.
const BOOL: u8 = 4;
/// Bytes of the largest number.
const LARGEST: u32 = 8;
/// Bytes of `enum libbpf_tristate` that libbpf sets, also where it has 8 of them.
const TRISTATE: usize = 4;

impl Type {
    /// The type with this ID; `None` if no option has such a one.
    pub(super) fn of(btf: &Btf, id: u32) -> Option<Self> {
        let head = btf.head(btf.resolve(id)?)?;
        match head.kind {
            Kind::Int => {
                let integer = btf.integer(head)?;
                match head.size_or_type {
                    1 if integer.encoding & BOOL != 0 => Some(Self::Bool),
                    _ if integer.encoding & BOOL != 0 => None,
                    1 => Some(Self::Char { signed: integer.is_signed() }),
                    size if size.is_power_of_two() && size <= LARGEST => {
                        Some(Self::Int { signed: integer.is_signed() })
                    }
                    _ => None,
                }
            }
            Kind::Enum if head.size_or_type != TRISTATE as u32 => None,
            Kind::Enum | Kind::Enum64 => btf.is_string(head.name, b"libbpf_tristate").then_some(Self::Tristate),
            Kind::Array => {
                // The elements are not arrays, which could be of themselves.
                let element = btf.array(head).filter(|array| array.count > 0)?.element;
                let element = btf.head(btf.resolve(element)?).filter(|element| element.kind == Kind::Int)?;
                let is_char = element.size_or_type == 1 && btf.integer(element)?.encoding & BOOL == 0;
                is_char.then_some(Self::Text)
            }
            _ => None,
        }
    }
}

/// Puts the number into the bytes of the variable.
pub(super) fn put_number(of: Type, bytes: &mut [u8], number: u64) -> Result<(), &'static str> {
    let bits = bytes.len() as u32 * 8;
    let fits = match of {
        Type::Bool => number <= 1,
        Type::Int { .. } if bits == 64 => true,
        Type::Int { signed: true } | Type::Char { signed: true } => number.wrapping_add(1 << (bits - 1)) < 1 << bits,
        Type::Int { signed: false } | Type::Char { signed: false } => number >> bits == 0,
        Type::Tristate | Type::Text => return Err("it is a number, and the variable is not one"),
    };
    if !fits {
        return Err("the number does not fit the variable");
    }
    byte_order::to_memory(bytes, number);
    Ok(())
}

/// Puts an option's value into the bytes of the variable.
pub(super) fn put(of: Type, bytes: &mut [u8], text: &str) -> Result<(), &'static str> {
    match (text.bytes().next(), of) {
        (None, _) => Err("the option has no value"),
        (Some(b'm'), Type::Bool) => Err("it is a module, and the variable says only yes or no"),
        (Some(b'y' | b'n'), Type::Bool) => put_number(of, bytes, text.starts_with('y').into()),
        (Some(answer @ (b'y' | b'n' | b'm')), Type::Tristate) => {
            // TRI_NO, TRI_YES and TRI_MODULE.
            let number = [b'n', b'y', b'm'].iter().position(|known| *known == answer);
            let bytes = bytes.get_mut(..TRISTATE).ok_or("the variable is too small")?;
            byte_order::to_memory(bytes, number.unwrap_or_default() as u64);
            Ok(())
        }
        (Some(answer @ (b'y' | b'n' | b'm')), Type::Char { .. }) => put_number(of, bytes, answer.into()),
        (Some(b'y' | b'n' | b'm'), _) => Err("it is yes, no or module, and the variable is of another type"),
        (Some(b'"'), Type::Text) => {
            let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
            let inner = inner.ok_or("its text has no end")?.as_bytes();
            // A longer text is cut off, and ends with a zero all the same.
            let room = bytes.len().saturating_sub(1).min(inner.len());
            bytes[..room].copy_from_slice(&inner[..room]);
            Ok(())
        }
        (Some(b'"'), _) => Err("it is a text, and the variable is not an array of characters"),
        (_, Type::Int { .. } | Type::Char { .. }) => put_number(of, bytes, number(text).ok_or("it is not a number")?),
        _ => Err("it is a number, and the variable is not one"),
    }
}

/// A number as C writes it.
fn number(text: &str) -> Option<u64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (16, digits),
        None if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        None => (10, digits),
    };
    let number = u64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'))?;
    Some(if negative { number.wrapping_neg() } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::BtfBuilder;

    const INT: Type = Type::Int { signed: true };
    const UNSIGNED: Type = Type::Int { signed: false };
    const CHAR: Type = Type::Char { signed: true };
    const BYTE: Type = Type::Char { signed: false };

    fn value(of: Type, size: usize, text: &str) -> Result<u64, &'static str> {
        let mut bytes = vec![0; size];
        put(of, &mut bytes, text)?;
        Ok(byte_order::from_memory(&bytes))
    }

    #[test]
    fn options_become_values_of_their_type() {
        for (of, size, text, number) in [
            (Type::Bool, 1, "y", 1),
            (Type::Bool, 1, "n", 0),
            (Type::Tristate, 4, "n", 0),
            (Type::Tristate, 4, "y", 1),
            (Type::Tristate, 4, "m", 2),
            (CHAR, 1, "m", u64::from(b'm')),
            (CHAR, 1, "127", 127),
            (CHAR, 1, "-128", 0x80),
            (BYTE, 1, "255", 255),
            (INT, 4, "250", 250),
            (INT, 2, "-1", 0xffff),
            (UNSIGNED, 4, "0xffffffff", 0xffff_ffff),
            (UNSIGNED, 8, "0xffffffff81000000", 0xffff_ffff_8100_0000),
            (UNSIGNED, 4, "010", 8),
        ] {
            assert_eq!(value(of, size, text), Ok(number), "{text}");
        }
    }

    #[test]
    fn texts_are_cut_off() {
        let text = |size: usize, text: &str| {
            let mut bytes = vec![0; size];
            put(Type::Text, &mut bytes, text).map(|()| bytes)
        };
        assert_eq!(text(6, "\"abc\""), Ok(b"abc\0\0\0".to_vec()));
        assert_eq!(text(3, "\"abc\""), Ok(b"ab\0".to_vec()));
        assert!(text(3, "\"abc").is_err() && text(3, "\"").is_err() && text(3, "1").is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (of, size, text) in [
            (Type::Bool, 1, "m"),
            (Type::Bool, 1, "1"),
            (Type::Tristate, 4, "1"),
            (INT, 4, "y"),
            (INT, 4, "\"a\""),
            (CHAR, 1, "128"),
            (CHAR, 1, "-129"),
            (BYTE, 1, "256"),
            (BYTE, 1, "-1"),
            (INT, 2, "-32769"),
            (UNSIGNED, 2, "65536"),
            (UNSIGNED, 4, "-1"),
            (INT, 4, "1x"),
            (INT, 4, "+-1"),
            (INT, 4, ""),
        ] {
            assert!(value(of, size, text).is_err(), "{text}");
        }
    }

    #[test]
    fn types_are_those_of_libbpf() {
        let mut builder = <BtfBuilder>::new();
        let (char, int) = (builder.int("char", 1, true), builder.int("int", 4, true));
        let odd = builder.int("odd", 3, false);
        let tristate = builder.enumeration("libbpf_tristate", &[]);
        let other = builder.enumeration("other", &[]);
        let text = builder.array(char, int, 8);
        let (none, numbers) = (builder.array(char, int, 0), builder.array(int, int, 8));
        let alias = builder.typedef("u32", int);
        let wide = builder.wide_enumeration("libbpf_tristate", &[]);
        let unsigned = builder.int("unsigned char", 1, false);
        let nested = builder.array(text, int, 8);
        // An array of itself.
        let endless = builder.array(nested + 1, int, 8);
        assert_eq!(endless, nested + 1);
        let btf = Btf::parse(builder.finish()).unwrap();
        let of = |id| Type::of(&btf, id);
        assert_eq!((of(char), of(unsigned), of(alias)), (Some(CHAR), Some(BYTE), Some(INT)));
        assert_eq!([tristate, wide, text].map(of), [Some(Type::Tristate), Some(Type::Tristate), Some(Type::Text)]);
        assert_eq!([odd, other, none, numbers, nested, endless, 0, 99].map(of), [None; 8]);
    }
}
