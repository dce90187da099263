//! Glob patterns over paths.
//!
//! Segments are parted by `/`. There is no escape and no normalization: `a//b` has three segments, and `..` is a
//! segment as any other.
//!
//! # Work
//!
//! Every segment of the pattern meets every segment of the text at most once, and a meeting reads the text's segment
//! once. So a match of `n` bytes against a pattern of `k` segments takes at most `k · (n + 1)` steps, allocates nothing
//! and never goes back on a choice: the leftmost place where the segments between two `**` fit leaves the most to the
//! rest, as does the leftmost place of the characters between two `*`.

use std::fmt;
use std::str::FromStr;

use super::error::{Fault, quoted};
use super::limits::{MAX_ASTERISKS, MAX_PATTERN_BYTES};
use crate::spiffe_id::TrustDomain;

/// Glob over a path: `*` within a segment, `**` across segments, everything else literal.
///
/// | written                        | matches                                                              |
/// |--------------------------------|----------------------------------------------------------------------|
/// | `*` in a segment               | any characters of that segment, also none                            |
/// | `**` as the last segment       | one or more segments: all that lies below                            |
/// | `**` as another segment        | any number of whole segments, also none                              |
/// | any other character            | itself, byte for byte                                                |
///
/// Segments are parted by `/`. `**` has a segment of its own.
///
/// # Example
///
/// ```
/// use identity::policy::Pattern;
///
/// let pattern: Pattern = "unseal/acme/eu-*".parse()?;
/// assert!(pattern.matches("unseal/acme/eu-1"));
/// assert!(!pattern.matches("unseal/acme/eu-1/other"));
/// # Ok::<(), identity::policy::PatternError>(())
/// ```
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Pattern {
    text: Box<str>,
    shape: Shape,
}

/// Reason a text is no pattern; says what to write instead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PatternError(pub(crate) Fault);

#[derive(Clone, Eq, Hash, PartialEq)]
enum Shape {
    Literal,
    Glob {
        /// Bytes of the pattern's text, up to and including a slash, that a match begins with.
        prefix: usize,
        /// Segments after the prefix, up to the first `**` or the end.
        head: Box<[Segment]>,
        /// What follows the first `**`.
        gaps: Option<Gaps>,
    },
}

#[derive(Clone, Eq, Hash, PartialEq)]
struct Gaps {
    /// Runs of segments with a `**` on either side.
    middle: Box<[Box<[Segment]>]>,
    /// The segments after the last `**`; none if the pattern ends in `**`.
    tail: Box<[Segment]>,
}

/// One segment without `/` and `**`, cut at its `*`.
#[derive(Clone, Eq, Hash, PartialEq)]
enum Segment {
    Literal(Box<str>),
    Glob {
        first: Box<str>,
        middle: Box<[Box<str>]>,
        last: Box<str>,
    },
}

impl Pattern {
    /// Parses a pattern for SPIFFE IDs: `spiffe://`, a trust domain without wildcards, and a path.
    ///
    /// What no SPIFFE ID could match is refused: a misspelt deny rule must not be a silent one.
    ///
    /// # Errors
    ///
    /// [`PatternError`], as for [`Pattern::from_str`], and if the scheme, the trust domain or the path is not that of
    /// a SPIFFE ID.
    pub fn spiffe_id(text: &str) -> Result<Self, PatternError> {
        let Some(rest) = text.strip_prefix("spiffe://") else {
            return Err(fault(
                format!("pattern {} does not begin with spiffe://", quoted(text)),
                "write spiffe://<trust-domain>/<path>",
            ));
        };
        let (trust_domain, path) = match rest.split_once('/') {
            Some((trust_domain, path)) => (trust_domain, Some(path)),
            None => (rest, None),
        };
        if trust_domain.contains('*') {
            return Err(fault(
                format!("trust domain {} holds a wildcard", quoted(trust_domain)),
                "write the trust domain out; wildcards belong into the path",
            ));
        }
        if let Err(error) = TrustDomain::parse(trust_domain) {
            return Err(fault(
                error.to_string(),
                "write spiffe://<trust-domain>/<path>",
            ));
        }
        let Some(path) = path else {
            return Err(fault(
                format!(
                    "pattern {} has no path, and no workload's SPIFFE ID is without",
                    quoted(text)
                ),
                "add the path, or /** for every identity of the trust domain",
            ));
        };
        for segment in path.split('/') {
            if segment.is_empty() || matches!(segment, "." | "..") {
                return Err(fault(
                    format!("pattern {} has an empty, '.' or '..' segment", quoted(text)),
                    "remove doubled and last slashes and write the path out",
                ));
            }
            let allowed = |byte: u8| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'*')
            };
            if !segment.bytes().all(allowed) {
                return Err(fault(
                    format!(
                        "segment {} holds a character that no SPIFFE ID has",
                        quoted(segment)
                    ),
                    "use letters, digits, '.', '-', '_' and the wildcards * and **",
                ));
            }
        }
        text.parse()
    }

    /// Whether the whole of `text` matches; linear in the length of `text`, without allocation.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.matches_metered(text, &mut ())
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn matches_metered(&self, text: &str, meter: &mut impl Meter) -> bool {
        let Shape::Glob { prefix, head, gaps } = &self.shape else {
            return *self.text == *text;
        };
        let Some(rest) = self
            .text
            .get(..*prefix)
            .and_then(|prefix| text.strip_prefix(prefix))
        else {
            return false;
        };
        let mut rest = rest.split('/');
        if !starts_with(&mut rest, head, meter) {
            return false;
        }
        let Some(Gaps { middle, tail }) = gaps else {
            return rest.next().is_none();
        };
        for segment in tail.iter().rev() {
            if !rest
                .next_back()
                .is_some_and(|text| segment.matches(text, meter))
            {
                return false;
            }
        }
        for run in middle {
            loop {
                let mut attempt = rest.clone();
                if starts_with(&mut attempt, run, meter) {
                    rest = attempt;
                    break;
                }
                if rest.next().is_none() {
                    return false;
                }
            }
        }
        !tail.is_empty() || rest.next().is_some()
    }
}

