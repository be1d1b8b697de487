//! What a user reads where nothing can be done: one sentence with a remedy, and a status that is not 0.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sidestep::asm::{Asm, Reg};
use sidestep::syscall::cgroup::{self, Cgroup};
use sidestep::syscall::{ProgSpec, Program, prog_detach};

use crate::poorer_kernel::{self, Lacks};
use crate::support::binary::PublicBinary;
use crate::support::cgroup::TestCgroup;
use crate::support::machine::Turn;
use sidestep::uapi::{AttachType, ProgType};

fn sidestep(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
    command.args(args);
    command
}

/// How the note begins that a command writes where the kernel does not show how programs read.
const READERS: &str = "sidestep: this kernel does not show how programs read";

/// The one sentence that a failed command has written, without the program's name. A note may come before it.
fn sentence(output: &Output, status: i32) -> String {
    let (out, text) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{out}{text}");
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with(READERS)).collect();
    assert_eq!(lines.len(), 1, "{text}");
    lines[0].strip_prefix("sidestep: ").unwrap_or_else(|| panic!("{text}")).trim_end().to_owned()
}

fn path(group: &TestCgroup) -> &str {
    group.path().to_str().unwrap()
}

fn leftovers(prefix: &str) -> Vec<PathBuf> {
    let root = cgroup::find().unwrap().unwrap();
    let all = fs::read_dir(root).unwrap().flatten().map(|entry| entry.path());
    all.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix)).collect()
}

#[test]
fn without_sockhash_each_command_says_what_the_kernel_lacks() {
    let _turn = Turn::take();
    let group = TestCgroup::new();
    for errno in [libc::EINVAL, libc::EPERM, libc::ENOSYS] {
        let lacks = Lacks::Sockhash(errno);
        for args in [&["run", "--cgroup", path(&group)][..], &["demo", "--rounds", "1", "--requests", "10"]] {
            let text = sentence(&poorer_kernel::output(&mut sidestep(args), lacks), 1);
            assert!(text.contains("sockhash"), "{args:?} {errno}: {text}");
            let remedy = match errno {
                libc::EINVAL => "CONFIG_NET_SOCK_MSG",
                libc::EPERM => "run as root",
                _ => "seccomp",
            };
            assert!(text.contains(remedy), "{args:?} {errno}: {text}");
        }
        let output = poorer_kernel::output(&mut sidestep(&["check"]), lacks);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        let line = text.lines().position(|line| line.trim_start().split(' ').any(|word| word == "sockhash:")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[line].trim_start().starts_with(if errno == libc::EINVAL { "no" } else { "?" }), "{text}");
        assert!(lines[line + 1].contains("-> ") && lines[line + 1].contains("CONFIG_NET_SOCK_MSG"), "{text}");
        assert!(lines.last().unwrap().starts_with("not ok: "), "{text}");
    }
    assert_eq!(leftovers("sidestep-demo-"), Vec::<PathBuf>::new());
}

#[test]
fn without_bpf_at_all_each_command_says_so() {
    let _turn = Turn::take();
    let group = TestCgroup::new();
    let lacks = Lacks::Bpf(libc::ENOSYS);
    for args in [&["run", "--cgroup", path(&group)][..], &["demo", "--rounds", "1", "--requests", "10"]] {
        let text = sentence(&poorer_kernel::output(&mut sidestep(args), lacks), 1);
        assert!(text.contains("CONFIG_BPF_SYSCALL") && text.contains("seccomp"), "{args:?}: {text}");
    }
    let output = poorer_kernel::output(&mut sidestep(&["check"]), lacks);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().lines().last().unwrap().starts_with("not ok: "));
    assert_eq!(leftovers("sidestep-demo-"), Vec::<PathBuf>::new());
}

#[test]
fn a_wrong_flag_is_named_with_where_to_look() {
    for command in ["run", "demo", "check", "bench", "dump", "verify", "exec"] {
        let text = sentence(&sidestep(&[command, "--colour"]).output().unwrap(), 2);
        assert!(text.contains("--colour") && text.contains("--help"), "{command}: {text}");
    }
    let text = sentence(&sidestep(&["dance"]).output().unwrap(), 2);
    assert!(text.contains("dance") && text.contains("sidestep help"), "{text}");
}

#[test]
fn a_missing_cgroup_is_named_with_where_cgroups_are() {
    let mount = cgroup::find().unwrap().unwrap();
    let mount = mount.to_str().unwrap();
    let text = sentence(&sidestep(&["run"]).output().unwrap(), 2);
    assert!(text.contains("--cgroup") && text.contains(mount), "{text}");
    for path in ["/no/such/group", "/tmp", "/proc/self/status"] {
        let text = sentence(&sidestep(&["run", "--cgroup", path]).output().unwrap(), 1);
        assert!(text.contains(path) && text.contains(mount), "{text}");
        let output = sidestep(&["check", "--cgroup", path]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stdout).unwrap().contains(path));
    }
}

#[test]
fn another_user_learns_who_may() {
    let group = TestCgroup::new();
    let binary = PublicBinary::new();
    let as_other = |args: &[&str]| Command::new(&*binary).args(args).uid(1000).gid(1000).output().unwrap();
    for output in [as_other(&["run", "--cgroup", path(&group)]), as_other(&["demo"])] {
        let text = sentence(&output, 1);
        assert!(text.contains("root"), "{text}");
    }
    let check = as_other(&["check"]);
    assert_eq!(check.status.code(), Some(1));
    assert!(String::from_utf8(check.stdout).unwrap().contains("run as root"));
}

/// `BPF_PROG_ATTACH` of include/uapi/linux/bpf.h, without a flag, so that no other program can join; sidestep has no call for that.
fn attach_alone(group: &Cgroup, program: &Program) {
    const PROG_ATTACH: i32 = 8;
    const CGROUP_SOCK_OPS: u32 = 3;
    let attr = [group.as_fd().as_raw_fd() as u32, program.as_fd().as_raw_fd() as u32, CGROUP_SOCK_OPS, 0];
    // SAFETY: the kernel reads the four words, which live through the call.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, attr.as_ptr(), size_of_val(&attr)) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_busy_cgroup_is_named_with_who_holds_it() {
    let group = TestCgroup::new();
    let below = Path::new(path(&group)).join("below");
    fs::create_dir(&below).unwrap();
    let mut asm = Asm::new();
    asm.mov(Reg::R0, 1);
    asm.exit();
    let insns = asm.finish().unwrap().encode_native(|_| None).unwrap();
    let holder = Program::load(&ProgSpec::new("holder", ProgType::SOCK_OPS, &insns)).unwrap();
    attach_alone(&group, &holder);
    let outputs = [path(&group), below.to_str().unwrap()].map(|path| {
        let run = sidestep(&["run", "--cgroup", path]).output().unwrap();
        (run, sidestep(&["check", "--cgroup", path]).output().unwrap())
    });
    prog_detach(group.as_fd(), holder.as_fd(), AttachType::CGROUP_SOCK_OPS).unwrap();
    fs::remove_dir(&below).unwrap();
    let id = holder.info().unwrap().id.to_string();
    for (index, (run, check)) in outputs.iter().enumerate() {
        let text = sentence(run, 1);
        assert!(text.contains("BPF_F_ALLOW_MULTI"), "{text}");
        assert!(index > 0 || text.contains(&id), "{text}");
        assert_eq!(check.status.code(), Some(1), "{}", String::from_utf8_lossy(&check.stdout));
    }
}
