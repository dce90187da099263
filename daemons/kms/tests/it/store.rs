//! The store: the same promises on SQLite and on PostgreSQL.
//!
//! Each scenario is a function over a [`Bench`]. On SQLite each is a test of its own; on PostgreSQL one test runs them all,
//! each in a database of its own on one private server.

use std::{path::PathBuf, time::Duration};

use kms::store::{KmsStore, StoreConfig, StoreError};
use service::{
    root_key::{RootKey, RootKeys},
    testing::Postgres,
};
use sqlx::{AnyPool, any::AnyPoolOptions};
use tempfile::TempDir;

mod changes;
mod crash;
mod keys;
mod outage;
mod replicas;
mod restoring;
mod roots;
mod tampering;

/// One database, and what replicas of the service need to work on it.
pub(crate) struct Bench {
    folder: TempDir,
    config: StoreConfig,
    url: String,
}

impl Bench {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kms.db");
        Self {
            config: StoreConfig::sqlite(&path),
            url: format!("sqlite://{}", path.display()),
            folder,
        }
    }

    async fn postgres(server: &Postgres, database: &str) -> Self {
        server.create(database).await;
        let folder = tempfile::tempdir().unwrap();
        let mut config = StoreConfig::postgres(server.url(database), folder.path().join("none"));
        config.password_file = Some(server.password_file().into());
        Self {
            config,
            url: server.url_with_password(database),
            folder,
        }
    }

    /// Configuration of one replica, with an anchor of its own.
    fn config(&self, replica: &str) -> StoreConfig {
        let mut config = self.config.clone();
        config.anchor = Some(self.anchor(replica).into());
        config.poll = Duration::from_millis(50);
        config
    }

    fn anchor(&self, replica: &str) -> PathBuf {
        self.folder.path().join(format!("{replica}.anchor"))
    }

    fn root(&self, name: &str) -> RootKey {
        RootKey::load_or_create(&self.folder.path().join(format!("{name}.root"))).unwrap()
    }

    fn roots(&self) -> RootKeys {
        RootKeys::from(self.root("first"))
    }

    async fn try_open(&self, replica: &str) -> Result<KmsStore, StoreError> {
        KmsStore::open(&self.config(replica), self.roots()).await
    }

    async fn open(&self, replica: &str) -> KmsStore {
        self.try_open(replica).await.unwrap()
    }

    /// The database, as somebody who can write to it and has no root key.
    async fn intruder(&self) -> AnyPool {
        sqlx::any::install_default_drivers();
        AnyPoolOptions::new()
            .max_connections(1)
            .connect(&self.url)
            .await
            .unwrap()
    }
}

macro_rules! scenarios {
    ($($module:ident: $($name:ident),+;)+) => {
        mod sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$module::$name(&super::Bench::sqlite()).await;
                }
            )+)+
        }

        /// All of them, so that one server does.
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn every_promise_holds_on_postgresql() {
            let server = Postgres::start();
            $($(
                println!("{}", stringify!($name));
                $module::$name(&Bench::postgres(&server, stringify!($name)).await).await;
            )+)+
        }
    };
}

scenarios! {
    changes: life_of_a_key, rules_are_kept, names_and_sizes_are_bounded, versions_die_when_their_time_has_come;
    replicas: of_many_changes_from_one_revision_one_wins, changes_are_seen_elsewhere, uses_are_reserved_once,
        reads_are_added_up, two_founders_make_one_store;
    tampering: rows_that_were_tampered_with_are_refused, ledger_that_was_tampered_with_is_refused;
    restoring: older_copies_are_refused_until_accepted, nothing_is_not_accepted;
    roots: rows_are_wrapped_anew_online, other_root_keys_open_nothing;
}
