//! Every bound of this crate, with its reason.
//!
//! Bounds of what travels are `identity`'s, those of connections `service`'s.

use std::time::Duration;

/// Sites that can be registered: as many as a bundle can list as disabled, so that each can be switched off.
pub const SITES: usize = identity::limits::MAX_DISABLED_SITES;

/// Longest SPIFFE ID prefix of a site: a policy pattern has at most 512 bytes, and `/**` comes after it.
pub const SITE_PREFIX_BYTES: usize = identity::policy::limits::MAX_PATTERN_BYTES - 3;

/// Attribute names in a site's rules; a document has no more attributes.
pub const RULE_ATTRIBUTES: usize = identity::limits::MAX_ATTRIBUTES;

/// Values or patterns for one attribute in a site's rules. Longer lists want a pattern.
pub const RULE_VALUES: usize = 64;

/// Longest JSON of a site's rules: a hundred values of a hundred bytes, and a dozen certificates that attestors trust.
/// All sites together stay below 128 MiB.
pub const RULES_BYTES: usize = 32 << 10;

/// Greatest rate of a site, documents per minute: more than one authority can sign.
pub const ISSUES_PER_MINUTE: u32 = 1_000_000;

/// Sites on one page of the listing, and in one answer when nothing is said.
pub const SITES_PAGE: usize = 100;

/// Bytes of sites on one page: leaves room in the greatest answer that clients take.
pub const SITES_PAGE_BYTES: usize = 256 << 10;

/// Rows of tokens kept per site for each that may be live: redeemed tokens stay until they expire, so that a second
/// redemption is told from an unknown token in the audit log.
pub const TOKEN_ROWS_PER_LIVE: u32 = 16;

/// Expired tokens removed with one statement, so that no request waits long for the database.
pub const PURGE_ROWS: u32 = 1_000;

/// How long tokens are kept after their end: an answer lost on the way may be asked for again that long.
pub const PURGE_AFTER_SECONDS: u64 = 2 * identity::limits::REDEMPTION_REPEAT_SECONDS;

/// How far the clock may go back without refusal: steps of time synchronisation are below it.
pub const CLOCK_TOLERANCE_SECONDS: u64 = 5;

/// How long other trust domains may keep our bundle before they ask again: three times within the least time that a next
/// issuing certificate is published before it signs.
pub const FEDERATION_REFRESH_HINT: Duration =
    Duration::from_secs(LEAST_HORIZON_SECONDS / HORIZON_REFRESHES);

/// The least time that a next issuing certificate is published before it signs where other trust domains follow: an outage
/// of a day between the two does not part them.
pub const FEDERATION_HORIZON_SECONDS: u64 = 24 * 3_600;

/// Longest a federated bundle is kept, whatever its publisher says: an hour, so that a CA that another trust domain has
/// revoked is not believed for longer.
pub const FEDERATION_LONGEST: Duration = Duration::from_secs(3_600);

/// How often it is looked whether a federated bundle is due; in memory, so it costs nothing.
pub const FEDERATION_POLL: Duration = Duration::from_secs(1);

/// First pause after a fetch that failed.
pub const FEDERATION_BACKOFF_FIRST: Duration = Duration::from_secs(1);

/// Greatest pause between fetches that fail.
pub const FEDERATION_BACKOFF_LONGEST: Duration = Duration::from_secs(60);

/// File with the web's roots; a usual one has 220 KB.
pub const WEB_ROOTS_BYTES: usize = 4 << 20;

/// File with the bundle endpoint's web certificate, or its key.
pub const WEB_CHAIN_BYTES: usize = 64 << 10;

/// Connections of the bundle endpoint at a time: other trust domains come every few minutes.
pub const BUNDLE_ENDPOINT_CONNECTIONS: usize = 64;

/// From accepting a connection of the bundle endpoint to the last byte of the answer.
pub const BUNDLE_ENDPOINT_DEADLINE: Duration = Duration::from_secs(10);

/// Header lines of a request at the bundle endpoint.
pub const BUNDLE_ENDPOINT_HEADERS: usize = 64;

/// How often the bundle endpoint looks whether its certificate was renewed, if anybody comes.
pub const CREDENTIAL_POLL: Duration = Duration::from_secs(10);

/// Questions of one instance that wait for the bundle to change: its SDK holds one, a second while it reconnects, and
/// there may be two processes.
pub const WAITS_PER_INSTANCE: usize = 4;

/// Longest reason of a revocation: a line for people.
pub const REASON_BYTES: usize = 256;

/// How often the store is asked whether another replica, or the command line of the host, changed something: part of how
/// fast "at once" is. One row by its key.
pub const REVISION_POLL: Duration = Duration::from_millis(250);

/// How long one look at the store's revision may take before the next one is tried on another connection.
pub const REVISION_PATIENCE: Duration = Duration::from_secs(5);

/// How long the store may be away before a replica says that it is not ready: failovers are over by then, and requests
/// that need the store wait for as long.
pub const STORE_READY: Duration = Duration::from_secs(10);

/// How long an attested subject is remembered after its last document has ended: so long a lower sequence number than its
/// last is refused.
pub const INSTANCES_KEPT_SECONDS: u64 = 7 * 24 * 3_600;

/// How long a replica answers from memory without having reached the store, unless configured: longer than a database
/// takes to fail over, and as long as another replica's revocation may stay unknown to it.
pub const MAX_STORE_UNREACHABLE: Duration = Duration::from_secs(60);

