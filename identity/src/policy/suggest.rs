//! The name a writer probably meant.

/// Longest text that is compared; no known name is half as long.
const MAX_COMPARED_BYTES: usize = 32;

/// The one of `known` nearest to `written`, if it is near: another spelling of it, or at most two slips away.
pub(crate) fn nearest<'k>(
    written: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    if written.len() > MAX_COMPARED_BYTES {
        return None;
    }
    let plain = plain(written);
    let (slips, name) = known
        .into_iter()
        .map(|name| (distance(&plain, &self::plain(name)), name))
        .min_by_key(|(slips, _)| *slips)?;
    // Short names are near to everything.
    (slips <= 2 && slips * 2 < name.len()).then_some(name)
}

/// Lower case without separators: `notBefore` and `not-before` are `not_before`.
fn plain(name: &str) -> Vec<char> {
    name.chars()
        .filter(|c| !matches!(c, '_' | '-' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Levenshtein's distance: insertions, deletions and replacements.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (index, from) in a.iter().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (to, above) in b.iter().zip(row.iter().skip(1)) {
            left = (left + 1)
                .min(above + 1)
                .min(diagonal + usize::from(from != to));
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 6] = [
        "name",
        "effect",
        "actions",
        "principal",
        "resource",
        "not_before",
    ];

    #[test]
    fn near_names_are_found() {
        for (written, meant) in [
            ("efect", "effect"),
            ("Effects", "effect"),
            ("action", "actions"),
            ("principle", "principal"),
            ("principals", "principal"),
            ("notBefore", "not_before"),
            ("not-before", "not_before"),
            ("NAME", "name"),
        ] {
            assert_eq!(nearest(written, KNOWN), Some(meant), "{written}");
        }
    }

    #[test]
    fn far_names_are_not() {
        for written in ["", "v", "subject", "when", "x".repeat(1000).as_str()] {
            assert_eq!(nearest(written, KNOWN), None, "{written}");
        }
        assert_eq!(nearest("name", []), None);
    }

    #[test]
    fn distance_counts_slips() {
        let distance = |a: &str, b: &str| distance(&plain(a), &plain(b));
        assert_eq!(distance("", ""), 0);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("effect", "effect"), 0);
    }
}
