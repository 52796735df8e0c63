//! The bodies of the HTTP interface, `/v1`. JSON both ways; an error is a [`crate::problem::Problem`].
//!
//! | call | who | body → answer |
//! |---|---|---|
//! | `GET /v1/authority` | anyone | → [`Authority`] |
//! | `POST /v1/login/challenge` | anyone | [`ChallengeAsk`] → [`Challenge`] |
//! | `POST /v1/login` | anyone | [`LoginAsk`] → [`Token`] |
//! | `POST /v1/login/oidc/begin`, `/finish` | anyone | [`OidcBegin`](crate::login::OidcBegin) → [`OidcBegun`](crate::login::OidcBegun); [`OidcFinish`](crate::login::OidcFinish) → [`OidcAnswer`](crate::login::OidcAnswer) |
//! | `POST /v1/login/workload` | anyone | [`WorkloadAsk`](crate::login::WorkloadAsk) → [`Known`](crate::login::Known) |
//! | `GET /v1/logins` | token | → `Vec<`[`LoginRow`](crate::login::LoginRow)`>`: the caller's own; all for an operator |
//! | `POST /v1/logins/end` | token | [`EndLogins`](crate::login::EndLogins) → [`LoginsEnded`](crate::login::LoginsEnded) |
//! | `GET /v1/keys` | token | → `Vec<`[`KeyRow`]`>`: the caller's own |
//! | `POST /v1/keys/revoke` | token | [`RevokeKey`] → [`OrderProgress`] |
//! | `GET /v1/keys/requests` | token | → `Vec<`[`KeyRequestView`](crate::key_request::KeyRequestView)`>`: the caller's own, and those they can approve |
//! | `POST /v1/keys/requests` | token | [`KeyRequestAsk`](crate::key_request::KeyRequestAsk) → [`KeyRequestView`](crate::key_request::KeyRequestView) |
//! | `POST /v1/keys/requests/{number}/approve` | operator | [`KeyApprovalAsk`](crate::key_request::KeyApprovalAsk) → [`KeyRequestView`](crate::key_request::KeyRequestView) |
//! | `POST /v1/keys/requests/{number}/end` | token | [`NoAsk`](crate::request::NoAsk) → [`KeyRequestView`](crate::key_request::KeyRequestView): taken back by whoever asked, refused by an operator |
//! | `GET /v1/whoami` | token | → [`Whoami`] |
//! | `GET /v1/hosts` | token | → `Vec<`[`HostView`]`>`: those the caller may enter; all of them for an operator |
//! | `POST /v1/certificates` | token | [`CertificateAsk`] → [`CertificateReply`] |
//! | `GET /v1/grants` | token | → `Vec<`[`GrantView`]`>`: the caller's own that have not ended; all for an operator |
//! | `POST /v1/grants/{id}/end` | token | [`EndGrantAsk`] → [`OrderProgress`] |
//! | `POST /v1/grants/{id}/extend` | token | [`ExtendAsk`] → [`ExtendReply`] |
//! | `GET /v1/requests?all=` | token | → `Vec<`[`RequestView`](crate::request::RequestView)`>`: the caller's own, and those they can approve; all for an operator |
//! | `POST /v1/requests` | token | [`RequestAsk`](crate::request::RequestAsk) → [`RequestDetail`](crate::request::RequestDetail) |
//! | `GET /v1/requests/{id}?wait_millis=` | token | → [`RequestDetail`](crate::request::RequestDetail); waits for something to be decided |
//! | `POST /v1/requests/{id}/approve` | token | [`ApprovalAsk`](crate::request::ApprovalAsk) → [`RequestDetail`](crate::request::RequestDetail) |
//! | `POST /v1/requests/{id}/deny` | token | [`NoAsk`](crate::request::NoAsk) → [`RequestDetail`](crate::request::RequestDetail) |
//! | `POST /v1/requests/{id}/withdraw` | token | [`NoAsk`](crate::request::NoAsk) → [`RequestDetail`](crate::request::RequestDetail) |
//! | `POST /v1/requests/{id}/review` | token | [`VerdictAsk`](crate::request::VerdictAsk) → [`Review`]: of break-glass, by somebody else |
//! | `GET /v1/sessions` | token | → `Vec<`[`SessionView`]`>`: the caller's own; all for an operator |
//! | `GET /v1/sessions/{id}` | token | → [`SessionDetail`] |
//! | `GET /v1/retention`, `/v1/retention/due?class=` | operator | → [`RetentionView`](crate::retention::RetentionView), `Vec<`[`SessionView`]`>` |
//! | `POST /v1/retention/holds`, `/releases` | operator | [`HoldAsk`](crate::retention::HoldAsk) → [`HoldView`]; nothing |
//! | `POST /v1/retention/deletions` | operator | [`DeletionAsk`](crate::retention::DeletionAsk) → [`DeletionView`](crate::retention::DeletionView) |
//! | `POST /v1/retention/deletions/{number}/approve`, `/withdraw` | operator | → [`DeletionView`](crate::retention::DeletionView) |
//! | `GET /v1/locks` | operator | → `Vec<`[`LockView`]`>` |
//! | `POST /v1/locks` | operator | [`crate::lock::Lock`] → [`OrderProgress`] |
//! | `POST /v1/unlocks` | operator | [`UnlockAsk`] → [`OrderProgress`] |
//! | `GET /v1/orders/{number}?wait_millis=` | operator | → [`OrderProgress`]; returns when complete or when the wait is over |
//! | `GET /v1/incidents?all=` | operator | → `Vec<`[`IncidentView`](crate::incident::IncidentView)`>` |
//! | `POST /v1/incidents/{number}/report` | operator | → [`Report`](crate::report::Report) |
//! | `POST /v1/incidents/settle` | operator | [`SettleAsk`](crate::incident::SettleAsk) → the same |
//! | `GET /v1/attempts?host=&identity=&serial=&since_secs=&wait_millis=` | token | → `Vec<`[`AttemptView`](crate::attempt::AttemptView)`>`: the caller's own; all for an operator |
//! | `GET /v1/status` | token | → [`Status`] |

