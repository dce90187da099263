//! Signatures of the sealer, demanded by the profile.

use std::fs;

use blindfold_core::SealOptions;
use wingman_sdk::{
    AcceptanceProfile, ConfigError, Error, Expectation, ExposeSecret, LoadConfigError, LoadError,
    Sealed, SealedObject, SealerKey, SealerKeys, SealerSignature, SecretString, Wingman,
    WingmanBuilder, signature_path,
};

use crate::{
    unsealing::{Behaviour, TestUnsealer, named, object, simple},
    world::World,
};

/// One who signs.
pub(crate) struct Signer(minisign::KeyPair);

impl Signer {
    pub(crate) fn new() -> Self {
        Self(minisign::KeyPair::generate_unencrypted_keypair().unwrap())
    }

    /// The text of the public key's file.
    pub(crate) fn file(&self) -> String {
        self.0.pk.to_box().unwrap().to_string()
    }

    pub(crate) fn keys(&self) -> SealerKeys {
        [SealerKey::parse(&self.file()).unwrap()]
            .into_iter()
            .collect()
    }

    /// The text of a signature's file.
    pub(crate) fn sign(&self, bytes: &[u8]) -> String {
        minisign::sign(Some(&self.0.pk), &self.0.sk, bytes, None, None)
            .unwrap()
            .to_string()
    }
}

fn builder(world: &World, unsealer: &TestUnsealer) -> WingmanBuilder<wingman_sdk::Ready> {
    Wingman::builder()
        .identity(world.workload("paris/api"))
        .unsealer(unsealer.config())
}

/// A world, its authority, a signer, and a wingman that accepts what he signed.
fn setup() -> (World, TestUnsealer, Signer, Wingman) {
    let world = World::new();
    let unsealer = TestUnsealer::start(&world, "a", Behaviour::default());
    let signer = Signer::new();
    let profile = AcceptanceProfile::new().require_signature_by(signer.keys());
    let wingman = builder(&world, &unsealer).profile(profile).build().unwrap();
    (world, unsealer, signer, wingman)
}

fn name(error: &Error) -> &'static str {
    error.name().unwrap_or("no name")
}

#[test]
fn signed_object_opens_in_every_form() {
    let (_world, unsealer, signer, wingman) = setup();
    let sealed = simple(&unsealer.record, "db", b"secret");
    for stored in [
        sealed.as_bytes().to_vec(),
        format!("{}\n", sealed.to_text()).into_bytes(),
        sealed.to_armor().into_bytes(),
    ] {
        let opened = wingman.open_signed(&stored, &signer.sign(&stored)).unwrap();
        assert_eq!(opened.expose_secret(), b"secret");
    }
    let stored = sealed.as_bytes();
    let signature = signer.sign(stored);
    let other = Expectation::new().label("other");
    let error = wingman
        .open_signed_with(stored, &signature, &other)
        .unwrap_err();
    assert_eq!(name(&error), "LABEL_MISMATCH");
    // What was parsed from signed bytes may be opened like anything else.
    let signed = wingman.verify_signed(stored, &signature).unwrap();
    let objects = [signed.object().unwrap()];
    assert_eq!(wingman.open_all(&objects).unwrap().len(), 1);
}

#[test]
fn unsigned_objects_are_refused_wherever_they_are_opened_and_nobody_is_asked() {
    let (_world, unsealer, _signer, wingman) = setup();
    let sealed = simple(&unsealer.record, "db", b"secret");
    let config = format!("password = \"{}\"", sealed.to_text());
    #[derive(Debug, serde::Deserialize)]
    struct Config {
        #[expect(dead_code, reason = "refused before anybody reads it")]
        password: Sealed<SecretString>,
    }
    let refusals = [
        wingman.open(&sealed).map(drop).unwrap_err(),
        wingman.open_all([&sealed]).map(drop).unwrap_err(),
        wingman
            .open_fields(&Sealed::<SecretString>::new(sealed.clone()))
            .unwrap_err(),
        wingman
            .open_stream(sealed.as_bytes(), &mut Vec::new(), &Expectation::new())
            .map(drop)
            .unwrap_err(),
        match wingman.load(|| toml::from_str::<Config>(&config)) {
            Err(LoadError::Open(error)) => error,
            other => panic!("{other:?}"),
        },
    ];
    for error in refusals {
        assert_eq!(name(&error), "PROFILE_VIOLATION", "{error}");
    }
    assert_eq!(unsealer.server.connections(), 0);
}

