//! The README's ten minutes to the first login, followed to the letter without packages: its own blocks, on two bare
//! Debians, with the authority under systemd on one of them. With packages: `package.rs`.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;
use tests::{Fleet, FleetError, Host, Output, Programs, Readme, eventually, eventually_some};

#[test]
fn a_newcomer_gets_in_and_is_ended_as_the_readme_says() -> Result<(), FleetError> {
    let readme = Readme::open()?;
    let fleet = Fleet::bare()?;
    let [ca, db1] = fleet.hosts(["ca", "db1"])?;
    meet(&ca, &db1)?;
    bring(&ca)?;

    as_root(&ca, &readme.block("**At the authority:**")?)?.done()?;
    let said = as_root(&ca, &readme.block("**The authority**")?)?.ok()?;
    let fingerprint = said.stdout.lines().find_map(|line| line.strip_prefix("Fingerprint: "));
    let readme = readme.with("SHA256:…", fingerprint.expect("init says the fingerprint"));
    assert!(ca.is_active("curfew-ca.service")?);
    sandboxed(&ca)?;

    for name in ["ana", "ops"] {
        ca.add_user(name)?;
        as_user(&ca, name, "ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519")?.done()?;
        ca.sh(&format!("cp /home/{name}/.ssh/id_ed25519.pub /tmp/{name}.pub"))?.done()?;
    }
    let readme = readme.with("10.0.0.21", &db1.address().to_string());
    let said = as_root(&ca, &readme.block("**A person and an operator.**")?)?.ok()?;
    let token = said.stdout.lines().map(str::trim).rfind(|line| !line.is_empty()).expect("a token");

    as_root(&ca, &readme.block("**To the host**")?)?.done()?;
    db1.sh(&format!("cd /root\n{}", readme.block("**At the host**")?))?.done()?;
    let install = readme.block("**The host**")?;
    let shown = said.stdout.lines().map(str::trim).find(|line| line.contains("enroll"));
    assert!(install.contains(shown.expect("the command to run there")), "{shown:?}");
    db1.run_with_input(["bash", "-euc", &format!("cd /root\n{install}")], token.as_bytes())?
        .done()?;
    get_in(&readme, &ca, &db1)
}

/// Ana gets in, and the operator ends it.
fn get_in(readme: &Readme, ca: &Host, db1: &Host) -> Result<(), FleetError> {
    eventually("db1 is connected", || {
        listing(ca, ["host", "list"])
            .is_ok_and(|hosts| hosts.iter().all(|host| at(host, "/connected") == true))
    })?;
    let getting_in = readme.block("**Getting in**, as Ana:")?;
    let said = as_user(ca, "ana", &getting_in)?.ok()?;
    assert!(said.stdout.contains("db1.example.com"), "{said:?}");
    assert!(said.stdout.contains("load average"), "{said:?}");

    let ending = readme.block("**Ending it**, as the operator:")?;
    let (log_in, ending) = found("the operator's login", ending.split_once('\n'))?;
    as_user(ca, "ops", log_in)?.done()?;
    let ssh = line_with(&getting_in, "curfew ssh deploy@db1.example.com")?;
    let working =
        ca.start_command(["runuser", "-l", "ana", "-c", &format!("{ssh} -- sleep 600")])?;
    let live = eventually_some("the session is known", || {
        listing(ca, ["sessions", "--live"]).ok()?.into_iter().next()
    })?;
    let id = found("the session's name", at(&live, "/session").as_str())?;
    let said = as_user(ca, "ops", &ending.replace("4f0c9a1be2d37781", id))?.ok()?;
    assert!(said.stdout.contains("her laptop was stolen"), "{said:?}");
    assert!(!working.wait()?.succeeded());
    assert!(db1.processes_like("sleep 600")?.is_empty());

    let sessions = listing(ca, ["sessions"])?;
    let over = sessions.iter().find(|session| at(session, "/session") == id);
    assert_eq!(at(found("the session", over)?, "/ended/survivors"), 0, "{sessions:?}");
    as_user(ca, "ana", line_with(&getting_in, "uptime")?)?.done()?;
    read_terminal(readme, ca, ssh)
}

/// Ana works at a terminal, and the operator reads what it showed.
fn read_terminal(readme: &Readme, ca: &Host, ssh: &str) -> Result<(), FleetError> {
    let typed = format!("printf 'uptime\\nexit\\n' | script --quiet --command '{ssh}' /dev/null");
    as_user(ca, "ana", &typed)?.done()?;
    let sessions = listing(ca, ["sessions"])?;
    let latest = sessions.iter().max_by_key(|session| at(session, "/began").to_string());
    let id = found("the session's name", at(found("a session", latest)?, "/session").as_str())?;
    let reading = readme.block("**Reading a terminal**")?.replace("4f0c9a1be2d37781", id);
    eventually("what the terminal showed can be read", || {
        as_user(ca, "ops", &reading).is_ok_and(|said| said.stdout.contains("load average"))
    })
}

