//! `sidestep check` on the running kernel: with everything, without privileges, and beside others.

use std::os::fd::AsFd;
use std::path::Path;

use sidestep::agent::check::{self, Answer, Finding, Need, Report};
use sidestep::syscall::cgroup::{self, Cgroup};
use sidestep::syscall::{id, prog_attach, prog_detach};

use crate::program::trivial;
use crate::support::cgroup::TestCgroup;
use crate::support::machine::{Turn, require_root};
use sidestep::uapi::{AttachType, ProgType};

/// One check at a time: its cgroup is named for the process, and a test looks whether it is gone.
fn check(cgroup: Option<&Path>) -> Report {
    let _turn = Turn::take();
    check::check(cgroup)
}

fn find<'a>(report: &'a Report, name: &str) -> &'a Finding {
    report.findings.iter().find(|finding| finding.name.contains(name)).unwrap_or_else(|| panic!("no finding {name:?}"))
}

#[test]
fn root_gets_an_answer_to_everything_and_leaves_nothing() {
    if !require_root("root_gets_an_answer_to_everything_and_leaves_nothing") {
        return;
    }
    let report = check(None);
    for finding in report.findings.iter().filter(|finding| finding.need == Need::Required) {
        assert!(matches!(finding.answer, Answer::Yes(_)), "{finding:?}");
    }
    assert!(report.ok);
    // Yes or no by kernel, but never untold.
    for name in ["FIONREAD sees bytes that came by the stack", "FIONREAD sees redirected bytes"] {
        assert!(!matches!(find(&report, name).answer, Answer::Unknown(_)), "{name}");
    }
    for finding in &report.findings {
        assert_eq!(finding.remedy.is_none(), matches!(finding.answer, Answer::Yes(_)), "{finding:?}");
        assert!(finding.why.ends_with('.'), "{finding:?}");
    }
    let own = format!("sidestep-check-{}", std::process::id());
    assert!(!cgroup::find().unwrap().unwrap().join(own).exists());
}

#[test]
fn without_privileges_it_says_which_are_missing_and_does_not_guess() {
    if !require_root("without_privileges_it_says_which_are_missing_and_does_not_guess") {
        return;
    }
    // Capabilities belong to threads, so this one can give its own away.
    let report = std::thread::spawn(|| {
        drop_capabilities();
        check(None)
    })
    .join()
    .unwrap();
    assert!(!report.ok);
    assert!(matches!(find(&report, "CAP_BPF").answer, Answer::No(_)));
    assert!(find(&report, "CAP_NET_ADMIN").remedy.as_ref().unwrap().contains("run as root"));
    for name in ["sockhash", "bpf_msg_redirect_hash", "redirected past the stack", "by link"] {
        let finding = find(&report, name);
        assert!(matches!(&finding.answer, Answer::Unknown(why) if why.contains("EPERM")), "{finding:?}");
    }
}

#[test]
fn it_names_what_is_attached_and_what_is_not_a_cgroup() {
    if !require_root("it_names_what_is_attached_and_what_is_not_a_cgroup") {
        return;
    }
    let group = TestCgroup::new();
    let room = |path: &Path| find(&check(Some(path)), "has room").clone();
    assert_eq!(room(group.path()).answer, Answer::Yes("no other program is attached".into()));
    let program = trivial("t.neighbour", ProgType::SOCK_OPS);
    prog_attach(group.as_fd(), program.as_fd(), AttachType::CGROUP_SOCK_OPS).unwrap();
    let beside = room(group.path());
    prog_detach(group.as_fd(), program.as_fd(), AttachType::CGROUP_SOCK_OPS).unwrap();
    assert!(matches!(&beside.answer, Answer::Yes(who) if who.contains("t.neighbour")), "{beside:?}");
    for path in ["/tmp", "/no/such/cgroup"] {
        let finding = room(Path::new(path));
        assert!(matches!(&finding.answer, Answer::No(why) if why.contains(path)), "{finding:?}");
    }
    assert!(Cgroup::open(group.path()).is_ok());
    assert!(id::ids(id::Kind::Prog).all(|id| id.is_ok()));
}

/// Empties the three sets of the calling thread: capset(2) with `_LINUX_CAPABILITY_VERSION_3`.
fn drop_capabilities() {
    let header: [u32; 2] = [0x2008_0522, 0];
    let sets = [0_u32; 6];
    // SAFETY: both structures live through the call and are only read; version 3 takes two records of three words.
    let answer = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
}
