//! Bad input from operators, users and hosts: a clear message, and nothing lost.

use std::{fs, net::TcpListener, path::PathBuf};

use tests::{FleetError, Host, Output, ROLES, Site, eventually, eventually_some};

#[test]
fn a_broken_agent_toml_is_named_by_line_and_key_and_the_agent_goes_on() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let good = db1.read_text(AGENT)?;
    let authority = site.authority.hosts_address();
    let table = [
        (
            "other_login = \"refuse\"",
            "there is no setting `other_login`; did you mean `other_logins`",
        ),
        ("attribution = \"bpf\"", "`attribution` is \"auto\" or \"audit\": \"bpf\" is neither"),
        ("warn_before = [\"5 parsecs\"]", "`warn_before` is at most 8 lengths"),
        ("state_dir = \"../curfew\"", "`state_dir` is an absolute path"),
        ("run_dir = ", "agent.toml:2: "),
    ];
    for (line, why) in table {
        db1.put(AGENT, format!("authority = \"{authority}\"\n{line}\n"), 0o644)?;
        for command in ["status", "sessions", "run"] {
            let said = db1.run(["curfew-agent", command])?;
            failed(&said, 78, &["/etc/curfew/agent.toml:2: ", why]);
        }
        let check = db1.run(["curfew-agent", "check"])?;
        assert!(!check.succeeded() && check.stdout.contains(why), "{check:?}");
    }
    assert!(db1.is_active("curfew-agent")?);
    assert_eq!(ana.ssh("deploy", &db1).run(["whoami"])?.ok()?.text(), "deploy");
    db1.put(AGENT, good, 0o644)?;
    db1.restart("curfew-agent")?;
    site.wait_until_connected("db1")
}

#[test]
fn a_broken_ca_toml_is_named_by_line_and_key() -> Result<(), FleetError> {
    let mut site = Site::open()?;
    let path = site.authority.config_path();
    let good = fs::read_to_string(&path).expect("the settings");
    let line = good.lines().count() + 1;
    let at = format!("{}:{line}: ", path.display());
    let table = [
        ("certificate_lifetme = \"15m\"", "unknown field `certificate_lifetme`"),
        ("certificate_lifetime = \"3h\"", "certificate_lifetime: 3h is out of range; use 1m to 1h"),
        ("login_lifetime = \"soon\"", "login_lifetime: \"soon\" is no span of time"),
        ("state_dir = \"/elsewhere\"", "duplicate key"),
    ];
    site.authority.stop()?;
    for (added, why) in table {
        fs::write(&path, format!("{good}{added}\n")).expect("it can be written");
        for command in ["check", "serve", "status"] {
            failed(&site.authority.run([command])?, 78, &[&at, why]);
        }
    }
    fs::write(&path, good).expect("it can be written");
    site.authority.serve()
}

#[test]
fn bad_roles_are_refused_by_line_and_the_old_ones_stay_in_force() -> Result<(), FleetError> {
    let mut site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let before = site.authority.run(["role", "list", "--json"])?.ok()?.stdout;
    let line = ROLES.lines().count() + 1;
    let at = format!("{}:{line}: ", site.authority.dir().join("roles.toml").display());
    let table = [
        ("abilites = []", "unknown field `abilites`"),
        (
            "[role.Ops]\nmembers = [\"ana@example.com\"]\nlogins = [\"app\"]\nhost_names = [\"db1\"]",
            "role holds 'O', which is not allowed",
        ),
        ("max_duration = \"9h\"", "duplicate key"),
    ];
    for (added, why) in table {
        site.authority.set_roles(&format!("{ROLES}{added}\n"))?;
        failed(&site.authority.run(["check"])?, 78, &[&at, why]);
        let concern = eventually_some("the authority says that it refuses the roles", || {
            let status = site.authority.run(["status"]).ok()?;
            status.stdout.lines().find(|line| line.contains(why)).map(str::to_owned)
        })?;
        assert!(concern.contains("older roles are in force") && concern.contains(&at), "{concern}");
        assert_eq!(site.authority.run(["role", "list", "--json"])?.ok()?.stdout, before);
        assert!(ana.ssh("deploy", &db1).run(["true"])?.succeeded());
    }
    // A start is no reload: there are no old roles to keep.
    site.authority.stop()?;
    failed(&site.authority.run(["serve"])?, 78, &[&at, "duplicate key"]);
    site.authority.set_roles(ROLES)?;
    site.authority.serve()
}

