//! `blindfold config verify`: offline.

use std::path::Path;

use super::{
    file::ConfigFile,
    findings::{Report, conclude},
    opened,
    setting::Setting,
};
use crate::{
    cli::ConfigVerifyArgs,
    failure::{Failure, Outcome},
};

/// Runs `blindfold config verify`.
pub(super) fn run(args: &ConfigVerifyArgs, json: bool) -> Outcome {
    let pinned = match &args.opener.config {
        Some(config) => Some(opened::wingman(config)?),
        None => None,
    };
    let mut reports = Vec::new();
    for path in &args.files {
        let setting = Setting::of(
            Some(path.as_path()).filter(|path| *path != Path::new("-")),
            &args.select,
            Some(&args.locks),
        )?;
        let mut demands = setting.demands()?;
        if let Some(wingman) = &pinned {
            demands
                .records
                .extend(wingman.pinned_keys().iter().cloned());
        }
        if demands.records.is_empty() {
            return Err(Failure::usage(format_args!(
                "nothing says which keys {} may be sealed to",
                path.display()
            ))
            .remedy("give --key, write `keys` into a rule for the file, or set BLINDFOLD_CONFIG"));
        }
        reports.push(match ConfigFile::read(Some(path), args.format) {
            Ok(file) => Report::of(&file, setting.selection(), Some(&demands)),
            Err(failure) => Report::unreadable(&path.display().to_string(), &failure),
        });
    }
    conclude(&reports, json)
}
