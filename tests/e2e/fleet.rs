//! The fleet itself, before anything of ours is on it: what every other test stands on.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
};

use tests::{Fleet, FleetError, Host, eventually, eventually_some};

#[test]
fn a_host_boots_and_is_running() -> Result<(), FleetError> {
    let fleet = Fleet::bare()?;
    let db1 = fleet.host("db1")?;
    assert_eq!(db1.run(["systemctl", "is-system-running"])?.text(), "running");
    assert_eq!(db1.run(["hostname"])?.text(), "db1");
    assert_eq!(db1.run(["stat", "-fc", "%T", "/sys/fs/bpf"])?.text(), "bpf_fs");
    db1.run(["mkdir", "/sys/fs/cgroup/writable"])?.done()?;
    Ok(())
}

#[test]
fn stock_ssh_logs_in_without_a_terminal() -> Result<(), FleetError> {
    let fleet = Fleet::bare()?;
    let db1 = fleet.host("db1")?;
    let ana = fleet.client("ana")?;
    db1.add_user("deploy")?;
    db1.authorize("deploy", &ana.public_key()?)?;
    assert_eq!(ana.ssh("deploy", &db1).run(["whoami"])?.ok()?.text(), "deploy");
    assert_eq!(ana.ssh("deploy", &db1).run(["exit", "7"])?.status.code(), Some(7));
    assert_eq!(ana.ssh("root", &db1).run(["true"])?.status.code(), Some(255));
    Ok(())
}

#[test]
fn stock_ssh_logs_in_on_a_terminal() -> Result<(), FleetError> {
    let fleet = Fleet::bare()?;
    let db1 = fleet.host("db1")?;
    let ana = fleet.client("ana")?;
    db1.add_user("deploy")?;
    db1.authorize("deploy", &ana.public_key()?)?;

    let mut shell = ana.ssh("deploy", &db1).shell()?;
    shell.wait_for("deploy@db1")?;
    shell.enter("tty; echo $((6 * 7))")?;
    shell.wait_for("/dev/pts/")?;
    shell.wait_for("42")?;
    shell.resize(132, 50)?;
    shell.enter("stty size")?;
    shell.wait_for("50 132")?;
    let sessions = db1.run(["loginctl", "list-sessions", "--no-legend"])?;
    assert!(sessions.text().contains("deploy"), "{sessions:?}");
    shell.enter("exit 5")?;
    assert_eq!(shell.wait()?.code(), Some(5));
    Ok(())
}

#[test]
fn an_ssh_agent_is_found_by_what_a_person_runs() -> Result<(), FleetError> {
    let fleet = Fleet::bare()?;
    let ana = fleet.client("ana")?;
    let agent = ana.agent()?;
    ana.run("ssh-add", ["-q", &ana.key_path().to_string_lossy()])?.done()?;
    assert!(ana.run("ssh-add", ["-L"])?.text().contains(&ana.public_key()?));
    drop(agent);
    assert!(!ana.run("ssh-add", ["-L"])?.succeeded());
    Ok(())
}

#[test]
fn two_hosts_reach_each_other_and_differ() -> Result<(), FleetError> {
    let fleet = Fleet::bare()?;
    let [db1, db2] = fleet.hosts(["db1", "db2"])?;
    assert!(answers(&db1, db2.address())?);
    assert!(answers(&db2, db1.address())?);
    assert_ne!(db1.public_key()?, db2.public_key()?);
    assert_ne!(db1.read("/etc/machine-id")?, db2.read("/etc/machine-id")?);
    Ok(())
}

#[test]
fn a_cut_link_takes_the_authority_and_leaves_the_people() -> Result<(), FleetError> {
    let fleet = Fleet::bare()?;
    let db1 = fleet.host("db1")?;
    let authority =
        std::net::TcpListener::bind((fleet.authority_address(), 22)).expect("it is free");
    assert!(answers(&db1, fleet.authority_address())?);
    db1.cut_link()?;
    assert!(!answers(&db1, fleet.authority_address())?);
    let ana = fleet.client("ana")?;
    db1.add_user("deploy")?;
    db1.authorize("deploy", &ana.public_key()?)?;
    assert!(ana.ssh("deploy", &db1).run(["true"])?.succeeded());
    db1.mend_link()?;
    eventually("the authority is back", || {
        answers(&db1, fleet.authority_address()).unwrap_or_default()
    })?;
    drop(authority);
    Ok(())
}

