use blindfold_core::{
    LockSecrets, LockSpec, PinnedKeys, PolicyRef, SealOptions, StaticKey, UnsealingKey, Window,
};
use wingman_sdk::document::{Format, Label};

use super::*;
use crate::{
    cli::SelectArgs,
    commands::config::{file::ConfigFile, opened::Cleartext, show::in_the_clear},
    random,
};

/// A file with sealed values, opened, and what is needed to merge an edited text into it.
struct World {
    key: StaticKey,
    pinned: PinnedKeys,
    file: ConfigFile,
    opened: Opened,
    clear: Zeroizing<String>,
    document: Document,
    old_locks: BTreeMap<usize, Locks>,
    new_locks: Locks,
    selection: Selection,
}

/// Seals each `<text>` in a file in place.
fn world(format: Format, text: &str) -> World {
    let mut rng = random::generator();
    let unsealing = UnsealingKey::generate("u", "t", 1, &mut rng).unwrap();
    let key = StaticKey::generate("r", "t", 1, &mut rng).unwrap();
    let pinned: PinnedKeys = [unsealing.record().clone(), key.record().clone()]
        .into_iter()
        .collect();
    let policy = PolicyRef::Name("p".parse().unwrap());
    let specs = vec![
        LockSpec::share(unsealing.record(), policy, Window::unbounded()),
        LockSpec::recovery_static(key.record()),
    ];
    let sample = blindfold_core::Sealer::new(specs, SealOptions::new()).unwrap();
    let sample = sample.seal(b"x", &mut rng).unwrap();
    let sample = blindfold_core::Sealed::parse(&sample).unwrap();
    let new_locks = Locks::like(sample.header(), &pinned).unwrap();

    let plain = Document::parse(format, text).unwrap();
    let is_marked = |entry: &Entry| entry.text().starts_with('<');
    let content = |entry: &Entry| entry.text().trim_matches(['<', '>', '\n']).to_owned();
    let edits: Vec<_> = plain
        .entries()
        .iter()
        .enumerate()
        .filter(|(_, entry)| is_marked(entry))
        .map(|(index, entry)| {
            let label = Label::of(entry.path(), Kind::String);
            let sealed = seal_value(&new_locks, &label, content(entry).as_bytes()).unwrap();
            (index, NewValue::Sealed(sealed))
        })
        .collect();
    let sealed = plain.replace(&edits).unwrap();
    let file = ConfigFile::of_bytes("file", format, sealed.as_bytes()).unwrap();
    let opened: Opened = edits
        .iter()
        .map(|(index, _)| {
            let entry = &file.document().entries()[*index];
            let (object, label) = sealed_in_place(entry).unwrap().unwrap();
            let text = content(&plain.entries()[*index]);
            (*index, Cleartext::of(label.kind(), object, text.as_bytes()))
        })
        .collect();
    let (clear, kept) = in_the_clear(&file, &opened).unwrap();
    assert!(kept.is_empty());
    let document = Document::parse(format, &clear).unwrap();
    let old_locks = opened
        .keys()
        .map(|index| (*index, new_locks.clone()))
        .collect();
    let words = SelectArgs {
        patterns: vec!["*password*".into()],
        ..SelectArgs::default()
    };
    World {
        key,
        pinned,
        file,
        opened,
        clear,
        document,
        old_locks,
        new_locks,
        selection: Selection::of(&words).unwrap().unwrap(),
    }
}

impl World {
    fn merge(&self, edit: impl Fn(&str) -> String) -> Outcome<Merged> {
        Merge {
            file: &self.file,
            opened: &self.opened,
            clear: &self.document,
            selection: Some(&self.selection),
            old_locks: &self.old_locks,
            new_locks: Some(&self.new_locks),
        }
        .merge(&edit(&self.clear))
    }

    fn before(&self) -> &str {
        self.file.document().as_str()
    }

    /// The values of a text, the sealed ones opened with the recovery key.
    fn values(&self, text: &str) -> Vec<(String, String)> {
        let document = Document::parse(self.file.document().format(), text).unwrap();
        let entries = document.entries().iter();
        let value = |entry: &Entry| match sealed_in_place(entry) {
            None => entry.text().to_owned(),
            Some(sealed) => {
                let (object, _) = sealed.unwrap();
                let profile = blindfold_core::AcceptanceProfile::new().allow_recovery(true);
                let any = blindfold_core::Expectation::new();
                let accepted = object.accept(&self.pinned, &profile, &any).unwrap();
                let mut secrets = LockSecrets::new();
                secrets.merge(accepted.static_secret(&self.key).unwrap());
                let opened = accepted.open(&secrets).unwrap();
                format!("<{}>", String::from_utf8(opened.expose().to_vec()).unwrap())
            }
        };
        entries
            .map(|entry| (entry.path().to_string(), value(entry)))
            .collect()
    }
}

const TOML: &str = "a_password = '<hunter22>' # c\nuser = \"api\"\nb_password = \"\"\"<correct horse>\"\"\"\n[t]\nc = \"<swordfish>\"\n";

#[test]
fn untouched_text_gives_the_same_bytes_in_every_format() {
    let files = [
        (Format::Toml, TOML),
        (
            Format::Json,
            "{ \"a\" :\t\"<hunter22>\" , \"b\": [ \"<x\\ny>\", 1 ] }\n",
        ),
        (
            Format::Env,
            "export A='<hunter22>' # c\nB=<x>\nC=\"<y z>\"\n",
        ),
        (
            Format::Yaml,
            "a: '<hunter22>'   # c\nb: {c: \"<x y>\", d: 1}\ne: |-\n    <line one>\nf:\n- <t-1> # c\n- >-\n  <folded>\n",
        ),
    ];
    for (format, text) in files {
        let world = world(format, text);
        assert_ne!(world.before(), world.clear.as_str());
        // A comment at the end: the whole file is put together anew.
        let comment = if format == Format::Json {
            "\n"
        } else {
            "# end\n"
        };
        let merged = world.merge(|clear| format!("{clear}{comment}")).unwrap();
        assert_eq!(
            *merged.text,
            format!("{}{comment}", world.before()),
            "{format}"
        );
        assert!(merged.resealed.is_empty() && merged.sealed.is_empty() && merged.leaks.is_empty());
    }
}

