//! Who does nothing is idle, whatever the host puts out; who types or copies slowly is not.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tests::{Client, FleetError, Host, Person, Site, Terminal, eventually, grace};

/// Terminals after 8 seconds, commands and copies after 12.
const LIMITS: &str = "idle = \"8s\"\ntransfer_idle = \"12s\"";

fn limited(lines: &str) -> Result<(Site, Host, Person), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    site.set_roles(&format!(
        "[role.limited]\nmembers = [\"ana@example.com\"]\nlogins = [\"deploy\"]\nhosts = [\"env=prod\"]\n\
         abilities = [\"pty\", \"port-forwarding\"]\n{lines}\n"
    ))?;
    Ok((site, db1, ana))
}

fn busy(who: &Person, host: &Host, loops: &str) -> Result<Terminal, FleetError> {
    let mut shell = who.shell("deploy", host)?;
    shell.enter(loops)?;
    Ok(shell)
}

/// Every session that has ended, with its reason and how long it lasted, in milliseconds.
fn ended(who: &Person) -> Result<Vec<(Value, u64)>, FleetError> {
    let sessions = who.listing(["sessions", "--all"])?;
    let list = sessions.as_array().cloned().unwrap_or_default();
    let number = |session: &Value, place: &str| {
        session.pointer(place).and_then(Value::as_u64).unwrap_or_default()
    };
    let over =
        list.into_iter().filter(|session| session.pointer("/ended").is_some_and(Value::is_object));
    Ok(over
        .map(|session| {
            let began = number(&session, "/began");
            let lasted = number(&session, "/ended/at").saturating_sub(began);
            (session.pointer("/ended/reason").cloned().unwrap_or_default(), lasted)
        })
        .collect())
}

/// Does something again and again, beside what is tested.
fn meanwhile<T>(
    mut act: impl FnMut() + Send,
    test: impl FnOnce() -> Result<T, FleetError>,
) -> Result<T, FleetError> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let acting = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                act();
                let _until_then = eventually("it is over", || {
                    act();
                    over.load(Ordering::Relaxed)
                });
            }
        });
        let tested = test();
        over.store(true, Ordering::Relaxed);
        acting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        tested
    })
}

#[test]
fn nothing_that_the_host_does_keeps_a_session_and_every_key_does() -> Result<(), FleetError> {
    let (_site, db1, ana) = limited(LIMITS)?;
    let mut typing = ana.shell("deploy", &db1)?;
    let typed = || drop(typing.type_text("#"));
    meanwhile(typed, || {
        let mut silent = ana.shell("deploy", &db1)?;
        let mut others = [
            busy(&ana, &db1, "while :; do echo output; sleep 0.1; done")?,
            busy(&ana, &db1, "while :; do touch -a $(tty); sleep 0.5; done")?,
            busy(
                &ana,
                &db1,
                "while :; do perl -e '$x = \"#\"; ioctl(STDIN, 0x5412, $x)'; sleep 0.5; done",
            )?,
            ana.ssh("deploy", &db1).with(["-o", "ServerAliveInterval=1"]).shell()?,
        ];
        silent.wait_for("press a key to keep it")?;
        silent.wait_for("this session has ended: nothing came from you for 8 seconds")?;
        eventually("all that are idle have ended", || {
            others.iter_mut().all(|shell| !shell.is_running())
        })?;
        eventually("the authority knows", || ended(&ana).is_ok_and(|list| list.len() == 5))
    })?;
    assert!(typing.is_running(), "{}", typing.screen());
    for (reason, lasted) in ended(&ana)? {
        assert_eq!(reason, serde_json::json!({"idle": {"secs": 8}}));
        assert!((8_000..8_000 + grace(3_000)).contains(&lasted), "it lasted {lasted} ms");
    }
    typing.enter("")?;
    typing.enter("echo al''ive")?;
    typing.wait_for("alive")?;
    Ok(())
}

