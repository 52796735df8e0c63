//! An authority of its own in a temporary folder, hosts that joined it, and people who logged in: without root and
//! without a fleet, because nothing but the authority is measured.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use rustls::ClientConfig;
use serde::Deserialize;
use ssh_key::private::{Ed25519Keypair, PrivateKey};
use ssh_key::{HashAlg, LineEnding, PublicKey};
use tests::{Programs, eventually_some};
use wire::api::{Challenge, ChallengeAsk, LoginAsk, Token};
use wire::hostlink::{Enrol, Enrolled, ToAuthority, ToHost};
use wire::identifier::{Fingerprint, Identity};
use wire::log::{LogKey, Policy};
use wire::tls::PinnedRoot;

use super::dial::{Dial, Frames};

/// A running authority. Dropped, it is killed.
pub(crate) struct Site {
    dir: tempfile::TempDir,
    serving: Child,
    fingerprint: Fingerprint,
    people: Dial,
    hosts: Dial,
    /// What a host of it believes.
    pub(crate) believed: Believed,
}

/// Whose signatures count.
#[derive(Debug, Default, Clone)]
pub(crate) struct Believed {
    /// Keys that sign user certificates.
    pub(crate) authorities: Vec<PublicKey>,
    /// Keys that sign checkpoints.
    pub(crate) log: Policy,
}

/// What `curfew-ca host token --json` says.
#[derive(Deserialize)]
struct TokenMade {
    token: String,
}

impl Site {
    /// Set up in a folder under `place`, started and ready, with `hosts` hosts.
    pub(crate) async fn open(place: &Path, settings: &str, hosts: usize) -> Result<Self> {
        let dir = tempfile::tempdir_in(place).context("no temporary folder")?;
        let path = |name: &str| dir.path().join(name).display().to_string();
        let text = format!(
            "state_dir = {:?}\nlisten = \"127.0.0.1:0\"\nhosts_listen = \"127.0.0.1:0\"\nadmin_socket = {:?}\n\
             roles_file = {:?}\n{settings}",
            path("state"),
            path("admin.sock"),
            path("etc/roles.toml")
        );
        std::fs::write(path("ca.toml"), text)?;
        // In a folder of its own, as in /etc: the authority looks at the roles whenever something there changes.
        std::fs::create_dir(path("etc"))?;
        std::fs::write(path("etc/roles.toml"), roles())?;
        let said = run(dir.path(), &["init", "--unencrypted"])?;
        let fingerprint = said.lines().find_map(|line| line.strip_prefix("Fingerprint: "));
        let fingerprint: Fingerprint = fingerprint.context("init said no fingerprint")?.parse()?;
        let (serving, [people, hosted]) = serve(dir.path())?;
        let mut site = Self {
            people: Dial::new(people, tls(&fingerprint)?),
            hosts: Dial::new(hosted, tls(&fingerprint)?),
            dir,
            serving,
            fingerprint,
            believed: Believed::default(),
        };
        for number in 1..=hosts {
            let enrolled = site.enrol(&host_name(number)).await?;
            site.believed = Believed::by(&enrolled)?;
        }
        Ok(site)
    }

    /// The authority's process.
    pub(crate) fn pid(&self) -> u32 {
        self.serving.id()
    }

    /// Where people are served.
    pub(crate) fn people(&self) -> &Dial {
        &self.people
    }

    /// The ledger's size on disk, in bytes, its log included.
    pub(crate) fn ledger_bytes(&self) -> u64 {
        let size = |name| self.dir.path().join("state").join(name).metadata();
        ["ledger.db", "ledger.db-wal"]
            .into_iter()
            .filter_map(|name| size(name).ok())
            .map(|found| found.len())
            .sum()
    }

