//! Every bound of this crate, each with the reason for its size.
//!
//! Nothing that comes from outside is copied, decoded or looked up before it was held against one of these.

use std::time::Duration;

/// Greatest length of a SPIFFE ID in bytes (SPIFFE-ID, section 2.3).
pub const MAX_SPIFFE_ID_BYTES: usize = 2048;

/// Greatest length of a trust domain in bytes (SPIFFE-ID, section 2.1: the host of RFC 3986).
pub const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// Greatest length of a site name in bytes; as a DNS label, so that clusters can be named after their site.
pub const MAX_SITE_NAME_BYTES: usize = 63;

/// Greatest number of attributes in one document (architecture, "Identity").
pub const MAX_ATTRIBUTES: usize = 64;

/// Greatest length of the DER of all attributes together (architecture, "Identity").
pub const MAX_ATTRIBUTES_DER_BYTES: usize = 8 * 1024;

/// Greatest length of an attribute key: a Kubernetes label key, 253 of prefix, a slash and 63 of name.
pub const MAX_ATTRIBUTE_KEY_BYTES: usize = 317;

/// Greatest length of one certificate: attributes and SPIFFE ID at their greatest, and 4 KiB for all else.
pub const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

/// Greatest number of certificates in a chain, leaf included: leaf, issuing CA, and room for a cross-signed one
/// while a root is replaced.
pub const MAX_CHAIN_CERTIFICATES: usize = 4;

/// Greatest length of a PEM text holding a chain: base64 of the greatest chain, its line ends and labels.
pub const MAX_CHAIN_PEM_BYTES: usize = 96 * 1024;

/// Greatest length of a PEM text holding one private key; a P-384 key takes about 300 bytes.
pub const MAX_KEY_PEM_BYTES: usize = 4 * 1024;

/// Greatest length of a certificate signing request; a P-384 request with generous requested names is under 2 KiB.
pub const MAX_CSR_BYTES: usize = 8 * 1024;

/// Greatest length of a PEM text holding one certificate signing request: base64 of the longest, its line ends and labels.
pub const MAX_CSR_PEM_BYTES: usize = 12 * 1024;

/// Greatest number of trust anchors in a bundle: two roots overlap during a rotation; the bundle of another trust
/// domain may hold all its issuing CAs.
pub const MAX_TRUST_ANCHORS: usize = MAX_ISSUERS;

/// Greatest number of keys looked at in another trust domain's bundle, those for other uses included.
pub const MAX_FOREIGN_KEYS: usize = 256;

/// Greatest number of trust domains that one is federated with.
pub const MAX_FEDERATIONS: usize = 64;

/// Greatest length of the bundle document of another trust domain; the usual ones have 4 KiB.
pub const MAX_FOREIGN_BUNDLE_BYTES: usize = 64 * 1024;

/// Greatest length of the bundles of all federated trust domains together, as our JSON: 64 of the greatest, with as much
/// again for what our form says more.
pub const MAX_FEDERATED_BYTES: usize = 2 * MAX_FEDERATIONS * MAX_FOREIGN_BUNDLE_BYTES;

/// Greatest number of disabled sites in a bundle.
pub const MAX_DISABLED_SITES: usize = 4096;

/// Greatest number of issuing CAs whose documents a bundle allows: a few overlap at each rotation; room for many
/// rotations within the longest life of a document, a week.
pub const MAX_ISSUERS: usize = 32;

/// Greatest number of revoked instances in a bundle: each stays only until its last document has ended, and each
/// reader holds all of them.
pub const MAX_REVOKED_INSTANCES: usize = 8192;

/// Greatest length of an instance that can be revoked; those that the authority draws have 32 hex digits.
pub const MAX_INSTANCE_BYTES: usize = 64;

/// Greatest length of a bundle's JSON: 4,096 disabled sites and 8,192 revoked instances at their greatest length, the
/// issuers, and 32 anchors of 16 KiB in base64.
pub const MAX_BUNDLE_BYTES: usize = 2 * 1024 * 1024;

/// Greatest refresh hint of a bundle, a day; a longer one would make switching a site off meaningless.
pub const MAX_REFRESH_HINT_SECONDS: u64 = 24 * 60 * 60;

/// Refresh hint of a new bundle: a disabled site is refused within seconds.
pub const DEFAULT_REFRESH_HINT_SECONDS: u64 = 5;

/// Greatest difference between two clocks at which everything still works, five minutes as in Kerberos (RFC 4120,
/// section 5.2.3): beyond it whoever measures says so.
pub const MAX_CLOCK_SKEW_SECONDS: u64 = 300;

/// How far the start of a new certificate lies in the past, for verifiers whose clock is behind.
pub const BACKDATE_SECONDS: u64 = MAX_CLOCK_SKEW_SECONDS;

/// Lifetime of an identity document unless asked otherwise (architecture, "Identity").
pub const DEFAULT_DOCUMENT_LIFETIME_SECONDS: u64 = 60 * 60;

/// Greatest lifetime of an identity document, the back-dating included: a week, for a laptop that travels.
pub const MAX_DOCUMENT_LIFETIME_SECONDS: u64 = 7 * 24 * 60 * 60;

/// An issuing CA lives at least this many lifetimes of each document it signs, or renewals run into its end.
pub const MIN_DOCUMENT_LIFETIMES_PER_ISSUER: u64 = 6;

/// Lifetime of a new issuing CA, 90 days: long against documents, short enough that its replacement is practised.
pub const DEFAULT_ISSUER_LIFETIME_SECONDS: u64 = 90 * 24 * 60 * 60;

