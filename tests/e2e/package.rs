//! From packages alone, by the README's own blocks: an authority and a host on two bare Debians, upgraded under a session,
//! removed and purged.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{
    Debian, Fleet, FleetError, Host, Programs, Readme, Running, eventually, eventually_some,
};

#[test]
fn packages_install_upgrade_under_a_session_and_leave_a_stock_sshd() -> Result<(), FleetError> {
    packages_serve_on(Debian::Bookworm)
}

#[test]
fn the_same_packages_do_so_on_debian_13() -> Result<(), FleetError> {
    packages_serve_on(Debian::Trixie)
}

fn packages_serve_on(debian: Debian) -> Result<(), FleetError> {
    let (before, now) = (made(debian, "0.0.9")?, made(debian, env!("CARGO_PKG_VERSION"))?);
    let fleet = Fleet::bare_on(debian)?;
    let [ca, db1] = fleet.hosts(["ca", "db1"])?;
    meet(&ca, &db1)?;
    let stock = login_path(&db1)?;
    let readme = establish(&ca, &before, &Readme::open()?)?;
    let readme = people(&ca, &db1, &readme)?;
    join(&ca, &db1, (&before, &readme), &stock)?;

    // The next version, under a session: it goes on, with the same process, and ends by a lock all the same.
    let (session, sleeper) = begin(&ca, &db1)?;
    let settings = ca.read_text("/etc/curfew/ca.toml")?;
    install(&ca, &now, &readme.block(AUTHORITY)?)?;
    install(&db1, &now, &readme.block(HOST)?)?;
    assert_eq!(ca.read_text("/etc/curfew/ca.toml")?, settings, "what an operator wrote is kept");
    let version = ["dpkg-query", "--show", "--showformat", "${Version}", "curfew-agent"];
    assert_eq!(db1.run(version)?.ok()?.text(), env!("CARGO_PKG_VERSION"));
    assert!(db1.processes_like("sleep 3600")?.iter().any(|process| process.pid == sleeper));
    wait_until_connected(&ca)?;
    let incidents = ca.run(["curfew-ca", "incident", "list", "--json"])?.ok()?;
    assert_eq!(incidents.text(), "[]", "an upgrade is no incident");
    as_user(&ca, "ana", "curfew ssh deploy@db1.example.com -- true")?;
    as_user(&ca, "ops", "curfew lock ana@example.com --reason test")?;
    assert!(!session.wait()?.succeeded());
    assert!(db1.processes_like("sleep 3600")?.is_empty());

    recover(&ca, &readme)?;
    for (host, name) in [(&ca, "curfew-ca"), (&ca, "curfew"), (&db1, "curfew-agent")] {
        spoken(host, name)?;
    }
    leave(&ca, &db1, &stock)
}

/// The authority, from its packages.
fn establish(ca: &Host, from: &Path, readme: &Readme) -> Result<Readme, FleetError> {
    install(ca, from, &readme.block(AUTHORITY)?)?;
    assert!(!ca.is_active("curfew-ca.service")?, "a package starts nothing that was not set up");
    let said = ca.sh(&readme.block("**The authority**")?)?.ok()?;
    let fingerprint = said.stdout.lines().find_map(|line| line.strip_prefix("Fingerprint: "));
    Ok(readme.with("SHA256:…", found("the fingerprint", fingerprint)?))
}

/// Ana and an operator, and a token for the host in `TOKEN`.
fn people(ca: &Host, db1: &Host, readme: &Readme) -> Result<Readme, FleetError> {
    for name in ["ana", "ops"] {
        ca.add_user(name)?;
        as_user(ca, name, "ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519")?;
        ca.sh(&format!("cp /home/{name}/.ssh/id_ed25519.pub /tmp/{name}.pub"))?.done()?;
    }
    let readme = readme.with("10.0.0.21", &db1.address().to_string());
    let said = ca.sh(&readme.block("**A person and an operator.**")?)?.ok()?;
    let token = said.stdout.lines().map(str::trim).rfind(|line| !line.is_empty());
    db1.put("/root/token", found("a token", token)?, 0o600)?;
    Ok(readme)
}

