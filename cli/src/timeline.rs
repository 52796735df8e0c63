//! What happened in a session, line by line, from its records.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::api::Ended;
use wire::channel::End;
use wire::kill::{Killed, Kills, SignedKill};
use wire::octets::Octets;
use wire::record::{
    AgentStarted, ChannelEvent, Crossed, Delegated, DelegatedEnded, EndReason, Event, Exec,
    ExitStatus, FileDeed, FileTouched, KrlEvent, LocalLock, Loss, Network, NetworkDeed, Record,
    SessionBegan, SessionEnded, Slow,
};
use wire::time::Uptime;

use crate::duration::{rough, took};
use crate::manner::{Starter, manners};
use crate::render::{Tone, count, plain};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Since the session's first record.
    pub(crate) offset: Duration,
    /// What kind of thing it was.
    pub(crate) what: &'static str,
    /// What exactly, safe for a terminal.
    pub(crate) text: String,
    /// How it looks.
    pub(crate) tone: Tone,
}

/// The session's lines, in the order of its records.
pub(crate) fn lines(records: &[Record]) -> Vec<Line> {
    let start = records.first().map_or(Uptime::from_nanos(0), |record| record.uptime);
    let fates = fates(records);
    let manners = manners(records);
    let mut lines = Vec::new();
    for record in records {
        if let Some((what, mut text, tone)) = describe(record, &fates) {
            let manner = manners.get(&record.number.number());
            if manner.is_some_and(|manner| manner.starter == Starter::Person) {
                text.push_str("  typed");
            }
            lines.push(Line { offset: record.uptime.since(start), what, text, tone });
        }
    }
    lines
}

/// One record by itself, where what became of a program is not looked for.
pub(crate) fn line(record: &Record) -> Line {
    let offset = Duration::ZERO;
    let told = match &record.event {
        Event::Exec(exec) => Some(("exec", exec_words(exec), Tone::Plain)),
        _ => describe(record, &BTreeMap::new()),
    };
    let (what, text, tone) = told.unwrap_or(("exit", String::new(), Tone::Faint));
    Line { offset, what, text, tone }
}

/// How a session ended, in a sentence: `locked by order 4: left the company; 7 processes killed, 0 survivors, 41 ms`.
pub(crate) fn ending(ended: &Ended) -> String {
    let whole = SessionEnded {
        reason: ended.reason.clone(),
        killed: ended.killed,
        survivors: ended.survivors,
        took_micros: ended.took_micros,
        steps: None,
    };
    end_sentence(&whole)
}

/// Why a session ended, in few words.
pub(crate) fn reason(reason: &EndReason) -> String {
    match reason {
        EndReason::Left => "left".to_owned(),
        EndReason::GrantEnded => "the grant's time was over".to_owned(),
        EndReason::Idle { secs } => {
            format!("idle for {}", rough(Duration::from_secs(*secs)))
        }
        EndReason::TooLong { secs } => {
            format!("no session lasts longer than {}", rough(Duration::from_secs(*secs)))
        }
        EndReason::Threshold(crossed) => plain(&crossed.to_string()),
        EndReason::Locked { order, reason } => {
            format!("locked by order {order}: {}", plain(reason))
        }
        EndReason::LockedHere { source, reason } => {
            format!("locked on the host by {}: {}", plain(source), plain(reason))
        }
    }
}

/// What became of a started program.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// It ended.
    Ended(ExitStatus, Duration),
    /// Its process started another program in its place.
    Replaced,
}

/// The fate of each exec, by the place of its record: the next exec or exit of the same process. Pids come back, so
/// only what follows counts.
fn fates(records: &[Record]) -> BTreeMap<u64, Fate> {
    let mut running: BTreeMap<i32, (u64, Uptime)> = BTreeMap::new();
    let mut fates = BTreeMap::new();
    for record in records {
        match &record.event {
            Event::Exec(exec) => {
                let here = (record.number.number(), record.uptime);
                if let Some((before, _)) = running.insert(exec.pid, here) {
                    fates.insert(before, Fate::Replaced);
                }
            }
            Event::Exit(exit) => {
                if let Some((before, since)) = running.remove(&exit.pid) {
                    fates.insert(before, Fate::Ended(exit.status, record.uptime.since(since)));
                }
            }
            _ => {}
        }
    }
    fates
}

