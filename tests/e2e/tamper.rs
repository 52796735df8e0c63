//! What root on a host does to the agent is not prevented. Each of these is known at the authority within fifteen seconds.

use tests::{FleetError, Host, Person, Site, Stopwatch, Terminal, eventually, grace};

/// A host with somebody on it, and what is known of it at the authority.
struct Scene {
    site: Site,
    db1: Host,
    _ana: Person,
    _shell: Terminal,
}

impl Scene {
    fn open() -> Result<Self, FleetError> {
        let site = Site::open()?;
        let db1 = site.host("db1")?;
        let ana = site.person("ana@example.com")?;
        let shell = ana.shell("deploy", &db1)?;
        site.session(&ana, &db1)?;
        Ok(Self { site, db1, _ana: ana, _shell: shell })
    }

    /// Does it, and waits until the authority has an incident with these words.
    fn is_told(
        &self,
        words: &str,
        act: impl FnOnce(&Host) -> Result<(), FleetError>,
    ) -> Result<(), FleetError> {
        act(&self.db1)?;
        let since = Stopwatch::start();
        eventually(words, || {
            let told = self.site.authority.run(["incident", "list"]);
            told.is_ok_and(|told| told.text().contains(words))
        })?;
        let took = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        assert!(took <= grace(DETECTED), "{words}: after {took} ms");
        Ok(())
    }
}

#[test]
fn an_agent_that_is_stopped_is_told() -> Result<(), FleetError> {
    Scene::open()?.is_told(SILENT, |db1| db1.stop("curfew-agent"))
}

#[test]
fn an_agent_that_is_masked_is_told() -> Result<(), FleetError> {
    Scene::open()?.is_told("curfew-agent.service masks the unit", |db1| {
        db1.run(["systemctl", "mask", "--runtime", "curfew-agent.service"])?.done()
    })
}

#[test]
fn an_agent_that_is_frozen_is_told() -> Result<(), FleetError> {
    let scene = Scene::open()?;
    // systemd's watchdog would end it and start it again; who can freeze can tell systemd not to.
    scene.db1.sh(&format!(
        "mkdir -p /run/systemd/system/curfew-agent.service.d && {{ {UNWATCHED}; }} && systemctl daemon-reload"
    ))?.done()?;
    scene.db1.restart("curfew-agent")?;
    scene.site.wait_until_connected("db1")?;
    scene.is_told(SILENT, |db1| {
        db1.sh("echo 1 > /sys/fs/cgroup/system.slice/curfew-agent.service/cgroup.freeze")?.done()
    })
}

#[test]
fn an_agent_that_gets_sigstop_is_told() -> Result<(), FleetError> {
    Scene::open()?.is_told(SILENT, |db1| db1.kill_unit("curfew-agent", "STOP"))
}

#[test]
fn an_agent_that_is_killed_comes_back_and_says_so() -> Result<(), FleetError> {
    let scene = Scene::open()?;
    let starts = || {
        let said = scene.db1.journal("curfew-agent").unwrap_or_default();
        said.matches("ready: ").count()
    };
    let before = starts();
    scene.db1.kill_unit("curfew-agent", "KILL")?;
    eventually("it is back", || starts() > before)?;
    scene.site.wait_until_connected("db1")
}

#[test]
fn a_network_that_is_shut_off_is_told() -> Result<(), FleetError> {
    Scene::open()?.is_told(SILENT, Host::cut_link)
}

#[test]
fn what_is_done_to_the_kernel_s_memory_is_told() -> Result<(), FleetError> {
    let scene = Scene::open()?;
    scene.is_told("what the kernel knows of sessions does not outlive the agent", |db1| {
        db1.sh("rm /sys/fs/bpf/curfew/links-*/on_exec")?.done()
    })?;
    // Unmounted with the agent away, the next one knows that it knows less.
    scene.is_told("was taken out of the kernel's memory", |db1| {
        db1.sh("systemctl stop curfew-agent; umount -l /sys/fs/bpf; mount -t bpf bpf /sys/fs/bpf; systemctl start curfew-agent")?
            .done()
    })
}

#[test]
fn programs_and_settings_that_are_replaced_are_told() -> Result<(), FleetError> {
    let scene = Scene::open()?;
    for (words, script) in REPLACED {
        scene.is_told(words, |db1| db1.sh(script)?.done())?;
    }
    Ok(())
}

const SILENT: &str = "the host fell silent with 1 sessions on it";
/// Within how many milliseconds it is known.
const DETECTED: u64 = 15_000;
const UNWATCHED: &str = "printf '[Service]\\nWatchdogSec=0\\n' > /run/systemd/system/curfew-agent.service.d/unwatched.conf";
const REPLACED: [(&str, &str); 5] = [
    (
        "/usr/lib/curfew/curfew-pty is another than was installed",
        "cp /bin/true /usr/lib/curfew/new && mv /usr/lib/curfew/new /usr/lib/curfew/curfew-pty",
    ),
    ("/etc/ld.so.preload was made", "echo > /etc/ld.so.preload"),
    (
        "there is no session line with pam_curfew.so",
        "sed -i '/^session.*pam_curfew/d' /etc/pam.d/sshd",
    ),
    (
        "sshd_config does not begin with our settings",
        "sed -i '1i ForceCommand /bin/bash' /etc/ssh/sshd_config",
    ),
    (
        "00-curfew.conf was changed",
        "echo 'ForceCommand none' >> /etc/ssh/sshd_config.d/00-curfew.conf",
    ),
];
