//! Every policy that is shipped is good, and gives the answers that its cases say.
#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use curfew_policy::{Cases, File, PolicySet, Verdict};
use jiff::tz::TimeZone;

fn read(path: &Path) -> File {
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    File { name, text: std::fs::read_to_string(path).unwrap() }
}

fn folders() -> Vec<PathBuf> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/policy");
    let entries = std::fs::read_dir(shipped).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn load(folder: &Path) -> PolicySet {
    let files = [read(&folder.join("policy.cedar"))];
    let told = |faults: Vec<curfew_policy::Fault>| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        format!("{}: {}", folder.display(), lines.join("\n"))
    };
    PolicySet::load(&files).map_err(told).unwrap()
}

#[test]
fn every_example_gives_the_answers_that_its_cases_say() {
    let folders = folders();
    assert_eq!(folders.len(), 3, "{folders:?}");
    for folder in &folders {
        let cases = Cases::read(&read(&folder.join("policy.test.toml")), &TimeZone::UTC).unwrap();
        for outcome in cases.run(&load(folder)) {
            let (line, name) = (outcome.line, &outcome.name);
            let failed = outcome.failed.map(|failed| failed.to_string());
            assert_eq!(failed, None, "{}:{line}: {name}", folder.display());
        }
    }
}

/// A requirement that no case ever misses is one that nobody has seen at work.
#[test]
fn every_requirement_of_every_example_is_missing_in_some_case() {
    for folder in &folders() {
        let set = load(folder);
        let text = read(&folder.join("policy.test.toml")).text;
        let cases: toml::Table = text.parse().unwrap();
        let mut seen = BTreeSet::new();
        for case in cases["case"].as_array().unwrap() {
            if let Some(missing) = case["expect"].as_array() {
                seen.extend(missing.iter().map(|id| id.as_str().unwrap().to_owned()));
            }
        }
        let all: BTreeSet<String> = set.requirements().map(|one| one.id).collect();
        let usual = ["disabled", "own-request", "own-session"].map(str::to_owned);
        let unseen: Vec<_> = all.difference(&seen).filter(|id| !usual.contains(*id)).collect();
        assert!(unseen.is_empty(), "{}: {unseen:?}", folder.display());
    }
}

/// One person in both teams meets "an owner" and "one of security" when those are two rules.
#[test]
fn two_rules_are_met_by_one_person_and_one_quorum_is_not() {
    let set = load(&folders().into_iter().find(|path| path.ends_with("two-person")).unwrap());
    let two_rules = "@id(\"members\") permit (principal, action == Curfew::Action::\"issue\", resource) when { principal in context.role };\n\
        @id(\"an-owner\") @advice(\"an owner\") forbid (principal, action == Curfew::Action::\"issue\", resource) unless { context.quorums.contains(\"owner\") };\n\
        @id(\"one-of-security\") @advice(\"security\") forbid (principal, action == Curfew::Action::\"issue\", resource) unless { context.quorums.contains(\"security\") };";
    let two_rules =
        PolicySet::load(&[File { name: "trap.cedar".into(), text: two_rules.into() }]).unwrap();
    let cases = "[identity.dan]\nroles = [\"dba\"]\n[host.db1]\nlabels = [\"tier=0\"]\n[[case]]\nname = \"one approver who is in both teams\"\n\
        who = \"dan\"\naction = \"issue\"\nhost = \"db1\"\nrole = \"dba\"\nlogin = \"postgres\"\napprovers = 1\nquorums = [\"owner\", \"security\"]\nexpect = [\"two-people\"]";
    let cases = File { name: "trap.test.toml".into(), text: cases.into() };
    let cases = Cases::read(&cases, &TimeZone::UTC).unwrap();
    assert_eq!(cases.run(&set)[0].failed, None);
    let trapped = cases.run(&two_rules).remove(0).failed.unwrap();
    assert_eq!(trapped.got, Verdict::Allowed { by: vec!["members".into()] });
}
