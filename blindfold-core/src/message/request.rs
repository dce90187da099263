//! The request.

use core::fmt;

use super::{MessageError, Refusal, VERSION};
use crate::codec::{Reader, put_lv16};
use crate::group::Element;
use crate::key::KeyId;
use crate::limits::{ELEMENT_BYTES, MAX_BATCH, MAX_REQUEST_BYTES};
use crate::policy::{PolicyRef, PolicyRefError, Window};
use crate::poprf::BadBatch;

const MAGIC: [u8; 4] = *b"PBSQ";

/// Request whose frame was read; its policy was not looked at yet.
///
/// # Layout, version 1
///
/// | bytes         | field                             |
/// |--------------:|-----------------------------------|
/// |             4 | `PBSQ`                            |
/// |             1 | version, `0x01`                   |
/// |            16 | request id                        |
/// |            32 | key id                            |
/// |             1 | policy mode                       |
/// | 2 and more    | policy                            |
/// |             4 | first day, 0 for no bound         |
/// |             4 | last day, 0 for no bound          |
/// |             2 | number of elements, 1 to 256      |
/// | 49 for each   | blinded elements                  |
#[derive(Clone, Eq, PartialEq)]
pub struct Request {
    request_id: [u8; 16],
    key_id: KeyId,
    mode: u8,
    policy: Vec<u8>,
    not_before_day: u32,
    not_after_day: u32,
    // INVARIANT (bounded): 1 to 256.
    elements: Vec<[u8; ELEMENT_BYTES]>,
}

/// Stands in an answer for the id of a request that could not be read.
pub(crate) const UNREAD_REQUEST_ID: [u8; 16] = [0; 16];

/// The request id of any bytes, for the answer to a request that can't be parsed; zero where there is none.
pub fn request_id_or_zero(bytes: &[u8]) -> [u8; 16] {
    let mut reader = Reader::new(bytes);
    let framed = reader.array() == Ok(MAGIC) && reader.u8() == Ok(VERSION);
    if framed {
        reader.array().unwrap_or_default()
    } else {
        UNREAD_REQUEST_ID
    }
}

impl Request {
    /// The request for `blinded` elements under one key, policy and window; only with the feature `hazmat`, as
    /// [`Batch::blind`](crate::Batch::blind) is what makes requests.
    ///
    /// `request_id` is random for every attempt.
    ///
    /// # Errors
    ///
    /// [`BadBatch`]: no element, or more than 256.
    #[cfg(feature = "hazmat")]
    pub fn new(
        request_id: [u8; 16],
        key_id: KeyId,
        policy: &PolicyRef,
        window: Window,
        blinded: &[Element],
    ) -> Result<Self, BadBatch> {
        Self::of(request_id, key_id, policy, window, blinded)
    }

    /// The request for `blinded` elements under one key, policy and window.
    pub(crate) fn of(
        request_id: [u8; 16],
        key_id: KeyId,
        policy: &PolicyRef,
        window: Window,
        blinded: &[Element],
    ) -> Result<Self, BadBatch> {
        if blinded.is_empty() || blinded.len() > MAX_BATCH {
            return Err(BadBatch);
        }
        Ok(Self {
            request_id,
            key_id,
            mode: policy.mode(),
            policy: policy.value().to_vec(),
            not_before_day: window.not_before_day(),
            not_after_day: window.not_after_day(),
            elements: blinded.iter().map(|element| *element.as_bytes()).collect(),
        })
    }

    /// Reads the frame of a request.
    ///
    /// # Errors
    ///
    /// See [`MessageError`]; the answer to each is [`Refusal::BadRequest`].
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MAX_REQUEST_BYTES {
            return Err(MessageError::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        if reader.array()? != MAGIC {
            return Err(MessageError::BadMagic);
        }
        if reader.u8()? != VERSION {
            return Err(MessageError::UnsupportedVersion);
        }
        let request_id = reader.array()?;
        let key_id = KeyId::from_bytes(reader.array()?);
        let mode = reader.u8()?;
        let policy = reader.lv16()?;
        let not_before_day = reader.u32()?;
        let not_after_day = reader.u32()?;
        let elements = read_elements(&mut reader)?;
        reader.finish()?;
        Ok(Self {
            request_id,
            key_id,
            mode,
            policy: policy.to_vec(),
            not_before_day,
            not_after_day,
            elements,
        })
    }

    /// The request as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes =
            Vec::with_capacity(66 + self.policy.len() + self.elements.len() * ELEMENT_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.request_id);
        bytes.extend_from_slice(self.key_id.as_bytes());
        bytes.push(self.mode);
        put_lv16(&mut bytes, &self.policy);
        bytes.extend_from_slice(&self.not_before_day.to_be_bytes());
        bytes.extend_from_slice(&self.not_after_day.to_be_bytes());
        put_elements(&mut bytes, &self.elements);
        bytes
    }