#[test]
fn files_and_units_and_processes_of_a_host_are_at_hand() -> Result<(), FleetError> {
    let fleet = Fleet::bare()?;
    let db1 = fleet.host("db1")?;
    db1.put("/etc/systemd/system/nap.service", "[Service]\nExecStart=/bin/sleep 600\n", 0o644)?;
    assert_eq!(
        db1.run(["stat", "-c", "%a %U", "/etc/systemd/system/nap.service"])?.text(),
        "644 root"
    );
    db1.start("nap.service")?;
    let nap = eventually_some("somebody naps", || db1.processes_like("sleep 600").ok()?.pop())?;
    assert_eq!((nap.parent, nap.uid), (1, 0));
    db1.kill_unit("nap.service", "KILL")?;
    eventually("nobody naps", || {
        db1.processes_like("sleep 600").is_ok_and(|naps| naps.is_empty())
    })?;
    assert!(!db1.is_active("nap.service")?);
    assert!(db1.journal("nap.service")?.contains("status=9/KILL"));
    let failure = db1.start("no-such.service").expect_err("there is none");
    assert!(failure.to_string().contains("no-such.service not found"), "{failure}");
    Ok(())
}

#[test]
fn nothing_is_left_when_a_fleet_is_gone() -> Result<(), FleetError> {
    let fleet = Fleet::bare()?;
    let db1 = fleet.host("db1")?;
    let sleep = db1.start_command(["setsid", "sleep", "600"])?;
    let places =
        [db1.cgroup_dir(), fleet.dir().to_owned(), format!("/proc/{}", db1.init_pid()).into()];
    let network = fleet.authority_address().octets()[2];
    let netns = format!("/run/netns/curfew-{network}-db1");
    assert!(places.iter().all(|place| place.exists()) && Path::new(&netns).exists());
    drop(fleet);
    drop(db1);
    drop(sleep);
    for place in places {
        assert!(!place.exists(), "{} is left", place.display());
    }
    assert!(!Path::new(&netns).exists());
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts are listed");
    assert!(!mounts.contains(&format!("/run/curfew-fleet/{network}/")), "{mounts}");
    let device = format!("cf{network}");
    assert!(!Path::new("/sys/class/net").join(&device).exists(), "{device} is left");
    Ok(())
}

#[test]
fn what_a_killed_test_leaves_is_cleared_away() -> Result<(), FleetError> {
    let mut held = Command::new(env!("CARGO_BIN_EXE_curfew-fleet"))
        .arg("hold")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut cgroup = String::new();
    BufReader::new(held.stdout.take().expect("a pipe")).read_line(&mut cgroup).expect("a line");
    let cgroup = Path::new(cgroup.trim());
    assert!(cgroup.is_dir(), "{} is the cgroup of a host", cgroup.display());
    let name = cgroup.file_name().expect("a name").to_string_lossy();
    let number = name.split('-').nth(1).expect("curfew-N-NAME");
    let bridge = Path::new("/sys/class/net").join(format!("cf{number}"));

    held.kill().expect("SIGKILL");
    held.wait().expect("it is dead");
    eventually("the keeper has taken the host down", || !cgroup.exists())?;
    eventually("the next fleet has taken down the rest", || {
        drop(Fleet::bare());
        !bridge.exists()
    })
}

/// Whether port 22 of `address` takes a connection from `host`.
fn answers(host: &Host, address: Ipv4Addr) -> Result<bool, FleetError> {
    let probe = format!("exec 3<>/dev/tcp/{address}/22");
    Ok(host.run(["timeout", "1", "bash", "-c", &probe])?.succeeded())
}
