//! Every bound of the service, each with its reason.
//!
//! What a caller can choose (SPIFFE IDs, names, keys to watch) only ever fills tables of a size fixed here or in the
//! configuration. Bounds of messages and requests are [`kms_client::limits`]', since clients keep them too.

use std::time::Duration;

/// Uses of one version of a key whose messages have keys of their own, derived from a random salt of 256 bits: after so many
/// the chance that two salts were ever the same is below 2^-144. It is far from what any fleet reaches, also when each use
/// is lent out with a handed key: a thousand million a second take two years.
pub const MAX_USES: u64 = 1 << 56;

/// Uses of one version of an AES-GCM key inside an HSM, whose nonces are random.
pub const MAX_TOKEN_USES: u64 = service::pkcs11::gcm::MAX_ENCRYPTIONS;

/// Uses reserved durably in one step.
///
/// A crash loses at most one block upward, which is nothing of the life of an ordinary key; a commit of the store for so
/// many uses does not show.
pub const USE_BLOCK: u64 = 1 << 20;

/// The same for a key inside an HSM, whose life is shorter: a crash loses a 2^15th part of it.
pub const TOKEN_USE_BLOCK: u64 = 1 << 16;

/// Of a life of uses, what has to be left for the service to keep quiet: below a tenth every new block is a warning.
pub const WORN_PARTS: u64 = 10;

/// Principals whose items are counted at one time, at about 200 bytes each.
pub const QUOTA_NAMES: usize = 16_384;

/// Items a second of one principal, unless configured: a busy service does some thousands, ten of them saturate a core.
pub const QUOTA_PER_SECOND: u32 = 20_000;

/// Items of one principal at once, unless configured: three seconds of them.
pub const QUOTA_BURST: u32 = 60_000;

/// Decisions kept in each of the two generations of their cache, about 600 bytes each: 5 MiB at most.
pub const DECISIONS: usize = 4096;

/// Requests of one principal that are held because it watches keys: one for each connection of a busy fleet.
pub const WATCHES_PER_PRINCIPAL: usize = 64;

/// Watching requests held at one time. Each holds a connection or a stream and about a kilobyte.
pub const WATCHES: usize = 4096;

/// How often a held watch looks for changes it was not woken for: a policy's own times pass without a new revision.
pub const WATCH_POLL: Duration = Duration::from_secs(5);

/// Wait told to a caller while the service can't answer, in seconds.
pub const RETRY_AFTER_SECONDS: u32 = 1;

/// Longest wait told to a caller that is over its quota, in seconds.
pub const MAX_RETRY_AFTER_SECONDS: u32 = 3600;

/// Age of the trust bundle from which on nobody is served.
///
/// Bundles are refreshed every five minutes at the latest; a minute is for the attempt. A site switched off longer ago
/// than this can't use a key.
pub const MAX_BUNDLE_AGE: Duration = Duration::from_secs(360);

/// Time between looks at the store for changes of other replicas: together with reading them, a change is in force
/// everywhere within a second.
pub const STORE_POLL: Duration = Duration::from_millis(300);

/// How often readiness and metrics are brought up to date when nobody asks.
pub const UPKEEP: Duration = Duration::from_secs(2);

/// How often counts of reads by version are written to the store.
pub const USAGE_FLUSH: Duration = Duration::from_secs(30);

/// Bytes of the administration policy file, comments included.
pub const MAX_POLICY_FILE_BYTES: usize = 256 * 1024;

/// Operations waiting or under way per thread for heavy ones (private keys of RSA), unless configured: about two seconds
/// of RSA-4096, a caller behind a longer queue would have given up.
pub const WORK_QUEUE_PER_THREAD: usize = 1024;

/// Greatest queue that can be configured, in operations.
pub const MAX_WORK_QUEUE: usize = 1 << 20;

/// Items of the cheaper public-key operations (10 to 70 µs each) that are done where they arrive; more of them would
/// hold up the other connections of the thread, so they go to the threads for heavy ones.
pub const INLINE_ITEMS: usize = 4;

