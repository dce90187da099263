//! How facts become a SPIFFE ID and attributes.
//!
//! A template is text in which `{name}` stands for the fact of that name. In a SPIFFE ID a fact fills a part of one path
//! segment: it may hold only the characters of a segment, so it never adds a segment, leaves one empty, or makes one `.`
//! or `..`. Facts that are absent refuse the evidence; nothing is replaced by a default.

use std::collections::BTreeMap;

use identity::wire;
use identity::{Attributes, SiteName, SpiffeId, TrustDomain};

use crate::limits::{
    MAX_FACT_NAME_BYTES, MAX_MAPPING_ATTRIBUTES, MAX_TEMPLATE_BYTES, MAX_TEMPLATE_FACTS,
};

/// A compiled mapping of one site.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// `spiffe://<trust domain>/<site>/`, which the template begins with.
    segments: Vec<Template>,
    trust_domain: TrustDomain,
    attributes: BTreeMap<String, Template>,
}

/// Text with places for facts.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Template(Vec<Part>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Text(String),
    Fact(String),
}

/// Reason a mapping was refused; says what to write instead.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// Over the bound.
    #[error(
        "template is longer than {MAX_TEMPLATE_BYTES} bytes or names more than {MAX_TEMPLATE_FACTS} facts"
    )]
    TooLong,
    /// Braces that do not enclose the name of a fact.
    #[error("braces enclose the name of a fact, of a-z, 0-9 and '_': {0:?}")]
    Braces(String),
    /// Not in the site.
    #[error("mapping.spiffe_id must begin with {0} in plain text and name something below it")]
    OutsideSite(String),
    /// Plain text that no SPIFFE ID may hold.
    #[error("mapping.spiffe_id: {0}")]
    SpiffeId(#[source] identity::SpiffeIdError),
    /// Not an attribute key, or `instance`, which the authority sets itself.
    #[error("mapping.attributes: {0:?} is no attribute that a mapping can set")]
    AttributeKey(String),
    /// More attributes than a mapping may have.
    #[error("mapping.attributes: more than {MAX_MAPPING_ATTRIBUTES} attributes")]
    TooManyAttributes,
    /// No evidence of this attestor ever has such a fact.
    #[error("mapping names the fact {0:?}, which this attestor does not find")]
    UnknownFact(String),
}

/// Reason facts fit no SPIFFE ID or attributes.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MappingError {
    /// The evidence lacks a fact that the mapping names.
    #[error("evidence has no fact {0:?}, which the mapping names")]
    Absent(String),
    /// A fact with characters that no path segment may hold.
    #[error("fact {0:?} holds characters that no path segment of a SPIFFE ID may hold")]
    Characters(String),
    /// The whole is no SPIFFE ID.
    #[error("facts make no SPIFFE ID")]
    SpiffeId(#[source] identity::SpiffeIdError),
    /// The whole makes no attributes.
    #[error("facts make no attributes")]
    Attributes(#[source] identity::AttributesError),
}

impl Mapping {
    /// Checks and compiles `source`, a mapping of `site`. `known` tells which facts the attestor can find.
    ///
    /// # Errors
    ///
    /// [`TemplateError`], naming the part to change.
    pub fn compile(
        site: &SiteName,
        trust_domain: &TrustDomain,
        source: &wire::Mapping,
        known: impl Fn(&str) -> bool,
    ) -> Result<Self, TemplateError> {
        // The site stands in plain text, so that no fact decides which site an identity is of.
        let own = format!("spiffe://{trust_domain}/{site}/");
        let below = source
            .spiffe_id
            .strip_prefix(&own)
            .filter(|below| !below.is_empty())
            .ok_or_else(|| TemplateError::OutsideSite(own.clone()))?;
        if source.spiffe_id.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::TooLong);
        }
        let mut segments = vec![Template(vec![Part::Text(site.as_str().to_owned())])];
        for segment in below.split('/') {
            let template = Template::compile(segment, &known)?;
            template.check_segment(trust_domain)?;
            segments.push(template);
        }
        if source.attributes.len() > MAX_MAPPING_ATTRIBUTES {
            return Err(TemplateError::TooManyAttributes);
        }
        let mut attributes = BTreeMap::new();
        for (key, template) in &source.attributes {
            if key == identity::attributes::INSTANCE || Attributes::new().insert(key, "").is_err() {
                return Err(TemplateError::AttributeKey(key.clone()));
            }
            attributes.insert(key.clone(), Template::compile(template, &known)?);
        }
        Ok(Self {
            segments,
            trust_domain: trust_domain.clone(),
            attributes,
        })
    }

    /// Puts the facts into their places.
    ///
    /// # Errors
    ///
    /// [`MappingError`]: a fact is absent or unfit; nothing is replaced or left out.
    pub fn apply(&self, facts: &Attributes) -> Result<(SpiffeId, Attributes), MappingError> {
        let segments = self
            .segments
            .iter()
            .map(|segment| segment.fill(facts, Some(is_segment_byte)))
            .collect::<Result<Vec<_>, _>>()?;
        let spiffe_id =
            SpiffeId::from_segments(&self.trust_domain, segments.iter().map(String::as_str))
                .map_err(MappingError::SpiffeId)?;
        let mut attributes = Attributes::new();
        for (key, template) in &self.attributes {
            let value = template.fill(facts, None)?;
            attributes
                .insert(key, value)
                .map_err(MappingError::Attributes)?;
        }
        Ok((spiffe_id, attributes))
    }
}

impl Template {
    fn compile(text: &str, known: impl Fn(&str) -> bool) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::TooLong);
        }
        let braces = || TemplateError::Braces(text.to_owned());
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            if before.contains('}') {
                return Err(braces());
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let (name, after) = after.split_once('}').ok_or_else(braces)?;
            if !is_fact_name(name) {
                return Err(braces());
            }
            if !known(name) {
                return Err(TemplateError::UnknownFact(name.to_owned()));
            }
            parts.push(Part::Fact(name.to_owned()));
            rest = after;
        }
        if rest.contains('}') {
            return Err(braces());
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let facts = parts.iter().filter(|part| matches!(part, Part::Fact(_)));
        if facts.count() > MAX_TEMPLATE_FACTS {
            return Err(TemplateError::TooLong);
        }
        Ok(Self(parts))
    }

    /// Whether a segment can come of it, as far as its plain text tells.
    fn check_segment(&self, trust_domain: &TrustDomain) -> Result<(), TemplateError> {
        let stand_in: String = self
            .0
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.as_str(),
                Part::Fact(_) => "x",
            })
            .collect();
        SpiffeId::from_segments(trust_domain, [stand_in.as_str()])
            .map(drop)
            .map_err(TemplateError::SpiffeId)
    }

    fn fill(
        &self,
        facts: &Attributes,
        allowed: Option<fn(u8) -> bool>,
    ) -> Result<String, MappingError> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Fact(name) => {
                    let fact = facts
                        .text(name)
                        .filter(|fact| !fact.is_empty())
                        .ok_or_else(|| MappingError::Absent(name.clone()))?;
                    if allowed.is_some_and(|allowed| !fact.bytes().all(allowed)) {
                        return Err(MappingError::Characters(name.clone()));
                    }
                    filled.push_str(fact);
                }
            }
        }
        Ok(filled)
    }
}

fn is_fact_name(name: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    (1..=MAX_FACT_NAME_BYTES).contains(&name.len()) && name.bytes().all(allowed)
}

fn is_segment_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}