#[test]
fn a_port_or_socket_in_use_is_named_with_its_setting() -> Result<(), FleetError> {
    let mut site = Site::open()?;
    let socket = site.authority.dir().join("admin.sock");
    failed(
        &site.authority.run(["serve"])?,
        1,
        &["another authority is serving on", &socket.to_string_lossy(), "`admin_socket`"],
    );
    assert!(site.authority.run(["status"])?.succeeded(), "the first one goes on");

    site.authority.stop()?;
    for (port, key) in [(7442, "listen"), (7443, "hosts_listen")] {
        let address = (site.fleet.authority_address(), port);
        let taken = TcpListener::bind(address).expect("it is free");
        let at = format!("cannot listen on {}:{port} (setting `{key}`)", address.0);
        failed(&site.authority.run(["serve"])?, 1, &[&at, "Address already in use"]);
        drop(taken);
    }
    site.authority.serve()
}

#[test]
fn a_ledger_of_a_newer_version_is_left_alone() -> Result<(), FleetError> {
    let mut site = Site::open()?;
    let ledger = site.authority.dir().join("state/ledger.db");
    site.authority.stop()?;
    let known = user_version(&ledger, "")?;
    user_version(&ledger, "connection.execute('PRAGMA user_version = 4711')")?;
    let before = fs::read(&ledger).expect("the ledger");
    let knows = format!("knows up to {known}");
    let said = site.authority.run(["serve"])?;
    failed(&said, 1, &["the ledger has version 4711", &knows, "install the newer one"]);
    assert!(fs::read(&ledger).expect("the ledger") == before, "the ledger was touched");
    user_version(&ledger, &format!("connection.execute('PRAGMA user_version = {known}')"))?;
    site.authority.serve()
}

#[test]
fn an_operator_without_a_running_authority_is_told_how_to_start_it() -> Result<(), FleetError> {
    let mut site = Site::open()?;
    for kill in [false, true] {
        if kill {
            site.authority.kill()?;
        } else {
            site.authority.stop()?;
        }
        let commands: [&[&str]; 8] = [
            &["status"],
            &["sessions"],
            &["host", "list"],
            &["host", "token", "db9"],
            &["identity", "list"],
            &["role", "list"],
            &["lock", "identity", "ana@example.com", "--reason", "gone"],
            &["unlock", "identity", "ana@example.com"],
        ];
        for command in commands {
            let said = site.authority.run(command)?;
            failed(&said, 1, &["the authority is not running", "`systemctl start curfew-ca`"]);
        }
        site.authority.serve()?;
    }
    assert!(site.listing(["lock", "list"])?.is_empty(), "a lock that failed is no lock");
    Ok(())
}

#[test]
fn an_authority_is_set_up_once_and_by_command() -> Result<(), FleetError> {
    let mut site = Site::open()?;
    let fingerprint = site.fingerprint()?;
    failed(
        &site.authority.run(["init", "--unencrypted"])?,
        1,
        &["has been set up, and nothing was changed"],
    );
    assert_eq!(site.fingerprint()?, fingerprint);

    site.authority.stop()?;
    let state = site.authority.dir().join("state");
    let aside = site.authority.dir().join("aside");
    fs::rename(&state, &aside).expect("it can be moved");
    let said = site.authority.run(["serve"])?;
    failed(&said, 1, &[&state.to_string_lossy(), "is missing", "`curfew-ca init`"]);
    assert!(!state.exists(), "nothing was made because it was missing");
    fs::rename(&aside, &state).expect("it can be moved");
    site.authority.serve()
}

#[test]
fn who_is_in_a_session_reaches_nothing_of_ours() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    for socket in ["gate", "link", "status"] {
        let path = format!("/run/curfew/{socket}.sock");
        // ssh-add is a program at hand that connects to a unix socket and says what the kernel said.
        let said = ana.ssh("deploy", &db1).run([&format!("SSH_AUTH_SOCK={path} ssh-add -l")])?;
        assert!(said.stderr.contains("Permission denied"), "{path}: {said:?}");
        let root =
            db1.run(["env", &format!("SSH_AUTH_SOCK={path}"), "timeout", "1", "ssh-add", "-l"])?;
        assert!(!root.stderr.contains("Error connecting"), "{path}: {root:?}");
    }
    let said = ana.ssh("deploy", &db1).run(["curfew-agent status"])?;
    failed(
        &said,
        69,
        &["the agent does not answer on /run/curfew/status.sock", "Permission denied"],
    );
    for path in [
        "/run/curfew/sessions",
        "/var/lib/curfew",
        "/var/lib/curfew/trust.json",
        "/var/lib/curfew-link",
        "/var/lib/curfew-link/identity.json",
        "/sys/fs/bpf/curfew",
    ] {
        assert!(db1.has(path), "{path}");
        let said = ana.ssh("deploy", &db1).run(["ls", path])?;
        assert!(said.stderr.contains("Permission denied"), "{path}: {said:?}");
    }
    let said = ana.ssh("deploy", &db1).run([
        "kill -9 $(pgrep -f curfew-agent) $(pgrep -f curfew-link); echo no > /etc/curfew/agent.toml",
    ])?;
    assert!(!said.succeeded(), "{said:?}");
    assert!(db1.is_active("curfew-agent")? && db1.is_active("curfew-link")?);
    Ok(())
}

