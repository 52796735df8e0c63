//! Accounts of this host that its own administrator closed: locked, expired, removed, or without a shell. Pure.
//!
//! Read from `/etc/passwd` and `/etc/shadow`. What was so from the beginning closes nothing: an account that only keys
//! open has `*` or `!` in place of a password all its life, and an account for file transfers has no shell. So those two
//! count when they *become* so. A password that is locked (`!` before a hash, as `usermod -L` leaves it) and a date of
//! expiry that has come are always meant, and count from the first look on.
//! docs/decisions has the reasons.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wire::identifier::Login;
use wire::lock::{Lock, Target};

use super::Found;

/// What is remembered of the accounts from the looks before.
///
/// Who can change this: root on the host. Gains: nothing that root cannot do in `/etc/shadow` itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    known: BTreeMap<String, Memory>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    /// The password: closed when it begins with `!`.
    password: Past,
    /// The shell: closed when it lets nobody do anything.
    shell: Past,
    /// It was removed; one of that name that is made anew is another.
    removed: bool,
}

/// How a thing was at the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Past {
    /// Open.
    #[default]
    Open,
    /// Closed, and nobody saw it otherwise.
    Ever,
    /// Closed, and it was seen to become so.
    Became,
}

impl Past {
    const fn next(before: Option<Self>, is_closed: bool) -> Self {
        match (before, is_closed) {
            (_, false) => Self::Open,
            (None | Some(Self::Ever), true) => Self::Ever,
            (Some(Self::Open | Self::Became), true) => Self::Became,
        }
    }
}

/// One account, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its shell.
    pub shell: String,
    /// The second field of its line in `/etc/shadow`; nothing where it has no line there.
    pub password: Option<String>,
    /// The day from which it is closed, counted from 1970.
    pub expires: Option<i64>,
}

impl Accounts {
    /// Takes the accounts as they are `today`, a day counted from 1970, and says which are closed. `elsewhere` is whether
    /// the host knows an account by other means than its files.
    #[must_use]
    pub fn look(
        &mut self,
        accounts: &[Account],
        today: i64,
        elsewhere: impl Fn(&str) -> bool,
    ) -> Found {
        let mut closed = Found::new();
        let mut known = BTreeMap::new();
        for account in accounts {
            let before = self.known.get(&account.name).copied().filter(|memory| !memory.removed);
            let (memory, why) = account.judge(before, today);
            // Without its line in /etc/shadow it is being made: what it will be is not known yet.
            let memory = if account.password.is_some() { Some(memory) } else { before };
            known.extend(memory.map(|memory| (account.name.clone(), memory)));
            closed.extend(why.and_then(|why| lock(&account.name, &why)));
        }
        for (name, memory) in std::mem::take(&mut self.known) {
            if !known.contains_key(&name) && known.len() < MAX_ACCOUNTS && !elsewhere(&name) {
                closed.extend(lock(&name, "the account was removed from /etc/passwd"));
                known.insert(name, Memory { removed: true, ..memory });
            }
        }
        self.known = known;
        closed
    }
}

impl Account {
    fn judge(&self, before: Option<Memory>, today: i64) -> (Memory, Option<String>) {
        let field = self.password.as_deref().unwrap_or_default();
        let barred = field.starts_with('!');
        let memory = Memory {
            password: Past::next(before.map(|memory| memory.password), barred),
            shell: Past::next(before.map(|memory| memory.shell), is_shut(&self.shell)),
            removed: false,
        };
        let why = if self.expires.is_some_and(|day| day <= today) {
            Some("the account has expired (/etc/shadow)".to_owned())
        } else if memory.password == Past::Became || (barred && has_hash(field)) {
            Some("the account is locked (/etc/shadow)".to_owned())
        } else if memory.shell == Past::Became {
            Some(format!("the account has no shell any more ({})", self.shell))
        } else {
            None
        };
        (memory, why)
    }
}

