//! Logins under an authority whose keys lie elsewhere than in plain files, and are of other types.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tests::{Fleet, FleetError, KeySetup, Programs, Running, Site, eventually};

#[test]
fn an_authority_with_encrypted_keys_lets_in_and_locks_out() -> Result<(), FleetError> {
    let fleet = Fleet::boot()?;
    let passphrase = secret(fleet.dir(), "passphrase", "a long enough passphrase\n")?;
    let file = format!("passphrase_file = {passphrase:?}");
    let settings = ["user", "host", "order", "log"].map(|it| format!("[keys.{it}]\n{file}\n"));
    let init = vec!["--passphrase-file".to_owned(), passphrase.display().to_string()];
    let keys = KeySetup { settings: settings.concat(), init, ..KeySetup::default() };
    let site = Site::on(fleet, &keys)?;
    let stored = site.authority.dir().join("state/user_ca");
    let stored = fs::read_to_string(&stored).map_err(failed("read", &stored))?;
    assert!(stored.contains("BEGIN OPENSSH PRIVATE KEY") && stored.contains("AAAACmFlczI1Ni1jdHI"));
    lets_in_and_locks_out(&site)
}

#[test]
fn an_authority_whose_keys_an_ssh_agent_holds_outlives_the_agent() -> Result<(), FleetError> {
    let fleet = Fleet::boot()?;
    let mut agent = Agent::start(&fleet)?;
    let kinds: [(&str, &[&str]); 4] = [
        ("user", &["-t", "ed25519"]),
        ("host", &["-t", "ecdsa", "-b", "384"]),
        ("order", &["-t", "rsa", "-b", "3072"]),
        ("log", &["-t", "ed25519"]),
    ];
    let settings = agent.settings(&fleet, &kinds)?;
    let site = Site::on(fleet, &KeySetup { settings, ..KeySetup::default() })?;
    let db1 = site.host("db1")?;
    let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
    assert_eq!(ana.ssh("deploy", &db1).run(["whoami"])?.ok()?.text(), "deploy");
    // Whoever has a certificate gets in; nobody gets a new one, and the log says what to do.
    agent.running = None;
    assert_eq!(ana.ssh("deploy", &db1).run(["whoami"])?.ok()?.text(), "deploy");
    let said = bob.curfew(["ssh", "deploy@db1", "--", "whoami"])?;
    assert!(!said.succeeded(), "{said:?}");
    eventually("the log says why", || site.authority.log().contains("is it running?"))?;
    let status = site.authority.run(["status"])?.ok()?;
    assert!(status.text().contains("the key") && status.text().contains("ssh-agent"), "{status:?}");
    // With the agent back, the authority goes on where it was.
    agent.run(&site.fleet)?;
    for (purpose, _) in kinds {
        agent.add(&site.fleet, purpose)?;
    }
    let said = bob.curfew(["ssh", "deploy@db1", "--", "whoami"])?.ok()?;
    assert_eq!(said.text(), "deploy");
    let ops = site.operator("ops@example.com")?;
    ops.curfew(["lock", "bob@example.com", "--reason", "test"])?.done()?;
    assert!(!bob.curfew(["ssh", "deploy@db1", "--", "whoami"])?.succeeded());
    let status = site.authority.run(["status"])?.ok()?;
    assert!(!status.text().contains("ssh-agent"), "{status:?}");
    Ok(())
}

#[test]
fn an_authority_whose_user_key_is_a_security_key_lets_in() -> Result<(), FleetError> {
    for kind in ["ed25519-sk", "ecdsa-sk"] {
        let fleet = Fleet::boot()?;
        let agent = Agent::start(&fleet)?;
        let settings =
            agent.settings(&fleet, &[("user", &["-t", kind]), ("host", &["-t", kind])])?;
        let site = Site::on(fleet, &KeySetup { settings, ..KeySetup::default() })?;
        lets_in_and_locks_out(&site)?;
    }
    Ok(())
}

#[test]
fn an_authority_whose_keys_are_on_a_token_lets_in_and_locks_out() -> Result<(), FleetError> {
    for (user, host, order) in
        [("ed25519", "ecdsa-p256", "ed25519"), ("ecdsa-p384", "rsa-3072", "ecdsa-p256")]
    {
        let fleet = Fleet::boot()?;
        let keys =
            token(&fleet, [("user", user), ("host", host), ("order", order), ("log", "ed25519")])?;
        let site = Site::on(fleet, &keys)?;
        assert!(!site.authority.dir().join("state/user_ca").exists());
        lets_in_and_locks_out(&site)?;
    }
    Ok(())
}

#[test]
fn an_authority_with_keys_of_any_type_lets_in() -> Result<(), FleetError> {
    for kind in ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-3072", "rsa-4096"] {
        let settings = ["user", "host", "order"]
            .map(|it| format!("[keys.{it}]\ntype = \"{kind}\"\n"))
            .concat();
        let site = Site::on(Fleet::boot()?, &KeySetup { settings, ..KeySetup::default() })?;
        lets_in_and_locks_out(&site)?;
    }
    Ok(())
}

