//! Recordings in a bucket of a real store that speaks S3.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::authority::Authority;
use crate::reading::reads_and_checks;

/// The server, as `cargo xtask setup` installs it.
fn server() -> PathBuf {
    let cache = std::env::var_os("CURFEW_TEST_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache/curfew"))).unwrap();
    cache.join("moto/bin/moto_server")
}

/// A store of its own for one test.
struct Store {
    child: Child,
    port: u16,
}

impl Store {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = server();
        let child = Command::new(&server)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error}; run `cargo xtask setup`", server.display())
            });
        let store = Self { child, port };
        let (_silent, never) = std::sync::mpsc::channel::<()>();
        for _ in 0..1200 {
            if store.call("PUT /recordings").is_some_and(|status| status.contains(" 200 ")) {
                return store;
            }
            assert!(never.recv_timeout(Duration::from_millis(50)).is_err());
        }
        panic!("{} does not answer", server.display());
    }

    /// Its answer to a request without a body.
    fn call(&self, call: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let request = format!(
            "{call} HTTP/1.0\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\n\r\n",
            self.port
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Has the authority keep recordings in the bucket.
fn point(authority: &Authority, store: &Store) {
    authority.stop();
    let secret = |name: &str, text: &str| {
        let path = authority.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let (access, secret) = (secret("access", "AKIDEXAMPLE"), secret("secret", "a-secret/of+ours"));
    let config = authority.dir.path().join("ca.toml");
    let mut text = std::fs::read_to_string(&config).unwrap();
    text.push_str(&format!(
        "[recordings]\nurl = \"s3://recordings/prod/a\"\nendpoint = \"http://127.0.0.1:{}\"\naccess_key_file = {access:?}\n\
         secret_key_file = {secret:?}\n",
        store.port
    ));
    std::fs::write(&config, text).unwrap();
    authority.start_again();
}

#[tokio::test]
async fn recordings_are_kept_read_and_checked_in_a_bucket() {
    let store = Store::start();
    let authority = Authority::start();
    point(&authority, &store);
    reads_and_checks(&authority).await;
    let listed = store.call("GET /recordings?list-type=2&prefix=prod/a/db1/").unwrap();
    assert_eq!(listed.matches("<Key>prod/a/db1/").count(), 41, "{listed}");
    assert!(!authority.dir.path().join("state/recordings").exists());
    let log = authority.log();
    assert!(!log.contains("a-secret"), "no secret is in the log");
}

#[tokio::test]
async fn what_terminals_showed_is_found_in_a_bucket() {
    let store = Store::start();
    let authority = Authority::start();
    point(&authority, &store);
    crate::terminals::finds(&authority).await;
}

#[tokio::test]
async fn recordings_in_a_bucket_are_deleted_by_two_people() {
    let store = Store::start();
    let authority =
        Authority::start_with("[retention]\nterminals = \"0s\"\nactivity = \"0s\"\n", None);
    point(&authority, &store);
    crate::retention::deletes(&authority).await;
    let listed = store.call("GET /recordings?list-type=2&prefix=prod/a/db1/").unwrap();
    assert_eq!(listed.matches("<Key>").count(), 1, "{listed}");
    assert!(listed.contains("/closed</Key>"), "{listed}");
}

#[tokio::test]
async fn a_bucket_without_its_keys_ends_the_start_with_what_is_missing() {
    let authority = Authority::start();
    authority.stop();
    let config = authority.dir.path().join("ca.toml");
    let mut text = std::fs::read_to_string(&config).unwrap();
    text.push_str("[recordings]\nurl = \"s3://recordings\"\nendpoint = \"http://127.0.0.1:1\"\n");
    std::fs::write(&config, text).unwrap();
    let (code, said) = authority.refuse(&["serve"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("S3 access key") && said.contains("curfew-ca.s3-access-key"), "{said}");
}
