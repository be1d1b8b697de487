//! The pods of a running agent: each that is to be accelerated has its cgroup in the data plane, from when its annotations have been
//! read until it ends or is not meant any more.
//!
//! What is wrong with one pod is a sentence, and concerns no other. While the runtime does not answer, everything stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::held::Held;
use crate::agent::lifecycle::Added;
use crate::cli::error::Error;
use crate::cli::log::Log;
use crate::cli::pods::PodArgs;
use crate::cli::streams::note;
use crate::pods::{ANNOTATION, Decision, Listing, Pod, Rule, Watch, find_cgroup, read};
use crate::syscall::cgroup::{Cgroup, find_all};

/// The pods, as they were read last, and those whose cgroup is in the data plane.
pub(super) struct Pods {
    rule: Rule,
    listing: Listing,
    /// By their UID.
    accelerated: BTreeMap<String, Accelerated>,
    /// Cgroups that were taken out while bytes were unread, by the kernel's number.
    left: BTreeSet<u64>,
    /// The sentences that hold now, so that each is said once.
    complaints: BTreeSet<String>,
    watch: Option<Watch>,
    is_lost: bool,
}

/// A pod whose cgroup is in the data plane.
struct Accelerated {
    name: String,
    cgroup: Cgroup,
    id: u64,
}

impl Pods {
    /// Reads them for the first time, which must succeed.
    pub(super) fn read(args: &PodArgs) -> Result<Self, Error> {
        Ok(Self {
            rule: args.rule(),
            listing: read(&args.socket()?)?,
            accelerated: BTreeMap::new(),
            left: BTreeSet::new(),
            complaints: BTreeSet::new(),
            watch: None,
            is_lost: false,
        })
    }

    /// Goes on reading them, with what this thread may do.
    pub(super) fn watch(&mut self, args: &PodArgs) -> Result<(), Error> {
        self.watch = Some(Watch::start(args.socket()?)?);
        Ok(())
    }

    /// The cgroups of pods that `rule` accelerates, and that are in the data plane already, by the kernel's number.
    pub(super) fn among(&self, rule: &Rule, attached: &dyn Fn(u64) -> bool) -> Vec<Cgroup> {
        let pods = self.listing.pods.iter().filter(|pod| rule.decide(pod) == Decision::Accelerate);
        let mounts = find_all().unwrap_or_default();
        let cgroups = pods.filter_map(|pod| find_cgroup(&mounts, pod));
        cgroups.filter(|cgroup| cgroup.id().is_ok_and(attached)).collect()
    }

    /// Readable when there is news.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Takes another rule, which [`Pods::apply`] brings into effect.
    pub(super) fn set_rule(&mut self, rule: Rule) {
        self.rule = rule;
    }

    /// The rule of the flags.
    pub(super) fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Brings into effect what has been read since the last call. Returns whether a pod was added.
    pub(super) fn follow(&mut self, held: &mut Held, drain: Duration, log: &mut Log<'_>) -> Result<bool, Error> {
        match self.watch.as_ref().and_then(Watch::take) {
            None => return Ok(false),
            Some(Ok(listing)) => self.listing = listing,
            Some(Err(error)) => {
                if !self.is_lost {
                    note(format_args!("sidestep: {error} (the pods that are accelerated stay so meanwhile)"));
                }
                self.is_lost = true;
                return Ok(false);
            }
        }
        if self.is_lost {
            self.is_lost = false;
            log.say("pods", "the container runtime answers again")?;
            log.out.flush()?;
        }
        self.apply(held, drain, log)
    }

    /// Adds the cgroups of pods that are to be accelerated, and takes out those of others. Only an error of the output is an error.
    pub(super) fn apply(&mut self, held: &mut Held, drain: Duration, log: &mut Log<'_>) -> Result<bool, Error> {
        let mut complaints: BTreeSet<String> = self.listing.complaints.iter().cloned().collect();
        let mounts = find_all().unwrap_or_default();
        let mut wanted = BTreeMap::new();
        for pod in &self.listing.pods {
            match self.rule.decide(pod) {
                Decision::Accelerate => match find_cgroup(&mounts, pod).map(|cgroup| (cgroup.id(), cgroup)) {
                    Some((Ok(id), cgroup)) => drop(wanted.insert(pod.uid.clone(), (pod, cgroup, id))),
                    _ => drop(complaints.insert(no_cgroup(pod))),
                },
                Decision::BadAnnotation(value) => drop(complaints.insert(bad_annotation(pod, &value))),
                _ => {}
            }
        }
        // A pod that has opted out leaves before others come.
        let stays = |uid: &String, pod: &Accelerated| wanted.get(uid).is_some_and(|(_, _, id)| *id == pod.id);
        let gone = self.accelerated.extract_if(.., |uid, pod| !stays(uid, pod)).map(|(_, pod)| pod);
        let mut changed = false;
        for pod in gone.collect::<Vec<_>>() {
            changed = true;
            match remove(held, &pod, drain) {
                Ok(0) => {}
                Ok(_) => drop(self.left.insert(pod.id)),
                Err(error) => note(format_args!("sidestep: pod {}: {error}", pod.name)),
            }
            log.say("pod_removed", &format!("pod {}: plain TCP from now on", pod.name))?;
        }
        let mut added = false;
        for (uid, (pod, cgroup, id)) in wanted {
            if self.accelerated.contains_key(&uid) {
                continue;
            }
            match held.add_cgroup(&cgroup) {
                Ok(Added::Covered(by)) => drop(complaints.insert(covered(pod, &by.display()))),
                Ok(_) => {
                    log.say("pod_added", &format!("pod {pod}: accelerated ({})", cgroup.path().display()))?;
                    (changed, added) = (true, true);
                    self.left.remove(&id);
                    self.accelerated.insert(uid, Accelerated { name: pod.to_string(), cgroup, id });
                }
                // It has ended meanwhile.
                Err(_) if !cgroup.exists() => {}
                Err(error) => drop(complaints.insert(format!("pod {pod} stays plain: {error}"))),
            }
        }
        self.left.retain(|id| !held.has_left(*id));
        for complaint in complaints.difference(&self.complaints) {
            note(format_args!("sidestep: {complaint}"));
        }
        self.complaints = complaints;
        if changed {
            log.out.flush()?;
        }
        Ok(added)
    }
}

/// Of a pod that has ended, no reader is waited for.
fn remove(held: &mut Held, pod: &Accelerated, drain: Duration) -> Result<usize, Error> {
    held.remove_cgroup(pod.id, if pod.cgroup.exists() { drain } else { Duration::ZERO })
}

fn no_cgroup(pod: &Pod) -> String {
    format!(
        "pod {pod} stays plain: no cgroup bears its UID {:?} below the mount of cgroup2; look with `systemd-cgls` where the kubelet \
         puts pods",
        pod.uid
    )
}

fn bad_annotation(pod: &Pod, value: &str) -> String {
    let value: String = value.chars().take(MAX_VALUE).collect();
    format!("pod {pod} stays plain: its annotation {ANNOTATION} is {value:?}; set it to \"true\" or \"false\"")
}

/// Most characters that are shown of a value.
const MAX_VALUE: usize = 60;

fn covered(pod: &Pod, by: &dyn std::fmt::Display) -> String {
    format!("pod {pod} is inside {by}, which is attached by itself; take that out with `sidestep cgroup remove {by}`")
}
