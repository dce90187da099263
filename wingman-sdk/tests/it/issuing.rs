//! An identity authority that really issues, under the real redemption rule.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use identity::{
    Attributes, TrustBundle,
    join::{JoinSecret, JoinToken, JoinTokenRecord, Redemption},
    tls::ClientAuth,
    wire::{self, DocumentResponse, JoinRequest, RenewRequest},
};
use wingman_sdk::identity::IdentityConfig;

use crate::{
    server::{Received, Reply, TestServer},
    world::{World, id, now, rng},
};

/// What a test can change while the authority runs.
pub(crate) struct Desk {
    pub(crate) world: World,
    pub(crate) tokens: Vec<JoinTokenRecord>,
    /// The bundle handed out; that of the world unless changed.
    pub(crate) bundle: TrustBundle,
    /// Seconds from issuing to expiry.
    pub(crate) lifetime: u64,
    /// What becomes of the next replies, last first: `Some` replaces the real one, after the work was done.
    pub(crate) twists: Vec<Option<Reply>>,
}

/// An authority under test.
pub(crate) struct TestAuthority {
    pub(crate) server: TestServer,
    pub(crate) desk: Arc<Mutex<Desk>>,
}

impl TestAuthority {
    pub(crate) fn start() -> Self {
        let world = World::new();
        // Its own document is long-lived, whatever it issues.
        let tls = world.tls("identity-authority");
        let bundle = world.bundle.clone();
        let desk = Desk {
            world,
            tokens: Vec::new(),
            bundle,
            lifetime: 3600,
            twists: Vec::new(),
        };
        let desk = Arc::new(Mutex::new(desk));
        let at_work = Arc::clone(&desk);
        let server = TestServer::start(tls, ClientAuth::Optional, move |received| {
            let mut desk = at_work.lock().unwrap();
            let reply = desk.reply(received);
            match desk.twists.pop() {
                Some(Some(twisted)) => twisted,
                _ => reply,
            }
        });
        Self { server, desk }
    }

    pub(crate) fn token(&self, path: &str) -> JoinToken {
        let mut desk = self.desk.lock().unwrap();
        let fingerprint = desk.world.bundle.fingerprint();
        let secret = JoinSecret::generate(&mut rng());
        let record =
            JoinTokenRecord::new(&secret, id(path), Attributes::new(), now(), 600, &mut rng())
                .unwrap();
        desk.tokens.push(record);
        JoinToken::new(
            &self.server.url(),
            id("identity-authority"),
            fingerprint,
            secret,
        )
        .unwrap()
    }

    /// The paths that were asked for.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.server
            .received()
            .into_iter()
            .map(|received| received.path)
            .collect()
    }

    pub(crate) fn count(&self, path: &str) -> usize {
        self.paths().iter().filter(|asked| *asked == path).count()
    }
}

impl Desk {
    fn reply(&mut self, received: &Received) -> Reply {
        match (received.method.as_str(), received.path.as_str()) {
            ("GET", wire::BUNDLE_PATH) => Reply::json(200, self.bundle.to_json()),
            ("POST", wire::JOIN_PATH) => self.join(&wire::parse_request(&received.body).unwrap()),
            ("POST", wire::RENEW_PATH) => {
                let Some(peer) = &received.peer else {
                    return denied();
                };
                if self.bundle.is_disabled(peer.spiffe_id()) {
                    return denied();
                }
                let request: RenewRequest = wire::parse_request(&received.body).unwrap();
                self.issue(&request.csr, peer.spiffe_id().clone())
            }
            _ => Reply::status(404),
        }
    }

    fn join(&mut self, request: &JoinRequest) -> Reply {
        let key = *request.csr.verify().unwrap().public_key_sha256();
        let hash = request.token_secret.hash();
        let Some(record) = self
            .tokens
            .iter_mut()
            .find(|record| record.secret_hash == hash)
        else {
            return denied();
        };
        match record.redeem(&key, now()) {
            Redemption::First(redeemed) => record.redeemed = Some(redeemed),
            Redemption::Repeat => {}
            Redemption::Refused(_) => return denied(),
        }
        let spiffe_id = record.spiffe_id.clone();
        self.issue(&request.csr, spiffe_id)
    }

    fn issue(&self, csr: &wire::CsrDer, spiffe_id: identity::SpiffeId) -> Reply {
        let chain = self
            .world
            .chain(csr, spiffe_id, now() - 1, now() + self.lifetime);
        let answer = DocumentResponse::new(&chain, self.bundle.clone());
        Reply::json(200, serde_json::to_vec(&answer).unwrap())
    }
}

fn denied() -> Reply {
    Reply::json(403, r#"{"error":"denied","message":"not permitted"}"#)
}

/// A directory to be made and a token file of mode 0600 beside it.
pub(crate) fn directory_with_token(base: &Path, token: &JoinToken) -> IdentityConfig {
    let file = base.join("join-token");
    write_secret(&file, token.expose_text().as_bytes());
    IdentityConfig::new(base.join("identity")).join_token_file(file)
}

pub(crate) fn write_secret(file: &Path, bytes: &[u8]) {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)
        .unwrap();
    file.write_all(bytes).unwrap();
}
