//! Large data in one request: encrypted, decrypted or hashed while it arrives, in constant memory.
//!
//! Encryption makes a data key under the named key and answers with the stream of [`kms_client::stream`], chunk by chunk;
//! decryption takes such a stream. The record of the operation is durable before the first byte of the answer leaves. A
//! stream that fails later breaks off, so that nobody takes what came for the whole, and that is recorded too.
//!
//! A code or a signature is made over a hash of everything, and the policies are asked again at the end.
//!
//! # Not promised
//!
//! A stream that has begun is not stopped by a change of policy; a site that is switched off loses its connections. What
//! was decrypted before a stream broke off has left: act on it after its end only.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use base64ct::{Base64, Encoding};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use identity::Principal;
use kms_client::{
    Hash, Operation,
    keyring::Versioned,
    limits::{MAX_AAD_BYTES, MAX_ENCRYPTED_DATA_KEY_BYTES},
    local::OperationError,
    stream::{CHUNK_BYTES, ChunkKey, DATA_KEY_BYTES, DataKey, SEALED_CHUNK_BYTES, StreamHeader},
    wire::{self, AAD_HEADER},
};
use service::{
    audit::{AuditContext, ItemOutcome},
    limits::DISCARD_BYTES,
};
use sha2::{Digest, Sha256, Sha384, Sha512};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    backend::Backend,
    call::{Allowed, Call, give_up},
    engine::Engine,
    operations::{context_sha256, random},
    refusal::Refusal,
    wiped,
};

/// Type of streams.
const OCTETS: &str = "application/octet-stream";

/// Everything before the chunks of a stream at most.
const HEAD_BYTES: usize = 8 + MAX_ENCRYPTED_DATA_KEY_BYTES + 32 + 32;

/// Caller's associated data out of the header.
pub(crate) fn aad_of(headers: &HeaderMap) -> Result<Vec<u8>, Refusal> {
    let refuse = || Refusal::bad_request("the header kms-aad is not Base64 of at most 8192 bytes");
    let mut values = headers.get_all(AAD_HEADER).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(Vec::new()),
        (Some(value), None) => {
            let text = value.to_str().map_err(|_| refuse())?;
            let aad = Base64::decode_vec(text).map_err(|_| refuse())?;
            (aad.len() <= MAX_AAD_BYTES)
                .then_some(aad)
                .ok_or_else(refuse)
        }
        (Some(_), Some(_)) => Err(refuse()),
    }
}

