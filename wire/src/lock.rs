//! A lock: someone or something gets no access until it is lifted.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::identifier::{
    Fingerprint, GrantId, HostName, Identity, Login, RoleName, Serial, SessionId,
};
use crate::network::Network;
use crate::time::Timestamp;

/// What a lock is on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A person or workload, everywhere.
    Identity(Identity),
    /// Everything under one grant.
    Grant(GrantId),
    /// One certificate.
    Serial(Serial),
    /// One subject key, by its fingerprint.
    Key(Fingerprint),
    /// One session.
    Session(SessionId),
    /// Every session on one host.
    Host(HostName),
    /// Everything under one role.
    Role(RoleName),
    /// One unix account, on every host.
    Login(Login),
    /// Everything that was certified with one key of the authority, by its fingerprint.
    Authority(Fingerprint),
    /// Every login from one network, by the client's address as the host saw it.
    Network(Network),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(name) => write!(f, "identity {name}"),
            Self::Grant(name) => write!(f, "grant {name}"),
            Self::Serial(name) => write!(f, "certificate {name}"),
            Self::Key(name) => write!(f, "key {name}"),
            Self::Session(name) => write!(f, "session {name}"),
            Self::Host(name) => write!(f, "host {name}"),
            Self::Role(name) => write!(f, "role {name}"),
            Self::Login(name) => write!(f, "login {name}"),
            Self::Authority(name) => write!(f, "authority key {name}"),
            Self::Network(name) => write!(f, "network {name}"),
        }
    }
}

/// A lock in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// What it is on.
    pub target: Target,
    /// Why, in the words of whoever ordered it; shown to the person who is ended.
    pub reason: String,
    /// When it ends by itself; never, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What can be locked about one session or one login attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Whose it is.
    pub identity: Identity,
    /// The grant it is under.
    pub grant: GrantId,
    /// The certificate it began with.
    pub serial: Serial,
    /// The certificate's subject key.
    pub key: Fingerprint,
    /// The role of the grant.
    pub role: RoleName,
    /// The unix account.
    pub login: Login,
    /// The host.
    pub host: HostName,
    /// The authority's key that signed the certificate; nobody knows it of what began before hosts kept it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<Fingerprint>,
}

impl Lock {
    /// Whether the lock is in force at `now`.
    #[must_use]
    pub fn holds_at(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Whether the lock is on the network that `remote` lies in: a client's address as sshd gave it. What is no address
    /// may have come from there; nothing at all is not known yet, and is asked about again.
    #[must_use]
    pub fn covers_remote(&self, remote: &str) -> bool {
        let Target::Network(network) = self.target else { return false };
        if remote.is_empty() {
            return false;
        }
        remote
            .parse::<IpAddr>()
            .map_or(true, |address| network.covers(Network::of_one(address.to_canonical())))
    }

    /// Whether the lock is on `subject`, or on `session` where there is one already. Where a login comes from is not part
    /// of the subject: [`Lock::covers_remote`].
    #[must_use]
    pub fn covers(&self, subject: &Subject, session: Option<SessionId>) -> bool {
        match &self.target {
            Target::Identity(name) => *name == subject.identity,
            Target::Grant(name) => *name == subject.grant,
            Target::Serial(name) => *name == subject.serial,
            Target::Key(name) => *name == subject.key,
            Target::Session(name) => Some(*name) == session,
            Target::Host(name) => *name == subject.host,
            Target::Role(name) => *name == subject.role,
            Target::Login(name) => *name == subject.login,
            // What nobody knows may have been signed with it.
            Target::Authority(name) => {
                subject.authority.as_ref().is_none_or(|signer| signer == name)
            }
            Target::Network(_) => false,
        }
    }
}

/// The longest reason that is kept, in bytes: it is shown on terminals and in listings.
pub const MAX_REASON: usize = 400;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::num::NonZeroU64;

    pub(crate) fn subject() -> Subject {
        Subject {
            identity: "ana@example.com".parse().unwrap(),
            grant: "g1".parse().unwrap(),
            serial: Serial::try_new(7).unwrap(),
            key: Fingerprint::of(b"key"),
            role: "deploy".parse().unwrap(),
            login: "app".parse().unwrap(),
            host: "db1".parse().unwrap(),
            authority: Some(Fingerprint::of(b"authority")),
        }
    }

    fn on(target: Target) -> Lock {
        Lock { target, reason: "test".into(), until: None }
    }

    #[test]
    fn each_axis_alone_covers_and_its_neighbour_does_not() {
        let session = SessionId::new(NonZeroU64::new(9).unwrap());
        let other = SessionId::new(NonZeroU64::new(8).unwrap());
        let pairs = [
            (
                Target::Identity("ana@example.com".parse().unwrap()),
                Target::Identity("bob".parse().unwrap()),
            ),
            (Target::Grant("g1".parse().unwrap()), Target::Grant("g2".parse().unwrap())),
            (
                Target::Serial(Serial::try_new(7).unwrap()),
                Target::Serial(Serial::try_new(8).unwrap()),
            ),
            (Target::Key(Fingerprint::of(b"key")), Target::Key(Fingerprint::of(b"other"))),
            (Target::Session(session), Target::Session(other)),
            (Target::Host("db1".parse().unwrap()), Target::Host("db2".parse().unwrap())),
            (Target::Role("deploy".parse().unwrap()), Target::Role("dba".parse().unwrap())),
            (Target::Login("app".parse().unwrap()), Target::Login("root".parse().unwrap())),
            (
                Target::Authority(Fingerprint::of(b"authority")),
                Target::Authority(Fingerprint::of(b"key")),
            ),
        ];
        for (hit, miss) in pairs {
            assert!(on(hit.clone()).covers(&subject(), Some(session)), "{hit}");
            assert!(!on(miss.clone()).covers(&subject(), Some(session)), "{miss}");
        }
    }

    #[test]
    fn what_an_unknown_key_certified_is_covered_by_a_lock_on_any() {
        let old = Subject { authority: None, ..subject() };
        assert!(on(Target::Authority(Fingerprint::of(b"key"))).covers(&old, None));
        let text = serde_json::to_string(&old).unwrap();
        assert!(!text.contains("authority"), "as the version before wrote it: {text}");
        assert_eq!(serde_json::from_str::<Subject>(&text).unwrap(), old);
    }

    #[test]
    fn a_network_covers_its_addresses_and_what_is_no_address() {
        let lock = on(Target::Network("10.1.0.0/16".parse().unwrap()));
        assert_eq!(lock.target.to_string(), "network 10.1.0.0/16");
        for (remote, covered) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.0.1", false),
            ("2001:db8::1", false),
            ("bastion.example.com", true),
            ("", false),
        ] {
            assert_eq!(lock.covers_remote(remote), covered, "{remote}");
        }
        assert!(!lock.covers(&subject(), None));
        assert!(!on(Target::Grant("g1".parse().unwrap())).covers_remote("10.1.2.3"));
    }

    #[test]
    fn a_lock_with_an_end_stops_holding_at_that_moment() {
        let lock = Lock {
            until: Some(Timestamp::from_secs(10)),
            ..on(Target::Grant("g1".parse().unwrap()))
        };
        assert!(lock.holds_at(Timestamp::from_millis(9_999)));
        assert!(!lock.holds_at(Timestamp::from_secs(10)));
    }
}
