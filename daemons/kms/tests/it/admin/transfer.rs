//! Import, export, restore: material on its way in and out.

use std::{io::Write, os::unix::fs::PermissionsExt, path::Path, process::Command, sync::Arc};

use blindfold_core::{
    AcceptanceProfile, Expectation, LockSecrets, PinnedKeys, Sealed, UnsealingKey,
};
use kms::{CopiesConfig, RecipientConfig};
use kms_client::{
    Algorithm, KeyId, Sensitivity, State,
    admin::ImportInto,
    import,
    wire::{
        ErrorCode,
        admin::{
            Backup, ExportKey, GetImportParameters, ImportAs, ImportKey, ImportPurpose, Settings,
            Wrapping,
        },
    },
};

use super::{ADA, administrated, as_admin, code, create, refusal, with_policy};
use crate::support::{ADMIT_PARIS, API, TENANT, World, contains, lets, rng};

fn import_as() -> ImportAs {
    ImportAs {
        sensitivity: Sensitivity::Medium,
        policy: Some(lets(API)),
        settings: Settings {
            exportable: true,
            ..Settings::default()
        },
    }
}

fn parameters(name: &str, wrapping: Wrapping) -> GetImportParameters {
    GetImportParameters {
        tenant: TENANT.to_owned(),
        name: name.to_owned(),
        algorithm: Algorithm::Aes256Gcm,
        wrapping,
        purpose: ImportPurpose::Material,
    }
}

