//! JSON form of attributes: `{"tier": "gold", "measurement": {"binary": "<base64>"}}`.

use std::fmt;

use base64ct::{Base64, Encoding};
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{AttributeValue, Attributes};

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, &ValueJson::from(value))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AttributesVisitor)
    }
}

struct AttributesVisitor;

impl<'de> Visitor<'de> for AttributesVisitor {
    type Value = Attributes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of attributes, each a text or {\"binary\": \"<base64>\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
        let mut attributes = Attributes::new();
        while let Some((key, value)) = map.next_entry::<String, ValueJson>()? {
            let value = match value {
                ValueJson::Text(text) => AttributeValue::Text(text),
                ValueJson::Binary(BinaryJson { binary }) => {
                    let bytes = Base64::decode_vec(&binary).map_err(|_| {
                        A::Error::custom(format_args!("attribute '{key}' is not padded base64"))
                    })?;
                    AttributeValue::Binary(bytes)
                }
            };
            attributes.insert(&key, value).map_err(|error| {
                A::Error::custom(format_args!("attribute '{}': {error}", key.escape_debug()))
            })?;
        }
        Ok(attributes)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ValueJson {
    Text(String),
    Binary(BinaryJson),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BinaryJson {
    binary: String,
}

impl From<&AttributeValue> for ValueJson {
    fn from(value: &AttributeValue) -> Self {
        match value {
            AttributeValue::Text(text) => Self::Text(text.clone()),
            AttributeValue::Binary(bytes) => Self::Binary(BinaryJson {
                binary: Base64::encode_string(bytes),
            }),
        }
    }
}
