use super::*;

const POLICY: &str = "v: 1\nrules: []\n";

fn config() -> (tempfile::TempDir, Config) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("administration.yaml"), POLICY).unwrap();
    let config = Config::in_folder(TrustDomain::parse("acme.example").unwrap(), folder.path());
    (folder, config)
}

/// Key of the setting that `change` breaks.
fn broken(change: impl FnOnce(&mut Config)) -> String {
    let (_folder, mut config) = config();
    config.validate().unwrap();
    change(&mut config);
    config.validate().unwrap_err().key().to_owned()
}

#[test]
fn example_file_is_good_and_says_what_the_defaults_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("identity-authority.toml");
    std::fs::copy(
        concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/example/identity-authority.toml"
        ),
        &file,
    )
    .unwrap();
    std::fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/example/administration.yaml"),
        folder.path().join("administration.yaml"),
    )
    .unwrap();
    let example: Config = service::config::load_with(Some(&file), ENVIRONMENT_PREFIX, []).unwrap();
    example.validate().unwrap();
    let (_folder, default) = config();
    assert_eq!(
        example.documents.greatest_lifetime,
        default.documents.greatest_lifetime
    );
    assert_eq!(
        example.documents.own_lifetime,
        default.documents.own_lifetime
    );
    assert_eq!(
        example.certificates.issuer_lifetime,
        default.certificates.issuer_lifetime
    );
    assert_eq!(
        example.certificates.root_lifetime,
        default.certificates.root_lifetime
    );
    assert_eq!(
        example.tokens.greatest_lifetime,
        default.tokens.greatest_lifetime
    );
    assert_eq!(example.tokens.live_per_site, default.tokens.live_per_site);
    assert_eq!(
        format!("{:?}", example.rates),
        format!("{:?}", default.rates)
    );
    assert_eq!(example.bundle.refresh_hint, default.bundle.refresh_hint);
    assert_eq!(
        example.audit.path.as_path(),
        folder.path().join("audit.jsonl")
    );
}

#[test]
fn unknown_and_missing_settings_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let load = |text: &str| {
        let file = folder.path().join("c.toml");
        std::fs::write(&file, text).unwrap();
        service::config::load_with::<Config>(Some(&file), ENVIRONMENT_PREFIX, [])
            .unwrap_err()
            .to_string()
    };
    let whole = "trust_domain = \"a.example\"\nstore.path = \"s\"\nroot_key.path = \"r\"\naudit.path = \"a\"\nadministration.policy = \"p\"\n";
    assert!(load(&format!("{whole}\n[tokens]\nlive = 5\n")).contains("tokens.live"));
    assert!(
        load(&format!("{whole}\n[documents]\nown_lifetime = 5\n"))
            .contains("documents.own_lifetime")
    );
    assert!(load(&whole.replace("a.example", "A.example")).contains("trust_domain"));
    assert!(load("trust_domain = \"a.example\"").contains("store"));
}

#[test]
fn lifetimes_that_run_into_each_other_are_refused() {
    assert_eq!(
        broken(|c| c.documents.greatest_lifetime = Duration::from_secs(59)),
        "documents.greatest_lifetime"
    );
    assert_eq!(
        broken(|c| c.documents.greatest_lifetime = Duration::from_secs(8 * 86_400)),
        "documents.greatest_lifetime"
    );
    assert_eq!(
        broken(|c| c.documents.own_lifetime = Duration::from_secs(90_000)),
        "documents.own_lifetime"
    );
    // Six lifetimes of a document when an issuing certificate is new, and six more until the next one.
    assert_eq!(
        broken(|c| c.certificates.issuer_lifetime = Duration::from_secs(12 * 86_400)),
        "certificates.issuer_lifetime"
    );
    assert_eq!(
        broken(|c| c.certificates.root_lifetime = Duration::from_secs(100 * 86_400)),
        "certificates.root_lifetime"
    );
    assert_eq!(
        broken(|c| c.tokens.greatest_lifetime = Duration::from_secs(31 * 86_400)),
        "tokens.greatest_lifetime"
    );
    assert_eq!(
        broken(|c| c.bundle.refresh_hint = Duration::ZERO),
        "bundle.refresh_hint"
    );
    assert_eq!(broken(|c| c.rates.joins_burst = 0), "rates.joins_burst");
    assert_eq!(
        broken(|c| c.tokens.live_per_site = 0),
        "tokens.live_per_site"
    );
}

#[test]
fn url_is_an_https_origin_and_nothing_more() {
    for bad in [
        "http://a.example",
        "https://a.example/",
        "https://a.example/x",
        "https://a.example?x",
        "https://u@a.example",
        "https://A.example",
        "https://a.example:443",
        "a.example:8443",
        "",
    ] {
        assert_eq!(broken(|c| c.url = Some(bad.to_owned())), "url", "{bad}");
    }
    for good in [
        "https://a.example",
        "https://a.example:8443",
        "https://10.0.0.1:8443",
        "https://[::1]:8443",
    ] {
        check_url(good).unwrap();
    }
}

#[test]
fn url_follows_the_address_where_clients_can_reach_it() {
    let (_folder, mut config) = config();
    let at = |config: &Config, address: &str| config.url_at(address.parse().unwrap());
    assert_eq!(
        at(&config, "127.0.0.1:8443").unwrap(),
        "https://127.0.0.1:8443"
    );
    assert_eq!(at(&config, "[::1]:8443").unwrap(), "https://[::1]:8443");
    assert_eq!(at(&config, "10.0.0.1:443").unwrap(), "https://10.0.0.1");
    for nowhere in ["0.0.0.0:8443", "[::]:8443", "127.0.0.1:0"] {
        assert_eq!(at(&config, nowhere).unwrap_err().key(), "url", "{nowhere}");
    }
    for address in ["127.0.0.1:8443", "[::1]:8443", "10.0.0.1:443"] {
        check_url(&at(&config, address).unwrap()).unwrap();
    }
    config.url = Some("https://a.example".to_owned());
    assert_eq!(at(&config, "0.0.0.0:8443").unwrap(), "https://a.example");
}

#[test]
fn bad_administration_policy_is_refused_with_its_place() {
    let (folder, config) = config();
    std::fs::write(
        folder.path().join("administration.yaml"),
        "v: 1\nrules:\n  - effect: perhaps\n",
    )
    .unwrap();
    let error = config.validate().unwrap_err();
    assert_eq!(error.key(), "administration.policy");
    assert!(
        error.to_string().contains("administration.yaml") && error.to_string().contains('3'),
        "{error}"
    );
    std::fs::remove_file(folder.path().join("administration.yaml")).unwrap();
    assert_eq!(
        config.validate().unwrap_err().key(),
        "administration.policy"
    );
}
