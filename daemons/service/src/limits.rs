//! Every bound of this crate, with its reason.

use std::time::Duration;

/// Greatest configuration file. Ours have a few kilobytes; a megabyte is somebody's wrong path.
pub const CONFIG_BYTES: usize = 1 << 20;

/// Greatest root key file: 64 hexadecimal digits and a line end.
pub const ROOT_KEY_FILE_BYTES: usize = 66;

/// Greatest secret that a root key wraps. Private keys have a few kilobytes at most.
pub const WRAPPED_BYTES: usize = 1 << 20;

/// Audit records waiting or reserved. A `Grant` reserves one; at a kilobyte each this is 8 MiB,
/// those of administration included.
pub const AUDIT_QUEUE: usize = 8192 - AUDIT_QUEUE_ADMINISTRATION;

/// Places of the audit queue that only what administrators were allowed may take, so that switching
/// something off works however many others are asking. Two per operation.
pub const AUDIT_QUEUE_ADMINISTRATION: usize = 256;

/// Refusals of one peer that are recorded one by one before the rate counts: a client that was set up
/// wrongly tries less often until somebody looks.
pub const REFUSAL_BURST: u32 = 200;

/// Refusals of one peer that are recorded one by one per second, in the long run.
pub const REFUSALS_PER_SECOND: u32 = 20;

/// Peers whose refusals are counted at a time, at about 200 bytes each.
pub const REFUSAL_PEERS: usize = 8192;

/// Peers with a summary of their own at a time; what comes beyond is summarised together.
pub const REFUSAL_SUMMARIES: usize = 1024;

/// How long refusals above the rate are gathered into one record.
pub const REFUSAL_SUMMARY: Duration = Duration::from_secs(60);

/// How often the listener looks whether a summary is due.
pub const REFUSAL_SUMMARY_POLL: Duration = Duration::from_secs(5);

/// How long a caller waits for a place in the audit queue before it fails closed: a disk that is
/// this much behind will not catch up within anybody's patience.
pub const AUDIT_QUEUE_WAIT: Duration = Duration::from_secs(2);

/// How long a caller waits for its record to be durable before it fails closed.
pub const AUDIT_COMMIT_WAIT: Duration = Duration::from_secs(10);

/// Records written with one `fdatasync`, so that the first of a group does not wait for thousands.
pub const AUDIT_GROUP: usize = 1024;

/// How often a failed audit log tries to write again, so that freeing disk space heals a daemon.
pub const AUDIT_RETRY: Duration = Duration::from_secs(1);

/// Records after which a checkpoint is signed, at about 25 microseconds: nothing beside as many operations.
pub const AUDIT_CHECKPOINT_RECORDS: u64 = 4096;

/// Records without a checkpoint among them that are no daemon's work any more: a checkpoint follows 4096 and the group
/// they are in, so that only a dozen crashes one after the other, each within ten seconds, leave so many.
pub const AUDIT_UNSIGNED_RECORDS: u64 = 16 * AUDIT_CHECKPOINT_RECORDS;

/// How long a record may wait for the checkpoint that signs it: what an attacker who takes the machine over may still
/// cut off unseen.
pub const AUDIT_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);

/// What is signed begins with this, so that the key's signatures mean nothing elsewhere.
pub const AUDIT_CHECKPOINT_LABEL: &[u8] = b"blindfold audit checkpoint v1\0";

/// Greatest file with a signer's key or its public key: PEM of 200 bytes, and room for what others write around it.
pub const AUDIT_SIGNER_BYTES: usize = 4096;

/// Greatest file ending in `.chain`: six short members.
pub const AUDIT_CHAIN_STATE_BYTES: usize = 1024;

/// Longest line of an audit log: each text, each of 32 values of a context and every label at their bounds, all escaped.
pub const AUDIT_LINE: usize = 1 << 20;

/// Findings of a check that are listed one by one; the rest is counted. A damaged log has few, another file has nothing else.
pub const AUDIT_FINDINGS: usize = 100;

/// Bytes of records that wait for syslog; what comes beyond is lost there, and counted.
pub const SYSLOG_QUEUE_BYTES: usize = 8 << 20;

/// How long connecting to a syslog server, or one message to it, may take before the connection counts as broken.
pub const SYSLOG_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between attempts to reach syslog.
pub const SYSLOG_RETRY: Duration = Duration::from_secs(1);

/// How long closing the audit log waits until syslog has what is waiting.
pub const SYSLOG_DRAIN: Duration = Duration::from_secs(2);

/// Longest caller-influenced text in an audit record (a SPIFFE ID has at most 2048 bytes).
pub const AUDIT_TEXT: usize = 2048;

