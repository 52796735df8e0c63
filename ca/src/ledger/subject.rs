//! Logins by the word of an issuer: whose name belongs to which of its subjects, and the teams that it says.
//!
//! A name may be given to another person one day, a subject is not (`OpenID Connect` Core §5.7): the first login under a
//! name binds it to the subject that made it, and no other subject of any issuer gets in under it until an operator lets go.
//! Who can change this: whoever may speak for the issuer, for names that it may speak of. Gains: logs in as them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use wire::identifier::{Identity, TeamName};
use wire::identity::Kind as IdentityKind;
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::identity::{self, Nature};
use super::login::{self, Answered, NewLogin, Proof};
use super::sql::{Connection, OptionalExtension as _, params};
use super::team::{self, Source, TeamChange};
use super::{Actor, Ledger, LedgerError, column, grant};

/// Somebody whom an issuer vouches for.
#[derive(Debug, Clone)]
pub(crate) struct Vouchee {
    /// Who vouches.
    pub(crate) issuer: String,
    /// What the issuer calls them, for good.
    pub(crate) subject: String,
    /// What they are to be called here.
    pub(crate) identity: Identity,
    /// What the settings let be done for them.
    pub(crate) may: May,
    /// The teams that the issuer says they are in; nothing where it is not asked.
    pub(crate) teams: Option<BTreeSet<TeamName>>,
    /// When they last showed a second factor.
    pub(crate) mfa_at: Option<Timestamp>,
}

/// What the settings let be done for somebody whom an issuer vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct May {
    /// The identity may come into being.
    pub(crate) create: bool,
    /// An identity that an operator added may be bound; never an operator.
    pub(crate) bind_existing: bool,
}

/// A subject that is bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bound {
    /// Its identity.
    pub(crate) identity: Identity,
    /// Who vouches.
    pub(crate) issuer: String,
    /// What the issuer calls them.
    pub(crate) subject: String,
}

impl Ledger {
    /// Records the login of a person whom an issuer vouches for, and says as whom. The first binds the name to the subject.
    pub(crate) async fn begin_vouched(
        &self,
        (who, answered): (Vouchee, Answered),
        (hash, until): ([u8; 32], Timestamp),
        now: Timestamp,
    ) -> Result<Identity, LedgerError> {
        self.write(move |connection| {
            login::spend(connection, answered, now)?;
            let identity = match bound_to(connection, &who)? {
                Some(identity) => identity,
                None => bind(connection, &who, now)?,
            };
            if let Some(teams) = &who.teams {
                follow(connection, &identity, teams, now)?;
            }
            let mfa_at = who.mfa_at;
            let new = NewLogin { hash, identity, proof: Proof::Oidc, mfa_at, until };
            login::begin(connection, &new, now)?;
            Ok(new.identity)
        })
        .await
    }

