//! The policy schema: gives the values of a document their types, and compiles its rules.
//!
//! One function for each kind of object. Scalars that YAML wrote without quotes are typed by their place: `v` is an
//! integer, everything else a text.

use super::decision::{Combine, Effect};
use super::error::{Fault, Mark, Place, PolicyError, PolicyErrorKind, quoted};
use super::limits::{
    MAX_ACTION_BYTES, MAX_LIST_ENTRIES, MAX_NAME_BYTES, MAX_RULE_NAME_BYTES, MAX_RULES,
};
use super::pattern::Pattern;
use super::rule::Rule;
use super::selector::Selector;
use super::suggest::nearest;
use super::time;
use super::tree::{Member, Node, Value};

/// The one version of the document form.
const VERSION: i64 = 1;

const DOCUMENT: &[&str] = &["v", "name", "combine", "rules"];
const RULE: &[&str] = &["name", "effect", "actions", "principal", "resource", "when"];
const PRINCIPAL: &[&str] = &["spiffe_id", "selector"];
const WHEN: &[&str] = &["not_before", "not_after"];

const COMBINES: &[(&str, Combine)] = &[
    ("first-match", Combine::FirstMatch),
    ("deny-overrides", Combine::DenyOverrides),
    ("allow-overrides", Combine::AllowOverrides),
];
const EFFECTS: &[(&str, Effect)] = &[("allow", Effect::Allow), ("deny", Effect::Deny)];

/// What a document says, ready to decide.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) name: Option<Box<str>>,
    pub(crate) combine: Combine,
    pub(crate) rules: Box<[Rule]>,
}

/// Compiles the document and types its scalars in place.
pub(crate) fn compile(document: &mut Node) -> Result<Compiled, PolicyError> {
    let place = Place::Document;
    let mark = document.mark;
    let (mut version, mut name, mut combine, mut rules) = (None, None, None, None);
    for Member {
        mark,
        name: member,
        node,
    } in object(document, &place, "policy")?
    {
        let place = place.member(member);
        match member.as_str() {
            "v" => version = Some(self::version(node, &place)?),
            "name" => name = Some(self::name(node, &place, MAX_NAME_BYTES)?),
            "combine" => combine = Some(word(node, &place, COMBINES)?),
            "rules" => rules = Some(self::rules(node, &place)?),
            _ => return Err(unknown(member, node, *mark, &place, DOCUMENT)),
        }
    }
    if version.is_none() {
        return Err(missing(
            mark,
            &place,
            "v",
            "write v: 1, the version of the document form",
        ));
    }
    let Some(rules) = rules else {
        return Err(missing(
            mark,
            &place,
            "rules",
            "write the list of rules; an empty list, [], denies everything",
        ));
    };
    Ok(Compiled {
        name,
        combine: combine.unwrap_or_default(),
        rules,
    })
}

fn version(node: &mut Node, place: &Place<'_>) -> Result<(), PolicyError> {
    const REMEDY: &str = "write v: 1, the one version there is, without quotes";
    if let Value::Plain(text) = &node.value {
        // The core schema has other spellings of 1, for which nobody has a use.
        if let Some(version) = text
            .parse()
            .ok()
            .filter(|version: &i64| version.to_string() == *text)
        {
            node.value = Value::Integer(version);
        }
    }
    match node.value {
        Value::Integer(VERSION) => Ok(()),
        Value::Integer(other) => Err(schema(
            node.mark,
            place,
            format!("version {other} is unknown"),
            REMEDY,
        )),
        _ => Err(schema(
            node.mark,
            place,
            format!("{} is no version", kind(node)),
            REMEDY,
        )),
    }
}

