//! Several nodes of one authority, witnesses that hosts demand, and a ledger that moves while people are logged in.

use std::path::Path;

use tests::{FleetError, Host, Postgres, Running, Site, eventually, eventually_some};

/// A site whose ledger is on this server.
fn on_server(postgres: &Postgres) -> Result<Site, FleetError> {
    let keys = tests::KeySetup { settings: postgres.setting(), ..tests::KeySetup::default() };
    Site::on(tests::Fleet::boot()?, &keys)
}

/// Joins a host that finds the authority by a name which both nodes bear.
fn join_by_name(site: &Site, host: &Host) -> Result<(), FleetError> {
    let fleet = &site.fleet;
    let names = format!(
        "127.0.0.1 localhost\n{} authority\n{} authority\n",
        fleet.authority_address(),
        fleet.other_address()
    );
    host.put("/etc/hosts", names, 0o644)?;
    host.put("/etc/host.conf", "multi on\n", 0o644)?;
    site.prepare(host)?;
    let token = site.token(host)?;
    let enrol = ["curfew-agent", "enroll", "--authority", "authority:7443", "--fingerprint"];
    let enrol = enrol.into_iter().chain([token.fingerprint.as_str()]);
    host.run_with_input(enrol, format!("{}\n", token.secret).as_bytes())?.done()?;
    site.install(host)?.done()?;
    site.wait_until_connected(host.name())
}

#[test]
fn a_node_dies_and_hosts_and_people_go_on_with_the_other() -> Result<(), FleetError> {
    let postgres = Postgres::start(&std::env::temp_dir())?;
    let mut site = on_server(&postgres)?;
    let mut other = site.authority.node(&site.fleet)?;
    let db1 = site.fleet.host("db1")?;
    join_by_name(&site, &db1)?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    let mut shell = ana.shell("deploy", &db1)?;

    // Whichever the host is connected to: it finds the one that is left, and nothing of the session ends.
    site.authority.kill()?;
    std::mem::swap(&mut site.authority, &mut other);
    site.wait_until_connected("db1")?;
    shell.enter("echo al''ive")?;
    shell.wait_for("alive")?;
    for person in [&ana, &ops] {
        person.log_in(&site)?;
    }
    let fresh = ana.fresh("second", "deploy", &db1)?;
    ana.offering(&fresh, "deploy", &db1)?.run(["true"])?.done()?;

    // The other way round; what was ordered at one node is in force wherever the host is connected then.
    other.serve()?;
    site.authority.kill()?;
    std::mem::swap(&mut site.authority, &mut other);
    site.wait_until_connected("db1")?;
    for person in [&ana, &ops] {
        person.log_in(&site)?;
    }
    let said = ops.lock(&["ana@example.com"])?.ok()?;
    assert!(said.text().contains("1 of 1 host, 1 session ended, 0 survivors"), "{said:?}");
    shell.wait()?;
    assert!(!ana.offering(&fresh, "deploy", &db1)?.run(["true"])?.succeeded());
    site.authority.run(["ledger", "verify"])?.done()
}

#[test]
fn a_ledger_moves_to_a_server_under_people_who_are_logged_in() -> Result<(), FleetError> {
    let mut site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    let mut shell = ana.shell("deploy", &db1)?;
    let early = ana.fresh("early", "deploy", &db1)?;

    let postgres = Postgres::start(&std::env::temp_dir())?;
    site.authority.stop()?;
    site.authority.run(["migrate", "--to", &postgres.url()])?.done()?;
    site.authority.set(&postgres.setting())?;
    site.authority.serve()?;
    site.wait_until_connected("db1")?;

    // Nobody logs in again, nothing ended, and the tree that the host has seen goes on.
    shell.enter("echo al''ive")?;
    shell.wait_for("alive")?;
    let late = ana.fresh("late", "deploy", &db1)?;
    for certificate in [&early, &late] {
        ana.offering(certificate, "deploy", &db1)?.run(["true"])?.done()?;
    }
    assert!(site.listing(["incident", "list"])?.is_empty());
    let said = ops.lock(&["ana@example.com"])?.ok()?;
    assert!(said.text().contains("1 of 1 host, 1 session ended, 0 survivors"), "{said:?}");
    shell.wait()?;
    Ok(())
}

/// A witness on another machine than the authority's, as far as anybody can tell.
struct Witness {
    key: String,
    address: String,
    _serving: Running,
}

impl Witness {
    fn start(site: &Site, name: &str) -> Result<Self, FleetError> {
        let program = tests::Programs::one("curfew-ca")?;
        let dir = site.fleet.dir().join(name).display().to_string();
        let log = site.authority.run(["ledger", "keys"])?.ok()?;
        let run = |args: &[&str]| {
            let mut command = site.fleet.command(Path::new(&program));
            command.args(["witness"]).args(args);
            site.fleet.start(command)
        };
        let made = run(&["init", "--dir", &dir, "--name", name])?.wait()?.ok()?;
        let listen = format!("{}:0", site.fleet.other_address());
        let log = log.text();
        let serving = run(&["serve", "--dir", &dir, "--listen", &listen, "--log", log])?;
        let address = eventually_some("the witness listens", || {
            serving.stdout().trim().rsplit_once(" listens on ").map(|(_, at)| at.to_owned())
        })?;
        Ok(Self { key: made.text().to_owned(), address, _serving: serving })
    }
}

#[test]
fn a_host_that_demands_witnesses_lets_nobody_in_on_the_authoritys_word_alone()
-> Result<(), FleetError> {
    let mut site = Site::open()?;
    let [db1, db2] = site.hosts(["db1", "db2"])?;
    let ana = site.person("ana@example.com")?;
    let alone = ana.fresh("alone", "deploy", &db1)?;
    let one = Witness::start(&site, "w1.example.com")?;
    let settings = format!(
        "[ledger]\nquorum = 1\n[[witness]]\nkey = \"{}\"\nurl = \"http://{}\"\n",
        one.key, one.address
    );
    site.authority.set(&settings)?;
    site.authority.restart()?;
    demand(&db1, &one.key)?;
    // The word of somebody whom nobody asks.
    let stranger = Witness::start(&site, "w2.example.com")?;
    demand(&db2, &stranger.key)?;

    assert!(!ana.offering(&alone, "deploy", &db1)?.run(["true"])?.succeeded());
    let journal = db1.journal("curfew-agent")?;
    assert!(journal.contains("witness"), "{journal}");
    let cosigned = ana.fresh("cosigned", "deploy", &db1)?;
    ana.offering(&cosigned, "deploy", &db1)?.run(["true"])?.done()?;
    let other = ana.fresh("other", "deploy", &db2)?;
    assert!(!ana.offering(&other, "deploy", &db2)?.run(["true"])?.succeeded());

    // Without its witness the authority gives nothing out, and what it gave out opens still.
    drop(one);
    let refused = ana.fresh("refused", "deploy", &db1).unwrap_err().to_string();
    assert!(refused.contains("w1.example.com"), "{refused}");
    ana.offering(&cosigned, "deploy", &db1)?.run(["true"])?.done()
}

/// The host counts this witness, and wants its word.
fn demand(host: &Host, key: &str) -> Result<(), FleetError> {
    let path = "/etc/curfew/agent.toml";
    let before = host.read_text(path)?;
    host.put(path, format!("{before}\nwitnesses = [{key:?}]\nwitness_quorum = 1\n"), 0o644)?;
    eventually("the agent has its settings", || {
        host.restart("curfew-agent.service").is_ok()
            && host.is_active("curfew-agent.service").unwrap_or(false)
    })
}
