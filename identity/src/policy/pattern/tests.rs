use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Pattern {
    text.parse()
        .unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

#[test]
fn patterns_match_as_documented() {
    for (pattern, matching, other) in [
        ("a", &["a"][..], &["", "b", "aa", "a/", "/a", "A"][..]),
        ("a/b", &["a/b"], &["a", "b", "a/b/c", "a//b", "a/b/"]),
        ("*", &["a", "abc", "*"], &["a/b", "/"]),
        ("a/*", &["a/b", "a/"], &["a", "a/b/c", "b/a"]),
        ("a/*/c", &["a/b/c", "a//c"], &["a/c", "a/b/b/c"]),
        ("a*c", &["ac", "abc", "aabcc"], &["a", "c", "a/c", "acb"]),
        ("aba*aba", &["abaaba", "abaxaba"], &["aba", "ababa"]),
        (
            "*a*b*",
            &["ab", "xaxbx", "aab", "abb"],
            &["ba", "a", "b", "a/b"],
        ),
        ("*ab*ab*", &["abab", "aabab"], &["ab", "aba", "abba"]),
        ("a*/b*", &["a/b", "ax/bx"], &["axb", "ax/yb"]),
        ("**", &["a", "a/b", "/", "a/b/c"], &[]),
        ("a/**", &["a/b", "a/b/c", "a/"], &["a", "ab/c", "b/a/c"]),
        ("**/b", &["b", "a/b", "a/a/b", "/b"], &["ab", "b/a", "a/ab"]),
        (
            "a/**/b",
            &["a/b", "a/x/b", "a/x/y/b", "a/b/b", "a//b"],
            &["ab", "a/bb", "a/x/bb", "a", "b", "ax/b"],
        ),
        (
            "a/**/b/**/c",
            &["a/b/c", "a/x/b/y/c", "a/b/b/c/c", "a/c/b/c"],
            &["a/c/b", "a/c", "a/b"],
        ),
        (
            "a/**/b/*/c/**",
            &["a/b/x/c/d", "a/b/b/x/c/d/e", "a/b/x/b/y/c/d"],
            &["a/b/c/d", "a/b/x/c"],
        ),
        (
            "**/a/b/**",
            &["a/b/c", "a/a/b/c", "x/a/b/c/d"],
            &["a/b", "a/x/b/c", "x/a/b"],
        ),
        ("*/**", &["a/b", "a/b/c", "/b"], &["a"]),
        ("**/*", &["a", "a/b"], &[]),
        ("x?[y]{z}\\", &["x?[y]{z}\\"], &["xa[y]{z}\\", "x?y{z}\\"]),
    ] {
        let compiled = parse(pattern);
        for text in matching {
            assert!(compiled.matches(text), "{pattern} does not match {text}");
        }
        for text in other {
            assert!(!compiled.matches(text), "{pattern} matches {text}");
        }
        assert_eq!(parse(&compiled.to_string()), compiled);
    }
}

#[test]
fn bad_patterns_are_refused() {
    for (text, reason) in [
        ("", "pattern is empty"),
        ("a**", "** beside other characters"),
        ("**a/b", "** beside other characters"),
        ("a/***", "** beside other characters"),
        ("a/b**c/d", "** beside other characters"),
        ("a/**/**/b", "repeats **/**"),
        ("**/**", "repeats **/**"),
        ("a\nb", "control character"),
        ("a\u{85}b", "control character"),
        (&"*a".repeat(17), "over 16 asterisks"),
        (&"a".repeat(513), "over 512"),
    ] {
        let error = text.parse::<Pattern>().unwrap_err().to_string();
        assert!(error.contains(reason), "{text:?}: {error}");
    }
    parse(&"a".repeat(512));
    parse(&"*a".repeat(16));
}

#[test]
fn spiffe_id_pattern_has_a_literal_trust_domain_and_a_possible_path() {
    for text in [
        "spiffe://acme.example/**",
        "spiffe://a/paris/*/sa/api-*",
        "spiffe://a_b-c.d/X.y_z-0",
        "spiffe://a/**/x",
    ] {
        assert_eq!(Pattern::spiffe_id(text).unwrap().as_str(), text);
    }
    for (text, reason) in [
        ("", "does not begin with spiffe://"),
        ("**", "does not begin with spiffe://"),
        ("*://a/b", "does not begin with spiffe://"),
        ("SPIFFE://a/b", "does not begin with spiffe://"),
        ("https://a/b", "does not begin with spiffe://"),
        ("spiffe:///b", "trust domain is empty"),
        ("spiffe://*/b", "holds a wildcard"),
        ("spiffe://**", "holds a wildcard"),
        ("spiffe://*.example/b", "holds a wildcard"),
        ("spiffe://Acme.example/b", "trust domain may hold only"),
        ("spiffe://acme.example:443/b", "trust domain may hold only"),
        ("spiffe://acme.example", "has no path"),
        ("spiffe://acme.example/", "empty, '.' or '..' segment"),
        ("spiffe://acme.example/a/", "empty, '.' or '..' segment"),
        ("spiffe://acme.example/a//b", "empty, '.' or '..' segment"),
        ("spiffe://acme.example/a/../b", "empty, '.' or '..' segment"),
        ("spiffe://acme.example/a b", "no SPIFFE ID has"),
        ("spiffe://acme.example/a%20b", "no SPIFFE ID has"),
        ("spiffe://acme.example/ä", "no SPIFFE ID has"),
        ("spiffe://acme.example/a?", "no SPIFFE ID has"),
        ("spiffe://acme.example/a**", "** beside other characters"),
    ] {
        let error = Pattern::spiffe_id(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{text:?}: {error}");
    }
}

/// A wildcard in the path never reaches into the trust domain.
#[test]
fn trust_domain_is_matched_whole() {
    let pattern = Pattern::spiffe_id("spiffe://acme.example/**").unwrap();
    assert!(pattern.matches("spiffe://acme.example/paris/x"));
    for other in [
        "spiffe://acme.example.evil/paris/x",
        "spiffe://evil/acme.example/x",
        "spiffe://acme.example",
    ] {
        assert!(!pattern.matches(other), "{other}");
    }
}

impl Meter for usize {
    fn add(&mut self, steps: usize) {
        *self += steps;
    }
}

/// The bound of the module's documentation, on texts and patterns made to break naive matchers.
#[test]
fn work_is_bounded_on_adversarial_input() {
    let deep = |segment: &str, length: usize| [segment].repeat(length).join("/");
    let patterns = [
        format!("{}b", "*a".repeat(16)),
        format!("{}/b", "a*".repeat(16)),
        format!("{}b", "**/a/".repeat(8)),
        format!("**/{}/b", deep("a", 250)),
        format!("**/{}/b/**", deep("a", 200)),
        format!("**/{}/**/b", deep("a*", 12)),
        format!("**/{}/**/{}/b", deep("a*a", 6), deep("a", 200)),
        format!("**/*{}*{}*b/**", "a".repeat(200), "a".repeat(200)),
        "**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/b".to_owned(),
    ];
    let texts = [
        "a".repeat(2048),
        deep("a", 1024),
        deep("aa", 680),
        deep(&"a".repeat(20), 97),
        deep("a", 1023) + "/b",
    ];
    for pattern in patterns {
        let compiled = parse(&pattern);
        let segments = pattern
            .split('/')
            .filter(|segment| *segment != "**")
            .count();
        for text in &texts {
            let mut steps = 0;
            let matched = compiled.matches_metered(text, &mut steps);
            assert!(
                steps <= segments * (text.len() + 1),
                "{steps} steps, {segments} segments, {} bytes",
                text.len()
            );
            assert_eq!(matched, compiled.matches(text));
        }
    }
}

/// Segments and characters, matched by trying everything.
fn naive(pattern: &str, text: &str) -> bool {
    fn characters(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => {
                (0..=text.len()).any(|skipped| characters(rest, &text[skipped..]))
            }
            Some((literal, rest)) => text.first() == Some(literal) && characters(rest, &text[1..]),
        }
    }
    fn segments(pattern: &[&str], text: &[&str]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((&"**", [])) => !text.is_empty(),
            Some((&"**", rest)) => (0..=text.len()).any(|skipped| segments(rest, &text[skipped..])),
            Some((segment, rest)) => text.split_first().is_some_and(|(first, others)| {
                characters(segment.as_bytes(), first.as_bytes()) && segments(rest, others)
            }),
        }
    }
    segments(
        &pattern.split('/').collect::<Vec<_>>(),
        &text.split('/').collect::<Vec<_>>(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn matching_agrees_with_a_naive_matcher(pattern in "((a|b|\\*|a\\*|\\*b|a\\*b|\\*a\\*|\\*\\*)/){0,5}(a|b|\\*|ab\\*|\\*\\*)", text in "[ab/]{0,12}") {
        if let Ok(compiled) = pattern.parse::<Pattern>() {
            prop_assert_eq!(compiled.matches(&text), naive(&pattern, &text), "{} on {}", pattern, text);
        }
    }

    #[test]
    fn work_is_bounded(pattern in "[ab*/]{1,40}", text in "[ab/]{0,80}") {
        if let Ok(compiled) = pattern.parse::<Pattern>() {
            let mut steps = 0;
            compiled.matches_metered(&text, &mut steps);
            let segments = pattern.split('/').filter(|segment| *segment != "**").count();
            prop_assert!(steps <= segments * (text.len() + 1));
        }
    }

    #[test]
    fn arbitrary_text_never_panics(pattern in "\\PC{0,40}|[*/.]{0,40}", text in "\\PC{0,40}") {
        let _ = Pattern::spiffe_id(&pattern);
        if let Ok(pattern) = pattern.parse::<Pattern>() {
            let _ = pattern.matches(&text);
        }
    }
}
