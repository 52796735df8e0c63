//! Whether what a session's processes carry beside their tag still fits it: login uid, audit session and control group, compared at
//! every program that is started. Pure.
//!
//! The tag decides whose a process is. The others are second witnesses: only root can make them say something else, and who does
//! has a reason. Going from one control group to another below the own user's slice is everybody's right (`systemd-run --user
//! --scope`, `tmux`), and says nothing.

use std::collections::{BTreeMap, BTreeSet};

use wire::identifier::SessionId;

/// What a program carried when it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// The user who logged in, when it is set.
    pub login_uid: Option<u32>,
    /// Its audit session, when it is set.
    pub audit: Option<u32>,
    /// The number of its control group.
    pub cgroup: u64,
}

/// What the connection's own process carries: the session's marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// The user who logged in.
    pub login_uid: u32,
    /// The audit session.
    pub audit: u32,
    /// The control group.
    pub cgroup: String,
}

/// What is known of each session.
#[derive(Debug, Default)]
pub struct Book {
    sessions: BTreeMap<SessionId, Page>,
}

#[derive(Debug)]
struct Page {
    /// Nothing when it could not be learned any more.
    own: Option<Own>,
    /// Control groups that are known to be in order.
    fine: BTreeSet<u64>,
    told: BTreeSet<String>,
}

impl Book {
    /// Compares what a program of the session carried. `learn` reads the session's own marks, while they are not known:
    /// nothing as long as they are not set, an error when nobody is left to learn them from. `place` says where the program's
    /// control group is. Gives what must be told, each thing once and only so many.
    pub fn compare<E>(
        &mut self,
        id: SessionId,
        carried: Carried,
        learn: impl FnOnce() -> Result<Option<Own>, E>,
        place: impl FnOnce() -> Option<String>,
    ) -> Vec<String> {
        let page = match self.sessions.get_mut(&id) {
            Some(page) => page,
            None => {
                let own = match learn() {
                    Ok(None) => return Vec::new(),
                    Ok(own) => own,
                    Err(_nobody) => None,
                };
                let (fine, told) = (BTreeSet::new(), BTreeSet::new());
                self.sessions.entry(id).or_insert(Page { own, fine, told })
            }
        };
        let Some(own) = &page.own else { return Vec::new() };
        let mut found = Vec::new();
        if carried.login_uid != Some(own.login_uid) {
            let theirs = number(carried.login_uid);
            found.push(format!("the login uid was rewritten from {} to {theirs}", own.login_uid));
        }
        if carried.audit != Some(own.audit) {
            let theirs = number(carried.audit);
            found.push(format!("the audit session was rewritten from {} to {theirs}", own.audit));
        }
        if !page.fine.contains(&carried.cgroup)
            && page.fine.len() < MAX_FINE
            && let Some(place) = place()
        {
            if is_fine(own, &place) {
                page.fine.insert(carried.cgroup);
            } else {
                let place = wire::octets::plain(&place);
                found.push(format!("a process was moved into the control group {place}"));
            }
        }
        found.retain(|what| page.told.len() < MAX_TOLD && page.told.insert(what.clone()));
        found
    }

    /// The session is over.
    pub fn forget(&mut self, id: SessionId) {
        self.sessions.remove(&id);
    }
}

/// Whether a control group is one that a session may be in without anybody's having been root.
fn is_fine(own: &Own, place: &str) -> bool {
    let slice = format!("/user.slice/user-{}.slice/", own.login_uid);
    // sshd's own is where a connection is before logind has moved it.
    let is_sshd = place.ends_with("/ssh.service") || place.ends_with("/sshd.service");
    place == own.cgroup || is_sshd || place.starts_with(&slice)
}

fn number(mark: Option<u32>) -> String {
    mark.map_or_else(|| "none".into(), |number| number.to_string())
}

