//! Reading gzip (RFC 1952), the form of /proc/config.gz: a kernel's configuration is the only such file that is read, so a few lines
//! serve better than a library.

/// Most bytes of the result. A configuration has some hundred kilobytes.
const MAX_OUTPUT: usize = 16 << 20;

/// The header's first bytes: the magic number, and the method "deflate".
const START: [u8; 3] = [0x1f, 0x8b, 8];
/// Flags of the header: a checksum, extra fields, a name and a comment follow.
const HEADER_CHECKSUM: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;

/// Bits of the longest code (RFC 1951, section 3.2.7).
const MAX_BITS: usize = 15;

/// The base and the extra bits of the lengths from symbol 257 (RFC 1951, section 3.2.5).
const LENGTHS: [(u16, u8); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];
/// Distances, of which there are 30: each pair doubles the step. Base and extra bits of one.
fn distance(symbol: usize) -> Option<(usize, u8)> {
    match symbol {
        0..4 => Some((symbol + 1, 0)),
        4..30 => {
            let extra = symbol / 2 - 1;
            Some((((2 + symbol % 2) << extra) + 1, extra as u8))
        }
        _ => None,
    }
}
/// The order in which lengths of the code of lengths stand (RFC 1951, section 3.2.7).
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// What the compressed bytes stand for; `None` if they are damaged or stand for too much.
pub(super) fn decompress(bytes: &[u8]) -> Option<Vec<u8>> {
    let (header, mut rest) = bytes.split_at_checked(10)?;
    let flags = header[3];
    if !header.starts_with(&START) {
        return None;
    }
    if flags & EXTRA != 0 {
        let (len, behind) = rest.split_first_chunk()?;
        rest = behind.get(u16::from_le_bytes(*len).into()..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & HEADER_CHECKSUM != 0 {
        rest = rest.get(2..)?;
    }
    let mut input = Input { bytes: rest, at: 0 };
    let mut out = Vec::new();
    while !block(&mut input, &mut out)? {}
    // The last four bytes are the length of the result.
    let end = input.at.div_ceil(8) + 4;
    let length = rest.get(end..)?.first_chunk()?;
    (u32::from_le_bytes(*length) as usize == out.len()).then_some(out)
}

/// Bits, from the lowest of each byte.
struct Input<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl Input<'_> {
    fn bits(&mut self, count: u8) -> Option<usize> {
        let mut number = 0;
        for bit in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            number |= usize::from(byte >> (self.at % 8) & 1) << bit;
            self.at += 1;
        }
        Some(number)
    }
}

/// A code: how many symbols have each length, and the symbols in order.
struct Code {
    counts: [u16; MAX_BITS + 1],
    symbols: Vec<u16>,
}

impl Code {
    fn new(lengths: &[u8]) -> Self {
        let mut counts = [0; MAX_BITS + 1];
        for length in lengths {
            counts[usize::from(*length)] += 1;
        }
        counts[0] = 0;
        let mut symbols: Vec<u16> =
            (0..lengths.len() as u16).filter(|symbol| lengths[usize::from(*symbol)] > 0).collect();
        symbols.sort_by_key(|symbol| lengths[usize::from(*symbol)]);
        Self { counts, symbols }
    }