#[test]
fn signature_of_somebody_else_or_over_something_else_is_refused_and_nobody_is_asked() {
    let (_world, unsealer, signer, wingman) = setup();
    let sealed = simple(&unsealer.record, "db", b"secret");
    let bytes = sealed.as_bytes();
    for signature in [
        Signer::new().sign(bytes),
        signer.sign(b"something else"),
        String::new(),
        signer.file(),
    ] {
        let error = wingman.open_signed(bytes, &signature).unwrap_err();
        assert_eq!(name(&error), "SIGNATURE_INVALID", "{error}");
    }
    assert_eq!(unsealer.server.connections(), 0);
}

#[test]
fn without_sealers_a_signed_object_is_told_apart() {
    let world = World::new();
    let unsealer = TestUnsealer::start(&world, "a", Behaviour::default());
    let wingman = builder(&world, &unsealer).build().unwrap();
    let sealed = simple(&unsealer.record, "", b"secret");
    let signature = Signer::new().sign(sealed.as_bytes());
    let error = wingman
        .open_signed(sealed.as_bytes(), &signature)
        .unwrap_err();
    assert!(matches!(error, Error::NoSealers), "{error}");
    assert!(error.to_string().contains("[profile] signers"), "{error}");
}

#[test]
fn signed_stream_opens_and_completes_only_if_the_signature_holds() {
    let (_world, unsealer, signer, wingman) = setup();
    let lock = blindfold_core::LockSpec::share(
        &unsealer.record,
        named("payments"),
        blindfold_core::Window::unbounded(),
    );
    let plaintext: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    let sealed = object(vec![lock], SealOptions::new().pad(false), &plaintext);
    let bytes = sealed.as_bytes();
    let any = Expectation::new();

    let mut written = Vec::new();
    let opened = wingman.open_signed_stream(bytes, &signer.sign(bytes), &mut written, &any);
    assert_eq!((opened.unwrap(), &written), (200_000, &plaintext));

    let signature = SealerSignature::parse(&signer.sign(bytes)).unwrap();
    let mut reader = wingman.open_signed_reader(bytes, &signature, &any).unwrap();
    let mut read = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut read).unwrap();
    assert_eq!(read, plaintext);

    written.clear();
    let error = wingman
        .open_signed_stream(bytes, &signer.sign(b"else"), &mut written, &any)
        .unwrap_err();
    assert_eq!(name(&error), "SIGNATURE_INVALID", "{error}");
    assert_eq!(
        written,
        plaintext[..3 * 64 * 1024],
        "all but the last chunk"
    );

    let asked = unsealer.requests().len();
    let error = wingman
        .open_signed_stream(bytes, &Signer::new().sign(bytes), &mut written, &any)
        .unwrap_err();
    assert_eq!(name(&error), "SIGNATURE_INVALID", "{error}");
    assert_eq!(
        unsealer.requests().len(),
        asked,
        "nobody is asked for a stranger's object"
    );
}

#[test]
fn configured_signers_are_demanded() {
    let base = tempfile::tempdir().unwrap();
    let (alice, bob) = (Signer::new(), Signer::new());
    fs::write(base.path().join("alice.pub"), alice.file()).unwrap();
    fs::write(base.path().join("bob.pub"), bob.file()).unwrap();
    let read = |profile: &str| {
        let path = base.path().join("wingman.toml");
        fs::write(&path, format!("[profile]\n{profile}\n")).unwrap();
        Wingman::from_config(path)
    };
    let wingman = read("signers = ['alice.pub', 'bob.pub']").unwrap();
    for signer in [&alice, &bob] {
        assert!(
            wingman
                .verify_signed(b"file", &signer.sign(b"file"))
                .is_ok()
        );
    }
    let stranger = Signer::new().sign(b"file");
    assert!(wingman.verify_signed(b"file", &stranger).is_err());

    assert!(matches!(read("signers = []"), Err(ConfigError::NoSealer)));
    fs::write(base.path().join("bad.pub"), "not a key").unwrap();
    let error = read("signers = ['bad.pub']").unwrap_err();
    assert!(
        matches!(&error, ConfigError::Sealer { path, .. } if path.ends_with("bad.pub")),
        "{error}"
    );
    assert!(matches!(
        read("signers = ['absent.pub']"),
        Err(ConfigError::File(_))
    ));
    assert!(matches!(
        read("signers = 'alice.pub'"),
        Err(ConfigError::Syntax { line: 2, .. })
    ));
}

