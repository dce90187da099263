use proptest::prelude::*;

use super::*;

const SLOW_AFTER: Duration = Duration::from_millis(700);
const QUICK: News = News::Answered(Duration::from_millis(3));
const SECOND: Duration = Duration::from_secs(1);

fn after(start: Instant, pause: Duration) -> Instant {
    start.checked_add(pause).unwrap()
}

#[test]
fn one_outage_is_one_strike_however_many_requests_tell_of_it() {
    let start = Instant::now();
    let mut state = State::new(start);
    for _ in 0..100 {
        state.take(News::Failed, SLOW_AFTER, start);
    }
    assert_eq!(state.health, UnsealerHealth::Down);
    assert!(state.retry_at <= after(start, limits::RETRY_FIRST));
    assert_eq!(state.failed, 100);
}

#[test]
fn pause_doubles_with_every_vain_try_and_ends_with_an_answer() {
    let mut now = Instant::now();
    let mut state = State::new(now);
    state.take(News::Failed, SLOW_AFTER, now);
    let mut last = Duration::ZERO;
    for _ in 0..12 {
        assert!(!state.claim_retry(now), "tried before its time");
        now = state.retry_at;
        assert!(state.claim_retry(now));
        assert!(!state.claim_retry(now), "two tries at once");
        state.take(News::Failed, SLOW_AFTER, now);
        let pause = state.retry_at.duration_since(now);
        assert!(pause >= last.mul_f64(0.75) && pause <= limits::RETRY_LONGEST);
        last = pause;
    }
    assert!(last >= limits::RETRY_LONGEST.mul_f64(0.75), "{last:?}");
    state.take(QUICK, SLOW_AFTER, now);
    assert_eq!(state.health, UnsealerHealth::Healthy);
    assert!(!state.claim_retry(after(now, limits::RETRY_LONGEST * 2)));
}

#[test]
fn whoever_comes_and_goes_is_kept_back_longer_than_who_stumbled_once() {
    let mut now = Instant::now();
    let mut state = State::new(now);
    let mut pause = Duration::ZERO;
    for _ in 0..6 {
        state.take(News::Failed, SLOW_AFTER, now);
        now = state.retry_at;
        assert!(state.claim_retry(now));
        state.take(QUICK, SLOW_AFTER, now);
        state.take(News::Failed, SLOW_AFTER, now);
        pause = state.retry_at.duration_since(now);
    }
    assert!(pause > limits::RETRY_FIRST, "{pause:?}");
    for _ in 0..8 {
        state.take(QUICK, SLOW_AFTER, now);
    }
    state.take(News::Failed, SLOW_AFTER, now);
    assert!(
        state.retry_at <= after(now, limits::RETRY_FIRST),
        "forgiven"
    );
}

#[test]
fn liar_is_remembered_longer_and_not_cleared_by_an_answer_in_between() {
    let start = Instant::now();
    let mut state = State::new(start);
    state.take(News::Lied, SLOW_AFTER, start);
    for news in [
        QUICK,
        News::Failed,
        News::Silent,
        News::Refused,
        News::Busy(SECOND),
    ] {
        state.take(news, SLOW_AFTER, after(start, SECOND));
        assert_eq!(state.health, UnsealerHealth::Lying, "{news:?}");
    }
    assert!(!state.claim_retry(after(start, limits::RETRY_LONGEST)));
    let due = after(start, limits::LIED_FIRST);
    assert!(state.claim_retry(due));
    state.take(QUICK, SLOW_AFTER, due);
    assert_eq!(state.health, UnsealerHealth::Healthy);
    // The second lie is remembered twice as long.
    state.take(News::Lied, SLOW_AFTER, due);
    assert_eq!(state.retry_at, after(due, limits::LIED_FIRST * 2));
    for _ in 0..100 {
        state.take(News::Lied, SLOW_AFTER, due);
    }
    assert_eq!(state.retry_at, after(due, limits::LIED_LONGEST));
}

