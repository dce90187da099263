//! What the two sides of a request compute.

use std::time::Duration;

use blindfold_core::{
    AcceptanceProfile, Batch, CheckedRequest, Expectation, LockSpec, PinnedKeys, PolicyName,
    PolicyRef, Refusal, Request, Response, SealOptions, Sealed, Sealer, UnsealingKey, Window,
    floor::Multiplication,
};

use super::{
    clock::{Measured, Rounds, repeated, timed},
    report::Row,
};
use crate::{
    failure::{Context, Failure, Kind, Outcome},
    random,
};

/// Values of one batch, and the key that they are sealed to.
struct Scene {
    key: UnsealingKey,
    batch: Batch,
}

impl Scene {
    fn new(count: usize) -> Outcome<Self> {
        let rng = &mut random::generator();
        let key = UnsealingKey::generate("bench.unsealer", "bench", 1, rng)
            .about(Kind::Internal, "key")?;
        let name: PolicyName = "bench".parse().about(Kind::Internal, "policy")?;
        let lock = LockSpec::share(key.record(), PolicyRef::Name(name), Window::unbounded());
        let sealer =
            Sealer::new(vec![lock], SealOptions::new()).about(Kind::Internal, "sealing")?;
        let pinned: PinnedKeys = [key.record().clone()].into_iter().collect();
        let mut locks = Vec::with_capacity(count);
        for _ in 0..count {
            let object = sealer
                .seal(b"bench", rng)
                .about(Kind::Internal, "sealing")?;
            let accepted = Sealed::parse(&object)
                .and_then(|sealed| {
                    sealed.accept(&pinned, &AcceptanceProfile::new(), &Expectation::new())
                })
                .about(Kind::Internal, "sealed object")?;
            locks.append(&mut accepted.policy_locks());
        }
        let batch = Batch::group(locks)
            .pop()
            .filter(|batch| batch.count() == count)
            .ok_or_else(|| Failure::new(Kind::Internal, "the batch is not one request"))?;
        Ok(Self { key, batch })
    }

    /// A request as it reaches the unsealer's computation: parsed and checked.
    fn checked(request: &Request) -> Outcome<CheckedRequest> {
        let request =
            Request::parse(&request.to_bytes()).about(Kind::Internal, "the request was refused")?;
        request.check().map_err(|refusal| {
            Failure::new(
                Kind::Internal,
                format_args!("the request was refused: {}", Refusal::name(refusal)),
            )
        })
    }

    fn evaluate(&self, request: &CheckedRequest) -> Outcome<Response> {
        self.key
            .blind_evaluate(request, &mut random::generator())
            .about(Kind::Internal, "evaluation")
    }

    /// Blinding, and the answer's check and unblinding; what the unsealer does between them is not counted.
    fn open(&self) -> Outcome<Duration> {
        let (blinded, blinding) = timed(|| self.batch.blind(&mut random::generator()));
        let (request, pending) = blinded.about(Kind::Internal, "blinding")?;
        let answer = self.evaluate(&Self::checked(&request)?)?.to_bytes();
        let (secrets, finalizing) = timed(|| -> Outcome<usize> {
            let response = Response::parse(&answer).about(Kind::Internal, "answer")?;
            let secrets = pending.finalize(response).about(Kind::Internal, "answer")?;
            Ok(secrets.len())
        });
        if secrets? != self.batch.count() {
            return Err(Failure::new(Kind::Internal, "not every lock was opened"));
        }
        Ok(blinding + finalizing)
    }
}

/// The floor: so many multiplications.
pub(super) fn floor() -> impl FnMut(u32) -> Outcome<Duration> {
    let floor = Multiplication::random(&mut random::generator());
    move |repeat| {
        repeated(repeat, || {
            floor.run();
            Ok(())
        })
    }
}

/// Measures what an unsealer computes for a request of `count` elements.
pub(super) fn evaluate(count: usize, rounds: &Rounds<'_>) -> Outcome<Option<Row>> {
    let measured = measure_evaluate(count, rounds)?;
    Ok(measured.map(|measured| Row::of_elements("evaluate", count, measured)))
}

/// The same, before it becomes a row: nanoseconds for the whole request.
pub(super) fn measure_evaluate(count: usize, rounds: &Rounds<'_>) -> Outcome<Option<Measured>> {
    let scene = Scene::new(count)?;
    let (request, _) = scene
        .batch
        .blind(&mut random::generator())
        .about(Kind::Internal, "blinding")?;
    let request = Scene::checked(&request)?;
    let mut work = |repeat| repeated(repeat, || scene.evaluate(&request).map(drop));
    rounds.run(&mut floor(), &mut work)
}

/// Measures what a workload computes to open `count` values of one batch.
pub(super) fn open(count: usize, rounds: &Rounds<'_>) -> Outcome<Option<Row>> {
    let scene = Scene::new(count)?;
    let mut work = |repeat| (0..repeat).try_fold(Duration::ZERO, |sum, _| Ok(sum + scene.open()?));
    let measured = rounds.run(&mut floor(), &mut work)?;
    Ok(measured.map(|measured| Row::of_elements("open", count, measured)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_is_one_request_of_as_many_elements_and_opens() {
        for count in [1, 3, 256] {
            let scene = Scene::new(count).unwrap();
            assert_eq!(scene.batch.count(), count);
            assert!(scene.open().unwrap() > Duration::ZERO);
        }
        assert!(Scene::new(257).is_err());
    }
}
