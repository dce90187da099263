//! What is due for the issuing CAs: decided from rows and time, so that every replica decides the same.

use std::collections::HashMap;

use identity::limits::{MAX_CLOCK_SKEW_SECONDS, MIN_DOCUMENT_LIFETIMES_PER_ISSUER};
use identity::wire::IssuerState;

use crate::tables::IssuerRow;

/// Lengths of time that the life of an issuing CA follows, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// How long a next issuing CA is in the bundle before it signs: by then every verifier has read it.
    pub(super) horizon: u64,
    /// Greatest lifetime of a document, the back-dating included.
    pub(super) longest_document: u64,
    /// How long a replica that does not reach the store may go on signing.
    pub(super) unreachable: u64,
}

impl Timing {
    /// When the next one is to sign: documents signed later might outlast a sixth of what is left.
    pub(super) fn replace_at(&self, active: &IssuerRow) -> u64 {
        let margin = self
            .longest_document
            .saturating_mul(MIN_DOCUMENT_LIFETIMES_PER_ISSUER);
        active.not_after.saturating_sub(margin)
    }

    /// When the next one is to be in the bundle.
    pub(super) fn prepare_at(&self, active: &IssuerRow) -> u64 {
        self.replace_at(active).saturating_sub(self.horizon)
    }

    /// When a root elsewhere is asked for the next one: with a third of the life left, for people take their time.
    pub(super) fn request_at(&self, active: &IssuerRow) -> u64 {
        let life = active.not_after.saturating_sub(active.not_before);
        let third = active.not_after.saturating_sub(life / 3);
        third.min(self.prepare_at(active))
    }

    /// When the last document ends that an issuing CA signs until `now`, on this replica or another.
    pub(super) fn last_document(&self, issuer: &IssuerRow, now: u64, known: u64) -> u64 {
        now.saturating_add(self.unreachable)
            .saturating_add(self.longest_document)
            .max(known)
            .min(issuer.not_after)
    }
}

/// One thing to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Due {
    /// Nothing that it signed is valid any more.
    Forget(IssuerState, [u8; 32]),
    /// The prepared one signs from now on.
    Activate([u8; 32]),
    /// A next one is made, by the root that is here.
    Prepare,
    /// One is made that signs at once: nobody else does.
    Replace,
}

/// The next thing to do at `now`; `seen` says since when this replica has known each prepared one.
pub(super) fn due(
    issuers: &[IssuerRow],
    seen: &HashMap<[u8; 32], u64>,
    root_here: bool,
    timing: &Timing,
    now: u64,
) -> Option<Due> {
    if let Some(ended) = issuers.iter().find(|issuer| has_ended(issuer, now)) {
        return Some(Due::Forget(ended.state, ended.fingerprint));
    }
    let prepared = in_state(issuers, IssuerState::Prepared);
    let Some(active) = in_state(issuers, IssuerState::Active) else {
        return match prepared {
            Some(prepared) => Some(Due::Activate(prepared.fingerprint)),
            None => root_here.then_some(Due::Replace),
        };
    };
    match prepared {
        Some(prepared) => {
            let known = seen.get(&prepared.fingerprint).copied().unwrap_or(now);
            let waited = now >= known.saturating_add(timing.horizon);
            // Rather early than with documents that end before they should.
            let urgent = now.saturating_add(timing.longest_document) > active.not_after;
            (waited || urgent).then_some(Due::Activate(prepared.fingerprint))
        }
        None => (root_here && now >= timing.prepare_at(active)).then_some(Due::Prepare),
    }
}

/// The issuing CA in a state that only one has.
pub(super) fn in_state(issuers: &[IssuerRow], state: IssuerState) -> Option<&IssuerRow> {
    issuers.iter().find(|issuer| issuer.state == state)
}

