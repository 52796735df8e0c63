//! A site: a fleet that is under Curfew. An authority, hosts that have joined it and let nobody in without it, and
//! people who are logged in to it.

use std::ffi::OsStr;

use serde_json::Value;

use crate::{Authority, Client, Fleet, FleetError, Host, KeySetup, Output, Ssh, eventually};

/// An authority with its hosts and people.
#[derive(Debug)]
pub struct Site {
    /// The authority; stop it, kill it, start it again.
    pub authority: Authority,
    /// What it all stands on. Dropped last.
    pub fleet: Fleet,
}

impl Site {
    /// An authority with the role [`ROLES`] describes, and nothing else yet.
    ///
    /// # Errors
    /// When the machine lacks something, or the authority does not serve.
    pub fn open() -> Result<Self, FleetError> {
        Self::on(Fleet::boot()?, &KeySetup::default())
    }

    /// The same on a fleet that is there already, with keys that lie elsewhere.
    ///
    /// # Errors
    /// As [`Site::open`].
    pub fn on(fleet: Fleet, keys: &KeySetup) -> Result<Self, FleetError> {
        let authority = fleet.authority_with(keys)?;
        let site = Self { authority, fleet };
        site.set_roles(ROLES)?;
        Ok(site)
    }

    /// The same with these lines more in `ca.toml`.
    ///
    /// # Errors
    /// As [`Site::open`].
    pub fn open_with(settings: &str) -> Result<Self, FleetError> {
        let mut site = Self::open()?;
        site.authority.set(settings)?;
        site.authority.restart()?;
        Ok(site)
    }

    /// Replaces the roles and waits until they are in force.
    ///
    /// # Errors
    /// When the authority does not take them.
    pub fn set_roles(&self, toml: &str) -> Result<(), FleetError> {
        self.authority.set_roles(toml)?;
        let names: Vec<&str> = toml
            .lines()
            .filter_map(|line| line.strip_prefix("[role.")?.strip_suffix(']'))
            .filter(|name| !name.contains('.'))
            .collect();
        eventually("the roles are in force", || {
            self.authority
                .run(["role", "list"])
                .is_ok_and(|listing| names.iter().all(|name| listing.text().contains(name)))
        })
    }

    /// Boots a host, lets it join, and puts the agent into its login path: as an operator would, command by command.
    ///
    /// # Errors
    /// When a step fails; the error carries what it said.
    pub fn host(&self, name: &str) -> Result<Host, FleetError> {
        let host = self.fleet.host(name)?;
        self.join(&host)?;
        Ok(host)
    }

