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

/// Longest JSON of a site's rules: a hundred values of a hundred bytes. All sites together stay below 64 MiB.
pub const RULES_BYTES: usize = 16 << 10;

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

/// How often the store is asked whether somebody else changed the sites; part of how fast "at once" is when a site is
/// switched off from the command line of the host.
pub const REVISION_POLL: Duration = Duration::from_secs(1);

/// How often tokens are purged, the clock's progress is stored, and certificates are looked at: well below the
/// shortest half-life of a document, which is 30 seconds.
pub const UPKEEP: Duration = Duration::from_secs(10);

/// Sources of joins and renewing identities that are told apart, each.
pub const QUOTA_NAMES: usize = 16_384;

/// Lifetime of a first administrator's join token: an hour to walk to the other machine.
pub const ADMIN_TOKEN_SECONDS: u64 = 3_600;

/// Greatest policy file, the greatest policy document and some comments.
pub const POLICY_FILE_BYTES: usize = 2 * identity::policy::limits::MAX_DOCUMENT_BYTES;