fn describe(record: &Record, fates: &BTreeMap<u64, Fate>) -> Option<(&'static str, String, Tone)> {
    Some(match &record.event {
        Event::Exec(exec) => {
            let fate = fates.get(&record.number.number());
            ("exec", exec_text(exec, fate), exec_tone(fate))
        }
        Event::SessionBegan(began) => ("began", began_sentence(began), Tone::Strong),
        Event::Warned { message, terminals } => {
            let seen = count(u64::from(*terminals), "terminal");
            ("warned", format!("\"{}\" on {seen}", plain(message)), Tone::Warning)
        }
        Event::Ending { reason: why } => ("ending", reason(why), Tone::Warning),
        Event::SessionEnded(ended) => ("ended", end_sentence(ended), end_tone(ended.survivors)),
        Event::Loss(loss) => ("LOST", loss_text(loss), Tone::Bad),
        Event::Unreadable { bytes, .. } => (
            "LOST",
            format!("a record of {bytes} bytes cannot be read any more on the host"),
            Tone::Bad,
        ),
        Event::AgentStarted(started) => ("agent", started_text(started), Tone::Warning),
        Event::Refused(refused) => ("refused", plain(&refused.reason), Tone::Warning),
        Event::Outside(outside) => ("outside", plain(&outside.to_string()), Tone::Warning),
        Event::Incident(incident) => ("INCIDENT", plain(&incident.to_string()), Tone::Bad),
        Event::DisputeSettled(settled) => (
            "settled",
            format!("a dispute with the ledger: {}", plain(&settled.reason)),
            Tone::Warning,
        ),
        Event::Threshold(crossed) => ("limit", threshold_text(crossed), Tone::Bad),
        Event::Extended { by_secs, .. } => {
            ("extended", format!("by {}", rough(Duration::from_secs(*by_secs))), Tone::Warning)
        }
        Event::Channel(event) => channel_line(event),
        Event::Krl(event) => ("krl", krl_text(event), Tone::Warning),
        Event::LocalLock(local) => ("lock", local_text(local), Tone::Warning),
        Event::Delegated(delegated) => ("handed", delegated_text(delegated), Tone::Warning),
        Event::DelegatedEnded(ended) => {
            ("handed", delegated_ended_text(ended), end_tone(ended.survivors))
        }
        Event::Meddled(meddled) => {
            let tone = if meddled.mended { Tone::Strong } else { Tone::Bad };
            ("meddled", plain(&meddled.what), tone)
        }
        Event::BreakGlassOver(over) => ("over", over_text(over), Tone::Strong),
        Event::Network(network) => network_line(network),
        Event::File(file) => file_line(file),
        Event::FilesUnseen(unseen) => ("UNSEEN", plain(&unseen.why), Tone::Bad),
        Event::Killed(signed) => killed_line(signed),
        Event::AlarmFailed(alarm) => ("ALARM", alarm_text(alarm), Tone::Bad),
        Event::AlarmEnded(ended) => alarm_line(&ended.alarm),
        // Told with the exec it belongs to; one of a process that never started a program says nothing.
        Event::Exit(_) => return None,
    })
}

fn started_text(started: &AgentStarted) -> String {
    let adopted = count(u64::from(started.adopted), "session");
    format!("curfew-agent {} started again, {adopted} adopted", plain(&started.agent_version))
}

/// What it took to end a session, as its host's agent said it; who signed it is told elsewhere.
fn killed_line(signed: &SignedKill) -> (&'static str, String, Tone) {
    match signed.read() {
        Ok(killed) => {
            let tone = if killed.is_over() { Tone::Strong } else { Tone::Bad };
            ("killed", killed_text(&killed), tone)
        }
        Err(error) => ("KILLED", format!("it cannot be read: {error}"), Tone::Bad),
    }
}

/// `dead after 41 ms in 6 passes, from the mark in the kernel on: …`, and who signed it.
pub(crate) fn killed(killed: &Killed, kills: &Kills) -> String {
    format!("{} ({kills})", killed_text(killed))
}

fn killed_text(killed: &Killed) -> String {
    let state = if killed.is_over() { "all dead after" } else { "somebody is alive after" };
    let marked = if killed.marked { "no fork and no exec from the first on" } else { "unmarked" };
    let mut text = format!(
        "{state} {} in {}, {marked}; {} killed, and {} of handed work",
        took(killed.took_micros),
        count(killed.passes.into(), "pass"),
        count(killed.killed.sum().into(), "process"),
        killed.handed.sum()
    );
    for Slow { pid, command } in &killed.named {
        text.push_str(&format!("; alive: {} ({pid})", plain(&command.display())));
    }
    if killed.interrupted {
        text.push_str("; the agent died meanwhile, and what it had counted by then may be missing");
    }
    text
}