#[test]
fn our_own_users_reach_one_socket_each() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    for (user, open) in [("curfew-link", "link"), ("curfew-gate", "gate")] {
        for socket in ["gate", "link", "status"] {
            let add = format!("SSH_AUTH_SOCK=/run/curfew/{socket}.sock timeout 1 ssh-add -l");
            let said = db1.run(["runuser", "-u", user, "--", "sh", "-c", &add])?;
            let refused = said.stderr.contains("Permission denied");
            assert_eq!(refused, socket != open, "{user} at {socket}.sock: {said:?}");
        }
    }
    Ok(())
}

#[test]
fn what_a_user_writes_into_the_environment_changes_nothing() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
    let bobs = bob.certificate("deploy", &db1)?;
    let bobs = fs::read_to_string(&bobs.certificate_path).expect("a certificate");
    let bobs: Vec<&str> = bobs.split_whitespace().take(2).collect();
    let forged = format!("publickey {}", bobs.join(" "));
    let lines = format!(
        "SSH_AUTH_INFO_0=\"{forged}\"\nSSH_AUTH_INFO_0 DEFAULT=\"{forged}\"\nPAM_RHOST DEFAULT=\"192.0.2.1\"\n\
         LD_PRELOAD DEFAULT=/tmp/evil.so\nLD_PRELOAD=/tmp/evil.so\ncurfew_session DEFAULT=0000000000000001\n"
    );
    for file in [".pam_environment", ".ssh/environment"] {
        db1.put(&format!("/home/deploy/{file}"), &lines, 0o644)?;
    }
    let set = format!("SetEnv=SSH_AUTH_INFO_0=\"{forged}\" LD_PRELOAD=/tmp/evil.so");
    let job = ana.ssh("deploy", &db1).with(["-o", &set]).start(["exec sleep 600"])?;
    let session = site.session(&ana, &db1)?;
    let remote = session["remote"].as_str().unwrap_or_default();
    assert!(remote.starts_with("10.99."), "{session}");
    eventually("the session has begun", || {
        db1.processes_like("sleep 600").is_ok_and(|sleeps| !sleeps.is_empty())
    })?;
    assert_eq!(site.listing(["sessions", "--live"])?.len(), 1, "it is nobody else's");

    let lock = ["lock", "identity", "ana@example.com", "--reason", "gone"];
    assert!(site.authority.run(lock)?.ok()?.stdout.contains(" 0 survivors"));
    assert!(db1.processes_like("sleep 600")?.is_empty());
    let held = ana.held_certificate("deploy", &db1).with(["-o", &set]).run(["true"])?;
    assert_eq!(held.status.code(), Some(255), "{held:?}");
    assert!(bob.ssh("deploy", &db1).run(["true"])?.succeeded());
    drop(job);
    Ok(())
}

#[test]
fn a_host_is_who_its_certificate_says_whatever_it_claims() -> Result<(), FleetError> {
    let site = Site::open()?;
    let [db1, db2] = site.hosts(["db1", "db2"])?;
    let ana = site.person("ana@example.com")?;
    let trust = db2.read_text("/var/lib/curfew/trust.json")?;
    let forged = trust.replace("\"db2\"", "\"db1\"");
    assert_ne!(trust, forged);
    db2.put("/var/lib/curfew/trust.json", forged, 0o600)?;
    db2.restart("curfew-agent")?;
    db2.restart("curfew-link")?;
    // db2 now takes certificates for db1, and says so; its connection is db2's.
    let for_db1 = ana.certificate("deploy", &db1)?;
    let job = ana.offering(&for_db1, "deploy", &db2)?.start(["exec sleep 600"])?;
    eventually("somebody is on it", || {
        db2.processes_like("sleep 600").is_ok_and(|found| !found.is_empty())
    })?;
    // What it signs in another's name is not believed, and that is told of the host that it is.
    let incident = eventually_some("what it says is not believed", || {
        let incidents = site.listing(["incident", "list"]).ok()?;
        incidents.into_iter().find(|one| one.to_string().contains("the host signed another"))
    })?;
    assert_eq!(incident["host"], "db2", "{incident}");
    let sessions = site.listing(["sessions"])?;
    assert!(sessions.iter().all(|session| session["host"] == "db2"), "{sessions:?}");
    site.wait_until_connected("db1")?;
    site.wait_until_connected("db2")?;
    drop(job);
    Ok(())
}

