//! Every limit of this crate, with its reason.

use std::time::Duration;

/// A configuration file: some sixteen authorities with inline paths fit a hundred times over.
pub(crate) const MAX_CONFIG_BYTES: u64 = 256 * 1024;

/// A public key record as JSON.
pub(crate) const MAX_KEY_RECORD_BYTES: u64 = blindfold_core::limits::MAX_KEY_JSON_BYTES as u64;

/// A secret key file (`PBSS`).
pub(crate) const MAX_KEY_FILE_BYTES: u64 = blindfold_core::limits::MAX_KEY_FILE_BYTES as u64;

/// A sealer's public key.
pub(crate) const MAX_SEALER_KEY_BYTES: u64 = blindfold_core::limits::MAX_SEALER_KEY_BYTES as u64;

/// A sealer's signature.
pub(crate) const MAX_SIGNATURE_BYTES: u64 = blindfold_core::limits::MAX_SIGNATURE_BYTES as u64;

/// A certificate chain in PEM.
pub(crate) const MAX_CHAIN_BYTES: u64 = ::identity::limits::MAX_CHAIN_PEM_BYTES as u64;

/// A leaf key in PEM.
pub(crate) const MAX_LEAF_KEY_BYTES: u64 = ::identity::limits::MAX_KEY_PEM_BYTES as u64;

/// A trust bundle.
pub(crate) const MAX_BUNDLE_BYTES: u64 = ::identity::limits::MAX_BUNDLE_BYTES as u64;

/// A join token in text form, with white space around it.
pub(crate) const MAX_TOKEN_BYTES: u64 = ::identity::limits::MAX_JOIN_TOKEN_BYTES as u64 + 16;

/// `authority.json`: a URL and a SPIFFE ID, 2 KiB each.
pub(crate) const MAX_AUTHORITY_FILE_BYTES: u64 = 8 * 1024;

/// An answer of the identity authority: a chain and a bundle.
pub(crate) const MAX_IDENTITY_ANSWER_BYTES: u64 =
    ::identity::limits::MAX_WIRE_RESPONSE_BYTES as u64;

/// An answer of an unsealing authority.
pub(crate) const MAX_EVALUATE_ANSWER_BYTES: u64 = blindfold_core::limits::MAX_RESPONSE_BYTES as u64;

/// One attempt from connecting to the last byte of the answer; 256 elements take the slowest backend 0.3 s.
pub(crate) const ATTEMPT_TIMEOUT: Duration = ::identity::limits::ATTEMPT_TIMEOUT;

/// All attempts of one call of `open` together, unless configured.
pub(crate) const OPEN_DEADLINE: Duration = Duration::from_secs(30);

/// Attempts at one authority in one call, whatever the deadline.
pub(crate) const MAX_ATTEMPTS: u32 = 6;

/// First pause between attempts; it doubles.
pub(crate) const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// Longest pause between attempts.
pub(crate) const BACKOFF_LONGEST: Duration = Duration::from_secs(5);

/// After this silence of a threshold's authority the next one is asked too: far above a healthy
/// round trip, far below a person's patience.
pub(crate) const HEDGE_AFTER: Duration = Duration::from_millis(700);

/// An authority that failed is tried again beside healthy ones after this pause, which doubles with every vain try:
/// a restart takes a few seconds.
pub(crate) const RETRY_FIRST: Duration = Duration::from_secs(5);

/// Longest such pause: a repaired authority takes part again within minutes.
pub(crate) const RETRY_LONGEST: Duration = Duration::from_secs(300);

/// Doublings that are counted: more change nothing, and few answers make up for them.
pub(crate) const MOST_STRIKES: u32 = 8;

/// An authority that answered with a wrong proof is tried again after this pause, which doubles with every lie:
/// no fault of a network looks like this, so somebody has to look first.
pub(crate) const LIED_FIRST: Duration = Duration::from_secs(600);

/// Longest such pause.
pub(crate) const LIED_LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Requests to one authority at a time from one call: keeps its per-caller quota from filling at once.
pub(crate) const PARALLEL_REQUESTS: usize = 4;

/// Bundles are refreshed no oftener than this, whatever their hint says.
pub(crate) const SHORTEST_BUNDLE_REFRESH: Duration = Duration::from_secs(1);

/// Bundles are refreshed at least this often, whatever their hint says.
pub(crate) const LONGEST_BUNDLE_REFRESH: Duration = Duration::from_secs(300);

