//! The trust domain's roots and issuing CAs: made, wrapped, read.
//!
//! The root's private key is unwrapped to sign the next issuing certificate and at start, to see that key and
//! certificate belong together; it is not kept. The issuing key is in memory while the authority runs.
//!
//! Wrapped keys are bound to their trust domain, their role and their certificate: a key moved to another row, or a
//! certificate exchanged in the store, does not unwrap.

use identity::TrustDomain;
use identity::issue::{CaCertificate, IssueError, Issuer, IssuerKey, IssuerRequest, RootAuthority};
use identity::limits::BACKDATE_SECONDS;
use identity::wire::IssuerState;
use service::root_key::{RootKeyError, RootKeys};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::config::CertificatesConfig;
use crate::random;
use crate::tables::{IssuerRequestRow, IssuerRow, RootRow};

/// Reason the certificates can't be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The root key did not wrap or unwrap.
    #[error("{0}: {1}")]
    RootKey(&'static str, #[source] RootKeyError),
    /// The root is kept on another machine.
    #[error("the root's private key is not here: its issuing certificates are signed where it is")]
    NoRootKey,
    /// Not a certificate or key of ours, or one that can't sign what is needed.
    #[error("{0}: {1}")]
    Issue(&'static str, IssueError),
    /// The root is not valid yet, or ends before what is to be below it.
    #[error(
        "the root is valid from Unix time {not_before} to {not_after}, which is too soon for what is to be signed below it: add another root"
    )]
    RootEnds {
        /// Start of its validity, Unix seconds.
        not_before: u64,
        /// Last second of its validity, Unix seconds.
        not_after: u64,
    },
    /// The unwrapped key is not text.
    #[error("{0}: its private key is not PEM; restore the store from a backup")]
    NotPem(&'static str),
}

/// Makes root and issuing CA of a new trust domain.
pub(crate) fn create(
    trust_domain: &TrustDomain,
    root_key: &RootKeys,
    config: &CertificatesConfig,
    now: u64,
) -> Result<(RootRow, IssuerRow), CertificateError> {
    let (root, row) = create_root(trust_domain, root_key, config, now)?;
    let validity = (backdated(now), now);
    let issuer = create_issuer(&root, root_key, config, validity, IssuerState::Active)?;
    Ok((row, issuer))
}

/// Makes a root whose key stays here.
pub(crate) fn create_root(
    trust_domain: &TrustDomain,
    root_key: &RootKeys,
    config: &CertificatesConfig,
    now: u64,
) -> Result<(RootAuthority, RootRow), CertificateError> {
    let not_after = now.saturating_add(config.root_lifetime.as_secs());
    let root = RootAuthority::create(
        trust_domain,
        backdated(now),
        not_after,
        &mut random::system(),
    )
    .map_err(issue_error(ROOT))?;
    let certificate = root.certificate_pem();
    let key = root.expose_key_pem().map_err(issue_error(ROOT))?;
    let key_wrapped = wrap(root_key, ROOT, trust_domain, &certificate, &key)?;
    let row = RootRow {
        fingerprint: Sha256::digest(root.certificate()).into(),
        certificate,
        key_wrapped: Some(key_wrapped),
        not_after: root.not_after(),
    };
    Ok((root, row))
}

/// A root whose key is elsewhere, of its certificate alone.
///
/// # Errors
///
/// - [`CertificateError::Issue`]: not a root's, or of another trust domain.
/// - [`CertificateError::RootEnds`]: not valid now, or not for two lifetimes of an issuing certificate.
pub(crate) fn root_elsewhere(
    pem: &str,
    trust_domain: &TrustDomain,
    config: &CertificatesConfig,
    now: u64,
) -> Result<RootRow, CertificateError> {
    let root = CaCertificate::root_from_pem(pem).map_err(issue_error(ROOT))?;
    if root
        .trust_domain()
        .is_some_and(|named| named != trust_domain)
    {
        return Err(CertificateError::Issue(ROOT, IssueError::TrustDomain));
    }
    let least = now.saturating_add(config.issuer_lifetime.as_secs().saturating_mul(2));
    if root.not_before() > now || root.not_after() < least {
        return Err(CertificateError::RootEnds {
            not_before: root.not_before(),
            not_after: root.not_after(),
        });
    }
    Ok(RootRow {
        fingerprint: root.fingerprint(),
        certificate: root.to_pem(),
        key_wrapped: None,
        not_after: root.not_after(),
    })
}

/// The certificate of a stored root.
pub(crate) fn root_of(row: &RootRow) -> Result<CaCertificate, CertificateError> {
    CaCertificate::root_from_pem(&row.certificate).map_err(issue_error(ROOT))
}

