//! The entries: one for each decision, numbered without gaps, never changed.

use std::collections::BTreeMap;

use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Serialize};
use wire::behaviour::SignedAcknowledgement;
use wire::breakglass::AlarmEnded;
use wire::ceremony::{GroupSaid, ReceiptSaid};
use wire::identifier::{
    Address, Custodian, Fingerprint, GrantId, HostName, Identity, Label, Login, OrderNumber,
    RequestId, RoleName, Serial, SessionId, TeamName,
};
use wire::identity::Method;
use wire::incident::Cause;
use wire::kill::{Seal, SignedKill};
use wire::log::{Hash, Leaf, leaf_hash};
use wire::odd::Oddity;
use wire::options::Ability;
use wire::order::SignedOrder;
use wire::record::{SessionBegan, SessionEnded};
use wire::request::{Sentence, SignedApproval, State};
use wire::review::Verdict;
use wire::time::Timestamp;

use super::directory::{DirectoryGroup, DirectoryUser};
use super::sql::{Connection, params};
use super::team::Source;
use super::{Actor, LedgerError, log};
use crate::policy::Judged;
use crate::random;
use crate::risk::{Reckoned, WeightsSigned};
use crate::role::Roles;

/// What kind of decision it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The authority came into being.
    AuthorityCreated,
    /// An identity was added.
    IdentityAdded,
    /// An identity got a key to log in with.
    KeyAdded,
    /// An identity was disabled.
    IdentityDisabled,
    /// An identity was enabled again.
    IdentityEnabled,
    /// Somebody logged in.
    Login,
    /// A token to enrol a host was made.
    HostTokenMade,
    /// A host joined.
    HostEnrolled,
    /// A host was removed.
    HostRemoved,
    /// A host got other addresses or labels.
    HostChanged,
    /// A host's SSH keys were certified.
    HostCertified,
    /// A host's connection got its next TLS certificate.
    LinkCertified,
    /// A grant began.
    GrantBegun,
    /// A grant was ended before its time, by its owner or an operator.
    GrantEnded,
    /// A grant ends later than it did.
    GrantExtended,
    /// A longer grant was denied.
    ExtensionDenied,
    /// A certificate was allowed.
    Certificate,
    /// A request was denied.
    Denial,
    /// A lock came into force.
    Lock,
    /// A lock was lifted.
    Unlock,
    /// Hosts were told which keys to believe.
    Trust,
    /// Hosts were told which key terminals are recorded to.
    RecordingKey,
    /// The ledger was put back from a backup, and goes on from there.
    Restored,
    /// A backup of the ledger was begun.
    Backup,
    /// Keys of the authority came, began to sign, or ended.
    KeysChanged,
    /// Other roles are in force.
    RolesChanged,
    /// A changed roles file was refused, and the roles stayed.
    RolesRefused,
    /// Another policy is in force.
    PolicyChanged,
    /// A changed policy was refused, and the one from before stayed.
    PolicyRefused,
    /// A host says that a session began.
    SessionBegun,
    /// A host says that a session ended.
    SessionEnded,
    /// Bodies of entries were erased; the entries stay in the tree.
    BodiesErased,
    /// Something was seen that must never happen.
    Incident,
    /// An operator looked into an incident.
    IncidentSettled,
    /// Identities came into a team, or left it.
    TeamChanged,
    /// An operator searched the records.
    Searched,
    /// An operator took records elsewhere.
    Exported,
    /// Access was asked for.
    RequestMade,
    /// A request was approved by somebody, who signed it.
    RequestApproved,
    /// A request stands elsewhere than before.
    RequestMoved,
    /// A request or an approval was not taken.
    RequestRefused,
    /// A login was ended before its time.
    LoginEnded,
    /// An identity lost a key.
    KeyRevoked,
    /// An issuer's subject got an identity.
    SubjectBound,
    /// An issuer's subject lost it.
    SubjectReleased,
    /// A directory got a token.
    DirectoryTokenMade,
    /// A directory's token was ended.
    DirectoryTokenEnded,
    /// A directory said what a user is.
    DirectoryUserPut,
    /// A directory said what a group is.
    DirectoryGroupPut,
    /// A directory knows a user or a group no more.
    DirectoryRemoved,
    /// An operator gave a verdict on a session.
    SessionReviewed,
    /// Somebody read a recording.
    RecordingRead,
    /// Somebody watched a recording while it went on.
    RecordingWatched,
    /// Whom somebody watches was told so.
    WatchAnnounced,
    /// A session is held: nothing of it is deleted.
    Held,
    /// A session is held no more.
    Released,
    /// A deletion was asked for.
    DeletionAsked,
    /// A deletion was approved by a second person.
    DeletionApproved,
    /// A deletion was taken back, or refused.
    DeletionWithdrawn,
    /// Something that was recorded was deleted.
    Deleted,
    /// The policy did not let somebody do something.
    ActRefused,
    /// Other weights of risks came into force.
    RiskChanged,
    /// Changed weights were refused.
    RiskRefused,
    /// Another text of rules of behaviour came into force, or none.
    BehaviourChanged,
    /// Somebody signed that they have read it.
    BehaviourAcknowledged,
    /// Receipts of a break-glass group are taken from now on.
    BreakglassGroupAdded,
    /// A break-glass key is to be believed no more.
    BreakglassGroupRetired,
    /// A custodian's receipt was handed in.
    BreakglassReceipt,
    /// An operator gave a verdict on a use of break-glass.
    BreakglassReviewed,
    /// Somebody asked to log in with another key.
    KeyRequested,
    /// Somebody else approved it, and signed that.
    KeyApproved,
    /// It was taken back, or refused.
    KeyRequestEnded,
    /// Somebody who has no key said in their login that they have read the rules of behaviour; nothing is signed.
    BehaviourAccepted,
    /// A host says what it took to end a session.
    SessionKilled,
    /// Somebody gave a verdict on a request for break-glass.
    RequestReviewed,
    /// A host says how an alarm of break-glass ended.
    BreakglassAlarm,
    /// A session was odd.
    SessionOdd,
    /// Somebody read the report of an incident.
    IncidentReported,
    /// Recordings were opened for a search.
    RecordingsSearched,
}

