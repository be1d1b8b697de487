//! Variables in which the loader, libbpf, says how the kernel was configured (`extern ... __kconfig`), and their map.

mod config;
mod value;

pub use config::KernelConfig;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use self::config::PREFIX;
use self::value::Type;
use super::error::ElfError;
use crate::btf::{Btf, Kind};
use crate::verifier_sim::spec::{Kernel, MapSpec, MapType};

/// The section of BTF that lists the variables, and the name of their map.
pub(super) const SECTION: &str = ".kconfig";

/// Bytes of the largest map that is made of them. All options of a kernel together have some hundred kilobytes.
const MAX_SIZE: u32 = 1 << 22;

/// The first kernel that programs can ask for the cookie of their attachment (`bpf_get_attach_cookie`).
const COOKIES_SINCE: [u8; 3] = [5, 15, 0];

/// How the variables begin that are not options: libbpf itself knows their values.
const VIRTUAL: &str = "LINUX_";

/// What is wrong with a variable that is declared otherwise.
const NOT_A_TYPE: &str = "its type is not one that an option has; declare it bool, char, an integer of 1 to 8 bytes, enum libbpf_tristate or char[]";

/// One variable.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Variable {
    name: String,
    /// `None` if no option has such a type. libbpf does not open an object with such a variable.
    of: Option<Type>,
    size: u32,
    align: u32,
    offset: u32,
}

/// The variables of an object, where they lie in their map.
#[derive(Debug, Default)]
pub(super) struct Kconfig {
    /// In the order of their places.
    variables: Vec<Variable>,
    /// The variable with each name.
    by_name: BTreeMap<String, usize>,
    size: u32,
    /// The map, once it is made.
    made: OnceCell<Result<MapSpec, ElfError>>,
}

impl Kconfig {
    /// Lists the variables, and gives each its place, as libbpf does.
    pub(super) fn new(btf: &Btf) -> Self {
        let section = btf.by_name(Kind::Datasec, SECTION).and_then(|section| btf.head(section));
        // Of several with one name, libbpf finds that with the lowest ID.
        let ids: BTreeSet<u32> = section.into_iter().flat_map(|section| btf.variables(section)).collect();
        let mut first = BTreeMap::new();
        for variable in ids.into_iter().filter_map(|id| variable(btf, id)) {
            first.entry(variable.name.clone()).or_insert(variable);
        }
        let mut variables: Vec<Variable> = first.into_values().collect();
        variables.sort_by(|a, b| {
            let key = |variable: &Variable| (u32::MAX - variable.align, variable.size);
            (key(a), &a.name).cmp(&(key(b), &b.name))
        });
        let mut size = 0_u32;
        for variable in &mut variables {
            variable.offset = size.next_multiple_of(variable.align);
            size = variable.offset.saturating_add(variable.size).min(MAX_SIZE + 1);
        }
        let by_name = variables.iter().enumerate().map(|(index, variable)| (variable.name.clone(), index)).collect();
        Self { variables, by_name, size, made: OnceCell::new() }
    }

    /// Where the variable lies, if there is such a one.
    pub(super) fn place(&self, name: &str) -> Option<Result<u32, ElfError>> {
        let variable = &self.variables[*self.by_name.get(name)?];
        Some(variable.of.map(|_| variable.offset).ok_or_else(|| wrong(variable, NOT_A_TYPE)))
    }

    /// The map with the values of this kernel, which is always the same one. A weak variable may have none, and is 0 then.
    pub(super) fn map(
        &self,
        config: &KernelConfig,
        kernel: Kernel,
        weak: &BTreeSet<&[u8]>,
    ) -> Result<MapSpec, ElfError> {
        self.made.get_or_init(|| self.make(config, kernel, weak)).clone()
    }

    fn make(&self, config: &KernelConfig, kernel: Kernel, weak: &BTreeSet<&[u8]>) -> Result<MapSpec, ElfError> {
        let mut data = vec![0; self.size as usize];
        for variable in &self.variables {
            let place = variable.offset as usize..(variable.offset + variable.size) as usize;
            let is_weak = weak.contains(variable.name.as_bytes());
            let bytes = data.get_mut(place).ok_or("it is too large");
            let set = bytes.and_then(|bytes| put(variable, bytes, (config, kernel), is_weak));
            set.map_err(|why| wrong(variable, why))?;
        }
        Ok(MapSpec {
            name: SECTION.into(),
            map_type: MapType::ARRAY,
            key_size: 4,
            value_size: self.size,
            max_entries: 1,
            map_flags: MapSpec::RDONLY_PROG,
            typed: true,
            data: Some(data),
            frozen: true,
            ..MapSpec::default()
        })
    }
}

