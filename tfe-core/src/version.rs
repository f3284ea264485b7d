//! Which version of the engine a workspace wants: the engine's own constraint language over semantic versions.
//!
//! The `semver` crate's ranges mean something else (`1.5` is `^1.5` there and `1.5.0` here) and have no `~>` or `!=`,
//! so the language is read here and only the versions are theirs. Three kinds of text that the engine refuses or reads
//! in surprising ways are refused: pre-releases in ranges, build metadata, and versions of four parts.

use std::{fmt, str::FromStr};

use semver::{Prerelease, Version};

use crate::error::Invalid;

/// What a version must satisfy: `latest`, or clauses such as `>= 1.5, != 1.6.1, < 2` that all must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    text: String,
    /// None for `latest`.
    clauses: Vec<Clause>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Clause {
    operator: Operator,
    version: Version,
    /// How many parts were written, 1 to 3; the others are 0.
    parts: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Compatible,
}

/// The newest version that is not a pre-release.
const LATEST: &str = "latest";

/// Longer ones before those they begin with.
const OPERATORS: [(&str, Operator); 7] = [
    ("!=", Operator::NotEqual),
    (">=", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    ("~>", Operator::Compatible),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("=", Operator::Equal),
];

impl Constraint {
    /// Reads a constraint; the error says what is wrong with which part.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let clauses = match text {
            LATEST => Vec::new(),
            _ => text.split(',').map(|clause| Clause::parse(clause.trim())).collect::<Result<_, _>>()?,
        };
        Ok(Self { text: text.to_owned(), clauses })
    }

    /// Whether the version satisfies it. A pre-release does only when it is named exactly.
    pub fn matches(&self, version: &Version) -> bool {
        if version.pre.is_empty() {
            self.clauses.iter().all(|clause| clause.matches(version))
        } else {
            self.is_exact() && self.clauses.iter().all(|clause| clause.matches(version))
        }
    }

    /// The newest of the versions that satisfy it.
    pub fn newest<'a>(&self, versions: impl IntoIterator<Item = &'a Version>) -> Option<&'a Version> {
        versions.into_iter().filter(|version| self.matches(version)).max_by(|a, b| a.cmp_precedence(b))
    }

    /// Whether it names one version, such as `1.11.4`.
    pub fn is_exact(&self) -> bool {
        matches!(self.clauses.as_slice(), [Clause { operator: Operator::Equal, .. }])
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for Constraint {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl Clause {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let (operator, rest) = OPERATORS
            .iter()
            .find_map(|(sign, operator)| text.strip_prefix(sign).map(|rest| (*operator, rest.trim_start())))
            .unwrap_or((Operator::Equal, text));
        let (version, parts) = parse_version(rest).ok_or_else(|| {
            invalid(
                text,
                "is not a version constraint; write a version such as 1.11.4, a range such as \"~> 1.11.0\" or \">= 1.5, < 2\", or latest",
            )
        })?;
        if !version.pre.is_empty() && operator != Operator::Equal {
            return Err(invalid(text, "has a pre-release in a range; a pre-release can only be named exactly"));
        }
        Ok(Self { operator, version, parts })
    }

    fn matches(&self, version: &Version) -> bool {
        let order = version.cmp_precedence(&self.version);
        match self.operator {
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Compatible => order.is_ge() && self.shares_all_but_last_part(version),
        }
    }

    /// Only the last written part may rise; a single part may therefore rise without bound, as in the engine.
    fn shares_all_but_last_part(&self, version: &Version) -> bool {
        let parts = |version: &Version| [version.major, version.minor, version.patch];
        let fixed = self.parts - 1;
        parts(version)[..fixed] == parts(&self.version)[..fixed]
    }
}

/// A version of one to three numbers, with a leading `v` or a pre-release if need be, and how many numbers it has.
fn parse_version(text: &str) -> Option<(Version, usize)> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (numbers, pre) = text.split_once('-').map_or((text, None), |(numbers, pre)| (numbers, Some(pre)));
    let pre = match pre {
        Some("") => return None,
        Some(pre) => Prerelease::new(pre).ok()?,
        None => Prerelease::EMPTY,
    };
    let numbers: Vec<u64> = numbers.split('.').map(number).collect::<Option<_>>()?;
    let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
    (numbers.len() <= 3).then(|| (Version { pre, ..Version::new(at(0), at(1), at(2)) }, numbers.len()))
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn invalid(text: &str, why: &str) -> Invalid {
    Invalid::attribute("terraform-version", format!("\"{text}\" {why}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn constraint(text: &str) -> Constraint {
        Constraint::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// The answers of terraform 1.11.4 to `required_version`.
    #[test]
    fn it_agrees_with_the_engine() {
        let engine = Version::new(1, 11, 4);
        let accepted = [
            "1.11.4",
            "= 1.11.4",
            "v1.11.4",
            "1.011.4",
            "~> 1",
            "~> 0",
            "~> 1.11",
            "~> 1.10",
            "~> 1.11.0",
            ">= 1.2, < 2",
            ">=1.2,<2",
            "!= 1.11",
            "> 1.11",
            ">= 1",
            "< 2",
            "  >=   1.2  ",
        ];
        for text in accepted {
            assert!(constraint(text).matches(&engine), "{text}");
        }
        let unsupported = ["1.11", "~> 1.11.5", "~> 1.10.0", "!= 1.11.4", "= 1", "1", "~> 1.2, != 1.11.4", "> 1.11.4", "<= 1.11.3"];
        for text in unsupported {
            assert!(!constraint(text).matches(&engine), "{text}");
        }
    }

    #[test]
    fn what_is_no_constraint_is_refused() {
        for text in [
            "",
            ",",
            ">= 1.0,",
            "^1.2",
            "1.x",
            "=> 1.0",
            "> = 1.0",
            "== 1.11.4",
            ">= 1.2 < 2",
            "latest, < 2",
            "1.",
            ".1",
            "-1",
            "1.2.3-",
            "+1",
        ] {
            assert!(Constraint::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn surprising_texts_are_refused() {
        for text in [">= 1.12.0-beta1", "!= 1.11.4-beta1", "~> 1.12.0-rc1", "1.11.4+meta", "1.11.4.0", "~> 1.11.4.0"] {
            assert!(Constraint::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pre_release_is_only_found_by_its_name() {
        let beta = Version::parse("1.12.0-beta1").unwrap();
        assert!(constraint("1.12.0-beta1").matches(&beta));
        for text in ["latest", ">= 1.0", "!= 1.0", "1.12.0", "~> 1.12"] {
            assert!(!constraint(text).matches(&beta), "{text}");
        }
    }

    #[test]
    fn the_newest_matching_version_is_found() {
        let versions = ["1.9.8", "1.12.0-rc1", "1.11.4", "1.10.5", "1.9.10"].map(|text| Version::parse(text).unwrap());
        for (text, newest) in [("latest", "1.11.4"), ("~> 1.9.0", "1.9.10"), ("< 1.11", "1.10.5"), ("1.12.0-rc1", "1.12.0-rc1")] {
            assert_eq!(constraint(text).newest(&versions).map(Version::to_string).as_deref(), Some(newest), "{text}");
        }
        assert_eq!(constraint("> 2").newest(&versions), None);
    }

    #[test]
    fn it_is_shown_as_it_was_written() {
        for (text, exact) in
            [("~> 1.9.0", false), (">=1.2,<2", false), ("latest", false), ("1.5", true), ("= 1.5.1", true), ("1.5, 1.5", false)]
        {
            assert_eq!((constraint(text).to_string().as_str(), constraint(text).is_exact()), (text, exact));
        }
    }

    proptest! {
        #[test]
        fn compatible_is_its_range(a in 0u64..4, b in 0u64..4, c in 0u64..4, x in 0u64..5, y in 0u64..5, z in 0u64..5) {
            let version = Version::new(x, y, z);
            for (short, range) in [
                (format!("~> {a}"), format!(">= {a}")),
                (format!("~> {a}.{b}"), format!(">= {a}.{b}, < {}", a + 1)),
                (format!("~> {a}.{b}.{c}"), format!(">= {a}.{b}.{c}, < {a}.{}", b + 1)),
            ] {
                prop_assert_eq!(constraint(&short).matches(&version), constraint(&range).matches(&version), "{} {}", short, version);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in r"[0-9a-z.,<>=!~v+ -]{0,20}") {
            if let Ok(constraint) = Constraint::parse(&text) {
                prop_assert_eq!(Constraint::parse(&constraint.to_string()).unwrap(), constraint);
            }
        }
    }
}
