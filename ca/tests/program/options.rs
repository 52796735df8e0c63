//! What a role binds its certificates to and what a request leaves out, read by the real `ssh-keygen`.

use std::process::Command;

use wire::api::CertificateAsk;
use wire::options::{ForceCommand, MAX_COMMAND, Wishes};
use wire::problem::Code;

use crate::authority::Authority;
use crate::certificate::{ask, eventually, issue};

/// Puts these lines under the role and waits until they hold.
async fn bind(authority: &Authority, lines: &str) {
    let path = authority.dir.path().join("roles.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{before}{lines}\n")).unwrap();
    let wanted = lines.split(" =").next().unwrap().to_owned();
    eventually(|| authority.run(&["role", "list", "--json"]).contains(&format!("{wanted}\":")))
        .await;
}

/// `ssh-keygen -L`, from the critical options on.
fn listed(authority: &Authority, certificate: &str) -> String {
    let path = authority.dir.path().join("id-cert.pub");
    std::fs::write(&path, format!("{certificate}\n")).unwrap();
    let listed = Command::new("ssh-keygen").arg("-L").arg("-f").arg(&path).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    text.split_once("Critical Options:").unwrap().1.to_owned()
}

/// What is on the disk, whichever of its two files has it.
fn ledger(authority: &Authority) -> String {
    let read = |name| std::fs::read(authority.dir.path().join("state").join(name)).unwrap();
    let bytes = [read("ledger.db"), read("ledger.db-wal")].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn site() -> (Authority, String) {
    let authority = Authority::start_on(None);
    authority.add("ana", 1, &[]);
    drop(authority.host("db1").await);
    let token = authority.login("ana", 1).await.unwrap();
    (authority, token)
}

#[tokio::test]
async fn ssh_keygen_reads_options_as_the_role_says_them() {
    let (authority, token) = site().await;
    bind(
        &authority,
        "force_command = \"env A=b,c run --x=y 'a, b'\"\nsource_address = [\"10.0.0.0/8\", \"2001:db8::/32\"]",
    )
    .await;
    let said =
        listed(&authority, &issue(&authority, &token, &ask("db1")).await.unwrap().certificate);
    assert!(said.contains("force-command env A=b,c run --x=y 'a, b'\n"), "{said}");
    assert!(said.contains("source-address 10.0.0.0/8,2001:db8::/32\n"), "{said}");
    let shown = authority.run(&["role", "show", "deploy"]);
    assert!(shown.contains("force-command env A=b,c run --x=y 'a, b'\n"), "{shown}");
}

#[tokio::test]
async fn the_longest_command_is_whole_and_a_longer_one_is_refused() {
    let (authority, token) = site().await;
    let command = "x=".repeat(MAX_COMMAND / 2);
    let wishes =
        Wishes { command: Some(ForceCommand::try_new(&*command).unwrap()), ..Wishes::default() };
    let wanted = CertificateAsk { wishes, ..ask("db1") };
    let said = listed(&authority, &issue(&authority, &token, &wanted).await.unwrap().certificate);
    assert!(said.contains(&format!("force-command {command}\n")), "{said}");
    let mut body = serde_json::to_value(&wanted).unwrap();
    body["wishes"]["command"] = format!("{command}x").into();
    let refused: wire::problem::Problem = authority
        .send::<serde_json::Value>("/v1/certificates", Some(&token), &body)
        .await
        .unwrap_err();
    assert_eq!(refused.code, Code::Malformed, "{refused:?}");
}

#[tokio::test]
async fn asking_for_less_is_granted_and_for_more_denied_and_recorded() {
    let (authority, token) = site().await;
    bind(&authority, "source_address = [\"10.0.0.0/8\"]").await;
    let asked = |wishes: serde_json::Value| CertificateAsk {
        wishes: serde_json::from_value(wishes).unwrap(),
        ..ask("db1")
    };
    let less = asked(serde_json::json!({"without": ["pty"], "sources": ["10.1.0.0/16"]}));
    let said = listed(&authority, &issue(&authority, &token, &less).await.unwrap().certificate);
    assert!(said.contains("source-address 10.1.0.0/16\n") && !said.contains("permit-"), "{said}");
    for (wishes, why) in [
        (serde_json::json!({"sources": ["0.0.0.0/0"]}), "lets in from 10.0.0.0/8 only"),
        (serde_json::json!({"only": ["agent-forwarding"]}), "does not allow agent-forwarding"),
        (serde_json::json!({"verify_required": true}), "only a security key can ask for"),
    ] {
        let denied = issue(&authority, &token, &asked(wishes)).await.unwrap_err();
        assert_eq!(denied.code, Code::Denied);
        assert!(denied.message.contains(why), "{denied:?}");
        assert!(ledger(&authority).contains(why), "{why} is not in the ledger");
    }
    for odd in ["10.0.0.1/8", "::ffff:10.0.0.0/104", "10.0.0.0/8,::/0", ""] {
        let mut body = serde_json::to_value(ask("db1")).unwrap();
        body["wishes"] = serde_json::json!({"sources": [odd]});
        let refused = authority
            .send::<serde_json::Value>("/v1/certificates", Some(&token), &body)
            .await
            .unwrap_err();
        assert_eq!(refused.code, Code::Malformed, "{odd}");
    }
}
