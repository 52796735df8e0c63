//! What a process belongs to, from the marks that it carries: pure.
//!
//! The kernel's tag decides. Audit session, login uid and control group are secondary: root in a session can change them,
//! and does where work is handed to a daemon. What does not agree with the tag is named.

use wire::explain::{Belongs, Evidence, Explanation, Mark};
use wire::identifier::SessionId;
use wire::octets::Octets;

/// A process as the kernel and `/proc` show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its number.
    pub pid: i32,
    /// When it started, in ticks after boot.
    pub start_ticks: u64,
    /// The name that it gives itself.
    pub command: Octets,
    /// The file that it runs; nothing for the kernel's own.
    pub program: Option<Octets>,
    /// The user it runs as.
    pub uid: u32,
    /// Its parent.
    pub parent: i32,
    /// The session of its tag.
    pub tag: Option<SessionId>,
    /// The sessions that may have asked systemd for the transient unit that it runs in.
    pub asked: Vec<SessionId>,
    /// The session of its nearest ancestor that has a tag, and which process that is.
    pub ancestor: Option<(SessionId, i32)>,
    /// Its audit session, when it is set.
    pub audit: Option<u32>,
    /// The user who logged in, when it is set.
    pub login_uid: Option<u32>,
    /// Its control group.
    pub cgroup: Option<String>,
    /// Whether it lives in a process namespace of its own.
    pub is_apart: bool,
    /// Whether it is the kernel's.
    pub is_kernel: bool,
}

/// The marks of a session that lives, as sshd's monitor carries them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The session.
    pub id: SessionId,
    /// Its audit session.
    pub audit: Option<u32>,
    /// The user who logged in.
    pub login_uid: Option<u32>,
    /// Its control group.
    pub scope: Option<String>,
}

/// Says what the process belongs to, by what, and what does not agree.
#[must_use]
pub fn explain(seen: &Seen, known: &[Known]) -> Explanation {
    Explanation {
        pid: seen.pid,
        start_ticks: seen.start_ticks,
        command: seen.command.clone(),
        program: seen.program.clone(),
        uid: seen.uid,
        parent: seen.parent,
        belongs: belongs(seen, known),
        evidence: evidence(seen, known),
        disagreements: disagreements(seen, known),
    }
}

fn belongs(seen: &Seen, known: &[Known]) -> Belongs {
    if seen.is_kernel {
        return Belongs::Kernel;
    }
    if let Some(session) = seen.tag {
        return Belongs::Session(session);
    }
    let candidates = candidates(seen, known);
    let is_own_login = seen.cgroup.as_deref().is_some_and(is_session_scope)
        && by_cgroup(seen, known).is_none()
        && by_audit(seen, known).is_none();
    match (seen.audit, seen.login_uid) {
        (Some(audit_session), Some(login_uid)) if is_own_login || candidates.is_empty() => {
            Belongs::Outside { audit_session, login_uid }
        }
        _ if !candidates.is_empty() => Belongs::Delegated { candidates },
        _ if seen.is_apart => Belongs::Container,
        _ => Belongs::Host,
    }
}

