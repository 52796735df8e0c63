//! Witnesses as processes of their own: a certificate carries their word, or is not given out.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use wire::certificate::Certificate;
use wire::log::{Policy, WitnessKey};
use wire::problem::Code;

use crate::authority::{Authority, run};
use crate::certificate::{ask, issue};

/// `curfew-ca witness serve`; it is killed when this is dropped.
struct Witness {
    key: WitnessKey,
    address: String,
    serving: Child,
}

impl Witness {
    fn start(dir: &Path, name: &str, log: &str) -> Self {
        let folder = dir.join(name);
        let shown = folder.display().to_string();
        if !folder.exists() {
            let made = run(dir, &["witness", "init", "--dir", &shown, "--name", name]);
            assert!(made.status.success(), "{made:?}");
        }
        let mut serving = Command::new(env!("CARGO_BIN_EXE_curfew-ca"))
            .args(["witness", "serve", "--dir", &shown, "--listen", "127.0.0.1:0", "--log", log])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(serving.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let address = said.trim().rsplit_once(' ').unwrap().1.to_owned();
        // What hosts pin is printed once; it is the same for the same seed.
        let seed = std::fs::read(folder.join("seed")).unwrap();
        let pair = ssh_key::private::Ed25519Keypair::from_seed(&seed.try_into().unwrap());
        let key = WitnessKey::new(name.parse().unwrap(), pair.public.0);
        Self { key, address, serving }
    }

    fn kill(&mut self) {
        self.serving.kill().unwrap();
        self.serving.wait().unwrap();
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        drop(self.serving.kill());
        drop(self.serving.wait());
    }
}

/// The authority serves again, with these witnesses.
fn demand(authority: &mut Authority, witnesses: &[&Witness], quorum: usize) {
    let mut settings = crate::authority::settings(authority.dir.path());
    settings.push_str(&format!("[ledger]\nquorum = {quorum}\n"));
    if let Some(database) = &authority.database {
        settings.push_str(&format!("url = {:?}\n", database.url()));
    }
    for witness in witnesses {
        let Witness { key, address, .. } = witness;
        settings.push_str(&format!("[[witness]]\nkey = \"{key}\"\nurl = \"http://{address}\"\n"));
    }
    std::fs::write(authority.dir.path().join("ca.toml"), settings).unwrap();
    authority.restart();
}

async fn policy(authority: &Authority, witnesses: &[&Witness], quorum: usize) -> Policy {
    let witnesses = witnesses.iter().map(|witness| witness.key.clone()).collect();
    Policy { witnesses, quorum, ..authority.log_policy().await }
}

#[tokio::test]
async fn a_certificate_carries_the_word_of_as_many_witnesses_as_must_or_is_not_given_out() {
    let mut authority = Authority::start();
    authority.add("ana", 1, &[]);
    let _host = authority.host("db1").await;
    let log = authority.run(&["ledger", "keys"]);
    let dir = authority.dir.path().to_owned();
    let one = Witness::start(&dir, "w1.example.com", log.trim());
    let mut other = Witness::start(&dir, "w2.example.com", log.trim());
    demand(&mut authority, &[&one, &other], 2);
    let token = authority.login("ana", 1).await.unwrap();
    let both = policy(&authority, &[&one, &other], 2).await;
    for _ in 0..3 {
        let reply = issue(&authority, &token, &ask("db1")).await.unwrap();
        let certificate = Certificate::from_openssh(&reply.certificate).unwrap();
        let (_, attested) = wire::ledger::certified(&certificate, &both).unwrap();
        assert_eq!(attested.cosigned().len(), 2);
    }
    let wish = ask("db1");
    let many = (0..20).map(|_| issue(&authority, &token, &wish));
    for reply in futures(many).await {
        let certificate = Certificate::from_openssh(&reply.unwrap().certificate).unwrap();
        assert!(wire::ledger::certificate(&certificate, &both).is_ok());
    }
    let status = authority.run(&["status"]);
    assert!(status.contains("witness w2.example.com cosigned "), "{status}");
    assert!(status.contains("nothing is wrong") || !status.contains("witness w1.example.com does"));
    let checked = authority.run(&["check"]);
    assert!(checked.contains("a certificate needs 2 of 2 witnesses"), "{checked}");
    // The log's own checkpoint carries their word too.
    let note = authority.fetch("/checkpoint").await.unwrap();
    let note = std::str::from_utf8(&note).unwrap().parse().unwrap();
    assert!(both.attest(note).is_ok());

    other.kill();
    let refused = issue(&authority, &token, &ask("db1")).await.unwrap_err();
    assert_eq!(refused.code, Code::Busy);
    assert!(refused.message.contains("w2.example.com ("), "{}", refused.message);
    assert!(!refused.message.contains("w1.example.com"), "{}", refused.message);
    let status = authority.run(&["status"]);
    assert!(status.contains("! no certificate is given out: 2 witnesses must"), "{status}");

    demand(&mut authority, &[&one, &other], 1);
    let token = authority.login("ana", 1).await.unwrap();
    let reply = issue(&authority, &token, &ask("db1")).await.unwrap();
    let certificate = Certificate::from_openssh(&reply.certificate).unwrap();
    let alone = policy(&authority, &[&one, &other], 1).await;
    assert!(wire::ledger::certificate(&certificate, &alone).is_ok());
    assert!(wire::ledger::certificate(&certificate, &both).is_err());
    // It comes back, under the key that it had, and is asked again by itself.
    let again = Witness::start(&dir, "w2.example.com", log.trim());
    demand(&mut authority, &[&one, &again], 2);
    let token = authority.login("ana", 1).await.unwrap();
    let reply = issue(&authority, &token, &ask("db1")).await.unwrap();
    let certificate = Certificate::from_openssh(&reply.certificate).unwrap();
    assert!(wire::ledger::certificate(&certificate, &both).is_ok());
}

#[tokio::test]
async fn a_ledger_that_went_back_gets_no_word_and_is_an_incident() {
    let mut authority = Authority::start_on(None);
    authority.add("ana", 1, &[]);
    let _host = authority.host("db1").await;
    let log = authority.run(&["ledger", "keys"]);
    let dir = authority.dir.path().to_owned();
    let witness = Witness::start(&dir, "w1.example.com", log.trim());
    authority.kill();
    let state = dir.join("state");
    let old: Vec<(std::path::PathBuf, Vec<u8>)> = std::fs::read_dir(&state)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("ledger.db"))
        .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
        .collect();
    demand(&mut authority, &[&witness], 1);
    for host in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"] {
        let _token = authority.token(host, &[]);
    }
    let token = authority.login("ana", 1).await.unwrap();
    assert!(issue(&authority, &token, &ask("db1")).await.is_ok());
    authority.kill();
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        drop(std::fs::remove_file(state.join(name)));
    }
    for (path, bytes) in old {
        std::fs::write(path, bytes).unwrap();
    }
    authority.restart();
    let token = authority.login("ana", 1).await.unwrap();
    let refused = issue(&authority, &token, &ask("db1")).await.unwrap_err();
    assert!(refused.message.contains("does not continue"), "{}", refused.message);
    let incidents = authority.run(&["incident", "list"]);
    assert!(incidents.contains("witness w1.example.com has cosigned a tree of"), "{incidents}");
}

/// All of them at once.
async fn futures<T>(work: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = work.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in waiting.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        let is_done = done.iter().all(Option::is_some);
        if is_done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}
