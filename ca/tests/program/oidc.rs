//! People who log in at a real OpenID provider (`ca/tests/oidc`), and what is no such login.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use idp::provider::escaped;
use ssh_key::{HashAlg, LineEnding};
use wire::api::Whoami;
use wire::behaviour::{AcceptAsk, BehaviourView};
use wire::identity::Method;
use wire::key_request::{
    APPROVAL, KeyApproval, KeyApprovalAsk, KeyRequestAsk, KeyRequestView, KeyWish, POSSESSION,
    SignedKeyApproval, SignedWish,
};
use wire::log::Hash;
use wire::login::{Flow, Known, OidcAnswer, OidcBegin, OidcBegun, OidcFinish};
use wire::problem::{Code, Problem};

use crate::authority::Authority;
use crate::certificate::{ask, issue};
use crate::policy::entries;

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

/// An authority with rules of behaviour, and ana, who is logged in at it through the provider and may get on db1.
async fn with_rules(provider: &Provider, more: &str) -> (Authority, String) {
    let authority = trusting(provider, "create = true");
    let file = authority.dir.path().join("behaviour.txt");
    std::fs::write(&file, "Be kind.\n").unwrap();
    let roles = "[role.deploy]\nmembers = [\"ana@example.com\"]\nlogins = [\"deploy\"]\nhosts = [\"env=prod\"]\n\
                 default_duration = \"10m\"\nmax_duration = \"1h\"\n";
    std::fs::write(authority.dir.path().join("roles.toml"), roles).unwrap();
    authority
        .configure(&format!("\n[behaviour]\nfile = {:?}\n{more}\n", file.display().to_string()));
    drop(authority.host("db1").await);
    let token = device(&authority, provider, "ana").await.unwrap().token.token;
    (authority, token)
}

#[tokio::test]
async fn who_has_no_key_accepts_the_rules_by_their_login_where_the_settings_say_so_and_it_is_labelled()
 {
    let provider = Provider::start();
    let (authority, token) = with_rules(&provider, "unsigned = true").await;
    assert!(issue(&authority, &token, &ask("db1")).await.is_err());
    let shown: BehaviourView = authority.read("/v1/behaviour", &token).await.unwrap();
    assert!(shown.by_login && shown.acknowledged.is_none(), "{shown:?}");
    let accept = async |token: &str, text: Hash| -> Result<BehaviourView, Problem> {
        authority.send("/v1/behaviour/accept", Some(token), &AcceptAsk { text }).await
    };
    let other = accept(&token, Hash::of(b"other")).await.unwrap_err();
    assert!(other.message.contains("are others by now"), "{other}");
    // Who logged in with a key signs with it.
    authority.add("bob", 2, &[]);
    let bob = authority.login("bob", 2).await.unwrap();
    let signs: BehaviourView = authority.read("/v1/behaviour", &bob).await.unwrap();
    assert!(!signs.by_login);
    assert_eq!(accept(&bob, shown.hash).await.unwrap_err().code, Code::Denied);
    for _ in 0..2 {
        assert!(accept(&token, shown.hash).await.unwrap().acknowledged.is_some());
    }
    assert!(issue(&authority, &token, &ask("db1")).await.is_ok());
    let accepted = entries(&authority, "behaviour_accepted");
    assert_eq!(accepted.len(), 1);
    assert_eq!(
        (&accepted[0]["by"], &accepted[0]["method"]),
        (&"ana@example.com".into(), &"oidc".into())
    );
    assert!(accepted[0]["login"].as_u64().unwrap() > 0, "bound to the login");
    assert!(entries(&authority, "behaviour_acknowledged").is_empty(), "it is no signature");
    let verified = authority.run(&["ledger", "verify"]);
    assert!(verified.contains("0 rules of behaviour"), "{verified}");
    // Somebody with a key, who comes through the provider all the same, signs too.
    let key = crate::authority::key(5).public_key().to_openssh().unwrap();
    authority.run(&["identity", "key", "add", "ana@example.com", &key]);
    let keyed: BehaviourView = authority.read("/v1/behaviour", &token).await.unwrap();
    assert!(!keyed.by_login);
    let refused = accept(&token, shown.hash).await.unwrap_err();
    assert!(refused.message.contains("you have a key: sign with it"), "{refused}");
    let rebuilt = authority.run(&["ledger", "rebuild"]);
    assert!(rebuilt.contains("the state is identical to what the entries say"), "{rebuilt}");
}

#[tokio::test]
async fn who_has_no_key_gets_one_by_their_login_and_another_s_approval_and_signs_with_it() {
    let provider = Provider::start();
    let (authority, token) = with_rules(&provider, "").await;
    let shown: BehaviourView = authority.read("/v1/behaviour", &token).await.unwrap();
    assert!(!shown.by_login, "a signature, where the settings say nothing");
    let refused: Result<BehaviourView, Problem> =
        authority.send("/v1/behaviour/accept", Some(&token), &AcceptAsk { text: shown.hash }).await;
    let refused = refused.unwrap_err();
    assert!(refused.message.contains("curfew keys add"), "the way out: {refused}");
    let key = crate::authority::key;
    let seal = |seed: u8, namespace: &str, text: &str| {
        let seal = key(seed).sign(namespace, HashAlg::Sha512, text.as_bytes()).unwrap();
        seal.to_pem(LineEnding::LF).unwrap()
    };
    let wish = KeyWish {
        version: wire::VERSION,
        authority: authority.fingerprint.clone(),
        identity: "ana@example.com".parse().unwrap(),
        public_key: key(5).public_key().to_openssh().unwrap(),
        replaces: None,
        reason: "my first key".parse().unwrap(),
        at: shown.now,
    };
    let text = wish.text().unwrap();
    let possession = seal(5, POSSESSION, &text);
    let signed = SignedWish { wish: text.clone(), possession };
    let ask = KeyRequestAsk { signed, consent: None };
    let view: KeyRequestView =
        authority.send("/v1/keys/requests", Some(&token), &ask).await.unwrap();
    assert!(view.consent.is_none());
    authority.add("ops", 2, &["--operator"]);
    let ops = authority.login("ops", 2).await.unwrap();
    let said = KeyApproval {
        version: wire::VERSION,
        authority: authority.fingerprint.clone(),
        request: view.request,
        hash: Hash::of(text.as_bytes()),
        by: "ops".parse().unwrap(),
        at: view.now,
    };
    let approval = said.text().unwrap();
    let signature = seal(2, APPROVAL, &approval);
    let ask = KeyApprovalAsk { signed: SignedKeyApproval { approval, signature } };
    let path = format!("/v1/keys/requests/{}/approve", view.request);
    let _: KeyRequestView = authority.send(&path, Some(&ops), &ask).await.unwrap();
    assert!(authority.login("ana@example.com", 5).await.is_ok());
    // A second one is asked for with the first.
    let again = KeyWish { public_key: key(6).public_key().to_openssh().unwrap(), ..wish };
    let text = again.text().unwrap();
    let signed = SignedWish { possession: seal(6, POSSESSION, &text), wish: text };
    let ask = KeyRequestAsk { signed, consent: None };
    let refused: Result<KeyRequestView, Problem> =
        authority.send("/v1/keys/requests", Some(&token), &ask).await;
    assert!(refused.unwrap_err().message.contains("not signed with a key"));
    authority.run(&["ledger", "verify"]);
}