fn over_text(over: &wire::record::BreakGlassOver) -> String {
    format!("{}: {}", over.name, reason(&over.reason))
}

fn alarm_line(alarm: &wire::breakglass::Alarm) -> (&'static str, String, Tone) {
    match &alarm.fault {
        None => ("alarm", format!("{} went out", plain(&alarm.by)), Tone::Strong),
        Some(_) => ("ALARM", alarm_text(alarm), Tone::Bad),
    }
}

fn alarm_text(alarm: &wire::breakglass::Alarm) -> String {
    let fault = alarm.fault.as_deref().unwrap_or_default();
    format!("{} did not go out: {}", plain(&alarm.by), plain(fault))
}

/// `10.0.0.9:443 by curl  [pid 5]`
fn network_line(network: &Network) -> (&'static str, String, Tone) {
    let text =
        format!("{} by {}  [pid {}]", network.place(), network.program.display(), network.pid);
    match network.what {
        NetworkDeed::Connect => ("connect", text, Tone::Plain),
        NetworkDeed::Listen => ("listen", text, Tone::Warning),
    }
}

/// `/etc/hosts by tee  [pid 5]`
fn file_line(file: &FileTouched) -> (&'static str, String, Tone) {
    let by = file
        .program
        .as_ref()
        .map_or_else(String::new, |program| format!(" by {}", program.display()));
    let nameless = if file.nameless { " (which has no name any more)" } else { "" };
    let times = if file.times > 1 { format!(", {} times", file.times) } else { String::new() };
    let text = format!("{}{nameless}{by}{times}  [pid {}]", file.path.display(), file.pid);
    match file.what {
        FileDeed::Written => ("wrote", text, Tone::Plain),
        FileDeed::Opened => ("opened", text, Tone::Warning),
    }
}

/// What was crossed, by which program, and what came of it.
fn threshold_text(crossed: &Crossed) -> String {
    let by = crossed.program.as_ref().map(|program| format!(" by {}", program.display()));
    let file = crossed.file.as_ref().map(|file| format!(" in {}", file.display()));
    format!(
        "{}{}{}: {}",
        plain(&crossed.to_string()),
        file.unwrap_or_default(),
        by.unwrap_or_default(),
        crossed.response
    )
}

fn channel_line(event: &ChannelEvent) -> (&'static str, String, Tone) {
    match event {
        ChannelEvent::Opened { terminal, kept, .. } => {
            let how = if *kept { "recorded" } else { "relayed" };
            ("terminal", format!("{} is {how}", plain(terminal)), Tone::Faint)
        }
        ChannelEvent::Closed { passed, end, .. } => {
            let text = format!(
                "{}: {} typed, {} shown",
                end_of_channel(*end),
                count(passed.typed, "byte"),
                count(passed.output, "byte")
            );
            ("terminal", text, if *end == End::Lost { Tone::Bad } else { Tone::Faint })
        }
        ChannelEvent::Unrelayed { why, refused } => {
            let became = if *refused { "refused" } else { "goes on unrecorded" };
            ("TERMINAL", format!("one is not relayed and {became}: {}", plain(why)), Tone::Bad)
        }
    }
}

fn end_of_channel(end: End) -> &'static str {
    match end {
        End::Exited => "ended with what ran in it",
        End::HungUp => "hung up by the client",
        End::Deserted => "ended, because curfew-pty was killed",
        End::Failed => "ended, because its recorder could not go on",
        End::Lost => "ended, because its recorder was killed",
        End::Unkept => "ended, because it could not be recorded any more",
    }
}

fn krl_text(event: &KrlEvent) -> String {
    match event {
        KrlEvent::InPlace { version, .. } => format!("sshd reads revocation list {version}"),
        KrlEvent::Refused { version, reason } => {
            format!("revocation list {version} was refused: {}", plain(reason))
        }
        KrlEvent::Restored { version, found } => {
            format!("the file of revocation list {version} was put back: {}", plain(found))
        }
    }
}

fn local_text(local: &LocalLock) -> String {
    let (source, said) = match local {
        LocalLock::InForce { source, lock } => {
            (source, format!("{} is locked: {}", lock.target, lock.reason))
        }
        LocalLock::Lifted { source, target } => (source, format!("{target} is locked no more")),
        LocalLock::Refused { source, reason } => (source, format!("refused: {reason}")),
    };
    plain(&format!("{source}: {said}"))
}

