//! Voucher tokens: what is taken, and what is not.

use attest::voucher::{Algorithm, Claims, Signer, VoucherError, Vouchers};
use attest::{AttestError, Attested, Attestor, Claim};
use identity::limits::MAX_CLOCK_SKEW_SECONDS;
use identity::wire::Evidence;
use identity::{Attributes, SpiffeId};
use proptest::prelude::*;
use zeroize::Zeroizing;

use crate::support::{CSR_KEY, NOW, Place, rng};

mod claims;
mod forms;
mod keys;

fn signer(algorithm: Algorithm) -> Signer {
    Signer::generate("paris-1", algorithm, &mut rng(1)).unwrap()
}

fn vouchers(signer: &Signer) -> Vouchers {
    Vouchers::new(&[signer.voucher_key().unwrap()]).unwrap()
}

fn claims(place: &Place) -> Claims {
    let mut attributes = Attributes::new();
    attributes.insert("environment", "production").unwrap();
    attributes.insert("measurement", vec![0, 1, 255]).unwrap();
    Claims {
        site: place.site.clone(),
        audience: place.authority.clone(),
        subject: SpiffeId::parse("spiffe://acme.example/paris/ns/payments/sa/api").unwrap(),
        uid: "4b8f2c1e-6d33-4c55-9a1e-0b9a6d1c2f77".to_owned(),
        sequence: 7,
        issued_at: NOW,
        expires_at: NOW + 60,
        token_id: Claims::draw_token_id(&mut rng(2)),
        csr_key_sha256: CSR_KEY,
        attributes,
    }
}

fn evidence(token: &str) -> Evidence {
    Evidence::Voucher {
        token: Zeroizing::new(token.to_owned()),
    }
}

fn verify(vouchers: &Vouchers, token: &str, place: &Place) -> Result<Attested, AttestError> {
    vouchers.verify(&evidence(token), &place.context())
}

fn refused(error: VoucherError) -> Result<Attested, AttestError> {
    Err(AttestError::Voucher(error))
}

#[test]
fn both_algorithms_vouch_for_what_the_token_names() {
    let place = Place::new();
    for algorithm in [Algorithm::Es256, Algorithm::Es384] {
        let signer = signer(algorithm);
        let claims = claims(&place);
        let token = signer.sign(&claims, &mut rng(3)).unwrap();
        let attested = verify(&vouchers(&signer), &token, &place).unwrap();
        assert_eq!(
            attested.claim,
            Claim::Named {
                spiffe_id: claims.subject.clone(),
                attributes: claims.attributes.clone()
            }
        );
        assert_eq!(attested.subject.as_deref(), Some(claims.uid.as_str()));
        assert_eq!(attested.sequence, Some(7));
        let used = attested.single_use.unwrap();
        assert_eq!(
            used.expires_at,
            claims.expires_at + 2 * MAX_CLOCK_SKEW_SECONDS
        );
        assert_eq!((attested.lifetime, attested.clock_ahead), (None, Some(0)));
    }
}

#[test]
fn use_is_the_token_id_and_nothing_else() {
    let place = Place::new();
    let signer = signer(Algorithm::Es256);
    let id = |claims: &Claims| {
        let token = signer.sign(claims, &mut rng(3)).unwrap();
        verify(&vouchers(&signer), &token, &place)
            .unwrap()
            .single_use
            .unwrap()
            .id
    };
    let one = claims(&place);
    let mut other = one.clone();
    other.sequence = 8;
    other.uid = "other".to_owned();
    assert_eq!(id(&one), id(&other));
    other.token_id = Claims::draw_token_id(&mut rng(9));
    assert_ne!(id(&one), id(&other));
}

#[test]
fn every_flipped_bit_is_refused() {
    let place = Place::new();
    for algorithm in [Algorithm::Es256, Algorithm::Es384] {
        let signer = signer(algorithm);
        let vouchers = vouchers(&signer);
        let token = signer.sign(&claims(&place), &mut rng(3)).unwrap();
        let mut tried = 0;
        for bit in 0..token.len() * 8 {
            let mut bent = token.as_bytes().to_vec();
            bent[bit / 8] ^= 1 << (bit % 8);
            let Ok(bent) = String::from_utf8(bent) else {
                continue;
            };
            tried += 1;
            assert!(
                verify(&vouchers, &bent, &place).is_err(),
                "taken, bit {bit} flipped: {bent}"
            );
        }
        assert!(tried > token.len() * 6, "{tried} tried");
    }
}

