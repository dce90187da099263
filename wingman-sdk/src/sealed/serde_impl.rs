//! Reading and writing the sealed form.

use std::{fmt, marker::PhantomData, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

use super::{Decode, Fill, Sealed, collect};
use crate::SealedObject;

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
        let object = if deserializer.is_human_readable() {
            deserializer.deserialize_str(visitor)?
        } else {
            deserializer.deserialize_bytes(visitor)?
        };
        let sealed = Self::new(object);
        collect::enter(|| {
            let slot: Arc<dyn Fill> = Arc::clone(&sealed.slot) as _;
            Arc::downgrade(&slot)
        });
        Ok(sealed)
    }
}

struct ObjectVisitor(PhantomData<SealedObject>);

impl Visitor<'_> for ObjectVisitor {
    type Value = SealedObject;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sealed value: text that begins with `pbseal1:`, or an armored PBSEAL block")
    }

    // Neither error quotes its input: what is not sealed may be a secret in plain text.
    fn visit_str<E: de::Error>(self, text: &str) -> Result<SealedObject, E> {
        SealedObject::from_text(text).map_err(|error| {
            E::custom(format_args!(
                "not a sealed value ({error}): make one with `blindfold seal`, whose text begins with `pbseal1:`; \
                 a secret in plain text is refused here"
            ))
        })
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<SealedObject, E> {
        SealedObject::parse(bytes).map_err(|error| {
            E::custom(format_args!(
                "not a sealed value ({error}): make one with `blindfold seal --format binary`"
            ))
        })
    }
}
