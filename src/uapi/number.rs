//! One declaration for each of the kernel's enumerations of types.

/// A number with the kernel's names. It is a number and not an `enum`, because a newer kernel may report others.
macro_rules! numbered {
    ($(#[$doc:meta])* $type:ident, $what:literal { $($name:ident = $number:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(pub u32);

        #[allow(missing_docs, reason = "the names are the kernel's")]
        impl $type {
            $(pub const $name: Self = Self($number);)*
        }

        impl $type {
            /// Every type that has a name here, with that name.
            const NAMES: &[(Self, &str)] = &[$((Self::$name, $text),)*];

            /// All that have a name here, in the order of their numbers.
            pub fn all() -> impl Iterator<Item = Self> {
                Self::NAMES.iter().map(|(known, _)| *known)
            }

            /// The kernel's number.
            pub const fn number(self) -> u32 {
                self.0
            }

            /// The name that bpftool and libbpf use, when it has one here.
            pub fn name(self) -> Option<&'static str> {
                Self::NAMES.iter().find(|(known, _)| *known == self).map(|(_, name)| *name)
            }

            /// The one with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::NAMES.iter().find(|(_, known)| *known == name).map(|(known, _)| *known)
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => out.write_str(name),
                    None => write!(out, concat!($what, " type {}"), self.0),
                }
            }
        }
    };
}

pub(super) use numbered;
