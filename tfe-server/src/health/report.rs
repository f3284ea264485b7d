//! What is known of the parts at one time.

use serde::Serialize;

/// The state of a node (Terraform Enterprise, "Readiness": status and checks by name).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The node's name.
    pub node: String,
    /// Whether it takes no new work since it is about to end.
    pub draining: bool,
    /// The parts.
    pub checks: Vec<Check>,
}

/// The state of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Which part.
    #[serde(rename = "check")]
    pub name: &'static str,
    /// Whether it works.
    #[serde(rename = "status")]
    pub condition: Condition,
    /// Why not, for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether everything works without it too, only slower.
    #[serde(skip)]
    pub optional: bool,
}

/// Whether something works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Condition {
    /// It does.
    Ok,
    /// It does, and takes no new work.
    Draining,
    /// It does not.
    Error,
}

impl Report {
    /// The worst of all that are needed.
    pub fn condition(&self) -> Condition {
        let own = if self.draining { Condition::Draining } else { Condition::Ok };
        self.checks.iter().filter(|check| !check.optional).map(|check| check.condition).fold(own, Ord::max)
    }
}

impl Check {
    /// From what the part answered.
    pub(crate) fn of(name: &'static str, answer: Result<(), String>) -> Self {
        match answer {
            Ok(()) => Self { name, condition: Condition::Ok, reason: None, optional: false },
            Err(reason) => Self { name, condition: Condition::Error, reason: Some(reason), optional: false },
        }
    }

    /// The same for a part without which everything works too.
    pub(crate) fn optional(self) -> Self {
        Self { optional: true, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_part_counts() {
        let report = |draining, answers: &[bool]| {
            let answer = |good: &bool| if *good { Ok(()) } else { Err("broken".to_owned()) };
            let checks = answers.iter().map(|good| Check::of("part", answer(good))).collect();
            Report { node: "node".to_owned(), draining, checks }.condition()
        };
        assert_eq!(report(false, &[true, true]), Condition::Ok);
        assert_eq!(report(true, &[true]), Condition::Draining);
        assert_eq!(report(true, &[true, false]), Condition::Error);
    }

    #[test]
    fn a_part_that_is_not_needed_does_not_count() {
        let checks = vec![Check::of("queue", Err("away".to_owned())).optional()];
        assert_eq!(Report { node: "node".to_owned(), draining: false, checks }.condition(), Condition::Ok);
    }
}