impl Kind {
    /// The kind of this name.
    pub(super) fn of(name: &str) -> Option<Self> {
        let name: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
            name.into_deserializer();
        Self::deserialize(name).ok()
    }
}

/// [`Kind::AuthorityCreated`].
#[derive(Serialize, Deserialize)]
pub(super) struct Created {
    pub(super) fingerprint: Fingerprint,
}

/// [`Kind::IdentityAdded`], [`Kind::IdentityDisabled`], [`Kind::IdentityEnabled`].
#[derive(Serialize)]
pub(super) struct Person<'a> {
    pub(super) by: &'a Actor,
    pub(super) identity: &'a Identity,
    pub(super) operator: bool,
    pub(super) reason: Option<&'a str>,
    /// What was added; a person, where an entry of before says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<wire::identity::Kind>,
}

/// [`Kind::TeamChanged`].
#[derive(Serialize)]
pub(super) struct TeamChanged<'a> {
    pub(super) by: &'a Actor,
    pub(super) team: &'a TeamName,
    /// By whose word they are in it.
    pub(super) source: Source,
    pub(super) joined: &'a [Identity],
    pub(super) left: &'a [Identity],
}

/// [`Kind::LoginEnded`].
#[derive(Serialize)]
pub(super) struct LoginEnded<'a> {
    pub(super) by: &'a Actor,
    pub(super) identity: &'a Identity,
    /// The numbers of the logins.
    pub(super) logins: &'a [u64],
}

/// [`Kind::KeyRevoked`].
#[derive(Serialize)]
pub(super) struct KeyRevoked<'a> {
    pub(super) by: &'a Actor,
    pub(super) identity: &'a Identity,
    pub(super) key: &'a Fingerprint,
    pub(super) reason: &'a str,
}

