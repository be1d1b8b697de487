//! `sidestep survey` by a policy: that of what is attached, or one that is asked for.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sidestep::testbed::listen;

use crate::support::agent::{self, Agent};
use crate::support::bpffs::TestBpffs;
use crate::support::link::{ANY_PORT, pair};
use crate::support::machine::unique;
use crate::support::nested::NestedCgroups;

/// Two connections of this process to servers of different ports, in a cgroup of its own.
struct Two {
    cgroups: NestedCgroups,
    pins: TestBpffs,
    listeners: [TcpListener; 2],
    sockets: Vec<(TcpStream, TcpStream)>,
}

impl Two {
    fn new() -> Self {
        let (cgroups, pins) = (NestedCgroups::new(), TestBpffs::new());
        let listeners = [(); 2].map(|()| listen(ANY_PORT).unwrap());
        let mut two = Self { cgroups, pins, listeners, sockets: Vec::new() };
        two.connect();
        two
    }

    /// Makes new ones instead.
    fn connect(&mut self) {
        self.sockets = self.listeners.iter().map(|one| pair(one, one.local_addr().unwrap())).collect();
    }

    fn port(&self, server: usize) -> String {
        self.listeners[server].local_addr().unwrap().port().to_string()
    }

    fn bpffs(&self) -> [&str; 2] {
        ["--bpffs", self.pins.path().to_str().unwrap()]
    }

    fn call(&self, args: &[&str]) -> Result<String, String> {
        let args = [&["survey", "--seconds", "1"], &self.bpffs()[..], args].concat();
        let mut out = Vec::new();
        match sidestep::cli::dispatch(args.iter().map(Into::into).collect(), &mut std::io::empty(), &mut out) {
            Ok(_) => Ok(String::from_utf8(out).unwrap()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The share of the two that would be accelerated, and why the others would not: the codes, each with a number of connections
    /// and the sentence.
    fn judged(&self, args: &[&str]) -> (f64, Vec<(String, u64, String)>) {
        let survey: Value = serde_json::from_str(&self.call(&[args, &["--json"]].concat()).unwrap()).unwrap();
        let group = self.cgroups.path();
        let is_ours = |one: &&Value| one["client_cgroup"].as_str().is_some_and(|path| group.ends_with(&path[1..]));
        let group = survey["groups"].as_array().unwrap().iter().find(is_ours).unwrap_or_else(|| panic!("{survey}"));
        assert_eq!(group["connections"], 2, "{group}");
        let why = |why: &Value| {
            let text = |name: &str| why["condition"][name].as_str().unwrap().to_owned();
            assert!(!text("remedy").is_empty());
            (text("code"), why["connections"].as_u64().unwrap(), text("finding"))
        };
        (group["eligible_share"].as_f64().unwrap(), group["why_not"].as_array().unwrap().iter().map(why).collect())
    }
}

struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        let path = std::env::temp_dir().join(unique("sidestep-policy"));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_survey_says_what_another_policy_would_bring() {
    let two = Two::new();
    let [one, other] = [0, 1].map(|server| two.port(server));
    let group = two.cgroups.path();
    let outside = Path::new(&group).join("outside");
    std::fs::create_dir(&outside).unwrap();
    let [group, outside] = [&group, &outside].map(|path| path.to_str().unwrap());
    let (either, file) = (format!("{one},{other}"), File::new(&format!("port = {one}\nmetrics = '127.0.0.1:1'\n")));
    for (flags, admitted) in [
        (&[][..], 2_u32),
        (&["--port", &one], 1),
        (&["--port", &either], 2),
        (&["--exclude-port", &either], 0),
        (&["--cidr", "127.0.0.0/8"], 2),
        (&["--cidr", "127.0.0.0/8", "--exclude-cidr", "127.0.0.1/32"], 0),
        (&["--preset", "local"], 2),
        (&["--preset", "istio-sidecar"], 0),
        (&["--exclude-cgroup", group], 0),
        (&["--exclude-cgroup", outside], 2),
        (&["--config", file.path()], 1),
        (&["--config", file.path(), "--port", &either], 2),
        (&["--config", file.path(), "--exclude-port", &one], 0),
    ] {
        let (share, why) = two.judged(flags);
        assert_eq!(share, f64::from(admitted) / 2.0, "{flags:?}");
        match why.as_slice() {
            [] => assert_eq!(admitted, 2, "{flags:?}"),
            [(code, connections, finding)] => {
                assert_eq!((code.as_str(), *connections), ("policy", 2 - u64::from(admitted)), "{flags:?}");
                assert!(finding.contains("The policy (") || finding.contains("(--exclude-cgroup)"), "{finding}");
            }
            _ => panic!("{flags:?}: {why:?}"),
        }
    }
    std::fs::remove_dir(outside).unwrap();
    // A blocking end is another reason, which readers of any kind take away.
    two.sockets[0].1.set_nonblocking(false).unwrap();
    let codes = |flags: &[&str]| two.judged(flags).1.into_iter().map(|why| why.0).collect::<Vec<_>>();
    assert_eq!(codes(&["--port", &other]), ["policy", "server_nonblocking"]);
    assert_eq!(codes(&["--readers", "nonblocking"]), ["server_nonblocking"]);
    assert_eq!(codes(&["--readers", "any"]), [""; 0]);
    let text = two.call(&["--port", &other]).unwrap();
    assert!(
        text.contains(&format!("    1 of 2: The policy (--port={other}) does not admit the client's end, ")),
        "{text}"
    );
    for (flags, says) in [
        (["--exclude-cgroup", "/no/such/cgroup"], "--exclude-cgroup /no/such/cgroup"),
        (["--config", "/no/such/file"], "/no/such/file"),
        (["--cidr", "10.1.2.3/8"], "10.0.0.0/8"),
    ] {
        let error = two.call(&flags).unwrap_err();
        assert!(error.contains(says) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_survey_judges_by_the_policy_of_what_is_attached() {
    let mut two = Two::new();
    let [excluded, admitted] = [0, 1].map(|server| two.port(server));
    two.cgroups.leave();
    let mut command = agent::command();
    let flags = ["--trust", "all", "--exclude-port", &excluded, "--cgroup"];
    let agent = Agent::start(command.args(flags).arg(two.cgroups.path()).args(two.bpffs()));
    two.cgroups.enter();
    two.connect();
    let (share, why) = two.judged(&[]);
    assert_eq!((share, why.len()), (0.5, 1), "{why:?}");
    let (code, connections, finding) = &why[0];
    assert_eq!((code.as_str(), *connections), ("policy", 1), "{why:?}");
    assert!(finding.contains(&format!("The policy (--exclude-port={excluded})")), "{finding}");
    // Another one that is asked for counts instead.
    let (share, why) = two.judged(&["--port", &format!("{excluded},{admitted}")]);
    assert_eq!((share, why.len()), (1.0, 0), "{why:?}");
    agent.stop();
    assert_eq!(two.judged(&[]).0, 1.0, "nothing is attached any more");
}