use serde::{Deserialize, Serialize};

use crate::identifier::{
    Address, Fingerprint, GrantId, HostName, Identity, Label, Login, OrderNumber, RequestId,
    RoleName, Serial, SessionId, TeamName,
};
use crate::identity::{Kind, Method};
use crate::kill::{KillView, Kills};
use crate::krl::signed::KrlStanding;
use crate::lock::{Lock, Target};
use crate::log::LogKey;
use crate::odd::{Glance, Odd};
use crate::options::Wishes;
use crate::record::{EndReason, Receipt, Record, Tier};
use crate::retention::{Deleted, HoldView};
use crate::review::Review;
use crate::time::Timestamp;

/// What the authority is: its public keys and its clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// The version of the wire.
    pub version: u32,
    /// The fingerprint of the X.509 root, which names the authority.
    pub fingerprint: Fingerprint,
    /// Keys that sign user certificates, in OpenSSH form.
    pub user_authorities: Vec<String>,
    /// Keys that sign host certificates, in OpenSSH form.
    pub host_authorities: Vec<String>,
    /// Keys that sign the ledger's checkpoints; none from an authority that does not tell them.
    #[serde(default)]
    pub log_keys: Vec<LogKey>,
    /// The authority's wall clock.
    pub at: Timestamp,
}

/// "I want to log in."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeAsk {
    /// Who.
    pub identity: Identity,
}

/// What to sign: see [`crate::login::message`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// 32 random bytes in URL-safe base64; good for one try.
    pub challenge: String,
    /// When it is of no use any more.
    pub expires: Timestamp,
}

/// The signed challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginAsk {
    /// Who.
    pub identity: Identity,
    /// The challenge.
    pub challenge: String,
    /// The armoured SSHSIG signature, namespace [`crate::login::NAMESPACE`].
    pub signature: String,
}

/// Proof of a login, to be sent as `Authorization: Bearer`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The secret.
    pub token: String,
    /// When it ends.
    pub expires: Timestamp,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Who the caller is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whoami {
    /// The identity.
    pub identity: Identity,
    /// Whether it may lock, unlock and see everybody's sessions.
    pub operator: bool,
    /// When the login ends.
    pub expires: Timestamp,
    /// Whether it is a person or a workload.
    #[serde(default)]
    pub kind: Kind,
    /// The teams it is in.
    #[serde(default)]
    pub teams: Vec<TeamName>,
    /// With what the login was made.
    #[serde(default)]
    pub method: Method,
    /// The login's number: that of its entry in the ledger.
    #[serde(default)]
    pub login: u64,
    /// When a second factor was last shown in this login; never, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa_at: Option<Timestamp>,
}

/// A key that an identity logs in with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Its fingerprint.
    pub key: Fingerprint,
    /// Itself, in OpenSSH form.
    pub public_key: String,
    /// Since when.
    pub added: Timestamp,
}

/// "Take this key away."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeKey {
    /// Its fingerprint.
    pub key: Fingerprint,
    /// Why.
    pub reason: String,
}

