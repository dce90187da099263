//! Issuing CAs, roots, counters, revocations, federations, documents.

use identity::wire::IssuerState::{Active, Prepared, Retiring, Revoked};

use super::{Store, issuer, root};
use crate::tables::*;

async fn states(tables: &Tables) -> Vec<(u8, identity::wire::IssuerState)> {
    let mut states: Vec<_> = tables
        .view(None)
        .await
        .unwrap()
        .issuers
        .iter()
        .map(|issuer| (issuer.fingerprint[0], issuer.state))
        .collect();
    states.sort_by_key(|(number, _)| *number);
    states
}

fn step(
    number: u8,
    from: identity::wire::IssuerState,
    to: identity::wire::IssuerState,
) -> IssuerChange {
    IssuerChange::Move {
        fingerprint: [number; 32],
        from,
        to,
        last_document_not_after: None,
    }
}

pub(super) async fn issuers_change_together_or_not_at_all(store: Store) {
    let tables = store.tables;
    let before = tables.view(None).await.unwrap();
    let insert = |number, state| IssuerChange::Insert(issuer(number, state));
    assert!(
        tables
            .change_issuers(&[insert(2, Prepared)], 200)
            .await
            .unwrap()
    );
    let after = tables.view(None).await.unwrap();
    assert_eq!(after.revision, before.revision + 1);
    assert!(after.bundle_sequence > before.bundle_sequence);
    // A second one to be next, a second signer, a step from another state, somebody unknown: nothing of the whole.
    for steps in [
        vec![insert(3, Prepared)],
        vec![insert(3, Active)],
        vec![step(1, Active, Retiring), step(2, Active, Retiring)],
        vec![step(2, Prepared, Active)],
        vec![step(1, Active, Retiring), step(9, Prepared, Active)],
        vec![IssuerChange::Remove {
            fingerprint: [1; 32],
            from: Retiring,
        }],
        vec![
            step(1, Active, Retiring),
            IssuerChange::RemoveRequest {
                csr_key_sha256: [7; 32],
            },
        ],
    ] {
        assert!(
            !tables.change_issuers(&steps, 300).await.unwrap(),
            "{steps:?}"
        );
        assert_eq!(
            states(&tables).await,
            [(1, Active), (2, Prepared)],
            "{steps:?}"
        );
    }
    assert_eq!(tables.revision().await.unwrap(), after.revision);
    let rotation = [
        IssuerChange::Move {
            fingerprint: [1; 32],
            from: Active,
            to: Retiring,
            last_document_not_after: Some(777),
        },
        step(2, Prepared, Active),
    ];
    assert!(tables.change_issuers(&rotation, 400).await.unwrap());
    assert_eq!(states(&tables).await, [(1, Retiring), (2, Active)]);
    let rows = tables.view(None).await.unwrap().issuers;
    let ends = |number| {
        rows.iter()
            .find(|row| row.fingerprint == [number; 32])
            .unwrap()
            .last_document_not_after
    };
    assert_eq!((ends(1), ends(2)), (777, 5_000));
    let forced = [
        step(2, Active, Revoked),
        insert(3, Active),
        IssuerChange::Remove {
            fingerprint: [1; 32],
            from: Retiring,
        },
    ];
    assert!(tables.change_issuers(&forced, 500).await.unwrap());
    assert_eq!(states(&tables).await, [(2, Revoked), (3, Active)]);
}

