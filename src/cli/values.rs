//! Parsers of the values that flags take. An error says what would be right; the flag's name goes before it.

use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};

/// Most that a process ID can be (`PID_MAX_LIMIT`, include/linux/threads.h).
pub(super) const MAX_PID: u64 = 4 << 20;

/// A whole number from `LEAST` to `MOST`.
pub(super) fn number<T, const LEAST: u64, const MOST: u64>(text: &str) -> Result<T, String>
where
    T: TryFrom<u64>,
{
    let number = text.parse().ok().filter(|number| (LEAST..=MOST).contains(number));
    let number = number.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| format!("{text:?} is not a number from {LEAST} to {MOST}"))
}

/// An IP address with a port.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an IP address with a port, such as 127.0.0.1:9847 or [::1]:9847"))
}

/// Most seconds that a command waits: a year.
const LONGEST_WAIT: u64 = 365 * 24 * 60 * 60;

/// Seconds to wait.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    number::<u64, 0, LONGEST_WAIT>(text)
}

/// One of a few words, each with what it stands for.
pub(super) fn one_of<T, const N: usize>(choices: [(&'static str, T); N]) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(choices.map(|(name, _)| name)).try_map(move |text| {
        let found = choices.iter().find(|(name, _)| *name == text);
        found.map(|(_, choice)| *choice).ok_or_else(|| format!("{text:?} is not one of the choices"))
    })
}

/// A comma-separated value, and its text.
#[derive(Clone, Debug)]
pub(super) struct List<T> {
    pub(super) text: String,
    pub(super) entries: Vec<T>,
}

impl<T: FromStr<Err: Display>> FromStr for List<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(|part| part.parse::<T>().map_err(|error| error.to_string()));
        Ok(Self { text: text.to_owned(), entries: entries.collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(number::<u16, 1, 1000>("1000"), Ok(1000));
        for text in ["0", "1001", "-1", "", "1.5", "99999999999999999999"] {
            assert_eq!(number::<u16, 1, 1000>(text), Err(format!("{text:?} is not a number from 1 to 1000")));
        }
    }

    #[test]
    fn a_list_is_refused_for_its_first_bad_entry() {
        assert_eq!("1,2".parse::<List<u8>>().unwrap().entries, [1, 2]);
        assert!("1,256".parse::<List<u8>>().is_err());
        assert!("".parse::<List<u8>>().is_err());
    }
}