fn openssl(args: &[&str]) {
    let done = Command::new("openssl").args(args).output().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[tokio::test]
async fn material_that_openssl_wrapped_becomes_a_key_and_the_token_is_good_once() {
    let (world, running) = administrated().await;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_owned();
    let at = move |name: &str| place.join(name).display().to_string();
    let material = [0x6b; 32];
    std::fs::write(at("material"), material).unwrap();
    let kek = [0x17; 32];
    std::fs::write(at("kek"), kek).unwrap();
    let (key, request) = as_admin(&world, &running, ADA, move |ada| {
        let given = ada
            .import_parameters(&parameters("orders", Wrapping::RsaAesKwp))
            .unwrap();
        assert_eq!(given.version, 1);
        std::fs::write(at("import.der"), &given.public_key.0).unwrap();
        openssl(&[
            "pkeyutl",
            "-encrypt",
            "-pubin",
            "-keyform",
            "DER",
            "-inkey",
            &at("import.der"),
            "-in",
            &at("kek"),
            "-pkeyopt",
            "rsa_padding_mode:oaep",
            "-pkeyopt",
            "rsa_oaep_md:sha256",
            "-out",
            &at("first"),
        ]);
        openssl(&[
            "enc",
            "-e",
            "-id-aes256-wrap-pad",
            "-iv",
            "A65959A6",
            "-K",
            &hex::encode(kek),
            "-in",
            &at("material"),
            "-out",
            &at("second"),
        ]);
        let wrapped = [
            std::fs::read(at("first")).unwrap(),
            std::fs::read(at("second")).unwrap(),
        ]
        .concat();
        let request = ImportKey {
            tenant: TENANT.to_owned(),
            name: "orders".to_owned(),
            token: given.token,
            wrapped: wrapped.into(),
            create: Some(import_as()),
            expected_revision: None,
        };
        let key = ada.import_wrapped(&request).unwrap();
        assert_eq!(key.key_id, given.key_id);
        (key, request)
    })
    .await;
    assert_eq!(
        serde_json::to_value(key.versions[0].origin).unwrap(),
        "imported"
    );
    // The very material: what was encrypted is read with it outside of the service.
    let api = world.client(&running, API);
    let made = api.encrypt("orders", b"4111", b"aad").await;
    let outside = kms_client::local::VersionKey::new(
        key.key_id,
        1,
        kms_client::material::Material::from_bytes(Algorithm::Aes256Gcm, &material).unwrap(),
    )
    .unwrap();
    assert_eq!(
        outside
            .decrypt(b"aad", &made.ciphertext.0)
            .unwrap()
            .as_slice(),
        b"4111"
    );

    as_admin(&world, &running, ADA, move |ada| {
        // Used: as a new key, and as another version.
        assert_eq!(code(ada.import_wrapped(&request)), ErrorCode::BadRequest);
        let again = ImportKey {
            create: None,
            expected_revision: Some(key.revision),
            ..request.clone()
        };
        assert_eq!(code(ada.import_wrapped(&again)), ErrorCode::Conflict);
        // For another name.
        let elsewhere = ImportKey {
            name: "other".to_owned(),
            ..request.clone()
        };
        assert_eq!(code(ada.import_wrapped(&elsewhere)), ErrorCode::BadRequest);
        let mut bent = request.clone();
        bent.token.0[60] ^= 1;
        assert_eq!(code(ada.import_wrapped(&bent)), ErrorCode::BadRequest);
    })
    .await;
    running.stop().await;
    assert!(
        !world
            .every_byte()
            .iter()
            .any(|(_, bytes)| contains(bytes, &material))
    );
}

#[tokio::test]
async fn material_is_checked_and_becomes_the_next_version() {
    let (world, running) = administrated().await;
    as_admin(&world, &running, ADA, |ada| {
        let import = |name: &str, algorithm, material: &[u8], into| {
            ada.import_key(TENANT, name, algorithm, material, into)
        };
        let aes = Algorithm::Aes256Gcm;
        let (_, refused, message) =
            refusal(import("k", aes, &[1; 31], ImportInto::New(import_as())));
        assert_eq!(refused, ErrorCode::BadRequest);
        assert!(message.contains("32"), "{message}");
        let garbage = import(
            "k",
            Algorithm::Ed25519,
            &[0x30; 48],
            ImportInto::New(import_as()),
        );
        assert_eq!(code(garbage), ErrorCode::BadRequest);
        let high = ImportAs {
            sensitivity: Sensitivity::High,
            settings: Settings::default(),
            ..import_as()
        };
        assert_eq!(
            code(import("k", aes, &[1; 32], ImportInto::New(high))),
            ErrorCode::BadRequest
        );
        assert_eq!(code(ada.key(TENANT, "k")), ErrorCode::NotFound);

        let first = import("k", aes, &[1; 32], ImportInto::New(import_as())).unwrap();
        assert_eq!(
            code(import("k", aes, &[2; 32], ImportInto::New(import_as()))),
            ErrorCode::BadRequest
        );
        assert_eq!(
            code(import(
                "k",
                aes,
                &[2; 32],
                ImportInto::Existing(first.revision - 1)
            )),
            ErrorCode::Conflict
        );
        assert_eq!(
            code(import(
                "k",
                Algorithm::ChaCha20Poly1305,
                &[2; 32],
                ImportInto::Existing(first.revision)
            )),
            ErrorCode::BadRequest
        );
        let second = import("k", aes, &[2; 32], ImportInto::Existing(first.revision)).unwrap();
        assert_eq!((second.primary, second.versions.len()), (2, 2));

        // HPKE is bound to the version: what was wrapped for the third is none for the fourth.
        let third = ada
            .import_parameters(&parameters("k", Wrapping::Hpke))
            .unwrap();
        assert_eq!(third.version, 3);
        let aad = import::aad(ImportPurpose::Material, TENANT, "k", &third.key_id, 4, aes);
        let wrapped = import::wrap(&third, &aad, &[3; 32]).unwrap();
        let request = ImportKey {
            tenant: TENANT.to_owned(),
            name: "k".to_owned(),
            token: third.token,
            wrapped: wrapped.into(),
            create: None,
            expected_revision: Some(second.revision),
        };
        assert_eq!(code(ada.import_wrapped(&request)), ErrorCode::BadRequest);
        let backup = GetImportParameters {
            purpose: ImportPurpose::Backup,
            ..parameters("k", Wrapping::RsaAesKwp)
        };
        assert_eq!(code(ada.import_parameters(&backup)), ErrorCode::BadRequest);
    })
    .await;
    running.stop().await;
}

fn key_files(folder: &Path, name: &str) -> UnsealingKey {
    let key = UnsealingKey::generate(name, "kms", 1, &mut rng()).unwrap();
    std::fs::write(folder.join(format!("{name}.pub")), key.record().to_json()).unwrap();
    let secret = folder.join(format!("{name}.key"));
    let mut file = std::fs::File::create(&secret).unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
        .unwrap();
    file.write_all(&key.to_file_bytes()).unwrap();
    key
}

fn recipient(folder: &Path, name: &str) -> RecipientConfig {
    RecipientConfig {
        keys: vec![folder.join(format!("{name}.pub")).into()],
        threshold: 1,
        recovery: Vec::new(),
        policy: None,
    }
}

fn export(key: &str, revision: u64, to: &str) -> ExportKey {
    ExportKey {
        tenant: TENANT.to_owned(),
        key: key.to_owned(),
        expected_revision: revision,
        recipient: to.to_owned(),
        versions: None,
    }
}

fn exportable(name: &str) -> kms_client::wire::admin::CreateKey {
    create(
        name,
        Algorithm::Aes256Gcm,
        Settings {
            exportable: true,
            ..Settings::default()
        },
    )
}

fn open(key: &UnsealingKey, sealed: &[u8]) -> Vec<u8> {
    let sealed = Sealed::parse(sealed).unwrap();
    let mut pinned = PinnedKeys::new();
    pinned.insert(key.record().clone());
    let profile = AcceptanceProfile::new().allow_recovery(true);
    let accepted = sealed
        .accept(&pinned, &profile, &Expectation::new())
        .unwrap();
    let mut secrets = LockSecrets::new();
    secrets.merge(accepted.recovery_secret(key).unwrap());
    accepted.open(&secrets).unwrap().expose().to_vec()
}

/// Two regions of one trust domain: Paris exports to Lyon and to a recovery key; Lyon opens copies.
async fn regions() -> (
    (World, crate::support::Running),
    (World, crate::support::Running),
    UnsealingKey,
) {
    let keys = tempfile::tempdir().unwrap();
    let recovery = key_files(keys.path(), "recovery");
    key_files(keys.path(), "lyon");
    let mut paris = World::uninitialized();
    with_policy(&mut paris);
    for name in ["recovery", "lyon"] {
        paris
            .config
            .export
            .insert(name.to_owned(), recipient(keys.path(), name));
    }
    let mut lyon = World::uninitialized();
    with_policy(&mut lyon);
    lyon.trust = Arc::clone(&paris.trust);
    lyon.config.copies = Some(CopiesConfig {
        key_file: keys.path().join("lyon.key").into(),
    });
    let mut running = Vec::new();
    for world in [&paris, &lyon] {
        kms::init(&world.config).await.unwrap();
        let started = world.start().await;
        started.create_tenant(TENANT, Some(ADMIT_PARIS)).await;
        running.push(started);
    }
    let second = running.pop().unwrap();
    ((paris, running.pop().unwrap()), (lyon, second), recovery)
}

#[tokio::test]
async fn keys_leave_only_sealed_to_recipients_of_the_configuration() {
    let ((paris, running), (_lyon, other), recovery) = regions().await;
    let sealed = as_admin(&paris, &running, ADA, |ada| {
        let fixed = ada
            .create_key(&create("fixed", Algorithm::Aes256Gcm, Settings::default()))
            .unwrap();
        assert_eq!(
            code(ada.export_key(&export("fixed", fixed.revision, "recovery"))),
            ErrorCode::WrongState
        );
        let key = ada.create_key(&exportable("orders")).unwrap();
        assert_eq!(
            code(ada.export_key(&export("orders", key.revision, "mallory"))),
            ErrorCode::NotFound
        );
        assert_eq!(
            code(ada.export_key(&export("orders", key.revision + 1, "recovery"))),
            ErrorCode::Conflict
        );
        let exported = ada
            .export_key(&export("orders", key.revision, "recovery"))
            .unwrap();
        assert_eq!(exported.versions, [1]);
        // Switched off, and never on again.
        let off = ada
            .set_settings(TENANT, "orders", key.revision, &Settings::default())
            .unwrap();
        assert_eq!(
            code(ada.export_key(&export("orders", off.revision, "recovery"))),
            ErrorCode::WrongState
        );
        let on = Settings {
            exportable: true,
            ..Settings::default()
        };
        assert_eq!(
            code(ada.set_settings(TENANT, "orders", off.revision, &on)),
            ErrorCode::BadRequest
        );
        exported.sealed.0.clone()
    })
    .await;
    let backup: Backup = serde_json::from_slice(&open(&recovery, &sealed)).unwrap();
    assert_eq!((backup.name.as_str(), backup.versions.len()), ("orders", 1));
    let material = backup.versions[0].material.0.clone();
    assert!(!contains(&sealed, &material));
    running.stop().await;
    other.stop().await;
    assert!(!paris.audit().contains(&hex::encode(&material)));
}

#[tokio::test]
async fn a_copy_reads_what_the_other_region_wrote_and_old_exports_undo_nothing() {
    let ((paris, here), (lyon, there), _) = regions().await;
    let (first, key) = as_admin(&paris, &here, ADA, |ada| {
        let mut request = exportable("orders");
        request.settings.rotate_after_seconds = Some(30 * 86_400);
        let key = ada.create_key(&request).unwrap();
        let exported = ada
            .export_key(&export("orders", key.revision, "lyon"))
            .unwrap();
        (exported.sealed.0.clone(), key)
    })
    .await;
    let copy = {
        let first = first.clone();
        as_admin(&lyon, &there, ADA, move |ada| {
            ada.restore_sealed(TENANT, "orders", &first, None).unwrap()
        })
        .await
    };
    assert_eq!(copy.key_id, key.key_id);
    // Both regions rotating by themselves would part for good.
    assert_eq!(copy.settings.rotate_after_seconds, None);
    assert_eq!(key.settings.rotate_after_seconds, Some(30 * 86_400));
    let written = paris
        .client(&here, API)
        .encrypt("orders", b"4111", b"x")
        .await;
    assert_eq!(
        lyon.client(&there, API)
            .decrypt("orders", &written.ciphertext.0, b"x")
            .await,
        b"4111"
    );

    // Paris rotates; the copy follows, primary version included.
    let second = as_admin(&paris, &here, ADA, move |ada| {
        let rotated = ada.rotate_key(TENANT, "orders", key.revision).unwrap();
        ada.export_key(&export("orders", rotated.revision, "lyon"))
            .unwrap()
            .sealed
            .0
            .clone()
    })
    .await;
    let disabled = as_admin(&lyon, &there, ADA, move |ada| {
        let renewed = ada
            .restore_sealed(TENANT, "orders", &second, Some(copy.revision))
            .unwrap();
        assert_eq!((renewed.primary, renewed.versions.len()), (2, 2));
        // Nothing new: nothing changes.
        let same = ada
            .restore_sealed(TENANT, "orders", &second, Some(renewed.revision))
            .unwrap();
        assert_eq!(same, renewed);
        ada.set_state(TENANT, "orders", 1, renewed.revision, State::Disabled, None)
            .unwrap()
    })
    .await;
    let written = paris
        .client(&here, API)
        .encrypt("orders", b"4112", b"")
        .await;
    assert_eq!(written.version, 2);
    assert_eq!(
        lyon.client(&there, API)
            .decrypt("orders", &written.ciphertext.0, b"")
            .await,
        b"4112"
    );
    as_admin(&lyon, &there, ADA, move |ada| {
        // The first export says that version 1 is enabled and the primary one.
        let after = ada
            .restore_sealed(TENANT, "orders", &first, Some(disabled.revision))
            .unwrap();
        assert_eq!(
            (after.versions[0].state, after.primary),
            (State::Disabled, 2)
        );
        assert_eq!(
            code(ada.restore_sealed(TENANT, "orders", &first, None)),
            ErrorCode::BadRequest
        );
        assert_eq!(
            code(ada.restore_sealed(TENANT, "other", &first, None)),
            ErrorCode::AlreadyExists
        );
        let mut bent = first.clone();
        let last = bent.len() - 1;
        bent[last] ^= 1;
        assert_eq!(
            code(ada.restore_sealed(TENANT, "orders", &bent, Some(after.revision))),
            ErrorCode::BadRequest
        );
    })
    .await;
    here.stop().await;
    there.stop().await;
}

#[tokio::test]
async fn a_forged_export_changes_no_key_that_is_here() {
    let ((paris, here), (lyon, there), recovery) = regions().await;
    let key = as_admin(&paris, &here, ADA, |ada| {
        ada.create_key(&exportable("orders")).unwrap()
    })
    .await;
    let sealed = as_admin(&paris, &here, ADA, move |ada| {
        ada.export_key(&export("orders", key.revision, "recovery"))
            .unwrap()
            .sealed
            .0
            .clone()
    })
    .await;
    let backup: Backup = serde_json::from_slice(&open(&recovery, &sealed)).unwrap();
    as_admin(&lyon, &there, ADA, move |ada| {
        let restore = |backup: &Backup, revision| {
            let text = serde_json::to_vec(backup).unwrap();
            ada.restore_opened(TENANT, "orders", backup.algorithm, &text, revision)
        };
        let restored = restore(&backup, None).unwrap();
        assert_eq!(restored.key_id, backup.key_id);
        // Somebody who knows the identifier, and not the key, slips in a version of their own.
        let mut forged = backup.clone();
        forged.versions[0].version = 2;
        forged.versions[0].material.0 = vec![9; 32];
        forged.primary = 2;
        assert_eq!(
            code(restore(&forged, Some(restored.revision))),
            ErrorCode::BadRequest
        );
        let mut both = backup.clone();
        both.versions[0].material.0 = vec![9; 32];
        both.versions.push(forged.versions[0].clone());
        assert_eq!(
            code(restore(&both, Some(restored.revision))),
            ErrorCode::Conflict
        );
        let mut other = backup.clone();
        other.algorithm = Algorithm::ChaCha20Poly1305;
        assert_eq!(
            code(restore(&other, Some(restored.revision))),
            ErrorCode::BadRequest
        );
        // And what no service exports.
        for break_it in [
            (|backup: &mut Backup| backup.versions.clear()) as fn(&mut Backup),
            |backup| backup.versions[0].state = State::Destroyed,
            |backup| backup.versions[0].version = 0,
            |backup| backup.versions.push(backup.versions[0].clone()),
            |backup| backup.sensitivity = Sensitivity::High,
            |backup| backup.format = "another".to_owned(),
            |backup| backup.versions[0].material.0.truncate(31),
            |backup| backup.settings.lease.uses = 0,
        ] {
            let mut broken = backup.clone();
            broken.key_id = KeyId::from_bytes([5; 16]);
            broken.name = "broken".to_owned();
            break_it(&mut broken);
            let text = serde_json::to_vec(&broken).unwrap();
            let restored = ada.restore_opened(TENANT, "broken", broken.algorithm, &text, None);
            assert_eq!(code(restored), ErrorCode::BadRequest);
        }
        assert_eq!(ada.key(TENANT, "orders").unwrap().key, restored);
    })
    .await;
    here.stop().await;
    there.stop().await;
}

#[test]
fn recipients_that_can_not_be_sealed_to_stop_the_start() {
    let folder = tempfile::tempdir().unwrap();
    key_files(folder.path(), "recovery");
    let good = recipient(folder.path(), "recovery");
    let missing = recipient(folder.path(), "none");
    let too_many = RecipientConfig {
        threshold: 2,
        ..good.clone()
    };
    let wrong_kind = RecipientConfig {
        recovery: good.keys.clone(),
        ..good.clone()
    };
    for (bad, what) in [
        (missing, "none.pub"),
        (too_many, "export.backup"),
        (wrong_kind, "recovery.pub"),
    ] {
        let mut world = World::uninitialized();
        world.config.export.insert("backup".to_owned(), bad);
        let error = world.config.validate().unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    let mut world = World::uninitialized();
    world.config.export.insert("backup".to_owned(), good);
    world.config.validate().unwrap();
    let open = folder.path().join("recovery.key");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    world.config.copies = Some(CopiesConfig {
        key_file: open.into(),
    });
    assert!(world.config.validate().is_err());
}