/// [`Kind::SubjectBound`] and [`Kind::SubjectReleased`].
#[derive(Serialize)]
pub(super) struct Subject<'a> {
    pub(super) by: &'a Actor,
    pub(super) issuer: &'a str,
    pub(super) subject: &'a str,
    pub(super) identity: &'a Identity,
}

/// [`Kind::DirectoryTokenMade`] and [`Kind::DirectoryTokenEnded`].
#[derive(Serialize)]
pub(super) struct DirectoryToken<'a> {
    pub(super) by: &'a Actor,
    pub(super) name: &'a str,
    /// The hash of the token that was made; nobody finds the token from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<Hash>,
}

/// [`Kind::DirectoryUserPut`].
#[derive(Serialize)]
pub(super) struct DirectoryUserPut<'a> {
    pub(super) by: &'a Actor,
    pub(super) user: &'a DirectoryUser,
}

/// [`Kind::DirectoryGroupPut`].
#[derive(Serialize)]
pub(super) struct DirectoryGroupPut<'a> {
    pub(super) by: &'a Actor,
    pub(super) group: &'a DirectoryGroup,
}

/// [`Kind::DirectoryRemoved`].
#[derive(Serialize)]
pub(super) struct DirectoryRemoved<'a> {
    pub(super) by: &'a Actor,
    pub(super) kind: &'static str,
    pub(super) id: u64,
}

/// [`Kind::KeyAdded`].
#[derive(Serialize)]
pub(super) struct Key<'a> {
    pub(super) by: &'a Actor,
    pub(super) identity: &'a Identity,
    pub(super) key: &'a Fingerprint,
    pub(super) public_key: &'a str,
    /// The request that was approved for it; nothing, where root at the authority's machine added it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<u64>,
}

/// [`Kind::Login`].
#[derive(Serialize)]
pub(super) struct LoggedIn<'a> {
    pub(super) identity: &'a Identity,
    pub(super) method: Method,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<&'a Fingerprint>,
    /// When a second factor was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mfa_at: Option<Timestamp>,
    pub(super) until: Timestamp,
}

/// [`Kind::HostTokenMade`], [`Kind::HostEnrolled`], [`Kind::HostChanged`] and [`Kind::HostRemoved`].
#[derive(Serialize)]
pub(super) struct Host<'a> {
    pub(super) by: &'a Actor,
    pub(super) host: &'a HostName,
    pub(super) addresses: &'a [Address],
    pub(super) labels: &'a [Label],
    pub(super) until: Option<Timestamp>,
    pub(super) host_keys: &'a [Fingerprint],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) agent_key: Option<&'a str>,
    /// The hash of the token that was made or used; nobody finds the token from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<Hash>,
}

/// [`Kind::HostCertified`]: all that the certificates say, one for each key.
#[derive(Serialize)]
pub(super) struct Vouched<'a> {
    pub(super) host: &'a HostName,
    pub(super) names: &'a [String],
    pub(super) host_keys: &'a [Fingerprint],
    pub(super) authority: &'a Fingerprint,
    pub(super) until: Timestamp,
}

/// [`Kind::LinkCertified`].
#[derive(Serialize)]
pub(super) struct LinkCertified<'a> {
    pub(super) host: &'a HostName,
    pub(super) key: &'a Fingerprint,
    pub(super) until: Timestamp,
}

/// [`Kind::GrantBegun`].
#[derive(Serialize)]
pub(super) struct Grant<'a> {
    pub(super) grant: GrantId,
    pub(super) identity: &'a Identity,
    pub(super) role: &'a RoleName,
    pub(super) host: &'a HostName,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    pub(super) reason: Option<&'a str>,
    /// The request that it is under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<RequestId>,
}

/// [`Kind::RequestMade`]: the text that approvers sign the hash of.
#[derive(Serialize)]
pub(super) struct RequestMade<'a> {
    pub(super) by: &'a Identity,
    pub(super) asked: &'a str,
    /// Whether the tracker confirmed the ticket.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) confirmed: bool,
    /// What the policy was asked, on each host, and that it let it be asked for.
    pub(super) policy: &'a [Judged],
    /// How much of a risk it is, with all that this rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) risk: Option<&'a Reckoned>,
}