fn wrong(variable: &Variable, why: &'static str) -> ElfError {
    ElfError::Kconfig { name: variable.name.clone(), why }
}

fn variable(btf: &Btf, id: u32) -> Option<Variable> {
    let name = String::from_utf8(btf.short_name(id)?.to_vec()).ok()?;
    let type_id = btf.head(id).filter(|head| head.kind == Kind::Var)?.size_or_type;
    let Some(of) = Type::of(btf, type_id) else {
        return Some(Variable { name, of: None, size: 0, align: 1, offset: 0 });
    };
    // One that is too large is not put in the map.
    let size = btf.size_of(type_id).unwrap_or(u32::MAX).min(MAX_SIZE + 1);
    let align = if of == Type::Text { 1 } else { size.max(1) };
    Some(Variable { name, of: Some(of), size, align, offset: 0 })
}

/// Puts the value of the variable into its bytes.
fn put(
    variable: &Variable,
    bytes: &mut [u8],
    (config, kernel): (&KernelConfig, Kernel),
    is_weak: bool,
) -> Result<(), &'static str> {
    let (name, of) = (variable.name.as_str(), variable.of.ok_or(NOT_A_TYPE)?);
    if name.starts_with(PREFIX) {
        return match config.value(name) {
            Some(text) => value::put(of, bytes, text),
            None if is_weak => Ok(()),
            None => {
                Err("the kernel's configuration does not have it, and it is not weak; declare it __weak to get 0 then")
            }
        };
    }
    match virtual_value(config, kernel, name) {
        Some(number) => value::put_number(of, bytes, number),
        None if is_weak && name.starts_with(VIRTUAL) => value::put_number(of, bytes, 0),
        None => Err(
            "only CONFIG_ options, LINUX_KERNEL_VERSION, LINUX_HAS_BPF_COOKIE and LINUX_HAS_SYSCALL_WRAPPER have values, and weak variables whose names begin with LINUX_",
        ),
    }
}

