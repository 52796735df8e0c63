//! Policy in the authority: what it demands, what it says is missing, and how it changes while the authority serves.

use std::path::PathBuf;

use wire::api::CertificateAsk;

use crate::authority::Authority;
use crate::certificate::{ask, eventually, issue};

/// The default, and a reason besides.
const REASON: &str = r#"
@id("members") permit (principal, action, resource)
when { true };
@id("reason") @advice("say why, with --reason")
forbid (principal, action == Curfew::Action::"issue", resource) when { context.reason == "" };
"#;

fn policies(authority: &Authority) -> PathBuf {
    authority.dir.path().join("policy")
}

/// Puts a policy into the folder and waits until it is in force.
pub(crate) async fn put(authority: &Authority, text: &str) {
    let folder = policies(authority);
    std::fs::create_dir_all(&folder).unwrap();
    let count = || authority.log().matches("another policy is in force").count();
    let before = count();
    std::fs::write(folder.join("new"), text).unwrap();
    std::fs::rename(folder.join("new"), folder.join("main.cedar")).unwrap();
    eventually(|| count() > before).await;
}

async fn site() -> (Authority, String) {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    drop(authority.host("db1").await);
    let token = authority.login("ana", 1).await.unwrap();
    (authority, token)
}

pub(crate) fn entries(authority: &Authority, kind: &str) -> Vec<serde_json::Value> {
    let lines = authority.run(&["ledger", "search", "--kind", kind, "--json"]);
    let body = |line: &str| {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = entry["entry"]["body"]["text"].as_str().unwrap();
        serde_json::from_str(text).unwrap()
    };
    lines.lines().map(body).collect()
}

#[tokio::test]
async fn a_policy_that_comes_holds_at_once_and_says_what_is_missing() {
    let (authority, token) = site().await;
    assert!(issue(&authority, &token, &ask("db1")).await.is_ok());
    put(&authority, REASON).await;
    let refused = issue(&authority, &token, &ask("db1")).await.unwrap_err();
    assert!(refused.message.contains("still required: say why, with --reason"), "{refused:?}");
    let why = CertificateAsk { reason: Some("restore".into()), ..ask("db1") };
    assert!(issue(&authority, &token, &why).await.is_ok());
    let issued = entries(&authority, "certificate");
    assert_eq!(issued[0]["policy"]["verdict"]["allowed"]["by"][0], "members");
    assert_ne!(issued[0]["policy"]["set"], issued[1]["policy"]["set"]);
    assert_eq!(issued[1]["policy"]["question"]["act"]["issue"]["reason"], "restore");
    let denied = entries(&authority, "denial");
    assert_eq!(denied[0]["policy"]["verdict"]["missing"][0]["id"], "reason");
    let changed = entries(&authority, "policy_changed");
    assert_eq!(changed.len(), 2, "{changed:?}");
    assert_eq!(changed[1]["hash"], issued[1]["policy"]["set"]);
    assert!(changed[1]["changes"].to_string().contains("say why"), "{changed:?}");
}

#[tokio::test]
async fn a_bad_policy_is_refused_by_line_and_the_one_from_before_stays() {
    let (authority, token) = site().await;
    put(&authority, REASON).await;
    std::fs::write(policies(&authority).join("more.cedar"), "\n\nforbid (principal);").unwrap();
    eventually(|| authority.log().contains("the policy is refused")).await;
    let status = authority.run(&["status"]);
    assert!(status.contains("the policy is refused and an older one is in force"), "{status}");
    assert!(status.contains("/policy/more.cedar:3: "), "{status}");
    assert!(issue(&authority, &token, &ask("db1")).await.is_err());
    let refused = entries(&authority, "policy_refused");
    assert_eq!(refused[0]["kept"], entries(&authority, "policy_changed")[1]["hash"]);
    assert!(refused[0]["files"].to_string().contains("forbid (principal);"), "{refused:?}");
    let (code, said) = authority.refuse(&["check"]);
    assert!(code == 78 && said.contains("/policy/more.cedar:3: "), "{said}");
    // A start is no way around it.
    authority.stop();
    let (code, said) = authority.refuse(&["serve"]);
    assert!(code == 78 && said.contains("/policy/more.cedar:3: "), "{code} {said}");
    std::fs::remove_file(policies(&authority).join("more.cedar")).unwrap();
    authority.start_again();
    let token = authority.login("ana", 1).await.unwrap();
    assert!(issue(&authority, &token, &ask("db1")).await.is_err());
}

