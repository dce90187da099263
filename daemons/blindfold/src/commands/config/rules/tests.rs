use super::*;

fn rules(text: &str) -> Outcome<Rules> {
    Rules::parse(text, Path::new("/repo/.blindfold.toml"))
}

#[test]
fn files_are_matched_as_git_matches_attributes() {
    for (pattern, matching, others) in [
        (
            "*.yaml",
            &["a.yaml", "deep/er/a.yaml", ".yaml"][..],
            &["a.yml", "a.yaml/b"][..],
        ),
        (
            "prod/*.yaml",
            &["prod/a.yaml"],
            &["prod/x/a.yaml", "a/prod/a.yaml"],
        ),
        ("/a.toml", &["a.toml"], &["b/a.toml"]),
        (
            "prod/**",
            &["prod/a", "prod/b/c"],
            &["prod", "other/prod/a"],
        ),
        ("**/x/*.env", &["x/a.env", "a/b/x/.env"], &["x/y/a.env"]),
        (".env*", &[".env", ".env.production", "a/.env"], &["a.env"]),
    ] {
        let rules = rules(&format!(
            "[[rule]]\npatterns = [\"*\"]\nfiles = [\"{pattern}\"]\n"
        ))
        .unwrap();
        for path in matching {
            assert!(rules.rule_for_relative(path).is_some(), "{pattern} {path}");
        }
        for path in others {
            assert!(rules.rule_for_relative(path).is_none(), "{pattern} {path}");
        }
    }
    for pattern in ["", "a/", "a?.yaml", "{a,b}.yaml", "!a.yaml", "a\\\\b"] {
        let text = format!("[[rule]]\npatterns = [\"*\"]\nfiles = [\"{pattern}\"]\n");
        assert_eq!(rules(&text).unwrap_err().kind(), Kind::Usage, "{pattern}");
    }
}

#[test]
fn first_rule_that_matches_decides() {
    let rules =
        rules("[[rule]]\nfiles = [\"test/**\"]\npatterns = []\n[[rule]]\npatterns = [\"*key*\"]\n")
            .unwrap();
    let chooses = |file: &str| {
        let rule = rules.rule_for_relative(file).unwrap();
        rule.selection.chooses(&"api_key".parse().unwrap())
    };
    assert!(!chooses("test/a.yaml"));
    assert!(chooses("prod/a.yaml"));
}

#[test]
fn selection_takes_tables_names_in_any_case_and_exceptions() {
    let rules = rules("[[rule]]\npaths = [\"db\", \"a[1]\"]\npatterns = [\"*Password*\"]\nexcept = [\"db.user\", \"password_policy\"]\n").unwrap();
    let selection = &rules.rules[0].selection;
    for (path, chosen) in [
        ("db.dsn", true),
        ("db.x.y[0]", true),
        ("db.user", false),
        ("dbx", false),
        ("a[1].b", true),
        ("a[0]", false),
        ("A.rootPASSWORD", true),
        ("password_policy.length", false),
        ("DB.dsn", false),
    ] {
        assert_eq!(selection.chooses(&path.parse().unwrap()), chosen, "{path}");
    }
}

#[test]
fn paths_are_relative_to_the_rules_file() {
    let rule = "[[rule]]\npatterns = [\"*\"]\nkeys = [\"k/u.pub\", \"/etc/u.pub\"]\npolicy_digest_of = \"p.yaml\"\nformer_keys = [\"o.pub\"]\npad = false\n";
    let rules = rules(rule).unwrap();
    let rule = &rules.rules[0];
    assert_eq!(
        rule.choice.keys,
        [Path::new("/repo/k/u.pub"), Path::new("/etc/u.pub")]
    );
    assert_eq!(
        rule.choice.policy,
        Some(PolicyPlace::DigestOf("/repo/p.yaml".into()))
    );
    assert_eq!(rule.former_keys, [Path::new("/repo/o.pub")]);
    assert!(rule.choice.no_pad && rule.choice.threshold == 1);
}

#[test]
fn rules_of_the_documentation_are_rules() {
    let page = include_str!("../../../../../../docs/src/configuration-files.md");
    let blocks = page.split("```toml\n").skip(1);
    let shown: Vec<_> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert!(!shown.is_empty());
    for text in shown {
        assert!(
            rules(text)
                .unwrap()
                .rule_for_relative("config/prod/app.yaml")
                .is_some()
        );
    }
    let header = include_str!("../rules.rs");
    let lines = header.lines().take_while(|line| line.starts_with("//!"));
    let text: Vec<_> = lines.filter_map(|line| line.get(4..)).collect();
    let text = text.join("\n");
    let text = text
        .split("```toml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    assert_eq!(rules(text).unwrap().rules.len(), 1);
}

#[test]
fn rules_are_trusted_with_their_link_and_folder_only() {
    assert!(is_trusted(1000, [1000, 1000, 1000], 0o644));
    assert!(is_trusted(1000, [0, 1000, 0], 0o664));
    for owners in [[1001, 1000, 1000], [1000, 1001, 0], [1000, 1000, 1001]] {
        assert!(!is_trusted(1000, owners, 0o644), "{owners:?}");
    }
    assert!(!is_trusted(1000, [1000; 3], 0o646));
}
