//! Records as events of the Open Cybersecurity Schema Framework, version 1.2.0 (schema.ocsf.io).
//!
//! Pure, and the same for the same record. Kinds of record without a class there are not forced into one.

use serde_json::{Map, Value, json};
use wire::record::{
    Event, Exec, Exit, ExitStatus, FileDeed, FileTouched, Incident, Network, NetworkDeed, Refused,
    SessionBegan, SessionEnded,
};
use wire::search::Hit;

/// The event of a record; nothing where the framework has no class for it.
pub(crate) fn event(hit: &Hit) -> Option<Value> {
    let event = match &hit.record.event {
        Event::Exec(exec) => launched(hit, exec),
        Event::Exit(exit) => terminated(hit, exit),
        Event::SessionBegan(began) => opened(hit, began),
        Event::SessionEnded(ended) => closed(hit, ended),
        Event::Network(network)
            if network.what == NetworkDeed::Connect && network.address.is_some() =>
        {
            connected(hit, network)
        }
        Event::File(file) => touched(hit, file),
        Event::Refused(refused) => failed(hit, refused),
        Event::Incident(incident) => found(hit, incident),
        Event::Threshold(crossed) => {
            finding(hit, (MEDIUM, "A session went beyond a threshold"), &crossed.to_string())
        }
        Event::Outside(outside) => {
            finding(hit, (LOW, "A login outside any grant"), &outside.to_string())
        }
        Event::Meddled(meddled) => {
            finding(hit, (HIGH, "The login path was changed on the host"), &meddled.what)
        }
        Event::Loss(loss) => {
            let text = format!("{} events are missing after number {}", loss.missing, loss.after);
            finding(hit, (HIGH, "Events of a session were lost"), &text)
        }
        _ => return None,
    };
    Some(Value::Object(event))
}

/// What every event has. `class` is the class and its activity.
fn base(hit: &Hit, (class, activity): (u64, u64), severity: u64) -> Map<String, Value> {
    let mut event = Map::new();
    let mut put = |name: &str, value: Value| drop(event.insert(name.to_owned(), value));
    put("class_uid", class.into());
    // A class's number is its category and its place there.
    put("category_uid", (class / 1_000).into());
    put("activity_id", activity.into());
    put("type_uid", class.saturating_mul(100).saturating_add(activity).into());
    put("severity_id", severity.into());
    put("time", hit.record.at.millis().into());
    put(
        "metadata",
        json!({
            "version": VERSION,
            "product": {"name": "Curfew", "vendor_name": "Curfew", "version": env!("CARGO_PKG_VERSION")},
            "uid": format!("{}/{}", hit.host, hit.record.number.number()),
            "sequence": hit.record.number.number(),
        }),
    );
    event
}

fn with(mut event: Map<String, Value>, more: Value) -> Map<String, Value> {
    if let Value::Object(more) = more {
        event.extend(more);
    }
    event
}

/// Process Activity: Launch.
fn launched(hit: &Hit, exec: &Exec) -> Map<String, Value> {
    let path = exec.path.display();
    let name = path.rsplit('/').next().unwrap_or_default();
    let name = if name.is_empty() { "unknown" } else { name };
    let words: Vec<String> = exec.arguments.iter().map(wire::octets::Octets::display).collect();
    let process = json!({
        "pid": exec.pid,
        "name": name,
        "cmd_line": words.join(" "),
        "file": {"name": name, "path": path, "type_id": 1},
        "user": {"uid": exec.euid.to_string()},
        "parent_process": {"pid": exec.parent},
    });
    let event = base(hit, (PROCESS, 1), INFORMATIONAL);
    with(event, json!({"process": process, "actor": actor(hit), "device": device(hit)}))
}

/// Process Activity: Terminate.
fn terminated(hit: &Hit, exit: &Exit) -> Map<String, Value> {
    let code = match exit.status {
        ExitStatus::Code(code) => i32::from(code),
        // As shells have it.
        ExitStatus::Signal(signal) => i32::from(signal).saturating_add(128),
    };
    let process = json!({"pid": exit.pid});
    let event = base(hit, (PROCESS, 2), INFORMATIONAL);
    with(
        event,
        json!({"process": process, "actor": actor(hit), "device": device(hit), "exit_code": code}),
    )
}

