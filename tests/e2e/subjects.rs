//! Every kind of key that can be certified gets on a real host, and logs in to the authority.

use tests::{Client, FleetError, Person, Site};

#[test]
fn a_key_of_every_kind_gets_on_a_host_with_a_certificate() -> Result<(), FleetError> {
    let site = Site::open()?;
    let _db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    for (name, options, kind) in KINDS {
        let key = ana.client.make_key_with(name, options)?.display().to_string();
        let provider = Client::security_key_option();
        let words = ["ssh", "--key", &key, "deploy@db1", "--", "-o", &provider, "whoami"];
        assert_eq!(ana.curfew(words)?.ok()?.text(), "deploy", "{name}");
        let certificate = listed(&ana, "deploy", "db1")?;
        assert!(
            certificate.contains(&format!("Public key: {kind}-CERT ")),
            "{name}: {certificate}"
        );
        // What stands beside the certificate is a pointer: the key itself is where it was, and nowhere else.
        let link = ana.client.home_dir().join(".config/curfew/id/deploy@db1");
        assert_eq!(std::fs::read_link(link).ok(), Some(key.into()), "{name}");
    }
    assert_eq!(site.last_of(KINDS.len())?["identity"], "ana@example.com");
    Ok(())
}

#[test]
fn the_longest_rsa_key_gets_on_a_host_and_does_not_log_in_to_the_authority()
-> Result<(), FleetError> {
    let site = Site::open()?;
    let _db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let key = ana.client.take_key("rsa16384", LONGEST)?.display().to_string();
    let said = ana.curfew(["ssh", "--key", &key, "deploy@db1", "--", "whoami"])?.ok()?;
    assert_eq!(said.text(), "deploy");
    let certificate = listed(&ana, "deploy", "db1")?;
    assert!(certificate.contains("Public key: RSA-CERT "), "{certificate}");
    assert_eq!(site.last_of(1)?["identity"], "ana@example.com");
    let public = format!("{key}.pub");
    let refused = site.authority.run(["identity", "add", &ana.identity, "--key", &public])?;
    assert!(!refused.succeeded(), "{refused:?}");
    let why = "16384 bits; signatures are checked up to 8192, so it can be certified, but neither certify nor log in";
    assert!(refused.stderr.contains(why), "{refused:?}");
    Ok(())
}

#[test]
fn a_key_that_only_the_agent_can_use_gets_on_a_host() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let _agent = ana.client.agent()?;
    for (name, options) in [("token", ["-t", "ed25519-sk"]), ("plain", ["-t", "ed25519"])] {
        let key = ana.client.make_key_with(name, &options)?;
        ana.client.run("ssh-add", ["-q".as_ref(), key.as_os_str()])?.done()?;
        std::fs::remove_file(&key).map_err(|source| FleetError::Io {
            doing: format!("remove {}", key.display()),
            source,
        })?;
        let public = key.with_extension("pub").display().to_string();
        let said = ana.curfew(["ssh", "--key", &public, "deploy@db1", "--", "whoami"])?.ok()?;
        assert_eq!(said.text(), "deploy", "{name}");
        // Plain ssh uses the same certificate while it lasts.
        let before = listed(&ana, "deploy", "db1")?;
        assert_eq!(ana.ssh("deploy", &db1).run(["whoami"])?.ok()?.text(), "deploy", "{name}");
        assert_eq!(listed(&ana, "deploy", &db1.address().to_string())?, before, "{name}");
    }
    Ok(())
}

#[test]
fn a_certificate_beside_a_key_is_found_by_ssh_itself() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let key = ana.client.make_key_with("mine", &["-t", "ecdsa-sk"])?;
    let path = key.display().to_string();
    let said = ana.curfew(["certificate", "deploy@db1", "--key", &path, "--for", "5m"])?.ok()?;
    assert!(said.stdout.contains("mine-cert.pub: deploy@db1, certificate 1, grant g1"), "{said:?}");
    let ssh = ana.without_curfew("deploy", &db1)?;
    let ssh = ssh.with([
        "-o",
        &Client::security_key_option(),
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "IdentityAgent=none",
        "-i",
        &path,
    ]);
    assert_eq!(ssh.run(["whoami"])?.ok()?.text(), "deploy");
    Ok(())
}