/// Lifetime of a new root, ten years of 365 days.
pub const DEFAULT_ROOT_LIFETIME_SECONDS: u64 = 10 * 365 * 24 * 60 * 60;

/// Length of a certificate's serial number, the greatest of RFC 5280, section 4.1.2.2.
pub const SERIAL_BYTES: usize = 20;

/// Greatest length of a join token's text: the longest URL and SPIFFE ID in base64, and the fixed fields.
pub const MAX_JOIN_TOKEN_BYTES: usize = 4 * 1024;

/// Greatest length of the authority's URL in a join token.
pub const MAX_AUTHORITY_URL_BYTES: usize = 512;

/// How long the key that redeemed a join token may repeat the redemption, for answers lost on the way.
pub const REDEMPTION_REPEAT_SECONDS: u64 = 60;

/// Greatest lifetime of a join token, 30 days: a token shipped with a machine that is installed later.
pub const MAX_JOIN_TOKEN_LIFETIME_SECONDS: u64 = 30 * 24 * 60 * 60;

/// Greatest length of a JSON request body of the identity authority's API.
pub const MAX_WIRE_REQUEST_BYTES: usize = 64 * 1024;

/// Greatest length of a JSON answer of the identity authority's API: a bundle, a chain and their escapes.
pub const MAX_WIRE_RESPONSE_BYTES: usize = MAX_BUNDLE_BYTES + 2 * MAX_CHAIN_PEM_BYTES;

/// Greatest length of a human-readable message in an error answer.
pub const MAX_WIRE_MESSAGE_BYTES: usize = 1024;

/// Number of verified chains a TLS identity remembers; one costs about 2 KiB.
pub const MAX_VERIFIED_CHAINS: usize = 1024;

/// Longest time a server is asked to hold a question until its answer changes; shorter than the 30 seconds that a
/// daemon's listener gives each request.
pub const MAX_WAIT_SECONDS: u64 = 25;

/// Greatest length of a validator that is remembered.
#[cfg(feature = "http")]
pub const MAX_ETAG_BYTES: usize = 512;

/// An answer over HTTP to an administration call: listings of thousands of sites or keys.
#[cfg(feature = "http")]
pub const MAX_JSON_ANSWER_BYTES: u64 = 16 * 1024 * 1024;

/// What of an error body is shown to a person, in characters.
#[cfg(feature = "http")]
pub const MAX_SHOWN_CHARACTERS: usize = 300;

/// Response headers; the daemons send some ten lines.
#[cfg(feature = "http")]
pub const MAX_HEADER_BYTES: usize = 16 * 1024;

/// DNS, TCP and TLS together: more than two retransmitted SYNs.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// One attempt from connecting to the last byte of the answer; 256 elements take the slowest backend 0.3 s.
#[cfg(feature = "http")]
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Kept connections per server.
#[cfg(any(feature = "http", feature = "hyper", feature = "reqwest"))]
pub const IDLE_CONNECTIONS: usize = 8;

/// A kept connection is closed after this rest; common server idle timeouts start at 60 s.
#[cfg(any(feature = "http", feature = "hyper", feature = "reqwest"))]
pub const IDLE_CONNECTION_AGE: Duration = Duration::from_secs(50);

/// Path of a Unix socket: `sun_path` of Linux less its end, unix(7).
#[cfg(feature = "http")]
pub const MAX_UNIX_SOCKET_PATH_BYTES: usize = 107;

/// A handshake of [`mtls`](crate::mtls), from the first byte to the last: a slow phone network's few round trips.
pub const MTLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Unfinished handshakes per listener. A flood must bring as many connections within the milliseconds of an honest
/// handshake to push that one out; each holds up to 20 KiB.
pub const MAX_HANDSHAKES: usize = 256;

/// How long a connection goes on after the own document was replaced: more than most requests take.
pub const REPLACED_GRACE: Duration = Duration::from_secs(10);

/// How long before the first document's end a connection takes nothing new, or a quarter of its life if that is less.
pub const CLOSING_MARGIN: Duration = Duration::from_secs(10);

/// How often a connection looks at the clock: a host that slept past a document's end notices after that long at most.
pub const LIFETIME_POLL: Duration = Duration::from_secs(5);

/// How often a blocking read looks whether its connection may go on; four system calls a second cost nothing.
pub const BLOCKING_POLL: Duration = Duration::from_millis(250);

/// Connections that one HTTP server of [`mtls`](crate::mtls) has at a time; one takes some 50 KiB.
#[cfg(feature = "axum")]
pub const MAX_HTTP_CONNECTIONS: usize = 4096;

/// Requests under way on one HTTP/2 connection; hyper's own default is 200.
#[cfg(feature = "axum")]
pub const MAX_HTTP2_STREAMS: u32 = 128;

/// The head of a request, from the connection's being idle to its last byte; common servers take 30 to 60 seconds.
#[cfg(feature = "axum")]
pub const HTTP_HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// An HTTP/2 connection on which nothing happens is asked whether it lives, and ended after a while without an answer.
#[cfg(feature = "axum")]
pub const HTTP2_PING: Duration = Duration::from_secs(30);

/// How often one request meets a server that is just going away, before that is an error: twice in a row is rare.
#[cfg(feature = "hyper")]
pub const GOAWAY_ATTEMPTS: u32 = 5;

/// One exchange of a `reqwest` client, to the last byte; set another one where answers are long.
#[cfg(feature = "reqwest")]
pub const REQWEST_TIMEOUT: Duration = Duration::from_secs(30);
