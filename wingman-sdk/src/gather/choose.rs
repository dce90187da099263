//! The choice itself: of the locks of one object, which are asked for now. No clock, no network, no chance.

use blindfold_core::{Missing, Role};

/// How far a lock has got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    Unasked,
    /// Asked for, and no answer is overdue.
    Prompt,
    /// Asked for, and silent or failing so far.
    Slow,
    /// Answered or given up.
    Ended,
}

/// A lock of the object, in the order of preference.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) role: Role,
    pub(super) position: u8,
    pub(super) stage: Stage,
    /// Asked for beside what is needed, to see whether its authority is well again; nobody waits for it.
    pub(super) retry: bool,
}

/// What to do now, as places in the list of candidates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Choice {
    /// The object is open, or nothing can open it any more: nobody is asked in vain.
    Settled,
    /// Ask for these, if any, and wait.
    Ask {
        needed: Vec<usize>,
        retries: Vec<usize>,
    },
}

/// Chooses, given what is still missing.
pub(super) fn choose(candidates: &[Candidate], missing: &Missing) -> Choice {
    if missing.is_empty() {
        return Choice::Settled;
    }
    let hoped_for = |candidate: &&Candidate| candidate.stage != Stage::Ended;
    let shares = || candidates.iter().filter(|one| one.role == Role::Share);
    let required = |position: &u8| {
        candidates
            .iter()
            .filter(hoped_for)
            .any(|one| one.role != Role::Share && one.position == *position)
    };
    if shares().filter(hoped_for).count() < missing.shares || !missing.required.iter().all(required)
    {
        return Choice::Settled;
    }
    let prompt = shares().filter(|one| one.stage == Stage::Prompt && !one.retry);
    let mut shares_to_ask = missing.shares.saturating_sub(prompt.count());
    let (mut needed, mut retries) = (Vec::new(), Vec::new());
    for (index, candidate) in candidates.iter().enumerate() {
        if candidate.stage != Stage::Unasked {
            continue;
        }
        let is_needed = match candidate.role {
            Role::Share => {
                let wanted = shares_to_ask > 0;
                shares_to_ask -= usize::from(wanted);
                wanted
            }
            _ => missing.required.contains(&candidate.position),
        };
        if is_needed {
            needed.push(index);
        } else if candidate.retry {
            retries.push(index);
        }
    }
    Choice::Ask { needed, retries }
}

#[cfg(test)]
mod tests;
