//! Opening, sealing anew and replacing: in rounds, so that values share requests and memory stays bounded.
//!
//! A file is replaced as a whole, after everything in it that can be resealed was. Until then nothing of it is touched.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Write},
    path::PathBuf,
};

use blindfold_core::{Expectation, Header, SealError, Sealed, Sealer};
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use wingman_sdk::{ExposeSecret, SecretBytes, Wingman, signature_path};

use super::{
    log::{Log, Place, merged},
    plan::{Plan, Target},
    signed::{open_stream, signed_values},
    walk::{Content, Holder},
};
use crate::{
    commands::open::{failed, warn_of_liars},
    failure::{Context, Failure, Kind, Outcome},
    files::{Progress, Sink},
    limits::{MAX_RESEAL_ROUND_BYTES, MAX_RESEAL_ROUND_VALUES},
    random,
};

/// Bytes gathered before they are written to a file.
const WRITE_BUFFER: usize = 256 * 1024;

/// What may be done.
pub(super) enum Mode {
    /// Nothing: only say what would be.
    DryRun,
    /// Open as this workload and seal anew.
    Reseal {
        /// The workload.
        wingman: Box<Wingman>,
        /// Whether what was sealed anew is opened before its file is replaced.
        verify: bool,
    },
}

/// Reseals file after file.
pub(super) struct Resealer {
    target: Target,
    mode: Mode,
    ext_aad: Option<Vec<u8>>,
    log: Log,
    round: Vec<Job>,
    held: usize,
    counts: Counts,
}

/// A file, and what of it is to be sealed anew.
struct Job {
    holder: Holder,
    items: Vec<Item>,
}

/// A value that is to be sealed anew.
struct Item {
    place: Place,
    /// Its number in the text; nothing for an object that is the whole file.
    index: Option<usize>,
    sealed: Sealed,
    sealer: Sealer,
    expectation: Expectation,
}

/// What was seen and done.
#[derive(Debug, Default)]
struct Counts {
    files: usize,
    values: usize,
    current: usize,
    planned: usize,
    resealed: usize,
    replaced: usize,
}

impl Resealer {
    /// Reseals to `target`.
    pub(super) fn new(target: Target, mode: Mode, ext_aad: Option<Vec<u8>>, log: Log) -> Self {
        Self {
            target,
            mode,
            ext_aad,
            log,
            round: Vec::new(),
            held: 0,
            counts: Counts::default(),
        }
    }

    /// Takes the next file.
    pub(super) fn take(&mut self, file: Result<PathBuf, (PathBuf, Failure)>) -> Outcome {
        match file.and_then(Holder::read) {
            Ok(None) => Ok(()),
            Ok(Some(holder)) => {
                self.counts.files += 1;
                self.judge(holder)
            }
            Err((path, failure)) => self.log.problem(&Place::file(&path), &failure),
        }
    }

    /// Works off what is left and says what was done.
    pub(super) fn finish(mut self) -> Outcome {
        self.work_off()?;
        if let Mode::Reseal { wingman, .. } = &self.mode {
            warn_of_liars(wingman);
        }
        let Counts {
            files,
            values,
            current,
            planned,
            resealed,
            replaced,
        } = self.counts;
        let problems = self.log.problems();
        let dry_run = matches!(self.mode, Mode::DryRun);
        let done = if dry_run {
            format!("{planned} would be resealed")
        } else {
            format!("{resealed} resealed in {replaced} files")
        };
        self.log.say(
            format_args!(
                "{values} sealed values in {files} files: {done}, {current} current, {problems} problems"
            ),
            || {
                json!({
                    "event": "summary", "files": files, "values": values, "current": current, "planned": planned,
                    "resealed": resealed, "replaced_files": replaced, "problems": problems, "dry_run": dry_run,
                })
            },
        )?;
        self.log.finish(if dry_run {
            "values or files cannot be resealed; they are named above"
        } else {
            "values or files were not resealed; they are named above"
        })
    }

