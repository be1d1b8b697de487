//! Whether this kernel has a fault.

use std::sync::OnceLock;

use super::stated_version::{self, StatedVersion};
use super::{Evidence, Fault, LIST, Probe, Reach, probes};
use crate::agent::check::finding::{Answer, Finding, Need};
use crate::agent::kernel::WEAKLY_ORDERED;
use crate::btf::Btf;
use crate::syscall::btf::shared_vmlinux;

/// What is known of the kernel.
pub(super) struct Facts {
    /// Of each fault of the list, whether the kernel's types have what it is recognised by; none where there are no types.
    types: Option<Vec<bool>>,
    release: StatedVersion,
    probes: Vec<(Probe, Answer)>,
    weakly_ordered: bool,
}

impl Facts {
    /// All that can be found out.
    pub(super) fn of_everything() -> Self {
        Self::with(probes::all())
    }

    /// What can forbid to use the kernel.
    pub(super) fn of_what_forbids() -> Self {
        Self::with(probes::of_order())
    }

    fn with(probes: Vec<(Probe, Answer)>) -> Self {
        Self { types: types(), release: StatedVersion::running(), probes, weakly_ordered: WEAKLY_ORDERED }
    }

    fn answer(&self, number: usize, fault: &Fault) -> Answer {
        if let Reach::NotUsed(why) = fault.reach {
            return Answer::Yes(format!("not used here: {why}"));
        }
        match fault.evidence {
            Evidence::Field(structure, field) => self.in_types(number, &format!("the field {structure}.{field}")),
            Evidence::Function(name, since) => match self.release {
                StatedVersion::Exactly(release) | StatedVersion::Series(release) if release >= since => {
                    Answer::No(format!("Linux {} and later", stated_version::short(since)))
                }
                _ => self.in_types(number, &format!("the function {name}")),
            },
            Evidence::Probe(probe) => {
                let found = self.probes.iter().find(|(known, _)| *known == probe);
                match found.map(|(_, answer)| answer.clone()) {
                    // Without what is to be tried, the version is all that there is.
                    Some(Answer::Unknown(why)) if !fault.fixed.is_empty() && !fault.forbids() => {
                        match by_release(fault, self.release) {
                            Answer::Unknown(version) => Answer::Unknown(format!("{why}; {version}")),
                            stated => stated,
                        }
                    }
                    Some(answer) => answer,
                    None => Answer::Unknown("it has not been tried".into()),
                }
            }
            Evidence::WeakOrder if self.weakly_ordered => Answer::Unknown(format!(
                "{} does not promise the order; no kernel has been seen to break it",
                std::env::consts::ARCH
            )),
            Evidence::WeakOrder => Answer::Yes("the processor keeps the order".into()),
            Evidence::Release => by_release(fault, self.release),
        }
    }

    fn in_types(&self, number: usize, what: &str) -> Answer {
        match self.types.as_ref().map(|types| types.get(number).copied().unwrap_or_default()) {
            Some(true) => Answer::No(format!("this kernel has {what}")),
            Some(false) => Answer::Yes(String::new()),
            None => Answer::Unknown("there is no vmlinux BTF to look in".into()),
        }
    }
}

/// What the version says. It can say that the fault is not there, and never for certain that it is.
fn by_release(fault: &Fault, stated: StatedVersion) -> Answer {
    let fixed = stated_version::listed(fault.fixed);
    let (release, is_exact) = match stated {
        StatedVersion::Exactly(release) => (release, true),
        StatedVersion::Series(release) => (release, false),
        StatedVersion::Unknown => {
            return Answer::Unknown(format!("the kernel does not tell its version; corrected in {fixed}"));
        }
    };
    let name = stated_version::short(release);
    if stated_version::has(fault.fixed, release) {
        return Answer::Yes(format!("corrected in {fixed}"));
    }
    let had = fault.since.is_empty() || stated_version::has(fault.since, release);
    match (had, is_exact) {
        (false, true) => Answer::Yes(format!("it came with {}", stated_version::listed(fault.since))),
        (_, true) => Answer::Unknown(format!(
            "Linux {name} may have the fault, unless its maker has corrected it; corrected in {fixed}"
        )),
        (_, false) => {
            Answer::Unknown(format!("this kernel's name, {name}, does not tell its corrections; corrected in {fixed}"))
        }
    }
}