/// Whose, by which unit, and who may have asked for it.
fn delegated_text(delegated: &Delegated) -> String {
    let login = delegated.login.as_deref().unwrap_or("nobody known");
    let unit = delegated.unit.as_deref().map(|unit| format!(" in {unit}")).unwrap_or_default();
    let among: Vec<String> = delegated.candidates.iter().map(ToString::to_string).collect();
    let among = if among.is_empty() { "no session".to_owned() } else { among.join(" or ") };
    let by = plain(&format!("by {login}{unit}, asked for by {among}"));
    format!("{by}: {}", exec_text(&delegated.exec, None))
}

fn delegated_ended_text(ended: &DelegatedEnded) -> String {
    let what = ended.unit.as_deref().or(ended.login.as_deref()).unwrap_or("work of nobody known");
    format!(
        "{} ended with the session; {} killed, {}, {}",
        plain(what),
        count(ended.killed.into(), "process"),
        count(ended.survivors.into(), "survivor"),
        took(ended.took_micros)
    )
}

fn exec_text(exec: &Exec, fate: Option<&Fate>) -> String {
    format!("{}{}", exec_words(exec), fate_text(fate))
}

/// The command, and by whom and where.
fn exec_words(exec: &Exec) -> String {
    let mut text = command(exec);
    if exec.cut > 0 {
        text.push_str(&format!(" … ({} cut)", count(exec.cut, "byte")));
    }
    let mut notes = vec![format!("pid {}", exec.pid)];
    if let Some(terminal) = &exec.terminal {
        notes.push(plain(terminal));
    }
    notes.push(if exec.euid == exec.uid {
        format!("uid {}", exec.uid)
    } else {
        format!("uid {} as {}", exec.uid, exec.euid)
    });
    if is_other_file(exec) {
        notes.push(format!("file {}", exec.path.display()));
    }
    if exec.nameless {
        notes.push("the file has no name".to_owned());
    }
    format!("{text}  [{}]", notes.join(", "))
}

/// The arguments as one line; a space inside one is visible as such.
pub(crate) fn command(exec: &Exec) -> String {
    let word = |octets: &Octets| {
        let text = octets.display();
        let needs_quotes =
            text.is_empty() || text.contains(char::is_whitespace) || text.contains('\\');
        if needs_quotes { format!("\"{text}\"") } else { text }
    };
    match exec.arguments.as_slice() {
        [] => exec.path.display(),
        arguments => arguments.iter().map(word).collect::<Vec<_>>().join(" "),
    }
}

/// Whether the file is not the one that the first argument names, which is how programs disguise themselves.
fn is_other_file(exec: &Exec) -> bool {
    let named = exec.arguments.first().map(|name| base(name.as_bytes()));
    let named = named.map(|name| name.strip_prefix(b"-").unwrap_or(name));
    named.is_some_and(|name| name != base(exec.path.as_bytes()))
}

fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

fn fate_text(fate: Option<&Fate>) -> String {
    match fate {
        None => "  → no end recorded".to_owned(),
        Some(Fate::Replaced) => "  → became the next".to_owned(),
        Some(Fate::Ended(status, after)) => {
            let how = match status {
                ExitStatus::Code(code) => format!("exit {code}"),
                ExitStatus::Signal(signal) => format!("signal {signal}"),
            };
            let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
            let span = if after.as_secs() < 60 { took(micros) } else { rough(*after) };
            format!("  → {how} after {span}")
        }
    }
}

const fn exec_tone(fate: Option<&Fate>) -> Tone {
    match fate {
        Some(Fate::Ended(ExitStatus::Code(0), _) | Fate::Replaced) => Tone::Plain,
        Some(Fate::Ended(..)) => Tone::Warning,
        None => Tone::Plain,
    }
}

fn end_sentence(ended: &SessionEnded) -> String {
    let why = reason(&ended.reason);
    if ended.reason == EndReason::Left && ended.killed == 0 && ended.survivors == 0 {
        return why;
    }
    let mut sentence = format!(
        "{why}; {} killed, {}, {}",
        count(ended.killed.into(), "process"),
        count(ended.survivors.into(), "survivor"),
        took(ended.took_micros)
    );
    if let Some(steps) = &ended.steps {
        sentence.push_str(&format!(
            ", in {} and {}",
            count(steps.passes.into(), "pass"),
            count(steps.groups.into(), "control group")
        ));
        for Slow { pid, command } in &steps.slow {
            sentence.push_str(&format!(
                "; slow to die: {} ({pid})",
                plain(&command.display().to_string())
            ));
        }
    }
    sentence
}

