//! Reading gzip, the form of /proc/config.gz.

use std::io::Read;

use flate2::read::GzDecoder;

/// Most bytes of the result. A configuration has some hundred kilobytes.
const MAX_OUTPUT: u64 = 16 << 20;

/// The bytes that were compressed; `None` where the file is damaged, or they are too many.
pub(super) fn decompress(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    GzDecoder::new(bytes).take(MAX_OUTPUT + 1).read_to_end(&mut out).ok()?;
    (out.len() as u64 <= MAX_OUTPUT).then_some(out)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// `printf 'hello hello hello hello\n' | gzip -n9`.
    const FIXED: &[u8] =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x27\xb9\x00\x00\x88\x59\x0b\x18\x00\x00\x00";

    #[test]
    fn what_gzip_writes_is_read_whole_or_not_at_all() {
        assert_eq!(decompress(FIXED).as_deref(), Some(b"hello hello hello hello\n".as_slice()));
        for len in 0..FIXED.len() {
            assert_eq!(decompress(&FIXED[..len]), None, "cut to {len} bytes");
        }
    }

    #[test]
    fn a_small_file_does_not_become_a_huge_text() {
        let mut file = GzEncoder::new(Vec::new(), Compression::best());
        file.write_all(&vec![0; MAX_OUTPUT as usize + 1]).unwrap();
        assert_eq!(decompress(&file.finish().unwrap()), None);
    }
}
