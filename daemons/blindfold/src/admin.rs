//! The administrator's configuration: an identity, and where the control plane is.
//!
//! ```toml
//! [identity]
//! directory = "admin-identity"
//! join_token_file = "admin.token"        # used once
//!
//! [identity_authority]
//! url = "https://127.0.0.1:7443"
//! spiffe_id = "spiffe://dev.example/blindfold/identity-authority"
//!
//! [unsealer]                             # optional
//! url = "https://127.0.0.1:7444"
//! spiffe_id = "spiffe://dev.example/blindfold/unsealer"
//!
//! [kms]                                  # optional
//! url = "https://127.0.0.1:7445"
//! spiffe_id = "spiffe://dev.example/blindfold/kms"
//! ```

use std::path::Path;

use identity::{SpiffeId, TrustDomain};
use kms_client::admin::AdminClient;
use serde::Deserialize;
use wingman_sdk::{
    http::{HttpClient, HttpError},
    identity::{IdentityConfig, IdentityError, IdentitySource},
};

use crate::{
    failure::{Context, Failure, Kind, Outcome},
    files,
};

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdminFile {
    /// The administrator's identity.
    pub(crate) identity: IdentityConfig,
    /// The identity authority.
    pub(crate) identity_authority: Option<ServerEntry>,
    /// The unsealer.
    pub(crate) unsealer: Option<ServerEntry>,
    /// The key management service.
    pub(crate) kms: Option<ServerEntry>,
}

/// A server and the identity it must prove.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerEntry {
    /// `https://host:port`.
    pub(crate) url: String,
    /// SPIFFE ID of the server.
    pub(crate) spiffe_id: SpiffeId,
}

/// What an administrator's command talks to.
#[derive(Debug)]
pub(crate) struct Admin {
    source: IdentitySource,
    file: AdminFile,
}

impl Admin {
    /// Reads the file; connects to nothing.
    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let bytes = files::read(path, "administrator's configuration")?;
        let text = std::str::from_utf8(&bytes).about(Kind::Usage, path.display())?;
        let file: AdminFile = toml::from_str(text).about(Kind::Usage, path.display())?;
        let base = path.parent().unwrap_or(Path::new(""));
        let source = IdentitySource::from_config(&file.identity.relative_to(base));
        Ok(Self { source, file })
    }

    /// The trust domain that the administrator belongs to.
    pub(crate) fn trust_domain(&self) -> Outcome<TrustDomain> {
        let tls = self.source.obtain().map_err(|e| identity_failure(&e))?;
        Ok(tls.document().spiffe_id().trust_domain().clone())
    }

    /// A client of the identity authority.
    pub(crate) fn identity_authority(&self) -> Outcome<HttpClient> {
        self.client(self.file.identity_authority.as_ref(), "identity_authority")
    }

    /// A client of the unsealer.
    pub(crate) fn unsealer(&self) -> Outcome<HttpClient> {
        self.client(self.file.unsealer.as_ref(), "unsealer")
    }

    /// A client of the key management service's administration API.
    pub(crate) fn kms(&self) -> Outcome<AdminClient> {
        let client = self.client(self.file.kms.as_ref(), "kms")?;
        Ok(AdminClient::over(client))
    }

    fn client(&self, entry: Option<&ServerEntry>, section: &str) -> Outcome<HttpClient> {
        let entry = entry.ok_or_else(|| {
            Failure::usage(format_args!(
                "the administrator's configuration has no [{section}] section"
            ))
            .remedy(format_args!("add [{section}] with url and spiffe_id"))
        })?;
        let tls = self.source.obtain().map_err(|e| identity_failure(&e))?;
        // Issuing certificates may have been revoked since the last command. An authority that is away is told of by
        // the command, if it is needed.
        drop(self.source.catch_up());
        HttpClient::new(tls, &entry.url, &entry.spiffe_id).kind(Kind::Usage)
    }
}

/// A failed call, with the exit code that fits.
pub(crate) fn http_failure(error: &HttpError) -> Failure {
    let kind = match error {
        HttpError::Unreachable { .. }
        | HttpError::Timeout { .. }
        | HttpError::Interrupted { .. } => Kind::Unavailable,
        HttpError::Status {
            status: 401 | 403, ..
        }
        | HttpError::IdentityRefused { .. } => Kind::Denied,
        HttpError::Status {
            status: 429 | 500..=599,
            ..
        } => Kind::Temporary,
        HttpError::Url { .. } | HttpError::Configuration { .. } => Kind::Usage,
        _ => Kind::Data,
    };
    Failure::new(kind, crate::failure::chain(error))
}

/// A failure to obtain the identity, with the exit code that fits.
pub(crate) fn identity_failure(error: &IdentityError) -> Failure {
    let mut kind = Kind::Denied;
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            kind = http_failure(http).kind();
        }
        cause = error.source();
    }
    Failure::new(kind, crate::failure::chain(error))
}
