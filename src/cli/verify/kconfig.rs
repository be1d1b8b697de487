//! The configuration of the kernel whose rules apply, when this machine can say what it is.

use std::path::Path;

use super::gzip;
use crate::cli::bounded;
use crate::syscall::Release;
use crate::verifier_sim::elf::KernelConfig;
use crate::verifier_sim::spec::Kernel;

/// The running kernel's configuration, where it was built with `CONFIG_IKCONFIG_PROC`.
const RUNNING: &str = "/proc/config.gz";

/// How a compressed file begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The configuration in `file`, which may be compressed.
pub(super) fn read(file: &Path) -> Result<KernelConfig, String> {
    let mut data = bounded::read(file).map_err(|error| error.to_string())?;
    if data.starts_with(&GZIP) {
        data = gzip::decompress(&data).ok_or(
            "it is a damaged gzip file, or one of more than 16 MiB; give the /proc/config.gz or /boot/config-* of that kernel",
        )?;
    }
    let text = String::from_utf8_lossy(&data);
    if !text.contains("CONFIG_") {
        return Err("it does not have options; give the /proc/config.gz or /boot/config-* of that kernel".into());
    }
    Ok(KernelConfig::parse(&text))
}

/// What to say of a configuration that is of another kernel than the one whose rules apply.
pub(super) fn warning(config: &KernelConfig, kernel: Kernel) -> Option<String> {
    let [major, minor, patch] = config.version()?;
    let is_other = (major, minor) != kernel.version();
    is_other.then(|| {
        format!(
            "the configuration is of Linux {major}.{minor}.{patch}, and the rules are those of {kernel}; give that kernel's configuration, or another --kernel"
        )
    })
}

/// The running kernel's configuration, where it is known and if its rules are those of `kernel`.
pub(super) fn of_running(kernel: Kernel) -> Option<KernelConfig> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let Release(major, minor, _) = Release::running()?;
    if format!("{major}.{minor}") != kernel.name() {
        return None;
    }
    // Where distributions put it.
    let installed = format!("/boot/config-{}", release.trim());
    read(Path::new(RUNNING)).or_else(|_| read(Path::new(&installed))).ok()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::io::Write;
    use std::process::ExitCode;

    use byteorder::NativeEndian;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use object::elf::R_BPF_64_64;
    use object::write::{Object, Relocation, Symbol, SymbolSection};
    use object::{
        Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    };

    use super::*;
    use crate::asm::Insn;
    use crate::btf::{BtfBuilder, Linkage};

    /// A program that may leave r0 without a value unless CONFIG_HZ is 250.
    fn object() -> Vec<u8> {
        let mut btf = <BtfBuilder>::new();
        let int = btf.int("int", 4, true);
        let variable = btf.variable("CONFIG_HZ", int, Linkage::Global);
        btf.section(".kconfig", 0, &[(variable, 0, 0)]);
        // r1 = &CONFIG_HZ; r0 = *(u32 *)(r1 +0); if r0 == 250 goto +1; r0 = r7; exit
        let insns = [
            (0x18, 1, 0, 0, 0),
            (0, 0, 0, 0, 0),
            (0x61, 0, 1, 0, 0),
            (0x15, 0, 0, 1, 250),
            (0xbf, 0, 7, 0, 0),
            (0x95, 0, 0, 0, 0),
        ];
        let code: Vec<u8> = insns
            .into_iter()
            .flat_map(|(code, dst, src, off, imm)| Insn { code, dst, src, off, imm }.encode::<NativeEndian>())
            .collect();
        let order = if cfg!(target_endian = "big") { Endianness::Big } else { Endianness::Little };
        let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, order);
        let types = object.add_section(Vec::new(), b".BTF".to_vec(), SectionKind::Other);
        object.append_section_data(types, &btf.finish(), 8);
        let section = object.add_section(Vec::new(), b"sk_msg".to_vec(), SectionKind::Text);
        object.append_section_data(section, &code, 8);
        let symbol = object.add_symbol(Symbol {
            name: b"CONFIG_HZ".to_vec(),
            value: 0,
            size: 0,
            kind: SymbolKind::Unknown,
            scope: SymbolScope::Linkage,
            weak: false,
            section: SymbolSection::Undefined,
            flags: SymbolFlags::None,
        });
        let flags = RelocationFlags::Elf { r_type: R_BPF_64_64 };
        object.add_relocation(section, Relocation { offset: 0, symbol, addend: 0, flags }).unwrap();
        object.write().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut file = GzEncoder::new(Vec::new(), Compression::default());
        file.write_all(bytes).unwrap();
        file.finish().unwrap()
    }

    #[test]
    fn the_verdict_depends_on_the_configuration() {
        let directory = std::env::temp_dir().join(format!("sidestep-kconfig-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let verify = |config: Option<&[u8]>| {
            let [program, file] = ["program.o", "config"].map(|name| directory.join(name));
            std::fs::write(&program, object()).unwrap();
            let mut args: Vec<OsString> = vec!["verify".into(), "--kernel".into(), "5.10".into(), program.into()];
            if let Some(config) = config {
                std::fs::write(&file, config).unwrap();
                args.extend(["--kconfig".into(), file.into()]);
            }
            let mut out = Vec::new();
            let code = crate::cli::dispatch(args, &mut &b""[..], &mut out);
            (String::from_utf8(out).unwrap(), code.is_ok_and(|code| code == ExitCode::SUCCESS))
        };
        // One byte is not of UTF-8.
        let config = |hz: &str| [b"CONFIG_LOCALVERSION=\"\xff\"\nCONFIG_HZ=", hz.as_bytes(), b"\n"].concat();
        for pack in [<[u8]>::to_vec, gzip] {
            let (text, ok) = verify(Some(&pack(&config("250"))));
            assert!(ok && text.contains("sk_msg (section sk_msg) on 5.10: accept"), "{text}");
            let (text, ok) = verify(Some(&pack(&config("100"))));
            assert!(!ok && text.contains("reject: ") && text.contains("R7 !read_ok"), "{text}");
        }
        let (text, ok) = verify(Some(b"CONFIG_A=y\n"));
        assert!(!ok && text.contains("\"CONFIG_HZ\"") && text.contains("declare it __weak"), "{text}");
        // This machine's kernel is not 5.10, so that its configuration does not count.
        if Release::running().is_some_and(|Release(major, minor, _)| (major, minor) != (5, 10)) {
            let (text, ok) = verify(None);
            assert!(!ok && text.contains("unsupported: ") && text.contains("give --kconfig FILE"), "{text}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn the_configuration_of_another_kernel_is_noticed() {
        let config = |text: &str| KernelConfig::parse(text);
        let other = config("# Linux/x86 6.1.5 Kernel Configuration\nCONFIG_HZ=250\n");
        let text = warning(&other, Kernel::V6_12).unwrap();
        assert!(text.starts_with("the configuration is of Linux 6.1.5, and the rules are those of 6.12"), "{text}");
        assert_eq!(warning(&other, Kernel::V6_1), None);
        assert_eq!(warning(&config("CONFIG_HZ=250\n"), Kernel::V6_1), None);
    }
}