#[tokio::test]
async fn a_folder_that_goes_away_does_not_bring_the_default_back() {
    let (authority, token) = site().await;
    put(&authority, REASON).await;
    std::fs::remove_dir_all(policies(&authority)).unwrap();
    eventually(|| authority.log().contains("the policy is refused")).await;
    assert!(issue(&authority, &token, &ask("db1")).await.is_err());
    authority.stop();
    let (code, said) = authority.refuse(&["serve"]);
    assert!(code == 78 && said.contains("is gone, and the default policy does not"), "{said}");
    // It is put there in so many words.
    let default = authority.run(&["policy", "default"]);
    std::fs::create_dir(policies(&authority)).unwrap();
    std::fs::write(policies(&authority).join("main.cedar"), default).unwrap();
    authority.start_again();
    let token = authority.login("ana", 1).await.unwrap();
    assert!(issue(&authority, &token, &ask("db1")).await.is_ok());
}

#[tokio::test]
async fn the_past_is_decided_again_one_by_one() {
    let (authority, token) = site().await;
    assert!(issue(&authority, &token, &ask("db1")).await.is_ok());
    let why = CertificateAsk { reason: Some("restore".into()), ..ask("db1") };
    assert!(issue(&authority, &token, &why).await.is_ok());
    let other = authority.dir.path().join("candidate");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("main.cedar"), REASON).unwrap();
    let other = other.display().to_string();
    let (code, said) = authority.refuse(&["policy", "backtest", "--policy", &other]);
    assert_eq!((code, said.trim()), (1, "curfew-ca: 1 decisions would have been otherwise"));
    let same = authority.run(&["policy", "backtest", "--since", "1d"]);
    assert!(
        same.contains("2 decisions; 0 would have been allowed that were denied, 0 denied"),
        "{same}"
    );
    let number = authority.run(&["ledger", "search", "--kind", "certificate"]);
    let number = number.split_whitespace().next().unwrap().trim_start_matches('#').to_owned();
    let told = authority.run(&["policy", "explain", &number, "--policy", &other]);
    assert!(told.contains("then      allowed by members"), "{told}");
    assert!(told.contains("now       still required: say why, with --reason"), "{told}");
    let (_, said) = authority.refuse(&["policy", "explain", "1"]);
    assert!(said.contains("entry 1 is no decision that a policy was asked about"), "{said}");
}

#[tokio::test]
async fn cases_beside_a_policy_are_put_to_it() {
    let (authority, _token) = site().await;
    let folder = authority.dir.path().join("candidate");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.display().to_string();
    let check = ["policy", "check", "--policy", &path];
    let test = ["policy", "test", "--policy", &path];
    let (code, said) = authority.refuse(&test);
    assert!(code == 78 && said.contains("there is no *.cedar file in it"), "{said}");
    let role = "\n@id(\"role\") permit (principal in Curfew::Role::\"deplyo\", action, resource);";
    std::fs::write(folder.join("main.cedar"), format!("{REASON}{role}")).unwrap();
    let (_, said) = authority.refuse(&test);
    assert!(said.contains("there is no *.test.toml file in it"), "{said}");
    let case = "[identity.ana]\n[host.db1]\n[[case]]\nname = \"why\"\nwho = \"ana\"\naction = \"issue\"\nhost = \"db1\"\nrole = \"deploy\"\nlogin = \"app\"\n";
    std::fs::write(folder.join("a.test.toml"), format!("{case}expect = [\"reason\"]\n")).unwrap();
    assert!(authority.run(&test).contains("1 cases, all as expected"));
    let said = authority.run(&check);
    assert!(said.contains("good, 3 policies") && said.contains("did you mean deploy?"), "{said}");
    assert!(!said.contains("no policy lets anybody"), "{said}");
    let narrow = "@id(\"a\") permit (principal, action == Curfew::Action::\"issue\", resource);\n\
                  @id(\"b\") permit (principal, action == Curfew::Action::\"export\", resource)\n\
                  when { principal in Curfew::Team::\"audit\" };";
    std::fs::write(folder.join("main.cedar"), narrow).unwrap();
    let said = authority.run(&check);
    assert!(said.contains("permit the action \"lock\"") && !said.contains("\"export\""), "{said}");
    std::fs::write(folder.join("main.cedar"), format!("{REASON}{role}")).unwrap();
    std::fs::write(folder.join("a.test.toml"), format!("{case}expect = \"allowed\"\n")).unwrap();
    let (code, said) = authority.refuse(&test);
    assert_eq!((code, said.trim()), (1, "curfew-ca: 1 of 1 cases failed"));
    let (code, said) = authority.refuse(&["policy", "check", "--policy", "/nowhere"]);
    assert!(code == 1 && said.contains("/nowhere: there is no such folder"), "{said}");
}
