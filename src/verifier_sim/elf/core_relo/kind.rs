//! What a relocation asks of a type, a field or a value.

/// `enum bpf_core_relo_kind` of include/uapi/linux/bpf.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    FieldByteOffset,
    FieldByteSize,
    FieldExists,
    FieldSigned,
    /// How far a bit field that was loaded into 64 bits is shifted left, so that its highest bit is the register's.
    FieldLshiftU64,
    /// How far it is then shifted right.
    FieldRshiftU64,
    /// The ID of a type in the object's own BTF.
    TypeIdLocal,
    /// Its ID in the kernel's.
    TypeIdTarget,
    TypeExists,
    TypeSize,
    EnumvalExists,
    EnumvalValue,
    /// Whether the kernel's type has everything that the object's has.
    TypeMatches,
}

/// What the access string of a relocation leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Field,
    Type,
    Value,
}

impl Kind {
    /// In the order of the kernel's numbers, with the kernel's names.
    const ALL: [(Self, &str); 13] = [
        (Self::FieldByteOffset, "field_byte_offset"),
        (Self::FieldByteSize, "field_byte_size"),
        (Self::FieldExists, "field_exists"),
        (Self::FieldSigned, "field_signed"),
        (Self::FieldLshiftU64, "field_lshift_u64"),
        (Self::FieldRshiftU64, "field_rshift_u64"),
        (Self::TypeIdLocal, "type_id_local"),
        (Self::TypeIdTarget, "type_id_target"),
        (Self::TypeExists, "type_exists"),
        (Self::TypeSize, "type_size"),
        (Self::EnumvalExists, "enumval_exists"),
        (Self::EnumvalValue, "enumval_value"),
        (Self::TypeMatches, "type_matches"),
    ];

    /// The kind with the kernel's number.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        Some(Self::ALL.get(number as usize)?.0)
    }

    /// The kernel's name.
    pub(super) fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// What it asks about.
    pub(super) fn subject(self) -> Subject {
        match self {
            Self::FieldByteOffset
            | Self::FieldByteSize
            | Self::FieldExists
            | Self::FieldSigned
            | Self::FieldLshiftU64
            | Self::FieldRshiftU64 => Subject::Field,
            Self::TypeIdLocal | Self::TypeIdTarget | Self::TypeExists | Self::TypeSize | Self::TypeMatches => {
                Subject::Type
            }
            Self::EnumvalExists | Self::EnumvalValue => Subject::Value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        for (number, (kind, name)) in Kind::ALL.into_iter().enumerate() {
            assert_eq!((kind as usize, kind.name()), (number, name));
            assert_eq!(Kind::from_number(number as u32), Some(kind));
        }
        assert_eq!(Kind::TypeMatches as u32, 12);
        assert_eq!(Kind::from_number(13), None);
    }
}