#[test]
fn late_answer_is_slow_and_an_answer_in_time_is_healthy_again() {
    let now = Instant::now();
    let mut state = State::new(now);
    state.take(News::Silent, SLOW_AFTER, now);
    state.take(News::Answered(SLOW_AFTER), SLOW_AFTER, now);
    assert_eq!(state.health, UnsealerHealth::Slow);
    assert_eq!(state.answered, 1);
    state.take(QUICK, SLOW_AFTER, now);
    assert_eq!(state.health, UnsealerHealth::Healthy);
}

#[test]
fn silence_does_not_lift_who_is_down() {
    let now = Instant::now();
    let mut state = State::new(now);
    state.take(News::Failed, SLOW_AFTER, now);
    state.take(News::Silent, SLOW_AFTER, now);
    assert_eq!(state.health, UnsealerHealth::Down);
}

#[test]
fn patience_asked_for_is_had_within_bounds() {
    let now = Instant::now();
    for (asked, granted) in [
        (Duration::from_secs(60), Duration::from_secs(60)),
        (Duration::from_secs(1_000_000), limits::RETRY_LONGEST),
    ] {
        let mut state = State::new(now);
        state.take(News::Busy(asked), SLOW_AFTER, now);
        assert_eq!(state.health, UnsealerHealth::Busy);
        assert_eq!(state.retry_at, after(now, granted));
    }
}

#[test]
fn rank_puts_health_before_load_and_load_before_chance() {
    let rank = |news: Option<News>, in_flight| {
        let health = Health::new(SLOW_AFTER);
        health.in_flight.store(in_flight, Ordering::Relaxed);
        if let Some(news) = news {
            health.note(news, &|| "told".to_owned());
        }
        health.rank()
    };
    let ordered = [
        rank(None, 0),
        rank(None, 9),
        rank(Some(News::Refused), 0),
        rank(Some(News::Silent), 0),
        rank(Some(News::Busy(SECOND)), 0),
        rank(Some(News::Failed), 0),
        rank(Some(News::Lied), 0),
    ];
    assert!(ordered.is_sorted(), "{ordered:?}");
    let equals: Vec<_> = (0..64).map(|_| rank(None, 0).chance).collect();
    assert!(equals.iter().any(|chance| *chance != equals[0]));
}

#[test]
fn requests_under_way_are_counted_until_they_end() {
    let health = Health::new(SLOW_AFTER);
    let (first, second) = (health.begin(), health.begin());
    assert_eq!(health.rank().in_flight, 2);
    drop(first);
    assert_eq!(health.rank().in_flight, 1);
    drop(second);
    assert_eq!(health.rank().in_flight, 0);
}

fn any_news() -> impl Strategy<Value = News> {
    prop_oneof![
        (0_u64..2000).prop_map(|ms| News::Answered(Duration::from_millis(ms))),
        Just(News::Silent),
        Just(News::Refused),
        (0_u64..1000).prop_map(|s| News::Busy(Duration::from_secs(s))),
        Just(News::Failed),
        Just(News::Lied),
    ]
}

proptest! {
    /// Nobody is kept back for ever, and no pause is longer than its limit.
    #[test]
    fn everybody_is_tried_again_in_bounded_time(steps in proptest::collection::vec((any_news(), 0_u64..400, any::<bool>()), 1..60)) {
        let mut now = Instant::now();
        let mut state = State::new(now);
        for (news, seconds, claim) in steps {
            now = after(now, Duration::from_secs(seconds));
            if claim {
                let due = state.health != UnsealerHealth::Healthy && now >= state.retry_at;
                prop_assert_eq!(state.claim_retry(now), due);
            }
            state.take(news, SLOW_AFTER, now);
            let longest = if state.health == UnsealerHealth::Lying { limits::LIED_LONGEST } else { limits::RETRY_LONGEST };
            let pause = state.retry_at.saturating_duration_since(now);
            prop_assert!(state.health == UnsealerHealth::Healthy || pause <= longest);
        }
        let due = after(now, limits::LIED_LONGEST);
        prop_assert_eq!(state.claim_retry(due), state.health != UnsealerHealth::Healthy);
        state.take(QUICK, SLOW_AFTER, due);
        prop_assert_eq!(state.health, UnsealerHealth::Healthy);
    }
}
