//! What is said on the way: results on standard output, problems on standard error, a spinner on a terminal.

use std::{
    fmt,
    io::IsTerminal,
    path::{Path, PathBuf},
};

use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::{
    commands::print,
    failure::{Failure, Kind, Outcome},
};

/// Where a value stands.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Its file.
    pub(super) path: PathBuf,
    /// Its line in a text.
    pub(super) line: Option<usize>,
    /// Its label; empty where it has none.
    pub(super) label: String,
}

impl Place {
    /// The place of something that concerns a whole file.
    pub(super) fn file(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            line: None,
            label: String::new(),
        }
    }

    /// The place as members of an object.
    pub(super) fn to_json(&self) -> Value {
        json!({ "file": self.path.display().to_string(), "line": self.line, "label": self.label })
    }
}

/// Control characters of a name or a label move no cursor.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&harmless(&self.path.display().to_string()))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.label.is_empty() {
            write!(f, " ({})", harmless(&self.label))?;
        }
        Ok(())
    }
}

/// The text without control characters.
pub(super) fn harmless(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

/// `members` and those of `more`.
pub(super) fn merged(mut members: Value, more: Value) -> Value {
    if let (Value::Object(all), Value::Object(more)) = (&mut members, more) {
        all.extend(more);
    }
    members
}

/// Says what happens, and keeps count of what went wrong.
#[derive(Debug)]
pub(super) struct Log {
    json: bool,
    spinner: ProgressBar,
    problems: Vec<Kind>,
}

impl Log {
    /// A log for people or, in lines of JSON, for machines.
    pub(super) fn new(json: bool) -> Self {
        let spinner = if std::io::stderr().is_terminal() {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        Self {
            json,
            spinner,
            problems: Vec::new(),
        }
    }

    /// Shows what is being done just now.
    pub(super) fn progress(&self, message: impl fmt::Display) {
        self.spinner.set_message(message.to_string());
        self.spinner.tick();
    }

    /// Says something: a line for people, an object for machines.
    pub(super) fn say(&self, text: impl fmt::Display, object: impl FnOnce() -> Value) -> Outcome {
        self.human(text).and_then(|()| self.machine(object))
    }

    /// Says something to people only.
    pub(super) fn human(&self, text: impl fmt::Display) -> Outcome {
        if self.json {
            return Ok(());
        }
        self.spinner.suspend(|| print(format_args!("{text}\n")))
    }

    /// Says something to machines only.
    pub(super) fn machine(&self, object: impl FnOnce() -> Value) -> Outcome {
        if !self.json {
            return Ok(());
        }
        let object = object();
        self.spinner.suspend(|| print(format_args!("{object}\n")))
    }

    /// Names something that went wrong at `place`; the work goes on.
    pub(super) fn problem(&mut self, place: &Place, failure: &Failure) -> Outcome {
        self.problems.push(failure.kind());
        self.spinner.suspend(|| {
            if self.json {
                let event = json!({ "event": "problem" });
                let event = merged(merged(event, place.to_json()), failure.to_json());
                print(format_args!("{event}\n"))
            } else {
                eprintln!("blindfold: {place}: {}", failure_of(place, failure));
                Ok(())
            }
        })
    }

    /// How many things went wrong.
    pub(super) fn problems(&self) -> usize {
        self.problems.len()
    }

    /// Ends the command: well, or with the kind of what went wrong, where it was the same everywhere.
    pub(super) fn finish(self, what: &str) -> Outcome {
        self.spinner.finish_and_clear();
        let Some(first) = self.problems.first() else {
            return Ok(());
        };
        let same = self.problems.iter().all(|kind| kind == first);
        let count = self.problems.len();
        Err(Failure::new(
            if same { *first } else { Kind::Data },
            format_args!("{count} {what}"),
        ))
    }
}

/// The failure without the file's name at its front, which stands there already.
fn failure_of(place: &Place, failure: &Failure) -> String {
    let text = failure.to_string();
    let name = format!("{}: ", place.path.display());
    text.strip_prefix(&name).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_names_move_no_cursor() {
        let place = Place {
            path: "a\u{1b}[2J".into(),
            line: Some(3),
            label: "x\r\ny".into(),
        };
        assert_eq!(place.to_string(), "a\u{fffd}[2J:3 (x\u{fffd}\u{fffd}y)");
    }

    #[test]
    fn exit_code_is_that_of_all_problems_or_data() {
        let ended = |kinds: &[Kind]| {
            let mut log = Log::new(false);
            for kind in kinds {
                let place = Place::file(Path::new("f"));
                log.problem(&place, &Failure::new(*kind, "no")).unwrap();
            }
            log.finish("failed").map_err(|failure| failure.kind())
        };
        assert_eq!(ended(&[]), Ok(()));
        assert_eq!(ended(&[Kind::Denied, Kind::Denied]), Err(Kind::Denied));
        assert_eq!(ended(&[Kind::Denied, Kind::Input]), Err(Kind::Data));
    }
}
