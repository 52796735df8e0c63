//! What root does to the records that wait on a host: it reads none of them, and whatever it changes or cuts out is found and
//! placed, while the rest arrives.

#![expect(
    clippy::indexing_slicing,
    reason = "a test reads what was said; what is not there fails it"
)]

use serde_json::Value;
use tests::{FleetError, Host, Output, Person, Site, Terminal, eventually, eventually_some};

/// A host with somebody on it.
struct Scene {
    site: Site,
    db1: Host,
    ana: Person,
    ops: Person,
    shell: Terminal,
    session: Value,
}

impl Scene {
    fn open() -> Result<Self, FleetError> {
        let site = Site::open()?;
        let db1 = site.host("db1")?;
        let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
        let shell = ana.shell("deploy", &db1)?;
        let session = site.session(&ana, &db1)?;
        Ok(Self { site, db1, ana, ops, shell, session })
    }

    fn id(&self) -> &str {
        self.session["session"].as_str().unwrap_or_default()
    }

    /// Runs a program with an argument for each number, and waits until it is recorded on the host.
    fn run(&mut self, from: u32, to: u32) -> Result<(), FleetError> {
        let before = self.newest()?;
        let script =
            format!("for i in {{{from}..{to}}}; do /bin/echo {SECRET}-$i; done; echo up-t''o-{to}");
        self.shell.enter(&script)?;
        self.shell.wait_for(&format!("up-to-{to}\r"))?;
        // Each is recorded twice: as it began and as it ended.
        let due = before
            .saturating_add(u64::from(to.saturating_sub(from).saturating_add(1)).saturating_mul(2));
        eventually("all of it is written down", || self.newest().is_ok_and(|newest| newest >= due))
    }

    /// How many records the host has waiting, or the authority has: all that there are.
    fn newest(&self) -> Result<u64, FleetError> {
        let said = self.db1.run(["curfew-agent", "status", "--json"])?.ok()?;
        let status: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
        Ok(status["spooled"].as_u64().unwrap_or_default())
    }

    /// Which of the numbers arrived.
    fn arrived(&self) -> Result<Vec<u32>, FleetError> {
        let detail = self.ops.listing(["sessions", "show", self.id()])?;
        let records = detail["records"].as_array().cloned().unwrap_or_default();
        let number = |record: &Value| {
            let argument = record.pointer("/event/exec/arguments/1")?.as_str()?;
            argument.strip_prefix(SECRET)?.strip_prefix('-')?.parse().ok()
        };
        Ok(records.iter().filter_map(number).collect())
    }

    fn incidents(&self) -> Result<String, FleetError> {
        Ok(self.site.authority.run(["incident", "list", "--json"])?.ok()?.stdout)
    }

    fn verify(&self) -> Result<Output, FleetError> {
        self.ops.curfew(["audit", "verify", self.id()])
    }
}

#[test]
fn what_is_changed_in_the_spool_of_a_cut_off_host_is_placed_and_the_rest_arrives()
-> Result<(), FleetError> {
    let mut scene = Scene::open()?;
    eventually("nothing waits", || scene.newest().is_ok_and(|waiting| waiting == 0))?;
    let whole = scene.verify()?;
    assert!(whole.succeeded(), "{whole:?}");
    // Not the network: what is under way would wait in the kernel, where nobody changes it.
    scene.db1.stop("curfew-link")?;
    scene.run(1, 20)?;
    // Whoever has the disk reads nothing.
    let read = scene.db1.run(["grep", "-rlaE", &format!("{SECRET}|arguments|/bin/echo"), SPOOL])?;
    assert_eq!((read.status.code(), read.text()), (Some(1), ""), "{read:?}");
    let sealed = scene.db1.sh("ls /var/lib/curfew/spool")?.ok()?;
    assert!(sealed.text().contains(".sealed"), "{sealed:?}");
    scene.db1.sh(CHANGE)?.done()?;
    scene.run(21, 40)?;
    scene.db1.start("curfew-link")?;
    scene.site.wait_until_connected("db1")?;
    eventually("what came after it arrives", || {
        scene.arrived().is_ok_and(|arrived| arrived.contains(&40))
    })?;
    let told = eventually_some("the place is named", || {
        scene.incidents().ok().filter(|told| told.contains(CHANGED))
    })?;
    assert!(told.contains("\"spoiled\""), "{told}");
    let arrived = scene.arrived()?;
    assert!(arrived.len() >= 39, "one record was changed: {arrived:?}");
    let verified = scene.verify()?;
    assert_eq!(verified.status.code(), Some(65), "{verified:?}");
    assert!(verified.stdout.contains(CHANGED), "{verified:?}");
    let shown = scene.ops.curfew(["sessions", "show", scene.id()])?.ok()?;
    assert!(shown.stdout.contains("NOT whole") && shown.stdout.contains(CHANGED), "{shown:?}");
    // It is said once, and what is done from then on is whole again.
    scene.shell.enter("exit")?;
    scene.shell.wait()?;
    scene.site.ended(&scene.session)?;
    let mut shell = scene.ana.shell("deploy", &scene.db1)?;
    let next = scene.site.session(&scene.ana, &scene.db1)?;
    shell.enter("exit")?;
    shell.wait()?;
    scene.site.ended(&next)?;
    let next = next["session"].as_str().unwrap_or_default().to_owned();
    let verified = scene.ops.curfew(["audit", "verify", &next])?;
    assert!(verified.succeeded(), "{verified:?}");
    Ok(())
}

#[test]
fn an_end_that_is_cut_off_while_no_agent_runs_is_told_by_the_next() -> Result<(), FleetError> {
    let mut scene = Scene::open()?;
    eventually("nothing waits", || scene.newest().is_ok_and(|waiting| waiting == 0))?;
    scene.db1.stop("curfew-link")?;
    scene.run(1, 20)?;
    scene.db1.stop("curfew-agent")?;
    scene.db1.sh(CUT)?.done()?;
    scene.db1.start("curfew-agent")?;
    scene.run(21, 30)?;
    scene.db1.start("curfew-link")?;
    scene.site.wait_until_connected("db1")?;
    eventually("what came after it arrives", || {
        scene.arrived().is_ok_and(|arrived| arrived.contains(&30))
    })?;
    eventually("both the agent and the authority say it", || {
        let told = scene.incidents().unwrap_or_default();
        told.contains("its end was cut off") && told.contains("cannot be read on the host any more")
    })?;
    let arrived = scene.arrived()?;
    assert!(arrived.len() < 30 && arrived.contains(&1), "{arrived:?}");
    assert_eq!(scene.verify()?.status.code(), Some(65));
    Ok(())
}

const SECRET: &str = "a-word-of-nobody-else";
const SPOOL: &str = "/var/lib/curfew/spool";
const CHANGED: &str = "changed on the host's disk: it is not what was sealed";
/// Eight bytes at the end of the newest record, which are its tag's.
const CHANGE: &str = "
f=$(ls /var/lib/curfew/spool/*.sealed | tail -n 1)
printf xxxxxxxx | dd of=$f bs=1 conv=notrunc seek=$(($(stat -c %s $f) - 8)) 2>/dev/null";
/// Takes off the last records, and a part of the one before.
const CUT: &str = "
f=$(ls /var/lib/curfew/spool/*.sealed | tail -n 1)
truncate -s $(($(stat -c %s $f) - 1500)) $f";
