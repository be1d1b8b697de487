//! What the tests share: root or a loud skip, tiny programs, cgroups and directories that go away.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use byteorder::NativeEndian;
use sidestep::asm::{Insn, opcode};
use sidestep::syscall::cgroup::{self, Cgroup};
use sidestep::syscall::{ProgSpec, Program, memlock};
use sidestep::uapi::ProgType;

/// Whether the test can run. Without root it says loudly that nothing was tested and returns `false`; where `CI` is
/// set that is a failure, since CI runs as root.
pub(crate) fn require_root(test: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        memlock::raise_if_needed().unwrap();
        return true;
    }
    missing(test, "it needs root")
}

/// Reports that `test` cannot run because of `reason`; a failure where `CI` is set.
pub(crate) fn missing(test: &str, reason: &str) -> bool {
    assert!(std::env::var_os("CI").is_none(), "{test}: NOT TESTED: {reason}");
    eprintln!("\n*** {test}: NOT TESTED: {reason} ***\n");
    false
}

/// A name that no other test, thread or process of this machine uses now.
pub(crate) fn unique(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{stem}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Instruction bytes as the kernel takes them.
pub(crate) fn bytes(insns: &[Insn]) -> Vec<u8> {
    insns.iter().flat_map(|insn| insn.encode::<NativeEndian>()).collect()
}

/// `r0 = value; exit`.
pub(crate) fn returns(value: i32) -> Vec<u8> {
    bytes(&[
        Insn { code: opcode::ALU64 | opcode::MOV | opcode::K, imm: value, ..Insn::default() },
        Insn { code: opcode::JMP | opcode::EXIT, ..Insn::default() },
    ])
}

/// Two slots that load a map's descriptor into a register.
pub(crate) fn load_map(dst: u8, fd: i32) -> [Insn; 2] {
    [
        Insn { code: opcode::LD | opcode::IMM | opcode::DW, dst, src: opcode::PSEUDO_MAP_FD, imm: fd, off: 0 },
        Insn::default(),
    ]
}

/// `call helper`.
pub(crate) fn call(helper: i32) -> Insn {
    Insn { code: opcode::JMP | opcode::CALL, imm: helper, ..Insn::default() }
}

/// `dst = imm`.
pub(crate) fn mov(dst: u8, imm: i32) -> Insn {
    Insn { code: opcode::ALU64 | opcode::MOV | opcode::K, dst, imm, ..Insn::default() }
}

/// `dst = src`.
pub(crate) fn mov_reg(dst: u8, src: u8) -> Insn {
    Insn { code: opcode::ALU64 | opcode::MOV | opcode::X, dst, src, ..Insn::default() }
}

/// `exit`.
pub(crate) fn exit() -> Insn {
    Insn { code: opcode::JMP | opcode::EXIT, ..Insn::default() }
}

/// The smallest program of a type.
pub(crate) fn trivial(name: &str, prog_type: ProgType) -> Program {
    Program::load(&ProgSpec::new(name, prog_type, &returns(1))).unwrap()
}

/// A cgroup of our own, removed at the end also on failure.
pub(crate) struct TestCgroup(Option<Cgroup>);

impl TestCgroup {
    pub(crate) fn new() -> Self {
        let root = cgroup::find().unwrap().expect("cgroup2 is not mounted; mount it with `mount -t cgroup2 none DIR`");
        Self(Some(Cgroup::create(&root.join(unique("sidestep-test"))).unwrap()))
    }
}

impl std::ops::Deref for TestCgroup {
    type Target = Cgroup;
    fn deref(&self) -> &Cgroup {
        self.0.as_ref().unwrap()
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        let Some(group) = self.0.take() else { return };
        if let Err(error) = group.remove() {
            eprintln!("left behind: {error}");
        }
    }
}

/// A bpf file system of our own, unmounted at the end also on failure.
pub(crate) struct TestBpffs(PathBuf);

impl TestBpffs {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(unique("sidestep-bpffs"));
        std::fs::create_dir(&path).unwrap();
        sidestep::syscall::bpffs::mount_at(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestBpffs {
    fn drop(&mut self) {
        if let Err(errno) = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH) {
            eprintln!("left behind: {}: {errno}", self.0.display());
            return;
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}