    /// Records the login of a workload whose token the settings map to this identity, which comes into being with it.
    pub(crate) async fn begin_workload(
        &self,
        (identity, answered): (Identity, Answered),
        (hash, until): ([u8; 32], Timestamp),
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            login::spend(connection, answered, now)?;
            match identity::find(connection, &identity)?.map(|known| known.kind) {
                Some(IdentityKind::Workload) => {}
                Some(IdentityKind::Person) => {
                    return Err(LedgerError::Conflict(format!(
                        "{identity} is a person, and no workload's token logs in as one"
                    )));
                }
                None => {
                    let nature = Nature { kind: IdentityKind::Workload, operator: false };
                    let by = Actor::settings();
                    identity::insert(connection, &by, &identity, (nature, now))?;
                }
            }
            let proof = Proof::Workload;
            let new = NewLogin { hash, identity, proof, mfa_at: None, until };
            login::begin(connection, &new, now)
        })
        .await
    }

    /// Every bound subject, in order of identity.
    pub(crate) async fn bound(&self) -> Result<Vec<Bound>, LedgerError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT identity, issuer, subject FROM subjects ORDER BY identity",
            )?;
            let rows = statement.query_map((), |row| {
                let (issuer, subject) = (row.get(1)?, row.get(2)?);
                Ok(Bound { identity: column::name(row, 0)?, issuer, subject })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Lets an identity go: the next subject that is vouched for under its name may have it, as the settings allow. Its
    /// logins end.
    pub(crate) async fn unbind(
        &self,
        by: Actor,
        identity: Identity,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            let found: Option<(String, String)> = connection
                .prepare_cached("SELECT issuer, subject FROM subjects WHERE identity = ?")?
                .query_row([identity.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let (issuer, subject) = found.ok_or_else(|| {
                LedgerError::NotFound(format!("no issuer's subject is bound to {identity}"))
            })?;
            connection
                .prepare_cached("DELETE FROM subjects WHERE identity = ?")?
                .execute([identity.as_str()])?;
            connection
                .prepare_cached("DELETE FROM logins WHERE identity = ? AND method = 'oidc'")?
                .execute([identity.as_str()])?;
            grant::bump_epoch(connection)?;
            let data =
                entry::Subject { by: &by, issuer: &issuer, subject: &subject, identity: &identity };
            entry::append(connection, Kind::SubjectReleased, now, &data)?;
            Ok(())
        })
        .await
    }
}

/// The identity that this subject has already.
fn bound_to(connection: &Connection, who: &Vouchee) -> Result<Option<Identity>, LedgerError> {
    let found = connection
        .prepare_cached("SELECT identity FROM subjects WHERE issuer = ? AND subject = ?")?
        .query_row(params![who.issuer, who.subject], |row| column::name(row, 0))
        .optional()?;
    Ok(found)
}

/// Binds the name to the subject, if the settings let it be, and makes the identity where there is none.
fn bind(connection: &Connection, who: &Vouchee, now: Timestamp) -> Result<Identity, LedgerError> {
    let Vouchee { issuer, subject, identity, may, .. } = who;
    let refuse = |why: &str| Err(LedgerError::Conflict(format!("{identity} {why}")));
    let taken = connection
        .prepare_cached("SELECT 1 FROM subjects WHERE identity = ?")?
        .exists([identity.as_str()])?;
    if taken {
        return refuse(
            "belongs to another account of the identity provider; an operator can let it go with `curfew-ca identity unbind`",
        );
    }
    let by = Actor::settings();
    match identity::find(connection, identity)? {
        None if may.create => {
            identity::insert(connection, &by, identity, (Nature::default(), now))?;
        }
        None => {
            return refuse(
                "is not known here, and nobody comes into being by logging in; ask your operator to add you",
            );
        }
        Some(known) if known.kind != IdentityKind::Person => {
            return refuse("is a workload, and nobody logs in as one");
        }
        Some(known) if known.operator => {
            return refuse("is an operator, and logs in with a key");
        }
        Some(_) if may.bind_existing => {}
        Some(_) => {
            return refuse(
                "was added by an operator, and logs in with a key; `bind_existing` in [oidc] lets it log in so too",
            );
        }
    }
    write_bound(connection, (issuer, subject), identity, now)?;
    let data = entry::Subject { by: &by, issuer, subject, identity };
    entry::append(connection, Kind::SubjectBound, now, &data)?;
    Ok(identity.clone())
}

/// Writes that a subject has an identity.
pub(super) fn write_bound(
    connection: &Connection,
    (issuer, subject): (&str, &str),
    identity: &Identity,
    now: Timestamp,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO subjects (issuer, subject, identity, bound) VALUES (?, ?, ?, ?)",
        )?
        .execute(params![issuer, subject, identity.as_str(), now.millis()])?;
    Ok(())
}

