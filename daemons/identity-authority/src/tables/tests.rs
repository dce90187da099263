//! The same promises on SQLite and on PostgreSQL.
//!
//! Each scenario is a function over a [`Store`]. On SQLite each is a test of its own; on PostgreSQL one test runs them
//! all, each in a database of its own on one private server.

use service::testing::Postgres;

use super::*;
use crate::tables::issuers::IssuerRow;
use identity::wire::IssuerState;

mod attested;
mod basic;
mod others;

/// A store of trust domain `acme.example` with root 1, issuing CA 1 and site `paris`, made at time 100.
pub(super) struct Store {
    pub(super) tables: Tables,
    location: Location,
    _folder: Option<tempfile::TempDir>,
}

impl Store {
    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::Sqlite(folder.path().join("a.db"));
        Self::at(location, Some(folder)).await
    }

    async fn postgres(server: &Postgres, name: &str) -> Self {
        server.create(name).await;
        let location = Location::postgres(&server.url(name), Some(server.password_file()));
        Self::at(location.unwrap(), None).await
    }

    async fn at(location: Location, folder: Option<tempfile::TempDir>) -> Self {
        let tables = Tables::open(&location).await.unwrap();
        let new = NewAuthority {
            trust_domain: "acme.example",
            root: &root(1),
            issuer: Some(&issuer(1, IssuerState::Active)),
            site: ("paris", "{}"),
        };
        assert!(tables.create_authority(&new, 100).await.unwrap());
        Self {
            tables,
            location,
            _folder: folder,
        }
    }

    /// Handles as of three replicas, each with connections of its own.
    pub(super) async fn replicas(&self) -> [Tables; 3] {
        [
            self.tables.clone(),
            Tables::open(&self.location).await.unwrap(),
            Tables::open(&self.location).await.unwrap(),
        ]
    }
}

pub(super) fn root(number: u8) -> RootRow {
    RootRow {
        fingerprint: [number; 32],
        certificate: format!("root {number}"),
        key_wrapped: (number != 2).then(|| vec![number]),
        not_after: 10_000,
    }
}

pub(super) fn issuer(number: u8, state: IssuerState) -> IssuerRow {
    IssuerRow {
        fingerprint: [number; 32],
        state,
        chain: format!("chain {number}"),
        key_wrapped: vec![number],
        not_before: 100,
        not_after: 5_000,
        last_document_not_after: 5_000,
    }
}

macro_rules! scenarios {
    ($($module:ident::$name:ident),* $(,)?) => {
        mod sqlite {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    $module::$name(Store::sqlite().await).await;
                }
            )*
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn on_postgres() {
            let server = Postgres::start();
            $(
                eprintln!(stringify!($name));
                let database = stringify!($name);
                let database = database.get(..60).unwrap_or(database);
                $module::$name(Store::postgres(&server, database).await).await;
            )*
        }
    };
}

scenarios! {
    basic::second_authority_changes_nothing,
    basic::one_of_a_hundred_redemptions_wins,
    basic::expired_unknown_and_disabled_are_not_redeemed,
    basic::tokens_per_site_are_bounded,
    basic::purge_removes_what_expired_and_nothing_else,
    basic::switching_counts_and_removes_unused_tokens,
    basic::sites_are_bounded_and_unique,
    basic::latest_time_only_rises_unless_set,
    others::issuers_change_together_or_not_at_all,
    others::one_of_many_rotations_wins,
    others::roots_overlap_and_the_last_one_stays,
    others::requests_for_issuers_are_bounded,
    others::a_day_is_never_exceeded,
    others::revocations_widen_and_end,
    others::foreign_bundles_replace_older_ones,
    others::documents_are_remembered_until_their_end,
    others::sites_are_read_only_when_they_changed,
    attested::evidence_counts_once,
    attested::the_same_key_may_ask_again_for_a_while,
    attested::sequences_do_not_go_back,
    attested::a_change_refuses_what_began_earlier,
    attested::renewals_and_changes_exclude_each_other,
    attested::changes_that_outrun_the_clock_are_refused,
    attested::a_full_bundle_refuses_changes_and_writes_nothing,
    attested::a_revoked_instance_stays_so,
    attested::subjects_of_sites_and_attestors_are_apart,
    attested::purge_keeps_what_must_be_remembered,
}