    fn next(&self, input: &mut Input<'_>) -> Option<usize> {
        let (mut code, mut first, mut index) = (0_usize, 0_usize, 0_usize);
        for count in &self.counts[1..] {
            code |= input.bits(1)?;
            let count = usize::from(*count);
            if code < first + count {
                return self.symbols.get(index + code.checked_sub(first)?).map(|symbol| usize::from(*symbol));
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }
}

/// One block; whether it is the last.
fn block(input: &mut Input<'_>, out: &mut Vec<u8>) -> Option<bool> {
    let last = input.bits(1)? == 1;
    match input.bits(2)? {
        0 => stored(input, out)?,
        1 => {
            // The fixed code (RFC 1951, section 3.2.6).
            let lengths: Vec<u8> =
                [(8, 144), (9, 112), (7, 24), (8, 8)].iter().flat_map(|&(len, count)| vec![len; count]).collect();
            compressed(input, out, &Code::new(&lengths), &Code::new(&[5; 30]))?;
        }
        2 => {
            let (literals, distances) = codes(input)?;
            compressed(input, out, &literals, &distances)?;
        }
        _ => return None,
    }
    Some(last)
}

fn stored(input: &mut Input<'_>, out: &mut Vec<u8>) -> Option<()> {
    let at = input.at.div_ceil(8);
    let (len, behind) = input.bytes.get(at..)?.split_first_chunk()?;
    let len = usize::from(u16::from_le_bytes(*len));
    // Behind the length is its complement.
    out.extend(behind.get(2..2 + len)?);
    input.at = (at + 4 + len) * 8;
    (out.len() <= MAX_OUTPUT).then_some(())
}

fn codes(input: &mut Input<'_>) -> Option<(Code, Code)> {
    let (literals, distances, count) = (input.bits(5)? + 257, input.bits(5)? + 1, input.bits(4)? + 4);
    let mut lengths = [0; ORDER.len()];
    for &symbol in &ORDER[..count] {
        lengths[symbol] = input.bits(3)? as u8;
    }
    let code = Code::new(&lengths);
    let mut lengths = Vec::new();
    while lengths.len() < literals + distances {
        match code.next(input)? {
            length @ 0..16 => lengths.push(length as u8),
            16 => {
                let length = *lengths.last()?;
                let again = 3 + input.bits(2)?;
                lengths.extend(vec![length; again]);
            }
            17 => lengths.extend(vec![0; 3 + input.bits(3)?]),
            _ => lengths.extend(vec![0; 11 + input.bits(7)?]),
        }
    }
    let (literals, distances) = lengths.get(..literals + distances)?.split_at(literals);
    Some((Code::new(literals), Code::new(distances)))
}

fn compressed(input: &mut Input<'_>, out: &mut Vec<u8>, literals: &Code, distances: &Code) -> Option<()> {
    loop {
        match literals.next(input)? {
            literal @ 0..256 => out.push(literal as u8),
            256 => return Some(()),
            symbol => {
                let (base, extra) = *LENGTHS.get(symbol - 257)?;
                let length = usize::from(base) + input.bits(extra)?;
                let (base, extra) = distance(distances.next(input)?)?;
                let from = out.len().checked_sub(base + input.bits(extra)?)?;
                for at in from..from + length {
                    out.push(out[at]);
                }
            }
        }
        if out.len() > MAX_OUTPUT {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// `printf 'hello hello hello hello\\n' | gzip -n9`: the fixed code, with a repetition.
    const FIXED: &[u8] =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x27\xb9\x00\x00\x88\x59\x0b\x18\x00\x00\x00";

    fn gzip(bytes: &[u8], level: &str) -> Vec<u8> {
        let mut child = Command::new("gzip").arg(level).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let bytes = bytes.to_vec();
        let writer = std::thread::spawn(move || input.write_all(&bytes).unwrap());
        let out = child.wait_with_output().unwrap().stdout;
        writer.join().unwrap();
        out
    }

    #[test]
    fn what_gzip_writes_is_read() {
        assert_eq!(decompress(FIXED).as_deref(), Some(b"hello hello hello hello\n".as_slice()));
        let text: String = (0..20_000).map(|number| format!("CONFIG_{:x}={}\n", number * 7919, number % 13)).collect();
        // Bytes without any pattern are stored.
        let noise: Vec<u8> = (0..70_000_u32).map(|number| (number.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
        for bytes in [b"".as_slice(), b"a", text.as_bytes(), &noise] {
            for level in ["-1", "-9"] {
                assert!(decompress(&gzip(bytes, level)).as_deref() == Some(bytes), "{} bytes, {level}", bytes.len());
            }
        }
    }

    #[test]
    fn damage_is_noticed_or_changes_the_text_but_ends() {
        for len in 0..FIXED.len() {
            assert_eq!(decompress(&FIXED[..len]), None, "cut to {len} bytes");
        }
        for bit in 0..FIXED.len() * 8 {
            let mut bytes = FIXED.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = decompress(&bytes);
        }
        // Zeros repeat themselves to more than is read.
        assert_eq!(decompress(&gzip(&vec![0; MAX_OUTPUT + 1], "-9")), None);
    }
}
