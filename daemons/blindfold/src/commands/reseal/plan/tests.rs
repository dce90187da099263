//! Judging headers: keys of several versions, authorities, tenants and roles.

use blindfold_core::{
    AuthorityKey, Dem, LockSpec, SealOptions, Sealed, Sealer, StaticKey, UnsealingKey, Window,
};

use super::*;
use crate::random;

fn key(authority: &str, tenant: &str, version: u32) -> AuthorityKey {
    UnsealingKey::generate(authority, tenant, version, &mut random::generator())
        .unwrap()
        .record()
        .clone()
}

fn site(version: u32) -> AuthorityKey {
    StaticKey::generate("site", "acme", version, &mut random::generator())
        .unwrap()
        .record()
        .clone()
}

fn name(policy: &str) -> PolicyRef {
    PolicyRef::Name(policy.parse().unwrap())
}

fn seal(locks: Vec<LockSpec>, options: SealOptions) -> Header {
    let sealer = Sealer::new(locks, options).unwrap();
    let object = sealer.seal(b"x", &mut random::generator()).unwrap();
    Sealed::parse(&object).unwrap().header().clone()
}

fn share(key: &AuthorityKey) -> LockSpec {
    LockSpec::share(key, name("old"), Window::unbounded())
}

fn pinned(keys: &[&AuthorityKey]) -> PinnedKeys {
    keys.iter().map(|key| (*key).clone()).collect()
}

/// The header of an object sealed by the plan.
fn resealed(plan: &Plan, label: &str) -> Header {
    let sealer = plan.locks.sealer(label, None).unwrap();
    let object = sealer.seal(b"x", &mut random::generator()).unwrap();
    Sealed::parse(&object).unwrap().header().clone()
}

#[test]
fn lower_version_of_the_same_authority_and_tenant_is_replaced() {
    let (old, new) = (key("a", "acme", 1), key("a", "acme", 3));
    let header = seal(vec![share(&old)], SealOptions::new().label("db"));
    let target = Target::new(pinned(&[&old]), [new.clone()], None).unwrap();
    let plan = target.plan(&header).unwrap().unwrap();
    assert_eq!(plan.changes, ["a version 1 → 3"]);
    let after = resealed(&plan, "db");
    assert_eq!(after.locks()[0].key_id(), new.key_id());
    assert_eq!(after.locks()[0].policy_bytes(), b"old");
    // What was done is not done again.
    assert!(target.plan(&after).unwrap().is_none());
}

#[test]
fn other_authorities_tenants_and_higher_versions_stay() {
    let new = key("a", "acme", 2);
    for other in [
        key("b", "acme", 1),
        key("a", "other", 1),
        key("a", "acme", 3),
    ] {
        let header = seal(vec![share(&other)], SealOptions::new());
        let target = Target::new(pinned(&[&other]), [new.clone()], None).unwrap();
        assert!(target.plan(&header).unwrap().is_none(), "{other:?}");
    }
    // Without a record: another tenant and a higher version are no concern, the rest is doubtful.
    let target = Target::new(PinnedKeys::new(), [new], None).unwrap();
    for (other, concern) in [
        (key("a", "other", 1), false),
        (key("a", "acme", 2), false),
        (key("b", "acme", 1), true),
    ] {
        let header = seal(vec![share(&other)], SealOptions::new());
        let judged = target.plan(&header);
        assert_eq!(judged.is_err(), concern, "{judged:?}");
    }
}