/// Network Activity: Open.
fn connected(hit: &Hit, network: &Network) -> Map<String, Value> {
    let name = network.program.display();
    let process = json!({"pid": network.pid, "name": name});
    let mut actor = actor(hit);
    if let Some(body) = actor.as_object_mut() {
        body.insert("process".to_owned(), process);
    }
    let to = json!({"ip": network.address, "port": network.port});
    let connection = json!({"direction_id": 2, "protocol_name": "tcp"});
    let event = base(hit, (NETWORK, 1), INFORMATIONAL);
    let more = json!({"dst_endpoint": to, "connection_info": connection, "actor": actor, "device": device(hit)});
    with(event, more)
}

/// File System Activity: Update, or Open.
fn touched(hit: &Hit, file: &FileTouched) -> Map<String, Value> {
    let path = file.path.display();
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    let program = file.program.as_ref().map(|program| program.display());
    let mut actor = actor(hit);
    if let Some(body) = actor.as_object_mut() {
        body.insert("process".to_owned(), json!({"pid": file.pid, "name": program}));
    }
    let activity = match file.what {
        FileDeed::Written => UPDATE,
        FileDeed::Opened => OPEN,
    };
    let event = base(hit, (FILE, activity), INFORMATIONAL);
    let file = json!({"name": name, "path": path, "type_id": REGULAR});
    with(event, json!({"file": file, "actor": actor, "device": device(hit)}))
}

/// SSH Activity: Open.
fn opened(hit: &Hit, began: &SessionBegan) -> Map<String, Value> {
    let event = base(hit, (SSH, 1), INFORMATIONAL);
    with(
        event,
        json!({
            "src_endpoint": endpoint(&began.remote),
            "dst_endpoint": {"hostname": hit.host, "port": 22},
            "actor": actor(hit),
            "device": device(hit),
            "status_id": 1,
            "unmapped": {
                "grant": began.subject.grant.to_string(),
                "serial": began.subject.serial.number(),
                "role": began.subject.role,
                "grant_until": began.grant_until,
            },
        }),
    )
}

/// SSH Activity: Close.
fn closed(hit: &Hit, ended: &SessionEnded) -> Map<String, Value> {
    let event = base(hit, (SSH, 2), INFORMATIONAL);
    with(
        event,
        json!({
            "src_endpoint": {"name": "client"},
            "dst_endpoint": {"hostname": hit.host, "port": 22},
            "actor": actor(hit),
            "device": device(hit),
            "status_id": 1,
            "status_detail": ended.reason.name(),
            "unmapped": {
                "killed": ended.killed,
                "survivors": ended.survivors,
                "took_micros": ended.took_micros,
            },
        }),
    )
}

/// Authentication: a logon that failed.
fn failed(hit: &Hit, refused: &Refused) -> Map<String, Value> {
    let event = base(hit, (AUTHENTICATION, 1), LOW);
    with(
        event,
        json!({
            "user": {"name": refused.login.display()},
            "src_endpoint": endpoint(&refused.remote),
            "dst_endpoint": {"hostname": hit.host, "port": 22},
            "service": {"name": "sshd"},
            "is_remote": true,
            "status_id": 2,
            "status_detail": refused.reason,
            "count": refused.count.max(1),
            "unmapped": {"key": refused.key, "key_id": refused.key_id, "serial": refused.serial},
        }),
    )
}

fn found(hit: &Hit, incident: &Incident) -> Map<String, Value> {
    finding(hit, (CRITICAL, "Something happened that must never happen"), &incident.to_string())
}

/// Detection Finding: Create.
fn finding(hit: &Hit, (severity, title): (u64, &str), text: &str) -> Map<String, Value> {
    let event = base(hit, (FINDING, 1), severity);
    let uid = format!("{}/{}", hit.host, hit.record.number.number());
    with(
        event,
        json!({
            "finding_info": {"title": title, "uid": uid, "desc": text, "created_time": hit.record.at},
            "status_id": 1,
            "is_alert": true,
            "device": device(hit),
            "actor": actor(hit),
        }),
    )
}

