//! `identity-authority issuer …` and `identity-authority root …`.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use identity::BundleFingerprint;
use identity::issue::{IssuerRequest, spoken_fingerprint};
use identity::limits::MAX_CHAIN_PEM_BYTES;
use service::files;

use super::refuse_existing;
use crate::config::Config;
use crate::error::AuthorityError;
use crate::foundation::with_operator;

/// `issuer …`
#[derive(Debug, Subcommand)]
pub enum IssuerCommand {
    /// Show all issuing certificates and what each does
    List,
    /// Write the request that a root elsewhere is to sign
    Request {
        /// Where it goes; never overwritten
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Make another key, even if a request waits already
        #[arg(long)]
        new_key: bool,
    },
    /// Take the certificate that a root elsewhere has signed
    Install {
        /// PEM, issuing certificate first, what is between it and the root after it
        #[arg(long, value_name = "FILE")]
        chain: PathBuf,
        /// After a compromise: it signs at once, and whatever the former ones signed is refused
        #[arg(long)]
        revoke_former: bool,
    },
    /// Make another issuing certificate sign, by the root that is here
    Rotate {
        /// After a compromise: at once, and whatever the former ones signed is refused
        #[arg(long)]
        revoke_former: bool,
    },
}

/// `root …`
#[derive(Debug, Subcommand)]
pub enum RootCommand {
    /// Show all roots
    List,
    /// Add a root beside the others; verifiers trust both from then on
    Add {
        /// Certificate (PEM) of a root whose key is elsewhere
        #[arg(long, value_name = "FILE", required_unless_present = "new")]
        certificate: Option<PathBuf>,
        /// Make a new root, whose key stays here
        #[arg(long, conflicts_with = "certificate")]
        new: bool,
    },
    /// Remove a root, once nothing below it is in force
    Remove {
        /// SHA-256 of its certificate, 64 hexadecimal digits, as `root list` shows it
        fingerprint: BundleFingerprint,
    },
}

/// What comes after `init` with a root elsewhere.
pub(super) const NEXT_AFTER_INIT: &str = "nothing is issued yet; next:\n\
    1. identity-authority issuer request --out issuer.csr\n\
    2. where the root is: blindfold ca sign --ca DIR --csr issuer.csr --out issuer.crt\n\
    3. identity-authority issuer install --chain issuer.crt";

pub(super) async fn issuer(
    config: &Config,
    command: IssuerCommand,
) -> Result<String, Box<dyn Error>> {
    match command {
        IssuerCommand::List => {
            let list = with_operator(config, async |operator| operator.issuers().await).await?;
            let mut text = String::from("issuing certificates, newest first");
            for issuer in list.issuers {
                let state = serde_json::to_value(issuer.state)?;
                write!(
                    text,
                    "\n{} {} from {} to {}, last document ends {}",
                    issuer.fingerprint,
                    state.as_str().unwrap_or_default(),
                    issuer.not_before,
                    issuer.not_after,
                    issuer.last_document_not_after
                )?;
            }
            Ok(text)
        }
        IssuerCommand::Request { out, new_key } => {
            refuse_existing(&out)?;
            let csr = with_operator(config, async |operator| {
                operator.issuer_request(new_key).await
            })
            .await?;
            files::create_new(&out, csr.as_bytes(), files::MODE_PUBLIC)?;
            let key = IssuerRequest::from_pem(&csr)?.public_key_sha256();
            Ok(format!(
                "request for {} is in {}; its key (SHA-256), to be compared where the root is:\n{}",
                config.trust_domain,
                out.display(),
                spoken_fingerprint(&key)
            ))
        }
        IssuerCommand::Install {
            chain,
            revoke_former,
        } => {
            let chain = read(&chain)?;
            let fingerprint = with_operator(config, async |operator| {
                operator.install_issuer(&chain, revoke_former).await
            })
            .await?;
            let when = if revoke_former {
                "signs from now on; the former ones are revoked"
            } else {
                "is in the bundle, and signs once every verifier knows it"
            };
            Ok(format!(
                "issuing certificate {} {when}",
                BundleFingerprint(fingerprint)
            ))
        }
        IssuerCommand::Rotate { revoke_former } => {
            with_operator(config, async |operator| {
                operator.rotate_issuer(revoke_former).await
            })
            .await?;
            Ok(if revoke_former {
                "a new issuing certificate signs; the former ones are revoked".to_owned()
            } else {
                "the next issuing certificate is in the bundle, and signs once every verifier knows it"
                    .to_owned()
            })
        }
    }
}

pub(super) async fn root(config: &Config, command: RootCommand) -> Result<String, Box<dyn Error>> {
    match command {
        RootCommand::List => {
            let roots = with_operator(config, async |operator| operator.roots().await).await?;
            let mut text = String::from("roots, newest first");
            for (root, here) in roots {
                write!(
                    text,
                    "\n{} to {}, key {}, {}",
                    BundleFingerprint(root.fingerprint()),
                    root.not_after(),
                    if here { "here" } else { "elsewhere" },
                    root.subject()
                )?;
            }
            Ok(text)
        }
        RootCommand::Add { certificate, .. } => {
            let pem = certificate.as_deref().map(read).transpose()?;
            let fingerprint = with_operator(config, async |operator| {
                operator.add_root(pem.as_deref()).await
            })
            .await?;
            Ok(format!(
                "root {} is in the bundle beside the others; join tokens that were not redeemed are void",
                BundleFingerprint(fingerprint)
            ))
        }
        RootCommand::Remove { fingerprint } => {
            with_operator(config, async |operator| {
                operator.remove_root(&fingerprint.0).await
            })
            .await?;
            Ok(format!(
                "root {fingerprint} is out of the bundle; join tokens that were not redeemed are void"
            ))
        }
    }
}

/// Reads a file of certificates.
pub(super) fn read(path: &Path) -> Result<String, AuthorityError> {
    let bytes = files::read_bounded(path, MAX_CHAIN_PEM_BYTES)?;
    String::from_utf8(bytes).map_err(|_| {
        AuthorityError::Refused(format!("{} is not text: PEM is needed", path.display()))
    })
}
