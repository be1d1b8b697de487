//! Variables in which the loader, libbpf, says how the kernel was configured (`extern ... __kconfig`), and their map.

mod config;
mod value;

pub use config::KernelConfig;

use std::collections::BTreeSet;

use self::value::Type;
use super::error::ElfError;
use crate::btf::{Btf, Kind};
use crate::verifier_sim::spec::{MapSpec, MapType};

/// The section of BTF that lists the variables, and the name of their map.
pub(super) const SECTION: &str = ".kconfig";

/// `BPF_F_RDONLY_PROG` (include/uapi/linux/bpf.h).
const RDONLY_PROG: u32 = 1 << 7;

/// Bytes of the largest map that is made of them. All options of a kernel together have some hundred kilobytes.
const MAX_SIZE: u32 = 1 << 22;

/// The first kernel that programs can ask for the cookie of their attachment (`bpf_get_attach_cookie`).
const COOKIES_SINCE: [u8; 3] = [5, 15, 0];

/// One variable.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Variable {
    name: String,
    of: Type,
    size: u32,
    align: u32,
    offset: u32,
}

/// The variables of an object, where they lie in their map.
#[derive(Debug, Default)]
pub(super) struct Kconfig {
    variables: Vec<Variable>,
    size: u32,
}

impl Kconfig {
    /// Lists the variables, and gives each its place, as libbpf does. Anything else is left out.
    pub(super) fn new(btf: &Btf) -> Self {
        let section = btf.by_name(Kind::Datasec, SECTION).and_then(|section| btf.head(section));
        let variables = section.into_iter().flat_map(|section| btf.variables(section));
        let mut variables: Vec<Variable> = variables.filter_map(|id| variable(btf, id)).collect();
        variables.sort_by(|a, b| {
            let key = |variable: &Variable| (u32::MAX - variable.align, variable.size);
            (key(a), &a.name).cmp(&(key(b), &b.name))
        });
        let mut size = 0_u32;
        for variable in &mut variables {
            variable.offset = size.next_multiple_of(variable.align);
            size = variable.offset.saturating_add(variable.size).min(MAX_SIZE + 1);
        }
        Self { variables, size }
    }

    /// Where the variable lies, if there is such a one.
    pub(super) fn place(&self, name: &str) -> Option<u32> {
        Some(self.variables.iter().find(|variable| variable.name == name)?.offset)
    }

    /// The map with the values of this kernel. A weak variable may have none, and is 0 then.
    pub(super) fn map(&self, config: &KernelConfig, weak: &BTreeSet<&[u8]>) -> Result<MapSpec, ElfError> {
        let wrong = |variable: &Variable, why: &'static str| ElfError::Kconfig { name: variable.name.clone(), why };
        let mut data = vec![0; self.size as usize];
        for variable in &self.variables {
            let place = variable.offset as usize..(variable.offset + variable.size) as usize;
            let bytes = data.get_mut(place).ok_or_else(|| wrong(variable, "it is too large"))?;
            let virtual_value = self::virtual_value(config, &variable.name);
            let set = match (config.value(&variable.name), virtual_value) {
                (Some(text), _) => value::put(variable.of, bytes, text),
                (None, Some(number)) => value::put_number(variable.of, bytes, number),
                (None, None) if weak.contains(variable.name.as_bytes()) => Ok(()),
                (None, None) => Err("the kernel's configuration does not have it, and it is not weak"),
            };
            set.map_err(|why| wrong(variable, why))?;
        }
        Ok(MapSpec {
            name: SECTION.into(),
            map_type: MapType::ARRAY,
            key_size: 4,
            value_size: self.size,
            max_entries: 1,
            map_flags: RDONLY_PROG,
            typed: true,
            data: Some(data),
            frozen: true,
            ..MapSpec::default()
        })
    }
}

fn variable(btf: &Btf, id: u32) -> Option<Variable> {
    let name = String::from_utf8(btf.short_name(id)?.to_vec()).ok()?;
    let type_id = btf.head(id)?.size_or_type;
    let of = Type::of(btf, type_id)?;
    let size = btf.size_of(type_id).filter(|size| (1..=MAX_SIZE).contains(size))?;
    let align = if of == Type::Text { 1 } else { size };
    Some(Variable { name, of, size, align, offset: 0 })
}

