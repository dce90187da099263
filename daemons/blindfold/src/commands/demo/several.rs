//! `blindfold demo --authorities n --threshold t`: no single service has to be trusted.

use std::{num::NonZeroU8, path::Path, process::Output};

use super::{
    PAYMENTS, Report, Secrets, check, failed,
    impostor::Impostor,
    launch, make_secrets, policy_text, prepare, run_workload, same, seal_app, start,
    workload::{Places, Refusal, Told},
};
use crate::{
    cli::DemoArgs,
    commands::read_policy_text,
    control_plane::{ControlPlane, UnsealingAuthority},
    failure::{Context, Failure, Kind, Outcome},
    files,
};

pub(super) mod workload;

use workload::{Opened, Seen};

/// An authority that is well is passed over in all openings by chance in one of so many demos.
const PASSED_OVER_ONCE_IN: f64 = 1e6;

/// Openings that make the spread of the load visible.
const FEWEST_OPENINGS: u16 = 12;

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    authorities: NonZeroU8,
    threshold: u8,
}

impl Plan {
    /// What the words ask for, if they ask for several authorities.
    pub(super) fn of(args: &DemoArgs) -> Outcome<Option<Self>> {
        let Some(authorities) = args.authorities.and_then(NonZeroU8::new) else {
            return Ok(None);
        };
        let n = authorities.get();
        // A majority; of two authorities one, so that the other may fail.
        let majority = (n / 2 + 1).min(n.saturating_sub(1));
        let threshold = args.threshold.map_or(majority, NonZeroU8::get);
        if threshold >= n {
            return Err(Failure::usage(format_args!(
                "with --threshold {threshold} of {n} authorities none may fail, and this demo stops one"
            ))
            .remedy(format_args!("choose a threshold from 1 to {}", n - 1)));
        }
        Ok(Some(Self {
            authorities,
            threshold,
        }))
    }

    /// How often the workload opens, so that each authority has its turn.
    fn openings(self) -> u16 {
        let (n, t) = (f64::from(self.authorities.get()), f64::from(self.threshold));
        let enough = (n * PASSED_OVER_ONCE_IN).ln() / -(1.0 - t / n).ln();
        // Of eight authorities with a threshold of one, 120 at most: a cast of it loses nothing.
        (enough.ceil() as u16).max(FEWEST_OPENINGS)
    }

    /// How many may fail.
    fn spare(self) -> usize {
        usize::from(self.authorities.get() - self.threshold)
    }
}

/// Shows it.
pub(super) async fn show(plan: Plan, folder: &Path, report: &mut Report) -> Outcome {
    report.step(&format!(
        "{} unsealing authorities start, each with its own key, store, root key, audit log and identity",
        plan.authorities
    ))?;
    let mut plane = start(folder, plan.authorities).await?;
    let mut impostor = None;
    let shown = show_with(plan, &mut plane, &mut impostor, folder, report).await;
    // Whatever happens, everything drains.
    let exposed = match impostor {
        Some(impostor) => impostor.stop().await,
        None => Ok(()),
    };
    let stopped = plane.stop().await;
    shown.and(exposed).and(stopped)
}

async fn show_with(
    plan: Plan,
    plane: &mut ControlPlane,
    impostor: &mut Option<Impostor>,
    folder: &Path,
    report: &mut Report,
) -> Outcome {
    for unsealer in plane.unsealers() {
        let key = unsealer.record().key_id().to_string();
        let at = unsealer.entry().url;
        report.fact(
            unsealer.name(),
            format!("{at}, key {}…", super::prefix(&key)),
        )?;
    }
    let (n, t, openings) = (plan.authorities, plan.threshold, plan.openings());

    report.step(&format!(
        "Two secrets are sealed offline to any {t} of the {n}"
    ))?;
    let secrets = make_secrets()?;
    let policy = policy_text(plane);
    let app = seal_app(plane, t, &policy, &secrets)?;
    let place = folder.join("app.toml");
    files::write(Some(&place), 0o644, false, app.as_bytes())?;
    report.fact("sizes", sizes(&app, &policy)?)?;
    let config = prepare(plane, folder, PAYMENTS, t, &place).await?;

    report.step(&format!(
        "A workload opens them {openings} times: {t} authorities help each time, and the load is spread"
    ))?;
    let opened = open(&config, openings, &secrets).await?;
    let answers: u64 = opened.authorities.iter().map(|seen| seen.answered).sum();
    // On a machine that stalls, another one may have been asked in place of a late one.
    check(
        answers < u64::from(openings) * u64::from(n.get()),
        "all authorities were asked each time",
    )?;
    check(
        opened.authorities.iter().all(|seen| seen.answered > 0),
        "an authority was never asked",
    )?;
    tell(report, &opened)?;

    let stopped: Vec<_> = (0..plan.spare()).collect();
    let who = names(plane, &stopped);
    let verb = if stopped.len() == 1 { "is" } else { "are" };
    report.step(&format!("{who} {verb} stopped: everything opens as before"))?;
    for index in &stopped {
        plane.unsealer_mut(*index)?.0.stop().await?;
    }
    let opened = open(&config, openings, &secrets).await?;
    for seen in opened.authorities.iter().take(stopped.len()) {
        check(seen.answered == 0, "a stopped authority answered")?;
    }
    tell(report, &opened)?;

    report.step(
        "Another one is taken over: its server proves the right identity, and its evaluation is wrong",
    )?;
    let taken = stopped.len();
    *impostor = Some(take_over(plane, taken, folder).await?);
    let culprit = authority(plane, taken)?.name().to_owned();
    let refusal = launch::<Opened>(&config, &["--count", "1"])
        .await?
        .refused()?;
    expose(&refusal, &culprit)?;
    report.fact(&culprit, "answers under the key's name with another key")?;
    report.fact("refused", &refusal.message)?;
    report.fact("culprit", format!("{culprit}: PROOF_INVALID"))?;

    let back = if stopped.len() == 1 { "comes" } else { "come" };
    report.step(&format!(
        "{who} {back} back: everything opens although {culprit} lies, and it is named"
    ))?;
    for index in &stopped {
        let (unsealer, surroundings) = plane.unsealer_mut(*index)?;
        unsealer.resume(surroundings).await?;
    }
    let opened = open_warned(&config, openings, &secrets, &culprit).await?;
    let liar = opened.authorities.get(taken);
    let liar = liar.ok_or_else(|| failed("an authority is missing"))?;
    check(
        liar.answered == 0 && liar.health == "lying",
        "the liar was believed, or not noticed",
    )?;
    // Once, unless this machine stalled so long that the honest ones seemed to be gone.
    check(
        liar.lied > 0 && liar.lied < u64::from(openings) / 2,
        "the liar was asked again and again",
    )?;
    tell(report, &opened)?;
    report.fact(
        "because",
        "an answer counts only with a proof made with the pinned key, and whoever lied is asked last",
    )
}