/// Longest time the authority is asked to hold a question; shorter for bundles with a shorter refresh hint, since an
/// answer confirms the bundle as of the question.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(::identity::limits::MAX_WAIT_SECONDS);

/// Greatest pause after a new bundle, or a question that broke, in which a fleet spreads out.
pub(crate) const BUNDLE_PAUSE: Duration = Duration::from_millis(500);

/// Doublings of the pause between questions that an authority has no room to hold: ten thousand at a hint of five seconds
/// are then five hundred in a second, and a bundle is still confirmed within five refresh intervals.
pub(crate) const BUNDLE_PAUSE_DOUBLINGS: u32 = 2;

/// Bound of the random pause after the first failed renewal; it doubles.
pub(crate) const RENEWAL_BACKOFF_FIRST: Duration = Duration::from_secs(1);

/// Greatest such bound: on average two tries a minute, sixty in the second half of an hour.
pub(crate) const RENEWAL_BACKOFF_LONGEST: Duration = Duration::from_secs(60);

/// The same after a refusal, which only people change: what they did shows within minutes.
pub(crate) const REFUSED_BACKOFF_LONGEST: Duration = Duration::from_secs(300);

/// Least pause between two tries, whatever the dice say.
pub(crate) const RENEWAL_BACKOFF_LEAST: Duration = Duration::from_millis(100);

/// Those whom an overloaded authority asked to wait come back over at least this time: ten thousand of them are then a
/// thousand in a second.
pub(crate) const OVERLOAD_SPREAD: Duration = Duration::from_secs(10);

/// What an authority may ask to wait: a document of an hour has half of that left when its renewal is due.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// How often clocks, evidence and directory are looked at: newer evidence leads to a document within a second. A look
/// costs some system calls.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How often missing evidence is looked for while somebody waits for an identity.
pub(crate) const EVIDENCE_POLL: Duration = Duration::from_millis(50);

/// The machine slept if a clock that goes on meanwhile is this much ahead of one that does not.
pub(crate) const SLEEP_WORTH_NOTICING: Duration = Duration::from_secs(10);

/// The time of day and the other clock part by this much within one look: it was set. Daemons that slew do less.
pub(crate) const CLOCK_STEP_WORTH_NOTICING: Duration = Duration::from_secs(2);

/// Seconds by which this machine's clock and the authority's differ before it is told: well beyond what a synchronised
/// machine, whole seconds and a slow network make.
pub(crate) const CLOCK_SKEW_WORTH_TELLING: u64 = 10;

/// A voucher's token: attributes at their greatest in base64 twice over, and a signature.
pub(crate) const MAX_VOUCHER_TOKEN_BYTES: u64 = 32 * 1024;

/// What a voucher is asked for: a hash and a word.
pub(crate) const MAX_VOUCHER_REQUEST_BYTES: u64 = 1024;

/// An answer to a challenge request: a nonce, a sealed state and a TPM's blobs.
pub(crate) const MAX_CHALLENGE_ANSWER_BYTES: u64 = 32 * 1024;

/// A chain of another CA, or its key, in PEM: four certificates at their greatest in base64.
pub(crate) const MAX_FOREIGN_PEM_BYTES: u64 = 96 * 1024;

/// A session token of the metadata service of AWS; those there are have 56 bytes.
pub(crate) const MAX_METADATA_TOKEN_BYTES: u64 = 4 * 1024;

/// Waiting for another process that joins or renews in the same directory: longer than all its attempts.
pub(crate) const DIRECTORY_LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// Tries to redeem a join token within one call; the same CSR key may repeat for 60 s.
pub(crate) const JOIN_ATTEMPTS: u32 = 4;

/// Waiting for the directory's lock with a refreshed bundle, which is in force already and is stored at the next
/// refresh otherwise: a store takes milliseconds.
pub(crate) const BUNDLE_LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// A temporary file this old belongs to no running writer: a write takes seconds.
pub(crate) const LEFTOVER_AGE: Duration = Duration::from_secs(3600);

/// A configuration file with sealed values: some 5,000 of them sealed to one authority, 1,000 to three.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 4 * 1024 * 1024;

/// Nesting of a configuration file: ten times what people write, far from the end of any stack.
pub(crate) const MAX_DOCUMENT_DEPTH: usize = 64;

/// Values of a configuration file, scalars and collections together: as many as fit in its bytes at 100 each.
pub(crate) const MAX_DOCUMENT_VALUES: usize = 40_000;

/// A key path as text: a label of 1,024 bytes holds it with its kind.
pub(crate) const MAX_KEY_PATH_BYTES: usize = 1_000;
