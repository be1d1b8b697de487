//! The noun commands as another user, with no more than the capabilities that they name.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use sidestep::syscall::Release;

use crate::pair;
use crate::support::agent::{self, Agent};
use crate::support::binary::PublicBinary;
use crate::support::bpffs::TestBpffs;
use crate::support::child::{ChildGuard, Ended};
use crate::support::nested::NestedCgroups;

/// Numbers of capabilities (include/uapi/linux/capability.h).
const CAP_SYS_PTRACE: u32 = 19;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// The user without rights, as most distributions have it.
const USER: u32 = 65_534;

/// `struct __user_cap_header_struct` and `struct __user_cap_data_struct` (include/uapi/linux/capability.h), version 3.
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Becomes the other user, who has these capabilities and passes them on.
fn become_other(caps: &[u32]) -> std::io::Result<()> {
    let failed = |result: libc::c_long| if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) };
    let mut data = [CapData::default(); 2];
    for cap in caps {
        let (word, bit) = (&mut data[(cap / 32) as usize], 1 << (cap % 32));
        *word = CapData {
            effective: word.effective | bit,
            permitted: word.permitted | bit,
            inheritable: word.inheritable | bit,
        };
    }
    let header = CapHeader { version: 0x2008_0522, pid: 0 };
    // SAFETY: system calls with live arguments, between fork and exec; the raw setuid changes this thread alone, which is
    // the child's only one.
    unsafe {
        failed(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0).into())?;
        failed(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()))?;
        failed(libc::syscall(libc::SYS_setresgid, USER, USER, USER))?;
        failed(libc::syscall(libc::SYS_setresuid, USER, USER, USER))?;
        failed(libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()))?;
        for cap in caps {
            failed(
                libc::prctl(
                    libc::PR_CAP_AMBIENT,
                    libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
                    libc::c_ulong::from(*cap),
                    0,
                    0,
                )
                .into(),
            )?;
        }
    }
    Ok(())
}

/// Runs the program with these capabilities and no others.
fn run_with(binary: &PublicBinary, caps: &'static [u32], args: &[&str]) -> Ended {
    let mut command = Command::new(&**binary);
    command.args(args).current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: the closure makes system calls alone.
    unsafe { command.pre_exec(|| become_other(caps)) };
    ChildGuard::spawn(&mut command).end()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn another_user_sees_connections_and_is_told_what_it_cannot_see() {
    let cgroups = NestedCgroups::new();
    let pins = TestBpffs::new();
    std::fs::set_permissions(pins.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    cgroups.leave();
    let mut run = agent::command();
    let agent = Agent::start(run.args(["--bpffs", path(pins.path()), "--cgroup"]).arg(cgroups.path()));
    let binary = PublicBinary::new();
    let (mut client, mut server): (TcpStream, TcpStream) = pair("127.0.0.1:0");
    client.write_all(b"x").unwrap();
    server.read_exact(&mut [0]).unwrap();
    let port = client.local_addr().unwrap().port().to_string();
    let own = std::process::id().to_string();
    let bpffs = ["--bpffs", path(pins.path())];
    const EXACT: &[u32] = &[CAP_BPF, CAP_PERFMON];
    for caps in [EXACT, &[CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE]] {
        let list = run_with(&binary, caps, &[&["list", "--port", &port], &bpffs[..]].concat());
        assert!(list.status.success() && list.out.contains(&format!("[{own}]:")), "{list:?}");
        assert!(list.err.contains("is not shown: ") && list.err.contains("belongs to root"), "{list:?}");
        let explain = run_with(&binary, caps, &[&["explain", "--pid", &own], &bpffs[..]].concat());
        assert!(explain.status.success() && explain.out.contains("It cannot be seen whether"), "{explain:?}");
        let sees = caps.contains(&CAP_SYS_PTRACE) && Release::running().unwrap() >= Release(5, 14, 0);
        assert_eq!(explain.out.contains("no epoll instance of this process watches it"), sees, "{explain:?}");
        assert_eq!(explain.out.contains("is not seen (Permission denied"), !sees, "{explain:?}");
        let survey = run_with(&binary, caps, &["survey", "--seconds", "1"]);
        assert!(survey.status.success() && survey.out.contains(" -> "), "{survey:?}");
        let metrics = run_with(&binary, caps, &[&["metrics"], &bpffs[..]].concat());
        assert!(
            metrics.status.success() && metrics.out.contains("sidestep_connections{state=\"plain\"}"),
            "{metrics:?}"
        );
        assert!(metrics.err.contains("belongs to root"), "{metrics:?}");
        for command in ["status", "watch"] {
            let refused = run_with(&binary, caps, &[&[command], &bpffs[..]].concat());
            assert!(!refused.status.success() && refused.err.contains("belongs to root"), "{refused:?}");
        }
    }
    // Of a descriptor that is not a connection, only its own user and root are told what it is.
    let file = std::fs::File::open("/dev/null").unwrap();
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&file).to_string();
    let args = ["explain", "--pid", &own, "--fd", &descriptor];
    let unseen = run_with(&binary, EXACT, &args);
    assert!(unseen.err.contains("cannot be looked at"), "{unseen:?}");
    // Without CAP_BPF there is nothing to see, and it is said which capability is missing.
    let nothing = run_with(&binary, &[], &["list"]);
    assert!(!nothing.status.success() && nothing.err.contains("CAP_"), "{nothing:?}");
    agent.stop();
}