/// Whether a hash stands behind the bars, so that there was a password to lock.
fn has_hash(field: &str) -> bool {
    !field.trim_start_matches(['!', '*']).is_empty()
}

/// Shells that let nobody do anything, by the names that distributions give them.
fn is_shut(shell: &str) -> bool {
    shell.ends_with("/nologin") || shell.ends_with("/false")
}

/// The lock on a closed account; none on a name that no grant can be for.
fn lock(name: &str, why: &str) -> Option<(String, Result<Lock, String>)> {
    let target = Target::Login(Login::try_new(name).ok()?);
    let lock = Lock { target, reason: why.to_owned(), until: None };
    Some((format!("account {name}"), Ok(lock)))
}

/// Reads both files.
///
/// # Errors
/// The file and the line that is not one, so that half a file is never taken for the whole.
pub fn parse(passwd: &str, shadow: &str) -> Result<Vec<Account>, String> {
    let mut secrets = BTreeMap::new();
    for (number, fields) in lines(shadow) {
        let [name, password, _, _, _, _, _, expires, _] = fields.as_slice() else {
            return Err(wrong("shadow", number, fields.len(), 9));
        };
        let expires = match *expires {
            "" => None,
            text => Some(text.parse::<i64>().map_err(|error| {
                format!("/etc/shadow:{number}: the day of expiry is {text:?}: {error}")
            })?),
        };
        // -1 is how chage takes an expiry away.
        secrets.entry(*name).or_insert((*password, expires.filter(|day| *day >= 0)));
    }
    let mut accounts: Vec<Account> = Vec::new();
    let mut names = BTreeSet::new();
    for (number, fields) in lines(passwd) {
        let [name, password, uid, _, _, _, shell] = fields.as_slice() else {
            return Err(wrong("passwd", number, fields.len(), 7));
        };
        // Of two lines with one name the first counts, as for everybody who asks.
        if !names.insert(*name) {
            continue;
        }
        let (password, expires) = secrets.get(name).copied().unwrap_or((*password, None));
        let uid = uid.parse().map_err(|error| {
            format!("/etc/passwd:{number}: the user's number is {uid:?}: {error}")
        })?;
        accounts.push(Account {
            uid,
            name: (*name).to_owned(),
            shell: (*shell).to_owned(),
            password: (password != "x").then(|| password.to_owned()),
            expires,
        });
    }
    if accounts.is_empty() {
        return Err("/etc/passwd holds no account".into());
    }
    Ok(accounts)
}

fn wrong(file: &str, number: usize, fields: usize, needed: usize) -> String {
    format!("/etc/{file}:{number}: the line has {fields} fields, not {needed}")
}

/// Lines with their numbers and fields; not those that are empty, comments, or of NIS (`+`, `-`), as glibc has it.
fn lines(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    let lines = text.lines().enumerate();
    let meant = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', '+', '-']));
    meant.map(|(index, line)| (index.saturating_add(1), line.split(':').collect()))
}