/// [`Kind::RequestApproved`]: with the key, so that it can be verified from the entry alone.
#[derive(Serialize)]
pub(super) struct Approved<'a> {
    pub(super) by: &'a Identity,
    pub(super) request: RequestId,
    pub(super) key: &'a Fingerprint,
    pub(super) public_key: &'a str,
    pub(super) signed: &'a SignedApproval,
    /// When whoever approved had last shown a second factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mfa_at: Option<Timestamp>,
    /// What the policy was asked, on each host, and said.
    pub(super) policy: &'a [Judged],
}

/// [`Kind::RequestMoved`].
#[derive(Serialize)]
pub(super) struct RequestMoved<'a> {
    pub(super) by: &'a Actor,
    pub(super) request: RequestId,
    pub(super) state: State,
    pub(super) reason: Option<&'a str>,
}

/// [`Kind::RequestRefused`].
#[derive(Serialize)]
pub(super) struct RequestRefused<'a> {
    pub(super) by: &'a Identity,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<RequestId>,
    pub(super) reason: String,
    /// What the policy was asked and said, when it was the one to say no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy: Option<&'a Judged>,
}

/// [`Kind::ActRefused`].
#[derive(Serialize)]
pub(super) struct ActRefused<'a> {
    pub(super) by: &'a Actor,
    pub(super) reason: String,
    pub(super) policy: &'a Judged,
}

/// [`Kind::Certificate`]: all that the certificate says.
#[derive(Serialize)]
pub(super) struct Certificate<'a> {
    pub(super) serial: Serial,
    pub(super) grant: GrantId,
    pub(super) identity: &'a Identity,
    pub(super) login: &'a Login,
    pub(super) host: &'a HostName,
    pub(super) role: &'a RoleName,
    pub(super) abilities: Vec<Ability>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) critical_options: BTreeMap<&'static str, String>,
    pub(super) key: &'a Fingerprint,
    pub(super) valid_after_secs: u64,
    pub(super) valid_before_secs: u64,
    pub(super) grant_until_secs: u64,
    pub(super) authority: &'a Fingerprint,
    /// The enrolled key by which whoever asked was logged in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) login_key: Option<&'a Fingerprint>,
    /// When whoever asked had last shown a second factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mfa_at: Option<Timestamp>,
    /// What the policy was asked, and by which of its permits it said yes.
    pub(super) policy: &'a Judged,
    /// The risk that it was told of, where that was reckoned for this certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) risk: Option<&'a Reckoned>,
}

/// [`Kind::Denial`].
#[derive(Serialize)]
pub(super) struct Denied<'a> {
    pub(super) identity: &'a Identity,
    pub(super) host: &'a Address,
    pub(super) login: &'a Login,
    pub(super) role: Option<&'a RoleName>,
    pub(super) key: &'a Fingerprint,
    pub(super) reason: String,
    /// What the policy was asked and said, when it was the one to say no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy: Option<&'a Judged>,
    /// The risk that it was told of, where that was reckoned for this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) risk: Option<&'a Reckoned>,
}

/// [`Kind::ExtensionDenied`].
#[derive(Serialize)]
pub(super) struct ExtensionDenied<'a> {
    pub(super) by: &'a Actor,
    pub(super) grant: GrantId,
    pub(super) reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy: Option<&'a Judged>,
}

/// [`Kind::Lock`], [`Kind::Unlock`], [`Kind::Trust`], [`Kind::Restored`], [`Kind::RecordingKey`], [`Kind::GrantEnded`] and
/// [`Kind::GrantExtended`].
#[derive(Serialize)]
pub(super) struct Ordered<'a> {
    pub(super) by: &'a Actor,
    pub(super) order: OrderNumber,
    pub(super) reason: &'a str,
    pub(super) signed: &'a SignedOrder,
}