/// Makes an issuing CA below `root`, valid from the first of `validity` to one lifetime after the second.
pub(crate) fn create_issuer(
    root: &RootAuthority,
    root_key: &RootKeys,
    config: &CertificatesConfig,
    (not_before, now): (u64, u64),
    state: IssuerState,
) -> Result<IssuerRow, CertificateError> {
    let lifetime = config.issuer_lifetime.as_secs();
    let not_after = now.saturating_add(lifetime).min(root.not_after());
    if not_after.saturating_sub(now) < lifetime / 2 {
        // Documents would be cut short by it, and more so each time.
        return Err(CertificateError::RootEnds {
            not_before: 0,
            not_after: root.not_after(),
        });
    }
    let issuer = root
        .create_issuer(not_before, not_after, &mut random::system())
        .map_err(issue_error(ISSUER))?;
    issuer_row(&issuer, root.trust_domain(), root_key, state)
}

/// The row of an issuing CA, its key wrapped.
pub(crate) fn issuer_row(
    issuer: &Issuer,
    trust_domain: &TrustDomain,
    root_key: &RootKeys,
    state: IssuerState,
) -> Result<IssuerRow, CertificateError> {
    let chain = issuer.chain_pem();
    let key = issuer.expose_key_pem().map_err(issue_error(ISSUER))?;
    let key_wrapped = wrap(root_key, ISSUER, trust_domain, &chain, &key)?;
    Ok(IssuerRow {
        fingerprint: issuer.fingerprint(),
        state,
        chain,
        key_wrapped,
        not_before: issuer.not_before(),
        not_after: issuer.not_after(),
        last_document_not_after: issuer.not_after(),
    })
}

/// Makes a key for an issuing CA, and the request for its root.
pub(crate) fn create_request(
    trust_domain: &TrustDomain,
    root_key: &RootKeys,
    now: u64,
) -> Result<IssuerRequestRow, CertificateError> {
    let rng = &mut random::system();
    let key = IssuerKey::generate(rng);
    let csr = key
        .request_pem(trust_domain, rng)
        .map_err(issue_error(REQUEST))?;
    let text = key.expose_pem().map_err(issue_error(REQUEST))?;
    let key_wrapped = wrap(root_key, REQUEST, trust_domain, &csr, &text)?;
    let parsed = IssuerRequest::from_pem(&csr)
        .map_err(|_| CertificateError::Issue(REQUEST, IssueError::Encoding))?;
    Ok(IssuerRequestRow {
        csr_key_sha256: parsed.public_key_sha256(),
        csr,
        key_wrapped,
        created_at: now,
    })
}

/// Reads the key of a request.
pub(crate) fn load_request(
    row: &IssuerRequestRow,
    trust_domain: &TrustDomain,
    root_key: &RootKeys,
) -> Result<IssuerKey, CertificateError> {
    let key = unwrap(root_key, REQUEST, trust_domain, &row.csr, &row.key_wrapped)?;
    IssuerKey::from_pem(&key).map_err(issue_error(REQUEST))
}

/// Reads a root with its key; drop it soon.
pub(crate) fn load_root(
    row: &RootRow,
    trust_domain: &TrustDomain,
    root_key: &RootKeys,
) -> Result<RootAuthority, CertificateError> {
    let wrapped = row.key_wrapped.as_deref();
    let key = unwrap(
        root_key,
        ROOT,
        trust_domain,
        &row.certificate,
        wrapped.ok_or(CertificateError::NoRootKey)?,
    )?;
    RootAuthority::from_pem(&row.certificate, &key).map_err(issue_error(ROOT))
}

/// Reads an issuing CA with its key.
pub(crate) fn load_issuer(
    row: &IssuerRow,
    trust_domain: &TrustDomain,
    root_key: &RootKeys,
) -> Result<Issuer, CertificateError> {
    let key = unwrap(root_key, ISSUER, trust_domain, &row.chain, &row.key_wrapped)?;
    Issuer::from_pem(&row.chain, &key).map_err(issue_error(ISSUER))
}

fn wrap(
    root_key: &RootKeys,
    role: &'static str,
    trust_domain: &TrustDomain,
    certificate: &str,
    key: &str,
) -> Result<Vec<u8>, CertificateError> {
    root_key
        .wrap(&context(role, trust_domain, certificate), key.as_bytes())
        .map_err(|error| CertificateError::RootKey(role, error))
}

fn unwrap(
    root_key: &RootKeys,
    role: &'static str,
    trust_domain: &TrustDomain,
    certificate: &str,
    wrapped: &[u8],
) -> Result<Zeroizing<String>, CertificateError> {
    let bytes = root_key
        .unwrap(&context(role, trust_domain, certificate), wrapped)
        .map_err(|error| CertificateError::RootKey(role, error))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| CertificateError::NotPem(role))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// What a wrapped key is bound to.
