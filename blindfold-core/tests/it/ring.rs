//! Keys to seal with, a ring of them to open with, and an object taken apart.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests: whatever does not fit is a failed test"
)]

use std::convert::Infallible;

use blindfold_core::{
    AcceptanceProfile, Accepted, AuthorityKey, Batch, CanonicalPolicy, Expectation, Header,
    LockSecrets, LockSpec, OpenError, Opened, PinnedKeys, PolicyRef, Request, Response,
    SealOptions, Sealed, Sealer, SecretKey, StaticKey, StreamError, UnsealingKey, Window,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, TryCryptoRng, TryRng};

use crate::common::{DRAFT, draft_key, hex, key_file, rng};

/// What most objects of these tests hold.
pub(crate) const SECRET: &[u8] = b"hunter2";
/// A policy in canonical form.
pub(crate) const POLICY: &str = r#"{"allow":[{"app":"web","site":"eu-*"}],"v":1}"#;

/// Gives `first`, byte for byte, then goes on with a seeded generator.
#[derive(Debug)]
pub(crate) struct Scripted {
    first: Vec<u8>,
    given: usize,
    then: ChaCha20Rng,
}

impl Scripted {
    pub(crate) fn new(first: &[u8]) -> Self {
        Self {
            first: first.to_vec(),
            given: 0,
            then: rng(0),
        }
    }

    /// How many of the scripted bytes were drawn.
    pub(crate) fn given(&self) -> usize {
        self.given
    }
}

impl TryRng for Scripted {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        let left = &self.first[self.given..];
        let scripted = left.len().min(out.len());
        out[..scripted].copy_from_slice(&left[..scripted]);
        self.given += scripted;
        self.then.fill_bytes(&mut out[scripted..]);
        Ok(())
    }
}

impl TryCryptoRng for Scripted {}

pub(crate) fn unsealing_key(record: &[u8], secret: &[u8]) -> UnsealingKey {
    match SecretKey::from_file_bytes(&key_file(record, secret)).unwrap() {
        SecretKey::Unsealing(key) => key,
        other => panic!("not an unsealing key: {other:?}"),
    }
}

pub(crate) fn static_key_of(record: &[u8], secret: &[u8]) -> StaticKey {
    match SecretKey::from_file_bytes(&key_file(record, secret)).unwrap() {
        SecretKey::Static(key) => key,
        other => panic!("not a static key: {other:?}"),
    }
}

/// All keys of the draft vectors.
pub(crate) fn draft_ring() -> Ring {
    let last = &DRAFT["objects"][4];
    let mut unsealing = vec![draft_key()];
    for index in 0..3 {
        let record = hex(&last["authority_key_records"][index]);
        unsealing.push(unsealing_key(
            &record,
            &hex(&last["authority_secret_scalars"][index]),
        ));
    }
    let site = static_key_of(
        &hex(&last["site_key_record"]),
        &hex(&last["mlkem_seed_d_z"]),
    );
    Ring::of(unsealing, vec![site])
}

/// An authority's key named after its number, the same in every run.
pub(crate) fn authority(number: u8) -> UnsealingKey {
    UnsealingKey::derive(&[number; 32], &format!("a{number}.example"), "acme", 1).unwrap()
}

/// A site's or recovery holder's key named after its number, the same in every run.
pub(crate) fn static_key(number: u8) -> StaticKey {
    StaticKey::generate(
        &format!("site{number}.example"),
        "acme",
        1,
        &mut rng(number),
    )
    .unwrap()
}

pub(crate) fn inline(document: &str) -> PolicyRef {
    PolicyRef::Inline(CanonicalPolicy::parse(document.as_bytes()).unwrap())
}

pub(crate) fn named(name: &str) -> PolicyRef {
    PolicyRef::Name(name.parse().unwrap())
}

/// A SHARE lock under the usual policy, without a window.
pub(crate) fn share(key: &UnsealingKey) -> LockSpec {
    LockSpec::share(key.record(), inline(POLICY), Window::unbounded())
}

/// Seals the usual secret.
pub(crate) fn seal(locks: Vec<LockSpec>, options: SealOptions) -> Vec<u8> {
    Sealer::new(locks, options)
        .unwrap()
        .seal(SECRET, &mut rng(7))
        .unwrap()
}

