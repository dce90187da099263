//! Words of `blindfold config …`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::LockArgs;

/// `blindfold config …`
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Seal values inside configuration files, in place and offline
    Seal(ConfigSealArgs),
    /// Edit a file in the clear, and seal again only what changed
    Edit(ConfigEditArgs),
    /// Seal a new content for one value, offline
    Set(ConfigSetArgs),
    /// Print a file with its sealed values in the clear
    #[command(after_help = "\
Examples:
  blindfold config show config/prod.yaml
  blindfold config show -o /dev/shm/prod.yaml config/prod.yaml")]
    Show(ConfigShowArgs),
    /// Print one value in the clear, without a line end
    #[command(after_help = "Example:\n  psql \"$(blindfold config get config/prod.yaml db.dsn)\"")]
    Get(ConfigGetArgs),
    /// Check sealed values offline: form, place, keys, policy; and that nothing was left in the clear
    Verify(ConfigVerifyArgs),
    /// Refuse cleartext where sealed values belong, in files or in what is staged for a commit
    Check(ConfigCheckArgs),
    /// Show what changed, key by key, without the cleartext of sealed values
    Diff(ConfigDiffArgs),
    /// Print a file for `git diff`, each sealed value as one short line
    #[command(after_help = "\
Example, as `blindfold config git-setup` writes it:
  git config diff.blindfold.textconv 'blindfold config textconv'
  echo '*.yaml diff=blindfold' >> .gitattributes")]
    Textconv(ConfigTextconvArgs),
    /// Teach a Git repository to show sealed values and to refuse cleartext
    GitSetup(ConfigGitSetupArgs),
}

/// Which values, and the file with the rules.
#[derive(Args, Debug, Default)]
pub(crate) struct SelectArgs {
    /// Key path of a value, or of a table with everything in it, such as db.password; may be repeated
    #[arg(long = "path", value_name = "KEY_PATH")]
    pub(crate) paths: Vec<String>,
    /// Pattern of key paths, in any case: '*password*', 'db.*', '**' for all; may be repeated
    #[arg(long = "pattern", value_name = "GLOB")]
    pub(crate) patterns: Vec<String>,
    /// Pattern of key paths that stay in the clear all the same; may be repeated
    #[arg(long = "except", value_name = "GLOB")]
    pub(crate) except: Vec<String>,
    /// Rules file; else .blindfold.toml in the file's folder or the nearest one above it, up to the repository's
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) rules: Option<PathBuf>,
}

/// Format of a configuration file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum FileFormat {
    /// TOML
    Toml,
    /// YAML
    Yaml,
    /// JSON
    Json,
    /// NAME=value
    Env,
}

/// The format where the name does not tell.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct FormatArgs {
    /// Format, where the file's name does not tell
    #[arg(long, value_enum)]
    pub(crate) format: Option<FileFormat>,
}

/// As whom sealed values are opened.
#[derive(Args, Debug)]
pub(crate) struct OpenerArgs {
    /// The workload's or person's configuration: identity, unsealers, acceptance profile
    #[arg(long, env = "BLINDFOLD_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
}

/// As whom sealed values are opened, where that is wanted; and whose pinned keys count.
#[derive(Args, Debug)]
pub(crate) struct MaybeOpenerArgs {
    /// The workload's or person's configuration: identity, unsealers, acceptance profile
    #[arg(long, env = "BLINDFOLD_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
}

/// Words of `config seal`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  blindfold config seal config/prod.yaml                      as .blindfold.toml says
  blindfold config seal app.toml --key unsealer.pub --policy prod.yaml --path db.password --pattern '*token*'
  blindfold config seal --format env --key k.pub --policy-name prod/app --pattern '**' < .env > .env.sealed

Comments, order and formatting stay; values that are sealed already keep their exact bytes. Every value is sealed
with its key path as label, so that it opens only at its place. Null and empty values are left alone.

.blindfold.toml, the first rule whose `files` match decides:
  [[rule]]
  files = [\"config/prod/*.yaml\"]       # a name without / matches in every folder below; none: every file
  patterns = [\"*password*\", \"*token*\"]
  keys = [\"keys/unsealer.pub\"]         # paths are relative to the rules file
  policy = \"policies/prod.yaml\"        # or policy_name, policy_digest_of")]
pub(crate) struct ConfigSealArgs {
    /// Configuration file; standard input to standard output when - or absent
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) locks: LockArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    /// Where the result goes, - for standard output; the file itself when absent
    #[arg(long, short, value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    /// Replace an existing output file
    #[arg(long)]
    pub(crate) force: bool,
    /// Say what would be sealed, and write nothing
    #[arg(long, conflicts_with = "out")]
    pub(crate) dry_run: bool,
}

/// Words of `config edit`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  export BLINDFOLD_CONFIG=~/.config/blindfold/me.toml EDITOR=vim
  blindfold config edit config/prod.yaml

The editor is $VISUAL, else $EDITOR, else vi. The cleartext lies in a folder of yours alone, in memory where the system
has such storage, and is removed at the end and on signals. A value that changed is sealed with the locks it had; new
values are sealed where the rules say so, or where their text is that of a sealed value. If the result cannot be used,
you can edit it again; else it is kept, sealed, in FILE.draft.sealed, for --resume.")]
pub(crate) struct ConfigEditArgs {
    /// Configuration file
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) opener: OpenerArgs,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) locks: LockArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    /// Go on with the draft that an earlier edit kept
    #[arg(long)]
    pub(crate) resume: bool,
}

