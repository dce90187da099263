-- The same on SQLite and PostgreSQL. Times are Unix seconds; certificates are PEM; fingerprints and hashes are 32 bytes
-- of SHA-256. Private keys are ciphertext under the root key, each bound to its certificate by the context it is
-- wrapped with.
--
-- INVARIANT (order of locks): a transaction that writes several of these tables writes instances first, then the row of
-- authority, then everything that the bundle is made of.

-- The trust domain: one row, written by every change of what the authority keeps in memory.
CREATE TABLE authority (
    id               BIGINT PRIMARY KEY CHECK (id = 1),
    trust_domain     TEXT   NOT NULL,
    -- Goes up with every change of the trust bundle.
    bundle_sequence  BIGINT NOT NULL CHECK (bundle_sequence > 0),
    -- Goes up with every change of anything that is kept in memory, so that every replica notices.
    revision         BIGINT NOT NULL CHECK (revision > 0),
    -- The revision that changed the sites last.
    sites_revision   BIGINT NOT NULL CHECK (sites_revision > 0),
    -- Latest time that a replica has seen.
    latest_time      BIGINT NOT NULL,
    created_at       BIGINT NOT NULL
);

-- Trust anchors. The key is absent where the root is kept on another machine.
CREATE TABLE roots (
    fingerprint  BYTEA  PRIMARY KEY CHECK (length(fingerprint) = 32),
    certificate  TEXT   NOT NULL,
    key_wrapped  BYTEA,
    not_after    BIGINT NOT NULL,
    added_at     BIGINT NOT NULL
);

-- Issuing CAs. Those that are not revoked are in the bundle.
CREATE TABLE issuers (
    fingerprint              BYTEA  PRIMARY KEY CHECK (length(fingerprint) = 32),
    state                    TEXT   NOT NULL CHECK (state IN ('prepared', 'active', 'retiring', 'revoked')),
    -- The issuing CA first, what is between it and the root after it.
    chain                    TEXT   NOT NULL,
    key_wrapped              BYTEA  NOT NULL,
    not_before               BIGINT NOT NULL,
    not_after                BIGINT NOT NULL,
    -- When the last document that it may have signed ends; its own end while it signs.
    last_document_not_after  BIGINT NOT NULL,
    created_at               BIGINT NOT NULL,
    changed_at               BIGINT NOT NULL
);

-- INVARIANT (one signer): at most one issuing CA signs, and at most one is to be the next, whatever replicas do.
CREATE UNIQUE INDEX issuers_one ON issuers (state) WHERE state IN ('prepared', 'active');

-- Keys made for an issuing CA that a root elsewhere has not signed yet, by the hash of the public key.
CREATE TABLE issuer_requests (
    csr_key_sha256  BYTEA  PRIMARY KEY CHECK (length(csr_key_sha256) = 32),
    csr             TEXT   NOT NULL,
    key_wrapped     BYTEA  NOT NULL,
    created_at      BIGINT NOT NULL
);

-- Sites are never deleted: a disabled site must stay listed in the bundle.
CREATE TABLE sites (
    name        TEXT   PRIMARY KEY,
    rules       TEXT   NOT NULL,
    enabled     BIGINT NOT NULL CHECK (enabled IN (0, 1)),
    created_at  BIGINT NOT NULL,
    changed_at  BIGINT NOT NULL
);

-- Only the hash of a join token's secret is here.
-- INVARIANT (one identity per token): csr_key_sha256 and redeemed_at go from NULL to a value once, in one
-- compare-and-set.
CREATE TABLE join_tokens (
    secret_hash     BYTEA  PRIMARY KEY CHECK (length(secret_hash) = 32),
    site            TEXT   NOT NULL REFERENCES sites (name),
    spiffe_id       TEXT   NOT NULL,
    attributes      BYTEA  NOT NULL,
    lifetime        BIGINT NOT NULL CHECK (lifetime > 0),
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    csr_key_sha256  BYTEA  CHECK (csr_key_sha256 IS NULL OR length(csr_key_sha256) = 32),
    redeemed_at     BIGINT,
    CHECK ((csr_key_sha256 IS NULL) = (redeemed_at IS NULL))
);

