//! Sealed fields that a struct names itself.

use std::collections::{BTreeMap, HashMap};

use super::{Decode, Fill, Sealed};

/// A value that holds sealed fields.
///
/// [`Sealed`] itself, `Option`, `Vec`, slices, arrays, maps with text keys and references implement it; a struct names its
/// fields:
///
/// ```
/// use wingman_sdk::{Sealed, SecretString, sealed::{Fields, SealedFields}};
///
/// struct Config {
///     password: Sealed<SecretString>,
///     replicas: Vec<Sealed<SecretString>>,
/// }
///
/// impl SealedFields for Config {
///     fn sealed_fields<'a>(&'a self, fields: &mut Fields<'a>) {
///         fields.labelled("password", "db-password", &self.password);
///         fields.field("replicas", &self.replicas);
///     }
/// }
/// ```
///
/// For a few fields no implementation is needed:
/// `wingman.open_fields(&[&config.a as &dyn SealedFields, &config.b])`.
pub trait SealedFields {
    /// Names every sealed field.
    fn sealed_fields<'a>(&'a self, fields: &mut Fields<'a>);
}

/// Takes the fields that [`SealedFields`] names.
pub struct Fields<'a> {
    place: String,
    label: Option<String>,
    found: Vec<Field<'a>>,
}

/// One sealed field, its place for error messages, and the label demanded of it.
pub(crate) struct Field<'a> {
    pub(crate) place: String,
    pub(crate) label: Option<String>,
    pub(crate) value: &'a dyn Fill,
}

impl<'a> Fields<'a> {
    /// All fields of `holder`.
    pub(crate) fn of(holder: &'a (impl SealedFields + ?Sized)) -> Vec<Field<'a>> {
        let mut fields = Self {
            place: String::new(),
            label: None,
            found: Vec::new(),
        };
        holder.sealed_fields(&mut fields);
        fields.found
    }

    /// Names a field, or a struct that has sealed fields; `name` appears in errors.
    pub fn field(&mut self, name: &str, value: &'a (impl SealedFields + ?Sized)) {
        self.within(name, None, value);
    }

    /// Names a field, each sealed value of which must have been sealed with `label`.
    pub fn labelled(&mut self, name: &str, label: &str, value: &'a (impl SealedFields + ?Sized)) {
        self.within(name, Some(label.to_owned()), value);
    }

    fn within(
        &mut self,
        name: &str,
        label: Option<String>,
        value: &'a (impl SealedFields + ?Sized),
    ) {
        let length = self.place.len();
        if length > 0 && !name.starts_with('[') {
            self.place.push('.');
        }
        self.place.push_str(name);
        let outer = self.label.clone();
        if label.is_some() {
            self.label = label;
        }
        value.sealed_fields(self);
        self.label = outer;
        self.place.truncate(length);
    }
}

impl std::fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fields")
            .field("place", &self.place)
            .field("found", &self.found.len())
            .finish_non_exhaustive()
    }
}

impl<T: Send + Sync, D: Decode<T>> SealedFields for Sealed<T, D> {
    fn sealed_fields<'a>(&'a self, fields: &mut Fields<'a>) {
        fields.found.push(Field {
            place: fields.place.clone(),
            label: fields.label.clone(),
            value: &*self.slot,
        });
    }
}

impl<F: SealedFields + ?Sized> SealedFields for &F {
    fn sealed_fields<'a>(&'a self, fields: &mut Fields<'a>) {
        (**self).sealed_fields(fields);
    }
}

impl<F: SealedFields + ?Sized> SealedFields for Box<F> {
    fn sealed_fields<'a>(&'a self, fields: &mut Fields<'a>) {
        (**self).sealed_fields(fields);
    }
}

impl<F: SealedFields> SealedFields for Option<F> {
    fn sealed_fields<'a>(&'a self, fields: &mut Fields<'a>) {
        if let Some(field) = self {
            field.sealed_fields(fields);
        }
    }
}

impl<F: SealedFields> SealedFields for [F] {
    fn sealed_fields<'a>(&'a self, fields: &mut Fields<'a>) {
        for (index, field) in self.iter().enumerate() {
            fields.field(&format!("[{index}]"), field);
        }
    }
}

impl<F: SealedFields, const N: usize> SealedFields for [F; N] {
    fn sealed_fields<'a>(&'a self, fields: &mut Fields<'a>) {
        self.as_slice().sealed_fields(fields);
    }
}

impl<F: SealedFields> SealedFields for Vec<F> {
    fn sealed_fields<'a>(&'a self, fields: &mut Fields<'a>) {
        self.as_slice().sealed_fields(fields);
    }
}

impl<K: AsRef<str>, F: SealedFields> SealedFields for BTreeMap<K, F> {
    fn sealed_fields<'a>(&'a self, fields: &mut Fields<'a>) {
        for (key, field) in self {
            fields.field(key.as_ref(), field);
        }
    }
}

impl<K: AsRef<str>, F: SealedFields, S> SealedFields for HashMap<K, F, S> {
    fn sealed_fields<'a>(&'a self, fields: &mut Fields<'a>) {
        for (key, field) in self {
            fields.field(key.as_ref(), field);
        }
    }
}
