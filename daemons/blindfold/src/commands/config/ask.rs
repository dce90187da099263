//! Questions to the person at the terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::failure::{Context, Kind, Outcome};

/// Asks a question that is answered by yes or no; nothing where nobody can be asked. An end of input is a no.
pub(super) fn ask(question: &str, default: bool) -> Outcome<Option<bool>> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(None);
    }
    let choices = if default { "[Y/n]" } else { "[y/N]" };
    loop {
        eprint!("{question} {choices} ");
        io::stderr().flush().about(Kind::Io, "terminal")?;
        let mut line = String::new();
        if io::stdin()
            .lock()
            .read_line(&mut line)
            .about(Kind::Io, "terminal")?
            == 0
        {
            eprintln!();
            return Ok(Some(false));
        }
        match line.trim().to_ascii_lowercase().as_str() {
            "" => return Ok(Some(default)),
            "y" | "yes" => return Ok(Some(true)),
            "n" | "no" => return Ok(Some(false)),
            _ => eprintln!("Please answer y or n."),
        }
    }
}
