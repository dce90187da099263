//! Who may be at the other end of a connection.

use std::fmt;
use std::sync::Arc;

use crate::policy::{Answer, Facts, Pattern, PatternError, Policy, Query, Selector};
use crate::principal::Principal;
use crate::spiffe_id::{SpiffeId, TrustDomain};
use crate::tls::{AcceptedDomains, ForeignAttributes, ServerExpectation};
use crate::verify::VerifyError;

/// Who may be at the other end of a connection, as a client's or as a server's expectation.
///
/// It begins with SPIFFE IDs, one of which the peer must have; every requirement that is added must hold as well.
/// There is none that admits everybody: whoever admits a whole trust domain writes it out. A host name plays no part.
///
/// ```
/// use std::sync::Arc;
///
/// use identity::mtls::Authorizer;
/// use identity::policy::Policy;
/// use identity::{SpiffeId, TrustDomain};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A client expects one server.
/// let server = Authorizer::from(SpiffeId::parse("spiffe://acme.example/paris/db")?);
/// // A server admits a site's production workloads, as far as a policy allows.
/// let policy = Policy::from_yaml("{v: 1, rules: [{effect: allow, actions: connect}]}")?;
/// let clients = Authorizer::within(SpiffeId::parse("spiffe://acme.example/paris")?)
///     .with_attributes("environment=production".parse()?)
///     .with_policy(Arc::new(policy), "connect", "db/orders");
/// let everybody = Authorizer::trust_domain(TrustDomain::parse("acme.example")?);
/// # let _ = (server, clients, everybody);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Authorizer {
    who: Who,
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug)]
enum Who {
    Exactly(Box<[SpiffeId]>),
    TrustDomain(TrustDomain),
    Within(SpiffeId),
    Matching(Pattern),
}

#[derive(Clone)]
enum Requirement {
    Attributes(Selector),
    Policy {
        policy: Arc<Policy>,
        action: Box<str>,
        resource: Box<str>,
    },
    Own(Arc<dyn Fn(&Principal) -> bool + Send + Sync>),
}

impl Authorizer {
    /// Exactly this SPIFFE ID.
    #[must_use]
    pub fn exactly(spiffe_id: SpiffeId) -> Self {
        Self::any_of([spiffe_id])
    }

    /// One of these SPIFFE IDs; none of them is nobody.
    #[must_use]
    pub fn any_of(spiffe_ids: impl IntoIterator<Item = SpiffeId>) -> Self {
        Self::begin(Who::Exactly(spiffe_ids.into_iter().collect()))
    }

    /// Every member of this trust domain.
    #[must_use]
    pub fn trust_domain(trust_domain: TrustDomain) -> Self {
        Self::begin(Who::TrustDomain(trust_domain))
    }

    /// This SPIFFE ID and all below it, by whole path segments.
    #[must_use]
    pub fn within(prefix: SpiffeId) -> Self {
        Self::begin(Who::Within(prefix))
    }

    /// Every SPIFFE ID that a policy's pattern matches, such as `spiffe://acme.example/*/ns/payments/**`.
    ///
    /// # Errors
    ///
    /// [`PatternError`]: not a pattern of SPIFFE IDs.
    pub fn matching(pattern: &str) -> Result<Self, PatternError> {
        Pattern::spiffe_id(pattern).map(|pattern| Self::begin(Who::Matching(pattern)))
    }

    fn begin(who: Who) -> Self {
        Self {
            who,
            requirements: Vec::new(),
        }
    }

    /// And with such attributes; one that needs an absent attribute does not hold.
    #[must_use]
    pub fn with_attributes(self, selector: Selector) -> Self {
        self.and(Requirement::Attributes(selector))
    }

    /// And if `policy` allows it `action` on `resource`, which stands in the policy's rules as any other.
    #[must_use]
    pub fn with_policy(self, policy: Arc<Policy>, action: &str, resource: &str) -> Self {
        self.and(Requirement::Policy {
            policy,
            action: action.into(),
            resource: resource.into(),
        })
    }

    /// And if `check` says yes; it is asked in every handshake and often during a connection, so it must be quick.
    #[must_use]
    pub fn with_check(self, check: impl Fn(&Principal) -> bool + Send + Sync + 'static) -> Self {
        self.and(Requirement::Own(Arc::new(check)))
    }

    fn and(mut self, requirement: Requirement) -> Self {
        self.requirements.push(requirement);
        self
    }

    /// The trust domains that it names, those of peers that it can admit; a pattern names only the own one. Attributes
    /// of foreign ones are ignored.
    #[must_use]
    pub fn accepted_domains(&self) -> AcceptedDomains {
        match &self.who {
            Who::Exactly(ids) => ids.iter().fold(AcceptedDomains::own(), |accepted, id| {
                accepted.and(id.trust_domain().clone(), ForeignAttributes::Ignored)
            }),
            Who::TrustDomain(domain) => {
                AcceptedDomains::own().and(domain.clone(), ForeignAttributes::Ignored)
            }
            Who::Within(prefix) => AcceptedDomains::of(prefix),
            Who::Matching(_) => AcceptedDomains::own(),
        }
    }

