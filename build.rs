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
    for argument in [script.as_str(), "-Wl,--no-eh-frame-hdr", "-Wl,-z,muldefs"] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