/// Takes the segments of `run` from the front of `rest`.
fn starts_with<'t>(
    rest: &mut impl Iterator<Item = &'t str>,
    run: &[Segment],
    meter: &mut impl Meter,
) -> bool {
    run.iter()
        .all(|segment| rest.next().is_some_and(|text| segment.matches(text, meter)))
}

impl Segment {
    fn new(text: &str) -> Self {
        let Some((first, rest)) = text.split_once('*') else {
            return Self::Literal(text.into());
        };
        match rest.rsplit_once('*') {
            None => Self::Glob {
                first: first.into(),
                middle: Box::default(),
                last: rest.into(),
            },
            Some((middle, last)) => {
                let middle = middle.split('*').map(Into::into).collect();
                Self::Glob {
                    first: first.into(),
                    middle,
                    last: last.into(),
                }
            }
        }
    }

    fn matches(&self, text: &str, meter: &mut impl Meter) -> bool {
        meter.add(text.len() + 1);
        match self {
            Self::Literal(literal) => **literal == *text,
            Self::Glob {
                first,
                middle,
                last,
            } => {
                let Some(mut rest) = text
                    .strip_prefix(&**first)
                    .and_then(|rest| rest.strip_suffix(&**last))
                else {
                    return false;
                };
                for piece in middle {
                    // The standard library's search is Crochemore and Perrin's two-way one: linear at worst.
                    match rest.split_once(&**piece) {
                        Some((_, after)) => rest = after,
                        None => return false,
                    }
                }
                true
            }
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(fault(
                "pattern is empty",
                "write a pattern, or ** for everything",
            ));
        }
        if text.len() > MAX_PATTERN_BYTES {
            return Err(fault(
                format!(
                    "pattern is {} bytes long, over {MAX_PATTERN_BYTES}",
                    text.len()
                ),
                "shorten it, with a wildcard if need be",
            ));
        }
        if text.chars().any(char::is_control) {
            return Err(fault(
                format!("pattern {} holds a control character", quoted(text)),
                "remove it",
            ));
        }
        // INVARIANT (runs): `runs` holds the segments between `**`, so one more run than there are `**`.
        let mut runs = vec![Vec::new()];
        let mut prefix = 0;
        let mut asterisks = 0;
        let mut after_gap = false;
        for segment in text.split('/') {
            asterisks += segment.matches('*').count();
            if segment == "**" {
                if after_gap {
                    return Err(fault(
                        format!("pattern {} repeats **/**", quoted(text)),
                        "write ** once",
                    ));
                }
                after_gap = true;
                runs.push(Vec::new());
                continue;
            }
            after_gap = false;
            if segment.contains("**") {
                return Err(fault(
                    format!(
                        "segment {} holds ** beside other characters",
                        quoted(segment)
                    ),
                    "give ** a segment of its own, or write * to stay within the segment",
                ));
            }
            if asterisks == 0 {
                prefix += segment.len() + 1;
            } else if let Some(run) = runs.last_mut() {
                run.push(Segment::new(segment));
            }
        }
        if asterisks == 0 {
            return Ok(Self {
                text: text.into(),
                shape: Shape::Literal,
            });
        }
        if asterisks > MAX_ASTERISKS {
            return Err(fault(
                format!(
                    "pattern {} holds over {MAX_ASTERISKS} asterisks",
                    quoted(text)
                ),
                "use ** for any number of segments",
            ));
        }
        let mut runs = runs.into_iter().map(Vec::into_boxed_slice);
        let head = runs.next().unwrap_or_default();
        let gaps = runs.next_back().map(|tail| Gaps {
            middle: runs.collect(),
            tail,
        });
        Ok(Self {
            text: text.into(),
            shape: Shape::Glob { prefix, head, gaps },
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for PatternError {}

fn fault(problem: impl Into<std::borrow::Cow<'static, str>>, remedy: &'static str) -> PatternError {
    PatternError(Fault::new(problem, remedy))
}

/// Counts the bytes a match reads, in tests; nothing otherwise.
trait Meter {
    fn add(&mut self, steps: usize);
}

impl Meter for () {
    fn add(&mut self, _: usize) {}
}

#[cfg(test)]
mod tests;
