//! Outcomes: durable before the answer, and never missing, whatever becomes of the caller.

use super::*;

/// Holds evaluations until a test lets them go on.
struct Gate {
    begun: AtomicUsize,
    open: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Gate {
    const fn new() -> Self {
        Self {
            begun: AtomicUsize::new(0),
            open: Mutex::new(None),
        }
    }

    fn close(&self) -> mpsc::Sender<()> {
        let (release, open) = mpsc::channel();
        *self.open.lock().unwrap() = Some(open);
        release
    }

    fn pass(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.open.lock().unwrap().as_ref().unwrap().recv().unwrap();
    }

    async fn until_begun(&self) {
        while self.begun.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn count(audit: &str, what: &str) -> usize {
    audit.lines().filter(|line| line.contains(what)).count()
}

static LEFT: Gate = Gate::new();

fn held_until_left(
    key: &UnsealingKey,
    request: &CheckedRequest,
) -> Result<Response, EvaluateError> {
    LEFT.pass();
    blind_evaluate(key, request)
}

/// As when connections are cut at the end of a drain: one evaluation is under way, another waits.
#[tokio::test]
async fn evaluations_whose_callers_were_cut_have_outcomes_before_the_log_closes() {
    let release = LEFT.close();
    let bench = Arc::new(Bench::new(held_until_left).await);
    let ask = || {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move { bench.answer().await })
    };
    let under_way = ask();
    LEFT.until_begun().await;
    let waiting = ask();
    while bench.engine.pool().in_use() < 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for cut in [under_way, waiting] {
        cut.abort();
        assert!(cut.await.unwrap_err().is_cancelled());
    }
    let end = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move {
            bench.engine.settle().await;
            bench.engine.authorizer().audit().close().await;
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!end.is_finished(), "the log outlives the evaluation");
    release.send(()).unwrap();
    end.await.unwrap();

    let audit = bench.audit();
    let granted = audit
        .lines()
        .filter(|line| line.contains(r#""action":"open""#));
    let granted = granted.collect::<Vec<_>>().join("\n");
    assert_eq!(count(&granted, r#""decision":"allow""#), 2, "{audit}");
    assert_eq!(count(&granted, r#""outcome":"success""#), 1, "{audit}");
    assert_eq!(count(&granted, r#""outcome":"abandoned""#), 1, "{audit}");
    assert_eq!(
        LEFT.begun.load(Ordering::SeqCst),
        1,
        "who left is not evaluated for"
    );
}

static UNRECORDED: Gate = Gate::new();

fn held_until_closed(
    key: &UnsealingKey,
    request: &CheckedRequest,
) -> Result<Response, EvaluateError> {
    UNRECORDED.pass();
    blind_evaluate(key, request)
}

#[tokio::test]
async fn v11_an_evaluation_without_a_durable_outcome_is_not_released() {
    let release = UNRECORDED.close();
    let bench = Arc::new(Bench::new(held_until_closed).await);
    let asked = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { bench.answer().await }
    });
    UNRECORDED.until_begun().await;
    bench.engine.authorizer().audit().close().await;
    release.send(()).unwrap();
    let (code, bytes) = asked.await.unwrap();
    assert_eq!((code, bytes.len()), (Refusal::Internal.code(), 26));
    assert_eq!(bench.engine.pool().in_use(), 0);
}
