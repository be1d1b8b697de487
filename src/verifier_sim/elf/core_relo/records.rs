//! The relocations as `.BTF.ext` lists them (Documentation/bpf/btf.rst, "4.2 .BTF.ext section").
//!
//! ```text
//! header      magic u16 | version u8 | flags u8 | hdr_len u32 | offset and length of func_info, line_info, core_relo
//! core_relo   size of a record u32 | for each section of code: its name u32 | number of records u32 | the records
//! record      insn_off u32, in bytes | type_id u32 | access_str_off u32 | kind u32
//! ```

use byteorder::{ByteOrder, NativeEndian};

/// `BTF_MAGIC` of include/uapi/linux/btf.h, and behind it `BTF_VERSION` and no flags.
const MAGIC: [u8; 2] = 0xeb9f_u16.to_ne_bytes();
const VERSION_AND_FLAGS: [u8; 2] = [1, 0];
/// Bytes of the header without and with the place of the relocations.
const SHORT_HEADER: usize = 24;
const HEADER: usize = 32;
/// Bytes of `struct bpf_core_relo` (include/uapi/linux/bpf.h); later kernels may add some.
const RECORD: usize = 16;

/// One relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Where the name of the section is among the strings.
    pub(super) section: u32,
    /// Where the instruction begins in it, in bytes.
    pub(super) offset: u32,
    /// The type in the object's BTF.
    pub(super) type_id: u32,
    /// Where the access string is among the strings.
    pub(super) access: u32,
    /// The number of its kind.
    pub(super) kind: u32,
}

/// Reads the relocations in the contents of `.BTF.ext`.
pub(super) fn read(ext: &[u8]) -> Result<Vec<Record>, &'static str> {
    let header_len = word(ext, 4).filter(|len| *len >= SHORT_HEADER && *len <= ext.len());
    let header_len = header_len.ok_or("it is shorter than its header")?;
    if ext[..2] != MAGIC || ext[2..4] != VERSION_AND_FLAGS {
        return Err("it does not begin with the magic number 0xeb9f, version 1 and no flags");
    }
    if header_len < HEADER {
        return Ok(Vec::new());
    }
    let (Some(offset), Some(len)) = (word(ext, 24), word(ext, 28)) else { return Ok(Vec::new()) };
    if len == 0 {
        return Ok(Vec::new());
    }
    let from = header_len.checked_add(offset).filter(|_| offset % 4 == 0);
    let part = from.and_then(|from| ext.get(from..from.checked_add(len)?));
    sections(part.ok_or("its relocations lie outside of it, or not at a multiple of 4 bytes")?)
}

fn sections(part: &[u8]) -> Result<Vec<Record>, &'static str> {
    let cut = "its relocations are cut off";
    let record_size = word(part, 0).filter(|size| *size >= RECORD && size % 4 == 0);
    let record_size = record_size.ok_or("its relocations have records of a wrong size")?;
    let mut rest = &part[4..];
    if rest.is_empty() {
        return Err(cut);
    }
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (Some(section), Some(count)) = (word(rest, 0), word(rest, 4)) else { return Err(cut) };
        let size = count.checked_mul(record_size).filter(|size| *size > 0);
        let all = size.and_then(|size| rest[8..].split_at_checked(size));
        let Some((all, behind)) = all else { return Err(cut) };
        records.extend(all.chunks_exact(record_size).map(|record| {
            let [offset, type_id, access, kind] = [0, 4, 8, 12].map(|at| NativeEndian::read_u32(&record[at..at + 4]));
            Record { section: section as u32, offset, type_id, access, kind }
        }));
        rest = behind;
    }
    Ok(records)
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    Some(NativeEndian::read_u32(bytes.get(at..at + 4)?) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A section with two records and one with one, each with four more bytes than are known.
    fn sample() -> Vec<u8> {
        let mut words = vec![20, 7, 2];
        words.extend([8, 1, 2, 3, 99, 16, 4, 5, 6, 99]);
        words.extend([9, 1, 24, 10, 11, 12, 99]);
        let mut bytes = [0xeb9f_u16.to_ne_bytes(), [1, 0]].concat();
        for word in [32, 0, 0, 0, 0, 0, words.len() as u32 * 4].into_iter().chain(words) {
            bytes.extend(u32::to_ne_bytes(word));
        }
        bytes
    }

    #[test]
    fn records_of_all_sections_are_read() {
        let records = read(&sample()).unwrap();
        let record = |section, offset, type_id, access, kind| Record { section, offset, type_id, access, kind };
        assert_eq!(records, [record(7, 8, 1, 2, 3), record(7, 16, 4, 5, 6), record(9, 24, 10, 11, 12)]);
    }

    #[test]
    fn what_has_no_relocations_has_none() {
        let mut short = sample();
        short[4..8].copy_from_slice(&u32::to_ne_bytes(24));
        assert_eq!(read(&short).unwrap(), []);
        let mut none = sample();
        none[28..32].fill(0);
        assert_eq!(read(&none).unwrap(), []);
    }

    #[test]
    fn any_cut_is_an_error_and_any_flipped_bit_ends() {
        let sample = sample();
        for len in 0..sample.len() {
            assert!(read(&sample[..len]).is_err(), "cut to {len} bytes");
        }
        for at in 0..sample.len() * 8 {
            let mut bytes = sample.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            let records = read(&bytes).unwrap_or_default();
            assert!(records.len() <= bytes.len() / RECORD, "bit {at}");
        }
        for (at, word) in [(32, 12), (32, 18), (24, 2), (28, 4), (28, 1 << 31), (40, 0), (40, u32::MAX)] {
            let mut bytes = sample.clone();
            bytes[at..at + 4].copy_from_slice(&u32::to_ne_bytes(word));
            assert!(read(&bytes).is_err(), "{word} at {at}");
        }
    }
}