/// What libbpf itself says of the kernel. A configuration may lack the kernel's version.
fn virtual_value(config: &KernelConfig, kernel: Kernel, name: &str) -> Option<u64> {
    let (major, minor) = kernel.version();
    let version = config.version().unwrap_or([major, minor, 0]);
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

    const KERNEL: Kernel = Kernel::V6_12;

    /// One with these variables, which are pointers or integers.
    fn sample(variables: &[(&str, bool)]) -> Kconfig {
        let mut builder = <BtfBuilder>::new();
        let int = builder.int("unsigned int", 4, false);
        let pointer = builder.pointer(int);
        let variables = variables.iter().map(|(name, is_pointer)| (name, if *is_pointer { pointer } else { int }));
        let parts: Vec<_> = variables.map(|(name, of)| (builder.variable(name, of, Linkage::Global), 0, 0)).collect();
        builder.section(".kconfig", 0, &parts);
        Kconfig::new(&Btf::parse(builder.finish()).unwrap())
    }

    /// One with a variable of nearly every type.
    fn of_every_type() -> Kconfig {
        let mut builder = <BtfBuilder>::new();
        let (char, int, long) =
            (builder.int("char", 1, true), builder.int("unsigned int", 4, false), builder.int("long", 8, false));
        let text = builder.array(char, int, 5);
        let parts: Vec<_> = [
            ("CONFIG_TEXT", text),
            ("LINUX_KERNEL_VERSION", int),
            ("CONFIG_HZ", int),
            ("CONFIG_LARGE", long),
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
        let kconfig = of_every_type();
        let known = kconfig.variables.iter().filter(|one| one.of.is_some());
        let places: Vec<_> = known.map(|one| (one.name.as_str(), one.offset)).collect();
        let wanted = [
            ("CONFIG_LARGE", 0),
            ("CONFIG_HZ", 8),
            ("LINUX_KERNEL_VERSION", 12),
            ("CONFIG_CHAR", 16),
            ("CONFIG_TEXT", 17),
        ];
        assert_eq!(places, wanted);
        assert_eq!((kconfig.size, kconfig.place("CONFIG_HZ"), kconfig.place("CONFIG_OTHER")), (22, Some(Ok(8)), None));
    }

    #[test]
    fn of_several_with_one_name_the_first_counts() {
        let mut builder = <BtfBuilder>::new();
        let (int, long) = (builder.int("int", 4, true), builder.int("long", 8, true));
        let [first, second] = [int, long].map(|of| builder.variable("CONFIG_HZ", of, Linkage::Global));
        builder.section(".kconfig", 0, &[(second, 0, 0), (first, 0, 0), (int, 0, 0)]);
        let kconfig = Kconfig::new(&Btf::parse(builder.finish()).unwrap());
        assert_eq!((kconfig.variables.len(), kconfig.size), (1, 4));
    }

    /// libbpf does not open the object, whether or not a program asks for that variable.
    #[test]
    fn a_type_that_no_option_has_is_named() {
        let kconfig = sample(&[("CONFIG_POINTER", true)]);
        let config = KernelConfig::parse("CONFIG_POINTER=1\n");
        let errors =
            [kconfig.place("CONFIG_POINTER").unwrap().err(), kconfig.map(&config, KERNEL, &BTreeSet::new()).err()];
        for error in errors {
            let error = error.unwrap().to_string();
            assert!(error.contains("\"CONFIG_POINTER\"") && error.contains("declare it bool, char"), "{error}");
        }
    }

    #[test]
    fn the_map_has_the_kernels_values() {
        let config = "# Linux/x86 6.12.7 Kernel Configuration\nCONFIG_HZ=250\nCONFIG_TEXT=\"ab\"\nCONFIG_CHAR=m\n";
        let weak: BTreeSet<&[u8]> = [b"CONFIG_LARGE".as_slice()].into();
        let map = of_every_type().map(&KernelConfig::parse(config), KERNEL, &weak).unwrap();
        let data = map.data.unwrap();
        assert_eq!([0..8, 8..12, 12..16].map(|part| from_memory(&data[part])), [0, 250, 6 << 16 | 12 << 8 | 7]);
        assert_eq!(&data[16..], b"mab\0\0\0");
        assert_eq!((map.value_size, map.frozen, map.map_flags), (22, true, MapSpec::RDONLY_PROG));
        let error = of_every_type().map(&KernelConfig::parse(config), KERNEL, &BTreeSet::new()).unwrap_err();
        assert!(error.to_string().contains("CONFIG_LARGE"), "{error}");
        let error = of_every_type().map(&KernelConfig::default(), KERNEL, &weak).unwrap_err();
        assert!(error.to_string().contains("\"CONFIG_HZ\""), "{error}");
    }

    #[test]
    fn libbpf_answers_for_some_kernels_itself() {
        let answer = |text: &str, name| virtual_value(&KernelConfig::parse(text), KERNEL, name);
        let new = "# Linux/x86 5.15.0 Kernel Configuration\nCONFIG_ARCH_HAS_SYSCALL_WRAPPER=y\n";
        let old = "# Linux/x86 5.10.9 Kernel Configuration\n";
        assert_eq!([new, old].map(|text| answer(text, "LINUX_HAS_BPF_COOKIE")), [Some(1), Some(0)]);
        assert_eq!([new, old].map(|text| answer(text, "LINUX_HAS_SYSCALL_WRAPPER")), [Some(1), Some(0)]);
        assert_eq!(answer(new, "LINUX_OTHER"), None);
        // A configuration without its first lines: the version is that of the kernel whose rules apply.
        assert_eq!(answer("CONFIG_A=y\n", "LINUX_KERNEL_VERSION"), Some(6 << 16 | 12 << 8));
        assert_eq!(answer("CONFIG_A=y\n", "LINUX_HAS_BPF_COOKIE"), Some(1));
    }

    #[test]
    fn only_weak_variables_may_have_no_value() {
        let map = |name: &'static str, is_weak: bool| {
            let weak: BTreeSet<&[u8]> = is_weak.then_some(name.as_bytes()).into_iter().collect();
            sample(&[(name, false)]).map(&KernelConfig::parse("CONFIG_A=7\n"), KERNEL, &weak).map(|map| map.data)
        };
        let value = |value: u32| Ok(Some(value.to_ne_bytes().to_vec()));
        assert_eq!((map("CONFIG_A", false), map("CONFIG_B", true)), (value(7), value(0)));
        assert_eq!(map("LINUX_OTHER", true), value(0));
        assert_eq!(map("LINUX_KERNEL_VERSION", true), value(6 << 16 | 12 << 8));
        // What is neither an option nor begins as libbpf's own do has no value, weak or not.
        for (name, is_weak) in [("LINUX_OTHER", false), ("OTHER", true), ("OTHER", false), ("CONFIG_B", false)] {
            assert!(matches!(map(name, is_weak), Err(ElfError::Kconfig { .. })), "{name} {is_weak}");
        }
    }
}
