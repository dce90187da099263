//! The document itself.

use serde::Deserialize;

/// An instance identity document: the members that are of use here.
///
/// AWS adds members from time to time, so others are passed over; none of these may be missing or there twice.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Document {
    /// `accountId`, 12 digits.
    pub account: String,
    /// `region`, such as `eu-west-3`.
    pub region: String,
    /// `availabilityZone`, such as `eu-west-3a`.
    pub availability_zone: String,
    /// `instanceId`, such as `i-1234567890abcdef0`.
    pub instance_id: String,
    /// `instanceType`, such as `m7g.large`.
    pub instance_type: String,
    /// `imageId`, such as `ami-5fb8c835`.
    pub image_id: String,
    /// `pendingTime`: when the instance was started, Unix seconds.
    pub pending_time: u64,
}

/// Reason a document was refused, whose signature is good.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Not the JSON of a document.
    #[error("signed text is not the JSON object of an instance identity document")]
    Json,
    /// A member with a value that AWS gives none.
    #[error("instance identity document holds a value of another form than AWS writes")]
    Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    account_id: String,
    region: String,
    availability_zone: String,
    instance_id: String,
    instance_type: String,
    image_id: String,
    pending_time: String,
}

impl Document {
    /// Parses a document. Whoever calls this has verified that AWS signed these bytes.
    ///
    /// # Errors
    ///
    /// - [`DocumentError::Json`]: not one JSON object with the members of a document.
    /// - [`DocumentError::Value`]: a member with characters that AWS does not use.
    pub fn parse(json: &[u8]) -> Result<Self, DocumentError> {
        // serde alone would take an array of the members' values as well.
        if json.trim_ascii_start().first() != Some(&b'{') {
            return Err(DocumentError::Json);
        }
        // serde does not look at the bytes of texts that it passes over.
        let json = std::str::from_utf8(json).map_err(|_| DocumentError::Json)?;
        let json: Json = serde_json::from_str(json).map_err(|_| DocumentError::Json)?;
        let pending_time: jiff::Timestamp = json
            .pending_time
            .parse()
            .map_err(|_| DocumentError::Value)?;
        let document = Self {
            account: json.account_id,
            region: json.region,
            availability_zone: json.availability_zone,
            instance_id: json.instance_id,
            instance_type: json.instance_type,
            image_id: json.image_id,
            pending_time: u64::try_from(pending_time.as_second())
                .map_err(|_| DocumentError::Value)?,
        };
        let words = [
            (&document.region, b"-".as_slice()),
            (&document.availability_zone, b"-"),
            (&document.instance_type, b"-."),
        ];
        let good = is_account(&document.account)
            && is_numbered(&document.instance_id, "i-")
            && is_numbered(&document.image_id, "ami-")
            && words.iter().all(|(text, marks)| is_word(text, marks));
        if good {
            Ok(document)
        } else {
            Err(DocumentError::Value)
        }
    }
}

/// 12 digits.
pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A resource's number: 8 hex digits of old, 17 of now.
fn is_numbered(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|number| {
        (8..=17).contains(&number.len())
            && number
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Lower-case letters, digits and `marks`, at most 64 of them, the first a letter.
fn is_word(text: &str, marks: &[u8]) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || marks.contains(&byte);
    text.len() <= 64
        && text.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && text.bytes().all(allowed)
}