/// What `check` says of one fault.
pub(super) fn finding(fault: &'static Fault, facts: &Facts) -> Finding {
    let number = LIST.iter().position(|known| known.id == fault.id).unwrap_or(LIST.len());
    // What only may be there is not a reason to refuse.
    let need = match fault.evidence {
        Evidence::Release | Evidence::WeakOrder => Need::Optional,
        _ if fault.forbids() => Need::Required,
        _ => Need::Optional,
    };
    let name = format!("{} ({})", fault.holds, fault.called());
    let remedy = match fault.reach {
        Reach::Avoided(how) => format!("{how}; {}", fault.remedy),
        Reach::Reached | Reach::NotUsed(_) => fault.remedy.into(),
    };
    let why = format!("Severity {}: {}", fault.effect.severity(), fault.why);
    Finding::new("faults", need, name, facts.answer(number, fault)).why(why).remedy(remedy).of_fault(fault.facts())
}

/// A sentence for each fault that is surely there and forbids to use the kernel.
pub(super) fn forbidding(facts: &Facts) -> Vec<String> {
    let found = LIST.iter().enumerate().filter(|(_, fault)| fault.forbids());
    let found = found.filter_map(|(number, fault)| match facts.answer(number, fault) {
        Answer::No(seen) => Some(format!("it does not hold that {} ({seen}; {})", fault.holds, fault.called())),
        Answer::Yes(_) | Answer::Unknown(_) => None,
    });
    found.collect()
}

/// Looked up once: the types have megabytes.
fn types() -> Option<Vec<bool>> {
    static KNOWN: OnceLock<Option<Vec<bool>>> = OnceLock::new();
    KNOWN.get_or_init(|| shared_vmlinux().ok().map(|btf| in_types(&btf))).clone()
}