/// [`Kind::Backup`].
#[derive(Serialize)]
pub(super) struct Backup<'a> {
    pub(super) by: &'a Actor,
    /// Where to, as the operator named it.
    pub(super) to: &'a str,
    /// Whether private keys go with it that no passphrase protects.
    pub(super) plain_keys: bool,
}

/// [`Kind::RolesChanged`].
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct RolesNow<'a> {
    pub(super) roles: &'a Roles,
}

/// [`Kind::RolesRefused`].
#[derive(Serialize)]
pub(super) struct RolesRefused<'a> {
    pub(super) reason: &'a str,
}

/// [`Kind::PolicyChanged`]: the whole of it, so that every decision under it can be made again.
#[derive(Serialize)]
pub(super) struct PolicyNow<'a> {
    pub(super) hash: &'a str,
    /// Whether it comes from a folder; otherwise it came with the program.
    pub(super) is_folder: bool,
    pub(super) files: &'a [policy::File],
    /// What is not as it was in the policy before.
    pub(super) changes: Vec<policy::Change>,
}

/// [`Kind::PolicyRefused`].
#[derive(Serialize)]
pub(super) struct PolicyRefused<'a> {
    pub(super) reason: &'a str,
    /// What the policy is that stays in force.
    pub(super) kept: &'a str,
    /// What the refused files say, unless they could not be read.
    pub(super) hash: Option<&'a str>,
    pub(super) files: &'a [policy::File],
}

/// [`Kind::RiskChanged`]: the whole of them, so that every score can be reckoned again.
#[derive(Serialize)]
pub(super) struct RiskNow<'a> {
    /// Who signed them; root, where they come from a file that nobody signed; the authority, where they came with the program.
    pub(super) by: &'a Actor,
    pub(super) hash: &'a str,
    pub(super) name: &'a str,
    pub(super) weights: &'a str,
    /// Those that are only tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trial: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signed: Option<&'a WeightsSigned>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trial_signed: Option<&'a WeightsSigned>,
}

/// [`Kind::RiskRefused`].
#[derive(Serialize)]
pub(super) struct RiskRefused<'a> {
    pub(super) reason: &'a str,
    /// What the weights are that stay in force.
    pub(super) kept: &'a str,
}

/// [`Kind::BehaviourChanged`].
#[derive(Serialize)]
pub(super) struct BehaviourNow<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hash: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<&'a str>,
}

/// [`Kind::RequestReviewed`].
#[derive(Serialize)]
pub(super) struct RequestReviewed<'a> {
    /// Who handed it in: the reviewer, or whoever is at the authority's own machine.
    pub(super) by: &'a Actor,
    pub(super) reviewer: &'a Identity,
    pub(super) request: RequestId,
    pub(super) verdict: Verdict,
    pub(super) note: &'a str,
}

/// [`Kind::BehaviourAcknowledged`]: with the key, so that it can be verified from the entry alone.
#[derive(Serialize)]
pub(super) struct BehaviourAcknowledged<'a> {
    pub(super) by: &'a Identity,
    pub(super) text: Hash,
    pub(super) key: &'a Fingerprint,
    pub(super) public_key: &'a str,
    pub(super) signed: &'a SignedAcknowledgement,
}

/// [`Kind::BehaviourAccepted`]: by a login, and with no signature.
#[derive(Serialize)]
pub(super) struct BehaviourAccepted<'a> {
    pub(super) by: &'a Identity,
    pub(super) text: Hash,
    /// The number of the entry of the login.
    pub(super) login: u64,
    pub(super) method: Method,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mfa_at: Option<Timestamp>,
}

/// [`Kind::SessionBegun`].
#[derive(Serialize)]
pub(super) struct Begun<'a> {
    pub(super) host: &'a HostName,
    pub(super) session: SessionId,
    pub(super) known: bool,
    /// When, by the host's clock.
    pub(super) at: Timestamp,
    pub(super) began: &'a SessionBegan,
}

