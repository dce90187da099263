//! The command line: `identity-authority run`, and what only the operator of the host may do.

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use identity::SiteName;
use service::clock::SystemClock;
use service::config::{ConfigError, EXIT_CONFIG};
use service::files;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::error::AuthorityError;
use crate::foundation::{accept_clock, init, init_below, with_operator};

mod issuers;

pub use issuers::{IssuerCommand, RootCommand};

/// Arguments of the program.
#[derive(Debug, Parser)]
#[command(name = "identity-authority", version, about, max_term_width = 100)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new trust domain: root key, root, issuing certificate, store
    Init {
        /// Which authority.
        #[command(flatten)]
        config: ConfigArgument,
        /// Write a join token for a first administrator to this new file (mode 0600)
        #[arg(long, value_name = "FILE")]
        admin_token_out: Option<PathBuf>,
        /// Name of the first administrator: its identity is blindfold/admin/NAME in the trust domain
        #[arg(long, value_name = "NAME", default_value = "first")]
        admin_name: String,
        /// Certificate (PEM) of a root whose key is elsewhere; none is made here then
        #[arg(long, value_name = "FILE")]
        root: Option<PathBuf>,
    },
    /// Serve until SIGTERM or SIGINT
    Run {
        /// Which authority.
        #[command(flatten)]
        config: ConfigArgument,
        /// Check the configuration and exit
        #[arg(long)]
        check: bool,
    },
    /// Make a join token for an administrator, also while the authority runs
    AdminToken {
        /// Which authority.
        #[command(flatten)]
        config: ConfigArgument,
        /// Name of the administrator: its identity is blindfold/admin/NAME in the trust domain
        #[arg(long, value_name = "NAME")]
        name: String,
        /// Write the token to this new file (mode 0600)
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Switch a site off from the host, also while the authority runs
    DisableSite {
        /// Which authority.
        #[command(flatten)]
        config: ConfigArgument,
        /// The site.
        site: SiteName,
    },
    /// Switch a site on again from the host, also while the authority runs
    EnableSite {
        /// Which authority.
        #[command(flatten)]
        config: ConfigArgument,
        /// The site.
        site: SiteName,
    },
    /// Show, request, install and replace issuing certificates, also while the authority runs
    Issuer {
        /// Which authority.
        #[command(flatten)]
        config: ConfigArgument,
        /// What to do.
        #[command(subcommand)]
        command: IssuerCommand,
    },
    /// Show, add and remove roots, also while the authority runs
    Root {
        /// Which authority.
        #[command(flatten)]
        config: ConfigArgument,
        /// What to do.
        #[command(subcommand)]
        command: RootCommand,
    },
    /// Confirm the clock after it was wrong; only while the authority is stopped
    AcceptClock {
        /// Which authority.
        #[command(flatten)]
        config: ConfigArgument,
    },
}

/// `--config`.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgument {
    /// Configuration file (TOML); settings can also come from IDENTITY_AUTHORITY__SECTION__KEY
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Does what the operator of the host asked for; `run` is the caller's.
///
/// Exit status: 0 if it was done, 64 for bad configuration, 1 for anything else.
#[must_use]
pub fn operate(command: Command) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(perform(command)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(message) => {
            say(&message);
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&error.to_string());
            ExitCode::from(status_of(error.as_ref()))
        }
    }
}

async fn perform(command: Command) -> Result<String, Box<dyn Error>> {
    match command {
        Command::Init {
            config,
            admin_token_out,
            admin_name,
            root,
        } => {
            let config = load(&config)?;
            if let Some(out) = &admin_token_out {
                // All that can be known before anything is made.
                refuse_existing(out)?;
                config.url_at(config.listen.address)?;
            }
            let below = root.as_deref().map(issuers::read).transpose()?;
            match &below {
                Some(root) => init_below(&config, Arc::new(SystemClock), root).await?,
                None => init(&config).await?,
            }
            let made = format!(
                "trust domain {} was made; back up {} and {}",
                config.trust_domain,
                config.root_key.path.display(),
                config.store.place()
            );
            let made = match below {
                Some(_) => format!("{made}\n{}", issuers::NEXT_AFTER_INIT),
                None => made,
            };
            match admin_token_out {
                Some(out) => Ok(format!(
                    "{made}\n{}",
                    admin_token(&config, &admin_name, &out).await?
                )),
                None => Ok(format!(
                    "{made}\nfor an administrator's join token: identity-authority admin-token"
                )),
            }
        }
        Command::AdminToken { config, name, out } => {
            refuse_existing(&out)?;
            let config = load(&config)?;
            Ok(admin_token(&config, &name, &out).await?)
        }
        Command::DisableSite { config, site } => {
            let site = with_operator(&load(&config)?, async |operator| {
                operator.disable_site(site).await
            })
            .await?;
            Ok(format!("site {} is disabled", site.name))
        }
        Command::EnableSite { config, site } => {
            let site = with_operator(&load(&config)?, async |operator| {
                operator.enable_site(site).await
            })
            .await?;
            Ok(format!("site {} is enabled", site.name))
        }
        Command::Issuer { config, command } => issuers::issuer(&load(&config)?, command).await,
        Command::Root { config, command } => issuers::root(&load(&config)?, command).await,
        Command::AcceptClock { config } => {
            accept_clock(&load(&config)?).await?;
            Ok("the clock is confirmed; start the authority".to_owned())
        }
        Command::Run { .. } => Err("run is not for the operator".into()),
    }
}

async fn admin_token(config: &Config, name: &str, out: &Path) -> Result<String, AuthorityError> {
    let answer = with_operator(config, async |operator| {
        operator.create_admin_token(name).await
    })
    .await?;
    let token = answer.token.expose_text();
    let mut text = Zeroizing::new(String::with_capacity(token.len() + 1));
    text.push_str(&token);
    text.push('\n');
    files::create_new(out, text.as_bytes(), files::MODE_SECRET)?;
    Ok(format!(
        "join token of administrator {name} is in {}; it works once, within an hour",
        out.display()
    ))
}

fn load(argument: &ConfigArgument) -> Result<Config, ConfigError> {
    Config::load(argument.config.as_deref())
}

fn refuse_existing(path: &Path) -> Result<(), files::FileError> {
    // Only for a better moment: the file is created exclusively later.
    if path.symlink_metadata().is_ok() {
        Err(files::FileError::Exists {
            path: path.to_owned(),
        })
    } else {
        Ok(())
    }
}

fn status_of(error: &(dyn Error + 'static)) -> u8 {
    let config = error.is::<ConfigError>()
        || matches!(
            error.downcast_ref::<AuthorityError>(),
            Some(AuthorityError::Config(_))
        );
    if config { EXIT_CONFIG } else { 1 }
}

fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "identity-authority: {message}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn bad_configuration_has_a_status_of_its_own() {
        let config = || ConfigError::invalid("url", "missing");
        assert_eq!(status_of(&config()), 64);
        assert_eq!(status_of(&AuthorityError::Config(config())), 64);
        assert_eq!(status_of(&AuthorityError::Refused("no".to_owned())), 1);
    }
}
