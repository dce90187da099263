//! What a deserializer makes and meets, so that nobody has to list it.
//!
//! A deserializer has no context of its own, so a scope is kept per thread while one closure runs. It holds
//!
//! - weak references to the sealed values that were made: what a deserializer made and dropped again (an untagged
//!   enum tries its variants in turn) is not opened;
//! - values of configuration files that are open already, so that a [`Sealed`](super::Sealed) field that meets their
//!   clear text still gets the object, and is filled at once;
//! - which value of such a file is being read, where it is known: then a field gets that one or none. Buffers of serde
//!   and other deserializers don't tell, so there a value is known by its content, unless a plain one has the same.

use std::{
    cell::RefCell,
    sync::{Arc, Weak},
};

use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Fill;
use crate::{
    SealedObject,
    document::{Kind, number},
    secret::SecretBytes,
};

thread_local! {
    /// The scopes of the `collect` calls that run on this thread, the innermost last.
    static SCOPES: RefCell<Vec<Scope>> = const { RefCell::new(Vec::new()) };
}

#[derive(Default)]
struct Scope {
    made: Vec<Weak<dyn Fill>>,
    opened: Vec<Arc<Opened>>,
    place: Place,
}

/// Which value of a configuration file a visitor is given.
#[derive(Default)]
enum Place {
    /// Nobody told.
    #[default]
    Unknown,
    Plain,
    Opened(Arc<Opened>),
}

/// A value of a configuration file that was opened; wiped on drop.
pub(crate) struct Opened {
    pub(crate) object: SealedObject,
    pub(crate) kind: Kind,
    pub(crate) secret: SecretBytes,
    /// Whether a plain value of the same file reads alike.
    pub(crate) twin: bool,
}

impl Opened {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.secret.expose_secret()
    }

    /// Its text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()).ok()
    }

    /// A copy for a field that keeps it: of numbers in a spelling that all types read.
    pub(super) fn copy(&self) -> SecretBytes {
        let plain = self.text().and_then(|text| match self.kind {
            Kind::Integer => number::integer(text).map(|value| value.to_string()),
            Kind::Boolean => number::boolean(text).map(|value| value.to_string()),
            // As many digits as were written, where that is a spelling of Rust's.
            Kind::Float if text.parse::<f64>().is_err() => {
                number::float(text).map(|value| value.to_string())
            }
            _ => None,
        });
        let plain = plain.map(|plain| Zeroizing::new(plain.into_bytes()));
        SecretBytes::from(Box::<[u8]>::from(
            plain
                .as_ref()
                .map_or(self.bytes(), |plain| plain.as_slice()),
        ))
    }
}

/// Runs `deserialize` and returns, with its result, the sealed values it made that are still in use.
pub(crate) fn collect<R>(deserialize: impl FnOnce() -> R) -> (R, Vec<Arc<dyn Fill>>) {
    SCOPES.with_borrow_mut(|scopes| scopes.push(Scope::default()));
    // Ends the scope also when the closure panics.
    let scope = PopOnDrop;
    let result = deserialize();
    let made = scope.take();
    (result, made.iter().filter_map(Weak::upgrade).collect())
}

/// Makes opened values known in the innermost scope, if there is one.
pub(crate) fn offer(opened: impl IntoIterator<Item = Arc<Opened>>) {
    innermost(|scope| scope.opened.extend(opened));
}

/// Tells during `visit` which value of a configuration file is given to a visitor: an opened one, or a plain one.
pub(crate) fn visiting<R>(opened: Option<Arc<Opened>>, visit: impl FnOnce() -> R) -> R {
    innermost(|scope| scope.place = opened.map_or(Place::Plain, Place::Opened));
    let result = visit();
    innermost(|scope| scope.place = Place::Unknown);
    result
}

/// Whether it is known which value a visitor is given.
fn knows_place() -> bool {
    SCOPES.with_borrow(|scopes| {
        let scope = scopes.last();
        scope.is_some_and(|scope| !matches!(scope.place, Place::Unknown))
    })
}

/// Enters a sealed value in the innermost scope, if there is one; makes the reference only then.
pub(super) fn enter(value: impl FnOnce() -> Weak<dyn Fill>) {
    innermost(|scope| scope.made.push(value()));
}

/// Whether values that are open already may be met.
pub(super) fn expects_opened() -> bool {
    find(|_| true).is_some()
}

/// The opened value of which a deserializer gives the clear bytes.
///
/// Two values may have the same content: the very bytes that the scope holds come first.
pub(super) fn opened_as(content: &[u8]) -> Met {
    // All that is empty lies at one place in memory.
    let lent = |opened: &Opened| !content.is_empty() && std::ptr::eq(opened.bytes(), content);
    if let Some(opened) = find(lent) {
        return Met::Opened(opened);
    }
    let opened = find(|opened| bool::from(opened.bytes().ct_eq(content))).or_else(|| {
        // Some make a text of every number, in their own spelling.
        let content = std::str::from_utf8(content).ok()?;
        find(|opened| {
            let text = opened.text();
            opened.kind != Kind::Null
                && text.is_some_and(|text| number::same(opened.kind, text, content))
        })
    });
    alike(opened)
}

/// The opened value of another kind than text that reads as a deserializer gives it.
pub(super) fn opened_of(kind: Kind, reads: impl Fn(&str) -> bool) -> Met {
    alike(find(|opened| {
        opened.kind == kind && opened.text().is_some_and(&reads)
    }))
}

/// Which opened value a deserializer gives.
pub(super) enum Met {
    /// None.
    Nothing,
    /// This one.
    Opened(Arc<Opened>),
    /// One that reads so, or the plain value that does.
    Unclear,
}

fn alike(opened: Option<Arc<Opened>>) -> Met {
    match opened {
        None => Met::Nothing,
        Some(opened) if opened.twin && !knows_place() => Met::Unclear,
        Some(opened) => Met::Opened(opened),
    }
}

fn find(fits: impl Fn(&Opened) -> bool) -> Option<Arc<Opened>> {
    SCOPES.with_borrow(|scopes| {
        let scope = scopes.last()?;
        let candidates = match &scope.place {
            Place::Unknown => scope.opened.as_slice(),
            Place::Plain => &[],
            Place::Opened(opened) => std::slice::from_ref(opened),
        };
        candidates.iter().find(|opened| fits(opened)).cloned()
    })
}

fn innermost(act: impl FnOnce(&mut Scope)) {
    SCOPES.with_borrow_mut(|scopes| {
        if let Some(scope) = scopes.last_mut() {
            act(scope);
        }
    });
}

struct PopOnDrop;

impl PopOnDrop {
    fn take(self) -> Vec<Weak<dyn Fill>> {
        SCOPES
            .with_borrow_mut(|scopes| {
                scopes
                    .last_mut()
                    .map(|scope| std::mem::take(&mut scope.made))
            })
            .unwrap_or_default()
    }
}

impl Drop for PopOnDrop {
    fn drop(&mut self) {
        // Dropped outside of the borrow: what is dropped may be anything.
        let ended = SCOPES.with_borrow_mut(Vec::pop);
        drop(ended);
    }
}