/// [`Kind::SessionEnded`].
#[derive(Serialize)]
pub(super) struct Ended<'a> {
    pub(super) host: &'a HostName,
    pub(super) session: SessionId,
    /// When, by the host's clock.
    pub(super) at: Timestamp,
    pub(super) ended: &'a SessionEnded,
}

/// [`Kind::SessionKilled`].
#[derive(Serialize)]
pub(super) struct Killed<'a> {
    pub(super) host: &'a HostName,
    pub(super) session: SessionId,
    /// When it was said, by the host's clock.
    pub(super) at: Timestamp,
    pub(super) seal: Seal,
    /// What was said, as it was signed.
    pub(super) signed: &'a SignedKill,
}

/// [`Kind::BodiesErased`].
#[derive(Serialize)]
pub(super) struct BodiesErased<'a> {
    pub(super) by: &'a Actor,
    pub(super) entries: &'a [u64],
    pub(super) reason: &'a str,
}

/// [`Kind::Incident`].
#[derive(Serialize)]
pub(super) struct Incident<'a> {
    pub(super) host: &'a HostName,
    pub(super) cause: &'a Cause,
}

/// [`Kind::IncidentSettled`].
#[derive(Serialize)]
pub(super) struct IncidentSettled<'a> {
    pub(super) by: &'a Actor,
    pub(super) incident: u64,
    pub(super) reason: &'a str,
}

/// [`Kind::SessionReviewed`].
#[derive(Serialize)]
pub(super) struct Reviewed<'a> {
    pub(super) by: &'a Actor,
    pub(super) session: SessionId,
    pub(super) host: &'a HostName,
    /// The certificate that it was under.
    pub(super) serial: u64,
    pub(super) verdict: Verdict,
    pub(super) note: &'a str,
    /// What roles or policy let through and should not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gap: Option<&'a Sentence>,
}

/// [`Kind::BreakglassGroupAdded`]: with the letter, so that receipts can be verified from entries alone.
#[derive(Serialize)]
pub(super) struct BreakglassGroup<'a> {
    pub(super) by: &'a Actor,
    pub(super) said: &'a GroupSaid,
    pub(super) letter: &'a str,
    /// Who its custodians are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) people: &'a BTreeMap<Custodian, Identity>,
    pub(super) reason: &'a str,
}

/// [`Kind::BreakglassGroupRetired`].
#[derive(Serialize)]
pub(super) struct BreakglassRetired<'a> {
    pub(super) by: &'a Actor,
    pub(super) key: &'a Fingerprint,
    pub(super) reason: &'a str,
}

/// [`Kind::BreakglassReceipt`].
#[derive(Serialize)]
pub(super) struct BreakglassReceipt<'a> {
    pub(super) by: &'a Actor,
    pub(super) said: &'a ReceiptSaid,
    pub(super) letter: &'a str,
}

/// [`Kind::BreakglassReviewed`].
#[derive(Serialize)]
pub(super) struct BreakglassReviewed<'a> {
    pub(super) by: &'a Actor,
    /// Who gave it; whoever handed it in, where an entry of before says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reviewer: Option<&'a Identity>,
    pub(super) serial: Serial,
    pub(super) verdict: Verdict,
    pub(super) note: &'a str,
}

/// [`Kind::BreakglassAlarm`].
#[derive(Serialize)]
pub(super) struct BreakglassAlarm<'a> {
    pub(super) host: &'a HostName,
    pub(super) ended: &'a AlarmEnded,
}

/// [`Kind::SessionOdd`]: which kinds of things were odd, and none of what was done, which can be deleted.
#[derive(Serialize)]
pub(super) struct SessionOdd<'a> {
    pub(super) session: SessionId,
    pub(super) host: &'a HostName,
    pub(super) weight: u8,
    pub(super) why: &'a [Oddity],
}

/// Adds an entry and says its number.
pub(super) fn append<T: Serialize>(
    connection: &Connection,
    kind: Kind,
    at: Timestamp,
    data: &T,
) -> Result<u64, LedgerError> {
    Ok(write(connection, (kind.name()?, at), &serde_json::to_vec(data)?, None)?.seq)
}

