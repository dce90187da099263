//! Evidence, subjects, renewals.

use super::Store;
use crate::tables::*;

const BACKDATE: u64 = 300;
const NOW: u64 = 100_000;

/// Evidence `id` for `subject` with a sequence and attributes, shown by `key` at [`NOW`].
fn evidence(id: u8, key: u8, claim: Option<(&str, u64, u8)>) -> AttestedUse {
    AttestedUse {
        site: "paris".into(),
        kind: "voucher".into(),
        single_use: Some(SingleUse {
            id: [id; 32],
            expires_at: NOW + 60,
        }),
        subject: claim.map(|(subject, sequence, digest)| SubjectClaim {
            subject: subject.into(),
            spiffe_id: format!("spiffe://acme.example/paris/{digest}"),
            sequence: Some(sequence),
            digest: [digest; 32],
        }),
        csr_key_sha256: [key; 32],
        new_instance: format!("drawn-{id}-{key}"),
        now: NOW,
        backdate: BACKDATE,
        not_after: NOW + 3_600,
        repeat_seconds: 60,
        greatest_revocations: 8,
        greatest_revocations_of_site: 8,
    }
}

fn admitted(instance: &str, not_before: u64, repeat: bool, superseded: bool) -> Attestation {
    Attestation::Admitted {
        instance: instance.into(),
        not_before,
        repeat,
        superseded,
    }
}

async fn admit(tables: &Tables, attested: &AttestedUse) -> Attestation {
    tables.admit_attested(attested).await.unwrap()
}