    /// Decides about every value in a file.
    fn judge(&mut self, holder: Holder) -> Outcome {
        let place = Place::file(&holder.path);
        match &holder.content {
            Content::Text { found, .. } => {
                let mut items = Vec::new();
                for (index, value) in found.iter().enumerate() {
                    let place = Place {
                        line: Some(value.line),
                        ..place.clone()
                    };
                    self.counts.values += 1;
                    match &value.object {
                        Ok(sealed) => items.extend(self.item(&place, Some(index), sealed)?),
                        Err(error) => {
                            let failure = Failure::data(format_args!(
                                "no whole sealed value: {} ({error})",
                                error.name()
                            ));
                            self.log.problem(&place, &failure)?;
                        }
                    }
                }
                self.queue(holder, items)
            }
            Content::Whole(sealed) => {
                self.counts.values += 1;
                let item = self.item(&place, None, sealed)?;
                self.queue(holder, item.into_iter().collect())
            }
            Content::Stream { header, file } => {
                self.counts.values += 1;
                let Some((place, plan)) = self.plan(&place, header)? else {
                    return Ok(());
                };
                match self.stream(&holder, header, file, &plan) {
                    Ok(true) => self.replaced(&holder, 1),
                    Ok(false) => Ok(()),
                    Err(failure) => self.log.problem(&place, &failure),
                }
            }
        }
    }

    /// What to do with an object, if anything: its place, now with its label, and the plan.
    fn plan(&mut self, place: &Place, header: &Header) -> Outcome<Option<(Place, Plan)>> {
        let place = Place {
            label: header.label().to_owned(),
            ..place.clone()
        };
        let planned = self.target.plan(header).and_then(|plan| {
            if plan.is_some() && header.requires_ext_aad() && self.ext_aad.is_none() {
                return Err(Failure::data("it was sealed with external data")
                    .remedy("give the same data again: --aad-file FILE"));
            }
            Ok(plan)
        });
        match planned {
            Ok(Some(plan)) => {
                self.counts.planned += 1;
                if matches!(self.mode, Mode::DryRun) {
                    let changes = &plan.changes;
                    self.log.say(
                        format_args!("would reseal {place}: {}", changes.join(", ")),
                        || {
                            merged(
                                json!({ "event": "would-reseal", "changes": changes }),
                                place.to_json(),
                            )
                        },
                    )?;
                }
                Ok(Some((place, plan)))
            }
            Ok(None) => {
                self.counts.current += 1;
                Ok(None)
            }
            Err(failure) => self.log.problem(&place, &failure).map(|()| None),
        }
    }

    fn item(
        &mut self,
        place: &Place,
        index: Option<usize>,
        sealed: &Sealed,
    ) -> Outcome<Option<Item>> {
        let header = sealed.header();
        let Some((place, plan)) = self.plan(place, header)? else {
            return Ok(None);
        };
        let sealer = match plan.locks.sealer(header.label(), self.ext_aad_of(header)) {
            Ok(sealer) => sealer,
            Err(failure) => return self.log.problem(&place, &failure).map(|()| None),
        };
        Ok(Some(Item {
            place,
            index,
            sealed: sealed.clone(),
            sealer,
            expectation: self.expectation(header),
        }))
    }

    fn ext_aad_of(&self, header: &Header) -> Option<Vec<u8>> {
        self.ext_aad.clone().filter(|_| header.requires_ext_aad())
    }

    fn expectation(&self, header: &Header) -> Expectation {
        let expectation = Expectation::new().label(header.label());
        match self.ext_aad_of(header) {
            Some(ext_aad) => expectation.ext_aad(ext_aad),
            None => expectation,
        }
    }

    /// Puts a file's values into the round, and works the round off when it is full.
    fn queue(&mut self, holder: Holder, items: Vec<Item>) -> Outcome {
        if items.is_empty() || matches!(self.mode, Mode::DryRun) {
            return Ok(());
        }
        let items = match self.proven(&holder, items) {
            Ok(items) => items,
            Err(failure) => return self.log.problem(&Place::file(&holder.path), &failure),
        };
        self.held += holder.held();
        self.round.push(Job { holder, items });
        let values: usize = self.round.iter().map(|job| job.items.len()).sum();
        if values >= MAX_RESEAL_ROUND_VALUES || self.held >= MAX_RESEAL_ROUND_BYTES {
            self.work_off()?;
        }
        Ok(())
    }

