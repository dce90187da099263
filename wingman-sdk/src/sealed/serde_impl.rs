//! Reading and writing the sealed form.

use std::{fmt, marker::PhantomData, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

use super::{
    Decode, Fill, Sealed,
    collect::{self, Met, Opened},
};
use crate::{
    SealedObject,
    document::{Kind, number},
};

impl<T, D> Serialize for Sealed<T, D> {
    /// Writes the sealed object, opened or not: one line of text, or its bytes in a binary format.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.object().to_text())
        } else {
            serializer.serialize_bytes(self.object().as_bytes())
        }
    }
}

impl<'de, T, D> Deserialize<'de> for Sealed<T, D>
where
    T: Send + Sync + 'static,
    D: Decode<T> + 'static,
{
    fn deserialize<S: Deserializer<'de>>(deserializer: S) -> Result<Self, S::Error> {
        let visitor = ObjectVisitor(PhantomData);
        let found = if deserializer.is_human_readable() {
            // What is open already may be a number, which nobody gives to one who asks for text.
            match collect::expects_opened() {
                true => deserializer.deserialize_any(visitor)?,
                false => deserializer.deserialize_str(visitor)?,
            }
        } else {
            deserializer.deserialize_bytes(visitor)?
        };
        let (object, opened) = match found {
            Found::Sealed(object) => (object, None),
            Found::Opened(opened) => (opened.object.clone(), Some(opened)),
        };
        let sealed = Self::new(object);
        if let Some(opened) = opened {
            let filled = sealed.slot.fill(opened.copy());
            filled.map_err(de::Error::custom)?;
        }
        collect::enter(|| {
            let slot: Arc<dyn Fill> = Arc::clone(&sealed.slot) as _;
            Arc::downgrade(&slot)
        });
        Ok(sealed)
    }
}

enum Found {
    Sealed(SealedObject),
    /// A value of a configuration file that is open already.
    Opened(Arc<Opened>),
}

struct ObjectVisitor(PhantomData<Found>);

impl ObjectVisitor {
    /// A value that is no text: right only where it was sealed and is open already.
    fn other<E: de::Error>(met: Met) -> Result<Found, E> {
        Self::opened(met)?.ok_or_else(|| {
            E::custom(
                "not a sealed value: make one with `blindfold seal`, whose text begins with `pbseal1:`; \
                 a secret in plain text is refused here",
            )
        })
    }

    fn opened<E: de::Error>(met: Met) -> Result<Option<Found>, E> {
        match met {
            Met::Nothing => Ok(None),
            Met::Opened(opened) => Ok(Some(Found::Opened(opened))),
            Met::Unclear => Err(E::custom(
                "a plain value of the file reads like a sealed one, and it can't be told which of them stands here: \
                 seal or change the plain one, or read the file by `load_config` into a struct without `flatten`, \
                 `untagged` and `tag`",
            )),
        }
    }
}

impl Visitor<'_> for ObjectVisitor {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sealed value: text that begins with `pbseal1:`, or an armored PBSEAL block")
    }

    // No error quotes its input: what is not sealed may be a secret in plain text.
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Found, E> {
        if let Some(found) = Self::opened(collect::opened_as(text.as_bytes()))? {
            return Ok(found);
        }
        SealedObject::from_text(text).map(Found::Sealed).map_err(|error| {
            E::custom(format_args!(
                "not a sealed value ({error}): make one with `blindfold seal`, whose text begins with `pbseal1:`; \
                 a secret in plain text is refused here"
            ))
        })
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Found, E> {
        if let Some(found) = Self::opened(collect::opened_as(bytes))? {
            return Ok(found);
        }
        SealedObject::parse(bytes)
            .map(Found::Sealed)
            .map_err(|error| {
                E::custom(format_args!(
                    "not a sealed value ({error}): make one with `blindfold seal --format binary`"
                ))
            })
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Found, E> {
        self.visit_i128(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Found, E> {
        self.visit_i128(value.into())
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Found, E> {
        Self::other(collect::opened_of(Kind::Integer, |text| {
            number::integer(text) == Some(value)
        }))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Found, E> {
        Self::other(collect::opened_of(Kind::Float, |text| {
            number::float(text).is_some_and(|read| read.to_bits() == value.to_bits())
        }))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Found, E> {
        Self::other(collect::opened_of(Kind::Boolean, |text| {
            number::boolean(text) == Some(value)
        }))
    }
}
