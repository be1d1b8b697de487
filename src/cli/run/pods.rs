//! The pods of a running agent: each that is to be accelerated has its cgroup in the data plane, from when its annotations have been
//! read until it ends or is not meant any more.
//!
//! What is wrong with one pod is a sentence, and concerns no other. While the runtime does not answer, everything stays as it is.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::held::Held;
use super::leaving::Leaving;
use crate::agent::lifecycle::Added;
use crate::cli::error::Error;
use crate::cli::log::Log;
use crate::cli::pods::PodArgs;
use crate::cli::streams::note;
use crate::metrics::PodFacts;
use crate::pods::{ANNOTATION, Decision, Listing, Pod, Rule, Watch, find_cgroup, read};
use crate::syscall::cgroup::{Cgroup, find_all};

/// The pods, as they were read last, and those whose cgroup is in the data plane.
pub(super) struct Pods {
    rule: Rule,
    listing: Listing,
    /// By their UID.
    accelerated: BTreeMap<String, Accelerated>,
    /// Those that are not to be accelerated any more.
    leaving: Leaving,
    /// The sentences that hold now, so that each is said once.
    complaints: BTreeSet<String>,
    watch: Option<Watch>,
    is_lost: bool,
    /// What is counted; what is known otherwise is not kept up to date.
    facts: PodFacts,
}

/// A pod whose cgroup is in the data plane.
pub(super) struct Accelerated {
    pub(super) name: String,
    pub(super) cgroup: Cgroup,
    /// The kernel's number of the cgroup.
    pub(super) id: u64,
}

impl Pods {
    /// Reads them for the first time, which must succeed.
    pub(super) fn read(args: &PodArgs) -> Result<Self, Error> {
        Ok(Self {
            rule: args.rule(),
            listing: read(&args.socket()?)?,
            accelerated: BTreeMap::new(),
            leaving: Leaving::default(),
            complaints: BTreeSet::new(),
            watch: None,
            is_lost: false,
            facts: PodFacts::default(),
        })
    }

    /// Goes on reading them, with what this thread may do.
    pub(super) fn watch(&mut self, args: &PodArgs) -> Result<(), Error> {
        self.watch = Some(Watch::start(args.socket()?)?);
        Ok(())
    }

    /// The cgroups of pods that are to be accelerated, and that are in the data plane of a run before this one.
    pub(super) fn among(&self, attached: &dyn Fn(u64) -> bool) -> Vec<Cgroup> {
        let pods = self.listing.pods.iter().filter(|pod| self.rule.decide(pod) == Decision::Accelerate);
        let mounts = find_all().unwrap_or_default();
        let cgroups = pods.filter_map(|pod| find_cgroup(&mounts, pod));
        cgroups.filter(|cgroup| cgroup.id().is_ok_and(attached)).collect()
    }

    /// The cgroups of pods that are in the data plane, also of those that are leaving.
    pub(super) fn attached(&self) -> Vec<Cgroup> {
        let all = self.accelerated.values().chain(self.leaving.attached()).map(|pod| &pod.cgroup);
        all.filter(|cgroup| cgroup.exists()).filter_map(|cgroup| cgroup.try_clone().ok()).collect()
    }

    /// Readable when there is news.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Takes another rule, which [`Pods::apply`] brings into effect.
    pub(super) fn set_rule(&mut self, rule: Rule) {
        self.rule = rule;
    }

    /// What the metrics show.
    pub(super) fn facts(&self) -> PodFacts {
        PodFacts {
            accelerated: self.accelerated.len(),
            leaving: self.leaving.attached().count(),
            runtime_answers: !self.is_lost,
            ..self.facts.clone()
        }
    }

    /// When to come back, though there is no news.
    pub(super) fn next(&self) -> Option<Instant> {
        self.leaving.next()
    }

    /// Brings into effect what has been read since the last call, and takes a step with what leaves. Returns whether a pod was added.
    pub(super) fn follow(&mut self, held: &mut Held, drain: Duration, log: &mut Log<'_>) -> Result<bool, Error> {
        self.leaving.step(held, log)?;
        match self.watch.as_ref().and_then(Watch::take) {
            None => return Ok(false),
            Some(Ok(listing)) => self.listing = listing,
            Some(Err(error)) => {
                self.facts.runtime_errors += 1;
                if !self.is_lost {
                    note(format_args!("sidestep: {error} (the pods that are accelerated stay so meanwhile)"));
                }
                self.is_lost = true;
                return Ok(false);
            }
        }
        if self.is_lost {
            self.is_lost = false;
            self.facts.runtime_reconnects += 1;
            log.say("pods", "the container runtime answers again")?;
            log.out.flush()?;
        }
        self.apply(held, drain, log)
    }

    /// Adds the cgroups of pods that are to be accelerated, and lets those of others leave, within the time of `drain`. Only an error
    /// of the output is an error.
    pub(super) fn apply(&mut self, held: &mut Held, drain: Duration, log: &mut Log<'_>) -> Result<bool, Error> {
        let mut complaints: BTreeSet<String> = self.listing.complaints.iter().cloned().collect();
        let of_no_pod = complaints.len();
        let (mut opted_out, mut not_opted_in, mut not_selected) = (0, 0, 0);
        // Read only where a pod is new: a node has thousands of mounts.
        let mounts = LazyCell::new(|| find_all().unwrap_or_default());
        let (mut stays, mut new) = (BTreeSet::new(), Vec::new());
        for pod in &self.listing.pods {
            match self.rule.decide(pod) {
                Decision::Accelerate if self.accelerated.get(&pod.uid).is_some_and(|known| known.cgroup.exists()) => {
                    stays.insert(&pod.uid);
                }
                Decision::Accelerate => match find_cgroup(&mounts, pod).map(|cgroup| (cgroup.id(), cgroup)) {
                    Some((Ok(id), cgroup)) => new.push((pod, cgroup, id)),
                    _ => drop(complaints.insert(no_cgroup(pod))),
                },
                Decision::BadAnnotation(value) => drop(complaints.insert(bad_annotation(pod, &value))),
                Decision::OptedOut => opted_out += 1,
                Decision::NotOptedIn => not_opted_in += 1,
                Decision::NotSelected => not_selected += 1,
            }
        }
        let gone = self.accelerated.extract_if(.., |uid, _| !stays.contains(uid));
        gone.for_each(|(_, pod)| self.leaving.begin(pod, drain));
        let mut added = false;
        for (pod, cgroup, id) in new {
            match held.add_cgroup(&cgroup) {
                Ok(Added::Covered(by)) => drop(complaints.insert(covered(pod, &by.display()))),
                Ok(_) => {
                    log.say("pod_added", &format!("pod {pod}: accelerated ({})", cgroup.path().display()))?;
                    added = true;
                    self.leaving.forget(id);
                    self.accelerated.insert(pod.uid.clone(), Accelerated { name: pod.to_string(), cgroup, id });
                }
                // It has ended meanwhile.
                Err(_) if !cgroup.exists() => {}
                Err(error) => drop(complaints.insert(format!("pod {pod} stays plain: {error}"))),
            }
        }
        for complaint in complaints.difference(&self.complaints) {
            note(format_args!("sidestep: {complaint}"));
        }
        // Each is about one pod.
        let refused = complaints.len() - of_no_pod;
        self.facts = PodFacts { opted_out, not_opted_in, not_selected, refused, ..self.facts.clone() };
        self.complaints = complaints;
        if added {
            log.out.flush()?;
        }
        Ok(added)
    }
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
