//! Git, asked through its own program.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    process::Command,
};

use zeroize::Zeroizing;

use crate::{
    failure::{Failure, Kind, Outcome},
    files::MAX_WHOLE,
};

/// A file that is staged.
#[derive(Debug)]
pub(super) struct Staged {
    /// Its path from the top of the repository.
    pub(super) path: PathBuf,
    /// Name of its content.
    pub(super) object: String,
}

/// Runs Git in `folder` (here when absent, as hooks want it) and gives what it prints.
pub(super) fn git<S: AsRef<OsStr>>(
    folder: Option<&Path>,
    words: impl IntoIterator<Item = S>,
) -> Outcome<Vec<u8>> {
    let mut command = Command::new("git");
    if let Some(folder) = folder {
        command.arg("-C").arg(folder);
    }
    command.args(words).env("LC_ALL", "C");
    let output = command.output().map_err(|error| {
        Failure::new(Kind::Unavailable, format_args!("cannot run git: {error}"))
            .remedy("install Git, or put it into PATH")
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().next().unwrap_or("it gives no reason");
    Err(Failure::new(Kind::Input, format_args!("git: {line}")))
}

/// The top folder of the working tree.
pub(super) fn top_level(folder: Option<&Path>) -> Outcome<PathBuf> {
    let printed = git(folder, ["rev-parse", "--show-toplevel"])?;
    Ok(line_path(&printed))
}

/// A path that Git prints on a line.
pub(super) fn line_path(printed: &[u8]) -> PathBuf {
    let line = printed.strip_suffix(b"\n").unwrap_or(printed);
    PathBuf::from(OsStr::from_bytes(line))
}

/// The content of an object; it may hold cleartext, and is wiped on drop.
pub(super) fn blob(folder: Option<&Path>, object: &str) -> Outcome<Zeroizing<Vec<u8>>> {
    let size = git(folder, ["cat-file", "-s", object])?;
    let size: u64 = String::from_utf8_lossy(&size)
        .trim()
        .parse()
        .map_err(|_| Failure::new(Kind::Internal, "git gives a size that is no number"))?;
    if size > MAX_WHOLE {
        return Err(Failure::data(format_args!(
            "the file is larger than {} MiB",
            MAX_WHOLE >> 20
        )));
    }
    git(folder, ["cat-file", "blob", object]).map(Zeroizing::new)
}

/// Regular files whose content differs between the last commit and what is staged.
pub(super) fn staged() -> Outcome<Vec<Staged>> {
    let head = git(None, ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]);
    let base = match head {
        Ok(_) => "HEAD".to_owned(),
        // Before the first commit everything is new.
        Err(_) => String::from_utf8_lossy(&git(None, ["hash-object", "-t", "tree", "/dev/null"])?)
            .trim()
            .to_owned(),
    };
    let words = [
        "diff-index",
        "--cached",
        "--raw",
        "-z",
        "--no-renames",
        "--no-abbrev",
        "--no-relative",
        "--ignore-submodules",
        &base,
        "--",
    ];
    let printed = git(None, words)?;
    let mut fields = printed.split(|byte| *byte == 0);
    let mut staged = Vec::new();
    // :<old mode> <new mode> <old object> <new object> <status>, then the path.
    while let (Some(change), Some(path)) = (fields.next(), fields.next()) {
        let change = String::from_utf8_lossy(change);
        let mut words = change.split(' ').skip(1);
        let (mode, object) = (words.next(), words.nth(1));
        let (Some("100644" | "100755"), Some(object)) = (mode, object) else {
            continue;
        };
        staged.push(Staged {
            path: PathBuf::from(OsString::from_vec(path.to_vec())),
            object: object.to_owned(),
        });
    }
    Ok(staged)
}

/// Contents of all staged files of this name, by their paths from the top.
pub(super) fn indexed(name: &str) -> Outcome<BTreeMap<PathBuf, String>> {
    let paths = format!(":(top,glob)**/{name}");
    let printed = git(
        None,
        ["ls-files", "--full-name", "--stage", "-z", "--", &paths],
    )?;
    let mut found = BTreeMap::new();
    // <mode> <object> <stage>, a tab, then the path.
    for line in printed.split(|byte| *byte == 0) {
        let Some(tab) = line.iter().position(|byte| *byte == b'\t') else {
            continue;
        };
        let (words, path) = line.split_at(tab);
        let words = String::from_utf8_lossy(words);
        let (Some(object), Some(path)) = (words.split(' ').nth(1), path.get(1..)) else {
            continue;
        };
        found.insert(PathBuf::from(OsStr::from_bytes(path)), object.to_owned());
    }
    Ok(found)
}

/// The content of a file at a revision; nothing if the revision does not have it.
pub(super) fn at_revision(file: &Path, revision: &str) -> Outcome<Option<Zeroizing<Vec<u8>>>> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let commit = git(
        Some(folder),
        [
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &format!("{revision}^{{commit}}"),
        ],
    );
    let commit = match commit {
        Ok(printed) => String::from_utf8_lossy(&printed).trim().to_owned(),
        Err(failure) if failure.kind() == Kind::Unavailable => return Err(failure),
        Err(_) => {
            // A folder outside of any repository has a better reason.
            top_level(Some(folder))?;
            return Err(Failure::usage(format_args!(
                "the repository has no revision {revision:?}"
            ))
            .remedy("name another one with --rev, or two files"));
        }
    };
    let mut path = OsString::from("./");
    path.push(file.file_name().unwrap_or_default());
    let listed = git(
        Some(folder),
        [
            OsStr::new("ls-tree"),
            OsStr::new("-z"),
            OsStr::new(&commit),
            OsStr::new("--"),
            &path,
        ],
    )?;
    // <mode> <type> <object>, a tab, then the path.
    let listed = String::from_utf8_lossy(&listed);
    let Some(object) = listed
        .split('\t')
        .next()
        .and_then(|words| words.split(' ').nth(2))
    else {
        return Ok(None);
    };
    blob(Some(folder), object).map(Some)
}
