use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn moment(wall: u64, boot: u64) -> Moment {
    Moment {
        wall: SystemTime::UNIX_EPOCH + SECOND * u32::try_from(wall).unwrap(),
        boot: SECOND * u32::try_from(boot).unwrap(),
    }
}

fn outage(left: u64) -> Failure {
    Failure {
        retry_after: None,
        may_pass: true,
        left: Duration::from_secs(left),
    }
}

#[test]
fn due_by_whichever_clock_gets_there_first() {
    let mut schedule = Schedule::default();
    assert!(!schedule.is_due(&moment(1_000_000, 50)));
    assert_eq!(schedule.until_due(&moment(1_000_000, 50)), None);
    schedule.renewed(Some(1_001_800), &moment(1_000_000, 50));
    assert!(!schedule.is_due(&moment(1_001_799, 1849)));
    assert!(schedule.is_due(&moment(1_001_800, 60)), "clock set forward");
    assert!(schedule.is_due(&moment(999_000, 1850)), "clock set back");
    assert_eq!(
        schedule.until_due(&moment(1_001_700, 60)),
        Some(SECOND * 100)
    );
    schedule.renewed(None, &moment(1_000_000, 50));
    assert!(!schedule.is_due(&moment(9_000_000, 9_000_000)));
}

#[test]
fn pauses_are_drawn_below_a_bound_that_doubles() {
    let now = moment(1_000_000, 50);
    let mut schedule = Schedule::default();
    let mut bounds = Vec::new();
    for _ in 0..9 {
        let low = schedule.clone().failed(&outage(0), &now, 0.0);
        let half = schedule.clone().failed(&outage(0), &now, 0.5);
        let high = schedule.failed(&outage(0), &now, 1.0);
        assert_eq!(low, limits::RENEWAL_BACKOFF_LEAST);
        assert_eq!(half, high / 2);
        bounds.push(high.as_secs());
    }
    assert_eq!(bounds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(schedule.failures(), 9);
    // A refusal is repeated more seldom still.
    let refused = Failure {
        may_pass: false,
        ..outage(0)
    };
    assert_eq!(schedule.failed(&refused, &now, 1.0), SECOND * 300);
    schedule.renewed(Some(1_000_100), &now);
    assert_eq!(schedule.failures(), 0);
    assert_eq!(schedule.failed(&outage(0), &now, 1.0), SECOND);
}

#[test]
fn what_the_authority_asks_for_is_waited_and_spread() {
    let now = moment(1_000_000, 50);
    let asked = |seconds| Failure {
        retry_after: Some(Duration::from_secs(seconds)),
        ..outage(0)
    };
    let pause = |seconds, fraction| Schedule::default().failed(&asked(seconds), &now, fraction);
    assert_eq!(pause(20, 0.0), SECOND * 20);
    assert_eq!(pause(20, 1.0), SECOND * 40);
    // Nobody keeps an identity from being renewed for longer than this.
    assert_eq!(pause(u64::MAX, 0.0), limits::LONGEST_RETRY_AFTER);
    assert_eq!(
        pause(u64::MAX, 1.0),
        limits::LONGEST_RETRY_AFTER + limits::RENEWAL_BACKOFF_LONGEST
    );
}

#[test]
fn own_pauses_shrink_with_what_is_left_of_the_document() {
    let now = moment(1_000_000, 50);
    let mut schedule = Schedule::default();
    for _ in 0..10 {
        schedule.failed(&outage(0), &now, 0.5);
    }
    let pause = |left| schedule.clone().failed(&outage(left), &now, 1.0);
    assert_eq!(pause(3600), SECOND * 60);
    assert_eq!(pause(40), SECOND * 20);
    assert_eq!(pause(1), SECOND, "no hurry without end");
    assert_eq!(pause(0), SECOND * 60, "too late to hurry");
}

#[test]
fn sleep_and_set_clocks_are_noticed() {
    let before = moment(1_000_000, 5000);
    let jump = |wall, boot| Jump::between(&before, &moment(wall, boot), SECOND);
    assert_eq!(jump(1_000_001, 5001), None);
    let busy = Jump::between(&before, &moment(1_000_060, 5060), SECOND * 60);
    assert_eq!(busy, None, "an exchange that took a minute");
    assert_eq!(jump(1_007_201, 12_201), Some(Jump::Slept(SECOND * 7200)));
    assert_eq!(jump(1_000_301, 5001), Some(Jump::ClockSet));
    assert_eq!(jump(999_701, 5001), Some(Jump::ClockSet));
    assert_eq!(jump(1_000_002, 5001), None, "slewed");
}

#[test]
fn at_once_is_now() {
    let now = moment(1_000_000, 50);
    let mut schedule = Schedule::default();
    schedule.failed(&outage(0), &now, 1.0);
    assert!(!schedule.is_due(&now));
    schedule.at_once(&now);
    assert!(schedule.is_due(&now));
    assert_eq!(schedule.failures(), 0);
}
