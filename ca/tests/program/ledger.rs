//! The ledger's commands: what they find, and that they find it from files and public keys alone.

use std::path::PathBuf;
use std::process::Output;

use rusqlite::Connection;
use wire::api::CertificateReply;

use crate::authority::{Authority, run};
use crate::certificate::{ask, issue};

/// An authority where most kinds of decisions were made.
/// With its ledger in a file, which these tests change by hand.
async fn lived_in() -> (Authority, CertificateReply) {
    let authority = Authority::start_on(None);
    authority.add("ana", 1, &[]);
    authority.add("bob", 2, &[]);
    let _host = authority.host("db1").await;
    let _unused = authority.token("db2", &["--label", "env=prod"]);
    let token = authority.login("ana", 1).await.unwrap();
    let reply = issue(&authority, &token, &ask("db1")).await.unwrap();
    for _ in 0..3 {
        issue(&authority, &token, &ask("db1")).await.unwrap();
    }
    assert!(issue(&authority, &token, &ask("nowhere")).await.is_err());
    authority.run(&["lock", "grant", "g7", "--reason", "a test"]);
    authority.run(&["lock", "login", "nobody", "--reason", "a test"]);
    authority.run(&["unlock", "login", "nobody"]);
    authority.run(&["identity", "disable", "bob", "--reason", "left"]);
    authority.run(&["identity", "enable", "bob"]);
    authority.run(&["team", "add", "sre", "ana", "bob"]);
    authority.run(&["team", "remove", "sre", "bob"]);
    authority.run(&["host", "remove", "db1"]);
    let _again = authority.host("db1").await;
    (authority, reply)
}

fn database(authority: &Authority) -> PathBuf {
    authority.dir.path().join("state/ledger.db")
}

fn change(authority: &Authority, sql: &str) {
    let connection = Connection::open(database(authority)).unwrap();
    connection.execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}")).unwrap();
}

fn verify(authority: &Authority) -> Output {
    run(authority.dir.path(), &["ledger", "verify"])
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[tokio::test]
async fn a_ledger_that_was_lived_in_holds_and_its_state_is_what_it_says() {
    let (authority, reply) = lived_in().await;
    for _ in 0..2 {
        assert!(authority.run(&["ledger", "verify"]).contains("4 certificates, 0 bodies erased"));
        let rebuilt = authority.run(&["ledger", "rebuild"]);
        assert!(rebuilt.contains("the state is identical to what the entries say"), "{rebuilt}");
        authority.restart();
    }
    let key = authority.run(&["ledger", "keys"]);
    let path = authority.dir.path().join("cert.pub");
    std::fs::write(&path, &reply.certificate).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("ca.toml"), "").unwrap();
    let path = path.to_str().unwrap();
    let arguments = ["ledger", "verify", "--certificate", path, "--log-key", key.trim()];
    let output = run(elsewhere.path(), &arguments);
    assert!(output.status.success(), "{}", text(&output));
    let exported = authority.dir.path().join("export.jsonl");
    for range in [&["--after", "0"][..], &["--after", "3", "--to", "9"], &["--after", "7"]] {
        let lines = authority.run(&[&["ledger", "export"], range].concat());
        std::fs::write(&exported, &lines).unwrap();
        let file = exported.to_str().unwrap();
        let arguments = ["ledger", "verify", "--file", file, "--log-key", key.trim()];
        let output = run(elsewhere.path(), &arguments);
        assert!(output.status.success(), "{}", text(&output));
        let forged = lines.replacen("\\\"ana", "\\\"eve", 1);
        assert_ne!(forged, lines);
        std::fs::write(&exported, forged).unwrap();
        assert_eq!(run(elsewhere.path(), &arguments).status.code(), Some(1));
    }
    let found = authority.run(&["ledger", "search", "--kind", "certificate", "ana"]);
    assert_eq!(found.lines().count(), 4, "{found}");
    assert!(authority.run(&["ledger", "show", "1"]).contains("authority_created"));
}