    /// Whether this principal may be there at `now` (Unix seconds).
    ///
    /// # Errors
    ///
    /// - [`VerifyError::UnexpectedServer`]: another than the one SPIFFE ID that was expected.
    /// - [`VerifyError::Unauthorized`]: another requirement does not hold.
    pub fn check(&self, principal: &Principal, now: u64) -> Result<(), VerifyError> {
        let found = principal.spiffe_id();
        let refuse = |why| {
            let found = found.clone();
            Err(VerifyError::Unauthorized { found, why })
        };
        match &self.who {
            Who::Exactly(ids) if ids.contains(found) => {}
            Who::Exactly(ids) => {
                let [expected] = &**ids else {
                    return refuse("its SPIFFE ID is none of those expected");
                };
                return Err(VerifyError::UnexpectedServer {
                    expected: expected.clone(),
                    found: found.clone(),
                });
            }
            Who::TrustDomain(domain) if found.trust_domain() == domain => {}
            Who::TrustDomain(_) => return refuse("it is of another trust domain"),
            Who::Within(prefix) if found.is_within(prefix) => {}
            Who::Within(_) => return refuse("its SPIFFE ID is not below the one expected"),
            Who::Matching(pattern) if pattern.matches(found.as_str()) => {}
            Who::Matching(_) => return refuse("its SPIFFE ID does not match the pattern"),
        }
        for requirement in &self.requirements {
            if !requirement.holds(principal, now) {
                return refuse(requirement.why_not());
            }
        }
        Ok(())
    }
}

impl Requirement {
    fn holds(&self, principal: &Principal, now: u64) -> bool {
        match self {
            // An answer that needs an absent fact is no yes.
            Self::Attributes(selector) => selector.answer(principal.attributes()) == Answer::Yes,
            Self::Policy {
                policy,
                action,
                resource,
            } => {
                let query = Query {
                    facts: Facts::from(principal),
                    action,
                    resource,
                    now,
                };
                policy.decide(&query).is_allow()
            }
            Self::Own(check) => check(principal),
        }
    }

    fn why_not(&self) -> &'static str {
        match self {
            Self::Attributes(_) => "its attributes are not those required",
            Self::Policy { .. } => "the policy denies it",
            Self::Own(_) => "the program's own check denies it",
        }
    }
}

impl From<SpiffeId> for Authorizer {
    fn from(spiffe_id: SpiffeId) -> Self {
        Self::exactly(spiffe_id)
    }
}

impl From<ServerExpectation> for Authorizer {
    fn from(server: ServerExpectation) -> Self {
        Self::exactly(server.spiffe_id)
    }
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorizer")
            .field("who", &self.who)
            .field("requirements", &self.requirements)
            .finish()
    }
}

impl fmt::Debug for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attributes(selector) => write!(f, "attributes({selector})"),
            Self::Policy {
                action, resource, ..
            } => write!(f, "policy({action:?}, {resource:?})"),
            Self::Own(_) => f.write_str("check(..)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, Realm, attributes, id};
    use crate::verify::{Usage, verify_peer};

    fn principal(name: &str) -> Principal {
        let realm = Realm::acme();
        let mut request = realm.request();
        request.spiffe_id = id(name);
        request.attributes = attributes();
        let document = realm.document(&request, 1);
        verify_peer(document.chain(), &realm.bundle, Usage::Client, NOW).unwrap()
    }

    #[test]
    fn each_kind_admits_whom_it_names_and_nobody_else() {
        let domain = |name| Authorizer::trust_domain(TrustDomain::parse(name).unwrap());
        let paris = || Authorizer::within(id("spiffe://acme.example/paris"));
        let selector = |text: &str| paris().with_attributes(text.parse().unwrap());
        let policy = |text: &str| {
            let policy = Arc::new(Policy::from_yaml(text).unwrap());
            paris().with_policy(policy, "connect", "db")
        };
        let api = principal("spiffe://acme.example/paris/api");
        for (authorizer, admitted) in [
            (
                Authorizer::from(id("spiffe://acme.example/paris/api")),
                true,
            ),
            (
                Authorizer::from(id("spiffe://acme.example/paris/ap")),
                false,
            ),
            (Authorizer::from(id("spiffe://acme.example/paris")), false),
            (
                Authorizer::any_of([
                    id("spiffe://acme.example/paris/db"),
                    id("spiffe://acme.example/paris/api"),
                ]),
                true,
            ),
            (Authorizer::any_of([]), false),
            (domain("acme.example"), true),
            (domain("acme2.example"), false),
            (paris(), true),
            (Authorizer::within(id("spiffe://acme.example/pari")), false),
            (
                Authorizer::within(id("spiffe://other.example/paris")),
                false,
            ),
            (
                Authorizer::matching("spiffe://acme.example/*/api").unwrap(),
                true,
            ),
            (
                Authorizer::matching("spiffe://acme.example/*/db").unwrap(),
                false,
            ),
            (selector("environment=production"), true),
            (selector("environment=test"), false),
            (selector("tier=gold"), false),
            // Binary: the fact is absent.
            (selector("measurement=x"), false),
            (
                policy("{v: 1, rules: [{effect: allow, actions: connect, resource: db}]}"),
                true,
            ),
            (
                policy("{v: 1, rules: [{effect: allow, actions: open}]}"),
                false,
            ),
            (policy("{v: 1, rules: []}"), false),
            (paris().with_check(|_| true).with_check(|_| false), false),
            (paris().with_check(|peer| peer.not_before() < NOW), true),
        ] {
            let outcome = authorizer.check(&api, NOW);
            assert_eq!(outcome.is_ok(), admitted, "{authorizer:?}: {outcome:?}");
        }
    }

    #[test]
    fn policies_are_asked_at_the_time_given() {
        let policy = "{v: 1, rules: [{effect: allow, when: {not_after: 2026-01-01T00:00:00Z}}]}";
        let policy = Arc::new(Policy::from_yaml(policy).unwrap());
        let authorizer =
            Authorizer::within(id("spiffe://acme.example")).with_policy(policy, "connect", "db");
        let api = principal("spiffe://acme.example/paris/api");
        assert_eq!(authorizer.check(&api, NOW), Ok(()));
        let refused = VerifyError::Unauthorized {
            found: api.spiffe_id().clone(),
            why: "the policy denies it",
        };
        assert_eq!(authorizer.check(&api, NOW + 1), Err(refused));
    }
}
