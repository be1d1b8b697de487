//! Which pods a user means: `namespace=shop,label:app=web`.

use std::str::FromStr;

use super::Pod;

/// A condition on a pod: all of its terms hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// As it was written.
    text: String,
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    field: Field,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Namespace,
    Label(String),
    Annotation(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Is(String),
    /// Also of a pod that does not have the label, as in Kubernetes' own selectors.
    IsNot(String),
}

impl Selector {
    /// Whether it means this pod.
    pub fn matches(&self, pod: &Pod) -> bool {
        self.terms.iter().all(|term| term.matches(pod))
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Term {
    fn matches(&self, pod: &Pod) -> bool {
        let value = match &self.field {
            Field::Namespace => Some(&pod.namespace),
            Field::Label(key) => pod.labels.get(key),
            Field::Annotation(key) => pod.annotations.get(key),
        };
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Is(wanted) => value == Some(wanted),
            Test::IsNot(wanted) => value != Some(wanted),
        }
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let terms = match text {
            "all" => Vec::new(),
            terms => terms.split(',').map(term).collect::<Result<_, _>>()?,
        };
        Ok(Self { text: text.to_owned(), terms })
    }
}

const FORMS: &str = "write all, or namespace=NAME, label:KEY=VALUE, label:KEY!=VALUE, label:KEY or the same with annotation:, \
                     joined by commas";

fn term(text: &str) -> Result<Term, String> {
    let (key, test) = match text.split_once('=') {
        None => (text, Test::Exists),
        Some((key, value)) => match key.strip_suffix('!') {
            Some(key) => (key, Test::IsNot(value.to_owned())),
            None => (key, Test::Is(value.to_owned())),
        },
    };
    let named =
        |key: &str| if key.is_empty() { Err(format!("{text:?} names no key; {FORMS}")) } else { Ok(key.to_owned()) };
    let field = match key.split_once(':') {
        Some(("label", key)) => Field::Label(named(key)?),
        Some(("annotation", key)) => Field::Annotation(named(key)?),
        None if key == "namespace" => {
            if test == Test::Exists || matches!(&test, Test::Is(name) | Test::IsNot(name) if name.is_empty()) {
                return Err(format!("{text:?} names no namespace; {FORMS}"));
            }
            Field::Namespace
        }
        _ => return Err(format!("{text:?} selects no pods; {FORMS}")),
    };
    Ok(Term { field, test })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(text: &str, pod: &Pod) -> bool {
        text.parse::<Selector>().unwrap().matches(pod)
    }

    #[test]
    fn a_selector_means_the_pods_of_which_all_terms_hold() {
        let pod = Pod::of("shop", "web-1").label("app", "web").label("tier", "").annotation("team/a:b", "x=y");
        for text in [
            "all",
            "namespace=shop",
            "namespace!=kube-system",
            "label:app=web",
            "label:app",
            "label:tier=",
            "label:tier",
            "label:none!=web",
            "label:app!=db",
            "annotation:team/a:b=x=y",
            "annotation:team/a:b",
            "namespace=shop,label:app=web,annotation:team/a:b",
        ] {
            assert!(matches(text, &pod), "{text}");
        }
        for text in [
            "namespace=shop2",
            "namespace!=shop",
            "label:app=we",
            "label:none",
            "label:none=",
            "annotation:app",
            "label:app!=web",
            "namespace=shop,label:app=db",
        ] {
            assert!(!matches(text, &pod), "{text}");
        }
    }

    #[test]
    fn each_wrong_selector_is_one_sentence_with_a_remedy() {
        for text in [
            "",
            "web",
            "All",
            "namespace",
            "namespace=",
            "namespace!=",
            "label:",
            "label:=x",
            "label",
            "label=x",
            "app=web",
            "namespace=a,",
            ",",
            "pod:x=y",
            "annotation:!=x",
            "all,namespace=x",
            "label:a,=",
            "\n",
            "name=\u{0}",
        ] {
            let error = text.parse::<Selector>().unwrap_err();
            assert!(error.ends_with(FORMS) && !error.contains('\n'), "{text:?}: {error}");
        }
    }
}
