//! Why a relocation cannot be applied.

use std::borrow::Cow;

/// What is wrong with a relocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Only the kernel's types can say what the value is.
    NeedsTypes,
    /// The loader refuses it, in words.
    Refused(Cow<'static, str>),
}

impl Fault {
    pub(super) fn refused(why: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused(why.into())
    }
}