#[tokio::test]
async fn every_change_by_another_hand_is_found() {
    let (authority, _) = lived_in().await;
    authority.kill();
    let path = database(&authority);
    let kept = authority.dir.path().join("kept.db");
    let copy = Connection::open(&path).unwrap();
    copy.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(copy);
    std::fs::copy(&path, &kept).unwrap();
    assert!(verify(&authority).status.success(), "{}", text(&verify(&authority)));
    let changes = [
        "UPDATE bodies SET body = CAST(replace(CAST(body AS TEXT), 'ana', 'eve') AS BLOB) WHERE seq = 9",
        "UPDATE bodies SET salt = zeroblob(16) WHERE seq = 5",
        "UPDATE bodies SET body = (SELECT body FROM bodies WHERE seq = 3) WHERE seq = 5",
        "DELETE FROM bodies WHERE seq = 5",
        "INSERT INTO bodies VALUES (999, zeroblob(16), x'7b7d')",
        "UPDATE entries SET leaf = CAST(replace(CAST(leaf AS TEXT), '\"seq\":5', '\"seq\":6') AS BLOB) WHERE seq = 5",
        "UPDATE entries SET leaf_hash = zeroblob(32) WHERE seq = 5",
        "UPDATE entries SET at = at + 1 WHERE seq = 5",
        "UPDATE entries SET kind = 'denial' WHERE seq = 5",
        "DELETE FROM entries WHERE seq = 5; DELETE FROM bodies WHERE seq = 5",
        "DELETE FROM entries WHERE seq = (SELECT max(seq) FROM entries)",
        "INSERT INTO entries SELECT seq + 1, at, kind, leaf, leaf_hash FROM entries ORDER BY seq DESC LIMIT 1",
        "UPDATE entries SET seq = 1000 WHERE seq = 5; UPDATE entries SET seq = 5 WHERE seq = 6; UPDATE entries SET seq = 6 WHERE seq = 1000",
        "INSERT INTO subtrees VALUES (1, 0, zeroblob(32))",
        "UPDATE checkpoints SET note = (SELECT note FROM checkpoints ORDER BY size LIMIT 1) WHERE size = (SELECT size FROM checkpoints ORDER BY size LIMIT 1 OFFSET 1)",
        "UPDATE checkpoints SET note = replace(note, char(10) || size || char(10), char(10) || (size + 1) || char(10))",
        "DELETE FROM checkpoints WHERE size = (SELECT max(size) FROM checkpoints)",
        "DELETE FROM locks",
        "UPDATE identities SET operator = 1 WHERE name = 'ana'",
        "UPDATE identities SET disabled = 1 WHERE name = 'bob'",
        "INSERT INTO keys SELECT 'SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU', identity, public_key, added FROM keys LIMIT 1",
        "DELETE FROM keys WHERE identity = 'ana'",
        "UPDATE grants SET until = until + 1",
        "UPDATE certificates SET valid_before = valid_before + 1 WHERE serial = 2",
        "DELETE FROM certificates WHERE serial = 4",
        "UPDATE hosts SET labels = '[\"env=dev\"]'",
        "UPDATE addresses SET host = 'db9'",
        "UPDATE tokens SET used = NULL",
        "UPDATE orders SET signature = 'x' WHERE number = 1",
        "UPDATE counters SET value = value - 1 WHERE name = 'epoch'",
    ];
    for sql in changes {
        change(&authority, sql);
        let output = verify(&authority);
        assert_eq!(output.status.code(), Some(1), "{sql}: {}", text(&output));
        assert!(text(&output).contains("! "), "{sql}: {}", text(&output));
        for side in ["-wal", "-shm"] {
            let path = path.with_extension(format!("db{side}"));
            if path.exists() {
                std::fs::remove_file(path).unwrap();
            }
        }
        std::fs::copy(&kept, &path).unwrap();
    }
    assert!(verify(&authority).status.success());
}