#[test]
fn signers_of_a_configuration_are_narrowed_and_never_widened() {
    let base = tempfile::tempdir().unwrap();
    let (alice, bob, carol) = (Signer::new(), Signer::new(), Signer::new());
    fs::write(base.path().join("alice.pub"), alice.file()).unwrap();
    fs::write(base.path().join("bob.pub"), bob.file()).unwrap();
    let path = base.path().join("wingman.toml");
    fs::write(&path, "[profile]\nsigners = ['alice.pub', 'bob.pub']\n").unwrap();
    let narrowed = |keys: SealerKeys| {
        let builder = Wingman::builder().config(&path).unwrap();
        builder.require_signature_by(keys).build()
    };
    let both: SealerKeys = [alice.keys(), carol.keys()]
        .iter()
        .flat_map(SealerKeys::iter)
        .cloned()
        .collect();
    let wingman = narrowed(both).unwrap();
    assert!(wingman.verify_signed(b"file", &alice.sign(b"file")).is_ok());
    for refused in [&bob, &carol] {
        assert!(
            wingman
                .verify_signed(b"file", &refused.sign(b"file"))
                .is_err()
        );
    }
    assert!(matches!(narrowed(carol.keys()), Err(ConfigError::NoSealer)));
    // Where the configuration asks for none, the demand is new.
    fs::write(&path, "").unwrap();
    assert!(narrowed(carol.keys()).is_ok());
}

#[derive(Debug, serde::Deserialize)]
struct Service {
    host: String,
    db: Database,
}

#[derive(Debug, serde::Deserialize)]
struct Database {
    password: SecretString,
    token: Sealed<SecretString>,
}

