-- The trust domain: one row. The private keys are ciphertext under the root
-- key; each is bound to its certificate by the context it is wrapped with.
CREATE TABLE authority (
    id                  INTEGER PRIMARY KEY CHECK (id = 1),
    trust_domain        TEXT    NOT NULL,
    -- Sequence of the trust bundle: goes up with every change of it.
    sequence            INTEGER NOT NULL CHECK (sequence > 0),
    -- Goes up with every change of a site, so that whoever keeps sites in memory notices.
    revision            INTEGER NOT NULL CHECK (revision > 0),
    root_certificate    TEXT    NOT NULL,
    root_key_wrapped    BLOB    NOT NULL,
    issuer_chain        TEXT    NOT NULL,
    issuer_key_wrapped  BLOB    NOT NULL,
    -- Latest time this authority has seen, Unix seconds.
    latest_time         INTEGER NOT NULL,
    created_at          INTEGER NOT NULL
) STRICT;

-- Sites are never deleted: a disabled site must stay listed in the bundle.
CREATE TABLE sites (
    name        TEXT    PRIMARY KEY,
    rules       TEXT    NOT NULL,
    enabled     INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    created_at  INTEGER NOT NULL,
    changed_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Only the hash of a join token's secret is here.
-- INVARIANT (one identity per token): csr_key_sha256 and redeemed_at go from
-- NULL to a value once, in one compare-and-set.
CREATE TABLE join_tokens (
    secret_hash     BLOB    PRIMARY KEY CHECK (length(secret_hash) = 32),
    site            TEXT    NOT NULL REFERENCES sites (name),
    spiffe_id       TEXT    NOT NULL,
    attributes      BLOB    NOT NULL,
    lifetime        INTEGER NOT NULL CHECK (lifetime > 0),
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    csr_key_sha256  BLOB    CHECK (csr_key_sha256 IS NULL OR length(csr_key_sha256) = 32),
    redeemed_at     INTEGER,
    CHECK ((csr_key_sha256 IS NULL) = (redeemed_at IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX join_tokens_site ON join_tokens (site, expires_at);
CREATE INDEX join_tokens_expiry ON join_tokens (expires_at);
