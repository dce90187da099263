//! One logged-in session, and the handles of the objects it has used.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cryptoki::{
    context::Function,
    error::{Error, RvError},
    mechanism::{Mechanism, MechanismType},
    object::{Attribute, AttributeType, ObjectClass, ObjectHandle},
    session::{Session, SessionState},
};

use super::{TokenError, template};
use crate::limits;

/// A logged-in session; a job has it for itself.
///
/// Its objects are looked up once (`C_FindObjects` costs 50 to 70 µs with SoftHSM, and a network round trip elsewhere).
pub struct TokenSession {
    session: Session,
    token: String,
    handles: HashMap<(u64, Vec<u8>), ObjectHandle>,
    /// Objects destroyed by any worker; a token may give a handle to another object then.
    destroyed: Arc<AtomicU64>,
    /// How many of them the handles know of.
    seen: u64,
}

impl fmt::Debug for TokenSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSession")
            .field("token", &self.token)
            .field("handles", &self.handles.len())
            .finish_non_exhaustive()
    }
}

impl TokenSession {
    pub(super) fn new(session: Session, token: String, destroyed: Arc<AtomicU64>) -> Self {
        Self {
            session,
            token,
            handles: HashMap::new(),
            seen: destroyed.load(Ordering::SeqCst),
            destroyed,
        }
    }

    /// The session, for calls of one's own; turn their errors into [`TokenError`] by [`Self::failed`], so that a lost
    /// session is noticed.
    #[must_use]
    pub const fn raw(&self) -> &Session {
        &self.session
    }