/// A host as a person sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// Its name.
    pub name: HostName,
    /// Where it is reached, and the names in its host certificate besides its own.
    pub addresses: Vec<Address>,
    /// Its labels.
    pub labels: Vec<Label>,
    /// Accounts that the caller may enter, with the role that lets them.
    pub logins: Vec<LoginView>,
    /// When it was last heard of; never, when absent.
    pub seen: Option<Timestamp>,
    /// How much its agent sees, once it has said so.
    pub tier: Option<Tier>,
    /// Whether it is connected now.
    pub connected: bool,
    /// The newest order it has in force; 0 for none.
    pub last_order: u64,
    /// How far it is with lists of revoked keys; absent when its agent knows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub krl: Option<KrlStanding>,
    /// When its SSH certificates end: the first of them, as the host says, or as the ledger does; absent when unknown.
    #[serde(default)]
    pub certificate_until: Option<Timestamp>,
    /// What keeps the next from coming, or sshd from offering it, as the host says.
    #[serde(default)]
    pub certificate_problem: Option<String>,
}

/// An account that a role opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginView {
    /// The unix account.
    pub login: Login,
    /// The role.
    pub role: RoleName,
}

/// A request for a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateAsk {
    /// The subject's public key, in OpenSSH form. Its private half never leaves the client.
    pub public_key: String,
    /// The host: its name or one of its addresses.
    pub host: Address,
    /// The unix account.
    pub login: Login,
    /// The role to use; the authority chooses when only one fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleName>,
    /// The grant's length in seconds; the role's default when absent. Only shortens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_secs: Option<u64>,
    /// What the certificate is to leave out of what the role allows. Asking for more is a denial.
    #[serde(default, skip_serializing_if = "Wishes::is_empty")]
    pub wishes: Wishes,
    /// Why access is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateReply {
    /// In OpenSSH form, one line.
    pub certificate: String,
    /// Its serial.
    pub serial: Serial,
    /// The grant it is under.
    pub grant: GrantId,
    /// The host it is for.
    pub host: HostName,
    /// When it stops opening anything.
    pub valid_before: Timestamp,
    /// When the grant, and with it every session under it, ends.
    pub grant_until: Timestamp,
}

/// A session in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// Its name.
    pub session: SessionId,
    /// Whose.
    pub identity: Identity,
    /// Where.
    pub host: HostName,
    /// As whom.
    pub login: Login,
    /// Under which role.
    pub role: RoleName,
    /// Under which grant.
    pub grant: GrantId,
    /// With which certificate.
    pub serial: Serial,
    /// From where.
    pub remote: String,
    /// When it began.
    pub began: Timestamp,
    /// When it must end.
    pub until: Timestamp,
    /// When and why it ended; absent while it lives.
    pub ended: Option<Ended>,
    /// Programs started in it so far.
    pub execs: u64,
    /// Events known to be lost.
    pub lost: u64,
    /// What a reviewer found; absent while nobody has looked at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Review>,
    /// What was odd in it, for whoever may review it; absent where nothing was, and while it has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub odd: Option<Glance>,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: EndReason,
    /// Processes killed.
    pub killed: u32,
    /// Processes still alive.
    pub survivors: u32,
    /// From the order to the last death, in microseconds.
    pub took_micros: u64,
}

/// A session with everything recorded of it, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionDetail {
    /// The session.
    pub session: SessionView,
    /// Its records.
    pub records: Vec<Record>,
    /// What its host said last of its end, where it did not end by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed: Option<KillView>,
    /// Who holds it, so that nothing of it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HoldView>,
    /// What of it was deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<Deleted>,
    /// What was odd in it, with all reasons, for whoever may review it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub odd: Option<Odd>,
    /// What is spoiled among the records that its host made while it was alive: some of them may have been its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spoiled: Vec<Spoiled>,
}

/// Records in a host's spool that are not what it wrote, or are gone from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spoiled {
    /// The number of the first, among all records of the host.
    pub from: u64,
    /// The number of the last.
    pub to: u64,
    /// What is wrong with them.
    pub flaw: String,
}

impl std::fmt::Display for Spoiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, to, flaw } = self;
        let flaw = crate::octets::plain(flaw);
        if from == to {
            write!(f, "record {from} of the host: {flaw}")
        } else {
            write!(f, "records {from} to {to} of the host: {flaw}")
        }
    }
}

/// A grant in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantView {
    /// Its number.
    pub grant: GrantId,
    /// Whose it is.
    pub identity: Identity,
    /// Its role.
    pub role: RoleName,
    /// Where.
    pub host: HostName,
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// The request that it is under; none, where its role requires no approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
}

/// "End this grant now": its owner is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndGrantAsk {
    /// Why; shown on the terminals of sessions that end.
    pub reason: String,
}

/// "Let this grant last longer."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtendAsk {
    /// By how much, in seconds; less where the role allows no more.
    pub by_secs: u64,
    /// Why.
    pub reason: String,
}

/// A grant that was extended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendReply {
    /// The grant.
    pub grant: GrantId,
    /// Its end now.
    pub until: Timestamp,
    /// How far hosts have come with it.
    pub progress: OrderProgress,
}

