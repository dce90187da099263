//! The private folder with the cleartext, and the editor.

use std::{
    ffi::{OsStr, OsString},
    fs::{OpenOptions, Permissions},
    io::{Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::{
    cleanup::Unfinished,
    failure::{Context, Failure, Kind, Outcome},
    files::MAX_WHOLE,
};

/// A folder of its user alone, with one file in it; both go with it, also when the command is interrupted.
///
/// Not promised: that memory-backed storage is never swapped out, that an editor leaves no copies elsewhere (vim is
/// told not to), and that SIGKILL leaves nothing.
#[derive(Debug)]
pub(super) struct Workspace {
    path: PathBuf,
    // Dropped before the registration ends, so that an interruption meanwhile finds the folder.
    folder: TempDir,
    _unfinished: Unfinished,
}

impl Workspace {
    /// Puts `text` into a file that is named as `path` is, so that editors know what it is.
    pub(super) fn new(path: &Path, text: &[u8]) -> Outcome<Self> {
        let place = memory();
        if place.is_none() {
            eprintln!(
                "blindfold: no memory-backed folder of yours is found: the cleartext lies on the disk while you edit"
            );
        }
        let place = place.unwrap_or_else(std::env::temp_dir);
        let (folder, _unfinished) = Unfinished::make(|| {
            tempfile::Builder::new()
                .prefix("blindfold-edit-")
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(&place)
        })
        .map_err(|e| Failure::file(Kind::Output, &place, &e))?;
        let name = path.file_name().map_or("config".into(), OsString::from);
        let path = folder.path().join(name);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text))
            .map_err(|e| Failure::file(Kind::Output, &path, &e))?;
        Ok(Self {
            path,
            folder,
            _unfinished,
        })
    }

    /// Runs the editor until it ends.
    pub(super) fn edit(&self) -> Outcome {
        let editor = ["VISUAL", "EDITOR"]
            .into_iter()
            .filter_map(std::env::var_os)
            .find(|editor| !editor.is_empty())
            .unwrap_or_else(|| "vi".into());
        // As Git does it: the variable is a piece of shell, such as `code --wait`.
        let mut script = editor.clone();
        script.push(" \"$@\"");
        let status = Command::new("sh")
            .arg("-c")
            .arg(script)
            .arg(&editor)
            .args(quiet(&editor))
            .arg(&self.path)
            .current_dir(self.folder.path())
            .status()
            .about(Kind::Unavailable, "cannot run a shell for the editor")?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(
            Kind::Io,
            format_args!("the editor {} ended with {status}", editor.display()),
        )
        .remedy("set VISUAL or EDITOR to an editor that waits until the file is closed, such as 'code --wait'"))
    }

    /// What the file holds now.
    pub(super) fn read(&self) -> Outcome<Zeroizing<Vec<u8>>> {
        let failed = |e: std::io::Error| Failure::file(Kind::Io, &self.path, &e);
        let file = OpenOptions::new()
            .read(true)
            .open(&self.path)
            .map_err(failed)?;
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(MAX_WHOLE + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > MAX_WHOLE {
            return Err(Failure::data("the edited file is too large"));
        }
        Ok(bytes)
    }
}

/// Words that keep an editor from leaving copies of what it shows.
///
/// `-c` comes after the user's own settings, which often keep undo files and backups in a folder on the disk.
fn quiet(editor: &OsStr) -> &'static [&'static str] {
    let editor = editor.to_string_lossy();
    let program = editor.split_whitespace().next().unwrap_or_default();
    let is_vim = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.split('.').next().unwrap_or_default();
        matches!(name, "vim" | "nvim" | "gvim" | "vimx")
    };
    // `vi` is vim on many systems, by a link.
    if is_vim(Path::new(program)) || target(program).is_some_and(|path| is_vim(&path)) {
        &[
            "-n",
            "-i",
            "NONE",
            "-c",
            "set nobackup nowritebackup noundofile",
        ]
    } else {
        &[]
    }
}

/// The file that a program's name leads to, links followed.
fn target(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Path::new(program).canonicalize().ok();
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).find_map(|folder| folder.join(program).canonicalize().ok())
}

/// A folder in memory that this user can write: the session's own, else the system's.
#[cfg(target_os = "linux")]
fn memory() -> Option<PathBuf> {
    /// `f_type` of tmpfs and ramfs (Linux, `magic.h`).
    const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
    let session = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    session
        .into_iter()
        .chain([PathBuf::from("/dev/shm")])
        .find(|path| {
            let kind = rustix::fs::statfs(path).map(|stat| stat.f_type as u64 & 0xffff_ffff);
            let writable = rustix::fs::access(path, rustix::fs::Access::WRITE_OK);
            path.is_absolute()
                && writable.is_ok()
                && kind.is_ok_and(|kind| IN_MEMORY.contains(&kind))
        })
}

/// No portable way to tell.
#[cfg(not(target_os = "linux"))]
fn memory() -> Option<PathBuf> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_and_file_are_private_and_go_with_it() {
        let workspace = Workspace::new(Path::new("conf/app.toml"), b"a = 1\n").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let folder = workspace.folder.path().to_owned();
        assert_eq!((mode(&folder), mode(&workspace.path)), (0o700, 0o600));
        assert_eq!(workspace.path.file_name().unwrap(), "app.toml");
        assert_eq!(workspace.read().unwrap().as_slice(), b"a = 1\n");
        drop(workspace);
        assert!(!folder.exists());
    }

    #[test]
    fn vim_is_told_to_leave_no_copies() {
        assert!(quiet("/usr/bin/vim -R".as_ref()).contains(&"NONE"));
        assert!(quiet("nvim".as_ref()).contains(&"-n"));
        assert!(quiet("vim.basic".as_ref()).contains(&"-n"));
        assert!(quiet("code --wait".as_ref()).is_empty());
        let folder = tempfile::tempdir().unwrap();
        let (vim, vi) = (folder.path().join("vim.tiny"), folder.path().join("vi"));
        std::fs::write(&vim, "").unwrap();
        std::os::unix::fs::symlink(&vim, &vi).unwrap();
        // After the user's settings, which `--cmd` is not.
        let words = quiet(vi.as_os_str());
        assert!(
            words.contains(&"-c") && !words.contains(&"--cmd"),
            "{words:?}"
        );
    }

    #[test]
    fn programs_are_found_as_a_shell_finds_them() {
        assert!(target("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(target("no-such-editor"), None);
        assert_eq!(target("/no/such/editor"), None);
    }
}
