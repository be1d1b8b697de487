//! How the context of a program becomes a structure with typed fields.

use crate::uapi::ctx;

/// Whether the ABI has a field of this size at this place, and so whether a type fits it.
pub(crate) const fn is_field(fields: &[ctx::Field], offset: i16, bytes: usize) -> bool {
    let mut index = 0;
    while index < fields.len() {
        if fields[index].offset == offset as u32 {
            return fields[index].size as usize == bytes;
        }
        index += 1;
    }
    false
}

/// Gives fields of a context their types, which must have the sizes that the ABI says.
macro_rules! context {
    ($(#[$doc:meta])* $vis:vis $name:ident, $abi:ident: $($field:ident: $type:ty;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        $vis enum $name {}

        #[allow(dead_code, reason = "only the benchmark uses some of them")]
        impl $name {
            $($vis const $field: $crate::asm::Field<Self, $type> = $crate::asm::Field::new($abi::$field as i32);)*
        }

        const _: () = {
            $(assert!(
                $crate::dataplane::context::is_field($abi::FIELDS, $abi::$field, <$type as $crate::asm::Laid>::BYTES),
                "the field has another size"
            );)*
        };
    };
}

pub(crate) use context;
