//! Asks for a passphrase on the terminal.
//!
//! What is typed is never shown: the terminal is made silent, and what was typed before is thrown away, before anything
//! is asked. It is as it was afterwards, also when the command is interrupted.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// The terminal of this process, whatever its standard input is.
const TERMINAL: &str = "/dev/tty";
/// Longest line: what a terminal hands over at once.
const MAX_LINE_BYTES: usize = 4096;

/// How the terminal was before it was made silent.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

fn before() -> MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the terminal show again what is typed, if it does not now.
pub(crate) fn restore() {
    if let Some(modes) = before().take()
        && let Ok(terminal) = File::open(TERMINAL)
    {
        // Nothing else can be done about it.
        let _ = tcsetattr(&terminal, OptionalActions::Now, &modes);
    }
}

/// Makes the terminal show again what is typed, on every way out.
struct Silence;

impl Silence {
    fn of(terminal: &File) -> io::Result<Self> {
        let modes = tcgetattr(terminal)?;
        *before() = Some(modes.clone());
        let silence = Self;
        let mut silent = modes;
        silent.local_modes.remove(LocalModes::ECHO);
        // The line end is shown, so that the cursor does not stay behind the question.
        silent
            .local_modes
            .insert(LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(silence)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        restore();
    }
}

/// Asks `question`; gives the line that is typed, without its end. Refuses where there is no terminal.
pub(crate) fn ask(question: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut terminal = open()?;
    let _silence = Silence::of(&terminal)?;
    terminal.write_all(question.as_bytes())?;
    read_line(&mut terminal)
}

/// The same for what is no secret: it is shown while it is typed. What was typed before does not count.
pub(crate) fn ask_shown(question: &str) -> io::Result<String> {
    let mut terminal = open()?;
    let modes = tcgetattr(&terminal)?;
    tcsetattr(&terminal, OptionalActions::Flush, &modes)?;
    terminal.write_all(question.as_bytes())?;
    let line = read_line(&mut terminal)?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn open() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(TERMINAL)
}

fn read_line(terminal: &mut File) -> io::Result<Zeroizing<Vec<u8>>> {
    // Sized beforehand: a vector that grows leaves copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE_BYTES));
    let mut byte = Zeroizing::new([0_u8; 1]);
    while terminal.read(byte.as_mut_slice())? == 1 {
        match *byte {
            [b'\n'] => return Ok(line),
            _ if line.len() == MAX_LINE_BYTES => break,
            [byte] => line.push(byte),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "no whole line was typed",
    ))
}