#[test]
fn clocks_may_differ_by_five_minutes_and_it_is_told() {
    let place = Place::new();
    let signer = signer(Algorithm::Es256);
    let vouchers = vouchers(&signer);
    let token = signer.sign(&claims(&place), &mut rng(3)).unwrap();
    let at = |now: u64| {
        let mut context = place.context();
        context.now = now;
        vouchers.verify(&evidence(&token), &context)
    };
    let skew = MAX_CLOCK_SKEW_SECONDS;
    assert_eq!(skew, 300);
    assert_eq!(at(NOW - skew).unwrap().clock_ahead, Some(300));
    assert_eq!(
        at(NOW - skew - 1),
        refused(VoucherError::FromTheFuture { ahead: 301 })
    );
    assert_eq!(at(NOW + 60 + skew - 1).unwrap().clock_ahead, Some(-359));
    assert_eq!(
        at(NOW + 60 + skew),
        refused(VoucherError::Expired { behind: 300 })
    );
    assert_eq!(
        at(u64::MAX),
        refused(VoucherError::Expired {
            behind: u64::MAX - NOW - 60
        })
    );
    assert!(matches!(
        at(0),
        Err(AttestError::Voucher(VoucherError::FromTheFuture { .. }))
    ));
}

#[test]
fn token_is_good_for_its_site_authority_and_key_only() {
    let place = Place::new();
    let signer = signer(Algorithm::Es256);
    let vouchers = vouchers(&signer);
    let token = signer.sign(&claims(&place), &mut rng(3)).unwrap();
    let site = identity::SiteName::parse("lyon").unwrap();
    let mut context = place.context();
    context.site = &site;
    assert_eq!(
        vouchers.verify(&evidence(&token), &context),
        refused(VoucherError::Site)
    );
    let authority = SpiffeId::parse("spiffe://acme.example/identity-authority-2").unwrap();
    let mut context = place.context();
    context.audience = &authority;
    assert_eq!(
        vouchers.verify(&evidence(&token), &context),
        refused(VoucherError::Audience)
    );
    let mut context = place.context();
    context.csr_key_sha256 = &[0; 32];
    assert_eq!(
        vouchers.verify(&evidence(&token), &context),
        refused(VoucherError::OtherKey)
    );
    let domain = identity::TrustDomain::parse("other.example").unwrap();
    let mut context = place.context();
    context.trust_domain = &domain;
    assert_eq!(
        vouchers.verify(&evidence(&token), &context),
        refused(VoucherError::OutsideSite)
    );
    assert_eq!(
        vouchers.verify(&Evidence::Unix {}, &place.context()),
        Err(AttestError::OtherKind("voucher"))
    );
}

#[test]
fn debug_shows_no_secret() {
    let signer = signer(Algorithm::Es256);
    assert_eq!(format!("{signer:?}"), r#"Signer { kid: "paris-1", .. }"#);
    assert_eq!(
        format!("{:?}", evidence("ey.secret.token")),
        r#"Evidence { kind: "voucher", .. }"#
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_signed_is_what_is_opened(
        sequence in 0..(1_u64 << 53),
        issued_at in 0..u64::MAX - 60,
        lifetime in 1..=60_u64,
        uid in "[A-Za-z0-9._:/-]{1,128}",
        token_id in "[A-Za-z0-9._-]{16,128}",
        key in any::<[u8; 32]>(),
        path in "(/[A-Za-z0-9_-]{1,20}){1,6}",
        texts in proptest::collection::btree_map("[a-z]{1,20}", "\\PC{0,60}", 0..8),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let place = Place::new();
        let mut attributes = Attributes::new();
        for (name, text) in texts {
            attributes.insert(&name, text).unwrap();
        }
        attributes.insert("b/bytes", bytes).unwrap();
        let claims = Claims {
            site: place.site.clone(),
            audience: place.authority.clone(),
            subject: SpiffeId::parse(&format!("spiffe://acme.example/paris{path}")).unwrap(),
            uid,
            sequence,
            issued_at,
            expires_at: issued_at + lifetime,
            token_id,
            csr_key_sha256: key,
            attributes,
        };
        let signer = signer(Algorithm::Es256);
        let token = signer.sign(&claims, &mut rng(5)).unwrap();
        prop_assert_eq!(vouchers(&signer).open(&token), Ok(claims));
    }

    #[test]
    fn arbitrary_text_is_refused(text in "\\PC{0,400}", parts in "[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,90}") {
        let vouchers = vouchers(&signer(Algorithm::Es256));
        prop_assert!(vouchers.open(&text).is_err());
        prop_assert!(vouchers.open(&parts).is_err());
    }
}
