use std::net::Ipv4Addr;

use super::*;

#[test]
fn sources_are_counted_by_address_and_by_network() {
    let name = |address: &str| Asker::Address(address.parse().unwrap()).name();
    assert_eq!(name("192.0.2.7"), "192.0.2.7");
    assert_eq!(name("::ffff:192.0.2.7"), "192.0.2.7");
    assert_eq!(name("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
    assert_eq!(name("2001:db8:1:2::1"), name("2001:db8:1:2:ffff::1"));
}

#[test]
fn attempts_follow_the_sites_rate() {
    let now = Instant::now();
    let table = attempts(now);
    for (name, per_minute) in [("a", 1), ("b", 6_000), ("c", 12_000)] {
        let attempts = attempts_per_minute(per_minute);
        assert!(attempts >= per_minute && attempts >= limits::LEAST_ATTEMPTS_PER_MINUTE);
        let units = (ATTEMPT_UNITS / attempts).max(1);
        // Units are whole: a little more than the rate gets through, never less.
        let most = attempts + attempts / 100 + 1;
        let taken = (0..=most).take_while(|_| table.take(name, units, now).is_ok());
        let taken = u32::try_from(taken.count()).unwrap();
        assert!((attempts..=most).contains(&taken), "{name}: {taken}");
    }
}

#[test]
fn digest_of_a_claim_leaves_the_instance_out_and_nothing_else() {
    let id = |text: &str| SpiffeId::parse(text).unwrap();
    let api = id("spiffe://acme.example/paris/api");
    let mut attributes = Attributes::new();
    attributes.insert("tier", "gold").unwrap();
    let digest = claim_digest(&api, &attributes);
    let mut with_instance = attributes.clone();
    with_instance
        .set_new_instance(&mut random::system())
        .unwrap();
    assert_eq!(claim_digest(&api, &with_instance), digest);
    let mut other = Attributes::new();
    other.insert("tier", "silver").unwrap();
    assert_ne!(claim_digest(&api, &other), digest);
    let elsewhere = id("spiffe://acme.example/paris/apj");
    assert_ne!(claim_digest(&elsewhere, &attributes), digest);
}

#[test]
fn each_refusal_of_the_store_is_one_answer() {
    for (attestation, record) in [
        (
            Attestation::Used { by_other_key: true },
            "EVIDENCE_USED_BY_OTHER",
        ),
        (
            Attestation::Used {
                by_other_key: false,
            },
            "EVIDENCE_USED",
        ),
        (
            Attestation::SequenceWentBack { latest: 7 },
            "SEQUENCE_WENT_BACK",
        ),
        (Attestation::SequenceReused, "SEQUENCE_REUSED"),
        (Attestation::SequenceTooGreat, "SEQUENCE_TOO_GREAT"),
        (Attestation::SequenceMissing, "SEQUENCE_MISSING"),
        (Attestation::Revoked, "INSTANCE_REVOKED"),
    ] {
        let refusal = admitted(attestation).unwrap_err();
        assert_eq!(refusal.record, record);
        assert_eq!(refusal.message, ATTEST_REFUSED);
        assert_eq!(refusal.retry_after, None);
    }
    for (attestation, record) in [
        (Attestation::TooManyChanges, "TOO_MANY_CHANGES"),
        (Attestation::RevocationsFull, "REVOCATIONS_FULL"),
    ] {
        let refusal = admitted(attestation).unwrap_err();
        assert_eq!(refusal.record, record);
        assert_eq!(refusal.code.http_status(), 429);
        assert!(refusal.retry_after.is_some());
    }
}

#[test]
fn records_say_where_evidence_came_from() {
    let context = Asker::Address(Ipv4Addr::LOCALHOST.into()).context();
    assert!(context.value("address").is_some());
}
