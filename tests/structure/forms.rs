//! The programs are written in the assembler's typed forms: no bare offset, no stack slot by number, no jump without a test.

use crate::source;

/// Calls of the plain assembler that have a typed form.
const PLAIN: [&str; 7] = [".load(", ".load_sx(", ".store(", ".jump(", ".jump32(", ".atomic(", ".raw("];

/// Programs that watch readers: their fields are the kernel's own, found by BTF alone, and they are not in typed forms yet.
const NOT_YET: [&str; 3] = ["process.rs", "receives.rs", "splices.rs"];

#[test]
fn the_data_plane_uses_the_typed_forms() {
    let directory = source::root().join("src/dataplane");
    let mut wrong = Vec::new();
    for file in source::files(&directory) {
        if NOT_YET.iter().any(|name| file == directory.join("programs").join(name)) {
            continue;
        }
        let code = source::code(&std::fs::read_to_string(&file).unwrap());
        let name = file.strip_prefix(source::root()).unwrap().display().to_string();
        wrong.extend(PLAIN.iter().filter(|call| code.contains(**call)).map(|call| format!("{name}: {call}..)")));
        // The frame pointer is the assembler's own.
        if code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| matches!(word, "FP" | "R10")) {
            wrong.push(format!("{name}: the frame pointer"));
        }
    }
    assert!(wrong.is_empty(), "use ld, st, jump_if, require or a slot instead of\n{}", wrong.join("\n"));
}