/// Opens as the workload, and checks that each value is what was sealed.
async fn open(config: &Path, count: u16, secrets: &Secrets) -> Outcome<Opened> {
    let output = run_workload(config, &["--count", &count.to_string()]).await?;
    opened(&output, secrets)
}

/// [`open`], of which the culprit's name comes out on standard error.
async fn open_warned(
    config: &Path,
    count: u16,
    secrets: &Secrets,
    culprit: &str,
) -> Outcome<Opened> {
    let output = run_workload(config, &["--count", &count.to_string()]).await?;
    let warned = String::from_utf8_lossy(&output.stderr);
    check(
        warned.contains(&format!("`{culprit}`")) && warned.lines().count() == 1,
        "the workload did not warn of the liar, and of nobody else",
    )?;
    opened(&output, secrets)
}

fn opened(output: &Output, secrets: &Secrets) -> Outcome<Opened> {
    let opened = Told::<Opened>::read(output)?.opened()?;
    for (name, secret) in secrets.by_place() {
        same(&opened.values, name, secret)?;
    }
    Ok(opened)
}

/// The refusal has to name the culprit for what it did, and nobody else for that.
fn expose(refusal: &Refusal, culprit: &str) -> Outcome {
    let mut lies = refusal
        .faults
        .iter()
        .filter(|fault| fault.name == "PROOF_INVALID");
    let named = lies.next().is_some_and(|fault| fault.authority == culprit);
    check(
        named && lies.all(|fault| fault.authority == culprit),
        "the refusal does not name the liar, or names another",
    )?;
    check(
        refusal.message.contains(culprit),
        "the message does not name the liar",
    )
}

async fn take_over(plane: &mut ControlPlane, index: usize, folder: &Path) -> Outcome<Impostor> {
    plane.unsealer_mut(index)?.0.stop().await?;
    let unsealer = authority(plane, index)?;
    let audit = folder.join("impostor.jsonl");
    let identity = unsealer.tls_identity()?;
    Impostor::start(unsealer.listen(), identity, unsealer.record(), &audit).await
}

fn authority(plane: &ControlPlane, index: usize) -> Outcome<&UnsealingAuthority> {
    let found = plane.unsealers().get(index);
    found.ok_or_else(|| failed("an authority is missing"))
}

fn names(plane: &ControlPlane, indices: &[usize]) -> String {
    let names: Vec<_> = indices
        .iter()
        .filter_map(|index| plane.unsealers().get(*index))
        .map(UnsealingAuthority::name)
        .collect();
    names.join(" and ")
}

fn tell(report: &Report, opened: &Opened) -> Outcome {
    for Seen {
        name,
        health,
        answered,
        lied,
        failed,
        last_fault,
    } in &opened.authorities
    {
        let mut text = format!("{health}, {}", counted(*answered, "answer"));
        if *failed > 0 {
            text += &format!(", {}", counted(*failed, "failure"));
        }
        if *lied > 0 {
            text += &format!(", {}", counted(*lied, "lie"));
        }
        if let Some(fault) = last_fault {
            text += &format!(": {fault}");
        }
        report.fact(name, text)?;
    }
    Ok(())
}

fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// What the lock of each authority costs.
fn sizes(app: &str, policy: &str) -> Outcome<String> {
    let places: Places = toml::from_str(app).about(Kind::Internal, "app.toml")?;
    let object = blindfold_core::Sealed::from_text(&places.database.password)
        .about(Kind::Internal, "object")?;
    let policy = read_policy_text(policy, "policy")?.canonical().len();
    Ok(format!(
        "the password is {} characters, with {} locks and a policy of {policy} bytes in each",
        places.database.password.len(),
        object.locks().len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings_suffice_for_every_authority_and_stay_few() {
        for n in 2..=crate::control_plane::MAX_AUTHORITIES {
            for threshold in 1..n {
                let plan = Plan {
                    authorities: NonZeroU8::new(n).unwrap(),
                    threshold,
                };
                let (n, openings) = (f64::from(n), plan.openings());
                let passed_over = n * (1.0 - f64::from(threshold) / n).powi(openings.into());
                assert!(passed_over <= 1e-6, "{threshold} of {n}: {passed_over}");
                assert!(
                    (12..=120).contains(&openings),
                    "{threshold} of {n}: {openings}"
                );
            }
        }
    }
}
