//! Identities of the control plane's own servers and of those who use it.

use std::path::{Path, PathBuf};

use identity::{Attributes, SpiffeId, wire::CreateTokenRequest};
use wingman_sdk::identity::{IdentityConfig, IdentitySource};

use crate::{
    failure::{Context, Failure, Kind, Outcome},
    files,
};

/// How long a join token of the control plane's own may wait, in seconds.
const TOKEN_SECONDS: u64 = 600;

/// For whom a join token is.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// A workload or server with these attributes.
    Workload(SpiffeId, Attributes),
    /// The administrator.
    Administrator,
}

/// Writes a join token to `path`, readable by its owner only.
pub(super) async fn write_token(
    authority: &identity_authority::Operator,
    who: Who,
    path: &Path,
) -> Outcome {
    let response = match who {
        Who::Workload(spiffe_id, attributes) => {
            let request = CreateTokenRequest {
                spiffe_id,
                attributes,
                lifetime_seconds: TOKEN_SECONDS,
                document_lifetime_seconds: None,
            };
            authority.create_token(request).await
        }
        Who::Administrator => authority.create_admin_token("dev").await,
    }
    .about(Kind::Internal, "join token")?;
    files::write(
        Some(path),
        0o600,
        true,
        response.token.expose_text().as_bytes(),
    )
}

/// An identity that is renewed: the one in `directory` while it is valid, else a new one by a join token, which is
/// removed once it is redeemed.
pub(super) async fn identity(
    authority: &identity_authority::Operator,
    directory: PathBuf,
    token: &Path,
    who: Who,
) -> Outcome<IdentitySource> {
    let config = IdentityConfig::new(&directory);
    if let Ok(source) = renewing(config.clone()).await {
        return Ok(source);
    }
    write_token(authority, who, token).await?;
    let joined = renewing(config.join_token_file(token)).await;
    std::fs::remove_file(token).map_err(|e| Failure::file(Kind::Output, token, &e))?;
    joined.map_err(|failure| {
        failure.remedy(format_args!(
            "if it stays so, remove {} and start again",
            directory.display()
        ))
    })
}

async fn renewing(config: IdentityConfig) -> Outcome<IdentitySource> {
    blocking(move || {
        let source = IdentitySource::from_config(&config);
        source
            .start_renewal()
            .map_err(|e| crate::admin::identity_failure(&e))?;
        // A bundle from the folder may be old: the unsealer serves only under one that was confirmed.
        source
            .refresh()
            .map_err(|e| crate::admin::identity_failure(&e))?;
        Ok(source)
    })
    .await
}

/// Runs blocking work beside the runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Outcome<T> + Send + 'static,
) -> Outcome<T> {
    tokio::task::spawn_blocking(work)
        .await
        .about(Kind::Internal, "background work")?
}