#[tokio::test]
async fn a_ledger_that_was_rolled_back_or_forked_contradicts_the_checkpoint_that_was_seen() {
    let authority = Authority::start_on(None);
    authority.add("ana", 1, &[]);
    authority.kill();
    let earlier = std::fs::read(database(&authority)).unwrap();
    let wal = database(&authority).with_extension("db-wal");
    let earlier_wal = std::fs::read(&wal).unwrap();
    authority.restart();
    authority.add("bob", 2, &[]);
    let seen = authority.dir.path().join("seen");
    std::fs::write(&seen, authority.fetch("/checkpoint").await.unwrap()).unwrap();
    let seen = seen.to_str().unwrap().to_owned();
    authority.run(&["ledger", "verify", "--against", &seen]);
    authority.kill();
    std::fs::write(database(&authority), &earlier).unwrap();
    std::fs::write(&wal, &earlier_wal).unwrap();
    assert!(verify(&authority).status.success(), "an older ledger holds by itself");
    let (_, complaint) = authority.refuse(&["ledger", "verify", "--against", &seen]);
    assert!(complaint.contains("does not hold"), "{complaint}");
    authority.restart();
    authority.add("eve", 3, &[]);
    authority.add("mallory", 4, &[]);
    let output = run(authority.dir.path(), &["ledger", "verify", "--against", &seen]);
    assert!(text(&output).contains("the ledger was forked"), "{}", text(&output));
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn what_was_erased_is_gone_and_everything_still_holds() {
    let (authority, _) = lived_in().await;
    let (_, complaint) =
        authority.refuse(&["ledger", "erase", "--identity", "ana", "--reason", "asked"]);
    assert!(complaint.contains("disable it first"), "{complaint}");
    for _ in 0..2 {
        authority.run(&["identity", "disable", "ana", "--reason", "left"]);
        authority.run(&["identity", "enable", "ana"]);
    }
    authority.run(&["identity", "disable", "ana", "--reason", "left"]);
    let told = authority.run(&["ledger", "erase", "--identity", "ana", "--reason", "asked"]);
    assert!(told.contains("bodies are erased; entry "), "{told}");
    let verified = authority.run(&["ledger", "verify"]);
    assert!(!verified.contains(" 0 bodies erased"), "{verified}");
    assert!(authority.run(&["ledger", "show", "9"]).contains("its body was erased"));
    assert!(authority.run(&["ledger", "search", "\"ana\"", "--kind", "certificate"]).is_empty());
    let (_, complaint) = authority.refuse(&["ledger", "erase", "9", "--reason", "again"]);
    assert!(complaint.contains("was erased before"), "{complaint}");
    let lines = authority.run(&["ledger", "export"]);
    let exported = authority.dir.path().join("export.jsonl");
    std::fs::write(&exported, lines).unwrap();
    authority.run(&["ledger", "verify", "--file", exported.to_str().unwrap()]);
}

#[tokio::test]
async fn the_state_is_put_right_from_the_entries() {
    let (authority, _) = lived_in().await;
    authority.kill();
    change(
        &authority,
        "DELETE FROM locks; DELETE FROM certificates; UPDATE hosts SET labels = '[]', seen = 5",
    );
    change(
        &authority,
        "INSERT INTO identities (name, operator, disabled, added) VALUES ('eve', 1, 0, 0)",
    );
    let (code, complaint) = authority.refuse(&["ledger", "rebuild"]);
    assert!(code == 1 && complaint.contains("--write"), "{complaint}");
    let told = authority.run(&["ledger", "rebuild", "--write"]);
    assert!(told.contains("rows were put right"), "{told}");
    authority.run(&["ledger", "verify"]);
    let kept: u64 = Connection::open(database(&authority))
        .unwrap()
        .query_row("SELECT seen FROM hosts", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 5, "what is no decision stays");
    authority.restart();
    assert!(authority.run(&["lock", "list"]).contains("grant"));
}

#[tokio::test]
async fn a_mirror_of_tiles_goes_on_and_takes_no_other_ledger() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let _host = authority.host("db1").await;
    let token = authority.login("ana", 1).await.unwrap();
    let dir = authority.dir.path().join("mirror");
    let export = ["ledger", "export", "--tiles", &dir.display().to_string()];
    assert!(authority.run(&export).contains("all proved by the checkpoint"));
    for _ in 0..300 {
        issue(&authority, &token, &ask("db1")).await.unwrap();
    }
    authority.run(&export);
    // The full tile is there, and nothing of its beginnings; again is little work.
    assert!(dir.join("tile/entries/000").is_file() && !dir.join("tile/entries/000.p").exists());
    assert_eq!(std::fs::read(dir.join("tile/0/000")).unwrap().len(), 8_192);
    assert_eq!(
        std::fs::read(dir.join("checkpoint")).unwrap(),
        authority.fetch("/checkpoint").await.unwrap()
    );
    // Changed here, or of another ledger: named, and the checkpoint stays.
    let tile = dir.join("tile/entries/000");
    let whole = std::fs::read(&tile).unwrap();
    let mut changed = whole.clone();
    changed[100] ^= 1;
    std::fs::write(&tile, changed).unwrap();
    assert!(authority.refuse(&export).1.contains("it was changed here"));
    std::fs::write(&tile, whole).unwrap();
    let other = Authority::start();
    let before = std::fs::read(dir.join("checkpoint")).unwrap();
    let (_, complaint) = other.refuse(&export);
    assert!(complaint.contains("is not believed"), "{complaint}");
    assert_eq!(std::fs::read(dir.join("checkpoint")).unwrap(), before);
}
