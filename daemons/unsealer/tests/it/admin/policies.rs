//! Named policies, registered documents, denied digests, and lists of them.

use super::*;

#[tokio::test]
async fn policies_keep_their_history() {
    let world = World::new().await;
    let (running, _) = world.start_with_key().await;
    let ada = world.client(&running, ADMIN);
    let (tenant, name) = (TENANT.to_owned(), "p".to_owned());
    for (version, who) in [(0, API), (1, BATCH)] {
        let put = wire::PutPolicy {
            tenant: tenant.clone(),
            name: name.clone(),
            document: text(&lets_open(who)),
            expected_version: version,
        };
        let _: wire::NamedPolicy = ada.done(path::PUT_POLICY, &put).await;
    }
    let remove = wire::RemovePolicy {
        tenant: tenant.clone(),
        name: name.clone(),
        expected_version: 2,
    };
    let removed: wire::NamedPolicy = ada.done(path::REMOVE_POLICY, &remove).await;
    assert_eq!((removed.version, removed.digest), (3, None));
    let history = wire::PolicyHistory {
        tenant: tenant.clone(),
        name: name.clone(),
    };
    let history: wire::NamedPolicies = ada.done(path::POLICY_HISTORY, &history).await;
    assert_eq!(
        history
            .policies
            .iter()
            .map(|policy| policy.version)
            .collect::<Vec<_>>(),
        [3, 2, 1]
    );
    let list = wire::ListPolicies {
        tenant: tenant.clone(),
        after: None,
    };
    let listed: wire::NamedPolicies = ada.done(path::LIST_POLICIES, &list).await;
    assert!(listed.policies.is_empty() && listed.next.is_none());
    let get = wire::GetPolicy {
        tenant,
        name,
        version: Some(1),
    };
    let got: wire::NamedPolicyDetail = ada.done(path::GET_POLICY, &get).await;
    assert_eq!(got.document.unwrap(), text(&lets_open(API)));
    let (status, _) = ada
        .refused(
            path::GET_POLICY,
            &wire::GetPolicy {
                version: Some(9),
                ..get
            },
        )
        .await;
    assert_eq!(status, 404);
    running.stop().await;
}

#[tokio::test]
async fn documents_and_denied_digests_come_and_go() {
    let world = World::new().await;
    let (running, _) = world.start_with_key().await;
    let ada = world.client(&running, ADMIN);
    let tenant = TENANT.to_owned();
    let register = wire::RegisterDocument {
        tenant: tenant.clone(),
        document: text(&lets_open(API)),
    };
    let document: wire::Document = ada.done(path::REGISTER_DOCUMENT, &register).await;
    let again: wire::Document = ada.done(path::REGISTER_DOCUMENT, &register).await;
    assert_eq!(document, again);
    let get = wire::GetDocument {
        tenant: tenant.clone(),
        digest: document.digest.clone(),
    };
    let detail: wire::DocumentDetail = ada.done(path::GET_DOCUMENT, &get).await;
    assert_eq!(detail.document, text(&lets_open(API)));
    let list = wire::ListDocuments {
        tenant: tenant.clone(),
        after: None,
    };
    let listed: wire::Documents = ada.done(path::LIST_DOCUMENTS, &list).await;
    assert_eq!(listed.documents, std::slice::from_ref(&document));
    let remove = wire::RemoveDocument {
        tenant: tenant.clone(),
        digest: document.digest.clone(),
    };
    let removed: wire::Removed = ada.done(path::REMOVE_DOCUMENT, &remove).await;
    assert!(removed.removed);
    let removed: wire::Removed = ada.done(path::REMOVE_DOCUMENT, &remove).await;
    assert!(!removed.removed);

    let deny = wire::DenyDigest {
        tenant: tenant.clone(),
        digest: document.digest.clone(),
        note: "leaked".to_owned(),
    };
    let denied: wire::DeniedDigest = ada.done(path::DENY_DIGEST, &deny).await;
    assert_eq!(
        (denied.note.as_str(), denied.changed_by.as_str()),
        ("leaked", ADMIN)
    );
    let list = wire::ListDenied {
        tenant: tenant.clone(),
        after: None,
    };
    let listed: wire::DeniedDigests = ada.done(path::LIST_DENIED, &list).await;
    assert_eq!(listed.denied, [denied]);
    let long = wire::DenyDigest {
        note: "x".repeat(513),
        ..deny
    };
    assert_eq!(ada.refused(path::DENY_DIGEST, &long).await.0, 400);
    let allow = wire::AllowDigest {
        tenant,
        digest: document.digest,
    };
    let allowed: wire::Removed = ada.done(path::ALLOW_DIGEST, &allow).await;
    assert!(allowed.removed);
    running.stop().await;
}

#[tokio::test]
async fn lists_come_in_pages() {
    let world = World::new().await;
    let (running, _) = world.start_with_key().await;
    let ada = world.client(&running, ADMIN);
    for n in 0..510 {
        let document = format!("v: 1\nname: n{n}\nrules: []\n");
        running
            .operator
            .register_document(TENANT, &document)
            .await
            .unwrap();
    }
    let list = wire::ListDocuments {
        tenant: TENANT.to_owned(),
        after: None,
    };
    let first: wire::Documents = ada.done(path::LIST_DOCUMENTS, &list).await;
    assert_eq!(first.documents.len(), 500);
    let list = wire::ListDocuments {
        after: first.next,
        ..list
    };
    let second: wire::Documents = ada.done(path::LIST_DOCUMENTS, &list).await;
    assert_eq!((second.documents.len(), second.next), (10, None));
    running.stop().await;
}