/// The host, from its package; and both people are logged in.
fn join(
    ca: &Host,
    db1: &Host,
    (from, readme): (&Path, &Readme),
    stock: &str,
) -> Result<(), FleetError> {
    install(db1, from, &readme.block(HOST)?)?;
    assert_eq!(login_path(db1)?, stock, "a package alone changes no login");
    let token = db1.read_text("/root/token")?;
    db1.run_with_input(["bash", "-euc", &readme.block("**The host**")?], token.as_bytes())?
        .done()?;
    wait_until_connected(ca)?;
    for (name, mark) in [("ana", "**Getting in**, as Ana:"), ("ops", "**Ending it**")] {
        let block = readme.block(mark)?;
        let login = block.lines().find(|line| line.starts_with("curfew login"));
        as_user(ca, name, found("a login", login)?)?;
    }
    Ok(())
}

/// A session of Ana's, and the process in it.
fn begin(ca: &Host, db1: &Host) -> Result<(Running, u32), FleetError> {
    let ssh = "curfew ssh deploy@db1.example.com -- sleep 3600";
    let session = ca.start_command(["runuser", "-l", "ana", "-c", ssh])?;
    let sleeper = eventually_some("the session runs", || {
        db1.processes_like("sleep 3600").ok()?.first().map(|process| process.pid)
    })?;
    Ok((session, sleeper))
}

