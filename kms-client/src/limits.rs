//! Limits of keys, messages and requests, each with its reason.

/// Bytes of a key's identifier: random, so that no two authorities ever make the same one.
pub const KEY_ID_BYTES: usize = 16;

/// Greatest length of a tenant's or key's name, in bytes: short enough for a path and an audit record.
pub const MAX_NAME_BYTES: usize = 64;

/// Greatest version of a key: far more than daily rotation reaches in a thousand years.
pub const MAX_VERSION: u32 = 1 << 20;

/// Versions kept of one key: bounds memory, and the work of a verification that names no version.
pub const MAX_VERSIONS: usize = 1024;

/// Greatest plaintext of one operation, in bytes; beyond it a stream under a data key is faster and needs no memory.
pub const MAX_PLAINTEXT_BYTES: usize = 64 * 1024;

/// Greatest associated data (encryption context) of one operation, in bytes.
pub const MAX_AAD_BYTES: usize = 8 * 1024;

/// Greatest message that is hashed in one operation (MAC or signature), in bytes; larger ones are hashed first.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Items of one batch: bounds memory and how long one request holds a worker.
pub const MAX_BATCH_ITEMS: usize = 256;

/// Greatest size of the cleartext data key, in bytes: a key of 512 bits.
pub const MAX_DATA_KEY_BYTES: usize = 64;

/// Least size of a data key, in bytes: 128 bits.
pub const MIN_DATA_KEY_BYTES: usize = 16;

/// Greatest number of random bytes in one answer.
pub const MAX_RANDOM_BYTES: usize = 4096;

/// Longest time of one administrative call: an RSA-4096 key is made in it, in the service or in an HSM.
pub const ADMIN_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// Greatest answer of an administrative call: a page of keys with all their versions, or a sealed export.
pub const MAX_ADMIN_ANSWER_BYTES: u64 = 8 * 1024 * 1024;

/// Greatest backup of one key as JSON; sealed and in Base64 it still is below what a request may have. More versions
/// than fit are exported in parts.
pub const MAX_BACKUP_BYTES: usize = 512 * 1024;

/// Greatest private key in PKCS #8 DER, in bytes: RSA-4096 has about 2380.
pub const MAX_PRIVATE_KEY_BYTES: usize = 4096;

/// Greatest size of the encrypted data key before a stream, in bytes: an RSA-4096 block with its header has 537.
pub const MAX_ENCRYPTED_DATA_KEY_BYTES: usize = 1024;

/// Chunks of one stream: 256 TiB, and with 2^12 blocks each far below AES-GCM's bound of 2^64 blocks under one key.
pub const MAX_CHUNKS: u64 = 1 << 32;

/// All attempts of one call together, unless configured.
pub const CALL_DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);

/// One attempt, unless configured: a batch of 256 RSA-4096 signatures takes the service about a second.
pub const ATTEMPT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// Attempts of one call, whatever its deadline.
pub const MAX_ATTEMPTS: u32 = 6;

/// First pause between attempts; it doubles.
pub const BACKOFF_FIRST: std::time::Duration = std::time::Duration::from_millis(50);

/// Longest pause between attempts.
pub const BACKOFF_LONGEST: std::time::Duration = std::time::Duration::from_secs(5);

/// Greatest answer to a data request: a thousand versions of RSA-4096 private keys in Base64, twice (a handed key), or a
/// request's worth of ciphertexts.
pub const MAX_ANSWER_BYTES: u64 = 8 * 1024 * 1024;

/// How much longer than the service may hold a watch the client waits for it.
pub const WATCH_TIMEOUT_MARGIN: std::time::Duration = std::time::Duration::from_secs(10);

/// Keys of which a client remembers how to work with them; more are always worked with in the service.
pub const MAX_KNOWN_KEYS: usize = 1024;

/// Keys that a client has in hand at a time: as many as one watch may ask for.
pub const MAX_KEYS_IN_HAND: usize = MAX_BATCH_ITEMS;

/// How long a client remembers that a key is not handed to it: a change of policy or sensitivity is seen after it.
pub const STAYS_IN_SERVICE_SECONDS: u64 = 300;

/// How long a client that could not fetch a key leaves the data to the service before it tries again.
pub const FETCH_AGAIN_SECONDS: u64 = 5;

/// Least time between two refreshes of one handed key, whatever its terms.
pub const SHORTEST_REFRESH: std::time::Duration = std::time::Duration::from_secs(1);

/// Watches that one client holds at a time: keys that are fetched while one is held get another.
pub const MAX_WATCHES: usize = 3;

/// How long a new watch waits for further keys before it begins: they mostly come together, when an application starts.
pub const WATCH_GATHER: std::time::Duration = std::time::Duration::from_millis(50);

/// A watch that ends sooner than this is followed by a pause, which doubles as long as that goes on.
pub const WATCH_SHORT: std::time::Duration = std::time::Duration::from_secs(1);

/// Longest rest of the thread that looks after handed keys: bounds how long a clock set forward goes unnoticed.
pub const UPKEEP_LONGEST_REST: std::time::Duration = std::time::Duration::from_secs(10);

/// Asynchronous calls of one client that ask the service at a time: as many as connections are kept.
pub const MAX_ASYNC_CALLS: usize = identity::limits::IDLE_CONNECTIONS;
