//! Typed fields: where a value lies in a structure, how wide it is, and of which structure it is.

use std::fmt;
use std::marker::PhantomData;

use super::Size;

/// What can be part of a structure: it has a size and an alignment in memory.
pub trait Laid {
    /// Size in bytes.
    const BYTES: usize;
    /// Alignment in bytes.
    const ALIGN: usize;
}

/// What one load or store instruction moves.
pub trait Scalar: Laid {
    /// Width of the access.
    const SIZE: Size;
}

macro_rules! scalars {
    ($($type:ty, $size:ident;)*) => {$(
        impl Laid for $type {
            const BYTES: usize = Size::$size.bytes();
            const ALIGN: usize = Size::$size.bytes();
        }

        impl Scalar for $type {
            const SIZE: Size = Size::$size;
        }
    )*};
}

scalars! {
    u8, B;
    u16, H;
    u32, W;
    i32, W;
    u64, DW;
}

/// The 8-byte address of a `T`.
pub struct Pointer<T>(PhantomData<fn() -> T>);

impl<T> Laid for Pointer<T> {
    const BYTES: usize = 8;
    const ALIGN: usize = 8;
}

impl<T> Scalar for Pointer<T> {
    const SIZE: Size = Size::DW;
}

impl<T: Laid, const N: usize> Laid for [T; N] {
    const BYTES: usize = T::BYTES * N;
    const ALIGN: usize = T::ALIGN;
}

/// An object of this type begins with an `S`, so that the fields of `S` are fields of it: `struct tcp_sock` begins with its
/// `struct sock`. Every type begins with itself.
pub trait BeginsWith<S> {}

impl<S> BeginsWith<S> for S {}

/// A field of type `V` in the structure `S`. It is loaded and stored by [`Asm::ld`] and [`Asm::st`], which take the width
/// from it and refuse it, at compile time, for the address of another structure.
///
/// Fields of structures that we lay out come from [`layout!`]; the kernel's are made when its BTF has been read.
///
/// ```compile_fail
/// use sidestep::asm::{Asm, Ptr, Reg::*};
/// use sidestep::layout;
///
/// layout! { pub struct Cat: 4 { LIVES: u32 = 0; } }
/// layout! { pub struct Dog: 4 { AGE: u32 = 0; } }
///
/// let cat: Ptr<Cat> = Ptr::new(R7);
/// Asm::new().ld(R1, cat, Dog::AGE);
/// ```
///
/// [`Asm::ld`]: super::Asm::ld
/// [`Asm::st`]: super::Asm::st
/// [`layout!`]: crate::layout
pub struct Field<S, V> {
    offset: i32,
    types: PhantomData<fn() -> (S, V)>,
}

impl<S, V> Field<S, V> {
    /// The field at this byte offset.
    pub const fn new(offset: i32) -> Self {
        Self { offset, types: PhantomData }
    }

    /// Bytes from the start of the structure.
    pub const fn offset(self) -> i32 {
        self.offset
    }

    /// The same bytes, taken for a value of another type.
    pub const fn cast<W>(self) -> Field<S, W> {
        Field::new(self.offset)
    }

    /// A field of this field, as one of the outer structure.
    pub const fn then<W>(self, inner: Field<V, W>) -> Field<S, W> {
        Field::new(self.offset + inner.offset)
    }
}

impl<S, V: Laid> Field<S, V> {
    /// Bytes that the field takes.
    pub const fn bytes(self) -> usize {
        V::BYTES
    }

    /// The first byte behind the field.
    pub const fn end(self) -> i32 {
        self.offset + V::BYTES as i32
    }
}

impl<S, T: Laid, const N: usize> Field<S, [T; N]> {
    /// One item of an array.
    ///
    /// # Panics
    /// When the array has fewer items.
    pub const fn item(self, index: usize) -> Field<S, T> {
        assert!(index < N, "the array has fewer items");
        Field::new(self.offset + (index * T::BYTES) as i32)
    }

    /// All items of an array.
    pub fn items(self) -> impl DoubleEndedIterator<Item = Field<S, T>> + ExactSizeIterator {
        (0..N).map(move |index| self.item(index))
    }
}

impl<S, V> Clone for Field<S, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, V> Copy for Field<S, V> {}

impl<S, V> PartialEq for Field<S, V> {
    fn eq(&self, other: &Self) -> bool {
        self.offset == other.offset
    }
}

impl<S, V> Eq for Field<S, V> {}

impl<S, V> fmt::Debug for Field<S, V> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Field({})", self.offset)
    }
}

/// One field, as [`check_layout`] needs it.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Extent {
    /// Byte offset.
    pub offset: i32,
    /// Size in bytes.
    pub bytes: usize,
    /// Alignment in bytes.
    pub align: usize,
}

/// What [`layout!`](crate::layout) asserts at compile time. `gaps` allows bytes between fields that belong to none.
#[doc(hidden)]
pub const fn check_layout(fields: &[Extent], total: usize, gaps: bool) {
    let mut end = 0;
    let mut index = 0;
    while index < fields.len() {
        let Extent { offset, bytes, align } = fields[index];
        assert!(offset >= 0, "a field lies before the structure");
        let start = offset as usize;
        assert!(start.is_multiple_of(align), "a field is not aligned to its size");
        assert!(
            start >= end,
            "a field overlaps the one before it, or the fields are not in the order of their offsets"
        );
        assert!(gaps || start == end, "between two fields lie bytes that belong to none");
        end = start + bytes;
        index += 1;
    }
    assert!(end <= total, "the last field ends behind the structure");
    assert!(gaps || end == total, "behind the last field lie bytes that belong to none");
}

