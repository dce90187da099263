//! Runs the program.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// A folder and the program run in it, with an environment of its own.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            environment: Vec::new(),
        }
    }

    pub(crate) fn set(&mut self, name: &'static str, path: PathBuf) {
        self.environment.push((name, path));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The program with `words` (split at spaces), not yet started.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_blindfold"));
        command
            .args(words.split_whitespace())
            .current_dir(self.folder.path())
            .env_clear();
        command.envs(self.environment.iter().map(|(name, path)| (name, path)));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it with `input` on standard input.
    pub(crate) fn run(&self, words: &str, input: &[u8]) -> Output {
        let mut child = self.command(words).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            // Beside the reading of its output: a program that works on a stream writes before it has read all.
            scope.spawn(move || {
                // A program that refuses its words does not read.
                let _ = stdin.write_all(input);
            });
            child.wait_with_output().unwrap()
        })
    }

    /// Runs it and expects success; gives standard output.
    pub(crate) fn ok(&self, words: &str, input: &[u8]) -> Vec<u8> {
        let output = self.run(words, input);
        assert!(
            output.status.success(),
            "blindfold {words}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    pub(crate) fn text(&self, words: &str, input: &[u8]) -> String {
        String::from_utf8(self.ok(words, input)).unwrap()
    }

    pub(crate) fn json(&self, words: &str, input: &[u8]) -> serde_json::Value {
        serde_json::from_slice(&self.ok(words, input)).unwrap()
    }

    /// Runs it and expects this exit code; gives standard error.
    pub(crate) fn fails(&self, code: i32, words: &str, input: &[u8]) -> String {
        let output = self.run(words, input);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            output.status.code(),
            Some(code),
            "blindfold {words}\n{stderr}"
        );
        stderr
    }
}

/// Names in a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
