-- The key management service, on SQLite and PostgreSQL alike.
--
-- What a row says is in `sealed`: ciphertext under the root key, bound to every
-- other column of its row but `material`, whose hash is inside. `epoch` is the
-- epoch of the ledger in which the row was last written; no row is ever deleted.

-- One row. Its digest covers every row of the other tables; every change of any
-- of them writes it too, in the same transaction, and only from the epoch before.
CREATE TABLE kms_ledger (
    id        BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    store_id  TEXT   NOT NULL,
    epoch     BIGINT NOT NULL CHECK (epoch > 0),
    sealed    BYTEA  NOT NULL
);

CREATE TABLE kms_tenants (
    name      TEXT   NOT NULL PRIMARY KEY,
    revision  BIGINT NOT NULL CHECK (revision > 0),
    epoch     BIGINT NOT NULL CHECK (epoch > 0),
    sealed    BYTEA  NOT NULL
);
CREATE INDEX kms_tenants_epoch ON kms_tenants (epoch);

CREATE TABLE kms_keys (
    id               TEXT   NOT NULL PRIMARY KEY,
    tenant           TEXT   NOT NULL REFERENCES kms_tenants (name),
    name             TEXT   NOT NULL,
    algorithm        TEXT   NOT NULL,
    sensitivity      TEXT   NOT NULL,
    primary_version  BIGINT NOT NULL CHECK (primary_version > 0),
    revision         BIGINT NOT NULL CHECK (revision > 0),
    epoch            BIGINT NOT NULL CHECK (epoch > 0),
    sealed           BYTEA  NOT NULL,
    UNIQUE (tenant, name)
);
CREATE INDEX kms_keys_epoch ON kms_keys (epoch);

-- `material` is wrapped on its own, so that a change of state does not touch it;
-- NULL with a version in an HSM and with a destroyed one.
CREATE TABLE kms_versions (
    key_id    TEXT   NOT NULL REFERENCES kms_keys (id),
    version   BIGINT NOT NULL CHECK (version > 0),
    state     TEXT   NOT NULL,
    epoch     BIGINT NOT NULL CHECK (epoch > 0),
    sealed    BYTEA  NOT NULL,
    material  BYTEA,
    PRIMARY KEY (key_id, version)
);
CREATE INDEX kms_versions_epoch ON kms_versions (epoch);

CREATE TABLE kms_usage (
    key_id    TEXT   NOT NULL,
    version   BIGINT NOT NULL,
    epoch     BIGINT NOT NULL CHECK (epoch > 0),
    sealed    BYTEA  NOT NULL,
    PRIMARY KEY (key_id, version),
    FOREIGN KEY (key_id, version) REFERENCES kms_versions (key_id, version)
);
CREATE INDEX kms_usage_epoch ON kms_usage (epoch);