/// Most accounts that are remembered after they were removed.
const MAX_ACCOUNTS: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: i64 = 20_000;

    fn account(password: &str) -> Account {
        let (name, shell) = ("app".to_owned(), "/bin/bash".to_owned());
        Account { uid: 1000, name, shell, password: Some(password.into()), expires: None }
    }

    fn closed(accounts: &mut Accounts, account: &Account) -> Option<String> {
        let found = accounts.look(std::slice::from_ref(account), TODAY, |_| false);
        found.into_values().next().map(|lock| lock.unwrap().reason)
    }

    #[test]
    fn what_only_keys_ever_opened_is_not_closed() {
        for password in ["*", "!", "!!", "!*", "*LK*", "", "$6$salt$hash"] {
            let mut accounts = Accounts::default();
            for _ in 0..3 {
                assert_eq!(closed(&mut accounts, &account(password)), None, "{password}");
            }
        }
    }

    #[test]
    fn usermod_locks_and_unlocks() {
        for (open, locked) in [("$6$salt$hash", "!$6$salt$hash"), ("*", "!*"), ("", "!")] {
            let mut accounts = Accounts::default();
            assert_eq!(closed(&mut accounts, &account(open)), None);
            for _ in 0..2 {
                let why = closed(&mut accounts, &account(locked)).unwrap();
                assert!(why.contains("is locked"), "{why}");
            }
            // It survives a restart of the agent.
            let kept = serde_json::to_string(&accounts).unwrap();
            let mut accounts: Accounts = serde_json::from_str(&kept).unwrap();
            assert!(closed(&mut accounts, &account(locked)).is_some());
            assert_eq!(closed(&mut accounts, &account(open)), None);
        }
        assert!(closed(&mut Accounts::default(), &account("!$6$salt$hash")).is_some());
    }

    #[test]
    fn an_account_that_is_just_being_made_is_not_taken_for_one_that_is_locked() {
        let mut accounts = Accounts::default();
        let (made, whole) = (Account { password: None, ..account("") }, account("!"));
        for account in [&made, &whole, &whole] {
            assert_eq!(closed(&mut accounts, account), None);
        }
    }

    #[test]
    fn a_day_of_expiry_closes_when_it_has_come() {
        for (expires, is_closed) in
            [(None, false), (Some(1), true), (Some(TODAY), true), (Some(TODAY + 1), false)]
        {
            let account = Account { expires, ..account("*") };
            assert_eq!(
                closed(&mut Accounts::default(), &account).is_some(),
                is_closed,
                "{expires:?}"
            );
        }
    }

    #[test]
    fn only_a_shell_that_is_taken_away_closes() {
        let shut = Account { shell: "/usr/sbin/nologin".into(), ..account("*") };
        let mut accounts = Accounts::default();
        assert_eq!(closed(&mut accounts, &shut), None);
        let mut accounts = Accounts::default();
        assert_eq!(closed(&mut accounts, &account("*")), None);
        assert!(closed(&mut accounts, &shut).unwrap().contains("no shell"));
        assert_eq!(closed(&mut accounts, &account("*")), None);
    }

    #[test]
    fn a_removed_account_is_closed_unless_the_host_knows_it_otherwise() {
        for elsewhere in [false, true] {
            let mut accounts = Accounts::default();
            let root = Account { name: "root".into(), ..account("*") };
            assert!(accounts.look(&[root.clone(), account("*")], TODAY, |_| elsewhere).is_empty());
            let found = accounts.look(std::slice::from_ref(&root), TODAY, |_| elsewhere);
            assert_eq!(found.contains_key("account app"), !elsewhere);
            // Made anew, it is as open as any.
            assert!(accounts.look(&[root, account("!")], TODAY, |_| elsewhere).is_empty());
        }
    }

    #[test]
    fn files_are_read_strictly_and_whole() {
        let passwd =
            "# c\nroot:x:0:0::/root:/bin/sh\n\n+::::::\napp:x:1000:1000:A, B:/home/app:/bin/bash\n";
        let shadow = "root:*:19000:0:99999:7:::\napp:!$6$x:19000:0:99999:7::1:\n";
        let accounts = parse(passwd, shadow).unwrap();
        assert_eq!(accounts.len(), 2);
        assert_eq!(
            (accounts[1].password.as_deref(), accounts[1].expires),
            (Some("!$6$x"), Some(1))
        );
        assert_eq!(parse("app:x:1000:1000::/:/bin/sh\n", "").unwrap()[0].password, None);
        for (passwd, shadow, expected) in [
            ("root:x:0:0::/root\n", "", "/etc/passwd:1: the line has 6 fields, not 7"),
            (passwd, "root:*\n", "/etc/shadow:1: the line has 2 fields, not 9"),
            (passwd, "root:*::::::soon:\n", "day of expiry is \"soon\""),
            ("", "", "no account"),
        ] {
            let error = parse(passwd, shadow).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
