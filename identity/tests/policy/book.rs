//! The examples of the book's page on policies (`docs/src/policy.md`), all of them.
//!
//! A fence `yaml` or `json` holds a policy that is accepted, one with `refused` behind it a policy that is refused with
//! the text of the next fence. Rows of the tables of patterns and requirements hold their own expectations.

use identity::policy::{Answer, Pattern, Policy, Selector};
use identity::{AttributeValue, Attributes};

use super::support::{Asker, yaml};

const PAGE: &str = include_str!("../../../docs/src/policy.md");

struct Fence {
    info: &'static str,
    text: &'static str,
}

fn fences() -> Vec<Fence> {
    let mut fences = Vec::new();
    let mut parts = PAGE.split("\n```");
    while let (Some(_), Some(fence)) = (parts.next(), parts.next()) {
        let (info, text) = fence.split_once('\n').unwrap_or((fence, ""));
        fences.push(Fence { info, text });
    }
    fences
}

/// Cells of the rows of the table whose head begins with `first`.
fn rows(first: &str) -> Vec<Vec<&'static str>> {
    let head = format!("| {first} |");
    let table = PAGE
        .lines()
        .skip_while(|line| !line.starts_with(&head))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    table
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

fn code(cell: &'static str) -> Vec<&'static str> {
    cell.split(", `")
        .map(|text| text.trim_matches('`'))
        .filter(|text| !text.is_empty())
        .collect()
}

#[test]
fn fences_are_accepted_or_refused_as_marked() {
    let fences = fences();
    let mut counts = [0, 0, 0];
    for (index, fence) in fences.iter().enumerate() {
        let refused = || {
            fences
                .get(index + 1)
                .filter(|next| next.info == "text")
                .map(|next| next.text)
        };
        match fence.info {
            "yaml" => {
                yaml(fence.text);
                counts[0] += 1;
            }
            "json" => {
                Policy::from_json(fence.text)
                    .unwrap_or_else(|error| panic!("{error}\n{}", fence.text));
                counts[1] += 1;
            }
            "yaml,refused" => {
                let error = Policy::from_yaml(fence.text).unwrap_err().to_string();
                assert_eq!(Some(error.as_str()), refused());
                counts[2] += 1;
            }
            "json,refused" => {
                let error = Policy::from_json(fence.text).unwrap_err().to_string();
                assert_eq!(Some(error.as_str()), refused());
                counts[2] += 1;
            }
            "text" => {}
            other => panic!("fence of unknown kind {other}"),
        }
    }
    assert_eq!(counts, [3, 1, 4]);
}

#[test]
fn first_example_is_the_same_in_yaml_and_json() {
    let find = |info: &str| {
        fences()
            .into_iter()
            .find(|fence| fence.info == info)
            .unwrap()
            .text
    };
    let policy = yaml(find("yaml"));
    assert_eq!(Policy::from_json(find("json")).unwrap(), policy);
    let production = || {
        Asker::payments()
            .with("environment", "production")
            .with("tier", "gold")
    };
    assert!(production().ask(&policy).is_allow());
    for refused in [
        Asker::payments()
            .with("environment", "laptop")
            .with("tier", "gold"),
        Asker::payments()
            .with("environment", "production")
            .with("tier", "bronze"),
        production().with("quarantined", ""),
        production().resource("unseal/acme/us-1"),
        production().action("seal"),
        production().at(1_798_761_601),
    ] {
        assert!(!refused.ask(&policy).is_allow());
    }
    assert!(production().at(1_798_761_600).ask(&policy).is_allow());
}

#[test]
fn explanation_is_the_engine_s() {
    let policy = yaml(fences()[0].text);
    let explained = fences()
        .into_iter()
        .find(|fence| fence.info == "text")
        .unwrap()
        .text;
    assert_eq!(
        policy
            .explain(&Asker::payments().query())
            .to_string()
            .trim_end(),
        explained
    );
}

#[test]
fn canonical_form_in_the_text_is_the_engine_s() {
    let smallest = fences()
        .into_iter()
        .filter(|fence| fence.info == "yaml")
        .nth(1)
        .unwrap();
    let canonical = String::from_utf8(yaml(smallest.text).canonical()).unwrap();
    assert!(PAGE.contains(&format!(
        "The canonical form of the second example is `{canonical}`"
    )));
}

#[test]
fn patterns_match_as_the_table_says() {
    let rows = rows("pattern");
    assert_eq!(rows.len(), 6);
    for row in rows {
        let pattern: Pattern = code(row[0])[0].parse().unwrap();
        assert!(!code(row[1]).is_empty());
        for text in code(row[1]) {
            assert!(pattern.matches(text), "{pattern} does not match {text}");
        }
        for text in code(row[2]) {
            assert!(!pattern.matches(text), "{pattern} matches {text}");
        }
    }
}

#[test]
fn requirements_answer_as_the_table_says() {
    let values: [Option<AttributeValue>; 4] = [
        None,
        Some(vec![1].into()),
        Some("gold".into()),
        Some("bronze".into()),
    ];
    let rows = rows("requirement");
    assert_eq!(rows.len(), 7);
    for row in rows {
        let selector: Selector = code(row[0])[0].parse().unwrap();
        for (value, expected) in values.iter().zip(&row[1..]) {
            let mut attributes = Attributes::new();
            if let Some(value) = value {
                attributes.insert("tier", value.clone()).unwrap();
            }
            let expected = match *expected {
                "yes" => Answer::Yes,
                "no" => Answer::No,
                "fact absent" => Answer::Absent,
                other => panic!("{other}"),
            };
            assert_eq!(
                selector.answer(&attributes),
                expected,
                "{selector} on {value:?}"
            );
        }
    }
}