/// Of each fault of the list, whether it is recognised in these types.
fn in_types(btf: &Btf) -> Vec<bool> {
    let has = |fault: &Fault| match fault.evidence {
        Evidence::Field(structure, field) => btf.field(structure, field).is_ok(),
        Evidence::Function(name, _) => btf.func_by_name(name).is_some(),
        Evidence::Probe(_) | Evidence::WeakOrder | Evidence::Release => false,
    };
    LIST.iter().map(has).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Effect;
    use super::*;
    use crate::btf::{BtfBuilder, Linkage};
    use crate::syscall::Release;

    fn facts(types: Option<&Btf>, release: StatedVersion, probes: Vec<(Probe, Answer)>) -> Facts {
        Facts { types: types.map(in_types), release, probes, weakly_ordered: true }
    }

    fn find(id: &str) -> (usize, &'static Fault) {
        LIST.iter().enumerate().find(|(_, fault)| fault.id == id).unwrap()
    }

    /// A kernel's types with `sk_psock`, which has `fields` beside its queue, and with a function of this name.
    fn types(fields: &[&str], function: Option<&str>) -> Btf {
        let mut builder = <BtfBuilder>::new();
        let word = builder.int("unsigned long", 8, false);
        let list = builder.structure("list_head", 16, &[("next", word, 0), ("prev", word, 64)]);
        let names = std::iter::once("ingress_msg").chain(fields.iter().copied());
        let members: Vec<_> = names.enumerate().map(|(n, name)| (name, list, n as u32 * 128)).collect();
        builder.structure("sk_psock", members.len() as u32 * 16, &members);
        if let Some(name) = function {
            let proto = builder.func_proto(word, &[]);
            builder.func(name, proto, Linkage::Static);
        }
        Btf::parse(builder.finish()).unwrap()
    }

    const OLD: StatedVersion = StatedVersion::Exactly(Release(6, 12, 117));

    #[test]
    fn a_kernel_that_corks_redirected_messages_is_refused() {
        let corks = types(&["backlog_msg"], None);
        let found = forbidding(&facts(Some(&corks), OLD, vec![]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("the field sk_psock.backlog_msg"), "{found:?}");
        let (_, fault) = find("corked-redirection");
        let said = finding(fault, &facts(Some(&corks), OLD, vec![]));
        assert_eq!((said.need, said.remedy.is_some()), (Need::Required, true));
        for other in [types(&[], None), types(&["backlog_work", "link"], None)] {
            assert_eq!(forbidding(&facts(Some(&other), OLD, vec![])), Vec::<String>::new());
        }
        // Without types nothing is certain.
        assert_eq!(forbidding(&facts(None, OLD, vec![])), Vec::<String>::new());
    }

    #[test]
    fn a_probe_that_says_no_forbids_and_one_that_cannot_tell_does_not() {
        let good = types(&[], None);
        for probe in [Probe::AtOnce, Probe::Order, Probe::AfterLeaving] {
            for (answer, expected) in
                [(Answer::Yes(String::new()), 0), (Answer::Unknown("EPERM".into()), 0), (Answer::No("seen".into()), 1)]
            {
                let found = forbidding(&facts(Some(&good), OLD, vec![(probe, answer.clone())]));
                assert_eq!(found.len(), expected, "{probe:?} {answer:?}: {found:?}");
            }
        }
    }

    #[test]
    fn no_version_forbids() {
        let good = types(&[], None);
        for release in [Release(5, 10, 1), Release(5, 15, 0), Release(6, 6, 1), Release(7, 3, 4), Release(9, 0, 0)] {
            for stated in [StatedVersion::Exactly(release), StatedVersion::Series(release), StatedVersion::Unknown] {
                assert_eq!(forbidding(&facts(Some(&good), stated, vec![])), Vec::<String>::new(), "{stated:?}");
            }
        }
    }

    #[test]
    fn an_avoided_fault_is_named_and_does_not_forbid() {
        let new = types(&[], Some("bpf_selem_unlink_nofail"));
        let (number, fault) = find("storage-iterator");
        assert!(matches!(facts(Some(&new), OLD, vec![]).answer(number, fault), Answer::No(_)));
        assert!(matches!(facts(Some(&types(&[], None)), OLD, vec![]).answer(number, fault), Answer::Yes(_)));
        let inlined = facts(Some(&types(&[], None)), StatedVersion::Exactly(Release(7, 3, 4)), vec![]);
        assert!(matches!(inlined.answer(number, fault), Answer::No(_)));
        assert_eq!(forbidding(&inlined), Vec::<String>::new());
        assert!(finding(fault, &inlined).remedy.unwrap().starts_with("sidestep"));
    }

    #[test]
    fn an_order_that_the_processor_may_not_keep_is_named_and_does_not_forbid() {
        let of = |weakly_ordered| Facts { weakly_ordered, ..facts(Some(&types(&[], None)), OLD, vec![]) };
        let orders: Vec<_> = LIST.iter().filter(|fault| fault.evidence == Evidence::WeakOrder).collect();
        assert_eq!(orders.len(), 2);
        for fault in orders {
            let said = finding(fault, &of(true));
            assert!(matches!(said.answer, Answer::Unknown(_)), "{said:?}");
            assert_eq!((said.need, said.fault.unwrap().severity), (Need::Optional, "critical"));
            assert!(said.remedy.unwrap().contains("x86_64"));
            assert!(matches!(finding(fault, &of(false)).answer, Answer::Yes(_)));
        }
        assert_eq!(forbidding(&of(true)), Vec::<String>::new());
    }

    #[test]
    fn a_version_says_that_a_fault_is_corrected_or_that_it_may_be_there() {
        let (_, fault) = find("zero-length-read");
        assert_eq!(fault.effect, Effect::CrashesKernel);
        let says = |stated| by_release(fault, stated);
        assert!(matches!(says(StatedVersion::Exactly(Release(6, 1, 20))), Answer::Yes(_)));
        assert!(matches!(says(StatedVersion::Exactly(Release(6, 12, 0))), Answer::Yes(_)));
        assert!(
            matches!(says(StatedVersion::Exactly(Release(6, 1, 19))), Answer::Unknown(why) if why.contains("6.1.19 may have"))
        );
        // A series that had the correction from its start has it in every distribution's kernel.
        assert!(matches!(says(StatedVersion::Series(Release(6, 4, 0))), Answer::Yes(_)));
        assert!(
            matches!(says(StatedVersion::Series(Release(5, 14, 0))), Answer::Unknown(why) if why.contains("does not tell"))
        );
        assert!(matches!(says(StatedVersion::Unknown), Answer::Unknown(_)));
        let (_, later) = find("close-race");
        assert!(
            matches!(by_release(later, StatedVersion::Exactly(Release(5, 10, 9))), Answer::Yes(why) if why.contains("5.13"))
        );
        // A distribution may have taken the fault into an older kernel.
        assert!(matches!(by_release(later, StatedVersion::Series(Release(5, 10, 0))), Answer::Unknown(_)));
    }

    #[test]
    fn a_probe_that_cannot_be_made_leaves_the_version() {
        let (number, fault) = find("ktls");
        let unknown = |stated| facts(None, stated, vec![(Probe::TlsKeys, Answer::Unknown("no kTLS".into()))]);
        let corrected = unknown(StatedVersion::Exactly(Release(6, 18, 53)));
        assert!(matches!(corrected.answer(number, fault), Answer::Yes(_)));
        let open = unknown(StatedVersion::Exactly(Release(6, 18, 15)));
        assert!(
            matches!(open.answer(number, fault), Answer::Unknown(why) if why.starts_with("no kTLS; Linux 6.18.15"))
        );
    }

    #[test]
    fn what_is_not_used_is_never_a_finding_to_act_on() {
        let nothing = facts(None, StatedVersion::Unknown, vec![]);
        for (number, fault) in LIST.iter().enumerate() {
            let is_used = !matches!(fault.reach, Reach::NotUsed(_));
            assert_eq!(matches!(nothing.answer(number, fault), Answer::Yes(_)), !is_used, "{}", fault.id);
        }
    }
}