    /// Name of the token, as it is configured.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A call's error as one of ours.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "taken by value to serve as `map_err(|error| session.failed(error))`"
    )]
    #[must_use]
    pub fn failed(&self, error: Error) -> TokenError {
        TokenError::from_call(&self.token, &error)
    }

    /// A decryption's error: what is about the input is [`TokenError::Unauthentic`], provided that the session still lives.
    ///
    /// Tokens answer `CKR_GENERAL_ERROR` both to a wrong tag and when they are broken, so the session is asked.
    #[must_use]
    pub fn refused(&self, error: Error) -> TokenError {
        let error = self.failed(error);
        if !error.is_about_input() {
            return error;
        }
        match self.alive() {
            Ok(()) => TokenError::Unauthentic,
            Err(error) => error,
        }
    }

    /// Whether the session lives and is logged in; else an error that says it is lost.
    fn alive(&self) -> Result<(), TokenError> {
        match self
            .session
            .get_session_info()
            .map(|info| info.session_state())
        {
            Ok(SessionState::RwUser | SessionState::RoUser) => Ok(()),
            Ok(_) => Err(self.failed(Error::Pkcs11(
                RvError::UserNotLoggedIn,
                Function::GetSessionInfo,
            ))),
            Err(error) => Err(self.failed(error).with_lost_session()),
        }
    }

    /// Makes a secret key; see [`Self::generate_key_pair`].
    ///
    /// # Errors
    ///
    /// A failed call.
    pub fn generate_key(
        &self,
        mechanism: &Mechanism<'_>,
        template: &[Attribute],
        allowed: &[MechanismType],
    ) -> Result<ObjectHandle, TokenError> {
        let strict = template::strict(template, allowed);
        match self.session.generate_key(mechanism, &strict) {
            Err(error) if template::is_refusal(&error) => {
                self.session.generate_key(mechanism, template)
            }
            made => made,
        }
        .map_err(|error| self.failed(error))
    }

    /// Makes a key pair: public and private key.
    ///
    /// The private key is for the `allowed` mechanisms only, and can be neither copied nor changed, if the token knows these
    /// attributes; they came late, and some tokens refuse them.
    ///
    /// # Errors
    ///
    /// A failed call.
    pub fn generate_key_pair(
        &self,
        mechanism: &Mechanism<'_>,
        public: &[Attribute],
        private: &[Attribute],
        allowed: &[MechanismType],
    ) -> Result<(ObjectHandle, ObjectHandle), TokenError> {
        let strict = template::strict(private, allowed);
        match self.session.generate_key_pair(mechanism, public, &strict) {
            Err(error) if template::is_refusal(&error) => {
                self.session.generate_key_pair(mechanism, public, private)
            }
            made => made,
        }
        .map_err(|error| self.failed(error))
    }

    /// The object of `class` with identifier `id`, provided it is what `check` wants. Looked up and checked once a session.
    ///
    /// # Errors
    ///
    /// [`TokenError::Object`] unless there is exactly one; [`TokenError::Unfit`] with the reason that `check` gives; or a
    /// failed call.
    pub fn find(
        &mut self,
        class: ObjectClass,
        id: &[u8],
        check: impl FnOnce(&Self, ObjectHandle) -> Result<Option<&'static str>, TokenError>,
    ) -> Result<ObjectHandle, TokenError> {
        let destroyed = self.destroyed.load(Ordering::SeqCst);
        if destroyed != self.seen {
            self.handles.clear();
            self.seen = destroyed;
        }
        let key = (*class, id.to_vec());
        if let Some(handle) = self.handles.get(&key) {
            return Ok(*handle);
        }
        let found = self.search(class, id)?;
        let [handle] = *found.as_slice() else {
            // Who is logged out does not see private objects.
            self.alive()?;
            return Err(TokenError::Object {
                token: self.token.clone(),
                object: hex::encode(id),
                count: found.len(),
            });
        };
        if let Some(reason) = check(self, handle)? {
            return Err(TokenError::Unfit {
                token: self.token.clone(),
                object: hex::encode(id),
                reason,
            });
        }
        if self.handles.len() >= limits::PKCS11_HANDLES {
            self.handles.clear();
        }
        self.handles.insert(key, handle);
        Ok(handle)
    }

    /// Every object of `class` with identifier `id` on the token.
    ///
    /// # Errors
    ///
    /// A failed call.
    pub fn search(&self, class: ObjectClass, id: &[u8]) -> Result<Vec<ObjectHandle>, TokenError> {
        self.session
            .find_objects(&[
                Attribute::Token(true),
                Attribute::Class(class),
                Attribute::Id(id.to_vec()),
            ])
            .map_err(|error| self.failed(error))
    }

    /// One yes-or-no attribute of an object; `false` when the token does not know it.
    ///
    /// # Errors
    ///
    /// A failed call.
    pub fn flag(&self, handle: ObjectHandle, attribute: AttributeType) -> Result<bool, TokenError> {
        let attributes = self
            .session
            .get_attributes(handle, &[attribute])
            .map_err(|error| self.failed(error))?;
        Ok(matches!(
            attributes.first(),
            Some(
                Attribute::Sensitive(true)
                    | Attribute::Extractable(true)
                    | Attribute::AlwaysSensitive(true)
                    | Attribute::NeverExtractable(true)
                    | Attribute::Local(true)
                    | Attribute::Private(true)
                    | Attribute::Encrypt(true)
                    | Attribute::Decrypt(true)
                    | Attribute::Sign(true)
            )
        ))
    }

    /// What makes a secret or private key unfit for keeping: that it can leave the token, or once could.
    ///
    /// # Errors
    ///
    /// A failed call.
    pub fn never_left(&self, handle: ObjectHandle) -> Result<Option<&'static str>, TokenError> {
        for (attribute, wanted, reason) in [
            (AttributeType::Sensitive, true, "it is not sensitive"),
            (AttributeType::Extractable, false, "it is extractable"),
            (
                AttributeType::AlwaysSensitive,
                true,
                "it was not always sensitive",
            ),
            (
                AttributeType::NeverExtractable,
                true,
                "it was extractable once",
            ),
            (AttributeType::Local, true, "it was not made in the token"),
            (AttributeType::Private, true, "it can be used without a PIN"),
        ] {
            if self.flag(handle, attribute)? != wanted {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }

    /// Destroys an object; one that is gone already is no error. Every worker looks its objects up anew.
    ///
    /// # Errors
    ///
    /// A failed call.
    pub fn destroy(&mut self, handle: ObjectHandle) -> Result<(), TokenError> {
        let destroyed = self.session.destroy_object(handle);
        self.destroyed.fetch_add(1, Ordering::SeqCst);
        match destroyed {
            Ok(()) | Err(Error::Pkcs11(RvError::ObjectHandleInvalid, _)) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }
}