#[test]
fn a_slow_copy_lives_and_a_silent_one_ends_after_its_own_time() -> Result<(), FleetError> {
    let (_site, db1, ana) = limited(LIMITS)?;
    let slow = "while :; do head -c 100 /dev/zero; sleep 0.2; done";
    let mut copy = ana.ssh("deploy", &db1).with(["-T"]).start([slow])?;
    let mut upload = ana.ssh("deploy", &db1).with(["-T"]).start(["cat >upload"])?;
    let fed = || drop(upload.feed(&[b'x'; 400]));
    meanwhile(fed, || {
        let mut silent = [
            ana.ssh("deploy", &db1).with(["-T"]).start(["sleep 4307"])?,
            ana.ssh("deploy", &db1).with(["-s"]).start(["sftp"])?,
            ana.ssh("deploy", &db1).with(["-N", "-L", "9907:127.0.0.1:22"]).start::<&str>([])?,
        ];
        eventually("the silent ones have ended", || {
            silent.iter_mut().all(|one| !one.is_running())
        })?;
        eventually("the authority knows", || ended(&ana).is_ok_and(|list| list.len() == 3))
    })?;
    assert!(copy.is_running(), "{}", copy.stderr());
    assert!(upload.is_running(), "{}", upload.stderr());
    let mut secs: Vec<_> =
        ended(&ana)?.iter().map(|(reason, _)| reason["idle"]["secs"].as_u64()).collect();
    secs.sort_unstable();
    assert_eq!(secs, [Some(8), Some(12), Some(12)], "forwards alone, command, sftp");
    assert!(db1.processes_like("sleep 4307")?.is_empty());
    Ok(())
}

#[test]
fn an_idle_end_needs_no_authority_and_outlives_the_agent() -> Result<(), FleetError> {
    let (mut site, db1, ana) = limited(LIMITS)?;
    let mut silent = ana.shell("deploy", &db1)?;
    let mut typing = ana.shell("deploy", &db1)?;
    site.authority.stop()?;
    db1.kill_unit("curfew-agent", "KILL")?;
    typing.type_text("#")?;
    eventually("the silent one has ended", || {
        let _typed = typing.type_text("#");
        !silent.is_running()
    })?;
    assert!(silent.screen().contains("nothing came from you for 8 seconds"), "{}", silent.screen());
    assert!(typing.is_running(), "{}", typing.screen());
    site.authority.serve()?;
    Ok(())
}

#[test]
fn a_person_can_ask_for_a_shorter_time_and_a_host_can_set_one() -> Result<(), FleetError> {
    let (_site, db1, ana) = limited("idle = \"1h\"")?;
    let provider = Client::security_key_option();
    let ssh = |idle: &str| {
        ana.curfew(["ssh", "--idle", idle, "deploy@db1", "--", "-o", &provider, "true"])
    };
    let said = ssh("2h")?;
    assert_eq!(said.status.code(), Some(77), "{said:?}");
    assert!(said.stderr.contains("ends sessions that are idle for 3600 s"), "{said:?}");
    ssh("30m")?.done()?;
    db1.sh("echo 'idle = \"6s\"' >>/etc/curfew/agent.toml")?.done()?;
    db1.restart("curfew-agent")?;
    let mut shell = ana.shell("deploy", &db1)?;
    shell.wait_for("nothing came from you for 6 seconds")?;
    shell.wait()?;
    Ok(())
}

#[test]
fn no_session_lasts_longer_than_its_role_allows() -> Result<(), FleetError> {
    let (_site, db1, ana) = limited("longest_session = \"9s\"")?;
    let mut shell = ana.shell("deploy", &db1)?;
    eventually("it has ended", || {
        let _typed = shell.type_text("#");
        !shell.is_running()
    })?;
    assert!(shell.screen().contains("no session under its role lasts longer than 9 seconds"));
    eventually("the authority knows", || ended(&ana).is_ok_and(|list| !list.is_empty()))?;
    let (reason, lasted) = ended(&ana)?.remove(0);
    assert_eq!(reason, serde_json::json!({"too_long": {"secs": 9}}));
    assert!((9_000..9_000 + grace(1_000)).contains(&lasted), "it lasted {lasted} ms");
    Ok(())
}