impl Call<'_> {
    /// Answers a body with its encryption.
    pub(crate) async fn encrypt_stream(
        &self,
        (tenant, key): (&str, &str),
        aad: Vec<u8>,
        body: &mut Body,
    ) -> Result<Response, Refusal> {
        let operation = Operation::Encrypt;
        let allowed = self.enter_stream(operation, tenant, key).await?;
        let permit = self.permit(&allowed, 1).await?;
        let hash = context_sha256(Some(&aad));
        let begun = async {
            self.spend(operation, &allowed.key, 1).await?;
            let version = allowed.key.ring.protecting(operation)?;
            let data_key = random(DATA_KEY_BYTES)?;
            let _seat = allowed
                .key
                .is_hsm()
                .then(|| self.token_seat(1))
                .transpose()?;
            let encrypted = version.backend.encrypt(&aad, &data_key).await?;
            let failed = |_| Refusal::internal("the stream can't be begun");
            let data_key = DataKey::new(&data_key, encrypted).map_err(failed)?;
            let (chunks, head) = ChunkKey::begin(&data_key, &aad).map_err(failed)?;
            Ok((version.version(), chunks, head))
        };
        match begun.await {
            Ok((version, chunks, head)) => {
                permit.finish(&[done(version, hash)]).await?;
                let work = Work::Seal(chunks);
                Ok(self.answer(
                    &allowed,
                    operation,
                    work,
                    std::mem::take(body),
                    head,
                    Vec::new(),
                ))
            }
            Err(refusal) => Err(give_up(permit, &[hash], refusal).await),
        }
    }

    /// Answers a stream with its decryption.
    pub(crate) async fn decrypt_stream(
        &self,
        (tenant, key): (&str, &str),
        aad: Vec<u8>,
        body: &mut Body,
    ) -> Result<Response, Refusal> {
        let operation = Operation::Decrypt;
        let allowed = self.enter_stream(operation, tenant, key).await?;
        let permit = self.permit(&allowed, 1).await?;
        let hash = context_sha256(Some(&aad));
        let begun = async {
            let (header, rest) = read_header(body).await?;
            let encrypted = header.encrypted_data_key();
            let version = allowed.key.reading(encrypted, operation)?;
            let _seat = allowed
                .key
                .is_hsm()
                .then(|| self.token_seat(1))
                .transpose()?;
            let data_key = version.backend.decrypt(&aad, encrypted).await?;
            let chunks = header.accept(&data_key, &aad);
            let chunks = chunks.map_err(|_| OperationError::DecryptionFailed)?;
            version.uses.read();
            Ok((version.version(), chunks, rest))
        };
        match begun.await {
            Ok((version, chunks, rest)) => {
                permit.finish(&[done(version, hash)]).await?;
                let work = Work::Open(chunks);
                Ok(self.answer(
                    &allowed,
                    operation,
                    work,
                    std::mem::take(body),
                    Vec::new(),
                    rest,
                ))
            }
            Err(refusal) => Err(give_up(permit, &[hash], refusal).await),
        }
    }

    /// The authentication code of a body of any length.
    pub(crate) async fn hmac_stream(
        &self,
        (tenant, key): (&str, &str),
        body: &mut Body,
    ) -> Result<wire::Mac, Refusal> {
        let operation = Operation::Hmac;
        let allowed = self.enter_stream(operation, tenant, key).await?;
        let begun = async {
            let version = allowed.key.ring.protecting(operation)?;
            let Backend::Software(software) = &version.backend else {
                return Err(Refusal::new(
                    wire::ErrorCode::WrongOperation,
                    "an HSM takes whole messages of up to 64 KiB: send the digest of larger ones as the message",
                ));
            };
            let mut code = software.mac_context()?;
            while let Some(piece) = next(body).await? {
                code.update(&piece);
            }
            Ok((version.version(), code))
        };
        let (version, code) = match begun.await {
            Ok(begun) => begun,
            Err(refusal) => return Err(self.refuse_on(operation, &allowed.key, refusal).await),
        };
        // Much may have changed since the first byte.
        let allowed = self.again(operation, tenant, key).await?;
        let permit = self.permit(&allowed, 1).await?;
        let counted = async {
            allowed.key.ring.key(version, operation)?;
            self.spend(operation, &allowed.key, 1).await
        };
        match counted.await {
            Ok(()) => {
                let mac = code.finish().into();
                let answer = wire::Mac { mac, version };
                Ok(permit.release(&[done(version, None)], answer).await?)
            }
            Err(refusal) => Err(give_up(permit, &[None], refusal).await),
        }
    }

    /// The signature of a body of any length.
    pub(crate) async fn sign_stream(
        &self,
        (tenant, key): (&str, &str),
        body: &mut Body,
    ) -> Result<wire::Response<wire::Signed>, Refusal> {
        let operation = Operation::Sign;
        let allowed = self.enter_stream(operation, tenant, key).await?;
        let algorithm = allowed.key.algorithm;
        let hashed = async {
            let hash = algorithm
                .hash()
                .ok_or(OperationError::Prehashed(algorithm))?;
            match hash {
                Hash::Sha256 => digest::<Sha256>(body).await,
                Hash::Sha384 => digest::<Sha384>(body).await,
                Hash::Sha512 => digest::<Sha512>(body).await,
            }
        };
        let digest = match hashed.await {
            Ok(digest) => digest,
            Err(refusal) => return Err(self.refuse_on(operation, &allowed.key, refusal).await),
        };
        // Much may have changed since the first byte.
        let allowed = self.again(operation, tenant, key).await?;
        let input = wire::ToSign::Digest(digest.into());
        self.run(operation, &allowed, vec![wire::Sign { input }])
            .await
    }

    async fn enter_stream(
        &self,
        operation: Operation,
        tenant: &str,
        key: &str,
    ) -> Result<Allowed, Refusal> {
        let snapshot = self.enter(operation, tenant, key).await?;
        let allowed = self.allow(&snapshot, operation, tenant, key).await?;
        match allowed.key.check(operation) {
            Ok(()) => Ok(allowed),
            Err(refusal) => Err(self.refuse_on(operation, &allowed.key, refusal).await),
        }
    }

    /// Asks again with what is in force now.
    async fn again(
        &self,
        operation: Operation,
        tenant: &str,
        key: &str,
    ) -> Result<Allowed, Refusal> {
        let now = Call::new(self.engine, self.principal);
        let snapshot = self.engine.serving()?;
        let allowed = now.allow(&snapshot, operation, tenant, key).await?;
        allowed.key.check(operation)?;
        Ok(allowed)
    }

    fn answer(
        &self,
        allowed: &Allowed,
        operation: Operation,
        work: Work,
        body: Body,
        head: Vec<u8>,
        rest: Vec<u8>,
    ) -> Response {
        let pump = Pump {
            body,
            work,
            head,
            buffer: Zeroizing::new(rest),
            index: 0,
            state: State::Reading,
            report: Report {
                engine: Arc::clone(self.engine),
                principal: Arc::clone(self.principal),
                operation,
                resource: allowed.key.resource.clone(),
                context: allowed.key.context.clone(),
            },
        };
        let mut response = Response::new(Body::new(pump));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(OCTETS));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn done(version: u32, hash: Option<[u8; 32]>) -> ItemOutcome<'static> {
    let outcome = ItemOutcome::success().with_version(version);
    match hash {
        Some(hash) => outcome.with_context_sha256(hash),
        None => outcome,
    }
}

fn broken() -> Refusal {
    Refusal::bad_request("the body broke off, came too slowly, or is too large")
}