#[test]
fn all_else_of_an_object_stays() {
    let (a1, a2, b, c) = (
        key("a", "acme", 1),
        key("a", "acme", 2),
        key("b", "acme", 1),
        key("c", "acme", 1),
    );
    let (lock, recovery) = (site(1), site(9));
    let window = Window::new(20_000, 40_000).unwrap();
    let old = seal(
        vec![
            LockSpec::share(&a1, name("old"), window),
            LockSpec::share(&b, name("other"), Window::unbounded()),
            LockSpec::share(&c, name("old"), window),
            LockSpec::required_static(&lock),
            LockSpec::recovery_static(&recovery),
        ],
        SealOptions::new()
            .threshold(2)
            .dem(Dem::ChaCha20Poly1305)
            .pad(false)
            .label("l"),
    );
    let known = pinned(&[&a1, &b, &c, &lock, &recovery]);
    let target = Target::new(known, [a2.clone()], Some(name("new"))).unwrap();
    let plan = target.plan(&old).unwrap().unwrap();
    let new = resealed(&plan, old.label());
    assert_eq!(
        (new.threshold(), new.dem(), new.is_padded(), new.label()),
        (2, Dem::ChaCha20Poly1305, false, "l")
    );
    for (old, new) in old.locks().iter().zip(new.locks()) {
        assert_eq!(old.role(), new.role());
        assert_eq!(old.window(), new.window());
        assert_eq!(old.policy_mode(), new.policy_mode());
        if old.role() == Role::Share {
            assert_eq!(new.policy_bytes(), b"new");
        }
    }
    let ids: Vec<_> = new.locks().iter().map(Lock::key_id).collect();
    let expected = [&a2, &b, &c, &lock, &recovery].map(AuthorityKey::key_id);
    assert_eq!(ids, expected);
}

#[test]
fn policy_of_what_opens_alone_or_in_addition_stays() {
    let (a, b, c) = (key("a", "t", 1), key("b", "t", 1), key("c", "t", 1));
    let header = seal(
        vec![
            share(&a),
            LockSpec::required_policy(&b, name("auditor"), Window::unbounded()),
            LockSpec::recovery_policy(&c, name("board"), Window::unbounded()),
        ],
        SealOptions::new(),
    );
    let target = Target::new(pinned(&[&a, &b, &c]), [], Some(name("new"))).unwrap();
    let plan = target.plan(&header).unwrap().unwrap();
    assert_eq!(plan.changes.len(), 1);
    let new = resealed(&plan, "");
    let policies: Vec<_> = new.locks().iter().map(Lock::policy_bytes).collect();
    assert_eq!(policies, [&b"new"[..], b"auditor", b"board"]);
}

#[test]
fn site_key_is_replaced_like_any_other() {
    let (a, site_1, site_2) = (key("a", "acme", 1), site(1), site(2));
    let header = seal(
        vec![share(&a), LockSpec::required_static(&site_1)],
        SealOptions::new(),
    );
    let target = Target::new(pinned(&[&a, &site_1]), [site_2.clone()], None).unwrap();
    let plan = target.plan(&header).unwrap().unwrap();
    let new = resealed(&plan, "");
    assert_eq!(new.locks()[0].key_id(), a.key_id());
    assert_eq!(new.locks()[1].key_id(), site_2.key_id());
}

#[test]
fn lock_that_stays_needs_its_record() {
    let (a1, a2) = (key("a", "acme", 1), key("a", "acme", 2));
    let header = seal(
        vec![share(&a1), LockSpec::recovery_static(&site(1))],
        SealOptions::new(),
    );
    let target = Target::new(pinned(&[&a1]), [a2], None).unwrap();
    let error = target.plan(&header).unwrap_err().to_string();
    assert!(error.contains("is not at hand"), "{error}");
}

#[test]
fn two_keys_of_one_version_are_refused() {
    let (mine, theirs) = (key("a", "acme", 2), key("a", "acme", 2));
    assert!(Target::new(PinnedKeys::new(), [mine.clone(), theirs.clone()], None).is_err());
    let header = seal(vec![share(&theirs)], SealOptions::new());
    let target = Target::new(pinned(&[&theirs]), [mine], None).unwrap();
    let error = target.plan(&header).unwrap_err().to_string();
    assert!(error.contains("another key"), "{error}");
}

#[test]
fn one_policy_in_two_modes_is_two_policies() {
    let a = key("a", "acme", 1);
    let document = blindfold_core::CanonicalPolicy::parse(br#"{"v":1}"#).unwrap();
    let digest = PolicyRef::Digest(*document.digest());
    let inline = PolicyRef::Inline(document);
    let header = seal(
        vec![LockSpec::share(&a, inline.clone(), Window::unbounded())],
        SealOptions::new(),
    );
    let to = |policy| Target::new(pinned(&[&a]), [], Some(policy)).unwrap();
    assert!(to(inline).plan(&header).unwrap().is_none());
    let plan = to(digest).plan(&header).unwrap().unwrap();
    assert_eq!(resealed(&plan, "").locks()[0].policy_mode(), 3);
}
