//! How a structure of the ABI is declared.

/// A field of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The kernel's name.
    pub name: &'static str,
    /// Bytes from the start of the structure.
    pub offset: u32,
    /// Bytes in all; an array's elements together.
    pub size: u32,
}

/// Constants for the offsets, as instructions hold them, and the list of all fields.
macro_rules! fields {
    ($size:literal: $($(#[$doc:meta])* $name:ident $text:literal = $offset:literal, $bytes:literal;)*) => {
        $($(#[$doc])*
        pub const $name: i16 = $offset;)*

        /// Bytes of the structure.
        pub const SIZE: u32 = $size;

        /// All fields, in the order of their offsets.
        pub const FIELDS: &[super::Field] =
            &[$(super::Field { name: $text, offset: $offset, size: $bytes },)*];
    };
}

pub(super) use fields;
