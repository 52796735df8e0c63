//! Logins that no grant is for are seen by whatever way they come, and become what the host's policy says; and whoever
//! takes the login path apart is seen too.

use tests::{FleetError, Host, Person, Running, Site, eventually};

#[test]
fn logins_outside_any_grant_raise_an_alarm_or_are_ended() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    db1.authorize("app", &ana.client.public_key()?)?;
    let key = ana.client.key_path().display().to_string();
    let mut ours = ana.shell("deploy", &db1)?;

    policy(&site, &db1, "alarm")?;
    ana.without_curfew("app", &db1)?.with(["-i", &key]).run(["true"])?.done()?;
    is_told(&site, "app from")?;
    assert!(ours.is_running());

    policy(&site, &db1, "end")?;
    assert!(!ana.without_curfew("app", &db1)?.with(["-i", &key]).run(["true"])?.succeeded());
    assert!(ours.is_running());
    ana.ssh("deploy", &db1).run(["true"])?.done()
}

#[test]
fn logins_past_sshd_are_seen_told_by_what_they_came_and_ended() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    db1.authorize("app", &ana.client.public_key()?)?;
    db1.sh(SECOND)?.done()?;
    let second = db1.start_command(["/usr/sbin/sshd", "-D", "-f", "/etc/ssh/second_config"])?;
    let mut ours = ana.shell("deploy", &db1)?;
    ours.enter("setsid sleep 4910 & echo re''ady")?;
    ours.wait_for("ready")?;

    policy(&site, &db1, "alarm")?;
    let others = begin(&ana, &db1)?;
    for (_, told) in WAYS {
        is_told(&site, &format!("{told}; it goes on"))?;
    }
    assert_eq!(alive(&db1)?, WAYS.len(), "an alarm ends nobody");
    drop(others);
    db1.run(["pkill", "-KILL", "-f", "sleep 490"])?.done()?;
    eventually("they have left", || alive(&db1).is_ok_and(|alive| alive == 0))?;

    policy(&site, &db1, "end")?;
    let others = begin(&ana, &db1)?;
    for (_, told) in WAYS {
        is_told(&site, &format!("{told}; it is ended"))?;
    }
    eventually("none of them is left", || alive(&db1).is_ok_and(|alive| alive == 0))?;
    assert_eq!(db1.processes_like("sleep 4910")?.len(), 1, "who came by the gate goes on");
    ours.enter("echo al''ive")?;
    ours.wait_for("alive")?;
    drop((others, second));
    ana.ssh("deploy", &db1).run(["true"])?.done()
}

/// Somebody comes by each of the [`WAYS`], and stays.
fn begin(ana: &Person, host: &Host) -> Result<Vec<Running>, FleetError> {
    let key = ana.client.key_path().display().to_string();
    let ssh = ana.without_curfew("app", host)?.with(["-i", &key, "-p", "2222"]);
    let mut came = vec![ssh.start(["exec sleep 4903"])?];
    for (command, _) in WAYS.iter().filter(|(command, _)| !command.is_empty()) {
        came.push(host.start_command(*command)?);
    }
    Ok(came)
}

fn alive(host: &Host) -> Result<usize, FleetError> {
    let all = host.processes_like("sleep 490")?;
    Ok(all.iter().filter(|one| one.args.first().is_some_and(|name| name == "sleep")).count())
}

/// How somebody comes, and as what it is told: from a console, from one by `su`, and by an sshd that asks nobody.
const WAYS: [(&[&str], &str); 3] = [
    (&["script", "-qec", "login -f app", "/dev/null"], "app from the host itself by login"),
    (
        &["script", "-qec", "su -l app -c 'exec sleep 4902'", "/dev/null"],
        "app from the host itself by su-l",
    ),
    (&[], "app from an address that is not known by sshd without PAM"),
];
const SECOND: &str = "
usermod -p '*' app
printf 'case $- in *i*) exec sleep 4901;; esac\\n' >/home/app/.profile
printf 'Port 2222\nUsePAM no\nPidFile none\nHostKey /etc/ssh/ssh_host_ed25519_key\n' >/etc/ssh/second_config";

#[test]
fn a_login_path_that_is_taken_apart_is_an_incident_and_told_when_it_is_mended()
-> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let pam = db1.read_text("/etc/pam.d/sshd")?;
    db1.run(["sed", "-i", "/pam_curfew/d", "/etc/pam.d/sshd"])?.done()?;
    is_told(&site, "there is no account line with pam_curfew.so")?;
    let status = db1.run(["curfew-agent", "status"])?.ok()?;
    assert!(status.text().contains("this host is not as it was installed"), "{status:?}");
    db1.put("/etc/pam.d/sshd", &pam, 0o644)?;
    eventually("it is in order again", || {
        db1.run(["curfew-agent", "status"])
            .is_ok_and(|said| !said.text().contains("this host is not as"))
    })?;
    db1.run(["sed", "-i", "s/^UsePAM yes/UsePAM no/", "/etc/ssh/sshd_config.d/00-curfew.conf"])?
        .done()?;
    is_told(&site, "00-curfew.conf was changed")?;
    db1.run(["systemctl", "mask", "--runtime", "curfew-link.service"])?.done()?;
    is_told(&site, "curfew-link.service masks the unit")
}

fn policy(site: &Site, host: &Host, policy: &str) -> Result<(), FleetError> {
    let settings = host.read_text("/etc/curfew/agent.toml")?;
    let kept = settings.lines().filter(|line| !line.starts_with("other_logins"));
    let settings: String = kept.map(|line| format!("{line}\n")).collect();
    let settings = format!("{settings}other_logins = \"{policy}\"\n");
    host.put("/etc/curfew/agent.toml", settings, 0o644)?;
    site.install(host)?.done()?;
    host.restart("curfew-agent")?;
    site.wait_until_connected(host.name())
}

fn is_told(site: &Site, words: &str) -> Result<(), FleetError> {
    eventually(words, || {
        site.authority.run(["incident", "list"]).is_ok_and(|listing| listing.text().contains(words))
    })
}