fn rules(node: &mut Node, place: &Place<'_>) -> Result<Box<[Rule]>, PolicyError> {
    let mark = node.mark;
    let Value::List(entries) = &mut node.value else {
        return Err(schema(
            mark,
            place,
            format!("{} is no list of rules", kind(node)),
            "begin every rule with a dash",
        ));
    };
    if entries.len() > MAX_RULES {
        let problem = format!("{} rules, over {MAX_RULES}", entries.len());
        return Err(limit(
            mark,
            place,
            problem,
            "merge rules with patterns, selectors and lists",
        ));
    }
    let mut rules: Vec<Rule> = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter_mut().enumerate() {
        let place = place.entry(index);
        let rule = rule(entry, &place)?;
        let namesake = rules
            .iter()
            .position(|other| rule.name.is_some() && other.name == rule.name);
        if let Some(first) = namesake {
            let problem = format!("rule has the name of rules[{first}]");
            return Err(schema(
                entry.mark,
                &place,
                problem,
                "give every rule a name of its own, for the audit log",
            ));
        }
        rules.push(rule);
    }
    Ok(rules.into())
}

fn rule(node: &mut Node, place: &Place<'_>) -> Result<Rule, PolicyError> {
    let mark = node.mark;
    let (mut name, mut effect) = (None, None);
    let mut actions: Box<[Box<str>]> = Box::default();
    let mut principal = Principal::default();
    let mut resources: Box<[Pattern]> = Box::default();
    let (mut not_before, mut not_after) = (None, None);
    for Member {
        mark,
        name: member,
        node,
    } in object(node, place, "rule")?
    {
        let place = place.member(member);
        match member.as_str() {
            "name" => name = Some(self::name(node, &place, MAX_RULE_NAME_BYTES)?),
            "effect" => effect = Some(word(node, &place, EFFECTS)?),
            "actions" => actions = list(node, &place, action)?,
            "principal" => principal = self::principal(node, &place)?,
            "resource" => {
                resources = list(node, &place, |text| {
                    text.parse().map_err(|error: super::PatternError| error.0)
                })?
            }
            "when" => (not_before, not_after) = when(node, &place)?,
            _ => return Err(unknown(member, node, *mark, &place, RULE)),
        }
    }
    let Some(effect) = effect else {
        return Err(missing(
            mark,
            place,
            "effect",
            "write effect: allow or effect: deny",
        ));
    };
    let Principal {
        spiffe_ids,
        selector,
    } = principal;
    Ok(Rule {
        name,
        effect,
        actions,
        spiffe_ids,
        selector,
        resources,
        not_before,
        not_after,
    })
}

#[derive(Default)]
struct Principal {
    spiffe_ids: Box<[Pattern]>,
    selector: Selector,
}

fn principal(node: &mut Node, place: &Place<'_>) -> Result<Principal, PolicyError> {
    let mut principal = Principal::default();
    let mark = node.mark;
    let members = object(node, place, "principal")?;
    if members.is_empty() {
        return Err(schema(
            mark,
            place,
            "principal is empty",
            "leave it out if the rule is for everyone",
        ));
    }
    for Member { mark, name, node } in members {
        let place = place.member(name);
        match name.as_str() {
            "spiffe_id" => {
                principal.spiffe_ids = list(node, &place, |text| {
                    Pattern::spiffe_id(text).map_err(|error| error.0)
                })?;
            }
            "selector" => principal.selector = selector(node, &place)?,
            _ => return Err(unknown(name, node, *mark, &place, PRINCIPAL)),
        }
    }
    Ok(principal)
}

fn selector(node: &mut Node, place: &Place<'_>) -> Result<Selector, PolicyError> {
    let text = text(node, place)?;
    let selector: Selector = text.parse().map_err(|error: super::SelectorError| {
        let Fault { problem, remedy } = error.fault.clone();
        let problem = format!(
            "{problem}, at character {} of the selector",
            error.character()
        );
        schema(node.mark, place, problem, remedy)
    })?;
    if selector.requirements().is_empty() {
        return Err(schema(
            node.mark,
            place,
            "selector is empty",
            "leave it out if every attribute will do",
        ));
    }
    Ok(selector)
}

type Window = (Option<i64>, Option<i64>);

