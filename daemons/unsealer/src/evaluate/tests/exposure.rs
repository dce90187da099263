//! Keys that an evaluation would expose, faults, panics, and keys that are switched off meanwhile.

use super::*;

fn exposes(_: &UnsealingKey, _: &CheckedRequest) -> Result<Response, EvaluateError> {
    Err(EvaluateError::KeyExposed)
}

fn faulty(_: &UnsealingKey, _: &CheckedRequest) -> Result<Response, EvaluateError> {
    Err(EvaluateError::Fault)
}

fn panics(_: &UnsealingKey, _: &CheckedRequest) -> Result<Response, EvaluateError> {
    panic!("on purpose")
}

#[tokio::test]
async fn v8_an_exposed_key_is_disabled_at_once_durably_and_loudly() {
    let bench = Bench::new(exposes).await;
    let (code, bytes) = bench.answer().await;
    assert_eq!(code, Refusal::Internal.code(), "the wire does not say why");
    assert_eq!(bytes.len(), 26);
    // The very next request finds the key disabled, whether or not the store knows already.
    assert_eq!(bench.answer().await.0, Refusal::KeyRetired.code());
    for _ in 0..200 {
        if bench.state().await == "COMPROMISED" && bench.audit().contains("key disabled") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(bench.state().await, "COMPROMISED");
    assert!(bench.audit().contains("FATAL_KEY_EXPOSED: key disabled"));
    assert!(bench.audit().contains(r#""code":"FATAL_KEY_EXPOSED""#));
    assert!(
        bench
            .metrics
            .encode()
            .contains("unseal_keys_exposed_total{service=\"unsealer\"} 1")
    );
    // A new process finds it so too.
    bench.engine.authorizer().audit().close().await;
    let copy = tempfile::tempdir().unwrap();
    for file in ["db", "db-wal", "root.key"] {
        std::fs::copy(bench.folder.path().join(file), copy.path().join(file)).unwrap();
    }
    let metrics = Metrics::new("unsealer");
    let again = engine(copy.path(), &bench.clock, &metrics, blind_evaluate).await;
    let bytes = answer(
        &again,
        &bench.principal,
        &bench.request(Window::unbounded()),
    )
    .await;
    assert_eq!(bytes[21], Refusal::KeyRetired.code());
}

fn exposes_when_told(
    key: &UnsealingKey,
    request: &CheckedRequest,
) -> Result<Response, EvaluateError> {
    if EXPOSE.load(Ordering::SeqCst) {
        exposes(key, request)
    } else {
        blind_evaluate(key, request)
    }
}

#[tokio::test]
async fn v8_an_exposed_key_stays_disabled_when_the_store_fails() {
    let bench = Bench::new(exposes_when_told).await;
    assert_eq!(bench.answer().await.0, 0, "a block is reserved");
    bench.engine.store().close().await;
    EXPOSE.store(true, Ordering::SeqCst);
    assert_eq!(bench.answer().await.0, Refusal::Internal.code());
    EXPOSE.store(false, Ordering::SeqCst);
    for _ in 0..10 {
        assert_ne!(
            bench.answer().await.0,
            0,
            "the key was used after its exposure"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn v8_an_exposure_in_the_last_moment_is_stored_at_the_end() {
    let bench = Bench::new(blind_evaluate).await;
    let snapshot = bench.engine.snapshot().unwrap();
    let key = snapshot
        .key(bench.key.record().key_id().as_bytes())
        .unwrap();
    key.runtime.expose();
    assert_eq!(bench.state().await, "ACTIVE");
    bench.engine.settle().await;
    assert_eq!(bench.state().await, "COMPROMISED");
}

#[tokio::test]
async fn v10_a_fault_releases_nothing() {
    let bench = Bench::new(faulty).await;
    for _ in 0..3 {
        let (code, bytes) = bench.answer().await;
        assert_eq!((code, bytes.len()), (Refusal::Internal.code(), 26));
    }
    assert_eq!(bench.state().await, "ACTIVE");
    assert!(
        bench
            .audit()
            .contains(r#""outcome":"failure","code":"INTERNAL""#),
        "{}",
        bench.audit()
    );
}

#[tokio::test]
async fn a_panicking_evaluation_ends_one_request_only() {
    let bench = Bench::new(panics).await;
    for _ in 0..3 {
        assert_eq!(bench.answer().await.0, Refusal::Internal.code());
    }
    assert_eq!(bench.engine.pool().in_use(), 0);
    let audit = bench.audit();
    let recorded = audit.lines().filter(|line| {
        line.contains(r#""outcome":"failure","code":"INTERNAL""#)
            && line.contains("the evaluation panicked")
    });
    assert_eq!(recorded.count(), 3, "{audit}");
}

#[tokio::test]
async fn a_key_compromised_while_a_request_waits_is_not_used() {
    let bench = Arc::new(Bench::new(blind_evaluate).await);
    let (release, gate) = mpsc::channel::<()>();
    let blocker = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move {
            let pool = bench.engine.pool();
            pool.run(pool.reserve("others", 1).unwrap(), move || {
                gate.recv().is_ok()
            })
            .await
        }
    });
    let waiting = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { bench.answer().await }
    });
    while bench.engine.pool().in_use() < 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let change = wire::SetKeyState {
        key_id: bench.key.record().key_id().to_string(),
        expected_state: KeyState::Active.as_str().to_owned(),
        state: KeyState::Compromised.as_str().to_owned(),
    };
    bench.administrate(change).await.unwrap();
    release.send(()).unwrap();
    assert!(blocker.await.unwrap().unwrap());
    assert_eq!(waiting.await.unwrap().0, Refusal::KeyRetired.code());
}