#[test]
fn every_kind_of_key_logs_in_to_the_authority_and_an_untouched_one_does_not()
-> Result<(), FleetError> {
    let site = Site::open()?;
    let ana = site.person("ana@example.com")?;
    for (name, options, _) in KINDS {
        let key = ana.client.make_key_with(name, options)?;
        let public = key.with_extension("pub").display().to_string();
        let key = key.display().to_string();
        let unknown = ana.curfew(["login", "--key", &key])?;
        assert_eq!(unknown.status.code(), Some(77), "{name} is not enrolled yet: {unknown:?}");
        site.authority.run(["identity", "add", &ana.identity, "--key", &public])?.done()?;
        ana.curfew(["login", "--key", &key])?.done()?;
        if !name.starts_with("sk") {
            continue;
        }
        for (claims, believed) in [("", false), ("verified", false), ("touched", true)] {
            let said = claiming(&ana, claims, &["curfew", "login", "--key", &key])?;
            assert_eq!(said.succeeded(), believed, "{name} {claims:?}: {said:?}");
        }
    }
    Ok(())
}

#[test]
fn an_authority_with_a_key_of_any_kind_is_believed_by_hosts_and_people() -> Result<(), FleetError> {
    for (name, options, kind) in KINDS.iter().filter(|(name, ..)| AUTHORITIES.contains(name)) {
        let mut site = Site::open()?;
        site.authority.stop()?;
        let dir = site.authority.dir().to_owned();
        let gone = std::fs::remove_dir_all(dir.join("state"));
        gone.map_err(|source| FleetError::Io { doing: "remove the state".to_owned(), source })?;
        // The key for people and the key for hosts, as an operator brings keys of their own.
        let mut init = vec!["init".to_owned(), "--unencrypted".to_owned()];
        for slot in ["user", "host"] {
            let path = dir.join(slot);
            let make = std::process::Command::new("ssh-keygen")
                .args(["-q", "-N", "", "-f"])
                .arg(&path)
                .args(*options)
                .status();
            assert!(make.is_ok_and(|status| status.success()), "{name}: ssh-keygen");
            init.extend(["--import".to_owned(), format!("{slot}={}", path.display())]);
        }
        site.authority.run(init)?.done()?;
        site.authority.serve()?;
        let db1 = site.host("db1")?;
        let ana = site.person("ana@example.com")?;
        let strict = ana.ssh("deploy", &db1).with(["-o", "StrictHostKeyChecking=yes"]);
        assert_eq!(strict.run(["whoami"])?.ok()?.text(), "deploy", "{name}");
        let certificate = listed(&ana, "deploy", &db1.address().to_string())?;
        assert!(certificate.contains(&format!("Signing CA: {kind} ")), "{name}: {certificate}");
        assert_eq!(site.last_of(1)?["login"], "deploy");
    }
    Ok(())
}

/// Runs a program with a security key that claims this, whatever is true.
fn claiming(who: &Person, claims: &str, words: &[&str]) -> Result<tests::Output, FleetError> {
    let mut all = vec![format!("CURFEW_TEST_SK={claims}")];
    all.extend(words.iter().map(|word| (*word).to_owned()));
    who.client.run("env", all)
}

/// `ssh-keygen -L` of the certificate that `curfew` has for this.
fn listed(who: &Person, login: &str, host: &str) -> Result<String, FleetError> {
    let path = format!(".config/curfew/id/{login}@{host}-cert.pub");
    let path = who.client.home_dir().join(path);
    let said =
        who.client.run("ssh-keygen", ["-L".as_ref(), "-f".as_ref(), path.as_os_str()])?.ok()?;
    // The first line says the file's name.
    Ok(said.stdout.split_once('\n').unwrap_or_default().1.to_owned())
}

/// The longest RSA key that OpenSSH uses, kept because making one takes minutes: `ssh-keygen -t rsa -b 16384 -N ''`.
/// For these tests only; nothing else trusts it.
const LONGEST: &str = include_str!("../fixtures/rsa16384");
/// What an authority signs with.
const AUTHORITIES: [&str; 6] = ["ed25519", "p256", "p384", "p521", "rsa3072", "rsa4096"];
/// Every kind: a name, how `ssh-keygen` makes it, and what it calls it.
const KINDS: [(&str, &[&str], &str); 9] = [
    ("ed25519", &["-t", "ed25519"], "ED25519"),
    ("p256", &["-t", "ecdsa", "-b", "256"], "ECDSA"),
    ("p384", &["-t", "ecdsa", "-b", "384"], "ECDSA"),
    ("p521", &["-t", "ecdsa", "-b", "521"], "ECDSA"),
    ("rsa2048", &["-t", "rsa", "-b", "2048"], "RSA"),
    ("rsa3072", &["-t", "rsa", "-b", "3072"], "RSA"),
    ("rsa4096", &["-t", "rsa", "-b", "4096"], "RSA"),
    ("sk-ed25519", &["-t", "ed25519-sk"], "ED25519-SK"),
    ("sk-ecdsa", &["-t", "ecdsa-sk"], "ECDSA-SK"),
];