/// The authority comes back by itself, with all that it knew.
fn sandboxed(ca: &Host) -> Result<(), FleetError> {
    ca.kill_unit("curfew-ca.service", "KILL")?;
    eventually("systemd has started it again", || {
        ca.run(["curfew-ca", "status"]).is_ok_and(|said| said.succeeded())
    })?;
    let journal = ca.journal("curfew-ca.service")?;
    assert!(!journal.contains("Unknown key") && !journal.contains("ignoring"), "{journal}");
    let stored = ca.run(["find", "/var/lib/curfew-ca", "!", "-user", "curfew-ca"])?.ok()?;
    assert_eq!(stored.text(), "", "all of it is the authority's own");
    let open = ca.run(["find", "/var/lib/curfew-ca", "-perm", "/077"])?.ok()?;
    assert_eq!(open.text(), "", "nobody else reads it");
    Ok(())
}

/// What DNS and an administrator's own key would do.
fn meet(ca: &Host, db1: &Host) -> Result<(), FleetError> {
    let (ca_address, db1_address) = (ca.address(), db1.address());
    for host in [ca, db1] {
        let mut names = host.read_text("/etc/hosts")?;
        names.push_str(&format!("{ca_address} ca.example.com\n{db1_address} db1.example.com\n"));
        host.put("/etc/hosts", names, 0o644)?;
    }
    // As on a real machine: systemd mounts a unit's credentials where only that shows them to the unit.
    ca.sh("mount --make-rshared /")?.done()?;
    ca.sh(
        "mkdir -p -m 0700 /root/.ssh && ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519",
    )?
    .done()?;
    db1.sh("mkdir -p -m 0700 /root/.ssh")?.done()?;
    db1.put("/root/.ssh/authorized_keys", ca.read("/root/.ssh/id_ed25519.pub")?, 0o600)?;
    ca.put("/root/.ssh/config", "Host *\n  StrictHostKeyChecking accept-new\n", 0o600)
}

/// The tree as the README's build leaves it.
fn bring(ca: &Host) -> Result<(), FleetError> {
    let programs = Programs::built()?;
    for name in [
        "curfew",
        "curfew-ca",
        "curfew-agent",
        "curfew-link",
        "curfew-principals",
        "curfew-pty",
        "curfew-recorder",
        "curfew-files",
        "libpam_curfew.so",
    ] {
        let program = fs::read(programs.path(name)).map_err(unread("a program"))?;
        ca.put(&format!("{TREE}/target/release/{name}"), program, 0o755)?;
    }
    for unit in fs::read_dir(tree().join("systemd")).map_err(unread("systemd/"))?.flatten() {
        let text = fs::read(unit.path()).map_err(unread("a unit"))?;
        ca.put(&format!("{TREE}/systemd/{}", unit.file_name().display()), text, 0o644)?;
    }
    Ok(())
}

fn as_root(host: &Host, script: &str) -> Result<Output, FleetError> {
    host.sh(&format!("cd {TREE}\n{script}"))
}

fn as_user(host: &Host, name: &str, script: &str) -> Result<Output, FleetError> {
    host.run(["runuser", "-l", name, "-s", "/bin/bash", "-c", &format!("set -eu\n{script}")])
}

fn listing<const N: usize>(ca: &Host, args: [&str; N]) -> Result<Vec<Value>, FleetError> {
    let said = ca.run(["curfew-ca"].into_iter().chain(args).chain(["--json"]))?.ok()?;
    found("a JSON array", serde_json::from_str(said.text()).ok())
}

/// What stands there in a JSON value, or nothing.
fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    value.pointer(path).unwrap_or(&Value::Null)
}

fn line_with<'a>(block: &'a str, words: &str) -> Result<&'a str, FleetError> {
    found(words, block.lines().find(|line| line.contains(words)))
}

fn found<T>(what: &str, thing: Option<T>) -> Result<T, FleetError> {
    thing.ok_or_else(|| unread(what)(io::ErrorKind::NotFound.into()))
}

fn unread(what: &str) -> impl FnOnce(io::Error) -> FleetError {
    let doing = format!("read {what}");
    |source| FleetError::Io { doing, source }
}

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

const TREE: &str = "/root/curfew";
