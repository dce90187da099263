//! Words of `blindfold root`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

/// `blindfold root …`
#[derive(Debug, Subcommand)]
pub(crate) enum RootCommand {
    /// Make a file of key slots for a root key: several ways to open it, such as an HSM and custodians
    #[command(after_help = "\
Examples:
  blindfold root init root.slots --new-key-file /mnt/keys/root.kek
  blindfold root init root.slots --new-passphrase --custodian alice --custodian bob --custodian carol --threshold 2 --shares-folder shares
  blindfold root init root.slots --hsm-module /usr/lib/softhsm/libsofthsm2.so --hsm-token kms --hsm-pin-file pin --new-hsm-key root
  blindfold root init root.slots --from root.key --new-passphrase-file passphrase

Any one source opens the file. With --from the root key of a running service is taken over, so that its store stays
readable; the old file is not needed afterwards. Give each share to its custodian and remove it here.")]
    Init(RootInitArgs),
    /// Show what is public about a file of key slots
    #[command(after_help = "Example:\n  blindfold root show root.slots")]
    Show {
        /// The file of key slots
        #[arg(value_hint = ValueHint::FilePath)]
        slots: PathBuf,
    },
    /// Give a custodian's share to a sealed service
    #[command(after_help = "\
Examples:
  blindfold root unseal --socket /run/kms/unseal.sock               asks for the share on the terminal
  blindfold root unseal --socket /run/kms/unseal.sock < alice.share
  blindfold root unseal --socket /run/kms/unseal.sock --status

Run it on the machine of the service, as its user or as root. The last share that is needed opens the root keys.")]
    Unseal(RootUnsealArgs),
    /// Add a root key; services wrap everything anew with it, online
    #[command(after_help = "\
Examples:
  blindfold root rotate root.slots --key-file root.kek
  blindfold root rotate root.slots --share alice.share --share bob.share --stage

With several replicas: rotate with --stage, copy the file to each of them, then `blindfold root activate` and copy it again,
so that each can read what another one wraps.")]
    Rotate(RootRotateArgs),
    /// Make a root key of the file the one that wraps
    #[command(
        after_help = "Example:\n  blindfold root activate root.slots 41c5902a4fd9e0ab --key-file root.kek"
    )]
    Activate(RootKeyArgs),
    /// Remove a root key that wraps nothing any more
    #[command(after_help = "\
Example:
  blindfold root retire root.slots d4e4e121955d9fd2 --key-file root.kek --nothing-is-wrapped-with-it

What the root key still wraps is lost, in every store and every backup. A service names the root keys in use in its log.")]
    Retire(RootRetireArgs),
    /// Replace slots: other custodians, another passphrase; who could open the old file can't open the new one
    #[command(after_help = "\
Examples:
  blindfold root rekey root.slots --share alice.share --share bob.share --custodian bob --custodian carol --custodian dave --threshold 2 --shares-folder shares
  blindfold root rekey root.slots --key-file root.kek --remove passphrase

Slots of the kinds that are named anew are replaced, --remove takes some away, and all others are made anew, for which their
source is needed. A root key is added too, so that the stores move on to one that nobody has seen. Keep old files away from former custodians:
with an old file and a former quorum, what was wrapped then can be opened.")]
    Rekey(RootRekeyArgs),
}

/// Words of `root init`.
#[derive(Args, Debug)]
pub(crate) struct RootInitArgs {
    /// Where the file of key slots goes; never overwritten
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) slots: PathBuf,
    /// Take over the root key of this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) from: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) hsm: RootHsmArgs,
    #[command(flatten)]
    pub(crate) new: RootNewArgs,
}

/// Which HSM.
#[derive(Args, Debug)]
pub(crate) struct RootHsmArgs {
    /// The HSM's PKCS #11 module
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires_all = ["hsm_token", "hsm_pin_file"])]
    pub(crate) hsm_module: Option<PathBuf>,
    /// Label or serial number of its token
    #[arg(long, value_name = "TOKEN", requires = "hsm_module")]
    pub(crate) hsm_token: Option<String>,
    /// File with its PIN, readable by its owner only
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "hsm_module")]
    pub(crate) hsm_pin_file: Option<PathBuf>,
}

