//! The book's pages exist, and what it says of the command is so.

use std::path::PathBuf;

use crate::program::Bench;

fn docs() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src"))
}

/// Targets of the Markdown links in a text.
fn links(text: &str) -> Vec<String> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_page_is_in_the_summary_and_every_link_leads_somewhere() {
    let summary = std::fs::read_to_string(docs().join("SUMMARY.md")).unwrap();
    let listed = links(&summary);
    for entry in std::fs::read_dir(docs()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name == "SUMMARY.md" || listed.contains(&name),
            "{name} is not in the summary"
        );
        let text = std::fs::read_to_string(docs().join(&name)).unwrap();
        for link in links(&text) {
            let page = link.split('#').next().unwrap();
            let outside = page.is_empty() || page.contains("://");
            assert!(outside || docs().join(page).exists(), "{name}: {link}");
        }
    }
}

#[test]
fn links_of_the_pages_at_the_root_lead_somewhere() {
    let root = docs().join("../..");
    for name in ["README.md", "SECURITY.md", "CHANGELOG.md"] {
        let text = std::fs::read_to_string(root.join(name)).unwrap();
        for link in links(&text) {
            let page = link.split('#').next().unwrap();
            assert!(
                page.contains("://") || root.join(page).exists(),
                "{name}: {link}"
            );
        }
    }
}

/// Names of the commands in a help text.
fn commands(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

/// The help of `words` and of all commands below it, as a part of the page.
fn help_of(bench: &Bench, words: &str, level: usize, page: &mut String) {
    let help = bench.text(&format!("{words} --help"), b"");
    if !words.is_empty() {
        let marks = "#".repeat(level);
        page.push_str(&format!(
            "\n{marks} `blindfold {words}`\n\n```text\n{}\n```\n",
            help.trim_end()
        ));
    }
    for command in commands(&help) {
        help_of(bench, format!("{words} {command}").trim(), level + 1, page);
    }
}

/// The page is made of the program's own help. Set `UPDATE_BOOK=1` to write it anew.
#[test]
fn page_of_the_command_is_the_help_of_every_command() {
    let mut page = String::from(
        "# The `blindfold` command\n\nStandard input and output are where a Unix tool has them: `-` or nothing means a stream, and output files appear\n\
         whole or not at all. `--json` makes output and errors machine-readable. Secrets are never arguments.\n\n\
         | exit code | means |\n|---|---|\n| 0 | done |\n| 64 | wrong usage or configuration |\n\
         | 65 | bad object, key, policy or token |\n| 66 | input not readable |\n| 69 | service not reachable |\n\
         | 70 | internal |\n| 73 | output not creatable |\n| 74 | reading or writing failed |\n\
         | 75 | try again later |\n| 77 | denied |\n",
    );
    help_of(&Bench::new(), "", 1, &mut page);
    let place = docs().join("command.md");
    if std::env::var_os("UPDATE_BOOK").is_some() {
        std::fs::write(&place, &page).unwrap();
    }
    assert!(page.matches("```text").count() > 30, "commands are missing");
    let kept = std::fs::read_to_string(&place).unwrap_or_default();
    assert!(
        kept == page,
        "docs/src/command.md is out of date: run the tests with UPDATE_BOOK=1"
    );
}