fn context(role: &str, trust_domain: &TrustDomain, certificate: &str) -> Vec<u8> {
    let mut context = format!("identity-authority v1 {role} {trust_domain} ").into_bytes();
    context.extend_from_slice(&Sha256::digest(certificate));
    context
}

fn issue_error(role: &'static str) -> impl FnOnce(IssueError) -> CertificateError {
    move |error| CertificateError::Issue(role, error)
}

fn backdated(now: u64) -> u64 {
    now.saturating_sub(BACKDATE_SECONDS)
}

const ROOT: &str = "root certificate";
const ISSUER: &str = "issuing certificate";
const REQUEST: &str = "request for an issuing certificate";

#[cfg(test)]
mod tests {
    use service::root_key::RootKey;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    struct Setup {
        _folder: tempfile::TempDir,
        trust_domain: TrustDomain,
        root_key: RootKeys,
        root_row: RootRow,
        row: IssuerRow,
    }

    fn setup() -> Setup {
        let folder = tempfile::tempdir().unwrap();
        let root_key =
            RootKeys::from(RootKey::load_or_create(&folder.path().join("root.key")).unwrap());
        let trust_domain = TrustDomain::parse("acme.example").unwrap();
        let (root_row, row) = create(
            &trust_domain,
            &root_key,
            &CertificatesConfig::default(),
            NOW,
        )
        .unwrap();
        Setup {
            _folder: folder,
            trust_domain,
            root_key,
            root_row,
            row,
        }
    }

    #[test]
    fn root_and_issuer_survive_the_store() {
        let Setup {
            trust_domain,
            root_key,
            root_row,
            row,
            ..
        } = &setup();
        let root = load_root(root_row, trust_domain, root_key).unwrap();
        assert_eq!(root.certificate_pem(), root_row.certificate);
        let issuer = load_issuer(row, trust_domain, root_key).unwrap();
        assert_eq!(issuer.chain_pem(), row.chain);
        assert_eq!(
            issuer.not_after(),
            NOW + CertificatesConfig::default().issuer_lifetime.as_secs()
        );
    }

    #[test]
    fn private_keys_are_not_in_the_row() {
        let Setup {
            trust_domain,
            root_key,
            root_row,
            row,
            ..
        } = &setup();
        let root = load_root(root_row, trust_domain, root_key).unwrap();
        let issuer = load_issuer(row, trust_domain, root_key).unwrap();
        for key in [
            root.expose_key_pem().unwrap(),
            issuer.expose_key_pem().unwrap(),
        ] {
            let body = key.lines().nth(1).unwrap().as_bytes().to_vec();
            for column in [root_row.key_wrapped.as_ref().unwrap(), &row.key_wrapped] {
                assert!(!column.windows(body.len()).any(|window| window == body));
            }
        }
        assert!(!root_row.certificate.contains("PRIVATE") && !row.chain.contains("PRIVATE"));
    }

    #[test]
    fn wrapped_key_is_bound_to_its_role_certificate_and_trust_domain() {
        let Setup {
            trust_domain,
            root_key,
            root_row,
            row,
            ..
        } = &setup();
        let (other_root, other) =
            create(trust_domain, root_key, &CertificatesConfig::default(), NOW).unwrap();
        let moved = RootRow {
            key_wrapped: Some(row.key_wrapped.clone()),
            ..root_row.clone()
        };
        assert!(matches!(
            load_root(&moved, trust_domain, root_key),
            Err(CertificateError::RootKey(ROOT, _))
        ));
        let exchanged = RootRow {
            certificate: other_root.certificate.clone(),
            ..root_row.clone()
        };
        assert!(matches!(
            load_root(&exchanged, trust_domain, root_key),
            Err(CertificateError::RootKey(ROOT, _))
        ));
        let exchanged = IssuerRow {
            chain: other.chain.clone(),
            ..row.clone()
        };
        assert!(matches!(
            load_issuer(&exchanged, trust_domain, root_key),
            Err(CertificateError::RootKey(ISSUER, _))
        ));
        let elsewhere = TrustDomain::parse("other.example").unwrap();
        assert!(load_issuer(row, &elsewhere, root_key).is_err());
    }

    #[test]
    fn another_root_key_unwraps_nothing() {
        let Setup {
            trust_domain,
            row,
            _folder: folder,
            ..
        } = &setup();
        let other = RootKeys::from(RootKey::create(&folder.path().join("other.key")).unwrap());
        let error = load_issuer(row, trust_domain, &other).unwrap_err();
        assert!(
            matches!(
                error,
                CertificateError::RootKey(ISSUER, RootKeyError::OtherKey { .. })
            ),
            "{error}"
        );
    }
}