/// Who: the person, and the session as far as it is known.
fn actor(hit: &Hit) -> Value {
    let session = hit.record.session.map(|session| session.to_string());
    match (&hit.whose, session) {
        (Some(whose), session) => json!({
            "user": {"name": whose.identity, "type_id": 1},
            "session": {"uid": session, "is_remote": true, "created_time": whose.began},
        }),
        (None, Some(session)) => json!({"session": {"uid": session}}),
        (None, None) => json!({"app_name": "curfew-agent"}),
    }
}

/// A server.
fn device(hit: &Hit) -> Value {
    json!({"hostname": hit.host, "type_id": 1})
}

fn endpoint(remote: &str) -> Value {
    match remote.parse::<std::net::IpAddr>() {
        Ok(address) => json!({"ip": address}),
        Err(_) if remote.is_empty() => json!({"name": "unknown"}),
        Err(_) => json!({"name": remote}),
    }
}

const VERSION: &str = "1.2.0";
const FILE: u64 = 1001;
const UPDATE: u64 = 3;
const OPEN: u64 = 14;
const REGULAR: u64 = 1;
const PROCESS: u64 = 1007;
const FINDING: u64 = 2004;
const AUTHENTICATION: u64 = 3002;
const NETWORK: u64 = 4001;
const SSH: u64 = 4007;
const INFORMATIONAL: u64 = 1;
const LOW: u64 = 2;
const MEDIUM: u64 = 3;
const HIGH: u64 = 4;
const CRITICAL: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    /// What a class must have, with paths into objects; of a group with `|` one must be there.
    ///
    /// Source: github.com/ocsf/ocsf-schema, `events/` and `objects/`, `requirement: required` and `at_least_one`, of 1.2.0 and of the main branch
    /// at a5cfc68 (2026-07-22), whichever asks for more.
    const REQUIRED: [(u64, &[u64], &[&str]); 6] = [
        (
            1001,
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14],
            &[
                "actor",
                "actor/process|actor/user|actor/session|actor/app_name",
                "device",
                "device/type_id",
                "file",
                "file/name",
                "file/type_id",
            ],
        ),
        (
            1007,
            &[1, 2, 3, 4, 5],
            &[
                "actor",
                "actor/process|actor/user|actor/session|actor/app_name",
                "device",
                "device/type_id",
                "device/hostname|device/ip|device/name|device/uid",
                "process",
                "process/pid|process/uid",
            ],
        ),
        (2004, &[1, 2, 3], &["finding_info", "finding_info/title", "finding_info/uid"]),
        (
            3002,
            &[1, 2, 3, 4, 5, 6],
            &["user", "user/name|user/uid|user/account", "service|dst_endpoint"],
        ),
        (
            4001,
            &[1, 2, 3, 4, 5, 6],
            &["dst_endpoint|src_endpoint", "dst_endpoint/ip", "connection_info/direction_id"],
        ),
        (
            4007,
            &[1, 2, 3, 4, 5, 6, 7],
            &[
                "src_endpoint",
                "dst_endpoint",
                "src_endpoint/ip|src_endpoint/hostname|src_endpoint/name|src_endpoint/uid",
                "dst_endpoint/ip|dst_endpoint/hostname|dst_endpoint/name|dst_endpoint/uid",
            ],
        ),
    ];
    /// The same for every class (`events/base_event.json`, `objects/metadata.json`, `objects/product.json`).
    const ALWAYS: [&str; 10] = [
        "activity_id",
        "category_uid",
        "class_uid",
        "type_uid",
        "severity_id",
        "time",
        "metadata",
        "metadata/version",
        "metadata/product",
        "metadata/product/vendor_name",
    ];

    fn at<'a>(event: &'a Value, path: &str) -> Option<&'a Value> {
        event.pointer(&format!("/{path}")).filter(|value| !value.is_null())
    }

    fn check(event: &Value) {
        let number = |name: &str| event[name].as_u64().unwrap();
        let class = number("class_uid");
        let (_, activities, paths) = REQUIRED.iter().find(|(known, ..)| *known == class).unwrap();
        for path in ALWAYS.iter().chain(paths.iter()) {
            assert!(path.split('|').any(|path| at(event, path).is_some()), "{path}: {event}");
        }
        assert!(activities.contains(&number("activity_id")), "{event}");
        assert_eq!(number("category_uid"), class / 1000);
        assert_eq!(number("type_uid").checked_sub(number("activity_id")), class.checked_mul(100));
        assert!(number("severity_id") <= 6);
        if let Some(file) = at(event, "process/file") {
            assert!(file["name"].is_string() && file["type_id"].is_u64());
        }
        for user in ["actor/user", "process/user"].iter().filter_map(|path| at(event, path)) {
            assert!(user["name"].is_string() || user["uid"].is_string());
        }
    }

    fn hit(event: Value, whose: bool) -> Hit {
        let whose = whose.then(|| {
            json!({"identity": "ana@example.com", "login": "app", "role": "deploy", "began": 1_000})
        });
        let session = whose.is_some().then_some("00000000000000a1");
        serde_json::from_value(json!({
            "host": "db1", "whose": whose,
            "record": {"number": 7, "at": 1_800_000_000_000_u64, "uptime": 5, "session": session, "event": event},
        }))
        .unwrap()
    }

    fn events() -> Vec<(u64, Value)> {
        let key = format!("SHA256:{}", "A".repeat(43));
        let exec = json!({"exec": {"sequence": 1, "pid": 50, "parent": 1, "uid": 1000, "euid": 0, "path": "/usr/bin/sudo",
            "arguments": ["sudo", "cat", "/etc/\u{1b}shadow"], "cut": 0}});
        let began = json!({"session_began": {"subject": {"identity": "ana@example.com", "grant": 17, "serial": 7, "key": key,
            "role": "deploy", "login": "app", "host": "db1"}, "certificate_until": 1, "grant_until": 2, "remote": "10.0.0.9",
            "monitor_pid": 3}});
        let ended = json!({"session_ended": {"reason": {"idle": {"secs": 5}}, "killed": 1, "survivors": 0, "took_micros": 9}});
        let refused = json!({"refused": {"login": "app", "remote": "", "key_id": "x", "serial": 7, "key": key,
            "reason": "locked", "count": 2}});
        vec![
            (1007, exec),
            (1007, json!({"exit": {"sequence": 2, "pid": 50, "status": {"signal": 9}}})),
            (
                4001,
                json!({"network": {"sequence": 3, "pid": 50, "program": "curl", "what": "connect", "address": "10.0.0.9", "port": 443}}),
            ),
            (
                1001,
                json!({"file": {"pid": 50, "program": "tee", "what": "written", "path": "/etc/hosts", "inode": 9, "device": 1}}),
            ),
            (
                1001,
                json!({"file": {"pid": 50, "what": "opened", "path": "/etc/shadow", "inode": 9, "device": 1}}),
            ),
            (4007, began),
            (4007, ended),
            (3002, refused),
            (2004, json!({"loss": {"after": 2, "missing": 3}})),
            (2004, json!({"incident": {"meddled": {"what": "a line is gone", "mended": false}}})),
            (2004, json!({"meddled": {"what": "a line is gone", "mended": false}})),
            (2004, json!({"outside": {"login": "root", "remote": "10.0.0.9", "allowed": true}})),
        ]
    }

    #[test]
    fn every_event_has_what_its_class_requires() {
        for whose in [true, false] {
            for (class, record) in events() {
                let event = event(&hit(record, whose)).unwrap();
                assert_eq!(event["class_uid"], class);
                check(&event);
            }
        }
    }

    #[test]
    fn the_same_record_is_the_same_event() {
        for (_, record) in events() {
            let text =
                |record: &Value| serde_json::to_string(&event(&hit(record.clone(), true))).unwrap();
            assert_eq!(text(&record), text(&record));
        }
    }

    #[test]
    fn a_command_is_as_it_was_started_and_harmless() {
        let event = event(&hit(events()[0].1.clone(), true)).unwrap();
        assert_eq!(event["process"]["cmd_line"], "sudo cat /etc/\\u{1b}shadow");
        assert_eq!(event["process"]["user"]["uid"], "0");
        assert_eq!(event["actor"]["user"]["name"], "ana@example.com");
        assert_eq!(event["metadata"]["uid"], "db1/7");
    }

    #[test]
    fn what_has_no_class_is_left_out() {
        let warned = json!({"warned": {"message": "soon", "terminals": 1}});
        assert!(event(&hit(warned, true)).is_none());
    }
}