/// Evaluates a request as an authority does after it authorized it, over the wire format.
pub(crate) fn answer(request: &Request, key: &UnsealingKey) -> Response {
    let request = Request::parse(&request.to_bytes()).unwrap();
    let request_id = request.request_id();
    let response = request
        .check()
        .and_then(|checked| Ok(key.blind_evaluate(&checked, &mut rng(99))?));
    let response = response.unwrap_or_else(|refusal| Response::refused(request_id, refusal, 0));
    Response::parse(&response.to_bytes()).unwrap()
}

/// The secret keys that a test holds: each its own authority or site.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    pub(crate) unsealing: Vec<UnsealingKey>,
    pub(crate) statics: Vec<StaticKey>,
}

impl Ring {
    pub(crate) fn of(unsealing: Vec<UnsealingKey>, statics: Vec<StaticKey>) -> Self {
        Self { unsealing, statics }
    }

    /// The records, pinned.
    pub(crate) fn pinned(&self) -> PinnedKeys {
        let unsealing = self.unsealing.iter().map(UnsealingKey::record);
        unsealing
            .chain(self.statics.iter().map(StaticKey::record))
            .cloned()
            .collect()
    }

    /// The ring of one key of this one, by its authority's name.
    pub(crate) fn only(self, name: &str) -> Self {
        let Self {
            mut unsealing,
            mut statics,
        } = self;
        unsealing.retain(|key| key.record().authority() == name);
        statics.retain(|key| key.record().authority() == name);
        assert_eq!(unsealing.len() + statics.len(), 1, "{name}");
        Self { unsealing, statics }
    }

    fn authority(&self, key: &AuthorityKey) -> Option<&UnsealingKey> {
        self.unsealing.iter().find(|secret| secret.record() == key)
    }

    pub(crate) fn accept(&self, object: &[u8]) -> Result<Accepted, OpenError> {
        Sealed::parse(object)?.accept(
            &self.pinned(),
            &AcceptanceProfile::new(),
            &Expectation::new(),
        )
    }

    /// All secrets that the authorities and sites of this ring give, through requests and answers.
    pub(crate) fn ask(&self, accepted: &Accepted) -> Result<LockSecrets, OpenError> {
        let mut secrets = LockSecrets::new();
        for batch in Batch::group(accepted.policy_locks()) {
            let Some(key) = self.authority(batch.key()) else {
                continue;
            };
            let (request, pending) = batch.blind(&mut rng(5))?;
            secrets.merge(pending.finalize(answer(&request, key))?);
        }
        for key in &self.statics {
            secrets.merge(accepted.static_secret(key)?);
        }
        Ok(secrets)
    }

    /// The same secrets, computed with the secret keys themselves: quicker, for tests that open thousands of objects.
    pub(crate) fn unlock(&self, accepted: &Accepted) -> Result<LockSecrets, OpenError> {
        let mut secrets = LockSecrets::new();
        for key in &self.unsealing {
            secrets.merge(accepted.recovery_secret(key)?);
        }
        for key in &self.statics {
            secrets.merge(accepted.static_secret(key)?);
        }
        Ok(secrets)
    }

    /// Opens an object the whole way, through requests and answers.
    pub(crate) fn open(
        &self,
        object: &[u8],
        expectation: &Expectation,
    ) -> Result<Opened, OpenError> {
        self.open_with(object, &AcceptanceProfile::new(), expectation)
    }

    pub(crate) fn open_with(
        &self,
        object: &[u8],
        profile: &AcceptanceProfile,
        expectation: &Expectation,
    ) -> Result<Opened, OpenError> {
        let accepted = Sealed::parse(object)?.accept(&self.pinned(), profile, expectation)?;
        accepted.open(&self.ask(&accepted)?)
    }

    /// Opens an object with the secret keys themselves.
    pub(crate) fn open_offline(
        &self,
        object: &[u8],
        expectation: &Expectation,
    ) -> Result<Opened, OpenError> {
        let accepted = Sealed::parse(object)?.accept(
            &self.pinned(),
            &AcceptanceProfile::new(),
            expectation,
        )?;
        accepted.open(&self.unlock(&accepted)?)
    }

    /// Opens an object from a reader with secrets got for it; gives what was written, too.
    pub(crate) fn open_streamed(
        &self,
        object: &[u8],
        secrets: &LockSecrets,
        ext_aad: Option<&[u8]>,
    ) -> (Vec<u8>, Result<u64, StreamError>) {
        self.open_streamed_with(object, secrets, &AcceptanceProfile::new(), ext_aad)
    }