fn has_ended(issuer: &IssuerRow, now: u64) -> bool {
    let end = match issuer.state {
        IssuerState::Retiring => issuer.last_document_not_after,
        IssuerState::Prepared | IssuerState::Revoked => issuer.not_after,
        _ => return false,
    };
    // By the clock of the verifier that is most behind.
    now > end.saturating_add(MAX_CLOCK_SKEW_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 86_400;
    const TIMING: Timing = Timing {
        horizon: 60,
        longest_document: 3_600,
        unreachable: 30,
    };

    fn row(number: u8, state: IssuerState, not_after: u64) -> IssuerRow {
        IssuerRow {
            fingerprint: [number; 32],
            state,
            chain: String::new(),
            key_wrapped: Vec::new(),
            not_before: NOW - DAY,
            not_after,
            last_document_not_after: not_after,
        }
    }

    fn at(issuers: &[IssuerRow], seen: &[(u8, u64)], root_here: bool, now: u64) -> Option<Due> {
        let seen = seen.iter().map(|(n, at)| ([*n; 32], *at)).collect();
        due(issuers, &seen, root_here, &TIMING, now)
    }

    #[test]
    fn next_one_is_in_the_bundle_before_it_signs() {
        let end = NOW + 30 * DAY;
        let active = row(1, IssuerState::Active, end);
        let replace = TIMING.replace_at(&active);
        assert_eq!(replace, end - 6 * 3_600);
        let prepare = TIMING.prepare_at(&active);
        assert_eq!(prepare, replace - 60);
        let alone = [active.clone()];
        assert_eq!(at(&alone, &[], true, NOW), None);
        assert_eq!(at(&alone, &[], true, prepare - 1), None);
        assert_eq!(at(&alone, &[], true, prepare), Some(Due::Prepare));
        // A root elsewhere is only asked.
        assert_eq!(at(&alone, &[], false, prepare), None);
        let both = [row(2, IssuerState::Prepared, end + DAY), active];
        assert_eq!(at(&both, &[(2, prepare)], true, prepare + 59), None);
        let due = at(&both, &[(2, prepare)], true, prepare + 60);
        assert_eq!(due, Some(Due::Activate([2; 32])));
        // A replica that has just begun waits anew, unless documents would be cut short.
        assert_eq!(at(&both, &[], true, prepare + 60), None);
        let due = at(&both, &[], true, end - 3_599);
        assert_eq!(due, Some(Due::Activate([2; 32])));
    }

    #[test]
    fn somebody_signs_whenever_somebody_can() {
        let prepared = row(2, IssuerState::Prepared, NOW + DAY);
        let revoked = row(1, IssuerState::Revoked, NOW + DAY);
        assert_eq!(at(&[], &[], true, NOW), Some(Due::Replace));
        assert_eq!(at(&[], &[], false, NOW), None);
        assert_eq!(
            at(std::slice::from_ref(&revoked), &[], true, NOW),
            Some(Due::Replace)
        );
        assert_eq!(
            at(&[prepared, revoked], &[], false, NOW),
            Some(Due::Activate([2; 32]))
        );
    }

    #[test]
    fn retiring_one_leaves_when_its_last_document_has_ended_everywhere() {
        let active = row(1, IssuerState::Active, NOW + 30 * DAY);
        let mut retiring = row(2, IssuerState::Retiring, NOW + DAY);
        retiring.last_document_not_after = NOW + 100;
        let both = [active, retiring];
        let last = NOW + 100 + MAX_CLOCK_SKEW_SECONDS;
        assert_eq!(at(&both, &[], true, last), None);
        let gone = Some(Due::Forget(IssuerState::Retiring, [2; 32]));
        assert_eq!(at(&both, &[], true, last + 1), gone);
    }

    #[test]
    fn revoked_one_is_known_to_its_end() {
        let both = [
            row(1, IssuerState::Active, NOW + 30 * DAY),
            row(2, IssuerState::Revoked, NOW + DAY),
        ];
        let last = NOW + DAY + MAX_CLOCK_SKEW_SECONDS;
        assert_eq!(at(&both, &[], true, last), None);
        let gone = Some(Due::Forget(IssuerState::Revoked, [2; 32]));
        assert_eq!(at(&both, &[], true, last + 1), gone);
    }

    #[test]
    fn last_document_counts_replicas_that_are_cut_off() {
        let issuer = row(1, IssuerState::Active, NOW + DAY);
        assert_eq!(TIMING.last_document(&issuer, NOW, 0), NOW + 3_630);
        // One that was signed when lifetimes were longer.
        assert_eq!(TIMING.last_document(&issuer, NOW, NOW + 9_000), NOW + 9_000);
        assert_eq!(TIMING.last_document(&issuer, NOW, NOW + 2 * DAY), NOW + DAY);
    }

    #[test]
    fn root_elsewhere_is_asked_with_a_third_left() {
        let issuer = row(1, IssuerState::Active, NOW + 89 * DAY);
        assert_eq!(TIMING.request_at(&issuer), NOW + 59 * DAY);
        // Of a short life, before the margin at the latest.
        let mut short = row(1, IssuerState::Active, NOW + DAY / 2);
        short.not_before = NOW;
        assert_eq!(TIMING.request_at(&short), TIMING.prepare_at(&short));
    }
}
