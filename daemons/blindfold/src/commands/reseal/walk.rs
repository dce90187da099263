//! The files of a tree, and what each of them holds. Symbolic links are never followed.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, BufReader, Read, Seek},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use blindfold_core::{Header, Sealed, StreamError};
use rustix::fs::OFlags;

use super::find::{self, Found};
use crate::{
    failure::{Failure, Kind, Outcome},
    files::MAX_WHOLE,
    limits::{MAX_RESEAL_DEPTH, MAX_RESEAL_WHOLE_BYTES, PROBED_BYTES},
};

/// What a binary object of any version begins with. A text may begin with the first six bytes.
const BINARY: &[u8] = b"PBSEAL\0";

/// Folders of version control, whose files are not to be written by others.
const LEFT_OUT: [&str; 4] = [".git", ".hg", ".svn", ".jj"];

/// Flags beside reading: a link is not followed, and a FIFO does not make us wait.
#[expect(
    clippy::cast_possible_wrap,
    reason = "flag bits, far below the sign bit"
)]
const CAREFUL: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits() as i32;

/// The regular files below some paths, depth first, in the order of their names.
#[derive(Debug)]
pub(super) struct Walk {
    stack: Vec<(PathBuf, usize)>,
}

impl Walk {
    /// The files at and below `paths`. A path below another one is visited once.
    pub(super) fn new(paths: &[PathBuf]) -> Outcome<Self> {
        let mut roots: Vec<(PathBuf, PathBuf)> = Vec::new();
        for path in paths {
            let failed = |e: io::Error| Failure::file(Kind::Input, path, &e);
            if path.symlink_metadata().map_err(failed)?.is_symlink() {
                return Err(Failure::usage(format_args!(
                    "{} is a symbolic link, which is not followed",
                    path.display()
                ))
                .remedy("name what it points to"));
            }
            let real = path.canonicalize().map_err(failed)?;
            if !roots.iter().any(|(_, other)| real.starts_with(other)) {
                roots.retain(|(_, other)| !other.starts_with(&real));
                roots.push((path.clone(), real));
            }
        }
        let stack = roots.into_iter().rev().map(|(path, _)| (path, 0)).collect();
        Ok(Self { stack })
    }

    /// Puts what is in a folder on the stack.
    fn enter(&mut self, folder: &Path, depth: usize) -> Result<(), Failure> {
        if depth > MAX_RESEAL_DEPTH {
            return Err(Failure::new(
                Kind::Input,
                format_args!("{}: folders nest too deeply", folder.display()),
            ));
        }
        let failed = |e: io::Error| Failure::file(Kind::Input, folder, &e);
        let mut names = std::fs::read_dir(folder)
            .and_then(|entries| entries.collect::<io::Result<Vec<_>>>())
            .map_err(failed)?;
        names.retain(|entry| !LEFT_OUT.iter().any(|name| entry.file_name() == *name));
        names.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
        let paths = names.iter().map(|entry| (entry.path(), depth));
        self.stack.extend(paths);
        Ok(())
    }
}

impl Iterator for Walk {
    /// A file, or a path that could not be looked at.
    type Item = Result<PathBuf, (PathBuf, Failure)>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some((path, depth)) = self.stack.pop() {
            match path.symlink_metadata() {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => {
                    let failure = Failure::file(Kind::Input, &path, &e);
                    return Some(Err((path, failure)));
                }
                Ok(metadata) if metadata.is_file() => return Some(Ok(path)),
                Ok(metadata) if metadata.is_dir() => {
                    if let Err(failure) = self.enter(&path, depth + 1) {
                        return Some(Err((path, failure)));
                    }
                }
                // Links, sockets and devices hold no values of their own.
                Ok(_) => {}
            }
        }
        None
    }
}

/// A file with sealed values in it.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) path: PathBuf,
    /// Of the file that was read.
    pub(super) metadata: Metadata,
    pub(super) content: Content,
}

/// What a file holds.
#[derive(Debug)]
pub(super) enum Content {
    /// A text with values in it.
    Text { bytes: Vec<u8>, found: Vec<Found> },
    /// One object of some size, in binary.
    Whole(Sealed),
    /// One object of any size, in binary: its file stands at its beginning.
    Stream { header: Box<Header>, file: File },
}

impl Holder {
    /// Reads a file; nothing if it holds no sealed value.
    pub(super) fn read(path: PathBuf) -> Result<Option<Self>, (PathBuf, Failure)> {
        match read(&path) {
            Ok(None) => Ok(None),
            Ok(Some((metadata, content))) => Ok(Some(Self {
                path,
                metadata,
                content,
            })),
            Err(failure) => Err((path, failure)),
        }
    }

    /// Bytes that it takes in memory.
    pub(super) fn held(&self) -> usize {
        match &self.content {
            Content::Text { bytes, .. } => bytes.len(),
            Content::Whole(sealed) => sealed.as_bytes().len(),
            Content::Stream { header, .. } => header.as_bytes().len(),
        }
    }