CREATE INDEX join_tokens_site ON join_tokens (site, expires_at);
CREATE INDEX join_tokens_expiry ON join_tokens (expires_at);

-- Evidence that counts once: the hash of what makes it one of a kind, within its site and attestor.
-- INVARIANT (one identity per evidence): whoever inserts the row has it; only the same key may come again, and gets the
-- same instance.
CREATE TABLE single_uses (
    site            TEXT   NOT NULL REFERENCES sites (name),
    kind            TEXT   NOT NULL,
    id              BYTEA  NOT NULL CHECK (length(id) = 32),
    csr_key_sha256  BYTEA  NOT NULL CHECK (length(csr_key_sha256) = 32),
    instance        TEXT   NOT NULL,
    used_at         BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    PRIMARY KEY (site, kind, id)
);

CREATE INDEX single_uses_expiry ON single_uses (expires_at);

-- Attested subjects: what an attestor told apart, and the instance drawn for it.
CREATE TABLE instances (
    site               TEXT   NOT NULL REFERENCES sites (name),
    kind               TEXT   NOT NULL,
    subject            TEXT   NOT NULL,
    -- The attribute of that name in every document of this subject.
    instance           TEXT   NOT NULL UNIQUE,
    spiffe_id          TEXT   NOT NULL,
    -- Greatest sequence number shown; NULL where the attestor has none. Never goes back.
    sequence           BIGINT,
    -- Over SPIFFE ID and attributes: tells whether a claim is the one in force.
    digest             BYTEA  NOT NULL CHECK (length(digest) = 32),
    -- Greatest start and end of all documents of this subject.
    latest_not_before  BIGINT NOT NULL,
    latest_not_after   BIGINT NOT NULL,
    revoked_at         BIGINT,
    created_at         BIGINT NOT NULL,
    PRIMARY KEY (site, kind, subject)
);

CREATE INDEX instances_end ON instances (latest_not_after);

-- Instances whose documents are refused: those that began before refused_before, or all of them. In the bundle.
CREATE TABLE revoked_instances (
    instance        TEXT   PRIMARY KEY,
    site            TEXT   NOT NULL REFERENCES sites (name),
    spiffe_id       TEXT,
    refused_before  BIGINT,
    -- When the last document that it refuses has ended.
    ends_at         BIGINT NOT NULL,
    reason          TEXT   NOT NULL,
    created_at      BIGINT NOT NULL
);

CREATE INDEX revoked_instances_end ON revoked_instances (ends_at);

-- Documents of a day (UTC, days since 1970) that replicas have set aside for themselves.
-- INVARIANT (never exceeded): reserved is at most the bound at the time of each reservation.
CREATE TABLE day_counters (
    site      TEXT   NOT NULL REFERENCES sites (name),
    day       BIGINT NOT NULL,
    reserved  BIGINT NOT NULL CHECK (reserved >= 0),
    PRIMARY KEY (site, day)
);

-- Documents that this authority has signed, by a hash; written behind, so the last ones before a crash may be absent.
CREATE TABLE certificates (
    hash       BYTEA  PRIMARY KEY CHECK (length(hash) = 32),
    issuer     BYTEA  NOT NULL CHECK (length(issuer) = 32),
    not_after  BIGINT NOT NULL
);

CREATE INDEX certificates_end ON certificates (not_after);

-- Bundles of other trust domains, as they were fetched last.
CREATE TABLE federations (
    trust_domain   TEXT   PRIMARY KEY,
    -- JWKS (SPIFFE Trust Domain and Bundle).
    bundle         TEXT   NOT NULL,
    sequence       BIGINT,
    refresh_hint   BIGINT,
    fetched_at     BIGINT NOT NULL,
    changed_at     BIGINT NOT NULL
);
