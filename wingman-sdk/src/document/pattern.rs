//! Patterns that choose values by their names.

use std::{fmt, str::FromStr};

use super::{
    error::PathError,
    path::{KeyPath, Segment, Step, refuse, split},
};

/// Chooses values by their key path, without regard to case.
///
/// - One name, such as `*password*` or `token`: every value that has such a name anywhere in its path.
/// - Several, such as `db.*`, `servers[*].token`, `**.auth.key`: every value whose path begins so. `**` stands for any number of
///   names and indices, none too.
///
/// Within a name `*` stands for any characters and `?` for one; `[*]` is any index. A name in quotes, as in key paths, is taken as it
/// is. What a pattern chooses it chooses with everything below, so `*secret*` covers `secrets.db[0]`.
///
/// ```
/// use wingman_sdk::document::KeyPattern;
///
/// let pattern: KeyPattern = "*password*".parse()?;
/// assert!(pattern.matches(&"db.rootPassword".parse()?));
/// assert!(pattern.matches(&"passwords[0].value".parse()?));
/// assert!(!pattern.matches(&"db.user".parse()?));
///
/// let pattern: KeyPattern = "servers[*].token".parse()?;
/// assert!(pattern.matches(&"servers[7].token".parse()?));
/// assert!(!pattern.matches(&"old.servers[7].token".parse()?));
/// # Ok::<(), wingman_sdk::document::PathError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyPattern {
    text: String,
    steps: Vec<Matcher>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Matcher {
    /// Any number of steps.
    Any,
    /// A name, in lower case.
    Glob(Vec<char>),
    /// A name without wildcards, in lower case.
    Name(String),
    AnyIndex,
    Index(usize),
}

impl KeyPattern {
    /// Whether the value at `path` is chosen.
    pub fn matches(&self, path: &KeyPath) -> bool {
        let segments = path.segments();
        if let [name @ (Matcher::Glob(_) | Matcher::Name(_))] = self.steps.as_slice() {
            return segments.iter().any(|segment| name.takes(segment));
        }
        // Which lengths of the path the steps so far can have taken.
        let mut taken = vec![false; segments.len() + 1];
        if let Some(first) = taken.first_mut() {
            *first = true;
        }
        for step in &self.steps {
            let mut next = vec![false; taken.len()];
            let mut reached = false;
            for (length, slot) in next.iter_mut().enumerate() {
                let here = taken.get(length).copied().unwrap_or(false);
                *slot = match step {
                    Matcher::Any => {
                        reached |= here;
                        reached
                    }
                    _ => length.checked_sub(1).is_some_and(|before| {
                        taken.get(before).copied().unwrap_or(false)
                            && segments
                                .get(before)
                                .is_some_and(|segment| step.takes(segment))
                    }),
                };
            }
            taken = next;
        }
        taken.contains(&true)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Matcher {
    fn takes(&self, segment: &Segment) -> bool {
        match (self, segment) {
            (Self::Any, _) | (Self::AnyIndex, Segment::Index(_)) => true,
            (Self::Index(wanted), Segment::Index(index)) => wanted == index,
            (Self::Name(wanted), Segment::Key(key)) => *wanted == key.to_lowercase(),
            (Self::Glob(glob), Segment::Key(key)) => {
                let key: Vec<char> = key.to_lowercase().chars().collect();
                glob_matches(glob, &key)
            }
            _ => false,
        }
    }
}

/// Takes at most the product of both lengths in steps.
fn glob_matches(glob: &[char], text: &[char]) -> bool {
    let (mut g, mut t) = (0, 0);
    // Where to go on after the last `*` has taken one more character.
    let mut retry: Option<(usize, usize)> = None;
    while let Some(character) = text.get(t) {
        match glob.get(g) {
            Some('*') => {
                retry = Some((g + 1, t));
                g += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == character => {
                g += 1;
                t += 1;
            }
            _ => {
                let Some((after, taken)) = retry else {
                    return false;
                };
                retry = Some((after, taken + 1));
                (g, t) = (after, taken + 1);
            }
        }
    }
    glob.get(g..)
        .unwrap_or_default()
        .iter()
        .all(|rest| *rest == '*')
}

impl FromStr for KeyPattern {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let bare =
            |byte: u8| byte.is_ascii_alphanumeric() || b"_-*?".contains(&byte) || !byte.is_ascii();
        let steps = split(text, bare)?;
        if steps.is_empty() {
            return Err(refuse(text, "a pattern names something"));
        }
        let steps = steps.into_iter().map(|step| match step {
            Step::Bare(name) if name == "**" => Ok(Matcher::Any),
            Step::Bare(name) => Ok(Matcher::Glob(name.to_lowercase().chars().collect())),
            Step::Quoted(name) => Ok(Matcher::Name(name.to_lowercase())),
            Step::Index(index) if index == "*" => Ok(Matcher::AnyIndex),
            Step::Index(index) => index
                .parse()
                .map(Matcher::Index)
                .map_err(|_| refuse(text, "in brackets stands a number or *")),
        });
        Ok(Self {
            text: text.to_owned(),
            steps: steps.collect::<Result<_, _>>()?,
        })
    }
}

impl fmt::Display for KeyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
