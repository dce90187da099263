//! Sealed values inside configuration structs, for every serde format.
//!
//! A field of type [`Sealed`] is read from its text form (`pbseal1:…`, or an armored block) and written back the
//! same; a secret in plain text is refused, so that none slips into a file by mistake. Until it is opened it
//! holds no secret, and [`Sealed::expose`] is a clear error.
//!
//! There are three ways to open, each in one round trip for all fields that share key, policy and window:
//!
//! - [`Wingman::load_config`] reads a whole configuration file, checks that each value stands where it was sealed for, and
//!   fills plain fields and [`Sealed`] ones alike.
//! - [`Wingman::load`] runs any deserializer and opens every [`Sealed`] it produced, however deep it is nested
//!   (`Option`, `Vec`, maps, enums, `#[serde(flatten)]`). Nothing has to be listed.
//! - [`Wingman::open_fields`] opens fields that a struct names through [`SealedFields`]. It works where the struct
//!   comes from somewhere else, names the field in errors, and can demand the label an object was sealed with.
//!
//! ```no_run
//! use serde::Deserialize;
//! use wingman_sdk::{ExposeSecret, Sealed, SecretBytes, SecretString, Wingman};
//!
//! #[derive(Deserialize)]
//! struct Config {
//!     listen: String,
//!     password: Sealed<SecretString>,
//!     tls_key: Sealed<SecretBytes>,
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let wingman = Wingman::from_config("wingman.toml")?;
//! let text = std::fs::read_to_string("service.toml")?;
//! let config: Config = wingman.load(|| toml::from_str(&text))?;
//! let password: &SecretString = config.password.expose()?;
//! assert!(!password.expose_secret().is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # What a secret becomes
//!
//! `Sealed<T, D>` decodes the opened bytes by `D`: [`Raw`] (the default) into [`SecretBytes`] or
//! [`SecretString`](crate::SecretString), [`Text`] into any [`FromStr`](std::str::FromStr) type, [`Json`] into any type that serde
//! deserializes, or a [`Decode`] of one's own. A `T` that is not wiped on drop stays in memory as any other value does.
//!
//! # Not promised
//!
//! That a value belongs where it stands: whoever can write the file can swap two sealed values. Seal each with
//! a label and demand it, by [`Fields::labelled`] or [`Sealed::expose_labelled`]; [`Wingman::load_config`] demands it always.
//!
//! [`Wingman::load`]: crate::Wingman::load
//! [`Wingman::load_config`]: crate::Wingman::load_config
//! [`Wingman::open_fields`]: crate::Wingman::open_fields

use std::{
    fmt,
    marker::PhantomData,
    sync::{Arc, OnceLock},
};

pub(crate) use self::{
    collect::{Opened, collect, offer, visiting},
    fields::Field,
};
pub use self::{
    decode::{Decode, Json, NotDecoded, Raw, Text},
    fields::{Fields, SealedFields},
};
use crate::{SealedObject, http::shorten, secret::SecretBytes};

mod collect;
mod decode;
mod fields;
mod serde_impl;

/// A value that travels sealed and is opened in memory; see the [module](self).
///
/// A clone shares the opened value: the secret stays in one place.
pub struct Sealed<T, D = Raw> {
    slot: Arc<Slot<T, D>>,
}

struct Slot<T, D> {
    object: SealedObject,
    value: OnceLock<T>,
    decode: PhantomData<fn() -> D>,
}

impl<T, D> Sealed<T, D> {
    /// Holds a sealed object that is yet to be opened.
    pub fn new(object: SealedObject) -> Self {
        Self {
            slot: Arc::new(Slot {
                object,
                value: OnceLock::new(),
                decode: PhantomData,
            }),
        }
    }

    /// The sealed object.
    pub fn object(&self) -> &SealedObject {
        &self.slot.object
    }

    /// Whether the value was opened.
    pub fn is_open(&self) -> bool {
        self.slot.value.get().is_some()
    }

    /// The opened value.
    ///
    /// # Errors
    ///
    /// [`NotOpened::Sealed`]: nobody opened it yet.
    pub fn expose(&self) -> Result<&T, NotOpened> {
        self.slot.value.get().ok_or_else(|| NotOpened::Sealed {
            label: self.label().to_owned(),
        })
    }

    /// The opened value, provided it was sealed with this label.
    ///
    /// # Errors
    ///
    /// - [`NotOpened::Sealed`]: nobody opened it yet.
    /// - [`NotOpened::Label`]: it was sealed with another label.
    pub fn expose_labelled(&self, label: &str) -> Result<&T, NotOpened> {
        if self.label() == label {
            return self.expose();
        }
        Err(NotOpened::Label {
            expected: label.to_owned(),
            found: self.label().to_owned(),
        })
    }

    /// Takes the opened value out.
    ///
    /// # Errors
    ///
    /// - [`NotOpened::Sealed`]: nobody opened it yet.
    /// - [`NotOpened::Shared`]: a clone still uses it.
    pub fn into_opened(self) -> Result<T, NotOpened> {
        let label = self.label().to_owned();
        let slot = Arc::try_unwrap(self.slot).map_err(|_| NotOpened::Shared {
            label: label.clone(),
        })?;
        slot.value.into_inner().ok_or(NotOpened::Sealed { label })
    }

    fn label(&self) -> &str {
        self.slot.object.label()
    }
}

impl<T, D> Clone for Sealed<T, D> {
    fn clone(&self) -> Self {
        Self {
            slot: Arc::clone(&self.slot),
        }
    }
}

impl<T, D> fmt::Debug for Sealed<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("label", &self.label())
            .field("is_open", &self.is_open())
            .finish_non_exhaustive()
    }
}

/// Why a sealed value could not be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NotOpened {
    /// Nobody opened it.
    #[error("the sealed value{} was not opened: read the configuration through `Wingman::load`, or call `Wingman::open_fields` first", named(.label))]
    Sealed {
        /// Its label.
        label: String,
    },
    /// Another label than demanded.
    #[error(
        "the sealed value is labelled `{}` where `{expected}` is demanded: values may have been swapped", shorten(.found)
    )]
    Label {
        /// The label demanded.
        expected: String,
        /// Its label.
        found: String,
    },
    /// A clone shares the value.
    #[error("the sealed value{} is shared by a clone: drop the clones first, or use `expose`", named(.label))]
    Shared {
        /// Its label.
        label: String,
    },
}

/// A place and a label, for one line.
pub(crate) fn show_place(place: &str, label: &str) -> String {
    let label = shorten(label);
    match (place, label.as_str()) {
        ("", label) => format!("`{label}`"),
        (place, "") => format!("`{place}`"),
        (place, label) => format!("`{place}` (label `{label}`)"),
    }
}

fn named(label: &str) -> String {
    if label.is_empty() {
        String::new()
    } else {
        format!(" `{}`", shorten(label))
    }
}

/// One value to be opened, whatever its type.
pub(crate) trait Fill: Send + Sync {
    fn object(&self) -> &SealedObject;
    fn is_open(&self) -> bool;
    fn fill(&self, secret: SecretBytes) -> Result<(), NotDecoded>;
}

impl<T: Send + Sync, D: Decode<T>> Fill for Slot<T, D> {
    fn object(&self) -> &SealedObject {
        &self.object
    }

    fn is_open(&self) -> bool {
        self.value.get().is_some()
    }

    fn fill(&self, secret: SecretBytes) -> Result<(), NotDecoded> {
        let value = D::decode(secret)?;
        // Another thread may have opened it meanwhile; both values are of one object.
        let _ = self.value.set(value);
        Ok(())
    }
}