const fn end_tone(survivors: u32) -> Tone {
    if survivors == 0 { Tone::Strong } else { Tone::Bad }
}

/// Who from where, and what sshd holds them to.
fn began_sentence(began: &SessionBegan) -> String {
    let mut sentence = format!("{} from {}", began.subject.login, plain(&began.remote));
    for (name, text) in &began.options {
        sentence.push_str(&format!(", {name} {}", text.display()));
    }
    sentence.trim_end().to_owned()
}

fn loss_text(loss: &Loss) -> String {
    format!("{} lost after number {}", count(loss.missing, "event"), loss.after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::identifier::{OrderNumber, RecordNumber};
    use wire::record::Exit;
    use wire::time::Timestamp;

    fn record(number: u64, event: Event) -> Record {
        Record {
            number: RecordNumber::try_new(number).unwrap(),
            at: Timestamp::from_secs(number),
            uptime: Uptime::from_nanos(0).after(Duration::from_secs(number)),
            session: None,
            event,
        }
    }

    fn exec(pid: i32, arguments: &[&str]) -> Event {
        Event::Exec(Exec {
            sequence: 1,
            pid,
            parent: 1,
            uid: 1000,
            euid: 1000,
            path: Octets::new("/usr/bin/tool"),
            arguments: arguments.iter().map(|text| Octets::new(*text)).collect(),
            cut: 0,
            terminal: Some("pts0".into()),
            nameless: false,
            program: None,
        })
    }

    fn exit(pid: i32, code: u8) -> Event {
        Event::Exit(Exit { sequence: 2, pid, status: ExitStatus::Code(code), ran_micros: None })
    }

    fn texts(records: &[Record]) -> Vec<String> {
        lines(records).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn an_exit_belongs_to_the_last_exec_of_its_process() {
        let records = [
            record(1, exec(50, &["tool", "first"])),
            record(2, exec(50, &["tool", "second"])),
            record(3, exit(50, 3)),
            record(4, exit(51, 0)),
            record(5, exec(50, &["tool", "third"])),
        ];
        assert_eq!(
            texts(&records),
            [
                "tool first  [pid 50, pts0, uid 1000]  → became the next",
                "tool second  [pid 50, pts0, uid 1000]  → exit 3 after 1.0 s",
                "tool third  [pid 50, pts0, uid 1000]  → no end recorded",
            ]
        );
        assert_eq!(lines(&records)[1].offset, Duration::from_secs(1));
    }

    #[test]
    fn arguments_cannot_drive_the_terminal_or_pass_for_several() {
        let records = [record(1, exec(50, &["tool", "a b", "", "\u{1b}[2J\n", "\u{202e}x"]))];
        let text = &texts(&records)[0];
        assert!(
            text.starts_with("tool \"a b\" \"\" \"\\u{1b}[2J\\n\" \"\\u{202e}x\"  ["),
            "{text}"
        );
        assert!(!text.chars().any(char::is_control));
    }

    #[test]
    fn a_program_under_a_false_name_shows_its_file() {
        let records = [record(1, exec(50, &["innocent"])), record(2, exec(51, &["-tool"]))];
        let texts = texts(&records);
        assert!(texts[0].contains("file /usr/bin/tool"), "{texts:?}");
        assert!(!texts[1].contains("file"), "a login shell's name is no disguise: {texts:?}");
    }

    #[test]
    fn an_end_by_a_lock_says_by_what_and_how_thoroughly() {
        let ended = Ended {
            at: Timestamp::from_secs(9),
            reason: EndReason::Locked {
                order: OrderNumber::try_new(4).unwrap(),
                reason: "left the company".into(),
            },
            killed: 7,
            survivors: 0,
            took_micros: 41_000,
        };
        assert_eq!(
            ending(&ended),
            "locked by order 4: left the company; 7 processes killed, 0 survivors, 41 ms"
        );
        let left = Ended { reason: EndReason::Left, killed: 0, ..ended };
        assert_eq!(ending(&left), "left");
    }

    #[test]
    fn a_loss_is_loud() {
        let line = &lines(&[record(1, Event::Loss(Loss { after: 12, missing: 3 }))])[0];
        assert_eq!(
            (line.what, line.text.as_str(), line.tone),
            ("LOST", "3 events lost after number 12", Tone::Bad)
        );
    }
}
