//! The flags that say which connections are accelerated.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use lexopt::{Parser, ValueExt};

use super::Error;
use super::plane::choice;
use crate::dataplane::{Direction, MAX_RULES, Policy};
use crate::syscall::cgroup::Cgroup;

/// What the flags said.
#[derive(Clone, Debug, Default)]
pub(super) struct PolicyFlags {
    policy: Policy,
    opted_out: Vec<PathBuf>,
}

impl PolicyFlags {
    /// The flags, without their dashes.
    pub(super) const NAMES: [&'static str; 6] =
        ["port", "exclude-port", "cidr", "exclude-cidr", "direction", "exclude-cgroup"];

    /// The help text of these flags.
    pub(super) const HELP: &'static str = "
which connections (a list is separated by commas, and a flag may be repeated):
  --port LIST, --exclude-port LIST
                 only, or not, connections to these server ports: 80,8000-8100. Each end decides by the port it
                 sees; where REDIRECT or DNAT makes them two, --port must name both
  --cidr LIST, --exclude-cidr LIST
                 only, or not, connections of which one address is in these networks: 10.0.0.0/8,fd00::/8. What is
                 excluded wins
  --direction both|to-active|to-passive
                 redirect both ways (default), or only to the end that has called connect(2), or only to the other;
                 both ends are in the sockhash all the same
  --exclude-cgroup PATH
                 leave alone what runs in this cgroup and below it: a pod that opts out
";

    /// Takes the value of one of [`PolicyFlags::NAMES`].
    pub(super) fn take(&mut self, name: &str, args: &mut Parser) -> Result<(), Error> {
        let policy = &mut self.policy;
        match name {
            "port" => list(args, "--port", &mut policy.ports),
            "exclude-port" => list(args, "--exclude-port", &mut policy.excluded_ports),
            "cidr" => list(args, "--cidr", &mut policy.networks),
            "exclude-cidr" => list(args, "--exclude-cidr", &mut policy.excluded_networks),
            "direction" => {
                policy.direction = choice(
                    args,
                    "--direction",
                    &[
                        ("both", Direction::Both),
                        ("to-active", Direction::ToActive),
                        ("to-passive", Direction::ToPassive),
                    ],
                )?;
                Ok(())
            }
            _ => {
                self.opted_out.push(args.value()?.into());
                policy.opt_out = true;
                Ok(())
            }
        }
    }

    /// The policy of the programs.
    pub(super) fn policy(&self) -> Policy {
        self.policy.clone()
    }

    /// The cgroups that have opted out, opened.
    pub(super) fn opted_out(&self) -> Result<Vec<Cgroup>, Error> {
        let open = |path: &PathBuf| Cgroup::open(path).map_err(|error| refused(path, &error));
        self.opted_out.iter().map(open).collect()
    }
}

fn refused(path: &Path, error: &dyn Display) -> Error {
    Error::Failed(format!("--exclude-cgroup {}: {error}", path.display()))
}

/// Adds the entries of a comma-separated value to `entries`.
fn list<T: FromStr<Err = String>>(args: &mut Parser, flag: &str, entries: &mut Vec<T>) -> Result<(), Error> {
    for part in args.value()?.string()?.split(',') {
        entries.push(part.parse().map_err(|error| Error::Usage(format!("{flag}: {error}")))?);
    }
    if entries.len() > MAX_RULES {
        return Err(Error::Usage(format!("{flag} takes at most {MAX_RULES} entries; merge neighbours into one")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn take(name: &str, value: &str) -> Result<PolicyFlags, String> {
        let mut flags = PolicyFlags::default();
        let mut args = Parser::from_args([OsString::from(format!("--{name}={value}"))]);
        args.next().unwrap();
        flags.take(name, &mut args).map_err(|error| error.to_string()).map(|()| flags)
    }

    #[test]
    fn reads_lists() {
        assert_eq!(take("port", "80,8000-8100").unwrap().policy().ports.len(), 2);
        assert_eq!(take("exclude-cidr", "10.0.0.0/8,::1").unwrap().policy().excluded_networks.len(), 2);
        assert_eq!(take("direction", "to-active").unwrap().policy().direction, Direction::ToActive);
        assert!(take("exclude-cgroup", "/a").unwrap().policy().opt_out);
    }

    #[test]
    fn refuses_in_one_sentence() {
        let many = vec!["1"; MAX_RULES + 1].join(",");
        for (name, value, part) in [
            ("port", "80,http", "http"),
            ("port", "", "8000-8100"),
            ("exclude-port", many.as_str(), "at most"),
            ("cidr", "10.0.0.0/33", "10.0.0.0/33"),
            ("direction", "up", "to-passive"),
        ] {
            let error = take(name, value).unwrap_err();
            assert!(error.contains(part) && error.contains(name) && !error.contains('\n'), "{error}");
        }
    }
}