#[test]
fn only_what_changed_is_sealed_anew() {
    let world = world(Format::Toml, TOML);
    let merged = world
        .merge(|clear| clear.replace("hunter22", "hunter33").replace("api", "root"))
        .unwrap();
    assert_eq!(merged.resealed, ["a_password"]);
    let pairs = world.before().lines().zip(merged.text.lines());
    let changed: Vec<_> = pairs.filter(|(a, b)| a != b).map(|(_, b)| b).collect();
    assert!(
        changed.len() == 2
            && changed[0].starts_with("a_password = 'pbseal1:")
            && changed[1] == "user = \"root\""
    );
    assert_eq!(
        world.values(&merged.text),
        [
            ("a_password", "<hunter33>"),
            ("user", "root"),
            ("b_password", "<correct horse>"),
            ("t.c", "<swordfish>")
        ]
        .map(|(path, value)| (path.to_owned(), value.to_owned()))
    );
}

#[test]
fn new_renamed_and_copied_values_do_not_slip_into_the_clear() {
    let world = world(Format::Toml, TOML);
    let merged = world
        .merge(|clear| {
            let renamed = clear.replace("c = \"swordfish\"", "renamed = \"swordfish\"");
            format!("{renamed}new_password = \"abcdef\"\ncopied = \"hunter22\"\nplain = \"x\"\nempty_password = \"\"\n")
        })
        .unwrap();
    assert_eq!(merged.sealed, ["t.renamed", "t.new_password", "t.copied"]);
    assert_eq!(merged.removed, ["t.c"]);
    assert_eq!(merged.cleartext, ["t.plain"]);
    assert!(merged.leaks.is_empty());
    let values = world.values(&merged.text);
    for (path, value) in [
        ("t.renamed", "<swordfish>"),
        ("t.new_password", "<abcdef>"),
        ("t.copied", "<hunter22>"),
        ("t.plain", "x"),
        ("t.empty_password", ""),
    ] {
        assert!(
            values.contains(&(path.to_owned(), value.to_owned())),
            "{path}: {values:?}"
        );
    }
}

#[test]
fn inserted_list_element_moves_those_behind_it() {
    let world = world(
        Format::Yaml,
        "servers:\n- token: <one-one>\n- token: <two-two>\n",
    );
    let merged = world
        .merge(|clear| clear.replace("servers:\n", "servers:\n- token: zero-zero\n"))
        .unwrap();
    assert_eq!(
        world.values(&merged.text),
        [
            ("servers[0].token", "<zero-zero>"),
            ("servers[1].token", "<one-one>"),
            ("servers[2].token", "<two-two>")
        ]
        .map(|(path, value)| (path.to_owned(), value.to_owned()))
    );
}

#[test]
fn secret_in_a_comment_or_in_another_value_is_named_with_its_line() {
    let world = world(Format::Toml, TOML);
    let merged = world.merge(|clear| format!("# hunter22\n{clear}")).unwrap();
    assert_eq!(merged.leaks, [("a_password".to_owned(), 1)]);
    let merged = world
        .merge(|clear| clear.replace("\"api\"", "\"x correct horse\""))
        .unwrap();
    assert_eq!(merged.leaks, [("b_password".to_owned(), 2)]);
    // A new secret too.
    let merged = world
        .merge(|clear| clear.replace("hunter22' # c", "open sesame' # open sesame"))
        .unwrap();
    assert_eq!(merged.leaks, [("a_password".to_owned(), 1)]);
}

#[test]
fn broken_text_and_foreign_tokens_are_refused() {
    let world = world(Format::Toml, TOML);
    let failure = world.merge(|clear| format!("{clear}= 1\n")).err().unwrap();
    assert!(
        failure.to_string().contains("file as edited:6:"),
        "{failure}"
    );
    let line = world.before().lines().next().unwrap().to_owned();
    let token = line.split('\'').nth(1).unwrap();
    let pasted = world.merge(|clear| format!("{clear}d = \"{token}\"\n"));
    let failure = pasted.err().unwrap();
    assert!(
        failure
            .to_string()
            .contains("t.d: the sealed value belongs at \"a_password\""),
        "{failure}"
    );
    // At its own place it may stand.
    let merged = world
        .merge(|clear| clear.replace("hunter22", token))
        .unwrap();
    assert_eq!(*merged.text, world.before());
}

#[test]
fn new_value_without_locks_is_refused_with_its_place() {
    let world = world(Format::Toml, "a = '<hunter22>'\n");
    let merge = Merge {
        file: &world.file,
        opened: &world.opened,
        clear: &world.document,
        selection: Some(&world.selection),
        old_locks: &world.old_locks,
        new_locks: None,
    };
    let failure = merge
        .merge("a = 'hunter22'\npassword = 'x'\n")
        .err()
        .unwrap();
    assert!(
        failure
            .to_string()
            .contains("as edited:2: password: is to be sealed"),
        "{failure}"
    );
    let merged = merge.merge("password = 'hunter22'\n").unwrap();
    assert_eq!(
        world.values(&merged.text),
        [("password".to_owned(), "<hunter22>".to_owned())]
    );
}