/// A person gets on a host, whose certificate ssh believes, and is out once an operator says so.
fn lets_in_and_locks_out(site: &Site) -> Result<(), FleetError> {
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let ops = site.operator("ops@example.com")?;
    assert_eq!(ana.curfew(["ssh", "deploy@db1", "--", "whoami"])?.ok()?.text(), "deploy");
    let job = ana.ssh("deploy", &db1).start(["sleep", "600"])?;
    site.session(&ana, &db1)?;
    ops.curfew(["lock", "ana@example.com", "--reason", "test"])?.done()?;
    assert!(!job.wait()?.succeeded());
    assert!(!ana.ssh("deploy", &db1).run(["true"])?.succeeded());
    Ok(())
}

/// An ssh-agent of the authority's machine, with keys in a folder.
struct Agent {
    dir: PathBuf,
    running: Option<Running>,
}

impl Agent {
    fn start(fleet: &Fleet) -> Result<Self, FleetError> {
        let dir = fleet.dir().join("ca-agent");
        fs::create_dir_all(&dir).map_err(failed("make", &dir))?;
        let mut agent = Self { dir, running: None };
        agent.run(fleet)?;
        Ok(agent)
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    fn run(&mut self, fleet: &Fleet) -> Result<(), FleetError> {
        let socket = self.socket();
        if socket.exists() {
            fs::remove_file(&socket).map_err(failed("remove", &socket))?;
        }
        let mut command = fleet.command(Path::new("/usr/bin/ssh-agent"));
        command.args(["-D", "-P"]).arg(Programs::security_key()).arg("-a").arg(&socket);
        self.running = Some(fleet.start(command)?);
        eventually("the ssh-agent listens", || socket.exists())
    }

    /// Makes these keys, adds them, and says in `ca.toml` which is which.
    fn settings(&self, fleet: &Fleet, kinds: &[(&str, &[&str])]) -> Result<String, FleetError> {
        let mut settings = String::new();
        for (purpose, kind) in kinds {
            let path = self.dir.join(purpose);
            let mut make = fleet.command(Path::new("/usr/bin/ssh-keygen"));
            make.args(["-q", "-N", ""]).args(*kind).arg("-f").arg(&path);
            make.env("SSH_SK_PROVIDER", Programs::security_key());
            fleet.start(make)?.wait()?.done()?;
            self.add(fleet, purpose)?;
            let (socket, public) = (self.socket(), path.with_extension("pub"));
            settings.push_str(&format!(
                "[keys.{purpose}]\nbackend = \"ssh-agent\"\nsocket = {socket:?}\nkey = {public:?}\n"
            ));
        }
        Ok(settings)
    }

    fn add(&self, fleet: &Fleet, purpose: &str) -> Result<(), FleetError> {
        let mut add = fleet.command(Path::new("/usr/bin/ssh-add"));
        add.arg("-q").arg(self.dir.join(purpose)).env("SSH_AUTH_SOCK", self.socket());
        add.env("SSH_SK_PROVIDER", Programs::security_key());
        fleet.start(add)?.wait()?.done()
    }
}

/// A token in software, on which `init` makes the keys.
fn token(fleet: &Fleet, kinds: [(&str, &str); 4]) -> Result<KeySetup, FleetError> {
    let tokens = fleet.dir().join("tokens");
    fs::create_dir_all(&tokens).map_err(failed("make", &tokens))?;
    let conf = fleet.dir().join("softhsm2.conf");
    let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
    fs::write(&conf, text).map_err(failed("write", &conf))?;
    let mut make = fleet.command(Path::new("/usr/bin/softhsm2-util"));
    make.args(["--init-token", "--free", "--label", "curfew", "--so-pin", "12345678"]);
    make.args(["--pin", "87654321"]).env("SOFTHSM2_CONF", &conf);
    fleet.start(make)?.wait()?.done()?;
    let pin = secret(fleet.dir(), "pin", "87654321\n")?;
    let settings = kinds.map(|(purpose, kind)| {
        format!(
            "[keys.{purpose}]\nbackend = \"pkcs11\"\nmodule = \"/usr/lib/softhsm/libsofthsm2.so\"\n\
             token = \"curfew\"\nlabel = \"{purpose}\"\ntype = \"{kind}\"\npin_file = {pin:?}\n"
        )
    });
    Ok(KeySetup {
        settings: settings.concat(),
        init: Vec::new(),
        environment: vec![("SOFTHSM2_CONF".into(), conf.display().to_string())],
    })
}

fn secret(dir: &Path, name: &str, text: &str) -> Result<PathBuf, FleetError> {
    let path = dir.join(name);
    fs::write(&path, text)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)))
        .map_err(failed("write", &path))?;
    Ok(path)
}

fn failed<'a>(doing: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> FleetError + 'a {
    move |source| FleetError::Io { doing: format!("{doing} {}", path.display()), source }
}