    /// The same values as their sealer signed them, where the profile asks for that.
    fn proven(&self, holder: &Holder, mut items: Vec<Item>) -> Outcome<Vec<Item>> {
        if let Mode::Reseal { wingman, .. } = &self.mode {
            let numbers: Vec<_> = items.iter().map(|item| item.index).collect();
            let signed = signed_values(wingman, holder, &numbers)?;
            for (item, signed) in items.iter_mut().zip(signed.into_iter().flatten()) {
                item.sealed = signed;
            }
        }
        Ok(items)
    }

    /// Opens all values of the round together, seals them anew and replaces their files.
    fn work_off(&mut self) -> Outcome {
        let round = std::mem::take(&mut self.round);
        self.held = 0;
        let Mode::Reseal { wingman, verify } = &self.mode else {
            return Ok(());
        };
        if round.is_empty() {
            return Ok(());
        }
        self.log
            .progress(format_args!("{} values resealed", self.counts.resealed));
        let items: Vec<&Item> = round.iter().flat_map(|job| &job.items).collect();
        let objects: Vec<_> = items
            .iter()
            .map(|item| (&item.sealed, &item.expectation))
            .collect();
        let opened: Vec<Outcome<SecretBytes>> = wingman
            .open_each(&objects)
            .into_iter()
            .map(|result| result.map_err(|e| failed(&e)))
            .collect();
        if let Some(failure) = nobody_answers(&opened) {
            return Err(failure);
        }
        let mut anew: Vec<Outcome<Sealed>> = items
            .iter()
            .zip(&opened)
            .map(|(item, secret)| match secret {
                Ok(secret) => item.seal(secret),
                Err(failure) => Err(failure.clone()),
            })
            .collect();
        if *verify {
            check_opens(wingman, &items, &opened, &mut anew);
        }
        drop(opened);
        let mut anew = anew.into_iter();
        for job in &round {
            let mut parts = Vec::new();
            for (item, result) in job.items.iter().zip(anew.by_ref()) {
                match result {
                    Ok(sealed) => parts.push((item, sealed)),
                    Err(failure) => self.log.problem(&item.place, &failure)?,
                }
            }
            if parts.is_empty() {
                continue;
            }
            match job.holder.replace(&parts) {
                Ok(()) => self.replaced(&job.holder, parts.len())?,
                Err(failure) => self.log.problem(&Place::file(&job.holder.path), &failure)?,
            }
        }
        Ok(())
    }

    /// Reseals an object of any size in constant memory; `false` if nothing is to be written.
    fn stream(&self, holder: &Holder, header: &Header, file: &File, plan: &Plan) -> Outcome<bool> {
        let sealer = plan.locks.sealer(header.label(), self.ext_aad_of(header))?;
        let Mode::Reseal { wingman, verify } = &self.mode else {
            return Ok(false);
        };
        let expectation = self.expectation(header);
        let mut sink = Sink::replacing(&holder.path, &holder.metadata)?;
        let size = holder.metadata.len();
        let digest = open_stream(wingman, &holder.path, file, size, &expectation, |opened| {
            let mut plaintext = Hashed::new(opened);
            let mut writer = BufWriter::with_capacity(WRITE_BUFFER, &mut sink);
            sealer
                .seal_stream(&mut plaintext, &mut writer, &mut random::generator())
                .map_err(|error| not_sealed(&error))?;
            writer.flush().about(Kind::Io, "output")?;
            Ok(plaintext.digest())
        })?;
        if *verify && let Some(written) = sink.reread()? {
            let mut again = Hashed::new(
                wingman
                    .open_reader(
                        Progress::new(written, Some(size), "verifying"),
                        &expectation,
                    )
                    .map_err(|e| not_verified(&failed(&e)))?,
            );
            io::copy(&mut again, &mut io::sink()).about(Kind::Data, "verifying")?;
            if !bool::from(again.digest().ct_eq(&digest)) {
                return Err(differs());
            }
        }
        holder.check_unchanged()?;
        sink.finish()?;
        Ok(true)
    }

    /// Says that a file was replaced.
    fn replaced(&mut self, holder: &Holder, values: usize) -> Outcome {
        self.counts.replaced += 1;
        self.counts.resealed += values;
        let stale = signature_path(&holder.path).symlink_metadata().is_ok();
        let place = Place::file(&holder.path);
        let hint = if stale {
            " — its signature does not fit any more, sign it again"
        } else {
            ""
        };
        let plural = if values == 1 { "value" } else { "values" };
        self.log.say(
            format_args!("resealed {place}: {values} {plural}{hint}"),
            || {
                let event =
                    json!({ "event": "resealed", "values": values, "signature_stale": stale });
                merged(event, place.to_json())
            },
        )
    }
}