    /// Refuses a file that is not the one that was read any more.
    pub(super) fn check_unchanged(&self) -> Outcome {
        let state = |m: &Metadata| {
            let modified = (m.mtime(), m.mtime_nsec());
            (m.dev(), m.ino(), m.len(), modified, m.is_file())
        };
        let now = self
            .path
            .symlink_metadata()
            .map_err(|e| Failure::file(Kind::Temporary, &self.path, &e))?;
        if state(&now) == state(&self.metadata) {
            return Ok(());
        }
        Err(Failure::new(
            Kind::Temporary,
            format_args!(
                "{} was changed by somebody else meanwhile and was left alone",
                self.path.display()
            ),
        )
        .remedy("run the same command again"))
    }
}

fn read(path: &Path) -> Outcome<Option<(Metadata, Content)>> {
    let failed = |e: io::Error| Failure::file(Kind::Input, path, &e);
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(CAREFUL)
        .open(path)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    (&file)
        .take(PROBED_BYTES)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.starts_with(BINARY) {
        let content = binary(path, file, metadata.len())?;
        return Ok(Some((metadata, content)));
    }
    if metadata.len() > MAX_WHOLE {
        if bytes.contains(&0) {
            return Ok(None);
        }
        return Err(Failure::data(format_args!(
            "{}: a text over {} MiB is not searched",
            path.display(),
            MAX_WHOLE >> 20
        )));
    }
    file.by_ref()
        .take(MAX_WHOLE)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let found = find::in_text(&bytes);
    if bytes.contains(&0) {
        // Its own format may count bytes, so nothing in it can be replaced.
        return match found.iter().find(|value| value.object.is_ok()) {
            None => Ok(None),
            Some(_) => Err(Failure::data(format_args!(
                "{} holds sealed values, but is no text: it was left alone",
                path.display()
            ))
            .remedy("seal them anew where the file is made")),
        };
    }
    Ok((!found.is_empty()).then_some((metadata, Content::Text { bytes, found })))
}

/// A binary object; small ones are held in memory, so that they are opened together with others.
fn binary(path: &Path, mut file: File, length: u64) -> Outcome<Content> {
    let failed = |e: io::Error| Failure::file(Kind::Io, path, &e);
    let refused = |error: &blindfold_core::OpenError| {
        Failure::data(format_args!(
            "{}: {} ({error})",
            path.display(),
            error.name()
        ))
    };
    file.rewind().map_err(failed)?;
    if length <= MAX_RESEAL_WHOLE_BYTES {
        let mut bytes = Vec::new();
        file.take(MAX_RESEAL_WHOLE_BYTES)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        return Sealed::from_vec(bytes)
            .map(Content::Whole)
            .map_err(|e| refused(&e));
    }
    let header = Header::read_from(&mut BufReader::new(&file)).map_err(|error| match error {
        StreamError::Refused(error) => refused(&error),
        StreamError::Read(error) => failed(error),
        other => Failure::new(Kind::Io, crate::failure::chain(&other)),
    })?;
    file.rewind().map_err(failed)?;
    Ok(Content::Stream {
        header: Box::new(header),
        file,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[PathBuf], base: &Path) -> Vec<String> {
        Walk::new(paths)
            .unwrap()
            .map(|found| {
                let path = found.unwrap();
                path.strip_prefix(base).unwrap().display().to_string()
            })
            .collect()
    }

    #[test]
    fn tree_is_walked_in_order_without_links_and_version_control() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        for name in ["b/c", "b/.git", ".git/objects", "a"] {
            std::fs::create_dir_all(base.join(name)).unwrap();
        }
        for name in [
            "b/c/2",
            "b/1",
            "a/3",
            ".git/objects/x",
            "b/.git/y",
            "z",
            ".env",
        ] {
            std::fs::write(base.join(name), name).unwrap();
        }
        std::os::unix::fs::symlink(base.join("b"), base.join("link")).unwrap();
        std::os::unix::fs::symlink(base.join("z"), base.join("a/link")).unwrap();
        let expected = [".env", "a/3", "b/1", "b/c/2", "z"];
        assert_eq!(names(&[base.to_owned()], base), expected);
        // One file inside of a folder that is named too, and a folder named twice.
        let paths = ["b/1", "b", "b/../b", "z"].map(|name| base.join(name));
        assert_eq!(Walk::new(&paths).unwrap().count(), 3);
        let link = Walk::new(&[base.join("link")]).unwrap_err();
        assert_eq!(link.kind(), Kind::Usage);
        let missing = Walk::new(&[base.join("none")]).unwrap_err();
        assert_eq!(missing.kind(), Kind::Input);
    }

    #[test]
    fn link_put_in_the_place_of_a_file_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("t"), folder.path().join("l"));
        std::fs::write(&target, "x").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(read(&link).is_err());
        assert!(read(&target).unwrap().is_none());
    }

    #[test]
    fn changed_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "x").unwrap();
        let holder = Holder {
            path: path.clone(),
            metadata: path.metadata().unwrap(),
            content: Content::Text {
                bytes: Vec::new(),
                found: Vec::new(),
            },
        };
        holder.check_unchanged().unwrap();
        std::fs::write(&path, "xy").unwrap();
        assert_eq!(
            holder.check_unchanged().unwrap_err().kind(),
            Kind::Temporary
        );
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(holder.check_unchanged().is_err());
    }
}