/// The authority's disk is lost, and it comes back from its backup as the page for operators says.
fn recover(ca: &Host, readme: &Readme) -> Result<(), FleetError> {
    let page = Readme::page("docs/operations.md")?;
    let said = ca.sh(&page.block("**Back up**")?)?.ok()?;
    assert!(said.stdout.contains("NOT in it: the private key root_key.pem"), "{said:?}");
    ca.sh("systemctl disable --now curfew-ca
         rm -rf /var/lib/curfew-ca
         systemd-tmpfiles --create curfew-ca.conf")?
        .done()?;
    ca.sh(&page.block("**Put it back**")?)?.done()?;
    ca.sh(&page.block("While something is wrong")?)?.done()?;
    let owned =
        "find /var/lib/curfew-ca /etc/curfew/ca.toml /etc/curfew/roles.toml ! -user curfew-ca";
    assert_eq!(ca.sh(owned)?.ok()?.text(), "");
    wait_until_connected(ca)?;
    let block = readme.block("**Getting in**, as Ana:")?;
    let login = block.lines().find(|line| line.starts_with("curfew login"));
    as_user(ca, "ops", &found("a login", login)?.replace("ana@", "ops@"))?;
    as_user(ca, "ops", "curfew unlock ana@example.com --reason test")?;
    as_user(ca, "ana", found("a login", login)?)?;
    as_user(ca, "ana", "curfew ssh deploy@db1.example.com -- true")
}

/// And away: sshd as it was, then nothing at all.
fn leave(ca: &Host, db1: &Host, stock: &str) -> Result<(), FleetError> {
    db1.run(["dpkg", "--remove", "curfew-agent"])?.done()?;
    assert_eq!(login_path(db1)?, stock, "sshd and PAM are as they were");
    assert!(db1.has("/var/lib/curfew"), "what it knew is kept until it is purged");
    db1.run(["dpkg", "--purge", "curfew-agent"])?.done()?;
    ca.run(["dpkg", "--purge", "curfew-ca", "curfew"])?.done()?;
    for host in [db1, ca] {
        let left = host.sh(LEFT)?.ok()?;
        assert_eq!(left.text(), "", "left on {}", host.name());
    }
    Ok(())
}

/// What DNS would do.
fn meet(ca: &Host, db1: &Host) -> Result<(), FleetError> {
    let names = format!("{} ca.example.com\n{} db1.example.com\n", ca.address(), db1.address());
    for host in [ca, db1] {
        let known = host.read_text("/etc/hosts")?;
        host.put("/etc/hosts", format!("{known}{names}"), 0o644)?;
    }
    // As on a real machine: systemd mounts a unit's credentials where only that shows them to the unit.
    ca.sh("mount --make-rshared /")?.done()
}

fn wait_until_connected(ca: &Host) -> Result<(), FleetError> {
    eventually("the host is connected", || {
        let said = ca.run(["curfew-ca", "host", "list", "--json"]);
        let list = said.ok().and_then(|said| said.text().parse::<serde_json::Value>().ok());
        list.is_some_and(|list| list.pointer("/0/connected") == Some(&true.into()))
    })
}

/// What a login on this host goes through, in words that change with it.
fn login_path(host: &Host) -> Result<String, FleetError> {
    let script = "find /etc/ssh /etc/pam.d -type f | sort | xargs sha256sum; sshd -T; find /etc/systemd/system ! -type d | sort";
    Ok(host.sh(script)?.ok()?.stdout)
}

/// The packages of this version, for this test alone, made from the programs that the tests meet.
fn made(debian: Debian, version: &str) -> Result<PathBuf, FleetError> {
    let programs = Programs::built()?;
    let out = programs.dir().join("packages").join(format!("{version}-{debian:?}"));
    let xtask = Programs::one("xtask")?;
    let said = Command::new(xtask)
        .arg("package")
        .arg("--programs")
        .arg(programs.dir())
        .arg("--out")
        .arg(&out)
        .args(["--version", version])
        .output()
        .map_err(unread("the packages"))?;
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    Ok(out)
}

fn found<T>(what: &str, thing: Option<T>) -> Result<T, FleetError> {
    thing.ok_or_else(|| unread(what)(io::ErrorKind::NotFound.into()))
}

fn unread(what: &str) -> impl FnOnce(io::Error) -> FleetError {
    let doing = format!("read {what}");
    |source| FleetError::Io { doing, source }
}

/// Lays these packages where the README's block expects them, alone, and runs it.
fn install(host: &Host, from: &Path, block: &str) -> Result<(), FleetError> {
    host.sh("rm -f /root/*.deb")?.done()?;
    for package in fs::read_dir(from).map_err(unread("the packages"))?.flatten() {
        let name = package.file_name().display().to_string();
        // Only what the block names: the disk of a host is memory.
        let wanted = name.split('_').next().is_some_and(|of| block.contains(&format!("{of}_*")));
        if wanted {
            let bytes = fs::read(package.path()).map_err(unread("a package"))?;
            host.put(&format!("/root/{name}"), bytes, 0o644)?;
        }
    }
    host.sh(&format!("cd /root\n{block}"))?.done()
}

fn as_user(host: &Host, name: &str, script: &str) -> Result<(), FleetError> {
    host.run(["runuser", "-l", name, "-s", "/bin/bash", "-c", script])?.done()
}

/// The page of the program names every subcommand that its help does, and the completions for bash are sound.
fn spoken(host: &Host, name: &str) -> Result<(), FleetError> {
    let help = host.run([name, "--help"])?.ok()?;
    let page = host.sh(&format!("zcat /usr/share/man/man1/{name}.1.gz"))?.ok()?;
    let commands = help.stdout.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.len() > 3, "{help:?}");
    for command in commands {
        let listed = format!("{name}-{command}").replace('-', "\\-");
        assert!(page.stdout.contains(&listed), "{listed} in the page of {name}");
        assert!(
            host.has(&format!("/usr/share/man/man1/{name}-{command}.1.gz")),
            "{name} {command}"
        );
    }
    host.sh(&format!("bash -n /usr/share/bash-completion/completions/{name}"))?.done()
}

const AUTHORITY: &str = "**Install the authority**";
const HOST: &str = "**Install on the host**";
/// Every path with our name, except what the README had somebody make, what dpkg and the journal write down, and people's
/// own files.
const LEFT: &str = "find / -xdev \\( -path /proc -o -path /sys -o -path /root -o -path /home -o -path /tmp -o -path /var/log \
                    -o -path /run/log -o -path /etc/credstore.encrypted \\) -prune -o -iname '*curfew*' -print";
