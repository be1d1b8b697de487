//! Format strings that programs give to helpers (`bpf_bprintf_prepare`).

/// What is written for one conversion and ends it: nothing more, white space or punctuation.
fn ends(byte: Option<u8>) -> bool {
    byte.is_none_or(|byte| byte == 0 || is_space(byte) || byte.is_ascii_punctuation())
}

/// The kernel's `isspace`: also vertical tabs, and the non-breaking space of Latin-1.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 9..=13 | 0xa0)
}

/// Whether `format`, without its end, is a format that `values` 64-bit values suffice for. There may be more values.
pub(in crate::verifier_sim) fn is_valid(format: &[u8], values: u64) -> bool {
    let at = |index: usize| format.get(index).copied();
    let mut index = 0;
    let mut used = 0;
    while let Some(byte) = at(index) {
        let plain = is_space(byte) || (0x20..0x7f).contains(&byte);
        if byte.is_ascii() && !plain {
            return false;
        }
        index += 1;
        if byte != b'%' {
            continue;
        }
        if at(index) == Some(b'%') {
            index += 1;
            continue;
        }
        if used >= values {
            return false;
        }
        used += 1;
        while matches!(at(index), Some(b'0' | b'+' | b'-' | b' ')) {
            index += 1;
        }
        while at(index).is_some_and(|byte| byte.is_ascii_digit()) {
            index += 1;
        }
        let Some(end) = conversion(format.get(index..).unwrap_or(&[])) else { return false };
        index += end;
    }
    true
}

/// Bytes of the conversion that begins `rest`, after its width; `None` if there is no such conversion.
fn conversion(rest: &[u8]) -> Option<usize> {
    let at = |index: usize| rest.get(index).copied();
    match at(0)? {
        b'p' if ends(at(1)) => Some(1),
        b'p' => match (at(1)?, at(2)) {
            (b'k' | b'u', Some(b's')) => ends(at(3)).then_some(3),
            (b'K' | b'x' | b's' | b'S' | b'B', _) => Some(2),
            (b'i' | b'I', Some(b'4' | b'6')) => Some(3),
            _ => None,
        },
        b's' => ends(at(1)).then_some(1),
        b'c' => Some(1),
        _ => {
            let longs = rest.iter().take(2).take_while(|byte| **byte == b'l').count();
            matches!(at(longs)?, b'i' | b'd' | b'u' | b'x' | b'X').then_some(longs + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn conversions_are_those_that_programs_may_use() {
        for text in [
            "",
            "text\n",
            "100%%",
            "%d",
            "%i %u %x %X",
            "%ld %lld",
            "%08llx",
            "%-5d",
            "%s",
            "%s,%s",
            "%p",
            "%p.",
            "%px",
            "%pK%pS%ps%pB",
            "%pks %pus",
            "%pi4%pI6",
            "%c%c",
            "%pIzz",
        ] {
            let valid = is_valid(text.as_bytes(), 9);
            assert_eq!(valid, text != "%pIzz", "{text}");
        }
        for bad in ["%", "%f", "%sx", "%pz", "%pk", "%llld", "%h", "\u{1}", "%5", "%ppp"] {
            assert!(!is_valid(bad.as_bytes(), 9), "{bad}");
        }
    }

    #[test]
    fn every_conversion_needs_a_value() {
        assert!(is_valid(b"%d%d", 2));
        assert!(!is_valid(b"%d%d", 1));
        assert!(is_valid(b"%%%%", 0));
    }
}
