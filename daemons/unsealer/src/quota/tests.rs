//! What the quota table promises: elements counted, all or nothing, bounded.

use super::*;

const API: &str = "spiffe://acme.example/paris/api";
const KEY: KeyBucketId = [7; 32];

fn config() -> QuotaConfig {
    QuotaConfig {
        principal_policy: Rate {
            per_second: 10,
            burst: 256,
        },
        principal: Rate {
            per_second: 20,
            burst: 512,
        },
        key: Rate {
            per_second: 100,
            burst: 1024,
        },
    }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn id(n: u16) -> PolicyBucketId {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&n.to_be_bytes());
    id
}

#[test]
fn counts_elements_not_requests() {
    let quotas = Quotas::new(config());
    quotas.charge(API, id(1), KEY, 250, at(1)).unwrap();
    quotas.charge(API, id(1), KEY, 6, at(1)).unwrap();
    let refused = quotas.charge(API, id(1), KEY, 1, at(1)).unwrap_err();
    assert_eq!(
        refused,
        OverQuota {
            retry_after: 1,
            bucket: "principal and policy"
        }
    );
    let refused = quotas.charge(API, id(1), KEY, 25, at(1)).unwrap_err();
    assert_eq!(refused.retry_after, 3, "25 elements at 10 a second");
    quotas.charge(API, id(1), KEY, 25, at(4)).unwrap();
}

#[test]
fn principal_bucket_spans_policies() {
    let quotas = Quotas::new(config());
    quotas.charge(API, id(1), KEY, 256, at(1)).unwrap();
    quotas.charge(API, id(2), KEY, 256, at(1)).unwrap();
    assert_eq!(
        quotas.charge(API, id(3), KEY, 1, at(1)).unwrap_err().bucket,
        "principal"
    );
}

#[test]
fn key_bucket_spans_principals() {
    let quotas = Quotas::new(config());
    for principal in ["a", "b", "c", "d"] {
        quotas.charge(principal, id(1), KEY, 256, at(1)).unwrap();
    }
    assert_eq!(
        quotas.charge("e", id(1), KEY, 1, at(1)).unwrap_err().bucket,
        "key"
    );
    quotas.charge("e", id(1), [8; 32], 1, at(1)).unwrap();
}

#[test]
fn a_refusal_takes_from_no_bucket() {
    let quotas = Quotas::new(config());
    quotas.charge(API, id(1), KEY, 256, at(1)).unwrap();
    for _ in 0..1000 {
        quotas.charge(API, id(1), KEY, 256, at(1)).unwrap_err();
    }
    quotas.charge(API, id(2), KEY, 256, at(1)).unwrap();
}

#[test]
fn time_running_backwards_refills_nothing() {
    let quotas = Quotas::new(config());
    quotas.charge(API, id(1), KEY, 256, at(100)).unwrap();
    quotas.charge(API, id(1), KEY, 1, at(1)).unwrap_err();
}

#[test]
fn principals_are_bounded_and_idle_ones_give_way() {
    let quotas = Quotas::with_bounds(config(), 4, 2);
    for n in 0..4 {
        quotas
            .charge(&format!("p{n}"), id(1), KEY, 20, at(1))
            .unwrap();
    }
    let refused = quotas.charge("newcomer", id(1), KEY, 1, at(1)).unwrap_err();
    assert_eq!(refused.bucket, "principal (no place)");
    // Those inside go on.
    quotas.charge("p0", id(1), KEY, 1, at(1)).unwrap();
    // After three seconds the four have refilled.
    quotas.charge("newcomer", id(1), KEY, 1, at(4)).unwrap();
    assert!(quotas.table.lock().unwrap().principals.len() <= 4);
}

#[test]
fn ten_thousand_principals_stay_within_the_bound() {
    let quotas = Quotas::with_bounds(config(), 64, 2);
    for n in 0..10_000_u64 {
        let _ = quotas.charge(&format!("p{n}"), id(1), [n as u8; 32], 1, at(1 + n / 50));
        assert!(quotas.table.lock().unwrap().principals.len() <= 64);
    }
}

#[test]
fn many_policies_hurt_their_own_principal_only() {
    let quotas = Quotas::with_bounds(config(), 4, 2);
    quotas.charge(API, id(1), KEY, 20, at(1)).unwrap();
    quotas.charge(API, id(2), KEY, 20, at(1)).unwrap();
    let refused = quotas.charge(API, id(3), KEY, 1, at(1)).unwrap_err();
    assert_eq!(refused.bucket, "principal and policy (no place)");
    assert_eq!(refused.retry_after, 2);
    quotas.charge("other", id(3), KEY, 1, at(1)).unwrap();
    quotas.charge(API, id(3), KEY, 1, at(3)).unwrap();
    assert_eq!(
        quotas.table.lock().unwrap().principals[API].policies.len(),
        2
    );
}

#[test]
fn an_evicted_bucket_was_full() {
    // A slot is reused only when its bucket is full again, so that coming
    // back under the first policy gains nothing.
    let quotas = Quotas::with_bounds(config(), 4, 1);
    quotas.charge(API, id(1), KEY, 256, at(1)).unwrap();
    quotas.charge(API, id(2), KEY, 1, at(2)).unwrap_err();
    quotas.charge(API, id(2), KEY, 1, at(27)).unwrap();
    quotas.charge(API, id(1), KEY, 256, at(28)).unwrap();
}

#[test]
fn forgets_buckets_of_removed_keys() {
    let quotas = Quotas::new(config());
    quotas.charge(API, id(1), KEY, 1, at(1)).unwrap();
    quotas.retain_keys(|key| *key != KEY);
    assert!(quotas.table.lock().unwrap().keys.is_empty());
}

#[test]
fn rates_that_block_full_requests_are_refused() {
    assert!(
        Rate {
            per_second: 0,
            burst: 256
        }
        .check()
        .is_err()
    );
    assert!(
        Rate {
            per_second: 1,
            burst: 255
        }
        .check()
        .is_err()
    );
    assert!(
        Rate {
            per_second: 1,
            burst: 256
        }
        .check()
        .is_ok()
    );
    let default = QuotaConfig::default();
    for rate in [default.principal, default.principal_policy, default.key] {
        rate.check().unwrap();
    }
}

#[test]
fn requests_are_counted_per_principal_in_a_bounded_table() {
    let quotas = Quotas::with_bounds(config(), 2, 4);
    for _ in 0..1024 {
        quotas.admit_request(API, at(1)).unwrap();
    }
    let refused = quotas.admit_request(API, at(1)).unwrap_err();
    assert_eq!((refused.retry_after, refused.bucket), (1, "requests"));
    quotas.admit_request("other", at(1)).unwrap();
    quotas.admit_request("third", at(1)).unwrap_err();
    for _ in 0..40 {
        quotas.admit_request(API, at(2)).unwrap();
    }
    quotas.admit_request(API, at(2)).unwrap_err();
}