    /// An operator's command; what it printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        run(self.dir.path(), arguments)
    }

    /// Kills the authority as a power cut would end it, and starts it again.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.serving.kill()?;
        self.serving.wait()?;
        let (serving, [people, hosts]) = serve(self.dir.path())?;
        self.serving = serving;
        self.people = Dial::new(people, tls(&self.fingerprint)?);
        self.hosts = Dial::new(hosts, tls(&self.fingerprint)?);
        Ok(())
    }

    /// Adds a person, logs in as them, and gives their token.
    pub(crate) async fn person(&self, number: usize) -> Result<String> {
        let identity: Identity = person_name(number).parse()?;
        let key = key(number);
        let public = key.public_key().to_openssh()?;
        self.run(&["identity", "add", identity.as_str(), "--key", &public])?;
        let mut connection = self.people.connect().await?;
        let ask = ChallengeAsk { identity: identity.clone() };
        let made: Challenge = connection.post("/v1/login/challenge", &ask).await?;
        let message = wire::login::message(&self.fingerprint, &identity, &made.challenge);
        let signature = key.sign(wire::login::NAMESPACE, HashAlg::Sha512, message.as_bytes())?;
        let signature = signature.to_pem(LineEnding::LF)?;
        let answer = LoginAsk { identity, challenge: made.challenge, signature };
        let token: Token = connection.post("/v1/login", &answer).await?;
        Ok(token.token)
    }

    async fn enrol(&self, name: &str) -> Result<Enrolled> {
        let said = self.run(&["host", "token", name, "--label", "env=prod", "--json"])?;
        let made: TokenMade = serde_json::from_str(&said)?;
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let request = rcgen::CertificateParams::new(vec![name.to_owned()])?;
        let enrol = Enrol {
            version: wire::VERSION,
            token: made.token,
            csr: request.serialize_request(&pair)?.pem()?,
            host_keys: vec![key(HOST_KEY).public_key().to_openssh()?],
            agent_key: Some(key(AGENT_KEY).public_key().to_openssh()?),
        };
        let mut frames = Frames::new(self.hosts.stream().await?);
        frames.send(&ToAuthority::Enrol(enrol)).await?;
        match frames.next().await? {
            ToHost::Enrolled(enrolled) => Ok(*enrolled),
            ToHost::Refused(problem) => bail!("host {name} was refused: {problem}"),
            other => bail!("host {name} was told {other:?}"),
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // What cannot be killed has ended already.
        drop(self.serving.kill());
        drop(self.serving.wait());
    }
}

impl Believed {
    fn by(enrolled: &Enrolled) -> Result<Self> {
        let trust = &enrolled.trust;
        let keys = trust.user_authorities.iter().map(|key| PublicKey::from_openssh(key));
        let logs = trust.log_keys.iter().map(|key| key.parse::<LogKey>());
        let log = Policy { logs: logs.collect::<Result<_, _>>()?, ..Policy::default() };
        Ok(Self { authorities: keys.collect::<Result<_, _>>()?, log })
    }
}

/// The name of a host, from 1.
pub(crate) fn host_name(number: usize) -> String {
    format!("db{number}")
}

fn person_name(number: usize) -> String {
    format!("person{number}@example.com")
}

/// Fifteen roles, of which one lets each person in as [`LOGIN`].
fn roles() -> String {
    let people: Vec<String> =
        (1..=PEOPLE).map(|number| format!("{:?}", person_name(number))).collect();
    let people = people.join(", ");
    (1..=ROLES)
        .map(|number| {
            let login = if number == ROLES { LOGIN.to_owned() } else { format!("app{number}") };
            format!(
                "[role.role{number}]\nmembers = [{people}]\nlogins = [\"{login}\"]\nhosts = [\"env=prod\"]\n\
                 default_duration = \"1h\"\nmax_duration = \"8h\"\n\n"
            )
        })
        .collect()
}

fn key(number: usize) -> PrivateKey {
    let mut seed = [0; 32];
    for (to, from) in seed.iter_mut().zip(number.to_be_bytes()) {
        *to = from;
    }
    Ed25519Keypair::from_seed(&seed).into()
}

fn tls(pin: &Fingerprint) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let pinned = PinnedRoot::new(pin.clone(), Arc::clone(&provider));
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(pinned)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn program(dir: &Path) -> Result<Command> {
    let mut command = Command::new(Programs::one("curfew-ca")?);
    command.arg("--config").arg(dir.join("ca.toml")).env_remove("NOTIFY_SOCKET");
    Ok(command)
}

fn run(dir: &Path, arguments: &[&str]) -> Result<String> {
    let output = program(dir)?.args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "curfew-ca {}: {said}", arguments.join(" "));
    Ok(String::from_utf8(output.stdout)?)
}

/// Starts the authority and waits until it is ready; where it listens stands in its log, which goes to a file.
fn serve(dir: &Path) -> Result<(Child, [String; 2])> {
    let log = dir.join("log");
    let mut serving = program(dir)?.arg("serve").stderr(File::create(&log)?).spawn()?;
    let said = eventually_some("the authority is ready", || {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let is_ready = said.contains("the authority is ready");
        let is_over = !matches!(serving.try_wait(), Ok(None));
        (is_ready || is_over).then_some(said)
    })?;
    let addresses = said.lines().filter_map(|line| line.split_once(" address="));
    let addresses: Vec<String> = addresses.map(|(_, address)| address.trim().to_owned()).collect();
    match addresses.try_into() {
        Ok(addresses) => Ok((serving, addresses)),
        Err(_others) => bail!("the authority does not serve: {said}"),
    }
}

/// The account that is asked for.
pub(crate) const LOGIN: &str = "deploy";
/// People whom the roles name.
pub(crate) const PEOPLE: usize = 64;
const ROLES: usize = 15;
const HOST_KEY: usize = 1_000_001;
const AGENT_KEY: usize = 1_000_002;
