//! Files that a user names, read up to a bound: a device such as /dev/zero has no end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Most bytes that are read of a file. The largest program that a kernel takes has 8 MB, debug information comes beside
/// it, and the BTF of a whole kernel has 4 to 8 MB.
const MAX_FILE: u64 = 64 << 20;

/// The contents of `file`; an error when it is larger than 64 MiB.
pub(super) fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    File::open(file)?.take(MAX_FILE + 1).read_to_end(&mut data)?;
    if data.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("it has more than {MAX_FILE} bytes; give a BPF object or BTF")));
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_end_is_refused() {
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert!(error.to_string().contains("more than 67108864 bytes"), "{error}");
        assert!(read(Path::new("/dev/null")).unwrap().is_empty());
    }
}