impl Item {
    fn seal(&self, secret: &SecretBytes) -> Outcome<Sealed> {
        let object = self
            .sealer
            .seal(secret.expose_secret(), &mut random::generator())
            .about(Kind::Data, "cannot seal")?;
        Sealed::from_vec(object).about(Kind::Internal, "sealed object")
    }
}

impl Holder {
    /// Replaces the file, with `parts` in the place of what they were made from.
    fn replace(&self, parts: &[(&Item, Sealed)]) -> Outcome {
        let mut sink = Sink::replacing(&self.path, &self.metadata)?;
        self.write(parts, &mut sink)
            .map_err(|e| Failure::file(Kind::Io, &self.path, &e))?;
        self.check_unchanged()?;
        sink.finish()
    }

    fn write(&self, parts: &[(&Item, Sealed)], sink: &mut impl Write) -> io::Result<()> {
        let Content::Text { bytes, found } = &self.content else {
            return parts
                .iter()
                .try_for_each(|(_, sealed)| sink.write_all(sealed.as_bytes()));
        };
        let mut written = 0;
        for (item, sealed) in parts {
            let Some(value) = item.index.and_then(|index| found.get(index)) else {
                continue;
            };
            let before = bytes.get(written..value.range.start).unwrap_or_default();
            sink.write_all(before)?;
            sink.write_all(value.form.write(sealed).as_bytes())?;
            written = value.range.end;
        }
        sink.write_all(bytes.get(written..).unwrap_or_default())
    }
}

/// The failure that ends the command: no value of a whole round was opened, and none of the next would be.
fn nobody_answers(opened: &[Outcome<SecretBytes>]) -> Option<Failure> {
    let fatal = |failure: &Failure| matches!(failure.kind(), Kind::Unavailable | Kind::Usage);
    let all = opened
        .iter()
        .all(|result| result.as_ref().err().is_some_and(fatal));
    let first = opened.first()?.as_ref().err()?;
    all.then(|| first.clone())
}

/// Opens what was sealed anew; what does not open, or is not what it was, becomes a failure.
fn check_opens(
    wingman: &Wingman,
    items: &[&Item],
    before: &[Outcome<SecretBytes>],
    anew: &mut [Outcome<Sealed>],
) {
    let objects: Vec<_> = anew
        .iter()
        .zip(items)
        .filter_map(|(sealed, item)| Some((sealed.as_ref().ok()?, &item.expectation)))
        .collect();
    let opened: Vec<_> = wingman.open_each(&objects);
    let mut opened = opened.into_iter();
    for (sealed, before) in anew.iter_mut().zip(before) {
        let (Ok(_), Ok(before)) = (&*sealed, before) else {
            continue;
        };
        let verdict = match opened.next() {
            Some(Ok(after)) => {
                let same = before.expose_secret().ct_eq(after.expose_secret());
                bool::from(same).then_some(()).ok_or_else(differs)
            }
            Some(Err(error)) => Err(not_verified(&failed(&error))),
            None => Err(Failure::new(Kind::Internal, "not opened again")),
        };
        if let Err(failure) = verdict {
            *sealed = Err(failure);
        }
    }
}

fn not_verified(failure: &Failure) -> Failure {
    Failure::new(
        failure.kind(),
        format_args!("sealed anew it does not open, so it was left as it was: {failure}"),
    )
}

fn differs() -> Failure {
    Failure::new(
        Kind::Internal,
        "sealed anew it opens to something else, so it was left as it was",
    )
}

fn not_sealed(error: &SealError) -> Failure {
    let kind = match error {
        // What is read is the opened object, which tells so when it is not authentic.
        SealError::Read(e) if e.kind() == io::ErrorKind::InvalidData => Kind::Data,
        _ => Kind::Io,
    };
    Failure::new(kind, crate::failure::chain(error))
}

/// A reader that keeps a digest of what was read.
struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R> Hashed<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
        }
    }

    fn digest(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hash.update(buf.get(..n).unwrap_or_default());
        Ok(n)
    }
}
