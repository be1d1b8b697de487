//! Attachment: whether a cgroup takes a sock_ops program, and who is there already.

use std::os::fd::AsFd;
use std::path::Path;

use super::finding::{Answer, Finding, Need};
use crate::agent::lifecycle::inventory::Inventory;
use crate::asm::{Asm, Reg};
use crate::syscall::cgroup::{self, Cgroup};
use crate::syscall::{Attachments, Errno, Error, Link, LinkTarget, ProgSpec, Program, attachments};
use crate::uapi::{AttachType, ProgType};

const FAMILY: &str = "attachment";
const SOCK_OPS: AttachType = AttachType::CGROUP_SOCK_OPS;

/// A try on a temporary cgroup, and with `path` a look at that cgroup. Where no cgroup can be created (a read-only mount,
/// as in many containers), the try is on that cgroup, or on the one of this process, for a moment and with a program
/// that does nothing.
pub(super) fn all(path: Option<&Path>) -> Vec<Finding> {
    let answer = match attach(path) {
        Ok(place) => Answer::Yes(place),
        Err(error) if matches!(error.errno(), Some(Errno::EINVAL | Errno(libc::EOPNOTSUPP))) => {
            Answer::No(error.to_string())
        }
        Err(error) => Answer::unknown(&error),
    };
    let mut findings = vec![
        Finding::new(FAMILY, Need::Required, "a cgroup takes a sock_ops program by link", answer)
            .why("That is how new connections are seen.")
            .remedy("check the privileges above; the kernel must be 5.7 or later with CONFIG_CGROUP_BPF=y"),
    ];
    if let Some(path) = path {
        findings.push(
            Finding::new(FAMILY, Need::Required, format!("{} has room for a sock_ops program", path.display()), room(path))
                .why("A program attached without BPF_F_ALLOW_MULTI, there or above, keeps others out.")
                .remedy("name an existing cgroup2 directory, or have the owner of that program attach it with BPF_F_ALLOW_MULTI"),
        );
    }
    findings
}

fn attach(path: Option<&Path>) -> Result<String, Error> {
    let root = cgroup::find()?.ok_or_else(|| Error::Invalid("cgroup2 is not mounted".into()))?;
    let insns = pass().map_err(|error| Error::Invalid(error.to_string()))?;
    let program = Program::load(&ProgSpec::new("sidestep_check", ProgType::SOCK_OPS, &insns))?;
    let link = |group: &Cgroup| Link::create(program.as_fd(), LinkTarget::Fd(group.as_fd()), SOCK_OPS).map(drop);
    match Cgroup::create(&root.join(format!("sidestep-check-{}", std::process::id()))) {
        Ok(group) => {
            let linked = link(&group);
            group.remove()?;
            linked.map(|()| "in a temporary cgroup".into())
        }
        Err(error) if matches!(error.errno(), Some(Errno(libc::EROFS | libc::EACCES))) => {
            let group = Cgroup::open(path.unwrap_or(&root))?;
            link(&group)?;
            Ok(format!("on {} for a moment, since no cgroup can be created here", group.path().display()))
        }
        Err(error) => Err(error),
    }
}

/// Programs of other tools on the hooks that sidestep uses.
pub(super) fn neighbours() -> Finding {
    let answer = match Inventory::take() {
        Ok(Some(inventory)) if inventory.neighbours.is_empty() => Answer::Yes(String::new()),
        Ok(Some(inventory)) => {
            Answer::No(inventory.neighbours.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        }
        Ok(None) => Answer::Unknown("the list of programs takes CAP_SYS_ADMIN".into()),
        Err(error) => Answer::Unknown(error.to_string()),
    };
    Finding::new(FAMILY, Need::Optional, "no other tool has sock_ops, sk_msg or sk_skb programs", answer)
        .why("They can meet sidestep's on the same sockets, which then use the stack more often.")
        .remedy("nothing has to be done while both work; else exclude their cgroups (--exclude-cgroup) or ports (--exclude-port)")
}

fn pass() -> Result<Vec<u8>, crate::asm::Error> {
    let mut asm = Asm::new();
    asm.mov(Reg::R0, 1);
    asm.exit();
    asm.finish()?.encode_native(|_| None)
}

/// Whether a program could be attached to the cgroup at `path`, and beside whom. Follows `hierarchy_allows_attach` and
/// `__cgroup_bpf_attach` of `kernel/bpf/cgroup.c`.
fn room(path: &Path) -> Answer {
    let own = match Cgroup::open(path).and_then(|group| attachments(group.as_fd(), SOCK_OPS)) {
        Ok(own) => own,
        Err(error @ (Error::File { .. } | Error::Invalid(_))) => return Answer::No(error.to_string()),
        Err(error) => return Answer::Unknown(error.to_string()),
    };
    if !own.ids.is_empty() && !own.allows_multi() {
        return Answer::No(format!("{} attached alone", names(&own)));
    }
    for above in path.ancestors().skip(1) {
        // The end of the hierarchy, or of what we may see.
        let Ok(group) = Cgroup::open(above) else { break };
        match attachments(group.as_fd(), SOCK_OPS) {
            Ok(found) if found.allows_multi() => break,
            Ok(found) if !found.ids.is_empty() && !found.allows_override() => {
                return Answer::No(format!("{} attached alone at {}", names(&found), above.display()));
            }
            Ok(_) => {}
            Err(error) => return Answer::Unknown(error.to_string()),
        }
    }
    Answer::Yes(if own.ids.is_empty() {
        "no other program is attached".into()
    } else {
        format!("beside {}", names(&own))
    })
}

fn names(attached: &Attachments) -> String {
    let name = |&id: &u32| match Program::from_id(id).and_then(|program| program.info()) {
        Ok(info) => format!("program {id} ({:?})", info.name),
        Err(_) => format!("program {id}"),
    };
    attached.ids.iter().map(name).collect::<Vec<_>>().join(", ")
}
