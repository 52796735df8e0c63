//! What passes the terminals of sessions is recorded: all of it but passwords, on every channel, whatever dies meanwhile; and
//! what is done to a recording on its way is found.

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tests::{FleetError, Host, Person, Site, Terminal, eventually, eventually_some};
use wire::channel::{ChannelId, End};
use wire::identifier::SessionId;
use wire::recording::block::Chain;
use wire::recording::record::{Content, Record};
use wire::recording::seal::OpeningKey;
use wire::recording::stored::StoredBlock;

/// A recording as it lies at the authority, opened.
struct Recording {
    records: Vec<Record>,
    /// Whether its chain is whole up to its end.
    ended: bool,
    /// The first block that does not open.
    broken: Option<u64>,
    /// The host's last word, once it is there.
    closed: Option<Value>,
}

impl Recording {
    fn of(&self, pick: impl Fn(&Content) -> Option<&[u8]>) -> Vec<u8> {
        self.records.iter().filter_map(|record| pick(&record.content)).flatten().copied().collect()
    }

    fn output(&self) -> Vec<u8> {
        self.of(|content| match content {
            Content::Output(bytes) => Some(bytes),
            _ => None,
        })
    }

    fn input(&self) -> String {
        let bytes = self.of(|content| match content {
            Content::Input(bytes) => Some(bytes),
            _ => None,
        });
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn hidden(&self) -> u32 {
        let count = |record: &Record| match record.content {
            Content::Hidden(count) => count,
            _ => 0,
        };
        self.records.iter().map(count).sum()
    }

    fn lost(&self) -> u64 {
        let count = |record: &Record| match record.content {
            Content::Loss(lost) => lost.output.saturating_add(lost.input),
            _ => 0,
        };
        self.records.iter().map(count).fold(0, u64::saturating_add)
    }

    fn last(&self) -> Option<&Content> {
        self.records.last().map(|record| &record.content)
    }
}

/// The key that opens this site's recordings.
#[expect(clippy::unwrap_used, reason = "a test reads what was kept; what is not there fails it")]
fn opening(site: &Site) -> OpeningKey {
    let text = std::fs::read_to_string(site.authority.dir().join("state/recording")).unwrap();
    let key = ssh_key::PrivateKey::from_openssh(text).unwrap();
    let seed = key.key_data().ed25519().unwrap().private.to_bytes();
    let secret =
        Sha256::new().chain_update(b"curfew recording key v1\0").chain_update(seed).finalize();
    OpeningKey::new(&secret.into()).unwrap()
}

/// The recordings of a session at the authority; each must continue from its first block on and open.
#[expect(clippy::unwrap_used, reason = "a test reads what was kept; what is not there fails it")]
fn recordings(site: &Site, host: &Host, session: &Value) -> Vec<Recording> {
    let id: SessionId = session["session"].as_str().unwrap_or_default().parse().unwrap();
    let folder = site.authority.dir().join(format!("state/recordings/{}/{id}", host.name()));
    let key = opening(site);
    let mut channels: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    channels.sort();
    let read = |channel: &std::path::PathBuf| {
        let name = channel.file_name().unwrap().to_str().unwrap();
        let number = u64::from_str_radix(name, 16).unwrap();
        let mut chain = Chain::new(id, ChannelId::new(number));
        let mut names: Vec<_> =
            std::fs::read_dir(channel).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.retain(|name| name.extension().is_some_and(|extension| extension == "block"));
        names.sort();
        let (mut records, mut broken) = (Vec::new(), None);
        for name in names {
            let stored = StoredBlock::decode(&std::fs::read(name).unwrap()).unwrap();
            chain.take(&stored.block).unwrap();
            match key.open(&stored.block) {
                Ok(opened) => records.extend(opened),
                Err(_) => broken = broken.or(Some(stored.block.header().number)),
            }
        }
        let closed = std::fs::read(channel.join("closed")).ok().map(|bytes| {
            let signed: Value = serde_json::from_slice(&bytes).unwrap();
            let said: Value =
                serde_json::from_str(signed.get("text").unwrap().as_str().unwrap()).unwrap();
            said.get("closed").cloned().unwrap()
        });
        Recording { records, ended: chain.has_ended(), broken, closed }
    };
    channels.iter().map(read).collect()
}

/// Waits until so many recordings are closed.
fn closed(
    site: &Site,
    host: &Host,
    session: &Value,
    count: usize,
) -> Result<Vec<Recording>, FleetError> {
    eventually_some("the recordings are at the authority", || {
        let found = recordings(site, host, session);
        let whole = found.iter().filter(|recording| recording.closed.is_some()).count();
        (whole == count && found.len() == count).then_some(found)
    })
}

fn recorded(need: &str) -> Result<(Site, Host, Person), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    site.set_roles(&format!(
        "[role.recorded]\nmembers = [\"ana@example.com\"]\nlogins = [\"deploy\"]\nhosts = [\"env=prod\"]\n\
         abilities = [\"pty\"]\nrecording = {{ level = \"full\", need = \"{need}\" }}\n"
    ))?;
    Ok((site, db1, ana))
}

