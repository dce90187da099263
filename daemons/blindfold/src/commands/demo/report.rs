//! What the demo says: for a person, or one JSON object a line.

use super::event;
use crate::{
    commands::{print, print_json},
    failure::Outcome,
};

/// Longest quoted line, in characters; sealed objects are longer.
const QUOTE: usize = 150;

/// Where the demo says what happened.
#[derive(Debug)]
pub(super) struct Report {
    json: bool,
    steps: usize,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self { json, steps: 0 }
    }

    /// A new step; what was said before has been checked.
    pub(super) fn step(&mut self, title: &str) -> Outcome {
        self.steps += 1;
        if self.json {
            print_json(&event("step", &self.steps.to_string(), title))
        } else {
            print(format_args!(
                "{}{}. {title}\n",
                if self.steps > 1 { "\n" } else { "" },
                self.steps
            ))
        }
    }

    /// Something that is so.
    pub(super) fn fact(&self, name: &str, value: impl ToString) -> Outcome {
        if self.json {
            print_json(&event("fact", name, &value.to_string()))
        } else {
            print(format_args!("   {name:<18} {}\n", value.to_string()))
        }
    }

    /// A line of a file.
    pub(super) fn quote(&self, line: &str) -> Outcome {
        if self.json {
            return print_json(&event("quote", "", line));
        }
        let short: String = line.chars().take(QUOTE).collect();
        let more = if short.len() < line.len() { "…" } else { "" };
        print(format_args!("   | {short}{more}\n"))
    }

    /// All of it really happened.
    pub(super) fn end(&self, note: &str) -> Outcome {
        if self.json {
            print_json(&event("done", &self.steps.to_string(), note))
        } else {
            print(format_args!(
                "\nAll {} steps happened and were checked; {note}.\n",
                self.steps
            ))
        }
    }
}
