//! One command up, one down, nothing left, however the first one ended.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use sidestep::syscall::cgroup;

use crate::mesh::{Kind, Pod, scripts};
use crate::support::child::ChildGuard;
use crate::support::wait::wait_for;
use crate::{NAME, up};

/// What there is of the mesh. Beside what has its name: what its Envoys share, by their base ids.
fn left() -> Vec<String> {
    let root = cgroup::find().unwrap().unwrap();
    let mut paths = vec![root.join(format!("sidestep-mesh-{NAME}")), Path::new("/run/sidestep-mesh").join(NAME)];
    for part in ["node", "client", "server"] {
        paths.push(format!("/run/netns/sidestep-{NAME}-{part}").into());
    }
    for pod in Pod::BOTH {
        // As sidecars.sh computes it; Envoy multiplies it by ten.
        let id = format!("echo $(($(echo '{NAME} {}' | cksum | cut -d' ' -f1) % 100000000))0", pod.name());
        let id = Command::new("sh").args(["-c", &id]).output().unwrap();
        paths.push(format!("/dev/shm/envoy_shared_memory_{}", String::from_utf8_lossy(&id.stdout).trim()).into());
    }
    paths.iter().filter(|path| path.exists()).map(|path| path.display().to_string()).collect()
}

fn down() {
    let down = Command::new(scripts().join("down")).args(["--name", NAME]).output().unwrap();
    assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
    assert_eq!(left(), [""; 0]);
}

#[test]
fn nothing_is_left_wherever_up_was_killed() {
    // Holds the name, so that no other test comes between.
    let Some(mesh) = up(Kind::Mtls, &[]) else { return };
    // Cgroup, directory, three namespaces, and the shared memory of two Envoys.
    assert_eq!(left().len(), 7, "{:?}", left());
    down();
    down();
    for millis in [20, 60, 100, 150, 200, 300, 400, 600] {
        let mut command = Command::new(scripts().join("up"));
        command.args(["--name", NAME, "mtls"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        sleep(Duration::from_millis(millis));
        child.kill().unwrap();
        child.wait().unwrap();
        down();
    }
    drop(mesh);
}

#[test]
fn up_replaces_what_is_up_and_ends_with_its_owner() {
    let Some(mesh) = up(Kind::Haproxy, &[]) else { return };
    let mut owner = ChildGuard::spawn(Command::new("sleep").arg("600"));
    let mut again = Command::new(scripts().join("up"));
    again.args(["--name", NAME, "--while", &owner.id().to_string(), "haproxy"]);
    assert!(again.output().unwrap().status.success());
    assert!(!left().is_empty());
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_for(|| match left() {
        none if none.is_empty() => Ok(()),
        some => Err(format!("left: {some:?}")),
    });
    drop(mesh);
}