/// Longest text value in an audit context: names and hexadecimal digests fit.
pub const AUDIT_CONTEXT_TEXT: usize = 512;

/// Entries of one audit context. More is a log of its own.
pub const AUDIT_CONTEXT_ENTRIES: usize = 32;

/// Incomplete bytes at the end of an audit log that are looked at as a whole. A group has at most
/// `AUDIT_GROUP` records of a few kilobytes; a longer tail without a line end is not a log of ours.
pub const AUDIT_TAIL: u64 = 64 << 20;

/// Distinct values of one metric label that callers can influence; what comes later is `other`.
pub const METRIC_LABELS: usize = 64;

/// Connections to the metrics listener at a time: a scraper, two probes and a person.
pub const METRICS_CONNECTIONS: usize = 16;

/// Time for a whole exchange with the metrics listener.
pub const METRICS_TIMEOUT: Duration = Duration::from_secs(10);

/// How long SQLite waits for another connection's write before it reports the database busy.
pub const STORE_BUSY: Duration = Duration::from_secs(5);

/// Between two attempts to open a database file that another program is about to turn to WAL, which takes milliseconds.
pub const STORE_BUSY_PAUSE: Duration = Duration::from_millis(20);

/// SQLite connections per daemon: writes are serialised anyway, reads take microseconds.
pub const STORE_CONNECTIONS: u32 = 4;

/// How long a caller waits for a SQLite connection.
pub const STORE_ACQUIRE: Duration = Duration::from_secs(5);

/// How often the listener looks whether the trust bundle changed. "Soon" in "cut soon after a site
/// is disabled"; a comparison of two pointers, so it costs nothing.
pub const BUNDLE_POLL: Duration = Duration::from_millis(250);

/// Pause after the operating system refused to accept (no file descriptors): it needs time, not a
/// busy loop.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Greatest HTTP/1.1 head, and header list of an HTTP/2 request. Ours have a few hundred bytes.
pub const HEAD_BYTES: usize = 16 << 10;

/// Headers of one HTTP/1.1 request.
pub const HEADERS: usize = 64;

/// Flow-control window of one HTTP/2 stream; a request body fits and no more is buffered unread.
pub const H2_STREAM_WINDOW: u32 = 64 << 10;

/// Flow-control window of one HTTP/2 connection.
pub const H2_CONNECTION_WINDOW: u32 = 256 << 10;

/// Bytes of answers that one HTTP/2 stream may have waiting.
pub const H2_SEND_BUFFER: usize = 64 << 10;

/// How often a silent HTTP/2 peer is asked whether it is still there: before most middleboxes forget
/// the connection.
pub const H2_PING: Duration = Duration::from_secs(20);

/// How long an HTTP/2 peer may take to answer that.
pub const H2_PONG: Duration = Duration::from_secs(10);

/// For requests under way of a peer whose site was disabled: enough to write an answer.
pub const REVOKED_GRACE: Duration = Duration::from_secs(1);

/// For requests under way of a peer whose document ended; `close_grace` can only be shorter.
pub const EXPIRED_GRACE: Duration = Duration::from_secs(5);

/// One peer has this part of the memory for request bodies, so that a few can't starve all others.
pub const BODY_MEMORY_SHARES: usize = 8;

/// Connections that have not shown a certificate have this part of all seats, if nothing else is set:
/// enough for a burst of handshakes, and three quarters stay for those who are known.
pub const UNIDENTIFIED_SHARES: usize = 4;

/// How long a peer refused in the handshake is listened to, so that it sees our alert and no reset.
pub const LINGER: Duration = Duration::from_millis(500);

/// How much of what such a peer still sends is read and thrown away.
pub const LINGER_BYTES: u64 = 64 << 10;

/// How much of a request body that is too large is read and thrown away, so that a client that sends
/// first and reads then gets the answer and no reset.
pub const DISCARD_BYTES: u64 = 1 << 20;

/// Threads of one pool at most, whatever the configuration or the machine says.
pub const MAX_POOL_THREADS: usize = 256;

/// Of a pool's queue, one principal has at most one part in this many.
///
/// Small, so that a busy workload is not held back while others are idle; more
/// than one, so that three greedy ones still leave room.
pub const POOL_QUEUE_PARTS: usize = 4;

/// Jobs that wait for a token. At a millisecond each two workers need half a second for them.
pub const PKCS11_QUEUE: usize = 1024;

/// How long a caller waits for a token's answer. An RSA-4096 key pair takes a token several seconds.
pub const PKCS11_ANSWER: Duration = Duration::from_secs(60);

/// Worker threads of a token unless configured: SoftHSM gains nothing beyond two.
pub const PKCS11_WORKERS: usize = 2;