/// The sessions from which an untagged process may come: of its parent, its audit session, its control group; and where
/// none of these names one, all of the user who logged in.
fn candidates(seen: &Seen, known: &[Known]) -> Vec<SessionId> {
    let mut found: Vec<SessionId> =
        [seen.ancestor.map(|(session, _)| session), by_audit(seen, known), by_cgroup(seen, known)]
            .into_iter()
            .flatten()
            .collect();
    if found.is_empty() {
        found.extend(&seen.asked);
    }
    if found.is_empty() {
        let same_user =
            |known: &&Known| known.login_uid.is_some() && known.login_uid == seen.login_uid;
        found.extend(known.iter().filter(same_user).map(|known| known.id));
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn by_audit(seen: &Seen, known: &[Known]) -> Option<SessionId> {
    let audit = seen.audit?;
    known.iter().find(|known| known.audit == Some(audit)).map(|known| known.id)
}

fn by_cgroup(seen: &Seen, known: &[Known]) -> Option<SessionId> {
    let cgroup = seen.cgroup.as_ref()?;
    let inside = |scope: &String| {
        cgroup
            .strip_prefix(scope.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    known.iter().find(|known| known.scope.as_ref().is_some_and(inside)).map(|known| known.id)
}

fn evidence(seen: &Seen, known: &[Known]) -> Vec<Evidence> {
    let mut found = Vec::new();
    let mut add = |mark, holds: String, session| found.push(Evidence { mark, holds, session });
    add(Mark::Tag, seen.tag.map_or_else(|| "none".into(), |tag| tag.to_string()), seen.tag);
    if let Some((session, pid)) = seen.ancestor {
        add(Mark::Parentage, format!("process {pid}"), Some(session));
    }
    add(Mark::AuditSession, number(seen.audit), by_audit(seen, known));
    add(Mark::LoginUid, number(seen.login_uid), None);
    let cgroup = seen.cgroup.as_deref().map_or_else(|| "none".into(), wire::octets::plain);
    add(Mark::Cgroup, cgroup, by_cgroup(seen, known));
    if seen.is_apart {
        add(Mark::Namespace, "not that of the host".into(), None);
    }
    found
}

fn number(mark: Option<u32>) -> String {
    mark.map_or_else(|| "not set".into(), |number| number.to_string())
}

/// What of the secondary marks does not fit the session of the tag.
#[must_use]
pub fn disagreements(seen: &Seen, known: &[Known]) -> Vec<String> {
    let mut found = Vec::new();
    let Some(tag) = seen.tag else {
        if let Some(session) = by_audit(seen, known) {
            found.push(format!("it has the audit session of {session} and not its tag"));
        }
        if let Some(session) = by_cgroup(seen, known) {
            found.push(format!("it is in the control group of {session} and has not its tag"));
        }
        return found;
    };
    let Some(own) = known.iter().find(|known| known.id == tag) else {
        found.push(format!("its tag names {tag}, of which this agent knows nothing"));
        return found;
    };
    if own.audit.is_some() && own.audit != seen.audit {
        let (theirs, ours) = (number(seen.audit), number(own.audit));
        found.push(format!("its audit session is {theirs}, that of its session {ours}"));
    }
    if own.login_uid.is_some() && own.login_uid != seen.login_uid {
        let (theirs, ours) = (number(seen.login_uid), number(own.login_uid));
        found.push(format!("its login uid is {theirs}, that of its session {ours}"));
    }
    if own.scope.is_some() && by_cgroup(seen, known) != Some(tag) {
        let cgroup = seen.cgroup.as_deref().map_or_else(|| "none".into(), wire::octets::plain);
        found.push(format!("it has left the control group of its session for {cgroup}"));
    }
    found
}

/// logind's scope of one login.
fn is_session_scope(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.starts_with("session-") && name.ends_with(".scope")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    fn session(number: u64) -> SessionId {
        SessionId::new(NonZeroU64::new(number).unwrap())
    }

    fn known() -> Vec<Known> {
        let of = |id, audit, scope: &str| Known {
            id: session(id),
            audit: Some(audit),
            login_uid: Some(1000),
            scope: Some(scope.into()),
        };
        vec![
            of(1, 7, "/user.slice/user-1000.slice/session-7.scope"),
            of(2, 8, "/user.slice/user-1000.slice/session-8.scope"),
        ]
    }

    fn seen() -> Seen {
        Seen {
            pid: 50,
            start_ticks: 9,
            command: Octets::new("sleep"),
            program: Some(Octets::new("/bin/sleep")),
            uid: 1000,
            parent: 1,
            tag: Some(session(1)),
            ancestor: None,
            asked: Vec::new(),
            audit: Some(7),
            login_uid: Some(1000),
            cgroup: Some("/user.slice/user-1000.slice/session-7.scope".into()),
            is_apart: false,
            is_kernel: false,
        }
    }

    #[test]
    fn marks_that_agree_leave_nothing_to_say() {
        let told = explain(&seen(), &known());
        assert_eq!(told.belongs, Belongs::Session(session(1)));
        assert_eq!(told.disagreements, Vec::<String>::new());
        let named: Vec<_> = told.evidence.iter().filter_map(|mark| mark.session).collect();
        assert_eq!(named, [session(1); 3]);
    }

    #[test]
    fn the_tag_decides_and_what_root_changed_is_named() {
        let cases = [
            (Seen { audit: None, ..seen() }, "audit session is not set"),
            (Seen { login_uid: Some(0), ..seen() }, "login uid is 0"),
            (
                Seen { cgroup: Some("/system.slice/x.scope".into()), ..seen() },
                "left the control group",
            ),
            (Seen { audit: Some(8), ..seen() }, "audit session is 8"),
        ];
        for (seen, words) in cases {
            let told = explain(&seen, &known());
            assert_eq!(told.belongs, Belongs::Session(session(1)), "{words}");
            assert!(told.disagreements.iter().any(|said| said.contains(words)), "{told:?}");
        }
        let stray = Seen { tag: Some(session(9)), ..seen() };
        assert!(disagreements(&stray, &known())[0].contains("knows nothing"));
    }

    #[test]
    fn without_a_tag_nothing_is_given_to_one_session_in_silence() {
        let lost = Seen { tag: None, ..seen() };
        let service = Seen {
            audit: Some(99),
            cgroup: Some(
                "/user.slice/user-1000.slice/user@1000.service/app.slice/x.service".into(),
            ),
            ..lost.clone()
        };
        let both = vec![session(1), session(2)];
        let cases = [
            (lost.clone(), Belongs::Delegated { candidates: vec![session(1)] }),
            (service, Belongs::Delegated { candidates: both }),
            (
                Seen {
                    audit: Some(99),
                    cgroup: Some("/user.slice/user-1000.slice/session-99.scope".into()),
                    ..lost.clone()
                },
                Belongs::Outside { audit_session: 99, login_uid: 1000 },
            ),
            (
                Seen {
                    audit: None,
                    login_uid: None,
                    cgroup: Some("/system.slice/cron.service".into()),
                    ..lost.clone()
                },
                Belongs::Host,
            ),
            (Seen { is_kernel: true, ..lost.clone() }, Belongs::Kernel),
            (
                Seen { audit: None, login_uid: None, cgroup: None, is_apart: true, ..lost },
                Belongs::Container,
            ),
        ];
        for (seen, belongs) in cases {
            assert_eq!(explain(&seen, &known()).belongs, belongs, "{seen:?}");
        }
    }

    #[test]
    fn a_group_whose_name_only_begins_alike_is_another() {
        let near =
            Seen { cgroup: Some("/user.slice/user-1000.slice/session-7.scope2".into()), ..seen() };
        assert_eq!(by_cgroup(&near, &known()), None);
        let below = Seen {
            cgroup: Some("/user.slice/user-1000.slice/session-7.scope/sub".into()),
            ..seen()
        };
        assert_eq!(by_cgroup(&below, &known()), Some(session(1)));
    }
}
