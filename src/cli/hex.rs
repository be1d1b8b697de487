//! Bytes as hexadecimal digits, the form programs and memory take on the command line.

/// Why a text is not a sequence of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HexError {
    /// A character that is neither a digit nor white space.
    #[error("character {1:?} at position {0} is not a hexadecimal digit")]
    Digit(usize, char),
    /// An odd number of digits in a row.
    #[error("the digits at position {0} do not make a whole byte; write two for each byte")]
    Half(usize),
}

/// Reads bytes of two digits each, with any white space between them. Positions count characters from 0.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, HexError> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut high: Option<u8> = None;
    let mut last = 0;
    for (position, character) in text.chars().enumerate() {
        if character.is_whitespace() {
            if high.is_some() {
                return Err(HexError::Half(last));
            }
            continue;
        }
        let digit = character.to_digit(16).ok_or(HexError::Digit(position, character))? as u8;
        match high.take() {
            None => {
                high = Some(digit);
                last = position;
            }
            Some(high) => bytes.push(high << 4 | digit),
        }
    }
    if high.is_some() { Err(HexError::Half(last)) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_may_stand_between_bytes_only() {
        assert_eq!(decode("b7 00\n00\t00 2A000000 "), Ok(vec![0xb7, 0, 0, 0, 0x2a, 0, 0, 0]));
        assert_eq!(decode(" \n"), Ok(vec![]));
        assert_eq!(decode("b7 0 0"), Err(HexError::Half(3)));
        assert_eq!(decode("b7 0"), Err(HexError::Half(3)));
        assert_eq!(decode("0x12"), Err(HexError::Digit(1, 'x')));
        assert_eq!(decode("\u{e9}\u{e9}"), Err(HexError::Digit(0, '\u{e9}')));
    }
}
