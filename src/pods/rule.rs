//! Which pods are accelerated.

use super::{Pod, Selector};

/// The annotation by which a pod decides for itself.
pub const ANNOTATION: &str = "sidestep.dev/accelerate";

/// What is decided of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// It is accelerated.
    Accelerate,
    /// It stays plain, since no selector means it.
    NotSelected,
    /// It stays plain, as its annotation says.
    OptedOut,
    /// It stays plain, since it has no annotation, and the default is off.
    NotOptedIn,
    /// It stays plain, because its annotation has this value, which is neither true nor false.
    BadAnnotation(String),
}

/// The selectors, and what holds for a pod that does not decide for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// A pod that none of them means stays plain, whatever its annotation says.
    pub selectors: Vec<Selector>,
    /// Whether a pod without the annotation is accelerated.
    pub default: bool,
}

impl Rule {
    /// Decides on a pod.
    pub fn decide(&self, pod: &Pod) -> Decision {
        if !self.selectors.iter().any(|selector| selector.matches(pod)) {
            return Decision::NotSelected;
        }
        match pod.annotations.get(ANNOTATION).map(String::as_str) {
            Some("true") => Decision::Accelerate,
            Some("false") => Decision::OptedOut,
            // A pod that has tried to say something must not be taken by surprise.
            Some(other) => Decision::BadAnnotation(other.to_owned()),
            None if self.default => Decision::Accelerate,
            None => Decision::NotOptedIn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_annotation_wins_over_the_default_within_the_selectors() {
        let pod = |value: Option<&str>| match value {
            Some(value) => Pod::of("shop", "web").annotation(ANNOTATION, value),
            None => Pod::of("shop", "web"),
        };
        for default in [false, true] {
            let rule = |selector: &str| Rule { selectors: vec![selector.parse().unwrap()], default };
            let decide = |value| rule("namespace=shop").decide(&pod(value));
            assert_eq!(decide(Some("true")), Decision::Accelerate);
            assert_eq!(decide(Some("false")), Decision::OptedOut);
            assert_eq!(decide(None), if default { Decision::Accelerate } else { Decision::NotOptedIn });
            for bad in ["True", "yes", "", " true", "1"] {
                assert_eq!(decide(Some(bad)), Decision::BadAnnotation(bad.into()));
            }
            assert_eq!(rule("namespace=other").decide(&pod(Some("true"))), Decision::NotSelected);
            assert_eq!(rule("namespace=other").decide(&pod(Some("yes"))), Decision::NotSelected);
            let two = Rule { selectors: ["namespace=x", "all"].map(|text| text.parse().unwrap()).to_vec(), default };
            assert_eq!(two.decide(&pod(Some("true"))), Decision::Accelerate);
            assert_eq!(Rule { selectors: Vec::new(), default }.decide(&pod(Some("true"))), Decision::NotSelected);
        }
    }
}