/// What libbpf itself says of the kernel.
fn virtual_value(config: &KernelConfig, name: &str) -> Option<u64> {
    let version = config.version()?;
    let number = match name {
        "LINUX_KERNEL_VERSION" => {
            let [major, minor, patch] = version.map(u64::from);
            major << 16 | minor << 8 | patch
        }
        "LINUX_HAS_BPF_COOKIE" => (version >= COOKIES_SINCE).into(),
        "LINUX_HAS_SYSCALL_WRAPPER" => (config.value("CONFIG_ARCH_HAS_SYSCALL_WRAPPER") == Some("y")).into(),
        _ => return None,
    };
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::{BtfBuilder, Linkage};
    use crate::verifier_sim::byte_order::from_memory;

    fn sample() -> Kconfig {
        let mut builder = <BtfBuilder>::new();
        let (char, int, long) =
            (builder.int("char", 1, true), builder.int("unsigned int", 4, false), builder.int("long", 8, false));
        let text = builder.array(char, int, 5);
        let pointer = builder.pointer(int);
        let parts: Vec<_> = [
            ("CONFIG_TEXT", text),
            ("LINUX_KERNEL_VERSION", int),
            ("CONFIG_HZ", int),
            ("CONFIG_LARGE", long),
            ("CONFIG_POINTER", pointer),
            ("CONFIG_CHAR", char),
        ]
        .into_iter()
        .map(|(name, of)| (builder.variable(name, of, Linkage::Global), 0, 0))
        .collect();
        builder.section(".kconfig", 0, &parts);
        Kconfig::new(&Btf::parse(builder.finish()).unwrap())
    }

    #[test]
    fn variables_lie_by_alignment_size_and_name() {
        let kconfig = sample();
        let places: Vec<_> = kconfig.variables.iter().map(|one| (one.name.as_str(), one.offset)).collect();
        let wanted = [
            ("CONFIG_LARGE", 0),
            ("CONFIG_HZ", 8),
            ("LINUX_KERNEL_VERSION", 12),
            ("CONFIG_CHAR", 16),
            ("CONFIG_TEXT", 17),
        ];
        assert_eq!(places, wanted);
        assert_eq!((kconfig.size, kconfig.place("CONFIG_HZ"), kconfig.place("CONFIG_POINTER")), (22, Some(8), None));
    }

    #[test]
    fn the_map_has_the_kernels_values() {
        let config = "# Linux/x86 6.12.7 Kernel Configuration\nCONFIG_HZ=250\nCONFIG_TEXT=\"ab\"\nCONFIG_CHAR=m\n";
        let weak: BTreeSet<&[u8]> = [b"CONFIG_LARGE".as_slice()].into();
        let map = sample().map(&KernelConfig::parse(config), &weak).unwrap();
        let data = map.data.unwrap();
        assert_eq!([0..8, 8..12, 12..16].map(|part| from_memory(&data[part])), [0, 250, 6 << 16 | 12 << 8 | 7]);
        assert_eq!(&data[16..], b"mab\0\0\0");
        assert_eq!((map.value_size, map.frozen, map.map_flags), (22, true, RDONLY_PROG));
        let error = sample().map(&KernelConfig::parse(config), &BTreeSet::new()).unwrap_err();
        assert!(error.to_string().contains("CONFIG_LARGE"), "{error}");
        let error = sample().map(&KernelConfig::default(), &weak).unwrap_err();
        assert!(error.to_string().contains("\"CONFIG_HZ\""), "{error}");
    }

    #[test]
    fn libbpf_answers_for_some_kernels_itself() {
        let answer = |text: &str, name| virtual_value(&KernelConfig::parse(text), name);
        let new = "# Linux/x86 5.15.0 Kernel Configuration\nCONFIG_ARCH_HAS_SYSCALL_WRAPPER=y\n";
        let old = "# Linux/x86 5.10.9 Kernel Configuration\n";
        assert_eq!([new, old].map(|text| answer(text, "LINUX_HAS_BPF_COOKIE")), [Some(1), Some(0)]);
        assert_eq!([new, old].map(|text| answer(text, "LINUX_HAS_SYSCALL_WRAPPER")), [Some(1), Some(0)]);
        assert_eq!((answer(new, "LINUX_OTHER"), answer("", "LINUX_KERNEL_VERSION")), (None, None));
    }
}