    /// Identifier of this attempt.
    pub fn request_id(&self) -> [u8; 16] {
        self.request_id
    }

    /// Key that is asked for; unknown keys are refused before the policy is looked at.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Number of elements, 1 to 256.
    pub fn count(&self) -> usize {
        self.elements.len()
    }

    /// Reads policy and window, once and for all that follows.
    ///
    /// # Errors
    ///
    /// - [`Refusal::PolicyNotCanonical`]: an inline document that is not restricted canonical JSON.
    /// - [`Refusal::BadRequest`]: an unknown mode, a bad name, digest or window.
    pub fn check(self) -> Result<CheckedRequest, Refusal> {
        let window = Window::new(self.not_before_day, self.not_after_day)
            .map_err(|_| Refusal::BadRequest)?;
        let policy = PolicyRef::parse(self.mode, &self.policy).map_err(|error| match error {
            PolicyRefError::Document(_) => Refusal::PolicyNotCanonical,
            _ => Refusal::BadRequest,
        })?;
        let Self {
            request_id,
            key_id,
            elements,
            ..
        } = self;
        Ok(CheckedRequest {
            request_id,
            key_id,
            policy,
            window,
            elements,
        })
    }
}

/// Shows the frame; elements are never logged.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("key_id", &self.key_id)
            .field("mode", &self.mode)
            .field("count", &self.elements.len())
            .finish_non_exhaustive()
    }
}

/// Request whose policy was parsed, once: what is authorized is what is evaluated (V14).
#[derive(Clone, Eq, PartialEq)]
pub struct CheckedRequest {
    request_id: [u8; 16],
    key_id: KeyId,
    policy: PolicyRef,
    window: Window,
    elements: Vec<[u8; ELEMENT_BYTES]>,
}

impl CheckedRequest {
    /// Identifier of this attempt.
    pub fn request_id(&self) -> [u8; 16] {
        self.request_id
    }

    /// Key that is asked for.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Policy that is to be authorized, and that Info is built from.
    pub fn policy(&self) -> &PolicyRef {
        &self.policy
    }

    /// Window that the clock is to lie in, and that Info is built from.
    pub fn window(&self) -> Window {
        self.window
    }

    /// Number of elements, 1 to 256: what quotas count.
    pub fn count(&self) -> usize {
        self.elements.len()
    }

    pub(crate) fn elements(&self) -> &[[u8; ELEMENT_BYTES]] {
        &self.elements
    }
}

/// Shows what is authorized; elements are never logged.
impl fmt::Debug for CheckedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedRequest")
            .field("key_id", &self.key_id)
            .field("policy", &self.policy)
            .field("window", &self.window)
            .field("count", &self.elements.len())
            .finish_non_exhaustive()
    }
}

/// `u16 count ‖ count × element`, undecoded.
pub(super) fn read_elements(
    reader: &mut Reader<'_>,
) -> Result<Vec<[u8; ELEMENT_BYTES]>, MessageError> {
    let count = usize::from(reader.u16()?);
    if count == 0 || count > MAX_BATCH {
        return Err(MessageError::BadCount);
    }
    (0..count).map(|_| Ok(reader.array()?)).collect()
}

/// `u16 count ‖ count × element`.
pub(super) fn put_elements(bytes: &mut Vec<u8>, elements: &[[u8; ELEMENT_BYTES]]) {
    const { assert!(MAX_BATCH <= u16::MAX as usize) };
    // INVARIANT (bounded)
    let count = u16::try_from(elements.len()).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&count.to_be_bytes());
    for element in elements {
        bytes.extend_from_slice(element);
    }
}
