//! Another program unmounts the bpf file system under what `sidestep attach` has pinned: it has no owner any more, so messages
//! take the stack, it is reported, and nothing of it stays.

use std::net::TcpStream;
use std::process::{Command, Output};

use sidestep::agent::lifecycle::{Orphan, Orphans, Pins, Status};
use sidestep::syscall::id;
use sidestep::testbed::{StackBytes, listen};

use crate::link::{ANY_PORT, back_and_forth, expect, pair, pattern, send};
use crate::nested::NestedCgroups;
use crate::support::bpffs::TestBpffs;
use crate::support::wait::{timeout, wait_for, wait_until};

/// Commands with a bpf file system of their own.
struct Mounted(TestBpffs);

impl Mounted {
    fn sidestep(&self, command: &str, flags: &[&str]) -> (Output, String) {
        let mut all = Command::new(env!("CARGO_BIN_EXE_sidestep"));
        let output = all.args([command, "--bpffs"]).arg(self.0.path()).args(flags).output().unwrap();
        let text = [&output.stdout[..], &output.stderr].concat();
        (output, String::from_utf8(text).unwrap())
    }

    fn succeeds(&self, command: &str, flags: &[&str]) -> String {
        let (output, text) = self.sidestep(command, flags);
        assert!(output.status.success(), "{command}: {text}");
        text
    }

    /// The kernel's numbers of what is pinned.
    fn objects(&self) -> Vec<(id::Kind, u32)> {
        let status = Status::read(Some(&Pins::find(Some(self.0.path()), false).unwrap())).unwrap();
        assert_eq!(status.instances.len(), 1, "{status:?}");
        let instance = &status.instances[0];
        let mut found: Vec<_> = instance.link.iter().map(|link| (id::Kind::Link, *link)).collect();
        for generation in &instance.generations {
            found.extend(generation.programs.iter().map(|object| (id::Kind::Prog, object.id)));
            found.extend(generation.maps.iter().map(|object| (id::Kind::Map, object.id)));
            found.extend(generation.links.iter().map(|object| (id::Kind::Link, object.id)));
        }
        found
    }
}

/// Waits until the kernel has none of them: it frees psocks, and with them programs, from a work queue.
fn all_gone(objects: &[(id::Kind, u32)]) {
    wait_for(|| {
        let alive = |(kind, number): &&_| id::ids(*kind).any(|id| id.is_ok_and(|id| id == *number));
        let left: Vec<_> = objects.iter().filter(alive).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("still in the kernel: {left:?}")) }
    });
}

/// Exchanges until a message takes the stack: the kernel lets go of pins after a grace period.
fn takes_the_stack(client: &TcpStream, server: &TcpStream, bytes: &[u8]) {
    wait_until("messages take the stack again", || {
        let before = StackBytes::of(client).unwrap().sent;
        back_and_forth(client, server, bytes, 1);
        StackBytes::of(client).unwrap().sent == before + bytes.len() as u64
    });
}

#[test]
fn a_bpf_file_system_unmounted_under_pins_loses_nothing_and_leaves_nothing() {
    let cgroups = NestedCgroups::new();
    let mounted = Mounted(TestBpffs::new());
    let cgroup = cgroups.path();
    let cgroup = ["--trust", "all", "--cgroup", cgroup.to_str().unwrap()];
    let listener = listen(ANY_PORT).unwrap();
    let to = listener.local_addr().unwrap();
    let bytes = pattern(3, 4_000);
    for recovered in [true, false] {
        mounted.succeeds("attach", &cgroup);
        let objects = mounted.objects();
        let old: Vec<_> = (0..8).map(|_| pair(&listener, to)).collect();
        old.iter().for_each(|(client, server)| back_and_forth(client, server, &bytes, 3));
        let stack = StackBytes::of(&old[0].0).unwrap().sent;
        assert!(stack <= bytes.len() as u64, "{stack} bytes took the stack: the connection is not accelerated");
        // Redirected bytes that are not read yet.
        old.iter().for_each(|(client, _)| send(client, &bytes));
        mounted.0.unmount();
        old.iter().for_each(|(_, server)| expect(server, &bytes));
        old.iter().for_each(|(client, server)| takes_the_stack(client, server, &bytes));
        let new: Vec<_> = (0..4).map(|_| pair(&listener, to)).collect();
        for (client, server) in &new {
            back_and_forth(client, server, &bytes, 3);
            assert_eq!(StackBytes::of(client).unwrap().sent, 3 * bytes.len() as u64, "a new one is accelerated");
        }

        let (output, text) = mounted.sidestep("status", &[]);
        eprintln!("{text}");
        assert!(!output.status.success() && text.contains("bpf file system"), "{text}");
        mounted.0.mount();
        // Its sock_ops program is freed after a grace period.
        let orphans = wait_for(|| {
            let Orphans::Found(mut orphans) = Orphan::find().unwrap() else { panic!("root may walk") };
            orphans.retain(|orphan| objects.contains(&(id::Kind::Map, orphan.sockhash)));
            if orphans.len() == 1 { Ok(orphans) } else { Err(format!("{orphans:?}")) }
        });
        let (output, text) = mounted.sidestep("status", &[]);
        eprintln!("{text}");
        let line = format!("! sockhash {} has no owner", orphans[0].sockhash);
        assert!(!output.status.success() && text.contains(&line) && text.contains("detach --orphans"), "{text}");

        // What is left of the old one does no harm.
        mounted.succeeds("attach", &cgroup);
        let newer = pair(&listener, to);
        back_and_forth(&newer.0, &newer.1, &bytes, 3);
        assert!(StackBytes::of(&newer.0).unwrap().sent <= bytes.len() as u64, "the next attach accelerates nothing");
        if recovered {
            // As `sidestep detach --orphans` does with all there are, on the whole machine.
            assert_eq!(orphans[0].recover(timeout()).unwrap(), 0);
            all_gone(&objects);
        }
        for (client, server) in old.iter().chain(&new).chain([&newer]) {
            back_and_forth(client, server, &bytes, 1);
        }
        drop((old, new));
        all_gone(&objects);
        mounted.succeeds("detach", &[]);
        back_and_forth(&newer.0, &newer.1, &bytes, 1);
    }
}