/// Adds the entry of a certificate, of which `tbs` is the hash of what is to be signed without the proof.
pub(super) fn append_certificate(
    connection: &Connection,
    at: Timestamp,
    data: &Certificate<'_>,
    tbs: Hash,
) -> Result<Leaf, LedgerError> {
    let kind = Kind::Certificate.name()?;
    write(connection, (kind, at), &serde_json::to_vec(data)?, Some(tbs))
}

/// Writes the leaf, and beside it the body with its salt.
fn write(
    connection: &Connection,
    (kind, at): (String, Timestamp),
    body: &[u8],
    tbs: Option<Hash>,
) -> Result<Leaf, LedgerError> {
    let seq: u64 = connection
        .prepare_cached("SELECT coalesce(max(seq), 0) + 1 FROM entries")?
        .query_row((), |row| row.get(0))?;
    let salt = random::bytes::<SALT>()?;
    let said = body_hash(&salt, body);
    let leaf = match tbs {
        Some(tbs) => Leaf::certificate(seq, at, said, tbs),
        None => Leaf::new(seq, at, kind, said),
    };
    let bytes = leaf.to_bytes()?;
    connection
        .prepare_cached(
            "INSERT INTO entries (seq, at, kind, leaf, leaf_hash) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![seq, at.millis(), leaf.kind, bytes, leaf_hash(&bytes).0])?;
    connection
        .prepare_cached("INSERT INTO bodies (seq, salt, body) VALUES (?, ?, ?)")?
        .execute(params![seq, salt, body])?;
    Ok(leaf)
}

/// Takes over the entries of version 1, whose JSON was the leaf and held everything: what they say becomes the body. No
/// checkpoint over the former leaves was ever signed, so that nobody can have relied on them.
pub(super) fn take_over(connection: &Connection) -> Result<(), LedgerError> {
    {
        let former = connection
            .prepare_cached("SELECT seq, at, kind, body FROM former_entries ORDER BY seq")?
            .query_map((), |row| {
                let (seq, at, kind): (u64, u64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(((seq, at, kind), row.get::<Vec<u8>>(3)?))
            })?;
        for one in former {
            let (head, text) = one?;
            take_over_one(connection, head, &text)?;
        }
    }
    connection.execute_batch("DROP TABLE former_entries")?;
    Ok(())
}

fn take_over_one(
    connection: &Connection,
    (seq, at, kind): (u64, u64, String),
    text: &[u8],
) -> Result<(), LedgerError> {
    let head = format!(r#"{{"version":1,"seq":{seq},"at":{at},"kind":"{kind}","data":"#);
    let data = text
        .strip_prefix(head.as_bytes())
        .and_then(|rest| rest.strip_suffix(b"}"))
        .ok_or_else(|| LedgerError::Torn(format!("entry {seq} is not of the form of version 1")))?;
    if seq == 1 {
        let created: Created = serde_json::from_slice(data)?;
        log::christen(connection, &created.fingerprint)?;
    }
    // What was signed then is not known any more; no certificate has the hash of nothing.
    let tbs = (kind == wire::log::CERTIFICATE).then(|| Hash::of(b""));
    write(connection, (kind, Timestamp::from_millis(at)), data, tbs)?;
    Ok(())
}

/// The hash by which a leaf commits to a body.
pub(super) fn body_hash(salt: &[u8], body: &[u8]) -> Hash {
    Hash(random::sha256(&[salt, body]))
}

impl Kind {
    /// As it stands in the leaf.
    pub(super) fn name(self) -> Result<String, LedgerError> {
        match serde_json::to_value(self)? {
            serde_json::Value::String(name) => Ok(name),
            other => Err(LedgerError::Torn(format!("{other} is no kind of entry"))),
        }
    }
}

/// Bytes of salt: as many as make guessing a body from its hash hopeless.
const SALT: usize = 16;
