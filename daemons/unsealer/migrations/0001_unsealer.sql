-- The unsealer's store, first version.
-- Times are Unix seconds. Digests are the 48 bytes of H("policy", document).
-- STRICT tables refuse values of another type; every secret column is wrapped
-- under the root key before it comes here.

CREATE TABLE tenant (
    name       TEXT    NOT NULL PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 255),
    -- Canonical bytes; NULL admits nobody.
    admission  BLOB    CHECK (admission IS NULL OR length(admission) <= 32768),
    digest     BLOB    CHECK (digest IS NULL OR length(digest) = 48),
    -- Counts the changes of `admission`, from 1.
    version    INTEGER NOT NULL CHECK (version >= 1),
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    changed_by TEXT    NOT NULL,
    CHECK ((admission IS NULL) = (digest IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE unsealing_key (
    key_id      BLOB    NOT NULL PRIMARY KEY CHECK (length(key_id) = 32),
    tenant      TEXT    NOT NULL REFERENCES tenant (name),
    authority   TEXT    NOT NULL,
    key_version INTEGER NOT NULL CHECK (key_version BETWEEN 0 AND 4294967295),
    -- The public record, "PBSK"…
    record      BLOB    NOT NULL,
    -- The secret key file, "PBSS"…, wrapped under the root key with the key id as context.
    wrapped     BLOB    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('ACTIVE', 'OPEN_ONLY', 'RETIRED', 'COMPROMISED')),
    -- Evaluations made or reserved: never below the true count (limit 2^40).
    reserved    INTEGER NOT NULL CHECK (reserved BETWEEN 0 AND 1099511627776),
    created_at  INTEGER NOT NULL,
    changed_at  INTEGER NOT NULL,
    changed_by  TEXT    NOT NULL,
    UNIQUE (tenant, authority, key_version)
) STRICT, WITHOUT ROWID;

-- Every version of every named policy; the highest version is in force.
-- A removal is a version without a document.
CREATE TABLE policy_version (
    tenant     TEXT    NOT NULL REFERENCES tenant (name),
    name       TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 512),
    version    INTEGER NOT NULL CHECK (version >= 1),
    document   BLOB    CHECK (document IS NULL OR length(document) <= 32768),
    digest     BLOB    CHECK (digest IS NULL OR length(digest) = 48),
    changed_at INTEGER NOT NULL,
    changed_by TEXT    NOT NULL,
    PRIMARY KEY (tenant, name, version),
    CHECK ((document IS NULL) = (digest IS NULL))
) STRICT, WITHOUT ROWID;

-- Documents that requests may name by digest.
CREATE TABLE document (
    tenant     TEXT    NOT NULL REFERENCES tenant (name),
    digest     BLOB    NOT NULL CHECK (length(digest) = 48),
    document   BLOB    NOT NULL CHECK (length(document) <= 32768),
    changed_at INTEGER NOT NULL,
    changed_by TEXT    NOT NULL,
    PRIMARY KEY (tenant, digest)
) STRICT, WITHOUT ROWID;

-- Documents under which nothing is evaluated any more.
CREATE TABLE denied_digest (
    tenant     TEXT    NOT NULL REFERENCES tenant (name),
    digest     BLOB    NOT NULL CHECK (length(digest) = 48),
    note       TEXT    NOT NULL,
    changed_at INTEGER NOT NULL,
    changed_by TEXT    NOT NULL,
    PRIMARY KEY (tenant, digest)
) STRICT, WITHOUT ROWID;