/// Greatest number of worker threads: tokens on the network have a few dozen sessions for one client.
pub const PKCS11_MAX_WORKERS: usize = 64;

/// Handles of objects that one session remembers, at about 100 bytes each.
pub const PKCS11_HANDLES: usize = 8192;

/// Slots that are looked at for a token; a partitioned network token has one a partition.
pub const PKCS11_SLOTS: usize = 256;

/// Greatest length of a token's label in bytes (`CK_TOKEN_INFO`); serial numbers are shorter.
pub const PKCS11_TOKEN_NAME_BYTES: usize = 32;

/// Greatest file with a PIN: a line of text.
pub const PKCS11_PIN_FILE_BYTES: usize = 1024;

/// Greatest length of a wrapping key's label in bytes: tokens differ, all take this.
pub const PKCS11_LABEL_BYTES: usize = 64;

/// Number of the advisory lock that writers of a PostgreSQL database take: the bytes `bf-write`, so that other programs
/// in the same database are unlikely to use it.
pub const DATABASE_LOCK: i64 = i64::from_be_bytes(*b"bf-write");

/// Greatest password of a database, in bytes.
pub const DATABASE_PASSWORD_BYTES: usize = 1024;

/// How long a statement of a PostgreSQL database may take: loading a great store takes seconds.
pub const DATABASE_STATEMENT: Duration = Duration::from_secs(30);

/// After what time PostgreSQL ends a transaction that does nothing, and with it the write lock of a replica that hangs.
pub const DATABASE_IDLE_TRANSACTION: Duration = Duration::from_secs(10);

/// After what time an unused connection to a server is closed.
pub const DATABASE_IDLE: Duration = Duration::from_secs(10 * 60);

/// After what time a connection to a server is replaced, so that all move to a new server in the end.
pub const DATABASE_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Greatest key-slot file of root keys: a slot of 255 custodians has 40 KiB.
pub const ROOT_KEY_SLOTS_BYTES: usize = 128 << 10;

/// Root keys in one file: the newest, and former ones until what they wrapped is wrapped anew.
pub const ROOT_KEYS: usize = 64;

/// Encoded bytes of one custodian's share: 48 fixed bytes and a name.
pub const SHARE_TEXT_BYTES: usize = 256;

/// Greatest file with one share: the line and what people write around it.
pub const SHARE_FILE_BYTES: usize = 4 << 10;

/// Longest name of a custodian, in bytes.
pub const HOLDER_BYTES: usize = 64;

/// Shortest passphrase of a root key, in bytes: six words of a list have more.
pub const PASSPHRASE_LEAST_BYTES: usize = 16;

/// Longest passphrase of a root key, in bytes.
pub const PASSPHRASE_BYTES: usize = 1024;

/// Least and greatest memory of Argon2id in KiB. RFC 9106, section 4, recommends 64 MiB where memory is scarce, and 2 GiB else;
/// less than 19 MiB (OWASP's least) is no protection.
pub const ARGON2_MEMORY_KIB: std::ops::RangeInclusive<u32> = 19 << 10..=2 << 20;

/// Memory of Argon2id for new slots: RFC 9106, section 4, second recommended option.
pub const ARGON2_DEFAULT_MEMORY_KIB: u32 = 64 << 10;

/// Passes of Argon2id; the same option has three.
pub const ARGON2_PASSES: std::ops::RangeInclusive<u32> = 1..=16;

/// Lanes of Argon2id; both options have four.
pub const ARGON2_LANES: std::ops::RangeInclusive<u32> = 1..=16;

/// How often a daemon looks whether the file of its root keys changed.
pub const ROOT_KEY_POLL: Duration = Duration::from_secs(2);

/// How often a sealed daemon tries its other sources again, such as an HSM that was not there.
pub const UNSEAL_RETRY: Duration = Duration::from_secs(30);

/// How long shares wait for the others: custodians come together for this.
pub const UNSEAL_PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Time for one exchange on the unseal socket.
pub const UNSEAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Greatest request on the unseal socket: a share, as JSON.
pub const UNSEAL_REQUEST_BYTES: usize = 4 << 10;

/// Greatest answer on the unseal socket: names of 255 custodians.
pub const UNSEAL_ANSWER_BYTES: usize = 64 << 10;

/// Least rate of a body that is streamed, in bytes per second, once its first seconds are over: a slow link has more, and
/// who sends less holds a connection for nothing.
pub const STREAM_RATE: u64 = 16 << 10;

/// What a streamed request takes of the memory for bodies: one chunk in, one chunk out, and what HTTP holds of both.
pub const STREAM_MEMORY: usize = 512 << 10;