/// Reads and drops what is left of a body that was refused, unless that is a lot: a client that sends first and reads then
/// gets the answer and no reset.
pub(crate) async fn discard(body: &mut Body) {
    let mut left = DISCARD_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// The next piece of a body, if there is one.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Refusal> {
    loop {
        match body.frame().await {
            Some(Ok(frame)) => {
                // Trailers say nothing that is wanted here.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(_)) => return Err(broken()),
            None => return Ok(None),
        }
    }
}

async fn digest<D: Digest>(body: &mut Body) -> Result<Vec<u8>, Refusal> {
    let mut digest = D::new();
    while let Some(piece) = next(body).await? {
        digest.update(&piece);
    }
    Ok(digest.finalize().to_vec())
}

/// The header of a stream, and what came behind it.
async fn read_header(body: &mut Body) -> Result<(StreamHeader, Vec<u8>), Refusal> {
    let mut bytes = Vec::new();
    loop {
        if let Ok((header, rest)) = StreamHeader::parse(&bytes) {
            let rest = rest.to_vec();
            return Ok((header, rest));
        }
        if bytes.len() >= HEAD_BYTES {
            return Err(OperationError::DecryptionFailed.into());
        }
        match next(body).await? {
            Some(piece) => bytes.extend_from_slice(&piece),
            None => return Err(OperationError::DecryptionFailed.into()),
        }
    }
}

/// What is done with each chunk.
enum Work {
    Seal(ChunkKey),
    Open(ChunkKey),
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum State {
    Reading,
    /// The input is whole; the last chunk is in the buffer.
    Ended,
    Done,
}

/// A body that is made of another one, chunk by chunk.
struct Pump {
    body: Body,
    work: Work,
    /// What goes before the chunks.
    head: Vec<u8>,
    buffer: Zeroizing<Vec<u8>>,
    index: u64,
    state: State,
    report: Report,
}

/// What a stream that fails is recorded with.
struct Report {
    engine: Arc<Engine>,
    principal: Arc<Principal>,
    operation: Operation,
    resource: String,
    context: AuditContext,
}

/// A stream that breaks off.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the stream failed")]
struct Failed;

impl Pump {
    /// Bytes of a whole chunk of the input.
    fn chunk_bytes(&self) -> usize {
        match self.work {
            Work::Seal(_) => CHUNK_BYTES,
            Work::Open(_) => SEALED_CHUNK_BYTES,
        }
    }

    /// Works on the first chunk in the buffer.
    fn step(&mut self, last: bool) -> Result<Bytes, Failed> {
        let take = self.buffer.len().min(self.chunk_bytes());
        let mut chunk = Zeroizing::new(self.buffer.get(..take).unwrap_or_default().to_vec());
        let left = self.buffer.len() - take;
        self.buffer.copy_within(take.., 0);
        self.buffer.truncate(left);
        match &self.work {
            Work::Seal(key) => {
                let tag = key.seal(self.index, last, &mut chunk).map_err(|_| Failed)?;
                // Ciphertext by now: where it grows, nothing is left behind.
                chunk.extend_from_slice(&tag);
            }
            Work::Open(key) => {
                let opened = key.open(self.index, last, &mut chunk);
                let length = opened.map_err(|_| Failed)?;
                chunk.truncate(length);
            }
        }
        self.index += 1;
        Ok(Bytes::from_owner(chunk))
    }

    /// The next piece of the answer; none at its end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failed>>> {
        if !self.head.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.head).into())));
        }
        loop {
            // Whether a chunk is the last one shows in the byte behind it.
            if self.state == State::Reading && self.buffer.len() > self.chunk_bytes() {
                return Poll::Ready(Some(self.step(false)));
            }
            match self.state {
                State::Done => return Poll::Ready(None),
                State::Ended => {
                    let last = self.buffer.len() <= self.chunk_bytes();
                    let piece = self.step(last);
                    if last && piece.is_ok() {
                        self.state = State::Done;
                    }
                    return Poll::Ready(Some(piece));
                }
                State::Reading => match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            self.append(data);
                        }
                    }
                    Some(Err(_)) => return Poll::Ready(Some(Err(Failed))),
                    None => self.state = State::Ended,
                },
            }
        }
    }

    fn append(&mut self, data: Bytes) {
        wiped::append(&mut self.buffer, &data);
        if let Ok(mut data) = data.try_into_mut() {
            data.as_mut().zeroize();
        }
    }
}

impl HttpBody for Pump {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        let piece = ready!(self.poll_piece(cx));
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        if self.state == State::Done {
            return;
        }
        let Report {
            engine,
            principal,
            operation,
            resource,
            context,
        } = &self.report;
        let (engine, principal) = (Arc::clone(engine), Arc::clone(principal));
        let (operation, resource, context) = (*operation, resource.clone(), context.clone());
        let chunks = context.with("chunks", self.index);
        // Outside of a runtime nobody serves.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let call = Call::new(&engine, &principal);
                let refusal = Refusal::bad_request(
                    "the stream broke off: the body ended early, was damaged, or its reader left",
                );
                call.refuse(operation.name(), &resource, refusal, chunks)
                    .await
            });
        }
    }
}