#[test]
fn a_host_that_was_enrolled_anew_leaves_its_old_certificate_worthless() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    db1.stop("curfew-link")?;
    db1.run(["cp", "-a", "/var/lib/curfew-link", "/root/stolen"])?.done()?;
    db1.run(["curfew-agent", "uninstall", "--purge"])?.done()?;
    site.enrol(&db1, &site.token(&db1)?)?.done()?;
    site.install(&db1)?.done()?;
    site.wait_until_connected("db1")?;
    db1.stop("curfew-link")?;
    db1.sh("cp -a /root/stolen/. /var/lib/curfew-link/")?.done()?;
    db1.start("curfew-link")?;
    eventually("the old certificate is refused", || {
        db1.journal("curfew-link").is_ok_and(|journal| journal.contains("the authority refused"))
    })?;
    let hosts = site.listing(["host", "list"])?;
    assert_eq!(hosts[0]["connected"], false, "{hosts:?}");
    Ok(())
}

#[test]
fn check_names_what_would_defeat_us_in_sshd() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let before = check(&db1)?.stdout;
    assert!(!before.contains("sshd:"), "{before}");
    let table: [(i32, &str, &[&str]); 5] = [
        (
            0,
            "ForceCommand /bin/menu",
            &["sshd: ForceCommand is /bin/menu", "ignores the certificate's"],
        ),
        (1, "UsePAM no", &["sshd: UsePAM is no", "The agent is not asked at login"]),
        (
            1,
            "Match User deploy\nAuthorizedPrincipalsCommand none",
            &["sshd: AuthorizedPrincipalsCommand is none", "(seen for deploy from"],
        ),
        (
            1,
            "Match Address 192.0.2.0/24\nTrustedUserCAKeys /etc/x",
            &["sshd: TrustedUserCAKeys", "192.0.2.1"],
        ),
        (1, "PermitUserEnvironment yes", &["sshd: PermitUserEnvironment is yes"]),
    ];
    for (code, lines, words) in table {
        // Read before ours, as a careless administrator's file may be.
        db1.put("/etc/ssh/sshd_config.d/0-menu.conf", format!("{lines}\n"), 0o644)?;
        let said = check(&db1)?;
        assert_eq!(said.status.code(), Some(code), "{lines}: {said:?}");
        for word in words {
            assert!(said.stdout.contains(word), "{lines}: no {word:?} in {said:?}");
        }
    }
    db1.run(["rm", "/etc/ssh/sshd_config.d/0-menu.conf"])?.done()?;
    assert_eq!(check(&db1)?.stdout, before, "it changes nothing");
    Ok(())
}

/// OpenSSH 6.2 to 8.7 left sshd's own groups to the commands that it runs (CVE-2021-41617).
#[test]
fn the_principals_command_answers_nobody_with_more_rights_than_it_needs() -> Result<(), FleetError>
{
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ask = "/usr/lib/curfew/curfew-principals root ssh-ed25519-cert-v01@openssh.com AAAA";
    let run_as = "setpriv --reuid curfew-gate --regid curfew-gate";
    for (words, code) in [
        (ask.to_owned(), 77),
        (format!("{run_as} --groups adm {ask}"), 77),
        (format!("{run_as} --groups root {ask}"), 77),
        (format!("{run_as} --clear-groups {ask}"), 1),
        (format!("{run_as} --clear-groups {ask} more"), 64),
    ] {
        let said = db1.sh(&words)?;
        assert_eq!(
            (said.status.code(), said.stdout.as_str()),
            (Some(code), ""),
            "{words}: {said:?}"
        );
    }
    Ok(())
}

fn check(host: &Host) -> Result<Output, FleetError> {
    host.run(["curfew-agent", "check"])
}

/// It failed with this code, and standard error says all of this.
fn failed(said: &Output, code: i32, words: &[&str]) {
    assert_eq!(said.status.code(), Some(code), "{said:?}");
    for word in words {
        assert!(said.stderr.contains(word), "no {word:?} in {said:?}");
    }
}

/// Runs a statement on a database that nobody has open, then says its version.
fn user_version(path: &PathBuf, statement: &str) -> Result<String, FleetError> {
    let script = format!(
        "import sqlite3, sys\nconnection = sqlite3.connect(sys.argv[1])\n{statement}\nconnection.commit()\n\
         print(connection.execute('PRAGMA user_version').fetchone()[0])"
    );
    let said = std::process::Command::new("python3").args(["-c", &script]).arg(path).output();
    let said = said.map_err(|source| FleetError::Io { doing: "run python3".to_owned(), source })?;
    assert!(said.status.success(), "{said:?}");
    Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

const AGENT: &str = "/etc/curfew/agent.toml";