/// Greatest request body, before configuration: a batch of the client's greatest size, see [`kms_client::wire`].
pub const BODY_BYTES: usize = kms_client::wire::MAX_BODY_BYTES;

/// Longest text of a request's path segment that is looked at: names have 64 bytes at most.
pub const MAX_SEGMENT_BYTES: usize = 64;

/// Largest stream that is encrypted, decrypted or hashed in one request: 64 GiB at 100 MB/s take eleven minutes.
pub const MAX_STREAM_BYTES: u64 = 64 << 30;

/// Longest time of one: what policies say of it is an hour old at most.
pub const MAX_STREAM_TIME: Duration = Duration::from_secs(3600);

/// Verifications of one request, items times versions that are tried where none is named: a tenth of a second of RSA.
pub const MAX_VERIFICATIONS: usize = 4096;

/// Items of one request that wait for an HSM at a time: more than any token works on at once, and few enough that one
/// batch does not fill the queue of its workers.
pub const TOKEN_CONCURRENCY: usize = 8;

/// Operations of all requests together that wait for an HSM at a time: what its queue holds, less room for administration.
pub const TOKEN_SEATS: usize = service::limits::PKCS11_QUEUE - 64;

/// Those of one principal: a quarter, so that one can't keep all others out.
pub const TOKEN_SEATS_PER_PRINCIPAL: usize = service::limits::PKCS11_QUEUE / 4;

/// Least and greatest time between looks at the store: a change is to be in force everywhere within a second.
pub const MIN_STORE_POLL: Duration = Duration::from_millis(10);
/// See [`MIN_STORE_POLL`].
pub const STORE_POLL_MAX: Duration = Duration::from_millis(500);

/// How long answers are given without having reached the store, unless configured: so long a change that another replica
/// made, a revocation too, may be missed.
pub const MAX_STORE_UNREACHABLE: Duration = Duration::from_secs(30);

/// For how long a change is tried again when connections break or others are in the way.
pub const STORE_RETRY: Duration = Duration::from_secs(15);

/// Least and greatest pause between two attempts at the same change, before jitter.
pub const STORE_RETRY_PAUSE: (Duration, Duration) =
    (Duration::from_millis(20), Duration::from_secs(1));

/// Changes that the ledger remembers by identifier: who lost a connection during a commit finds his among them, unless so
/// many were made while he reconnected.
pub const RECENT_CHANGES: usize = 64;

/// Greatest anchor file: one line.
pub const ANCHOR_BYTES: usize = 256;

/// Tenants of one store: their policies are kept in memory.
pub const MAX_TENANTS: u64 = 10_000;

/// Keys of one store, destroyed ones included: at about 2 KiB each, all of them are kept in memory by every replica.
pub const MAX_KEYS: u64 = 200_000;

/// Greatest policy document that the store takes, in bytes: as canonical JSON, 32 KiB of YAML grow by half at most.
pub const MAX_STORED_POLICY_BYTES: usize = 64 * 1024;

/// Greatest material of one version: RSA-4096 as PKCS #8 has 2.4 kB.
pub const MAX_MATERIAL_BYTES: usize = 8 * 1024;

/// Greatest reference of an object in an HSM.
pub const MAX_HSM_REFERENCE_BYTES: usize = 256;

/// Uses that are reserved in one step at most: a block is far smaller.
pub const MAX_RESERVATION: u64 = 1 << 32;

/// Reports of usage written in one transaction.
pub const MAX_USAGE_REPORTS: usize = 1024;

/// Rows wrapped anew in one transaction after the root key was rotated: holds the write lock for some milliseconds.
pub const REWRAP_ROWS: usize = 200;

/// How often the time of operation is written while a version waits for its destruction.
pub const UPTIME_HEARTBEAT: Duration = Duration::from_secs(600);

/// By how much the epoch goes up when a restored backup is accepted: more than replicas that have seen further can be
/// ahead, so that no revision is ever given twice.
pub const RESTORED_EPOCHS: u64 = 1 << 32;

/// Items that handing a key out counts for in a principal's quota, of at least 256: each takes uses of the key with it, and
/// a public-key operation.
pub const FETCH_ITEMS: usize = 32;

