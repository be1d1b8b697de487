//! One question about this machine, its answer, and all of them together.

use std::io::{self, Write};

use serde::Serialize;

use super::faults::{DATE, FaultFacts};
use crate::syscall::{self, Errno};

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", content = "detail", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Answer {
    /// Yes; the detail may be empty.
    Yes(String),
    /// No, and what was seen.
    No(String),
    /// It could not be found out, and why not.
    Unknown(String),
}

impl Answer {
    /// What a probe says, also when it could not be made to the end.
    pub(super) fn of(outcome: Result<Self, Self>) -> Self {
        outcome.unwrap_or_else(|answer| answer)
    }

    /// What could not be found out, because of `error`. Missing privileges have findings of their own, so that here the
    /// error's advice would only repeat them.
    pub(super) fn unknown(error: &syscall::Error) -> Self {
        Self::Unknown(match error.errno() {
            Some(errno @ Errno::EPERM) => errno.to_string(),
            _ => error.to_string(),
        })
    }
}

/// How much depends on a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Need {
    /// Nothing works without.
    Required,
    /// A part does not work without, or works worse.
    Optional,
}

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The group of questions it belongs to.
    pub family: &'static str,
    /// The question, as a statement that holds when the answer is yes.
    pub name: String,
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
    /// How much depends on it.
    pub need: Need,
    /// What depends on it.
    pub why: String,
    /// What to do when the answer is not yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The known fault of the kernel that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultFacts>,
}

impl Finding {
    pub(super) fn new(family: &'static str, need: Need, name: impl Into<String>, answer: Answer) -> Self {
        Self { family, name: name.into(), answer, need, why: String::new(), remedy: None, fault: None }
    }

    /// Whether it says of a fault that it is not there, which is worth no line of text.
    fn is_absent_fault(&self) -> bool {
        self.fault.is_some() && matches!(self.answer, Answer::Yes(_))
    }

    /// What depends on it.
    pub(super) fn why(self, why: impl Into<String>) -> Self {
        Self { why: why.into(), ..self }
    }

    /// The fault that it is about.
    pub(super) fn of_fault(self, fault: FaultFacts) -> Self {
        Self { fault: Some(fault), ..self }
    }

    /// What to do; kept only when there is something to do.
    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        let remedy = (!matches!(self.answer, Answer::Yes(_))).then(|| remedy.into());
        Self { remedy, ..self }
    }
}

/// All findings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Whether everything required has been answered with yes.
    pub ok: bool,
    /// The findings, in the order they were made.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Sums up `findings`.
    pub fn new(findings: Vec<Finding>) -> Self {
        let ok =
            !findings.iter().any(|finding| finding.need == Need::Required && !matches!(finding.answer, Answer::Yes(_)));
        Self { ok, findings }
    }

    /// Prints a line for each finding, the remedy on a line below, and a sum.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut family = "";
        let (absent, shown): (Vec<_>, Vec<_>) = self.findings.iter().partition(|finding| finding.is_absent_fault());
        for finding in shown {
            if finding.family != family {
                family = finding.family;
                writeln!(out, "{family}")?;
            }
            let (mark, detail) = match &finding.answer {
                Answer::Yes(detail) => ("yes", detail),
                Answer::No(detail) => ("no", detail),
                Answer::Unknown(detail) => ("?", detail),
            };
            let need = if finding.need == Need::Required { "" } else { " (optional)" };
            let detail =
                if detail.is_empty() { String::new() } else { format!(": {}", detail.replace('\n', "\n        ")) };
            writeln!(out, "  {mark:<4}{}{need}{detail}. {}", finding.name, finding.why)?;
            if let Some(remedy) = &finding.remedy {
                writeln!(out, "      -> {remedy}")?;
            }
        }
        if !absent.is_empty() {
            writeln!(
                out,
                "known faults (as of {DATE}) that this kernel does not have or that sidestep does not use: {}; --json lists them",
                absent.len()
            )?;
        }
        let count = |wanted: fn(&Answer) -> bool, need| {
            self.findings.iter().filter(|finding| finding.need == need && wanted(&finding.answer)).count()
        };
        let no: fn(&Answer) -> bool = |answer| matches!(answer, Answer::No(_));
        let unknown: fn(&Answer) -> bool = |answer| matches!(answer, Answer::Unknown(_));
        let missing = count(no, Need::Required);
        let unknown_required = count(unknown, Need::Required);
        let optional = count(no, Need::Optional) + count(unknown, Need::Optional);
        match (missing, unknown_required) {
            (0, 0) => writeln!(out, "ok: everything required is there; {optional} optional things are not"),
            (0, unknown_required) => writeln!(out, "not ok: {unknown_required} required things could not be found out"),
            (missing, unknown_required) => {
                writeln!(
                    out,
                    "not ok: {missing} required things are missing, {unknown_required} could not be found out"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(need: Need, answer: Answer) -> Finding {
        Finding::new("family", need, "it works", answer).why("It matters.").remedy("do this")
    }

    #[test]
    fn only_required_things_decide() {
        let yes = || Answer::Yes(String::new());
        assert!(Report::new(vec![finding(Need::Required, yes())]).ok);
        assert!(Report::new(vec![finding(Need::Optional, Answer::No("x".into()))]).ok);
        assert!(!Report::new(vec![finding(Need::Required, Answer::No("x".into()))]).ok);
        assert!(!Report::new(vec![finding(Need::Required, Answer::Unknown("x".into()))]).ok);
    }

    #[test]
    fn a_remedy_is_shown_only_where_something_is_to_be_done() {
        let text = |answer| {
            let mut out = Vec::new();
            Report::new(vec![finding(Need::Required, answer)]).write(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let good = text(Answer::Yes("here".into()));
        assert_eq!(
            good,
            "family\n  yes it works: here. It matters.\nok: everything required is there; 0 optional things are not\n"
        );
        let bad = text(Answer::No("gone".into()));
        assert!(bad.contains("no  it works: gone. It matters.\n      -> do this\nnot ok: 1 required"), "{bad}");
    }

    #[test]
    fn json_has_the_answer_beside_the_name() {
        let json = serde_json::to_value(finding(Need::Optional, Answer::Unknown("EPERM".into()))).unwrap();
        assert_eq!((json["answer"].as_str(), json["detail"].as_str()), (Some("unknown"), Some("EPERM")));
        assert_eq!((json["need"].as_str(), json["remedy"].as_str()), (Some("optional"), Some("do this")));
    }
}