/// Declares a structure once: the offset and type of each field, the size, a drawing for the documentation, and assertions
/// at compile time that fields are aligned, lie in the order of their offsets and do not overlap, and that all bytes belong
/// to a field.
///
/// The structure becomes a type without values, and each field a constant of it, of type [`Field`](crate::asm::Field).
///
/// ```
/// use sidestep::asm::{Asm, Ptr, Reg::*};
/// use sidestep::layout;
///
/// layout! {
///     /// What we know of a connection.
///     pub struct Connection: 24 {
///         /// The socket's cookie.
///         COOKIE: u64 = 0;
///         STATE: u32 = 8;
///         FLAGS: u16 = 12;
///         REST: [u8; 2] = 14;
///         /// Ports and addresses.
///         KEY: [u32; 2] = 16;
///     }
/// }
///
/// let connection: Ptr<Connection> = Ptr::new(R7);
/// let mut a = Asm::new();
/// a.ld(R0, connection, Connection::STATE);
/// a.st(connection, Connection::FLAGS, 1);
/// a.exit();
/// let program = a.finish()?;
/// assert_eq!(program.insns()[1].off, 12);
/// assert_eq!(Connection::KEY.item(1).offset(), 20);
/// assert_eq!(Connection::SIZE, 24);
/// # Ok::<(), sidestep::asm::Error>(())
/// ```
///
/// A `view` names only some fields of a structure that someone else has laid out, so that bytes in between may belong to no
/// field:
///
/// ```
/// sidestep::layout! {
///     /// `struct sk_msg_md` of the kernel.
///     pub view Message: 80 {
///         LENGTH: u32 = 68;
///     }
/// }
/// ```
///
/// Two fields that overlap do not compile:
///
/// ```compile_fail
/// sidestep::layout! { pub struct Overlap: 8 { A: u32 = 0; B: u32 = 2; } }
/// ```
///
/// Nor does a size that is not the sum of the fields:
///
/// ```compile_fail
/// sidestep::layout! { pub struct Short: 8 { A: u32 = 0; } }
/// ```
#[macro_export]
macro_rules! layout {
    ($(#[$meta:meta])* $vis:vis struct $name:ident: $total:literal { $($fields:tt)* }) => {
        $crate::layout! { @ [$(#[$meta])*] $vis $name $total false { $($fields)* } }
    };
    ($(#[$meta:meta])* $vis:vis view $name:ident: $total:literal { $($fields:tt)* }) => {
        $crate::layout! { @ [$(#[$meta])*] $vis $name $total true { $($fields)* } }
    };
    (@ [$(#[$meta:meta])*] $vis:vis $name:ident $total:literal $gaps:literal {
        $( $(#[doc = $doc:literal])* $field:ident: $type:ty = $offset:literal; )*
    }) => {
        $(#[$meta])*
        ///
        #[doc = concat!("Offsets in bytes, of ", stringify!($total), " in all:")]
        ///
        /// | offset | field | type | meaning |
        /// |-------:|-------|------|---------|
        $(#[doc = concat!(
            "| ", stringify!($offset), " | `", stringify!($field), "` | `", stringify!($type), "` |", $($doc,)* " |"
        )])*
        #[derive(Clone, Copy, Debug)]
        $vis enum $name {}

        #[allow(dead_code, reason = "a layout names every byte, whether a program uses it or not")]
        impl $name {
            /// Size in bytes.
            $vis const SIZE: usize = $total;
            $( $(#[doc = $doc])* $vis const $field: $crate::asm::Field<Self, $type> = $crate::asm::Field::new($offset); )*
        }

        impl $crate::asm::Laid for $name {
            const BYTES: usize = $total;
            const ALIGN: usize = {
                let mut align = 1;
                $( if <$type as $crate::asm::Laid>::ALIGN > align { align = <$type as $crate::asm::Laid>::ALIGN; } )*
                align
            };
        }

        const _: () = $crate::asm::check_layout(
            &[$( $crate::asm::Extent {
                offset: $offset,
                bytes: <$type as $crate::asm::Laid>::BYTES,
                align: <$type as $crate::asm::Laid>::ALIGN,
            } ),*],
            $total,
            $gaps,
        );
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    layout! {
        /// A pair of numbers.
        struct Pair: 8 {
            FIRST: u32 = 0;
            SECOND: u32 = 4;
        }
    }

    layout! {
        /// Fields of every kind.
        struct Mixed: 40 {
            /// The byte.
            BYTE: u8 = 0;
            BYTES: [u8; 7] = 1;
            POINTER: Pointer<Pair> = 8;
            PAIR: Pair = 16;
            PAIRS: [Pair; 2] = 24;
        }
    }

    layout! {
        view Sparse: 100 {
            LATE: u16 = 98;
        }
    }

    #[test]
    fn fields_lie_where_they_are_declared() {
        assert_eq!(Mixed::BYTES.item(6).offset(), 7);
        assert_eq!(Mixed::PAIRS.item(1).then(Pair::SECOND).offset(), 36);
        assert_eq!((Mixed::POINTER.bytes(), Mixed::POINTER.end()), (8, 16));
        assert_eq!((Mixed::SIZE, Mixed::ALIGN, Pair::ALIGN), (40, 8, 4));
        assert_eq!(Sparse::LATE.end(), 100);
        let offsets: Vec<_> = Mixed::PAIRS.items().map(Field::offset).collect();
        assert_eq!(offsets, [24, 32]);
    }
}