    /// Two hosts at once.
    ///
    /// # Errors
    /// As [`Site::host`].
    pub fn hosts<const N: usize>(&self, names: [&str; N]) -> Result<[Host; N], FleetError> {
        let hosts = self.fleet.hosts(names)?;
        std::thread::scope(|scope| {
            let joins: Vec<_> = hosts.iter().map(|host| scope.spawn(|| self.join(host))).collect();
            joins.into_iter().try_for_each(|join| {
                join.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
        Ok(hosts)
    }

    /// Enrols a booted host and installs the agent.
    ///
    /// # Errors
    /// When a step fails; the error carries what it said.
    pub fn join(&self, host: &Host) -> Result<(), FleetError> {
        self.prepare(host)?;
        self.enrol(host, &self.token(host)?)?.done()?;
        self.install(host)?.done()?;
        self.wait_until_connected(host.name())
    }

    /// Makes the accounts that the roles open.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn prepare(&self, host: &Host) -> Result<(), FleetError> {
        host.add_user("deploy")?;
        host.add_user("app")
    }

    /// `curfew-agent install`.
    ///
    /// # Errors
    /// When it fails; the error carries what it said.
    pub fn install(&self, host: &Host) -> Result<Output, FleetError> {
        host.run(["curfew-agent", "install"])?.ok()
    }

    /// An error of the site's own, for a promise that was not kept.
    #[must_use]
    pub fn broken(&self, why: &str) -> FleetError {
        FleetError::Authority { why: why.to_owned() }
    }

    /// Makes a token for a host, with its address and the label `env=prod`.
    ///
    /// # Errors
    /// When the authority refuses.
    pub fn token(&self, host: &Host) -> Result<Token, FleetError> {
        let address = host.address().to_string();
        let made = self
            .authority
            .run([
                "host",
                "token",
                host.name(),
                "--address",
                &address,
                "--label",
                "env=prod",
                "--json",
            ])?
            .ok()?;
        let made = json(made.text())?;
        Ok(Token { secret: text(&made, "token"), fingerprint: text(&made, "fingerprint") })
    }

    /// `curfew-agent enroll` with this token; a refusal is an [`Output`].
    ///
    /// # Errors
    /// When the command cannot be started.
    pub fn enrol(&self, host: &Host, token: &Token) -> Result<Output, FleetError> {
        let address = self.authority.hosts_address().to_string();
        host.run_with_input(
            [
                "curfew-agent",
                "enroll",
                "--authority",
                &address,
                "--fingerprint",
                &token.fingerprint,
            ],
            format!("{}\n", token.secret).as_bytes(),
        )
    }

    /// Waits until the authority hears from the host.
    ///
    /// # Errors
    /// When it does not within the patience.
    pub fn wait_until_connected(&self, name: &str) -> Result<(), FleetError> {
        eventually("the host is connected", || {
            self.listing(["host", "list"]).is_ok_and(|hosts| {
                hosts.iter().any(|host| {
                    host.get("name").is_some_and(|value| value == name)
                        && host.get("connected").is_some_and(|value| value == true)
                })
            })
        })
    }

    /// A person: an identity of the authority, logged in from a place of their own, with the key in their home.
    ///
    /// # Errors
    /// When a step fails.
    pub fn person(&self, identity: &str) -> Result<Person, FleetError> {
        self.someone(identity, &[])
    }

    /// A person who may lock and unlock.
    ///
    /// # Errors
    /// When a step fails.
    pub fn operator(&self, identity: &str) -> Result<Person, FleetError> {
        self.someone(identity, &["--operator"])
    }

    fn someone(&self, identity: &str, flags: &[&str]) -> Result<Person, FleetError> {
        let place = identity.split('@').next().unwrap_or(identity);
        let client = self.fleet.client(place)?;
        let key = client.public_key()?;
        let mut args = vec!["identity", "add", identity, "--key", &key];
        args.extend(flags);
        self.authority.run(args)?.done()?;
        let person = Person { client, identity: identity.to_owned() };
        person.log_in(self)?;
        Ok(person)
    }

    /// Runs an operator's listing with `--json`.
    ///
    /// # Errors
    /// When it fails or is no JSON array.
    pub fn listing<const N: usize>(&self, args: [&str; N]) -> Result<Vec<Value>, FleetError> {
        let output = self.authority.run(args.into_iter().chain(["--json"]))?.ok()?;
        array(json(output.text())?)
    }

    /// The authority's fingerprint, as `curfew-ca status` says it.
    ///
    /// # Errors
    /// When it does not say.
    pub fn fingerprint(&self) -> Result<String, FleetError> {
        let status = self.authority.run(["status", "--json"])?.ok()?;
        Ok(text(&json(status.text())?, "fingerprint"))
    }
}

/// What a host needs to join.
#[derive(Debug, Clone)]
pub struct Token {
    /// The one-time secret.
    pub secret: String,
    /// The authority's fingerprint.
    pub fingerprint: String,
}

/// Somebody who has an identity.
#[derive(Debug)]
pub struct Person {
    /// Where they sit.
    pub client: Client,
    /// Who they are.
    pub identity: String,
}

impl Person {
    /// Logs in to the authority, and lets `ssh` ask Curfew by itself.
    ///
    /// # Errors
    /// When the authority refuses.
    pub fn log_in(&self, site: &Site) -> Result<(), FleetError> {
        let key = self.client.key_path();
        let (url, fingerprint) = (site.authority.url(), site.fingerprint()?);
        self.curfew([
            "login",
            "--ca",
            &url,
            "--fingerprint",
            &fingerprint,
            "--identity",
            &self.identity,
            "--key",
            &key.to_string_lossy(),
            "--install-ssh-config",
        ])?
        .done()
    }

    /// Runs `curfew`.
    ///
    /// # Errors
    /// When it cannot be started; a refusal is an [`Output`].
    pub fn curfew<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Output, FleetError> {
        self.client.run("curfew", args)
    }

    /// Runs a listing of `curfew` with `--json`.
    ///
    /// # Errors
    /// When it fails or is no JSON.
    pub fn listing<const N: usize>(&self, args: [&str; N]) -> Result<Value, FleetError> {
        json(self.curfew(args.into_iter().chain(["--json"]))?.ok()?.text())
    }

    /// `ssh` with the certificate that this person has from before, without asking Curfew.
    pub fn held_certificate(&self, login: &str, host: &Host) -> Ssh<'_> {
        let place = self.client.home_dir().join(".config/curfew/id");
        let file = |suffix: &str| place.join(format!("{login}@{}{suffix}", host.address()));
        let (key, certificate) = (file(""), file("-cert.pub"));
        self.client.ssh(login, host).with([
            "-F".to_owned(),
            "/dev/null".to_owned(),
            "-o".to_owned(),
            format!(
                "UserKnownHostsFile={}/.config/curfew/known_hosts",
                self.client.home_dir().display()
            ),
            "-o".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "-o".to_owned(),
            "BatchMode=yes".to_owned(),
            "-o".to_owned(),
            format!("IdentityFile={}", key.display()),
            "-o".to_owned(),
            format!("CertificateFile={}", certificate.display()),
        ])
    }

    /// Plain `ssh`, which finds Curfew through its own configuration.
    pub fn ssh(&self, login: &str, host: &Host) -> Ssh<'_> {
        self.client.ssh(login, host)
    }
}

fn json(text: &str) -> Result<Value, FleetError> {
    serde_json::from_str(text).map_err(|error| unexpected(&format!("{error}: {text}")))
}

fn array(value: Value) -> Result<Vec<Value>, FleetError> {
    match value {
        Value::Array(values) => Ok(values),
        other => Err(unexpected(&other.to_string())),
    }
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn unexpected(said: &str) -> FleetError {
    FleetError::Authority { why: format!("this is not what was expected: {said}") }
}

/// The roles that a site begins with: two people and one operator may be `deploy` and `app` on every host.
pub const ROLES: &str = r#"[role.deploy]
members = ["ana@example.com", "bob@example.com", "ops@example.com"]
logins = ["deploy", "app"]
hosts = ["env=prod"]
default_duration = "1h"
max_duration = "4h"
abilities = ["pty", "port-forwarding"]
"#;