/// A lock in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockView {
    /// The lock.
    pub lock: Lock,
    /// The order that brought it.
    pub order: OrderNumber,
    /// Who ordered it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// "Lift this lock."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnlockAsk {
    /// What is locked.
    pub target: Target,
    /// Why it is lifted.
    pub reason: String,
}

/// How far an order has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderProgress {
    /// The order.
    pub order: OrderNumber,
    /// When it was durable in the ledger.
    pub at: Timestamp,
    /// Every host, in order of name.
    pub hosts: Vec<HostProgress>,
    /// From the ledger to the last receipt so far, in microseconds.
    pub took_micros: u64,
    /// Whether every host is done that is connected or was heard of within [`crate::hostlink::SILENCE_SECS`].
    pub complete: bool,
}

/// What one host has said about an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostProgress {
    /// The host.
    pub host: HostName,
    /// Whether it is connected; one that is not gets the order when it returns.
    pub connected: bool,
    /// Its newest receipt for the order.
    pub receipt: Option<Receipt>,
    /// What it said of the sessions that the order ended; absent from an authority that does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kills: Option<Kills>,
}

impl OrderProgress {
    /// Whether hosts have said of every session that this order ended what it took, and that nobody is left.
    #[must_use]
    pub fn kills_are_in(&self) -> bool {
        self.hosts.iter().all(|host| {
            let promised = host.receipt.as_ref().map_or(0, |receipt| receipt.kills);
            host.kills.is_none_or(|kills| kills.over >= promised)
        })
    }

    /// What the order came to on all hosts.
    #[must_use]
    pub fn kills(&self) -> Kills {
        let mut all = Kills::default();
        self.hosts.iter().filter_map(|host| host.kills).for_each(|kills| all.add(kills));
        all
    }
}

/// The one page: what is there and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The authority's version.
    pub authority_version: String,
    /// The fingerprint of its X.509 root: what people and hosts are given to find the right one.
    pub fingerprint: Fingerprint,
    /// Its wall clock.
    pub at: Timestamp,
    /// Hosts enrolled.
    pub hosts: u64,
    /// Hosts connected now.
    pub connected: u64,
    /// Sessions alive, as far as hosts have said.
    pub sessions: u64,
    /// Locks in force.
    pub locks: u64,
    /// The list of revoked keys that hosts should have; absent while the first is being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub krl: Option<KrlStatus>,
    /// Who cosigns the ledger's checkpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<WitnessStatus>,
    /// Sentences about what is wrong now, each with what to do; empty when nothing is.
    pub concerns: Vec<String>,
}

/// A witness, as the authority sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessStatus {
    /// Its name.
    pub name: String,
    /// How many entries the newest tree has that it cosigned; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When it did, by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Why it cosigns nothing now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl WitnessStatus {
    /// `w1.example.com cosigned 420 entries`
    #[must_use]
    pub fn in_words(&self) -> String {
        let size = self.size.map_or_else(
            || "has cosigned nothing yet".to_owned(),
            |size| format!("cosigned {size} entries"),
        );
        let problem = self.problem.as_ref().map_or_else(String::new, |why| format!("; {why}"));
        format!("{} {size}{problem}", self.name)
    }
}

/// The newest list of revoked keys, and which hosts have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KrlStatus {
    /// Its version.
    pub version: u64,
    /// When it was made.
    pub generated: Timestamp,
    /// Its length.
    pub bytes: u64,
    /// How long it took to make, read back and compare, in microseconds.
    pub build_micros: u64,
    /// Certificates that it revokes.
    pub certificates: u64,
    /// Keys that it revokes.
    pub keys: u64,
    /// Hosts where sshd reads this version.
    pub current: u64,
    /// Hosts enrolled.
    pub hosts: u64,
    /// The others, in order of name, at most [`MAX_BEHIND`] of them.
    pub behind: Vec<KrlBehind>,
}

/// A host that has not the newest list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KrlBehind {
    /// Its name.
    pub host: HostName,
    /// The version that sshd reads there; absent when its agent knows no lists.
    pub version: Option<u64>,
    /// What keeps it behind, if it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl KrlStatus {
    /// `812: 47 of 48 hosts`
    #[must_use]
    pub fn in_words(&self) -> String {
        let noun = if self.hosts == 1 { "host" } else { "hosts" };
        format!("{}: {} of {} {noun}", self.version, self.current, self.hosts)
    }
}

impl KrlBehind {
    /// `db7 (811)`, `web3 (none)`, `old1 (agent too old)`
    #[must_use]
    pub fn in_words(&self) -> String {
        match self.version {
            None => format!("{} (its agent is too old)", self.host),
            Some(0) => format!("{} (none)", self.host),
            Some(version) => format!("{} ({version})", self.host),
        }
    }
}

/// Most hosts that are named as behind: more are one trouble and not theirs.
pub const MAX_BEHIND: usize = 100;
