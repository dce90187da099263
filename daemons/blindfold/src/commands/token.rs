//! `blindfold token`: make join tokens.

use identity::wire::{CreateTokenRequest, CreateTokenResponse, TOKENS_PATH};
use serde_json::json;
use zeroize::Zeroizing;

use super::{attributes, print_json};
use crate::{
    admin::{Admin, http_failure},
    cli::{TokenCommand, TokenCreateArgs},
    failure::{Context, Kind, Outcome},
    files,
};

/// Runs `blindfold token …`.
pub(crate) fn run(command: TokenCommand, json: bool) -> Outcome {
    let TokenCommand::Create(args) = command;
    create(&args, json)
}

fn create(args: &TokenCreateArgs, json: bool) -> Outcome {
    let request = CreateTokenRequest {
        spiffe_id: args.spiffe_id.parse().about(Kind::Usage, "--spiffe-id")?,
        attributes: attributes(&args.attributes)?,
        lifetime_seconds: args.ttl,
        document_lifetime_seconds: args.document_lifetime,
    };
    // Opened first: a token that cannot be kept is not asked for.
    let sink = files::Sink::open(args.out.as_deref(), 0o600, false)?;
    let client = Admin::read(&args.admin.admin)?.identity_authority()?;
    let response: CreateTokenResponse = client
        .post_json(TOKENS_PATH, &request)
        .map_err(|e| http_failure(&e))?;
    let text = response.token.expose_text();
    let line = Zeroizing::new(format!("{}\n", text.as_str()));
    match (&args.out, json) {
        // The token stays in the file; what is printed holds no secret.
        (Some(path), true) => {
            sink.complete(line.as_bytes())?;
            print_json(&json!({
                "spiffe_id": args.spiffe_id, "expires_at": response.expires_at, "file": path,
            }))
        }
        (None, true) => {
            let body = response.expose_json();
            sink.complete(&body)?;
            super::print("\n")
        }
        (_, false) => sink.complete(line.as_bytes()),
    }
}
