//! Other processes: this binary again, with a role in its environment.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::child::ChildGuard;
use crate::support::wait::timeout;
use crate::{drive, late, proxy, relay, uring};

const ROLE: &str = "SIDESTEP_SPLICE_ROLE";

/// Starts this binary in `cgroup` with a role and its arguments.
pub(crate) fn start(cgroup: &Path, role: &str) -> ChildGuard {
    let mut command = Command::new(std::env::current_exe().unwrap());
    // The first argument, which does not name a test, tells the programs apart for sidestep.
    command.arg(role.split(' ').next().unwrap());
    command.args(["role::play", "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    ChildGuard::spawn_in(cgroup, command.stdin(Stdio::null()).stdout(Stdio::null()))
}

/// Not a test: what a child does.
#[test]
fn play() {
    let Some(role) = std::env::var_os(ROLE) else { return };
    let role = role.into_string().unwrap();
    let words: Vec<&str> = role.split(' ').collect();
    let number = |at: usize| words[at].parse::<u16>().unwrap();
    match words[0] {
        "echo" => relay::echo(number(1)),
        "echo-uring" => uring::echo(number(1), words[2].parse().unwrap()),
        "proxy-uring" => uring::proxy(number(1), number(2)),
        "stays-plain" => uring::stays_plain(number(1), words[2].parse().unwrap()),
        "proxy" => proxy::run(number(1), number(2), words[3].parse().unwrap()),
        "drive" => drive::run(number(1), drive::Way::HalfClose),
        "drive-connect" => drive::run(number(1), drive::Way::Tunnel),
        "drive-whole" => drive::run(number(1), drive::Way::Whole),
        "shorts" => drive::shorts(number(1), words[2].parse().unwrap()),
        "pings" => drive::pings(number(1), words[2].parse().unwrap()),
        "until-trusted" => {
            let most: u32 = words[2].parse().unwrap();
            drive::until_trusted(number(1), most as usize, timeout() / most);
        }
        "kept" => {
            let [count, most] = [2, 3].map(|at| words[at].parse::<u16>().unwrap());
            let pause = timeout() / most.into();
            drive::kept(number(1), count.into(), most.into(), pause, Path::new(words[4]));
        }
        "trusted" => {
            let most: u32 = words[2].parse().unwrap();
            drive::trusted(number(1), most as usize, timeout() / most, words[3].parse().unwrap());
        }
        "earns" => {
            let [most, more]: [u32; 2] = [2, 3].map(|at| words[at].parse().unwrap());
            let trips = drive::earns(number(1), most as usize, timeout() / most, more as usize);
            std::fs::write(words[4], trips.to_string()).unwrap();
        }
        "tries" => drive::until_trusted(number(1), words[2].parse().unwrap(), Duration::from_millis(5)),
        "late" => late::reader(number(1), words[2] == "end"),
        "feed" => late::feeder(number(1), words[2] == "end", words[3] == "trusted", words.get(4).map(Path::new)),
        other => panic!("no role {other:?}"),
    }
}