/// A configuration file in each format, with a plain value and two sealed ones.
fn service_files(unsealer: &TestUnsealer) -> [(&'static str, String); 3] {
    let password = simple(&unsealer.record, "db.password", b"hunter2").to_text();
    let token = simple(&unsealer.record, "db.token", b"swordfish").to_text();
    [
        (
            "service.toml",
            format!(
                "host = 'plain-one'\n[db]\npassword = '{password}' # sealed\ntoken = \"{token}\"\n"
            ),
        ),
        (
            "service.yaml",
            format!("host: plain-one\ndb:\n  password: {password}\n  token: >-\n    {token}\n"),
        ),
        (
            "service.json",
            format!(
                r#"{{"host": "plain-one", "db": {{"password": "{password}", "token": "{token}"}}}}"#
            ),
        ),
    ]
}

#[test]
fn configuration_file_is_loaded_as_the_sealer_signed_it() {
    let (_world, unsealer, signer, wingman) = setup();
    let base = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for (name, text) in service_files(&unsealer) {
        let path = base.path().join(name);
        fs::write(&path, &text).unwrap();
        fs::write(signature_path(&path), signer.sign(text.as_bytes())).unwrap();
        let service: Service = wingman.load_config(&path).unwrap();
        assert_eq!(service.host, "plain-one");
        assert_eq!(service.db.password.expose_secret(), "hunter2", "{name}");
        assert_eq!(
            service.db.token.expose().unwrap().expose_secret(),
            "swordfish"
        );
        paths.push(path);
    }
    assert_eq!(wingman.load_configs::<Service, _>(&paths).unwrap().len(), 3);
}

/// Also its plain values, and sealed values of an older version of the same file, are the sealer's or nobody's.
#[test]
fn configuration_file_changed_by_anybody_else_is_refused_and_nobody_is_asked() {
    let (_world, unsealer, signer, wingman) = setup();
    let base = tempfile::tempdir().unwrap();
    let older = service_files(&unsealer);
    for (index, (name, text)) in service_files(&unsealer).iter().enumerate() {
        let path = base.path().join(name);
        let load = |text: &str, signature: Option<String>| {
            fs::write(&path, text).unwrap();
            let _ = fs::remove_file(signature_path(&path));
            if let Some(signature) = signature {
                fs::write(signature_path(&path), signature).unwrap();
            }
            wingman.load_config::<Service>(&path).map(drop).unwrap_err()
        };
        let genuine = signer.sign(text.as_bytes());
        let (password, old) = (sealed_value(text), sealed_value(&older[index].1));
        for (what, text, signature) in [
            ("no signature", text.clone(), None),
            (
                "a stranger's",
                text.clone(),
                Some(Signer::new().sign(text.as_bytes())),
            ),
            (
                "no signature's text",
                text.clone(),
                Some("minisign".to_owned()),
            ),
            (
                "plain value",
                text.replace("plain-one", "plain-two"),
                Some(genuine.clone()),
            ),
            (
                "older value",
                text.replace(password, old),
                Some(genuine.clone()),
            ),
            ("a line end", format!("{text}\n"), Some(genuine.clone())),
        ] {
            let error = load(&text, signature);
            assert!(
                matches!(&error, LoadConfigError::Signature(_)),
                "{name}, {what}: {error}"
            );
            let mut message = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                message += &format!(": {error}");
                cause = error.source();
            }
            assert!(message.contains(name), "{what}: {message}");
            assert!(!message.contains("plain-"), "{what}: {message}");
        }
    }
    assert_eq!(unsealer.server.connections(), 0);
}

/// The first sealed value in a text.
fn sealed_value(text: &str) -> &str {
    let rest = &text[text.find("pbseal1:").unwrap()..];
    let end = rest.find(['\'', '"', '\n']).unwrap();
    &rest[..end]
}

#[test]
#[expect(clippy::result_large_err, reason = "the error is figment's")]
fn copy_of_a_signed_value_in_an_unsigned_source_is_not_signed() {
    use figment::Figment;
    let (_world, unsealer, signer, wingman) = setup();
    let base = tempfile::tempdir().unwrap();
    let [(name, text), ..] = service_files(&unsealer);
    let path = base.path().join(name);
    fs::write(&path, &text).unwrap();
    fs::write(signature_path(&path), signer.sign(text.as_bytes())).unwrap();
    let signed = || Figment::new().merge(wingman.figment(&path));
    let service: Service = wingman.load(|| signed().extract()).unwrap();
    assert!(service.db.token.is_open());
    let copied = wingman.load(|| {
        let copy = ("db.token", sealed_value(&text));
        signed().merge(copy).extract::<Service>()
    });
    let error = match copied.unwrap_err() {
        LoadError::Open(error) => error,
        LoadError::Deserialize(error) => panic!("{error}"),
    };
    assert_eq!(self::name(&error), "PROFILE_VIOLATION");
}

#[test]
fn stranger_cannot_pass_his_own_object_for_the_sealers() {
    let (_world, unsealer, signer, wingman) = setup();
    let genuine = simple(&unsealer.record, "db", b"secret");
    let forged = simple(&unsealer.record, "db", b"the stranger's own password");
    let signature = signer.sign(genuine.as_bytes());
    let signed = wingman
        .verify_signed(genuine.as_bytes(), &signature)
        .unwrap();
    let error = signed.object_at(0..genuine.as_bytes().len(), &forged.to_text());
    assert_eq!(error.unwrap_err().name(), "SIGNATURE_INVALID");
    let again = SealedObject::parse(signed.object().unwrap().as_bytes()).unwrap();
    assert!(again.signer().is_none());
    assert_eq!(
        name(&wingman.open(&again).unwrap_err()),
        "PROFILE_VIOLATION"
    );
}