/// How often a version that could not be made ready is tried again: what is wrong is mended by people.
pub const NOT_READY_RETRY: Duration = Duration::from_secs(30);

/// A handed key should be refreshed after one of so many parts of its validity: half of it is left for an outage that
/// begins just then.
pub const LEASE_REFRESH_PARTS: u64 = 2;

/// How long one look at the store, or one step of a change, may take before the connection counts as lost.
pub const STORE_LOOK: Duration = Duration::from_secs(10);

/// Body of an administrative request: the largest is a sealed backup of one key in Base64.
pub const MAX_ADMIN_BODY_BYTES: usize = 1024 * 1024;

/// RSA keys that are made in this process at a time: each takes a core for up to some seconds.
pub const MAKING: usize = 2;

/// Those that are made or wait for it: as many as are made in a minute or two; whoever hangs up does not give up its place.
pub const MAKING_QUEUE: usize = 64;

/// Items that an administrative call counts for in its principal's quota, whoever it is: each leaves two records in the audit
/// log and may read a policy of 32 KiB, and what a denied caller may cause must have a bound.
pub const ADMIN_ITEMS: u32 = 16;

/// A sealed backup of one key: the backup, padded by an eighth at most, and locks.
pub const MAX_SEALED_BACKUP_BYTES: usize = 704 * 1024;

/// Entries of one page of a list.
pub const LIST_PAGE: usize = 256;

/// Versions in one page of keys, at about 200 bytes each: half a megabyte, or one key with all it can have.
pub const LIST_PAGE_VERSIONS: usize = 2048;

/// Longest time between rotations by schedule, in seconds: ten years, beyond any recommended life of a key (NIST SP 800-57
/// Part 1, section 5.3.6).
pub const MAX_ROTATION_SECONDS: u64 = 3650 * 86_400;

/// Least time between rotations by schedule, unless configured: a key has 1024 versions, which last three years so.
pub const LEAST_ROTATION: Duration = Duration::from_secs(86_400);

/// Longest validity of a handed key, outages included: thirty days without the service.
pub const MAX_LEASE_SECONDS: u64 = 30 * 86_400;

/// Most uses of one lease: a 2^28th part of a version's life, so that leases alone don't end it.
pub const MAX_LEASE_USES: u64 = 1 << 28;

/// Delay of a destruction when none is named.
pub const DESTRUCTION_DELAY: Duration = Duration::from_secs(30 * 86_400);

/// Least delay of a destruction, unless configured: a week in which somebody misses the key.
pub const LEAST_DESTRUCTION_DELAY: Duration = Duration::from_secs(7 * 86_400);

/// Greatest delay of a destruction: what should stay longer is disabled, not pending.
pub const MAX_DESTRUCTION_DELAY: Duration = Duration::from_secs(30 * 86_400);

/// Time between looks at what is due, unless configured.
pub const LIFECYCLE_POLL: Duration = Duration::from_secs(30);

/// Longest time between them: a rotation by day is not late by more than an hour.
pub const MAX_LIFECYCLE_POLL: Duration = Duration::from_secs(3600);

/// How long import parameters are good: a ceremony at an HSM takes hours.
pub const IMPORT_TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Recipients of exports that can be configured.
pub const MAX_RECIPIENTS: usize = 64;

/// Greatest file of a public key record.
pub const MAX_KEY_RECORD_BYTES: usize = 16 * 1024;

/// Greatest file of a secret key: an ML-KEM-768 key with the longest names stays far below.
pub const MAX_SECRET_KEY_BYTES: usize = 16 * 1024;

/// Room for an import token in the clear: an RSA-4096 key in Base64 has three kilobytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Objects of one class in the HSM that are looked at for keys of ours.
pub const HSM_LISTED_OBJECTS: usize = 1 << 20;

/// Greatest signature that an HSM is asked about, in bytes: one of RSA-4096. Those of curves are shorter in any encoding.
pub const MAX_SIGNATURE_BYTES: usize = 512;

/// How often a failed operation in the HSM is logged at most: during an outage each one fails. All are counted.
pub const HSM_LOG_EVERY: Duration = Duration::from_secs(1);
