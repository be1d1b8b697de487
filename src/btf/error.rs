//! What reading BTF can fail with.

/// BTF that cannot be read, or that does not have what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not BTF.
    #[error("the type information (BTF) is malformed: {0}")]
    Malformed(String),
    /// There is no structure with this name.
    #[error("the type information (BTF) has no `struct {0}`")]
    NoStruct(String),
    /// The structure has no such field.
    #[error("the type information (BTF) has no field `{path}` in `struct {name}`")]
    NoField {
        /// The structure.
        name: String,
        /// The field.
        path: String,
    },
    /// A bit field has no offset in bytes.
    #[error("`{path}` of `struct {name}` is a bit field and has no byte offset")]
    BitField {
        /// The structure.
        name: String,
        /// The field.
        path: String,
    },
}

impl Error {
    pub(super) fn malformed(why: impl Into<String>) -> Self {
        Self::Malformed(why.into())
    }
}