/// Brings the teams that the issuer has a say in to what it says now.
fn follow(
    connection: &Connection,
    identity: &Identity,
    teams: &BTreeSet<TeamName>,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let mut statement = connection
        .prepare_cached("SELECT team FROM members WHERE identity = ? AND source = 'oidc'")?;
    let before: BTreeSet<TeamName> = statement
        .query_map([identity.as_str()], |row| column::name(row, 0))?
        .collect::<Result<_, _>>()?;
    let source = Source::Oidc;
    let one = || BTreeSet::from([identity.clone()]);
    let join = teams.difference(&before).map(|team| (team, one(), BTreeSet::new()));
    let leave = before.difference(teams).map(|team| (team, BTreeSet::new(), one()));
    for (team, join, leave) in join.chain(leave) {
        let change = TeamChange { team: team.clone(), source, join, leave };
        team::alter(connection, &Actor::settings(), &change, now)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{NOW, ledger};
    use super::super::{NewKey, order};
    use super::*;
    use wire::identifier::Fingerprint;
    use wire::lock::{Lock, Target};
    use wire::order::Instruction;

    const ALL: May = May { create: true, bind_existing: true };

    fn who(subject: &str, name: &str, may: May, teams: &[&str]) -> Vouchee {
        Vouchee {
            issuer: "https://id".into(),
            subject: subject.into(),
            identity: name.parse().unwrap(),
            may,
            teams: Some(teams.iter().map(|team| team.parse().unwrap()).collect()),
            mfa_at: None,
        }
    }

    async fn login(ledger: &Ledger, who: Vouchee, number: u8) -> Result<Identity, LedgerError> {
        let until = NOW.after(Duration::from_secs(60));
        let answered = Answered { hash: [number; 32], until };
        ledger.begin_vouched((who, answered), ([number; 32], until), NOW).await
    }

    async fn add(ledger: &Ledger, name: &str, nature: Nature) {
        let print = Fingerprint::of(name.as_bytes());
        let key = NewKey { fingerprint: print, public_key: name.into() };
        let identity = name.parse().unwrap();
        ledger.add_identity(Actor::local(), identity, (key, nature), NOW).await.unwrap();
    }

    #[tokio::test]
    async fn a_name_belongs_to_the_subject_that_had_it_first_until_an_operator_lets_go() {
        let (_dir, ledger) = ledger();
        assert_eq!(login(&ledger, who("1", "ana", ALL, &[]), 1).await.unwrap().as_str(), "ana");
        // Renamed at the provider: the same person, the same identity.
        assert_eq!(login(&ledger, who("1", "anna", ALL, &[]), 2).await.unwrap().as_str(), "ana");
        let other = login(&ledger, who("2", "ana", ALL, &[]), 3).await;
        assert!(matches!(other, Err(LedgerError::Conflict(_))), "{other:?}");
        ledger.unbind(Actor::local(), "ana".parse().unwrap(), NOW).await.unwrap();
        assert!(ledger.login([1; 32], NOW).await.unwrap().is_none());
        assert!(login(&ledger, who("2", "ana", ALL, &[]), 4).await.is_ok());
    }

    #[tokio::test]
    async fn nobody_comes_into_being_and_nobody_is_taken_over_unless_the_settings_say_so() {
        let (_dir, ledger) = ledger();
        let none = May { create: false, bind_existing: false };
        assert!(login(&ledger, who("1", "new", none, &[]), 1).await.is_err());
        add(&ledger, "bob", Nature::default()).await;
        let create = May { create: true, bind_existing: false };
        assert!(login(&ledger, who("1", "bob", create, &[]), 2).await.is_err());
        assert!(login(&ledger, who("1", "bob", ALL, &[]), 3).await.is_ok());
        add(&ledger, "ops", Nature { operator: true, ..Nature::default() }).await;
        let workload = Nature { kind: IdentityKind::Workload, operator: false };
        add(&ledger, "ci", workload).await;
        for name in ["ops", "ci"] {
            let refused = login(&ledger, who(name, name, ALL, &[]), 4).await;
            assert!(matches!(refused, Err(LedgerError::Conflict(_))), "{name}");
        }
    }

    #[tokio::test]
    async fn teams_follow_what_the_provider_says_and_leave_the_operator_s_alone() {
        let (_dir, ledger) = ledger();
        let ana: Identity = "ana".parse().unwrap();
        login(&ledger, who("1", "ana", ALL, &["sre", "dba"]), 1).await.unwrap();
        let local = TeamChange {
            team: "dba".parse().unwrap(),
            source: Source::Local,
            join: BTreeSet::from([ana.clone()]),
            leave: BTreeSet::new(),
        };
        ledger.change_team(Actor::local(), local, NOW).await.unwrap();
        login(&ledger, who("1", "ana", ALL, &["web"]), 2).await.unwrap();
        let teams = ledger.teams_of(ana).await.unwrap();
        let names: Vec<&str> = teams.iter().map(TeamName::as_str).collect();
        assert_eq!(names, ["dba", "web"]);
    }

    #[tokio::test]
    async fn a_token_serves_once_and_the_locked_and_the_disabled_do_not_get_in() {
        let (_dir, ledger) = ledger();
        assert!(login(&ledger, who("1", "ana", ALL, &[]), 1).await.is_ok());
        let again = login(&ledger, who("1", "ana", ALL, &[]), 1).await;
        assert!(matches!(again, Err(LedgerError::Answered)));
        let keyring = std::sync::Arc::new(crate::key::given::keyring());
        let target = Target::Identity("ana".parse().unwrap());
        let lock = Lock { target, reason: "x".into(), until: None };
        ledger
            .write(move |connection| {
                let what = (Instruction::Lock(lock), NOW);
                order::issue(connection, &keyring, (&Actor::local(), "x"), what)
            })
            .await
            .unwrap();
        assert!(matches!(
            login(&ledger, who("1", "ana", ALL, &[]), 2).await,
            Err(LedgerError::NotFound(_))
        ));
    }

    #[tokio::test]
    async fn a_workload_comes_into_being_and_never_is_a_person() {
        let (_dir, ledger) = ledger();
        add(&ledger, "ana", Nature::default()).await;
        let until = NOW.after(Duration::from_secs(60));
        let begin = async |name: &str, number: u8| {
            let answered = Answered { hash: [number; 32], until };
            let who = (name.parse().unwrap(), answered);
            ledger.begin_workload(who, ([number; 32], until), NOW).await
        };
        begin("ci:deploy", 1).await.unwrap();
        begin("ci:deploy", 2).await.unwrap();
        assert!(matches!(begin("ci:deploy", 2).await, Err(LedgerError::Answered)));
        assert!(matches!(begin("ana", 3).await, Err(LedgerError::Conflict(_))));
        let row = ledger.identity("ci:deploy".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((row.kind, row.operator), (IdentityKind::Workload, false));
    }
}
