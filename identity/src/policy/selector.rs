//! Label selectors in Kubernetes syntax, over the attributes of an identity.
//!
//! The grammar, the characters of keys and values and what is refused are those of `labels.Parse` in Kubernetes'
//! apimachinery, with two differences. Its undocumented `<` and `>` are refused here, and so are texts over the
//! [`limits`](super::limits).
//!
//! Specification: Kubernetes, "Labels and Selectors".

mod parse;

use std::fmt;
use std::str::FromStr;

use super::error::Fault;
use crate::attributes::{AttributeValue, Attributes};

/// Requirements on attributes in Kubernetes selector syntax. All must hold; without any, everything will do.
///
/// | requirement         | key absent  | binary value | text value                 |
/// |---------------------|-------------|--------------|----------------------------|
/// | `key`               | no          | yes          | yes                        |
/// | `!key`              | yes         | no           | no                         |
/// | `key=v`, `key==v`   | fact absent | fact absent  | whether the value is `v`   |
/// | `key in (v,w)`      | fact absent | fact absent  | whether it is one of these |
/// | `key!=v`            | yes         | fact absent  | whether it is not `v`      |
/// | `key notin (v,w)`   | yes         | fact absent  | whether it is none of them |
///
/// A comma means AND. "Fact absent" is no answer, see [`policy`](crate::policy). Of a member of another trust domain whose
/// attributes are not believed, every fact is absent ([`Attributes::withheld`]).
///
/// # Example
///
/// ```
/// use identity::policy::Selector;
///
/// let selector: Selector = "environment=production,tier in (gold, silver),!quarantined".parse()?;
/// assert_eq!(selector.requirements().len(), 3);
/// assert_eq!(selector.to_string(), "environment=production,tier in (gold,silver),!quarantined");
/// # Ok::<(), identity::policy::SelectorError>(())
/// ```
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Selector {
    requirements: Box<[Requirement]>,
}

/// One requirement of a [`Selector`].
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Requirement {
    key: Box<str>,
    test: Test,
}

/// Answer of a requirement, a selector or a rule's condition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// It holds.
    Yes,
    /// It does not hold.
    No,
    /// A fact it needs is absent: it neither holds nor fails.
    Absent,
}

/// Reason a text is no selector; says where, and what to write instead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SelectorError {
    character: usize,
    pub(crate) fault: Fault,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Test {
    Exists,
    DoesNotExist,
    Equals(Box<str>),
    NotEquals(Box<str>),
    /// Ascending and unique, as are those of `NotIn`.
    In(Box<[Box<str>]>),
    NotIn(Box<[Box<str>]>),
}

impl Selector {
    /// The requirements in the order written.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether all requirements hold: no if one fails, else absent if one needs an absent fact, else yes.
    #[must_use]
    pub fn answer(&self, attributes: &Attributes) -> Answer {
        let mut answer = Answer::Yes;
        for requirement in &self.requirements {
            match requirement.answer(attributes) {
                Answer::Yes => {}
                Answer::No => return Answer::No,
                Answer::Absent => answer = Answer::Absent,
            }
        }
        answer
    }
}

impl Requirement {
    /// Key of the attribute that is asked for.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether the requirement holds, by the table of [`Selector`].
    #[must_use]
    pub fn answer(&self, attributes: &Attributes) -> Answer {
        let holds = match (&self.test, attributes.get(&self.key)) {
            // What somebody did not get to say, he has not denied.
            (_, None) if attributes.is_withheld() => return Answer::Absent,
            (Test::Exists, value) => value.is_some(),
            (Test::DoesNotExist, value) => value.is_none(),
            (Test::NotEquals(_) | Test::NotIn(_), None) => true,
            (Test::Equals(_) | Test::In(_), None) => return Answer::Absent,
            (_, Some(AttributeValue::Binary(_))) => return Answer::Absent,
            (Test::Equals(wanted), Some(AttributeValue::Text(value))) => **wanted == **value,
            (Test::NotEquals(unwanted), Some(AttributeValue::Text(value))) => **unwanted != **value,
            (Test::In(set), Some(AttributeValue::Text(value))) => {
                set.iter().any(|wanted| **wanted == **value)
            }
            (Test::NotIn(set), Some(AttributeValue::Text(value))) => {
                set.iter().all(|unwanted| **unwanted != **value)
            }
        };
        if holds { Answer::Yes } else { Answer::No }
    }
}

impl SelectorError {
    /// Where in the selector, in characters from 1.
    #[must_use]
    pub fn character(&self) -> usize {
        self.character
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    /// Parses Kubernetes selector syntax; a text without requirements holds for everything, as in Kubernetes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self {
            requirements: parse::requirements(text)?.into(),
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.test {
            Test::Exists => f.write_str(key),
            Test::DoesNotExist => write!(f, "!{key}"),
            Test::Equals(value) => write!(f, "{key}={value}"),
            Test::NotEquals(value) => write!(f, "{key}!={value}"),
            Test::In(values) => write!(f, "{key} in ({})", values.join(",")),
            Test::NotIn(values) => write!(f, "{key} notin ({})", values.join(",")),
        }
    }
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at character {}: {}",
            self.fault.problem, self.character, self.fault.remedy
        )
    }
}

impl std::error::Error for SelectorError {}

#[cfg(test)]
mod tests;