pub(super) async fn evidence_counts_once(store: Store) {
    let replicas = store.replicas().await;
    for claim in [None, Some(("pod", 1, 1))] {
        let id = u8::from(claim.is_some());
        let tasks: Vec<_> = (0..60u8)
            .map(|key| {
                let tables = replicas[usize::from(key) % 3].clone();
                tokio::spawn(async move { admit(&tables, &evidence(id, key, claim)).await })
            })
            .collect();
        let (mut winners, mut others) = (0, 0);
        for task in tasks {
            match task.await.unwrap() {
                Attestation::Admitted { repeat: false, .. } => winners += 1,
                Attestation::Used { by_other_key: true } => others += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((winners, others), (1, 59), "{claim:?}");
    }
}

pub(super) async fn the_same_key_may_ask_again_for_a_while(store: Store) {
    let tables = store.tables;
    for claim in [None, Some(("pod", 1, 1))] {
        let id = u8::from(claim.is_some());
        let first = evidence(id, 5, claim);
        let instance = first.new_instance.clone();
        let start = NOW - BACKDATE;
        assert_eq!(
            admit(&tables, &first).await,
            admitted(&instance, start, false, false)
        );
        let again = AttestedUse {
            new_instance: "another draw".into(),
            now: NOW + 60,
            ..first.clone()
        };
        assert_eq!(
            admit(&tables, &again).await,
            admitted(&instance, start + 60, true, false)
        );
        let late = AttestedUse {
            now: NOW + 61,
            ..again.clone()
        };
        assert_eq!(
            admit(&tables, &late).await,
            Attestation::Used {
                by_other_key: false
            }
        );
        let stolen = AttestedUse {
            csr_key_sha256: [6; 32],
            ..again
        };
        assert_eq!(
            admit(&tables, &stolen).await,
            Attestation::Used { by_other_key: true }
        );
    }
}

pub(super) async fn sequences_do_not_go_back(store: Store) {
    let tables = store.tables;
    let first = evidence(1, 1, Some(("pod", 5, 1)));
    let instance = first.new_instance.clone();
    assert!(matches!(
        admit(&tables, &first).await,
        Attestation::Admitted { .. }
    ));
    assert_eq!(
        admit(&tables, &evidence(2, 1, Some(("pod", 4, 1)))).await,
        Attestation::SequenceWentBack { latest: 5 }
    );
    assert_eq!(
        admit(&tables, &evidence(3, 1, Some(("pod", 5, 2)))).await,
        Attestation::SequenceReused
    );
    let mut without = evidence(4, 1, Some(("pod", 5, 1)));
    without.subject.as_mut().unwrap().sequence = None;
    assert_eq!(admit(&tables, &without).await, Attestation::SequenceMissing);
    let mut great = evidence(4, 1, Some(("pod", u64::MAX, 1)));
    assert_eq!(admit(&tables, &great).await, Attestation::SequenceTooGreat);
    great.subject.as_mut().unwrap().subject = "new".into();
    assert_eq!(admit(&tables, &great).await, Attestation::SequenceTooGreat);
    // Refused evidence was not used up.
    assert_eq!(
        admit(&tables, &evidence(2, 9, Some(("pod", 5, 1)))).await,
        admitted(&instance, NOW - BACKDATE, false, false)
    );
    assert_eq!(
        admit(&tables, &evidence(3, 9, Some(("pod", 6, 1)))).await,
        admitted(&instance, NOW - BACKDATE, false, false)
    );
    assert_eq!(
        tables.instance(&instance).await.unwrap().unwrap().sequence,
        Some(6)
    );
    assert_eq!(
        admit(&tables, &evidence(7, 9, Some(("pod", 5, 1)))).await,
        Attestation::SequenceWentBack { latest: 6 }
    );
    assert_eq!(tables.view(None).await.unwrap().revocations, []);
}

pub(super) async fn a_change_refuses_what_began_earlier(store: Store) {
    let tables = store.tables;
    let first = evidence(1, 1, Some(("pod", 1, 1)));
    let instance = first.new_instance.clone();
    admit(&tables, &first).await;
    let before = tables.view(None).await.unwrap();
    let start = NOW - BACKDATE;
    assert_eq!(
        admit(&tables, &evidence(2, 1, Some(("pod", 2, 2)))).await,
        admitted(&instance, start + 1, false, true)
    );
    let view = tables.view(None).await.unwrap();
    assert!(view.bundle_sequence > before.bundle_sequence && view.revision > before.revision);
    let entry = RevocationRow {
        instance: instance.clone(),
        site: "paris".into(),
        spiffe_id: Some("spiffe://acme.example/paris/1".into()),
        refused_before: Some(start + 1),
        ends_at: NOW + 3_600,
        reason: "attributes changed".into(),
    };
    assert_eq!(view.revocations, [entry]);
    // The former attributes get no further document, the new ones one that begins no earlier.
    let renew = async |digest: u8| {
        tables
            .renew_instance(&instance, &[digest; 32], NOW, BACKDATE, NOW + 3_600)
            .await
            .unwrap()
    };
    assert_eq!(renew(1).await, Renewal::Superseded);
    assert_eq!(
        renew(2).await,
        Renewal::Granted {
            not_before: start + 1
        }
    );
    assert_eq!(
        tables
            .renew_instance("unknown", &[1; 32], NOW, BACKDATE, NOW + 60)
            .await
            .unwrap(),
        Renewal::NoSubject
    );
    // Once all former documents have ended by anybody's clock, there is nothing to refuse.
    let ended = NOW + 3_600 + BACKDATE + 1;
    let much_later = AttestedUse {
        now: ended,
        not_after: ended + 3_600,
        ..evidence(3, 1, Some(("pod", 3, 3)))
    };
    let revision = tables.revision().await.unwrap();
    assert_eq!(
        admit(&tables, &much_later).await,
        admitted(&instance, ended - BACKDATE, false, false)
    );
    assert_eq!(tables.revision().await.unwrap(), revision);
}

/// Changes and renewals at once, on three replicas: every document of former attributes is refused, none of the last.
pub(super) async fn renewals_and_changes_exclude_each_other(store: Store) {
    let replicas = store.replicas().await;
    let first = evidence(0, 1, Some(("pod", 0, 0)));
    let instance = first.new_instance.clone();
    admit(&replicas[0], &first).await;
    let changes: Vec<_> = (1..40u8)
        .map(|number| {
            let tables = replicas[usize::from(number) % 3].clone();
            tokio::spawn(async move {
                let claim = Some(("pod", u64::from(number), number));
                match admit(&tables, &evidence(number, 1, claim)).await {
                    Attestation::Admitted { not_before, .. } => vec![(number, not_before)],
                    Attestation::SequenceWentBack { .. } => Vec::new(),
                    other => panic!("{other:?}"),
                }
            })
        })
        .collect();
    let renewals: Vec<_> = (0..120u8)
        .map(|number| {
            let tables = replicas[usize::from(number) % 3].clone();
            let instance = instance.clone();
            tokio::spawn(async move {
                let digest = number % 40;
                // As a replica's clock may run a little ahead.
                let now = NOW + u64::from(number % 5);
                match tables
                    .renew_instance(&instance, &[digest; 32], now, BACKDATE, NOW + 3_600)
                    .await
                    .unwrap()
                {
                    Renewal::Granted { not_before } => vec![(digest, not_before)],
                    _ => Vec::new(),
                }
            })
        })
        .collect();
    let mut documents = vec![(0, NOW - BACKDATE)];
    for task in changes.into_iter().chain(renewals) {
        documents.extend(task.await.unwrap());
    }
    let tables = &replicas[2];
    let last = tables.instance(&instance).await.unwrap().unwrap();
    assert_eq!(last.digest, [39; 32], "the greatest sequence wins");
    let entries = tables.view(None).await.unwrap().revocations;
    let refused_before = entries[0].refused_before.unwrap();
    assert_eq!(entries.len(), 1);
    for (digest, not_before) in documents {
        assert_eq!(
            not_before < refused_before,
            digest != 39,
            "attributes {digest}, from {not_before}, refused before {refused_before}"
        );
        assert!(not_before <= last.latest_not_before);
    }
}

pub(super) async fn changes_that_outrun_the_clock_are_refused(store: Store) {
    let tables = store.tables;
    let change = |number: u8| AttestedUse {
        backdate: 3,
        ..evidence(number, 1, Some(("pod", u64::from(number), number)))
    };
    for number in 0..4 {
        let admission = admit(&tables, &change(number)).await;
        assert!(
            matches!(admission, Attestation::Admitted { not_before, .. } if not_before == NOW - 3 + u64::from(number)),
            "{admission:?}"
        );
    }
    assert_eq!(
        admit(&tables, &change(4)).await,
        Attestation::TooManyChanges
    );
    let later = AttestedUse {
        now: NOW + 1,
        ..change(4)
    };
    assert!(matches!(
        admit(&tables, &later).await,
        Attestation::Admitted { .. }
    ));
}

pub(super) async fn a_full_bundle_refuses_changes_and_writes_nothing(store: Store) {
    let tables = store.tables;
    for (id, subject) in [(1, "a"), (2, "b")] {
        admit(&tables, &evidence(id, 1, Some((subject, 1, 1)))).await;
    }
    let tight = |id, subject, sequence| AttestedUse {
        greatest_revocations: 1,
        ..evidence(id, 1, Some((subject, sequence, 2)))
    };
    assert!(matches!(
        admit(&tables, &tight(3, "a", 2)).await,
        Attestation::Admitted {
            superseded: true,
            ..
        }
    ));
    let revision = tables.revision().await.unwrap();
    assert_eq!(
        admit(&tables, &tight(4, "b", 2)).await,
        Attestation::RevocationsFull
    );
    // A site has its own bound, however much room the bundle has.
    let share_used_up = AttestedUse {
        greatest_revocations: 8,
        greatest_revocations_of_site: 1,
        ..tight(4, "b", 2)
    };
    assert_eq!(
        admit(&tables, &share_used_up).await,
        Attestation::RevocationsFull
    );
    assert_eq!(tables.revision().await.unwrap(), revision);
    let row = tables.instance("drawn-2-1").await.unwrap().unwrap();
    assert_eq!((row.sequence, row.digest), (Some(1), [1; 32]));
    let of_site = AttestedUse {
        greatest_revocations: 8,
        greatest_revocations_of_site: 1,
        ..tight(6, "b", 2)
    };
    assert_eq!(admit(&tables, &of_site).await, Attestation::RevocationsFull);
    // The entry of the same instance is replaced, and takes no second place.
    let again = AttestedUse {
        subject: Some(SubjectClaim {
            digest: [3; 32],
            ..tight(5, "a", 3).subject.unwrap()
        }),
        ..tight(5, "a", 3)
    };
    assert!(matches!(
        admit(&tables, &again).await,
        Attestation::Admitted {
            superseded: true,
            ..
        }
    ));
}

pub(super) async fn a_revoked_instance_stays_so(store: Store) {
    let tables = store.tables;
    let first = evidence(1, 1, Some(("pod", 1, 1)));
    let instance = first.new_instance.clone();
    admit(&tables, &first).await;
    tables.insert_site("rome", "{}", 100, 9).await.unwrap();
    let row = |site: &str| RevocationRow {
        instance: instance.clone(),
        site: site.into(),
        spiffe_id: None,
        refused_before: None,
        ends_at: NOW,
        reason: "stolen".into(),
    };
    let revoke = async |site: &str| tables.revoke_instance(&row(site), 8, NOW).await.unwrap();
    assert_eq!(revoke("rome").await, RevocationWrite::OtherSite);
    assert!(!tables.instance(&instance).await.unwrap().unwrap().revoked);
    assert_eq!(revoke("paris").await, RevocationWrite::Done);
    let entries = tables.view(None).await.unwrap().revocations;
    assert_eq!(
        (entries[0].spiffe_id.as_deref(), entries[0].ends_at),
        (Some("spiffe://acme.example/paris/1"), NOW + 3_600),
        "until its last document has ended"
    );
    for (id, sequence, digest) in [(2, 1, 1), (3, 2, 2)] {
        assert_eq!(
            admit(&tables, &evidence(id, 1, Some(("pod", sequence, digest)))).await,
            Attestation::Revoked
        );
    }
    assert_eq!(
        tables
            .renew_instance(&instance, &[1; 32], NOW, BACKDATE, NOW + 60)
            .await
            .unwrap(),
        Renewal::Revoked
    );
    tables
        .purge_attested(u64::MAX, u64::MAX, 100)
        .await
        .unwrap();
    tables.purge_revocations(u64::MAX).await.unwrap();
    assert_eq!(
        admit(&tables, &evidence(4, 1, Some(("pod", 9, 1)))).await,
        Attestation::Revoked,
        "long after"
    );
}

pub(super) async fn subjects_of_sites_and_attestors_are_apart(store: Store) {
    let tables = store.tables;
    tables.insert_site("rome", "{}", 100, 9).await.unwrap();
    let paris = evidence(1, 1, Some(("pod", 9, 1)));
    let rome = AttestedUse {
        site: "rome".into(),
        new_instance: "in rome".into(),
        ..evidence(1, 2, Some(("pod", 1, 2)))
    };
    let tpm = AttestedUse {
        kind: "tpm".into(),
        new_instance: "by tpm".into(),
        ..evidence(1, 3, Some(("pod", 1, 3)))
    };
    for attested in [&paris, &rome, &tpm] {
        assert_eq!(
            admit(&tables, attested).await,
            admitted(&attested.new_instance, NOW - BACKDATE, false, false)
        );
    }
    assert_eq!(tables.view(None).await.unwrap().revocations, []);
}

pub(super) async fn purge_keeps_what_must_be_remembered(store: Store) {
    let tables = store.tables;
    admit(&tables, &evidence(1, 1, Some(("pod", 7, 1)))).await;
    let (use_ends, last_end) = (NOW + 60, NOW + 3_600);
    tables
        .purge_attested(use_ends, last_end, 100)
        .await
        .unwrap();
    assert_eq!(
        admit(&tables, &evidence(1, 2, Some(("pod", 7, 1)))).await,
        Attestation::Used { by_other_key: true }
    );
    assert!(
        !tables
            .purge_attested(use_ends + 1, last_end, 100)
            .await
            .unwrap()
    );
    assert_eq!(
        admit(&tables, &evidence(1, 2, Some(("pod", 6, 1)))).await,
        Attestation::SequenceWentBack { latest: 7 },
        "evidence is forgotten after its end, its subject is not"
    );
    assert!(
        tables.purge_attested(0, last_end + 1, 1).await.unwrap(),
        "there may be more"
    );
    assert!(tables.instance("drawn-1-1").await.unwrap().is_none());
}