fn quiet_shell(ana: &Person, db1: &Host) -> Result<Terminal, FleetError> {
    let mut shell = ana.shell("deploy", db1)?;
    shell.enter("PS1=; bind 'set enable-bracketed-paste off'; echo r\"\"eady")?;
    shell.wait_for("ready\r\n")?;
    Ok(shell)
}

/// `needle` within `bytes`.
fn holds(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// Full screens, another terminal within, bytes that are no text, and another size.
fn full_screens(shell: &mut Terminal) -> Result<(), FleetError> {
    shell.enter("PS1='pr''ompt> '; top -d 60")?;
    shell.wait_for("PID")?;
    shell.type_text("q")?;
    shell.wait_for("prompt> ")?;
    shell.enter("seq 1000 > /tmp/lines; more /tmp/lines")?;
    shell.wait_for("23\r\n")?;
    shell.type_text("q")?;
    shell.wait_for("prompt> ")?;
    shell.enter("tmux -L t new 'echo in-$(echo tmux); read x; exit'")?;
    shell.wait_for("in-tmux")?;
    shell.enter("")?;
    shell.wait_for("[exited]")?;
    shell.enter("PS1=; stty -opost; head -c 300000 /dev/urandom | tee /tmp/noise; stty opost; echo n\"\"oise")?;
    shell.wait_for("noise\r\n")?;
    shell.resize(101, 41)?;
    shell.enter("until stty size | grep '^41 101$'; do sleep 0.1; done")?;
    shell.wait_for("\n41 101\r\n")?;
    Ok(())
}

#[test]
fn what_a_terminal_showed_is_recorded_byte_for_byte_and_passwords_are_not() -> Result<(), FleetError>
{
    let (site, db1, ana) = recorded("required")?;
    let mut shell = quiet_shell(&ana, &db1)?;
    let session = site.session(&ana, &db1)?;
    full_screens(&mut shell)?;
    // A password at a prompt that does not echo, and one in a terminal within a terminal.
    shell.enter("read -rsp 'Pass''word: ' x; echo; echo go''t ${#x}")?;
    shell.wait_for("Password: ")?;
    shell.enter("hunter2secret")?;
    shell.wait_for("got 13")?;
    shell.enter("PS1='pr''ompt> '")?;
    shell.wait_for("prompt> ")?;
    shell.enter(
        "script -qc \"bash --norc -c 'read -rsp Inn\\\"\\\"er: x; echo; echo in''ner \\${#x}'\" /dev/null",
    )?;
    shell.wait_for("Inner:")?;
    for key in "nested7word".chars() {
        shell.type_text(&key.to_string())?;
    }
    shell.enter("")?;
    shell.wait_for("inner 11")?;
    // What is typed before the terminal within has gone is that one's.
    shell.wait_for("prompt> ")?;
    shell.enter("exit 3")?;
    assert_eq!(shell.wait()?.code(), Some(3));

    let found = closed(&site, &db1, &session, 1)?;
    let recording = &found[0];
    assert!(recording.ended && recording.broken.is_none());
    assert_eq!(recording.last(), Some(&Content::End(End::Exited)));
    assert_eq!(recording.closed.as_ref().unwrap()["broken"], false);
    // What the client's terminal got, to the byte, between what the client itself says before and after it.
    let output = recording.output();
    let screen = shell.screen();
    let shown = String::from_utf8_lossy(&output);
    let (_, after) = screen.split_once(shown.as_ref()).expect("all that was recorded was shown");
    assert!(after.len() < 200, "{after:?}");
    assert!(holds(&output, "23\r\n") && holds(&output, "in-tmux"));
    let noise = db1.read("/tmp/noise")?;
    assert!(output.windows(noise.len()).any(|window| window == noise));
    assert!(recording.records.iter().any(|record| {
        matches!(record.content, Content::Size(size) if (size.columns, size.rows) == (101, 41))
    }));
    assert!(matches!(&recording.records[0].content, Content::Begin(begin) if begin.term.is_some()));
    // What was typed is there; the passwords are a length.
    let input = recording.input();
    assert!(input.contains("seq 1000"), "{input:?}");
    for secret in ["hunter2", "secret", "nested7", "7word"] {
        assert!(!input.contains(secret) && !holds(&output, secret), "{input:?}");
    }
    assert!(recording.hidden() >= 13 + 11, "{} {input:?}", recording.hidden());
    nothing_lost(&ana, &session)
}

fn nothing_lost(ana: &Person, session: &Value) -> Result<(), FleetError> {
    let records = ana.records_when(session, |records| {
        records.iter().any(|record| record.pointer("/event/channel/closed").is_some())
    })?;
    let kept = records.iter().find_map(|record| record.pointer("/event/channel/closed/kept"));
    let lost = kept.and_then(|kept| kept.get("lost")).and_then(Value::as_u64);
    assert_eq!(lost, Some(0), "{kept:?}");
    Ok(())
}

#[test]
fn every_channel_of_a_connection_has_a_recording_of_its_own() -> Result<(), FleetError> {
    let (site, db1, ana) = recorded("required")?;
    let control = format!("ControlPath={}", ana.client.home_dir().join("mux").display());
    let first = ana.ssh("deploy", &db1).with(["-o", "ControlMaster=yes", "-o", &control]);
    let mut shell = first.shell()?;
    shell.enter("echo fi\"\"rst")?;
    shell.wait_for("first\r\n")?;
    let session = site.session(&ana, &db1)?;
    let second = ana.ssh("deploy", &db1).with(["-o", "ControlMaster=no", "-o", &control]);
    let mut command = second.terminal(["echo sec''ond; exit 4"])?;
    assert_eq!(command.wait()?.code(), Some(4));
    shell.enter("exit")?;
    shell.wait()?;
    let found = closed(&site, &db1, &session, 2)?;
    let one =
        |text: &str| found.iter().filter(|recording| holds(&recording.output(), text)).count();
    assert_eq!((one("first\r\n"), one("second\r\n")), (1, 1));
    Ok(())
}

#[test]
fn a_recording_is_whole_whatever_dies_or_is_away_meanwhile() -> Result<(), FleetError> {
    let (mut site, db1, ana) = recorded("required")?;
    let mut shell = quiet_shell(&ana, &db1)?;
    let session = site.session(&ana, &db1)?;
    shell.enter("seq -f 'a%g' 5000; echo d\"\"one")?;
    shell.wait_for("\ndone")?;
    db1.kill_unit("curfew-agent", "KILL")?;
    shell.enter("seq -f 'b%g' 5000; echo d\"\"one")?;
    shell.wait_for("\ndone")?;
    eventually("the agent is back", || db1.is_active("curfew-agent").unwrap_or_default())?;
    site.authority.kill()?;
    shell.enter("seq -f 'c%g' 5000; echo d\"\"one")?;
    shell.wait_for("\ndone")?;
    db1.kill_unit("curfew-agent", "KILL")?;
    site.authority.serve()?;
    shell.enter("seq -f 'd%g' 5000; echo d\"\"one")?;
    shell.wait_for("\ndone")?;
    db1.restart("curfew-link")?;
    shell.enter("exit")?;
    shell.wait()?;
    let found = closed(&site, &db1, &session, 1)?;
    assert!(found[0].ended && found[0].lost() == 0);
    let output = String::from_utf8_lossy(&found[0].output()).into_owned();
    for letter in ["a", "b", "c", "d"] {
        let lines = (1..=5000).map(|number| format!("{letter}{number}\r\n")).collect::<String>();
        assert!(output.contains(&lines), "{letter}");
    }
    eventually("the host lets go of it", || {
        db1.sh("ls /var/lib/curfew/recordings").is_ok_and(|said| said.text().trim() == "aside")
    })
}

#[test]
fn who_must_be_recorded_and_cannot_be_does_not_go_on() -> Result<(), FleetError> {
    let (site, db1, ana) = recorded("required")?;
    db1.sh("echo 'recording_quota = \"1MiB\"' >> /etc/curfew/agent.toml")?.done()?;
    db1.restart("curfew-agent")?;
    site.wait_until_connected("db1")?;
    let mut shell = quiet_shell(&ana, &db1)?;
    let session = site.session(&ana, &db1)?;
    shell.enter("head -c 8000000 /dev/urandom | base64 -w 0")?;
    shell.wait()?;
    let found = closed(&site, &db1, &session, 1)?;
    let end = found[0].closed.as_ref().unwrap()["end"].clone();
    assert!(found[0].last() == Some(&Content::End(End::Unkept)) || end == "unkept", "{end}");
    // Nobody else gets in once all of the room is used.
    db1.sh("echo 'recordings_quota = \"1MiB\"' >> /etc/curfew/agent.toml")?.done()?;
    db1.restart("curfew-agent")?;
    site.wait_until_connected("db1")?;
    db1.sh("head -c 3000000 /dev/urandom > /var/lib/curfew/recordings/aside/x")?.done()?;
    eventually("nobody gets in", || {
        let said = ana.ssh("deploy", &db1).run(["true"]);
        said.is_ok_and(|said| !said.succeeded())
    })?;
    Ok(())
}

#[test]
fn who_need_not_be_recorded_goes_on_and_the_loss_is_told() -> Result<(), FleetError> {
    let (site, db1, ana) = recorded("best_effort")?;
    db1.sh("echo 'recording_quota = \"1MiB\"' >> /etc/curfew/agent.toml")?.done()?;
    db1.restart("curfew-agent")?;
    site.wait_until_connected("db1")?;
    let mut shell = quiet_shell(&ana, &db1)?;
    let session = site.session(&ana, &db1)?;
    shell.enter("head -c 2500000 /dev/urandom | base64 -w 0; echo; echo st\"\"ill")?;
    shell.wait_for("still\r\n")?;
    shell.enter("exit 0")?;
    shell.wait()?;
    closed(&site, &db1, &session, 1)?;
    let records = ana.records_when(&session, |records| {
        records.iter().any(|record| record.pointer("/event/channel/closed/kept").is_some())
    })?;
    let kept =
        records.iter().find_map(|record| record.pointer("/event/channel/closed/kept")).unwrap();
    assert!(kept["lost"].as_u64().unwrap_or_default() > 500_000, "{kept}");
    Ok(())
}

#[test]
fn what_is_changed_on_the_host_is_found_and_placed() -> Result<(), FleetError> {
    let (site, db1, ana) = recorded("required")?;
    let mut shell = quiet_shell(&ana, &db1)?;
    let session = site.session(&ana, &db1)?;
    shell.enter("echo be\"\"fore")?;
    shell.wait_for("\nbefore")?;
    eventually("what was shown has arrived", || {
        recordings(&site, &db1, &session)
            .first()
            .is_some_and(|recording| holds(&recording.output(), "\nbefore"))
    })?;
    let had = recordings(&site, &db1, &session)[0].records.len();
    db1.stop("curfew-link")?;
    let file = "/var/lib/curfew/recordings/*.recording";
    let length = || -> Option<u64> {
        db1.sh(&format!("stat -c %s {file}")).ok()?.text().trim().parse().ok()
    };
    let before = length();
    shell.enter("echo hid\"\"den")?;
    shell.wait_for("\nhidden")?;
    eventually("it is on the disk", || length() > before)?;
    shell.enter("exit")?;
    shell.wait()?;
    // Somebody with root on the host changes what the authority does not have yet.
    let at = before.expect("there is a file") + 200;
    db1.sh(&format!("printf X | dd of=$(ls {file}) bs=1 seek={at} conv=notrunc status=none"))?
        .done()?;
    db1.start("curfew-link")?;
    let incident = eventually_some("it is an incident", || {
        let said = site.authority.run(["incident", "list", "--json"]).ok()?;
        said.text().contains("is broken after block").then(|| said.text().to_owned())
    })?;
    assert!(incident.contains(session["session"].as_str().unwrap()), "{incident}");
    // What was there before is as it was. A block that was changed in its body was signed and stored as it is, and does not
    // open; the one behind it does not continue it, and is the end.
    let found = closed(&site, &db1, &session, 1)?;
    assert!(found[0].records.len() >= had && !found[0].ended);
    assert!(found[0].broken.is_some());
    let word = found[0].closed.as_ref().expect("the host's word");
    assert_eq!(word["broken"], true, "{word}");
    Ok(())
}
