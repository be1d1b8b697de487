//! Linker arguments of the release binary that a profile cannot give: they make it a quarter smaller.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=link-without-unwinding.ld");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    // A development build unwinds, and other linkers and C libraries are left alone.
    if !is("PROFILE", "release") || !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return;
    }
    let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let script = format!("-Wl,-T,{folder}/link-without-unwinding.ld");
    // muldefs: src/stand_ins.rs comes first, and its functions count instead of those of the C library and libgcc.
    let mut arguments = vec![script.as_str(), "-Wl,--no-eh-frame-hdr", "-Wl,-z,muldefs"];
    // Functions of the same instructions become one. It takes lld, which rustc brings and uses on this target.
    if is("CARGO_CFG_TARGET_ARCH", "x86_64") {
        arguments.push("-Wl,--icf=all");
    }
    for argument in arguments {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