/// Bounds of what can be configured instead: a few polls, and a day, in which most documents end anyway.
pub const MAX_STORE_UNREACHABLE_BOUNDS: (Duration, Duration) =
    (Duration::from_secs(2), Duration::from_secs(24 * 3600));

/// Documents of a day that a replica sets aside at once are this part of the bound: what is lost with a replica that
/// dies is at most a hundredth.
pub const DAY_BLOCK_PART: u64 = 100;

/// Most documents of a day that a replica sets aside at once: one write to the store for as many.
pub const DAY_BLOCK: u64 = 1_000;

/// How often tokens are purged, the clock's progress is stored, and certificates are looked at: well below the
/// shortest half-life of a document, which is 30 seconds.
pub const UPKEEP: Duration = Duration::from_secs(10);

/// Connections to the Unix socket at a time: processes of one host.
pub const UNIX_CONNECTIONS: usize = 128;

/// Of these, connections of one user: so many processes may start at once, and eight users have room.
pub const UNIX_CONNECTIONS_PER_USER: usize = 16;

/// From a connection to the Unix socket to its end; an executable of half a gigabyte is hashed in less.
pub const UNIX_REQUEST: Duration = Duration::from_secs(30);

/// Executables read at a time for the Unix socket: the disk is not faster for more, and other work has threads left.
pub const UNIX_MEASUREMENTS: usize = 4;

/// Longest head of a request on the Unix socket, and the buffer that its body passes through.
pub const UNIX_HEAD_BYTES: usize = 16 << 10;

/// Pause after the Unix socket could not accept.
pub const UNIX_ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Attempts to attest that a site's evidence is looked at for, beside each document it may have: refused ones count here
/// and not against the site's documents.
pub const ATTEMPTS_PER_ISSUE: u32 = 4;

/// The least of those per minute: a hundred signatures a second are a few hundredths of a core, and whoever wants to lock
/// out a site by bad evidence needs more addresses than one.
pub const LEAST_ATTEMPTS_PER_MINUTE: u32 = 6_000;

/// Instances in the bundle whose attributes changed while former documents lasted. The rest of what a bundle holds is kept
/// for people, who must be able to revoke whatever attestors do.
pub const SUPERSEDED_INSTANCES: usize = identity::limits::MAX_REVOKED_INSTANCES / 4 * 3;

/// Of these, instances of one site: a hostile voucher leaves room for those of the others.
pub const SUPERSEDED_INSTANCES_PER_SITE: usize = SUPERSEDED_INSTANCES / 6;

/// A voucher's clock that differs by more is told of: a token takes less from there to here.
pub const NOTABLE_SKEW_SECONDS: u64 = 5;

/// Sources of joins, and renewing identities and evidence, that are told apart, each: an entry is forgotten after a
/// quarter of a minute, so that four thousand a second have room; about 13 MB.
pub const QUOTA_NAMES: usize = 65_536;

/// Lifetime of a first administrator's join token: an hour to walk to the other machine.
pub const ADMIN_TOKEN_SECONDS: u64 = 3_600;

/// Greatest policy file, the greatest policy document and some comments.
pub const POLICY_FILE_BYTES: usize = 2 * identity::policy::limits::MAX_DOCUMENT_BYTES;

/// How long a challenge can be answered: a TPM of the slow kind needs some seconds, a lost answer a second attempt.
pub const CHALLENGE_SECONDS: u64 = 120;

/// How long an operation on the store is tried again while the database is away: a failover of a few seconds is a delay
/// for the client, and the answer still comes within a request's time (30 seconds).
pub const STORE_PATIENCE: Duration = Duration::from_secs(12);

/// Pause before an operation on the store is tried again, doubled each time.
pub const STORE_RETRY: Duration = Duration::from_millis(25);

/// Greatest pause before an operation on the store is tried again: how late the end of an outage is noticed.
pub const STORE_RETRY_MAX: Duration = Duration::from_millis(400);

/// How many times the refresh hint a next issuing certificate is in the bundle before it signs: a verifier whose first
/// attempt failed has had two more.
pub const HORIZON_REFRESHES: u64 = 3;

/// The least time that a next issuing certificate is in the bundle before it signs, seconds: replicas and verifiers that
/// are restarted just then.
pub const LEAST_HORIZON_SECONDS: u64 = 60;

/// Steps in the life of issuing certificates that are taken at once; each is due once, so that more would be a loop.
pub const ISSUER_STEPS: usize = 16;

/// Keys that wait for a root elsewhere to sign: one, and some that were given up.
pub const ISSUER_REQUESTS: u32 = 8;

/// Documents whose records wait for the store at most, 48 bytes each: a minute of one core's signatures.
pub const CERTIFICATES_WAITING: usize = 1 << 18;

/// How often the records of signed documents are stored: what a crash loses.
pub const CERTIFICATES_FLUSH: Duration = Duration::from_millis(200);

/// Records of signed documents that are stored with one transaction.
pub const CERTIFICATES_BLOCK: usize = 512;

/// How long a next issuing certificate is in the bundle before it signs, seconds.
pub(crate) fn issuer_horizon(refresh_hint: u64) -> u64 {
    refresh_hint
        .saturating_mul(HORIZON_REFRESHES)
        .max(LEAST_HORIZON_SECONDS)
}