    pub(crate) fn open_streamed_with(
        &self,
        object: &[u8],
        secrets: &LockSecrets,
        profile: &AcceptanceProfile,
        ext_aad: Option<&[u8]>,
    ) -> (Vec<u8>, Result<u64, StreamError>) {
        let mut expectation = Expectation::new();
        expectation.ext_aad = ext_aad.map(<[u8]>::to_vec);
        let mut written = Vec::new();
        let mut reader = object;
        let result = Header::read_from(&mut reader)
            .and_then(|header| Ok(header.accept(&self.pinned(), profile, &expectation)?))
            .and_then(|header| header.open_stream(secrets, reader, &mut written));
        (written, result)
    }

    /// The specification's name of the error that opening ends with.
    pub(crate) fn refusal(&self, object: &[u8]) -> &'static str {
        match self.open_offline(object, &Expectation::new()) {
            Ok(_) => "opened",
            Err(error) => error.name(),
        }
    }
}

/// An object taken apart, to be bent and put together again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Parts {
    pub(crate) fixed: [u8; 12],
    pub(crate) salt: [u8; 32],
    pub(crate) label: Vec<u8>,
    pub(crate) locks: Vec<LockParts>,
    /// Commitment and payload.
    pub(crate) rest: Vec<u8>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LockParts {
    pub(crate) role: u8,
    pub(crate) suite: u16,
    pub(crate) key_id: [u8; 32],
    pub(crate) tenant: Vec<u8>,
    pub(crate) key_version: u32,
    pub(crate) mode: u8,
    pub(crate) policy: Vec<u8>,
    pub(crate) not_before_day: u32,
    pub(crate) not_after_day: u32,
    pub(crate) enc: Vec<u8>,
    /// 48 bytes; more or fewer are written as they are.
    pub(crate) wrapped: Vec<u8>,
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take(&mut self, count: usize) -> Vec<u8> {
        let (head, rest) = self.0.split_at(count);
        self.0 = rest;
        head.to_vec()
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().unwrap()
    }

    fn lv16(&mut self) -> Vec<u8> {
        let len = u16::from_be_bytes(self.array());
        self.take(len.into())
    }
}

fn lv16(x: &[u8]) -> Vec<u8> {
    [&u16::try_from(x.len()).unwrap().to_be_bytes()[..], x].concat()
}

impl Parts {
    pub(crate) fn of(object: &[u8]) -> Self {
        let mut cursor = Cursor(object);
        let (fixed, salt, label) = (cursor.array::<12>(), cursor.array(), cursor.lv16());
        let locks = (0..fixed[11])
            .map(|_| LockParts::of(&cursor.lv16()))
            .collect();
        Self {
            fixed,
            salt,
            label,
            locks,
            rest: cursor.0.to_vec(),
        }
    }

    /// The object; the number of locks is counted anew.
    pub(crate) fn join(&self) -> Vec<u8> {
        let mut fixed = self.fixed;
        fixed[11] = u8::try_from(self.locks.len()).unwrap();
        let mut object = [&fixed[..], &self.salt, &lv16(&self.label)].concat();
        for lock in &self.locks {
            object.extend(lv16(&lock.join()));
        }
        object.extend_from_slice(&self.rest);
        object
    }

    /// The object after `bend`.
    pub(crate) fn bent(object: &[u8], bend: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut parts = Self::of(object);
        bend(&mut parts);
        parts.join()
    }
}

impl LockParts {
    fn of(lock: &[u8]) -> Self {
        let mut cursor = Cursor(lock);
        let [role] = cursor.array();
        let suite = u16::from_be_bytes(cursor.array());
        let key_id = cursor.array();
        let [tenant_len] = cursor.array();
        Self {
            role,
            suite,
            key_id,
            tenant: cursor.take(tenant_len.into()),
            key_version: u32::from_be_bytes(cursor.array()),
            mode: cursor.array::<1>()[0],
            policy: cursor.lv16(),
            not_before_day: u32::from_be_bytes(cursor.array()),
            not_after_day: u32::from_be_bytes(cursor.array()),
            enc: cursor.lv16(),
            wrapped: cursor.take(48),
        }
    }

    fn join(&self) -> Vec<u8> {
        [
            &[self.role][..],
            &self.suite.to_be_bytes(),
            &self.key_id,
            &[u8::try_from(self.tenant.len()).unwrap()],
            &self.tenant,
            &self.key_version.to_be_bytes(),
            &[self.mode],
            &lv16(&self.policy),
            &self.not_before_day.to_be_bytes(),
            &self.not_after_day.to_be_bytes(),
            &lv16(&self.enc),
            &self.wrapped,
        ]
        .concat()
    }
}