/// Words of `config set`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  blindfold config set config/prod.yaml db.password < new-password
  printf 5433 | blindfold config set app.toml db.port --kind integer --key unsealer.pub --policy prod.yaml

The new content comes from standard input, without one line end at its end. Nobody has to be able to open the old
value: its locks are taken over where the records of its keys are at hand and the rule, if there is one, demands no
others; else those of the rule are taken.")]
pub(crate) struct ConfigSetArgs {
    /// Configuration file
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Key path of a value that the file has
    #[arg(value_name = "KEY_PATH")]
    pub(crate) path: String,
    /// What the content is; the kind of the old value when absent
    #[arg(long, value_enum)]
    pub(crate) kind: Option<ValueKind>,
    /// Rules file; else .blindfold.toml in the file's folder or the nearest one above it, up to the repository's
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) rules: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) opener: MaybeOpenerArgs,
    #[command(flatten)]
    pub(crate) locks: LockArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Kind of a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ValueKind {
    /// Text
    String,
    /// A whole number
    Integer,
    /// A number with a fraction or an exponent
    Float,
    /// true or false
    Boolean,
    /// A TOML date, time, or both
    Datetime,
}

/// Words of `config show`.
#[derive(Args, Debug)]
pub(crate) struct ConfigShowArgs {
    /// Configuration file; standard input when absent or -
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) opener: OpenerArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    /// Where the cleartext goes, readable by its owner only; standard output when absent
    #[arg(long, short, value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    /// Replace an existing output file
    #[arg(long)]
    pub(crate) force: bool,
}

/// Words of `config get`.
#[derive(Args, Debug)]
pub(crate) struct ConfigGetArgs {
    /// Configuration file; standard input when -
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Key path of the value
    #[arg(value_name = "KEY_PATH")]
    pub(crate) path: String,
    #[command(flatten)]
    pub(crate) opener: OpenerArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Words of `config verify`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  blindfold config verify config/*.yaml
  blindfold config verify app.toml --key unsealer.pub --policy prod.yaml --pattern '*password*'

Offline. For every sealed value: its form, its label against its place, its keys against those given, those of the rule
and those pinned in BLINDFOLD_CONFIG, its policy, threshold, site and recovery locks against the words or the rule.
No value that the patterns choose may be in the clear. Exit code 65 when anything is found.")]
pub(crate) struct ConfigVerifyArgs {
    /// Configuration file
    #[arg(required = true, value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) locks: LockArgs,
    #[command(flatten)]
    pub(crate) opener: MaybeOpenerArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Words of `config check`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  blindfold config check --staged           as a pre-commit hook; `blindfold config git-setup` installs one
  blindfold config check config/*.yaml

With --staged the contents that will be committed are read, and the rules that will be committed with them. Files that
no rule names are not looked at. Exit code 65 when a value is in the clear where the patterns want it sealed, or when
a sealed value is malformed or not at its place.")]
pub(crate) struct ConfigCheckArgs {
    /// Configuration file
    #[arg(value_hint = ValueHint::FilePath, required_unless_present = "staged")]
    pub(crate) files: Vec<PathBuf>,
    /// Check what is staged in Git
    #[arg(long, conflicts_with_all = ["files", "rules"])]
    pub(crate) staged: bool,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Words of `config diff`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  blindfold config diff config/prod.yaml                    against the last commit
  blindfold config diff --rev v1.2 --open config/prod.yaml
  blindfold config diff old.toml new.yaml

A value that is sealed on either side is never shown without --open. Formats may differ: key paths are compared.")]
pub(crate) struct ConfigDiffArgs {
    /// The old file; the new one if it is the only one
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// The new file
    #[arg(value_hint = ValueHint::FilePath, conflicts_with = "rev")]
    pub(crate) other: Option<PathBuf>,
    /// Git revision to compare with
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    pub(crate) rev: String,
    /// Show sealed values in the clear, as one who may open them
    #[arg(long, requires = "config")]
    pub(crate) open: bool,
    #[command(flatten)]
    pub(crate) opener: MaybeOpenerArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Words of `config textconv`.
#[derive(Args, Debug)]
pub(crate) struct ConfigTextconvArgs {
    /// The file that Git wants to show
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Show sealed values in the clear where they open, as one who may open them
    #[arg(long)]
    pub(crate) open: bool,
    #[command(flatten)]
    pub(crate) opener: MaybeOpenerArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Words of `config git-setup`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  blindfold config git-setup                asks before it writes
  blindfold config git-setup --yes --no-hook

Writes lines for the files of the rules to .gitattributes, the diff driver to the repository's Git configuration, and
a pre-commit hook. A hook that is there already is never changed.")]
pub(crate) struct ConfigGitSetupArgs {
    /// Folder inside the repository
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) folder: PathBuf,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Let `git diff` show sealed values in the clear to those who may open them
    #[arg(long)]
    pub(crate) open: bool,
    /// Leave the pre-commit hook out
    #[arg(long)]
    pub(crate) no_hook: bool,
}