fn when(node: &mut Node, place: &Place<'_>) -> Result<Window, PolicyError> {
    let mark = node.mark;
    let (mut not_before, mut not_after) = (None, None);
    let members = object(node, place, "time window")?;
    if members.is_empty() {
        return Err(schema(
            mark,
            place,
            "time window is empty",
            "leave when out if the rule holds at all times",
        ));
    }
    for Member { mark, name, node } in members {
        let place = place.member(name);
        let bound = match name.as_str() {
            "not_before" => &mut not_before,
            "not_after" => &mut not_after,
            _ => return Err(unknown(name, node, *mark, &place, WHEN)),
        };
        let seconds = time::parse(text(node, &place)?);
        *bound =
            Some(seconds.map_err(|fault| schema(node.mark, &place, fault.problem, fault.remedy))?);
    }
    if let (Some(first), Some(last)) = (not_before, not_after)
        && first > last
    {
        return Err(schema(
            mark,
            place,
            "time window ends before it begins",
            "swap not_before and not_after",
        ));
    }
    Ok((not_before, not_after))
}

fn name(node: &mut Node, place: &Place<'_>, greatest: usize) -> Result<Box<str>, PolicyError> {
    let text = text(node, place)?;
    // Names go to terminals and logs: nothing there may move the cursor, break the line or turn the writing around.
    let misleading = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let problem = if text.trim().is_empty() {
        "name is blank".to_owned()
    } else if text.chars().any(misleading) {
        format!(
            "name {} holds a control character or one that turns the writing around",
            quoted(text)
        )
    } else if text.len() > greatest {
        let problem = format!("name is {} bytes long, over {greatest}", text.len());
        return Err(limit(node.mark, place, problem, "shorten it"));
    } else {
        return Ok(text.into());
    };
    Err(schema(
        node.mark,
        place,
        problem,
        "write one line of plain text, or leave the name out",
    ))
}

fn action(text: &str) -> Result<Box<str>, Fault> {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'/');
    if text.contains('*') {
        return Err(Fault::new(
            format!("action {} holds a wildcard", quoted(text)),
            "write the actions out, or leave actions out for all of them",
        ));
    }
    if text.is_empty() || text.len() > MAX_ACTION_BYTES || !text.bytes().all(allowed) {
        return Err(Fault::new(
            format!("{} is no action", quoted(text)),
            format!("write 1 to {MAX_ACTION_BYTES} letters, digits, '-', '_', '.', ':' and '/'"),
        ));
    }
    Ok(text.into())
}

/// One text, or a list of them.
fn list<T>(
    node: &mut Node,
    place: &Place<'_>,
    parse: impl Fn(&str) -> Result<T, Fault>,
) -> Result<Box<[T]>, PolicyError> {
    let parse = |node: &mut Node, place: &Place<'_>| {
        let parsed = parse(text(node, place)?);
        parsed.map_err(|fault| schema(node.mark, place, fault.problem, fault.remedy))
    };
    let mark = node.mark;
    let Value::List(entries) = &mut node.value else {
        return Ok([parse(node, place)?].into());
    };
    if entries.is_empty() {
        return Err(schema(
            mark,
            place,
            "list is empty",
            "leave it out if there is nothing to restrict",
        ));
    }
    if entries.len() > MAX_LIST_ENTRIES {
        let problem = format!("{} entries, over {MAX_LIST_ENTRIES}", entries.len());
        return Err(limit(
            mark,
            place,
            problem,
            "spread them over several rules, or use a pattern",
        ));
    }
    entries
        .iter_mut()
        .enumerate()
        .map(|(index, entry)| parse(entry, &place.entry(index)))
        .collect()
}

fn word<T: Copy>(
    node: &mut Node,
    place: &Place<'_>,
    known: &[(&str, T)],
) -> Result<T, PolicyError> {
    let mark = node.mark;
    let text = text(node, place)?;
    if let Some((_, value)) = known.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words = || known.iter().map(|(word, _)| *word);
    let remedy = match nearest(text, words()) {
        Some(word) => format!("write {word}"),
        None => format!("write {}", words().collect::<Vec<_>>().join(" or ")),
    };
    Err(schema(
        mark,
        place,
        format!("unknown value {}", quoted(text)),
        remedy,
    ))
}

