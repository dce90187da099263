//! Tokens of the site's voucher, exchanged by two files.
//!
//! | file | written by | holds |
//! |---|---|---|
//! | token file | the voucher | one token: compact JWS, white space around it allowed |
//! | request file | this process | `{"public_key_sha256": "<64 hex digits>", "wanted": false}` |
//!
//! A token is bound to the key of one request. So this process says ahead of time, in the request file, which key it
//! will use next; the voucher writes a token for that key whenever the workload's attributes changed, or when `wanted`
//! says that a document is needed now. Both files are replaced whole. Neither holds a secret: a token is of use only
//! to the holder of the key that it names.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use ::identity::wire::Evidence;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tracing::warn;
use zeroize::Zeroizing;

use super::{EvidenceError, EvidenceRequest, EvidenceSource};
use crate::{files, limits};

/// Tokens in a file that a voucher writes; a file that changes leads to a new document.
#[derive(Debug)]
pub struct VoucherFile {
    token_file: PathBuf,
    request_file: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last token shown and the key it was shown for, as hashes.
    shown: Option<([u8; 32], [u8; 32])>,
}

#[derive(Serialize)]
struct Request {
    public_key_sha256: String,
    wanted: bool,
}

impl VoucherFile {
    /// Tokens in `token_file`; the request file stands beside it, its name with `.request` at its end.
    pub fn new(token_file: impl Into<PathBuf>) -> Self {
        let token_file = token_file.into();
        let mut request_file = token_file.clone().into_os_string();
        request_file.push(".request");
        Self {
            token_file,
            request_file: request_file.into(),
            state: Mutex::default(),
        }
    }

    /// Names another request file.
    #[must_use]
    pub fn request_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.request_file = file.into();
        self
    }

    fn read(&self) -> Result<Zeroizing<String>, EvidenceError> {
        let name = self.token_file.display();
        let bytes = match files::read(&self.token_file, limits::MAX_VOUCHER_TOKEN_BYTES) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.is_missing() => {
                return Err(EvidenceError::later(format_args!(
                    "{name} does not exist yet: the voucher writes it for the key in {}",
                    self.request_file.display()
                )));
            }
            Err(error) => return Err(EvidenceError::never(error)),
        };
        let token = std::str::from_utf8(&bytes)
            .map(|text| Zeroizing::new(text.trim_ascii().to_owned()))
            .map_err(|_| EvidenceError::later(format_args!("{name} is not text")))?;
        if token.is_empty() {
            return Err(EvidenceError::later(format_args!("{name} is empty")));
        }
        Ok(token)
    }
}

impl EvidenceSource for VoucherFile {
    fn evidence(&self, request: &EvidenceRequest<'_>) -> Result<Evidence, EvidenceError> {
        let token = self.read()?;
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Shown again for the same key after a lost answer; for another key it is worth nothing.
        if state
            .shown
            .is_some_and(|(shown, key)| shown == hash && key != *request.csr_key_sha256)
        {
            return Err(EvidenceError::later(format_args!(
                "the token in {} is spent: the voucher has to write one for the key in {}",
                self.token_file.display(),
                self.request_file.display()
            )));
        }
        state.shown = Some((hash, *request.csr_key_sha256));
        Ok(Evidence::Voucher { token })
    }

    fn generation(&self) -> u64 {
        files::generation(&self.token_file)
    }

    fn expect(&self, csr_key_sha256: &[u8; 32], wanted: bool) {
        let request = Request {
            public_key_sha256: hex::encode(csr_key_sha256),
            wanted,
        };
        let written = serde_json::to_vec(&request)
            .map_err(|error| error.to_string())
            .and_then(|json| {
                // What stands there counts, not what this process wrote last: another one that shares the directory may
                // have asked for something else since.
                if files::read(&self.request_file, limits::MAX_VOUCHER_REQUEST_BYTES)
                    .is_ok_and(|there| there == json)
                {
                    return Ok(());
                }
                files::write_public_atomically(&self.request_file, &json)
                    .map_err(|error| error.to_string())
            });
        if let Err(error) = written {
            warn!(%error, file = %self.request_file.display(), "the voucher cannot be told which key comes next");
        }
    }
}

#[cfg(test)]
mod tests;
