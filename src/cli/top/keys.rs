//! What a key means.

/// What the user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    NextSort,
    Reverse,
    /// This many rows down; up when it is negative.
    Scroll(i32),
}

/// The rows of a page.
const PAGE: i32 = 20;

/// The keys in what has been read. A terminal sends the bytes of one key together; what is not known is skipped.
pub(super) fn keys(mut bytes: &[u8]) -> Vec<Key> {
    // ECMA-48 and xterm's sequences for cursor and paging keys; 3 and 4 are Ctrl-C and Ctrl-D.
    const KNOWN: [(&[u8], Key); 14] = [
        (b"q", Key::Quit),
        (b"\x03", Key::Quit),
        (b"\x04", Key::Quit),
        (b"s", Key::NextSort),
        (b"r", Key::Reverse),
        (b"\x1b[A", Key::Scroll(-1)),
        (b"\x1bOA", Key::Scroll(-1)),
        (b"k", Key::Scroll(-1)),
        (b"\x1b[B", Key::Scroll(1)),
        (b"\x1bOB", Key::Scroll(1)),
        (b"j", Key::Scroll(1)),
        (b"\x1b[5~", Key::Scroll(-PAGE)),
        (b"\x1b[6~", Key::Scroll(PAGE)),
        (b" ", Key::Scroll(PAGE)),
    ];
    let mut found = Vec::new();
    while !bytes.is_empty() {
        match KNOWN.iter().find(|(code, _)| bytes.starts_with(code)) {
            Some((code, key)) => {
                found.push(*key);
                bytes = &bytes[code.len()..];
            }
            None => bytes = &bytes[1..],
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        assert_eq!(keys(b"s\x1b[B\x1b[6~xq"), [Key::NextSort, Key::Scroll(1), Key::Scroll(PAGE), Key::Quit]);
        assert_eq!(keys(b""), []);
        assert_eq!(keys(b"\x1b["), []);
    }
}