pub(super) async fn one_of_many_rotations_wins(store: Store) {
    let replicas = store.replicas().await;
    let tasks: Vec<_> = (10..40u8)
        .map(|number| {
            let tables = replicas[usize::from(number) % 3].clone();
            tokio::spawn(async move {
                let steps = [
                    step(1, Active, Retiring),
                    IssuerChange::Insert(issuer(number, Active)),
                ];
                let won = tables.change_issuers(&steps, 200).await.unwrap();
                won.then_some(number)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for task in tasks {
        winners.extend(task.await.unwrap());
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(
        states(&replicas[1]).await,
        [(1, Retiring), (winners[0], Active)]
    );
}

pub(super) async fn roots_overlap_and_the_last_one_stays(store: Store) {
    let tables = store.tables;
    let sequence = async || tables.view(None).await.unwrap().bundle_sequence;
    let first = sequence().await;
    // By a clock that stands where the first one was added: still the later one.
    assert!(tables.insert_root(&root(2), 2, 100).await.unwrap());
    assert!(sequence().await > first);
    assert!(tables.insert_root(&root(2), 2, 200).await.unwrap(), "again");
    assert!(!tables.insert_root(&root(3), 2, 200).await.unwrap(), "full");
    assert_eq!(tables.view(None).await.unwrap().roots, [root(2), root(1)]);
    let both = sequence().await;
    let view = tables.view(None).await.unwrap();
    let stale = KnownCas::of(&view.roots, &view.issuers);
    let next = IssuerChange::Insert(issuer(2, Prepared));
    let given = |known: &KnownCas| IssuerChange::Given(known.clone());
    let steps = [given(&stale), next];
    assert!(tables.change_issuers(&steps, 250).await.unwrap());
    let remove = async |number, known: &KnownCas| {
        tables.remove_root(&[number; 32], known, 300).await.unwrap()
    };
    // An issuing CA came meanwhile, and nobody looked which root it is below.
    assert_eq!(remove(1, &stale).await, RootRemoval::Interfered);
    let view = tables.view(None).await.unwrap();
    let known = KnownCas::of(&view.roots, &view.issuers);
    assert_eq!(remove(1, &known).await, RootRemoval::Done);
    assert_eq!(remove(1, &known).await, RootRemoval::Done, "again");
    assert!(sequence().await > both);
    assert_eq!(remove(2, &known).await, RootRemoval::Last);
    // Nor does one come that was made below a root that is gone.
    let drop_next = IssuerChange::Remove {
        fingerprint: [2; 32],
        from: Prepared,
    };
    assert!(
        !tables
            .change_issuers(&[given(&known), drop_next], 300)
            .await
            .unwrap()
    );
    let roots = tables.view(None).await.unwrap().roots;
    assert_eq!(roots, [root(2)]);
    assert_eq!(roots[0].key_wrapped, None);
}

pub(super) async fn requests_for_issuers_are_bounded(store: Store) {
    let tables = store.tables;
    let request = |number: u8| IssuerRequestRow {
        csr_key_sha256: [number; 32],
        csr: "csr".into(),
        key_wrapped: vec![number],
        created_at: u64::from(number),
    };
    for number in [1, 2, 2] {
        assert!(
            tables
                .insert_issuer_request(&request(number), 2)
                .await
                .unwrap()
        );
    }
    assert!(!tables.insert_issuer_request(&request(3), 2).await.unwrap());
    assert_eq!(
        tables.issuer_requests().await.unwrap(),
        [request(2), request(1)]
    );
    let installed = [
        IssuerChange::RemoveRequest {
            csr_key_sha256: [2; 32],
        },
        IssuerChange::Insert(issuer(2, Prepared)),
    ];
    assert!(tables.change_issuers(&installed, 200).await.unwrap());
    tables.remove_issuer_request(&[1; 32]).await.unwrap();
    assert_eq!(tables.issuer_requests().await.unwrap(), []);
}

pub(super) async fn a_day_is_never_exceeded(store: Store) {
    let replicas = store.replicas().await;
    let tasks: Vec<_> = (0..60u64)
        .map(|number| {
            let tables = replicas[usize::try_from(number % 3).unwrap()].clone();
            tokio::spawn(async move {
                let want = 1 + number % 7;
                tables.reserve_issues("paris", 7, want, 100).await.unwrap()
            })
        })
        .collect();
    let mut reserved = 0;
    for task in tasks {
        reserved += task.await.unwrap();
    }
    assert_eq!(reserved, 100, "all of it, and no more");
    let tables = &replicas[0];
    assert_eq!(tables.reserve_issues("paris", 7, 1, 100).await.unwrap(), 0);
    assert_eq!(
        tables.reserve_issues("paris", 7, 9, 50).await.unwrap(),
        0,
        "less is allowed now"
    );
    assert_eq!(tables.reserve_issues("paris", 7, 9, 104).await.unwrap(), 4);
    assert_eq!(
        tables.reserve_issues("paris", 8, 9, 100).await.unwrap(),
        9,
        "another day"
    );
    tables.purge_counters(8).await.unwrap();
    assert_eq!(
        tables.reserve_issues("paris", 8, 99, 100).await.unwrap(),
        91
    );
    assert_eq!(
        tables.reserve_issues("paris", 7, 1, 1).await.unwrap(),
        1,
        "forgotten"
    );
}

pub(super) async fn revocations_widen_and_end(store: Store) {
    let tables = store.tables;
    let row = |instance: &str, refused_before, ends_at| RevocationRow {
        instance: instance.into(),
        site: "paris".into(),
        spiffe_id: None,
        refused_before,
        ends_at,
        reason: "stolen".into(),
    };
    let revoke = async |row: &RevocationRow, greatest| {
        tables.revoke_instance(row, greatest, 200).await.unwrap()
    };
    let before = tables.view(None).await.unwrap();
    assert_eq!(revoke(&row("a", None, 300), 2).await, RevocationWrite::Done);
    let view = tables.view(None).await.unwrap();
    assert!(view.bundle_sequence > before.bundle_sequence && view.revision > before.revision);
    assert_eq!(view.revocations, [row("a", None, 300)]);
    assert_eq!(
        revoke(&row("a", Some(150), 250), 2).await,
        RevocationWrite::Done
    );
    assert_eq!(
        tables.view(None).await.unwrap().revocations,
        [row("a", None, 300)],
        "all documents stay refused, for as long as before"
    );
    assert_eq!(
        revoke(&row("b", Some(150), 400), 2).await,
        RevocationWrite::Done
    );
    assert_eq!(
        revoke(&row("c", None, 400), 2).await,
        RevocationWrite::TooMany
    );
    let full = tables.view(None).await.unwrap();
    assert_eq!(
        full.revocations.len(),
        2,
        "and nothing was counted: {full:?}"
    );
    assert_eq!(revoke(&row("b", None, 350), 2).await, RevocationWrite::Done);
    assert_eq!(tables.purge_revocations(300).await.unwrap(), 0);
    let unchanged = tables.revision().await.unwrap();
    assert_eq!(tables.purge_revocations(301).await.unwrap(), 1);
    assert_eq!(tables.revision().await.unwrap(), unchanged + 1);
    assert_eq!(
        tables.view(None).await.unwrap().revocations,
        [row("b", None, 400)]
    );
    assert_eq!(tables.purge_revocations(301).await.unwrap(), 0);
    assert_eq!(tables.revision().await.unwrap(), unchanged + 1);
}

pub(super) async fn foreign_bundles_replace_older_ones(store: Store) {
    let tables = store.tables;
    let row = |bundle: &str, sequence, fetched_at| FederationRow {
        trust_domain: "other.example".into(),
        bundle: bundle.into(),
        sequence,
        refresh_hint: Some(60),
        fetched_at,
    };
    let stored = async || tables.view(None).await.unwrap().federations;
    tables.put_federation(&row("one", None, 200)).await.unwrap();
    let first = tables.revision().await.unwrap();
    tables.put_federation(&row("one", None, 300)).await.unwrap();
    assert_eq!(tables.revision().await.unwrap(), first, "the same again");
    assert_eq!(stored().await, [row("one", None, 300)]);
    tables
        .put_federation(&row("old", Some(1), 250))
        .await
        .unwrap();
    assert_eq!(stored().await, [row("one", None, 300)], "fetched earlier");
    tables
        .put_federation(&row("two", Some(2), 300))
        .await
        .unwrap();
    assert_eq!(stored().await, [row("two", Some(2), 300)]);
    assert_eq!(tables.revision().await.unwrap(), first + 1);
    // Another replica was answered by a publisher's replica that is behind.
    let behind = row("behind", Some(1), 310);
    tables.put_federation(&behind).await.unwrap();
    assert_eq!(stored().await, [row("two", Some(2), 300)], "goes back");
    // Fetched by a clock that was a day ahead.
    let ahead = row("two", Some(2), 90_000);
    tables.put_federation(&ahead).await.unwrap();
    let right = row("two", Some(2), 350);
    tables.put_federation(&right).await.unwrap();
    assert_eq!(stored().await, [right]);
    assert!(
        tables
            .remove_federation("other.example", 400)
            .await
            .unwrap()
    );
    assert!(
        !tables
            .remove_federation("other.example", 400)
            .await
            .unwrap()
    );
    assert_eq!(stored().await, []);
}

pub(super) async fn documents_are_remembered_until_their_end(store: Store) {
    let tables = store.tables;
    let row = |number: u8, not_after| CertificateRow {
        hash: [number; 32],
        issuer: [1; 32],
        not_after,
        predecessor: None,
    };
    let rows = [row(1, 300), row(2, 400), row(1, 300)];
    tables.insert_certificates(&rows).await.unwrap();
    tables.insert_certificates(&rows).await.unwrap();
    assert!(tables.knows_certificate(&[1; 32], &[1; 32]).await.unwrap());
    assert!(!tables.knows_certificate(&[1; 32], &[2; 32]).await.unwrap());
    assert!(!tables.knows_certificate(&[3; 32], &[1; 32]).await.unwrap());
    // A renewal counts if the document before it does, of the same batch too.
    let renewal = |number: u8, of: u8| CertificateRow {
        predecessor: Some([of; 32]),
        ..row(number, 500)
    };
    let renewals = [renewal(4, 2), renewal(5, 4), renewal(6, 9), renewal(7, 6)];
    tables.insert_certificates(&renewals).await.unwrap();
    for (number, known) in [(4, true), (5, true), (6, false), (7, false)] {
        let found = tables.knows_certificate(&[number; 32], &[1; 32]).await;
        assert_eq!(found.unwrap(), known, "{number}");
    }
    assert_eq!(tables.latest_certificate(&[1; 32]).await.unwrap(), 500);
    assert_eq!(tables.latest_certificate(&[3; 32]).await.unwrap(), 0);
    assert_eq!(tables.purge_certificates(301, 10).await.unwrap(), 1);
    assert!(!tables.knows_certificate(&[1; 32], &[1; 32]).await.unwrap());
    assert!(tables.knows_certificate(&[2; 32], &[1; 32]).await.unwrap());
}

pub(super) async fn sites_are_read_only_when_they_changed(store: Store) {
    let tables = store.tables;
    let first = tables.view(None).await.unwrap();
    let known = Some(first.sites_revision);
    assert_eq!(first.sites.unwrap().len(), 1);
    tables.insert_root(&root(2), 8, 200).await.unwrap();
    let second = tables.view(known).await.unwrap();
    assert_eq!((second.sites, second.revision), (None, first.revision + 1));
    tables.replace_rules("paris", "{ }", 300).await.unwrap();
    let third = tables.view(known).await.unwrap();
    assert_eq!(third.sites_revision, third.revision);
    assert_eq!(third.bundle_sequence, second.bundle_sequence);
    assert_eq!(third.sites.unwrap()[0].rules, "{ }");
    tables.switch_site("paris", false, 300).await.unwrap();
    let fourth = tables.view(Some(third.sites_revision)).await.unwrap();
    assert!(fourth.bundle_sequence > third.bundle_sequence);
    assert!(!fourth.sites.unwrap()[0].enabled);
}
