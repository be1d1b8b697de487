//! The flags that say which connections are accelerated.

use std::path::PathBuf;

use super::error::Error;
use super::preset::{self, PRESETS, Preset};
use super::values::{List, one_of};
use crate::dataplane::{Direction, MAX_RULES, Network, Policy, PortRange};
use crate::syscall::cgroup::Cgroup;

const DIRECTIONS: [(&str, Direction); 3] =
    [("both", Direction::Both), ("to-active", Direction::ToActive), ("to-passive", Direction::ToPassive)];

/// What the flags said.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Which connections (a list is separated by commas, and a flag can be repeated)")]
pub(super) struct PolicyArgs {
    /// Only connections that a known arrangement makes: istio-sidecar (an application and its sidecar proxy, and two sidecars of
    /// this node), istio-ambient (what ztunnel accepts), or local (over loopback addresses). Several presets add up; the
    /// other flags narrow them
    #[arg(long, value_name = "NAME", value_parser = one_of(PRESETS))]
    preset: Vec<Preset>,
    /// Only connections to these server ports: 80,8000-8100. Each end decides by the port that it sees; where REDIRECT
    /// or DNAT makes them two, name both
    #[arg(long, value_name = "LIST")]
    port: Vec<List<PortRange>>,
    /// No connections to these server ports; wins over --port
    #[arg(long, value_name = "LIST")]
    exclude_port: Vec<List<PortRange>>,
    /// Only connections of which one address is in these networks: 10.0.0.0/8,fd00::/8
    #[arg(long, value_name = "LIST")]
    cidr: Vec<List<Network>>,
    /// No connections of which an address is in these networks; wins over --cidr
    #[arg(long, value_name = "LIST")]
    exclude_cidr: Vec<List<Network>>,
    /// Redirect both ways (the default), only to the end that has called connect(2), or only to the other end. Both ends
    /// are in the sockhash in any case
    #[arg(long, value_name = "WAY", value_parser = one_of(DIRECTIONS))]
    direction: Option<Direction>,
    /// Leave alone what runs in this cgroup and below it: a pod that opts out
    #[arg(long, value_name = "PATH")]
    exclude_cgroup: Vec<PathBuf>,
}

impl PolicyArgs {
    /// The policy of the programs.
    pub(super) fn policy(&self) -> Result<Policy, Error> {
        Ok(Policy {
            ports: merge("--port", &self.port)?,
            excluded_ports: merge("--exclude-port", &self.exclude_port)?,
            networks: merge("--cidr", &self.cidr)?,
            excluded_networks: merge("--exclude-cidr", &self.exclude_cidr)?,
            servers: preset::servers(&self.preset),
            direction: self.direction.unwrap_or_default(),
            opt_out: !self.exclude_cgroup.is_empty(),
            ..Policy::default()
        })
    }

    /// The cgroups that have opted out, opened.
    pub(super) fn opted_out(&self) -> Result<Vec<Cgroup>, Error> {
        let open = |path: &PathBuf| {
            Cgroup::open(path).map_err(|error| Error::Failed(format!("--exclude-cgroup {}: {error}", path.display())))
        };
        self.exclude_cgroup.iter().map(open).collect()
    }

    /// The flags that were given, each `--name=value`.
    pub(super) fn given(&self) -> Vec<String> {
        let direction = self.direction.and_then(|way| DIRECTIONS.iter().find(|(_, known)| *known == way));
        let cgroups = self.exclude_cgroup.iter().map(|path| format!("--exclude-cgroup={}", path.display()));
        let presets = self.preset.iter().map(|preset| format!("--preset={}", preset::name(*preset)));
        presets
            .chain(texts("--port", &self.port))
            .chain(texts("--exclude-port", &self.exclude_port))
            .chain(texts("--cidr", &self.cidr))
            .chain(texts("--exclude-cidr", &self.exclude_cidr))
            .chain(direction.map(|(name, _)| format!("--direction={name}")))
            .chain(cgroups)
            .collect()
    }
}

/// The entries of all the lists of a flag.
fn merge<T: Clone>(flag: &str, lists: &[List<T>]) -> Result<Vec<T>, Error> {
    let entries: Vec<T> = lists.iter().flat_map(|list| list.entries.iter().cloned()).collect();
    if entries.len() > MAX_RULES {
        return Err(Error::Usage(format!("{flag} takes at most {MAX_RULES} entries; merge neighbours into one")));
    }
    Ok(entries)
}

fn texts<T>(flag: &str, lists: &[List<T>]) -> impl Iterator<Item = String> {
    lists.iter().map(move |list| format!("{flag}={}", list.text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plane::PlaneArgs;
    use crate::dataplane::Config;

    fn options(flag: &str) -> Result<Policy, String> {
        PlaneArgs::recall(&[flag.to_owned(), "--tier=sticky".into()])
            .and_then(|plane| plane.options(Config::default()))
            .map(|(options, _)| options.policy)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn reads_lists() {
        assert_eq!(options("--port=80,8000-8100").unwrap().ports.len(), 2);
        assert_eq!(options("--exclude-cidr=10.0.0.0/8,::1").unwrap().excluded_networks.len(), 2);
        assert_eq!(options("--direction=to-active").unwrap().direction, Direction::ToActive);
        assert!(options("--exclude-cgroup=/a").unwrap().opt_out);
        assert_eq!(options("--preset=istio-ambient").unwrap().servers.ports.len(), 3);
    }

    #[test]
    fn refuses_in_one_sentence() {
        let many = format!("--exclude-port={}", vec!["1"; MAX_RULES + 1].join(","));
        for (flag, part) in [
            ("--port=80,http", "http"),
            ("--port=", "8000-8100"),
            ("--port=0", "from 1"),
            (many.as_str(), "at most"),
            ("--cidr=10.0.0.0/33", "10.0.0.0/33"),
            ("--cidr=10.1.2.3/8", "10.0.0.0/8"),
            ("--direction=up", "to-passive"),
            ("--preset=istio", "did you mean istio-"),
        ] {
            let error = options(flag).unwrap_err();
            let name = flag.split('=').next().unwrap();
            assert!(error.contains(part) && error.contains(name) && !error.contains('\n'), "{error}");
        }
    }
}
