//! A configuration file: read, parsed, replaced.

use std::{
    fs::Metadata,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use wingman_sdk::{
    SealedObject,
    document::{Document, DocumentError, Entry, Format, KeyPath, Label},
    signature_path,
};
use zeroize::Zeroizing;

use crate::{
    cli::{FileFormat, FormatArgs},
    failure::{Context, Failure, Kind, Outcome},
    files::{self, Sink, Source},
};

/// A configuration file, or standard input, parsed.
#[derive(Debug)]
pub(super) struct ConfigFile {
    name: String,
    source: Source,
    metadata: Option<Metadata>,
    document: Document,
}

impl ConfigFile {
    /// Reads and parses a file; standard input when absent or `-`.
    pub(super) fn read(path: Option<&Path>, format: FormatArgs) -> Outcome<Self> {
        let source = Source::of(path);
        let metadata = match &source {
            Source::Stdin => None,
            Source::File(path) => Some(
                path.metadata()
                    .map_err(|e| Failure::file(Kind::Input, path, &e))?,
            ),
        };
        let format = format_of(&source, format)?;
        let bytes = source.read("configuration file")?;
        let mut file = Self::of_bytes(&source.name(), format, &bytes)?;
        file.source = source;
        file.metadata = metadata;
        Ok(file)
    }

    /// Parses bytes that come from elsewhere; `name` is for messages.
    pub(super) fn of_bytes(name: &str, format: Format, bytes: &[u8]) -> Outcome<Self> {
        let text = std::str::from_utf8(bytes).about(Kind::Data, name)?;
        let document = Document::parse(format, text).map_err(|e| refused(name, &e))?;
        Ok(Self {
            name: name.to_owned(),
            source: Source::Stdin,
            metadata: None,
            document,
        })
    }

    /// Name for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its path, unless it is standard input.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::Stdin => None,
            Source::File(path) => Some(path),
        }
    }

    /// The mode of a file that is made of it: nobody reads there what he may not read here.
    pub(super) fn mode(&self) -> u32 {
        let own = |metadata: &Metadata| metadata.permissions().mode() & 0o666;
        self.metadata.as_ref().map_or(0o644, own)
    }

    /// What it holds.
    pub(super) fn document(&self) -> &Document {
        &self.document
    }

    /// `FILE:LINE: KEY` of a value.
    pub(super) fn place(&self, entry: &Entry) -> String {
        format!("{}:{}: {}", self.name, entry.line(), entry.path())
    }

    /// Replaces the file by `text`, which keeps its mode and owner; standard input goes to standard output.
    pub(super) fn replace(&self, text: &str) -> Outcome {
        let (Some(path), Some(metadata)) = (self.path(), &self.metadata) else {
            return files::write(None, 0o644, false, text.as_bytes());
        };
        let target = resolved(path)?;
        let now = files::read(&target, "configuration file")?;
        if now.as_slice() != self.document.as_str().as_bytes() {
            return Err(Failure::new(
                Kind::Temporary,
                format_args!("{} was changed by somebody else meanwhile", self.name),
            )
            .remedy("nothing was written; run the command again"));
        }
        Sink::replacing(&target, metadata)?.complete(text.as_bytes())?;
        let signature = signature_path(&target);
        if signature.exists() {
            eprintln!(
                "blindfold: {} no longer fits the file: sign it again with `blindfold sign`",
                signature.display()
            );
        }
        Ok(())
    }
}

/// A path with something added to its last name.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// The file that a link leads to, so that the link stays.
fn resolved(path: &Path) -> Outcome<PathBuf> {
    path.canonicalize()
        .map_err(|e| Failure::file(Kind::Input, path, &e))
}

/// The format by word, else by name.
fn format_of(source: &Source, format: FormatArgs) -> Outcome<Format> {
    let by_name = match source {
        Source::Stdin => None,
        Source::File(path) => Format::of_path(path),
    };
    named_format(format).or(by_name).ok_or_else(|| {
        Failure::usage(format_args!(
            "{}: the name does not tell the format",
            source.name()
        ))
        .remedy("say it: --format toml, yaml, json or env")
    })
}

/// The format that a word names.
pub(super) fn named_format(format: FormatArgs) -> Option<Format> {
    format.format.map(|format| match format {
        FileFormat::Toml => Format::Toml,
        FileFormat::Yaml => Format::Yaml,
        FileFormat::Json => Format::Json,
        FileFormat::Env => Format::Env,
    })
}

/// A document that is refused, with its place.
pub(super) fn refused(name: &str, error: &DocumentError) -> Failure {
    Failure::data(format_args!(
        "{name}:{}:{}: {}",
        error.line, error.column, error.message
    ))
    .remedy(&error.remedy)
}

/// A key path that a person wrote.
pub(super) fn key_path(text: &str) -> Outcome<KeyPath> {
    text.parse().kind(Kind::Usage)
}

/// The sealed object of an entry that is sealed at its place, with its label.
///
/// Nothing for a value in the clear. The message of a refusal says nothing about the file.
pub(super) fn sealed_in_place(entry: &Entry) -> Option<Result<(SealedObject, Label), Misplaced>> {
    let object = match entry.sealed()? {
        Ok(object) => object,
        Err(error) => {
            return Some(Err(Misplaced {
                message: format!("the sealed value is broken: {} ({error})", error.name()),
                remedy: "restore it from an older version of the file",
            }));
        }
    };
    let label = match object.label().parse::<Label>() {
        Ok(label) if label.path() == entry.path() => label,
        _ if object.label().is_empty() => {
            return Some(Err(Misplaced {
                message: "the sealed value has no label, so nothing says that it belongs here"
                    .to_owned(),
                remedy: "open it, and seal it anew with its key path as label: blindfold config set FILE KEY_PATH",
            }));
        }
        _ => {
            return Some(Err(Misplaced {
                message: format!("the sealed value belongs at {:?}", object.label()),
                remedy: "it was moved or swapped: put it back, or set the value anew: blindfold config set FILE KEY_PATH",
            }));
        }
    };
    Some(Ok((object, label)))
}

/// Why a sealed value does not do where it stands.
#[derive(Debug)]
pub(super) struct Misplaced {
    pub(super) message: String,
    pub(super) remedy: &'static str,
}

impl Misplaced {
    /// The failure, with the place.
    pub(super) fn at(self, place: &str) -> Failure {
        Failure::data(format_args!("{place}: {}", self.message)).remedy(self.remedy)
    }
}

/// Takes one line end from the end of a text that came through a pipe.
pub(super) fn without_line_end(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

/// Text that is wiped, from bytes.
pub(super) fn secret_text(bytes: &[u8], what: &str) -> Outcome<Zeroizing<String>> {
    std::str::from_utf8(bytes)
        .map(|text| Zeroizing::new(text.to_owned()))
        .map_err(|_| Failure::data(format_args!("{what} is not UTF-8 text")))
}