/// Slots to be made.
#[derive(Args, Debug)]
pub(crate) struct RootNewArgs {
    /// A slot for a file with 32 random bytes; made when it is not there. Keep it apart from the slots
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) new_key_file: Option<PathBuf>,
    /// A slot for a key of the HSM with this label; made when it is not there
    #[arg(long, value_name = "LABEL", requires = "hsm_module")]
    pub(crate) new_hsm_key: Option<String>,
    /// A slot for a passphrase, asked for on the terminal
    #[arg(long, conflicts_with = "new_passphrase_file")]
    pub(crate) new_passphrase: bool,
    /// A slot for the passphrase in this file, readable by its owner only
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) new_passphrase_file: Option<PathBuf>,
    /// Memory of Argon2id for the passphrase, in MiB
    #[arg(long, value_name = "MIB", default_value_t = service::limits::ARGON2_DEFAULT_MEMORY_KIB / 1024)]
    pub(crate) argon2_memory: u32,
    /// A custodian who gets a share; repeat for each
    #[arg(long = "custodian", value_name = "NAME", requires_all = ["threshold", "shares_folder"])]
    pub(crate) custodians: Vec<String>,
    /// How many custodians open the file together
    #[arg(long, requires = "custodians")]
    pub(crate) threshold: Option<u8>,
    /// Folder for the shares, one file NAME.share for each custodian
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath, requires = "custodians")]
    pub(crate) shares_folder: Option<PathBuf>,
}

/// What opens a file of key slots.
#[derive(Args, Debug)]
pub(crate) struct RootOpenArgs {
    /// The file with 32 random bytes that opens it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) hsm: RootHsmArgs,
    /// Ask for the passphrase on the terminal
    #[arg(long, conflicts_with = "passphrase_file")]
    pub(crate) passphrase: bool,
    /// File with the passphrase, readable by its owner only
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// File with a custodian's share, readable by its owner only; repeat for each
    #[arg(long = "share", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) shares: Vec<PathBuf>,
    /// Ask for the custodians' shares on the terminal, one after the other
    #[arg(long, conflicts_with = "shares")]
    pub(crate) ask_shares: bool,
}

/// Words of `root unseal`.
#[derive(Args, Debug)]
pub(crate) struct RootUnsealArgs {
    /// The service's unseal socket, as in its configuration
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub(crate) socket: PathBuf,
    /// File with the share, readable by its owner only; standard input when it is no terminal, else asked for
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) share: Option<PathBuf>,
    /// Only show whose shares were given
    #[arg(long, conflicts_with_all = ["share", "forget"])]
    pub(crate) status: bool,
    /// Make the service forget the shares that were given
    #[arg(long, conflicts_with = "share")]
    pub(crate) forget: bool,
}

/// Words of `root rotate`.
#[derive(Args, Debug)]
pub(crate) struct RootRotateArgs {
    /// The file of key slots
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) slots: PathBuf,
    #[command(flatten)]
    pub(crate) open: RootOpenArgs,
    /// Only add the root key; it wraps once it was activated
    #[arg(long)]
    pub(crate) stage: bool,
}

/// Words of `root activate`.
#[derive(Args, Debug)]
pub(crate) struct RootKeyArgs {
    /// The file of key slots
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) slots: PathBuf,
    /// ID of the root key, as `root show` prints it
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) open: RootOpenArgs,
}

/// Words of `root retire`.
#[derive(Args, Debug)]
pub(crate) struct RootRetireArgs {
    #[command(flatten)]
    pub(crate) key: RootKeyArgs,
    /// Confirm that no store and no backup needs it any more
    #[arg(long, required = true)]
    pub(crate) nothing_is_wrapped_with_it: bool,
}

/// Words of `root rekey`.
#[derive(Args, Debug)]
pub(crate) struct RootRekeyArgs {
    /// The file of key slots
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) slots: PathBuf,
    #[command(flatten)]
    pub(crate) open: RootOpenArgs,
    #[command(flatten)]
    pub(crate) new: RootNewArgs,
    /// Take away the slot of this kind; may be repeated
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) remove: Vec<RootSlotKind>,
}

/// Kind of a slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum RootSlotKind {
    /// The file with 32 random bytes
    KeyFile,
    /// The key of an HSM
    Hsm,
    /// The passphrase
    Passphrase,
    /// The custodians
    Custodians,
}
