//! The choice against a model: authorities with fates, whose news arrives in any order.

use proptest::prelude::*;

use super::*;

/// What becomes of an authority that is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Answers,
    /// Falls behind first, then answers.
    AnswersLate,
    /// Dead, refusing or lying: nothing comes of it.
    Fails,
    /// Falls behind first, then fails.
    FailsLate,
}

impl Fate {
    fn helps(self) -> bool {
        matches!(self, Self::Answers | Self::AnswersLate)
    }
}

#[derive(Clone, Debug)]
struct Case {
    threshold: usize,
    /// Shares in the order of preference, then required locks.
    fates: Vec<Fate>,
    shares: usize,
    retry: Option<usize>,
    /// Which of those under way has news next.
    order: Vec<usize>,
}

fn cases() -> impl Strategy<Value = Case> {
    let fate = prop_oneof![
        Just(Fate::Answers),
        Just(Fate::AnswersLate),
        Just(Fate::Fails),
        Just(Fate::FailsLate),
    ];
    (1_usize..=16, 0_usize..=4).prop_flat_map(move |(shares, required)| {
        (
            1..=shares,
            proptest::collection::vec(fate.clone(), shares + required),
            proptest::option::of(0..shares),
            proptest::collection::vec(any::<usize>(), 64),
        )
            .prop_map(move |(threshold, fates, retry, order)| Case {
                threshold,
                fates,
                shares,
                retry,
                order,
            })
    })
}

fn missing(case: &Case, candidates: &[Candidate]) -> Missing {
    let opened =
        |index: usize| candidates[index].stage == Stage::Ended && case.fates[index].helps();
    let open_shares = (0..case.shares).filter(|index| opened(*index)).count();
    Missing {
        shares: case.threshold.saturating_sub(open_shares),
        required: (case.shares..case.fates.len())
            .filter(|index| !opened(*index))
            .map(|index| candidates[index].position)
            .collect(),
        ..Missing::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn opens_exactly_if_enough_help_and_asks_nobody_too_many(case in cases()) {
        let mut candidates: Vec<_> = (0..case.fates.len())
            .map(|index| Candidate {
                role: if index < case.shares { Role::Share } else { Role::Required },
                position: u8::try_from(index).unwrap(),
                stage: Stage::Unasked,
                retry: case.retry == Some(index),
            })
            .collect();
        let mut order = case.order.iter().cycle();
        for _ in 0..1000 {
            let missing = missing(&case, &candidates);
            let Choice::Ask { needed, retries } = choose(&candidates, &missing) else {
                let helping = (0..case.shares).filter(|index| case.fates[*index].helps()).count();
                let required = case.fates[case.shares..].iter().all(|fate| fate.helps());
                prop_assert_eq!(
                    missing.is_empty(),
                    helping >= case.threshold && required,
                    "given up too early, or opened by too few"
                );
                return Ok(());
            };
            prop_assert!(retries.len() <= 1 && retries.iter().all(|index| Some(*index) == case.retry));
            // Preference: whoever is passed over is not better than a share that is asked.
            if let Some(last) = needed.iter().filter(|index| **index < case.shares).max() {
                let passed_over = (0..*last).any(|index| candidates[index].stage == Stage::Unasked && !needed.contains(&index));
                prop_assert!(!passed_over, "a worse one was preferred");
            }
            for index in needed.iter().chain(&retries) {
                prop_assert_eq!(candidates[*index].stage, Stage::Unasked, "asked twice");
                candidates[*index].stage = Stage::Prompt;
                if needed.contains(index) {
                    candidates[*index].retry = false;
                }
            }
            // Nobody is asked while enough are under way in good order, besides the one that is tried again.
            let prompt = candidates[..case.shares]
                .iter()
                .filter(|one| one.stage == Stage::Prompt && !one.retry)
                .count();
            let asks = needed.iter().any(|index| *index < case.shares);
            prop_assert!(prompt <= missing.shares || !asks, "{} asked for {} shares", prompt, missing.shares);
            let unasked = candidates[..case.shares].iter().any(|one| one.stage == Stage::Unasked);
            prop_assert!(prompt >= missing.shares || !unasked, "somebody could be asked and is not");
            // News of one of those under way.
            let under_way: Vec<_> = (0..candidates.len())
                .filter(|index| matches!(candidates[*index].stage, Stage::Prompt | Stage::Slow))
                .collect();
            prop_assert!(!under_way.is_empty(), "waits for nobody");
            let index = under_way[order.next().unwrap() % under_way.len()];
            let falls_behind = matches!(case.fates[index], Fate::AnswersLate | Fate::FailsLate);
            candidates[index].stage = match candidates[index].stage {
                Stage::Prompt if falls_behind => Stage::Slow,
                _ => Stage::Ended,
            };
        }
        prop_assert!(false, "never ends");
    }
}

#[test]
fn recovered_object_asks_nobody() {
    let missing = Missing {
        shares: 1,
        recovered: true,
        ..Missing::default()
    };
    let candidate = Candidate {
        role: Role::Share,
        position: 0,
        stage: Stage::Unasked,
        retry: true,
    };
    assert_eq!(choose(&[candidate], &missing), Choice::Settled);
}
