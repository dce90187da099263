//! What a request brings, checked.

use std::collections::HashSet;
use std::fmt;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, header};
use identity::wire::{CONTENT_TYPE, WireError, parse_request};
use serde::de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::refusal::Refusal;

/// Body of a request as the listener read it, or why there is none.
pub(super) type Payload = Result<Bytes, BytesRejection>;

/// Reads the JSON of a body.
///
/// # Errors
///
/// A refusal that says what is wrong with it; what it held is not repeated.
pub(super) fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Payload) -> Result<T, Refusal> {
    if !is_json(headers) {
        let message = format!("send the header Content-Type: {CONTENT_TYPE}");
        return Err(Refusal::bad_request("CONTENT_TYPE", message));
    }
    let bytes =
        body.map_err(|_| Refusal::bad_request("BODY", "the body can't be read or is too long"))?;
    let refused = |error| match error {
        WireError::Json(cause) => Refusal::bad_request("BODY", describe(&cause)),
        other => Refusal::bad_request("BODY", other.to_string()),
    };
    let request = parse_request(&bytes).map_err(refused)?;
    // Maps and policies within a request would keep the last of two: not what others read, perhaps.
    parse_request::<Unique>(&bytes).map_err(|_| {
        Refusal::bad_request(
            "BODY",
            "an object of the body has two members of one name: leave one of them out",
        )
    })?;
    Ok(request)
}

/// Any JSON value in which no object has two members of one name, at any depth; its content is not kept.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Unique, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("two members of one name"));
            }
            members.next_value::<Unique>()?;
        }
        Ok(Unique)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Unique, A::Error> {
        while elements.next_element::<Unique>()?.is_some() {}
        Ok(Unique)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique)
    }
}

/// Sees that a request has no body, where nothing would read it.
///
/// # Errors
///
/// There is one.
pub(super) fn nothing(body: Payload) -> Result<(), Refusal> {
    match body {
        Ok(bytes) if bytes.is_empty() => Ok(()),
        _ => Err(Refusal::bad_request(
            "BODY",
            "this request has no body: leave it out",
        )),
    }
}

/// Where the JSON is wrong. Of serde's text only what this program wrote, since the rest may repeat what was sent, and
/// that may be a secret.
fn describe(cause: &serde_json::Error) -> String {
    let place = format!("line {} column {}", cause.line(), cause.column());
    match cause.classify() {
        serde_json::error::Category::Data => {
            format!(
                "the body is JSON, but not that of this request ({place}): see the API reference"
            )
        }
        _ => format!("the body is not JSON ({place})"),
    }
}

/// `application/json`, parameters allowed.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    value
        .split(';')
        .next()
        .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(CONTENT_TYPE))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use identity::wire::RenewRequest;

    use super::*;

    fn headers(content_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))])
    }

    #[test]
    fn media_type_is_demanded() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
        ] {
            assert!(is_json(&headers(good)), "{good}");
        }
        for bad in [
            "text/plain",
            "application/jsonx",
            "",
            "application/x-www-form-urlencoded",
        ] {
            assert!(!is_json(&headers(bad)), "{bad}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[test]
    fn what_was_sent_is_not_repeated() {
        let sent = Bytes::from_static(br#"{"csr":"AAAA","hunter2":"hunter3"}"#);
        let error = json::<RenewRequest>(&headers("application/json"), Ok(sent)).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter"), "{error:?}");
        let error = json::<RenewRequest>(
            &headers("application/json"),
            Ok(Bytes::from_static(b"{\"hun")),
        )
        .unwrap_err();
        assert_eq!(error.message, "the body is not JSON (line 1 column 5)");
    }

    #[test]
    fn two_members_of_one_name_are_refused_at_any_depth() {
        let rules = |attributes: &str, policy: &str| {
            let json = format!(
                r#"{{"spiffe_id_prefix":"spiffe://acme.example/paris","attributes":{attributes},
                "max_lifetime_seconds":60,"issues_per_minute":2,"policy":{policy}}}"#
            );
            json_of(json)
        };
        fn json_of(text: String) -> Result<identity::wire::SiteRules, Refusal> {
            json(&headers("application/json"), Ok(Bytes::from(text)))
        }
        let good = r#"{"v":1,"x":[null,true,-1,1.5,"a",{"v":1}],"rules":[]}"#;
        rules(r#"{"a":["x"]}"#, good).unwrap();
        for (attributes, policy) in [
            (r#"{"a":["x"],"a":[]}"#, good),
            ("{}", r#"{"v":1,"rules":[],"rules":[{"effect":"allow"}]}"#),
            (
                "{}",
                r#"{"v":1,"rules":[{"effect":"deny","effect":"allow"}]}"#,
            ),
            (
                "{}",
                r#"{"v":1,"rules":[{"effect":"deny","\u0065ffect":"allow"}]}"#,
            ),
        ] {
            let error = rules(attributes, policy).unwrap_err();
            assert!(error.message.contains("two members"), "{}", error.message);
        }
    }

    #[test]
    fn body_where_none_belongs_is_refused() {
        nothing(Ok(Bytes::new())).unwrap();
        nothing(Ok(Bytes::from_static(b"{}"))).unwrap_err();
    }
}
