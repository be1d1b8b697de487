//! Kernels that are refused: one whose types say that it holds redirected bytes where the programs do not look, and one that does not
//! say what it does.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use nix::sched::{CloneFlags, unshare};
use sidestep::btf::BtfBuilder;
use sidestep::syscall::btf::VMLINUX;
use sidestep::syscall::cgroup::Cgroup;

use crate::fixture::Fixture;
use crate::objects::objects;
use crate::support::cgroup::remove;
use crate::support::machine::unique;

/// Types of which nothing but `sk_psock` is known, with the queue of messages that wait for a worker.
fn types() -> Vec<u8> {
    let mut builder = <BtfBuilder>::new();
    let word = builder.int("unsigned long", 8, false);
    let list = builder.structure("list_head", 16, &[("next", word, 0), ("prev", word, 64)]);
    builder.structure("sk_psock", 32, &[("ingress_msg", list, 0), ("backlog_msg", list, 128)]);
    builder.finish()
}

/// Runs the binary where the kernel's types are those of the file: in a mount namespace of its own.
fn sidestep_with(types: &Path, fixture: &Fixture, arguments: &[&str]) -> Output {
    let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
    let (from, to, root) = (path(types), path(Path::new(VMLINUX)), path(Path::new("/")));
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
    command.args(arguments).arg("--bpffs").arg(fixture.bpffs()).arg("--cgroup").arg(fixture.cgroup_path());
    let in_namespace = move || {
        let done = |answer| if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        let (none, mount) = (std::ptr::null(), libc::mount);
        // SAFETY: no memory of ours is involved.
        done(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
        // SAFETY: the paths are C strings that live as long as the closure; what is null is not read.
        done(unsafe { mount(none, root.as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()) })?;
        // SAFETY: the same.
        done(unsafe { mount(from.as_ptr(), to.as_ptr(), none, libc::MS_BIND, none.cast()) })
    };
    // SAFETY: between fork(2) and execve(2) it makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(in_namespace) };
    command.output().unwrap()
}

#[test]
fn a_kernel_that_would_lose_bytes_is_refused_unless_forced() {
    let fixture = Fixture::new();
    let file = std::env::temp_dir().join(format!("sidestep-types-{}", std::process::id()));
    std::fs::write(&file, types()).unwrap();
    let says = |arguments: &[&str]| {
        let output = sidestep_with(&file, &fixture, arguments);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for command in ["attach", "run"] {
        let (status, error) = says(&[command, "--trust=all"]);
        assert_eq!(status, Some(1), "{command}: {error}");
        assert!(error.contains("this kernel must not be used") && error.contains("sk_psock.backlog_msg"), "{error}");
        assert!(error.contains("--force accelerates"), "{error}");
        assert!(fixture.status().is_none(), "{command}: something is attached");
    }
    // What is attached already, to the kernel that it is, stays as it was.
    fixture.succeeds("attach", &[]);
    let seen = fixture.is_healthy();
    for flags in [&["upgrade"][..], &["upgrade", "--readers=any", "--trust=all"]] {
        let (status, error) = says(flags);
        assert_eq!(status, Some(1), "{flags:?}: {error}");
        assert!(error.contains("this kernel must not be used") && error.contains("--force accelerates"), "{error}");
        assert_eq!(fixture.is_healthy(), seen, "{flags:?}: it has changed something");
    }
    fixture.succeeds("detach", &[]);
    fixture.is_gone(&seen);
    let (_, note) = says(&["attach", "--trust=all", "--force"]);
    assert!(note.contains("--force overrides") && !note.contains("--force accelerates"), "{note}");
    // Without the other types there is the sticky tier alone, which not every kernel has.
    if let Some(status) = fixture.status() {
        assert!(fixture.succeeds("detach", &[]).starts_with("detached; nothing is left"));
        fixture.is_gone(&objects(&status));
    }
    std::fs::remove_file(&file).unwrap();
}

/// Without the loopback device, which a new network namespace does not have up, there is nothing to try FIONREAD with.
#[test]
fn nothing_is_attached_where_what_fionread_says_cannot_be_found_out() {
    let fixture = Fixture::new();
    for name in ["attach", "run"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
        command.args([name, "--trust=all", "--bpffs"]).arg(fixture.bpffs()).arg("--cgroup").arg(fixture.cgroup_path());
        // SAFETY: between fork(2) and execve(2) it makes a system call only.
        unsafe { command.pre_exec(|| Ok(unshare(CloneFlags::CLONE_NEWNET)?)) };
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains("cannot find out whether ioctl(FIONREAD) sees redirected bytes"), "{name}: {said}");
        assert!(fixture.status().is_none(), "{name}: something is attached");
    }
}

/// The sockets of such a process are another instance's, so that it cannot try FIONREAD. That instance knows.
#[test]
fn a_process_in_an_accelerated_cgroup_attaches_another_instance() {
    let fixture = Fixture::new();
    let more = Cgroup::create(&fixture.cgroup_path().parent().unwrap().join(unique("sidestep-more"))).unwrap();
    fixture.succeeds("attach", &["--trust=all"]);
    let (seen, config) = (fixture.is_healthy(), fixture.instance().config().unwrap());
    let sidestep = |flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
        command.args(flags).arg("--bpffs").arg(fixture.bpffs()).arg("--cgroup").arg(more.path());
        command.output().unwrap()
    };
    let output = sidestep(&["attach", "--trust=all"]);
    let other = fixture.pins().instance(more.id().unwrap()).config();
    let detached = sidestep(&["detach"]);
    remove([more.path()]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(other.unwrap(), config);
    assert!(detached.status.success(), "{detached:?}");
    fixture.succeeds("detach", &[]);
    fixture.is_gone(&seen);
}
