//! What the tests share: one site, one authority, and other people's tools.

use std::path::Path;
use std::process::{Command, Stdio};

use attest::unix::UnixPeer;
use attest::{Context, OpenedChallenge};
use identity::{SiteName, SpiffeId, TrustDomain};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// 2026-01-01T00:00:00Z.
pub(crate) const NOW: u64 = 1_767_225_600;

/// Hash of the key that the documents of the tests are for.
pub(crate) const CSR_KEY: [u8; 32] = [0x5a; 32];

pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// An authority and one of its sites.
pub(crate) struct Place {
    pub(crate) domain: TrustDomain,
    pub(crate) site: SiteName,
    pub(crate) authority: SpiffeId,
}

impl Place {
    pub(crate) fn new() -> Self {
        let domain = TrustDomain::parse("acme.example").unwrap();
        Self {
            authority: domain.identity_authority(),
            site: SiteName::parse("paris").unwrap(),
            domain,
        }
    }

    /// What an attestor is told at [`NOW`].
    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            now: NOW,
            csr_key_sha256: &CSR_KEY,
            site: &self.site,
            trust_domain: &self.domain,
            audience: &self.authority,
            challenge: None,
            unix_peer: None,
            join_token: None,
        }
    }

    pub(crate) fn answering<'a>(&'a self, challenge: &'a OpenedChallenge) -> Context<'a> {
        Context {
            challenge: Some(challenge),
            ..self.context()
        }
    }

    pub(crate) fn from<'a>(&'a self, peer: &'a UnixPeer) -> Context<'a> {
        Context {
            unix_peer: Some(peer),
            ..self.context()
        }
    }
}

/// Runs `openssl` in `folder`; its standard output.
pub(crate) fn openssl(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs (Debian: apt-get install openssl)");
    assert!(
        output.status.success(),
        "openssl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}
