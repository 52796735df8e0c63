//! People who log in at a real OpenID provider (`ca/tests/oidc`), and what is no such login.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use idp::provider::escaped;
use wire::api::Whoami;
use wire::identity::Method;
use wire::login::{Flow, Known, OidcAnswer, OidcBegin, OidcBegun, OidcFinish};
use wire::problem::{Code, Problem};

use crate::authority::Authority;

/// A running provider; it ends when this is dropped.
struct Provider {
    child: Child,
    /// Kept open: what it says besides its address is read by nobody, and must not end it.
    _said: BufReader<ChildStdout>,
    issuer: String,
}

impl Provider {
    fn start() -> Self {
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/oidc/provider.mjs");
        let installed = installed();
        assert!(installed.exists(), "{} is missing; run `cargo xtask setup`", installed.display());
        // What the script imports is looked for beside it.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let script = installed.join(format!("provider-{process}-{count}.mjs"));
        std::fs::copy(source, &script).unwrap();
        let mut child = Command::new("node")
            .arg(&script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        drop(std::fs::remove_file(script));
        Self { child, _said: out, issuer: said["issuer"].as_str().unwrap().into() }
    }

    /// Goes somewhere as a browser of this account would, and says where that came to.
    async fn browse(&self, how: &str, url: &str, account: &str) -> String {
        let address = self.issuer.strip_prefix("http://").unwrap().to_owned();
        let path = format!("/test/{how}?url={}&account={}", escaped(url), escaped(account));
        let asked = move || {
            use std::io::{Read as _, Write as _};
            let mut stream = std::net::TcpStream::connect(&address).unwrap();
            let request =
                format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer.split_once("\r\n\r\n").unwrap().1.to_owned()
        };
        tokio::task::spawn_blocking(asked).await.unwrap()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where `cargo xtask setup` has put the provider.
fn installed() -> PathBuf {
    let cache = std::env::var_os("CURFEW_TEST_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache/curfew")));
    cache.unwrap().join("oidc")
}

fn trusting(provider: &Provider, more: &str) -> Authority {
    let authority = Authority::start();
    authority.configure(&format!(
        "\n[oidc]\nissuer = {:?}\nclient_id = \"curfew\"\ndomains = [\"example.com\"]\nscopes = [\"openid\", \"email\", \"groups\"]\n\
         redirect_uri = \"http://127.0.0.1:9/back\"\nteams_claim = \"groups\"\nmfa_methods = [\"otp\"]\n{more}\n",
        provider.issuer
    ));
    authority
}

async fn begin(authority: &Authority, flow: Flow) -> Result<OidcBegun, Problem> {
    authority.send("/v1/login/oidc/begin", None, &OidcBegin { flow }).await
}

async fn finish(authority: &Authority, ask: &OidcFinish) -> Result<OidcAnswer, Problem> {
    authority.send("/v1/login/oidc/finish", None, ask).await
}

fn by_device(begun: &OidcBegun) -> OidcFinish {
    OidcFinish { handle: begun.handle.clone(), code: None, state: None }
}

/// Logs in by the device flow, as a person with a browser at hand.
async fn device(authority: &Authority, provider: &Provider, who: &str) -> Result<Known, Problem> {
    let begun = begin(authority, Flow::Device).await?;
    let complete = begun.complete.clone().unwrap();
    provider.browse("browse", &complete, who).await;
    match finish(authority, &by_device(&begun)).await? {
        OidcAnswer::Done(known) => Ok(known),
        OidcAnswer::Pending { .. } => panic!("it is still pending"),
    }
}

/// What the browser came back with, for the handle of this beginning.
fn came_back(begun: &OidcBegun, url: &str) -> OidcFinish {
    let value = |name: &str| {
        let query = url.split_once('?').unwrap().1;
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    };
    OidcFinish { handle: begun.handle.clone(), code: value("code"), state: value("state") }
}

#[tokio::test]
async fn a_person_logs_in_on_another_device_and_comes_into_being_with_teams_and_second_factor() {
    let provider = Provider::start();
    let authority = trusting(&provider, "create = true");
    let begun = begin(&authority, Flow::Device).await.unwrap();
    let early = finish(&authority, &by_device(&begun)).await.unwrap();
    assert!(matches!(early, OidcAnswer::Pending { .. }), "{early:?}");
    let known = device(&authority, &provider, "ana+sre+otp").await.unwrap();
    assert_eq!(known.identity.as_str(), "ana@example.com");
    let who: Whoami = authority.read("/v1/whoami", &known.token.token).await.unwrap();
    let teams: Vec<&str> = who.teams.iter().map(|team| team.as_str()).collect();
    assert_eq!((who.method, teams), (Method::Oidc, vec!["otp", "sre"]));
    assert!(who.mfa_at.is_some());
    // The next login brings what the provider says then.
    let known = device(&authority, &provider, "ana+dba").await.unwrap();
    let who: Whoami = authority.read("/v1/whoami", &known.token.token).await.unwrap();
    let teams: Vec<&str> = who.teams.iter().map(|team| team.as_str()).collect();
    assert_eq!((teams, who.mfa_at), (vec!["dba"], None));
    authority.run(&["identity", "disable", "ana@example.com", "--reason", "left"]);
    let refused = device(&authority, &provider, "ana").await.unwrap_err();
    assert_eq!(refused.code, Code::Unauthenticated, "{}", refused.message);
    let rebuilt = authority.run(&["ledger", "rebuild"]);
    assert!(rebuilt.contains("the state is identical to what the entries say"), "{rebuilt}");
}

#[tokio::test]
async fn a_browser_s_code_is_finished_once_by_whoever_began_and_by_nobody_else() {
    let provider = Provider::start();
    let authority = trusting(&provider, "create = true");
    let begun = begin(&authority, Flow::Code).await.unwrap();
    assert!(begun.url.contains("code_challenge_method=S256") && begun.url.contains("nonce="));
    let back = provider.browse("browse", &begun.url, "ana").await;
    let good = came_back(&begun, &back);
    // Somebody else's beginning, with this browser's code: the state is another.
    let theirs = begin(&authority, Flow::Code).await.unwrap();
    let crossed = OidcFinish { handle: theirs.handle.clone(), ..good.clone() };
    let refused = finish(&authority, &crossed).await.unwrap_err();
    assert!(refused.message.contains("another state"), "{}", refused.message);
    // With its own state, the provider refuses the code: the proof key is another's.
    let state = theirs.url.split("state=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let stolen = OidcFinish { state: Some(state), ..crossed };
    assert_eq!(finish(&authority, &stolen).await.unwrap_err().code, Code::Expired);
    let begun = begin(&authority, Flow::Code).await.unwrap();
    let back = provider.browse("browse", &begun.url, "ana").await;
    let good = came_back(&begun, &back);
    let done = finish(&authority, &good).await.unwrap();
    assert!(
        matches!(&done, OidcAnswer::Done(known) if known.identity.as_str() == "ana@example.com")
    );
    assert!(finish(&authority, &good).await.is_err(), "a code serves once");
    for handle in [String::new(), "AAAA".into(), format!("{}A", good.handle)] {
        let altered = OidcFinish { handle, ..good.clone() };
        assert_eq!(finish(&authority, &altered).await.unwrap_err().code, Code::Expired);
    }
}

#[tokio::test]
async fn who_is_denied_unverified_foreign_or_unknown_does_not_get_in() {
    let provider = Provider::start();
    let authority = trusting(&provider, "");
    authority.add("ops@example.com", 1, &["--operator"]);
    authority.add("bob@example.com", 2, &[]);
    let table = [
        ("ana!", "has not verified the address"),
        ("eve@evil.example", "only people of example.com"),
        ("ana", "not known here"),
        ("bob", "was added by an operator"),
        ("ops", "is an operator"),
    ];
    for (who, why) in table {
        let refused = device(&authority, &provider, who).await.unwrap_err();
        assert!(refused.message.contains(why), "{who}: {}", refused.message);
        assert_eq!(refused.code, Code::Unauthenticated);
    }
    let begun = begin(&authority, Flow::Device).await.unwrap();
    provider.browse("deny", begun.complete.as_ref().unwrap(), "ana").await;
    let refused = finish(&authority, &by_device(&begun)).await.unwrap_err();
    assert!(refused.message.contains("denied at the identity provider"), "{}", refused.message);
}

#[tokio::test]
async fn without_the_provider_logins_go_on_and_new_ones_say_why() {
    let provider = Provider::start();
    let authority = trusting(&provider, "create = true\nbind_existing = true");
    authority.add("bob@example.com", 2, &[]);
    let known = device(&authority, &provider, "bob").await.unwrap();
    let begun = begin(&authority, Flow::Device).await.unwrap();
    drop(provider);
    for problem in [
        begin(&authority, Flow::Device).await.map(|_| ()).unwrap_err(),
        finish(&authority, &by_device(&begun)).await.map(|_| ()).unwrap_err(),
    ] {
        assert_eq!(problem.code, Code::Busy, "{}", problem.message);
        assert!(problem.message.contains("cannot be asked"), "{}", problem.message);
    }
    assert!(authority.read::<Whoami>("/v1/whoami", &known.token.token).await.is_ok());
    let bound = authority.run(&["identity", "bound"]);
    assert!(bound.contains("bob@example.com"), "{bound}");
    authority.run(&["identity", "unbind", "bob@example.com"]);
    assert!(authority.read::<Whoami>("/v1/whoami", &known.token.token).await.is_err());
}
