//! A program for people: labels, comments, jump targets, map names and the Rust line of every instruction.
//!
//! ```text
//!          ; only IPv4
//!       2: (55) if r2 != 0x2 goto pc+1              ; -> out @ src/dataplane/gate.rs:41
//!       3: (b7) r0 = 1                              ; @ src/dataplane/gate.rs:42
//! out:
//!       4: (95) exit                                ; @ src/dataplane/gate.rs:44
//! ```

use std::io::{self, Write};

use byteorder::LittleEndian;

use super::{Dialect, Disasm, MapRef, Program, disassemble};

/// Column in which the remarks start, where the instruction leaves room.
const REMARKS: usize = 40;

/// A printer of programs. Without [`Listing::hex`], what it writes of real instructions can be read by
/// [`Dialect::parse`], as long as no label has what starts a comment in its name (`;`, and in LLVM's dialect `#` and `//`).
pub struct Listing<'a> {
    program: &'a Program,
    hex: bool,
    origins: bool,
    dialect: Dialect,
    map_name: Option<&'a dyn Fn(MapRef) -> Option<String>>,
}

impl<'a> Listing<'a> {
    /// A listing with origins and without hex.
    pub fn new(program: &'a Program) -> Self {
        Self { program, hex: false, origins: true, dialect: Dialect::Kernel, map_name: None }
    }

    /// Whether each instruction is preceded by its bytes (little-endian).
    #[must_use]
    pub fn hex(mut self, hex: bool) -> Self {
        self.hex = hex;
        self
    }

    /// Whether each instruction is followed by the Rust line that emitted it.
    #[must_use]
    pub fn origins(mut self, origins: bool) -> Self {
        self.origins = origins;
        self
    }

    /// In whose words; the kernel's unless this says otherwise.
    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// Names the maps in the remarks.
    #[must_use]
    pub fn map_names(mut self, name: &'a dyn Fn(MapRef) -> Option<String>) -> Self {
        self.map_name = Some(name);
        self
    }

    /// Writes the listing.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let comment = self.dialect.comment();
        for (slot, disasm) in disassemble(self.program.insns()) {
            for label in self.program.labels_at(slot) {
                writeln!(out, "{label}:")?;
            }
            for line in self.program.comment(slot).into_iter().flat_map(str::lines) {
                writeln!(out, "         {comment} {line}")?;
            }
            write!(out, "{slot:>7}: ")?;
            if self.hex {
                self.write_hex(slot, disasm.slots(), out)?;
            }
            let text = self.dialect.line(slot, disasm);
            let remarks = self.remarks(slot, &disasm);
            if remarks.is_empty() {
                writeln!(out, "{text}")?;
            } else {
                writeln!(out, "{text:<REMARKS$} {comment}{remarks}")?;
            }
        }
        Ok(())
    }

    fn write_hex(&self, slot: usize, slots: usize, out: &mut dyn Write) -> io::Result<()> {
        for insn in self.program.insns().iter().skip(slot).take(slots) {
            for byte in insn.encode::<LittleEndian>() {
                write!(out, "{byte:02x}")?;
            }
            write!(out, " ")?;
        }
        // Room for the second slot that most instructions do not have.
        if slots == 1 { write!(out, "{:17}", "") } else { Ok(()) }
    }

    fn remarks(&self, slot: usize, disasm: &Disasm) -> String {
        let mut remarks = String::new();
        if let Some(distance) = disasm.distance() {
            let target = slot as i64 + 1 + i64::from(distance);
            let label = usize::try_from(target).ok().and_then(|target| self.program.label_at(target));
            match label {
                Some(label) => remarks.push_str(&format!(" -> {label}")),
                None => remarks.push_str(&format!(" -> {target}")),
            }
        }
        if let Some(map) = self.program.map_at(slot) {
            let name = self.map_name.and_then(|name| name(map));
            remarks.push_str(&name.map_or_else(|| format!(" map {}", map.0), |name| format!(" map {name}")));
        }
        if let Some(origin) = self.program.origin(slot).filter(|_| self.origins) {
            remarks.push_str(&format!(" @ {}:{}", origin.file(), origin.line()));
        }
        remarks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asm::Reg::*;
    use crate::asm::{Asm, Cond, parse_program};

    fn program() -> (Program, u32) {
        let mut a = Asm::new();
        let out = a.label("out");
        a.load_map(R1, MapRef(1));
        let line = line!() - 1;
        a.comment("why");
        a.jump(Cond::Ne, R2, 2, out);
        a.mov(R0, 1);
        a.bind(out);
        a.exit();
        (a.finish().unwrap(), line)
    }

    fn written(listing: &Listing<'_>) -> String {
        let mut out = Vec::new();
        listing.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn says_what_it_knows() {
        let (program, line) = program();
        let name = |map: MapRef| (map.0 == 1).then(|| "peers".to_string());
        let text = written(&Listing::new(&program).map_names(&name));
        let at = |offset: u32| format!("@ {}:{}", file!(), line + offset);
        let expected = [
            format!("      0: (18) r1 = map[fd:1]                      ; map peers {}", at(0)),
            "         ; why".into(),
            format!("      2: (55) if r2 != 0x2 goto pc+1              ; -> out {}", at(3)),
            format!("      3: (b7) r0 = 1                              ; {}", at(4)),
            "out:".into(),
            format!("      4: (95) exit                                ; {}", at(6)),
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn can_be_read_back() {
        let (program, _) = program();
        assert_eq!(parse_program(&written(&Listing::new(&program))).unwrap(), program.insns());
    }

    #[test]
    fn hex_and_bare() {
        let (program, _) = program();
        let text = written(&Listing::new(&program).hex(true).origins(false));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "      0: 1811000001000000 0000000000000000 (18) r1 = map[fd:1]                      ; map 1"
        );
        assert_eq!(lines[3], "      3: b700000001000000                  (b7) r0 = 1");
    }
}
