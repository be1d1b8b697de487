//! What an instance says of itself to a later binary: lines of text in a pinned array.

use std::path::PathBuf;

use crate::agent::error::{Context, Error, Result};
use crate::syscall::{Map, MapSpec, UpdateFlags};
use crate::uapi::MapType;

/// Bytes of the array's one value: a path (`PATH_MAX` is 4096) and as much again for flags.
const SIZE: u32 = 8192;

/// Which data plane a generation is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The version that made it.
    pub version: String,
    /// [`crate::dataplane::DataPlane::layout`]: who has the same may take the maps over.
    pub layout: u64,
    /// [`crate::dataplane::DataPlane::fingerprint`]: who has the same has nothing to replace.
    pub programs: u64,
    /// Where its cgroup was.
    pub cgroup: PathBuf,
    /// The numbers of the cgroups that have opted out, in order.
    pub opted_out: Vec<u64>,
    /// The numbers of the cgroups whose readers are trusted by name, in order.
    pub trusted: Vec<u64>,
    /// The flags it was asked for with, one a line; their meaning is the command line's.
    pub flags: Vec<String>,
}

impl Record {
    /// A map that holds it.
    pub(super) fn write(&self) -> Result<Map> {
        let mut text = format!(
            "version {}\nlayout {:x}\nprograms {:x}\ncgroup {}\n",
            self.version,
            self.layout,
            self.programs,
            self.cgroup.display()
        );
        for cgroup in &self.opted_out {
            text += &format!("opted_out {cgroup}\n");
        }
        for cgroup in &self.trusted {
            text += &format!("trusted {cgroup}\n");
        }
        for flag in &self.flags {
            text += &format!("flag {flag}\n");
        }
        let mut value = text.into_bytes();
        if value.len() > SIZE as usize {
            return Err(Error::Conflict {
                what: format!("the flags and the path of the cgroup take more than the record's {SIZE} bytes"),
                remedy: "give fewer of them",
            });
        }
        value.resize(SIZE as usize, 0);
        let map = Map::create(&MapSpec::new("sidestep_record", MapType::ARRAY, 4, SIZE, 1))?;
        map.update(&[0; 4], &value, UpdateFlags::empty()).context("write the record")?;
        Ok(map)
    }

    pub(super) fn read(map: &Map) -> Result<Self> {
        Ok(Self::parse(&map.lookup(&[0; 4]).context("read the record")?.unwrap_or_default()))
    }

    /// Lines of a later version that mean nothing here are passed over.
    fn parse(value: &[u8]) -> Self {
        let mut record = Self::default();
        let text = String::from_utf8_lossy(value);
        for line in text.trim_end_matches('\0').lines() {
            let number = |text| u64::from_str_radix(text, 16).unwrap_or(0);
            match line.split_once(' ') {
                Some(("version", text)) => record.version = text.into(),
                Some(("layout", text)) => record.layout = number(text),
                Some(("programs", text)) => record.programs = number(text),
                Some(("cgroup", text)) => record.cgroup = text.into(),
                Some(("opted_out", text)) => record.opted_out.extend(text.parse::<u64>()),
                Some(("trusted", text)) => record.trusted.extend(text.parse::<u64>()),
                Some(("flag", text)) => record.flags.push(text.into()),
                _ => {}
            }
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_knows_and_passes_over_the_rest() {
        let text = b"version 0.1.0\nlayout ff\nfuture x y\nprograms 10\ncgroup /a b\nopted_out 7\ntrusted 8\nflag --tier=auto\nflag x\n\0\0";
        let record = Record::parse(text);
        let expected = Record {
            version: "0.1.0".into(),
            layout: 255,
            programs: 16,
            cgroup: "/a b".into(),
            opted_out: vec![7],
            trusted: vec![8],
            flags: vec!["--tier=auto".into(), "x".into()],
        };
        assert_eq!(record, expected);
        assert_eq!(Record::parse(&[0xff, 0xfe, 0]), Record::default());
    }
}