/// Most control groups that are remembered of one session; beyond, moves are not looked at.
const MAX_FINE: usize = 256;
/// Most things that are told of one session: whoever rewrites marks again and again has been told of.
const MAX_TOLD: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    const SCOPE: &str = "/user.slice/user-1000.slice/session-7.scope";

    fn id() -> SessionId {
        SessionId::new(NonZeroU64::new(7).unwrap())
    }

    fn own() -> Result<Option<Own>, ()> {
        Ok(Some(Own { login_uid: 1000, audit: 7, cgroup: SCOPE.into() }))
    }

    const CARRIED: Carried = Carried { login_uid: Some(1000), audit: Some(7), cgroup: 1 };

    fn at(place: &str) -> impl FnOnce() -> Option<String> {
        let place = place.to_owned();
        move || Some(place)
    }

    #[test]
    fn what_fits_says_nothing_and_what_root_rewrote_is_told_once() {
        let mut book = Book::default();
        assert!(book.compare(id(), CARRIED, own, at(SCOPE)).is_empty());
        let unset = Carried { login_uid: None, audit: None, ..CARRIED };
        let told = book.compare(id(), unset, own, at(SCOPE));
        assert_eq!(
            told,
            [
                "the login uid was rewritten from 1000 to none",
                "the audit session was rewritten from 7 to none"
            ]
        );
        assert!(book.compare(id(), unset, own, at(SCOPE)).is_empty(), "once");
        let other = Carried { login_uid: Some(0), ..CARRIED };
        assert_eq!(book.compare(id(), other, own, at(SCOPE)).len(), 1, "another thing");
    }

    #[test]
    fn only_who_leaves_the_users_own_slice_is_told() {
        let mut book = Book::default();
        let of = |cgroup| Carried { cgroup, ..CARRIED };
        let places = [
            (1, SCOPE, 0),
            (2, "/user.slice/user-1000.slice/user@1000.service/tmux-spawn-a.scope", 0),
            (3, "/user.slice/user-1001.slice/session-8.scope", 1),
            (4, "/system.slice/run-u1.scope", 1),
            (5, "/away\u{1b}[2J", 1),
            (6, "/system.slice/ssh.service", 0),
        ];
        for (cgroup, place, told) in places {
            let said = book.compare(id(), of(cgroup), own, at(place));
            assert_eq!(said.len(), told, "{place}: {said:?}");
            assert!(!said.concat().contains('\u{1b}'));
        }
        // What was fine is not looked at again, and a process that is gone says nothing.
        assert!(book.compare(id(), of(2), own, || panic!("looked again")).is_empty());
        assert!(book.compare(id(), of(9), own, || None).is_empty());
    }

    #[test]
    fn without_logind_the_group_of_sshd_is_the_sessions() {
        let mut book = Book::default();
        let here = "/system.slice/ssh.service";
        let own = || Ok::<_, ()>(Some(Own { login_uid: 1000, audit: 7, cgroup: here.into() }));
        assert!(book.compare(id(), CARRIED, own, at(here)).is_empty());
    }

    #[test]
    fn marks_that_are_not_set_yet_are_waited_for_and_those_that_nobody_knows_are_not() {
        let mut book = Book::default();
        let odd = Carried { login_uid: None, ..CARRIED };
        assert!(book.compare(id(), odd, || Ok::<_, ()>(None), at(SCOPE)).is_empty());
        assert_eq!(book.compare(id(), odd, own, at(SCOPE)).len(), 1, "learned by now");
        book.forget(id());
        assert!(book.compare(id(), odd, || Err(()), at(SCOPE)).is_empty());
        assert!(book.compare(id(), odd, own, at(SCOPE)).is_empty(), "it stays unknown");
    }

    #[test]
    fn what_is_told_of_one_session_is_bounded() {
        let mut book = Book::default();
        let told = (0..100)
            .map(|uid| {
                let odd = Carried { login_uid: Some(uid), ..CARRIED };
                book.compare(id(), odd, own, at(SCOPE)).len()
            })
            .sum::<usize>();
        assert_eq!(told, MAX_TOLD);
    }
}
