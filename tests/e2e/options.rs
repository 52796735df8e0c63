//! What a certificate is bound to, as stock sshd holds it; and that a request only narrows.

use tests::{Client, FleetError, Host, Output, Person, Site};

/// A site whose only role says this besides who, where and as whom.
fn bound(lines: &str) -> Result<(Site, Host, Person), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    bind(&site, "bound", lines)?;
    Ok((site, db1, ana))
}

fn bind(site: &Site, role: &str, lines: &str) -> Result<(), FleetError> {
    site.set_roles(&format!(
        "[role.{role}]\nmembers = [\"ana@example.com\"]\nlogins = [\"deploy\"]\nhosts = [\"env=prod\"]\n{lines}\n"
    ))
}

/// `curfew ssh` with these options, then this for ssh.
fn ssh(who: &Person, options: &[&str], rest: &[&str]) -> Result<Output, FleetError> {
    let provider = Client::security_key_option();
    let first = ["deploy@db1", "--", "-o", &provider];
    who.curfew([&["ssh"], options, &first, rest].concat())
}

fn refused(said: &Output, code: i32, why: &str) {
    assert_eq!(said.status.code(), Some(code), "{said:?}");
    assert!(said.stderr.contains(why), "no {why:?} in {said:?}");
}

#[test]
fn a_forced_command_runs_in_place_of_the_one_that_was_asked_for() -> Result<(), FleetError> {
    let (site, db1, ana) =
        bound(r#"force_command = "A=b,c; echo forced=$A, asked: $SSH_ORIGINAL_COMMAND""#)?;
    let said = ssh(&ana, &[], &["id", "-u"])?.ok()?;
    assert_eq!(said.text(), "forced=b,c, asked: id -u");
    assert_eq!(ana.ssh("deploy", &db1).run(["true"])?.ok()?.text(), "forced=b,c, asked: true");
    // The host's records say what the session was held to.
    let told = ana.records_when(&site.last_of(2)?, |records| !records.is_empty())?;
    let began = &told[0]["event"]["session_began"]["options"];
    assert_eq!(began["force-command"], "A=b,c; echo forced=$A, asked: $SSH_ORIGINAL_COMMAND");
    // The same is allowed, anything else is not: a request replaces nothing.
    refused(&ssh(&ana, &["--force-command", "id"], &[])?, 77, "role bound forces the command");
    // Where the role leaves it open, a person can bind a certificate to one command.
    bind(&site, "open", "")?;
    let said = ssh(&ana, &["--force-command", "echo only this"], &["id"])?.ok()?;
    assert_eq!(said.text(), "only this");
    // As long as there may be, through sshd, our principals command and the login's shell.
    let long = format!("true {}; echo all of it", "=,".repeat(4_080));
    assert!(long.len() > 8_000);
    let said = ssh(&ana, &["--force-command", &long], &["id"])?.ok()?;
    assert_eq!(said.text(), "all of it");
    Ok(())
}

#[test]
fn a_certificate_opens_from_its_networks_only() -> Result<(), FleetError> {
    let (site, db1, ana) = bound(r#"source_address = ["0.0.0.0/0"]"#)?;
    let said = ssh(&ana, &[], &["echo $SSH_CONNECTION"])?.ok()?;
    let here = said.text().split(' ').next().unwrap_or_default().to_owned();
    let mine = format!("{here}/32");
    ssh(&ana, &["--from", &mine, "--from", "203.0.113.0/24"], &["true"])?.done()?;
    refused(&ssh(&ana, &["--from", "203.0.113.0/24"], &["true"])?, 255, "Permission denied");
    // Networks of another family hold nobody's address here.
    bind(&site, "six", r#"source_address = ["2001:db8::/32"]"#)?;
    refused(&ssh(&ana, &[], &["true"])?, 255, "Permission denied");
    bind(&site, "narrow", &format!("source_address = [\"{mine}\"]"))?;
    assert_eq!(ssh(&ana, &[], &["whoami"])?.ok()?.text(), "deploy");
    for wide in ["0.0.0.0/0", "::/0"] {
        let said = ssh(&ana, &["--from", wide], &["true"])?;
        refused(&said, 77, &format!("role narrow lets in from {mine} only"));
    }
    assert!(db1.journal("ssh")?.contains("not from a permitted"), "sshd refused it, not we");
    Ok(())
}

#[test]
fn verification_is_demanded_at_each_login_and_a_plain_key_is_not_certified()
-> Result<(), FleetError> {
    let (site, _db1, ana) = bound("verify_required = true")?;
    refused(&ssh(&ana, &[], &["true"])?, 77, "only a security key can ask for");
    for kind in ["ed25519-sk", "ecdsa-sk"] {
        let touch = ana.client.make_key_with(&format!("{kind}-touch"), &["-t", kind])?;
        let verify = ["-t", kind, "-O", "verify-required"];
        let verify = ana.client.make_key_with(&format!("{kind}-verify"), &verify)?;
        let quiet = ["-t", kind, "-O", "no-touch-required"];
        let quiet = ana.client.make_key_with(&format!("{kind}-quiet"), &quiet)?;
        let [touch, verify, quiet] = [touch, verify, quiet].map(|key| key.display().to_string());
        // sshd holds the certificate to it, whatever the key was made for.
        refused(&ssh(&ana, &["--key", &touch], &["true"])?, 255, "Permission denied");
        refused(&ssh(&ana, &["--key", &quiet], &["true"])?, 255, "Permission denied");
        assert_eq!(ssh(&ana, &["--key", &verify], &["whoami"])?.ok()?.text(), "deploy");
        for (claims, opens) in
            [("", false), ("touched", false), ("verified", false), ("touched,verified", true)]
        {
            let claimed = format!("CURFEW_TEST_SK={claims}");
            let provider = Client::security_key_option();
            let words =
                ["curfew", "ssh", "--key", &verify, "deploy@db1", "--", "-o", &provider, "true"];
            let words = [&[&*claimed], &words[..]].concat();
            let said = ana.client.run("env", words)?;
            assert_eq!(
                said.status.code(),
                Some(if opens { 0 } else { 255 }),
                "{kind} {claims:?}: {said:?}"
            );
        }
    }
    // Under any role: a key that nobody touches opens nothing, because we never certify `no-touch-required`.
    bind(&site, "hardware", r#"subject_keys = ["sk-ed25519", "sk-ecdsa"]"#)?;
    refused(&ssh(&ana, &[], &["true"])?, 77, "keys of type sk-ed25519, sk-ecdsa only");
    let key = |name: &str| ana.client.ssh_dir().join(name).display().to_string();
    ssh(&ana, &["--key", &key("ed25519-sk-touch")], &["true"])?.done()?;
    refused(&ssh(&ana, &["--key", &key("ed25519-sk-quiet")], &["true"])?, 255, "Permission denied");
    let verified = ["--verify-required", "--key", &key("ecdsa-sk-touch")];
    refused(&ssh(&ana, &verified, &["true"])?, 255, "Permission denied");
    Ok(())
}

#[test]
fn abilities_are_dropped_on_request_and_never_added() -> Result<(), FleetError> {
    let (_site, db1, ana) = bound(r#"abilities = ["pty", "port-forwarding"]"#)?;
    let terminal = |options: &[&str]| ssh(&ana, options, &["-tt", "tty; true"]);
    assert!(terminal(&[])?.ok()?.stdout.contains("/dev/pts/"));
    for options in [&["--no-pty"][..], &["--only", "port-forwarding"], &["--without", "pty"]] {
        let said = terminal(options)?;
        assert!(said.stderr.contains("PTY allocation request failed"), "{options:?}: {said:?}");
    }
    let forwarded = |options: &[&str]| ssh(&ana, options, &["-W", "127.0.0.1:22"]);
    assert!(forwarded(&["--only", "port-forwarding"])?.stdout.starts_with("SSH-2.0-"));
    for options in [&["--only", "none"][..], &["--only", "pty"]] {
        let said = forwarded(options)?;
        assert!(!said.succeeded() && !said.stdout.starts_with("SSH-2.0-"), "{options:?}: {said:?}");
    }
    for more in ["agent-forwarding", "x11-forwarding", "pty,x11-forwarding"] {
        refused(&ssh(&ana, &["--only", more], &["true"])?, 77, "role bound does not allow");
    }
    drop(db1);
    Ok(())
}

#[test]
fn check_names_what_would_defeat_a_certificate() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let before = db1.run(["curfew-agent", "check"])?.stdout;
    let table = [
        (
            1,
            "CASignatureAlgorithms -ssh-ed25519",
            "sshd: CASignatureAlgorithms has no ssh-ed25519 ",
        ),
        (
            1,
            "PubkeyAcceptedAlgorithms -ssh-ed25519-cert-v01@openssh.com",
            "sshd: PubkeyAcceptedAlgorithms has no ssh-ed25519-cert-v01@openssh.com ",
        ),
        (
            0,
            "PubkeyAcceptedAlgorithms -sk-*",
            "no sk-ssh-ed25519-cert-v01@openssh.com, sk-ecdsa-sha2-nistp256-cert-v01@openssh.com ",
        ),
        (1, "Match User deploy\nAuthenticationMethods password", "(seen for deploy from"),
        (0, "AcceptEnv LANG BASH_*", "sshd: AcceptEnv takes BASH_* "),
        (0, "DisableForwarding yes", "DisableForwarding does not hold for the ssh-agent and X11"),
        (
            0,
            "Match Address 192.0.2.0/24\nForceCommand /bin/menu",
            "ForceCommand is /bin/menu (seen for root from 192.0.2.1)",
        ),
        (
            1,
            "AuthorizedKeysFile /etc/ssh/keys/%u",
            "/etc/ssh/keys/deploy holds a cert-authority line without principals=",
        ),
    ];
    db1.put("/etc/ssh/keys/deploy", "no-pty,cert-authority ssh-ed25519 AAAA\n", 0o644)?;
    for (code, lines, what) in table {
        db1.put("/etc/ssh/sshd_config.d/0-careless.conf", format!("{lines}\n"), 0o644)?;
        let said = db1.run(["curfew-agent", "check"])?;
        assert_eq!(said.status.code(), Some(code), "{lines}: {said:?}");
        assert!(said.stdout.contains(what), "{lines}: no {what:?} in {said:?}");
    }
    db1.run(["rm", "/etc/ssh/sshd_config.d/0-careless.conf"])?.done()?;
    assert_eq!(db1.run(["curfew-agent", "check"])?.stdout, before, "it changes nothing");
    Ok(())
}

/// OpenSSH before 10.3 takes a certificate that names nobody for one that names everybody, where `authorized_keys`
/// trusts its authority.
#[test]
fn a_certificate_that_names_nobody_opens_nothing_even_where_sshd_takes_it() -> Result<(), FleetError>
{
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let authority = db1.read_text("/etc/curfew/user_ca.pub")?;
    let line = format!("cert-authority {}", authority.lines().next().unwrap_or_default());
    db1.authorize("deploy", &line)?;
    let until = "-Oextension:grant-until@curfew.internal=4000000000";
    let role = "-Oextension:role@curfew.internal=deploy";
    let golden =
        site.forge(&ana, &["-I", "ana@example.com/g1/1", "-z", "1", "-V", "-1m:+1h", until, role])?;
    assert!(golden.text()?.contains("Principals: (none)"), "{}", golden.text()?);
    let said = ana.offering(&golden, "deploy", &db1)?.run(["true"])?;
    assert_ne!(said.status.code(), Some(0), "{said:?}");
    let journal = db1.journal("ssh")?;
    assert!(journal.contains("Accepted publickey for deploy"), "this sshd takes it: {journal}");
    assert!(site.listing(["sessions"])?.is_empty());
    assert!(!db1.run(["curfew-agent", "check"])?.succeeded(), "and check says so");
    Ok(())
}