/// The text at a place for texts.
///
/// One without quotes is taken as it is written, `1`, `no` and `2026-01-01T00:00:00Z` too, but not where YAML reads
/// null: nobody who leaves a value away means the empty text or `~`.
fn text<'n>(node: &'n mut Node, place: &Place<'_>) -> Result<&'n str, PolicyError> {
    if let Value::Plain(text) = &mut node.value {
        node.value = if is_null(text) {
            Value::Null
        } else {
            Value::Text(std::mem::take(text))
        };
    }
    match &node.value {
        Value::Text(text) => Ok(text),
        Value::Null => Err(schema(
            node.mark,
            place,
            "no value",
            "write a text, in quotes if it is null, or remove the member",
        )),
        _ => Err(schema(
            node.mark,
            place,
            format!("{} stands where a text is expected", kind(node)),
            "write one text",
        )),
    }
}

/// The members of an object; `what` names what it describes.
fn object<'n>(
    node: &'n mut Node,
    place: &Place<'_>,
    what: &str,
) -> Result<&'n mut [Member], PolicyError> {
    let kind = kind(node);
    match &mut node.value {
        Value::Object(members) => Ok(members),
        _ => Err(schema(
            node.mark,
            place,
            format!("{kind} is no {what}"),
            "write its members as name: value",
        )),
    }
}

/// YAML 1.2.2, section 10.3.2: the core schema's nulls.
fn is_null(plain: &str) -> bool {
    matches!(plain, "" | "~" | "null" | "Null" | "NULL")
}

fn kind(node: &Node) -> &'static str {
    match &node.value {
        Value::Null => "an empty value",
        Value::Plain(text) if is_null(text) => "an empty value",
        Value::Bool(_) => "a truth value",
        Value::Integer(_) => "a number",
        Value::Text(_) | Value::Plain(_) => "a text",
        Value::List(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn unknown(name: &str, node: &Node, mark: Mark, place: &Place<'_>, known: &[&str]) -> PolicyError {
    const ELSEWHERE: [(&[&str], &str); 4] = [
        (DOCUMENT, "at the top of the document"),
        (RULE, "in a rule"),
        (PRINCIPAL, "below principal"),
        (WHEN, "below when"),
    ];
    let without_value = matches!(&node.value, Value::Plain(text) if text.is_empty());
    let remedy = if without_value && name.contains(['=', '(', ')', '!']) {
        "put a selector that holds a comma in quotes".to_owned()
    } else if let Some((_, home)) = ELSEWHERE
        .iter()
        .find(|(members, _)| members.contains(&name))
    {
        format!("{name} belongs {home}")
    } else if let Some(meant) = nearest(name, known.iter().copied()) {
        format!("write {meant}")
    } else {
        format!("remove it; known are {}", known.join(", "))
    };
    schema(
        mark,
        place,
        format!("unknown member {}", quoted(name)),
        remedy,
    )
}

fn missing(mark: Mark, place: &Place<'_>, name: &str, remedy: &'static str) -> PolicyError {
    schema(mark, place, format!("member {name} is missing"), remedy)
}

fn schema(
    mark: Mark,
    place: &Place<'_>,
    problem: impl Into<std::borrow::Cow<'static, str>>,
    remedy: impl Into<std::borrow::Cow<'static, str>>,
) -> PolicyError {
    PolicyError::new(
        PolicyErrorKind::Schema,
        mark,
        place,
        Fault::new(problem, remedy),
    )
}

fn limit(mark: Mark, place: &Place<'_>, problem: String, remedy: &'static str) -> PolicyError {
    PolicyError::new(
        PolicyErrorKind::Limit,
        mark,
        place,
        Fault::new(problem, remedy),
    )
}
