//! The frames between an enrolled host and the authority, over TLS 1.3 with both sides authenticated.
//!
//! A host that has no certificate yet may send one frame, [`ToAuthority::Enrol`], and nothing else.
//! The authority speaks first about nothing: the host says [`ToAuthority::Hello`], is welcomed, and from then on
//! orders flow one way, records and receipts the other. `curfew-link` carries these same frames between the
//! authority and `curfew-agent` and understands only their form.

use serde::{Deserialize, Serialize};

use crate::identifier::{Fingerprint, HostName, Label, OrderNumber, RecordNumber};
use crate::krl::signed::{KrlAsk, KrlPart, KrlStanding, SignedKrl};
use crate::log::{Declared, Era, Hash, Head, Note};
use crate::order::SignedOrder;
use crate::problem::Problem;
use crate::record::{Receipt, Record, Tier};
use crate::recording::{RecordingKey, lane};
use crate::renewal::{self, Window};
use crate::spool::Sealed;
use crate::time::Timestamp;
use crate::trust::{self, AuthorityKey, Keys, KeysError};

/// What a host sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToAuthority {
    /// "Let me join", with a token.
    Enrol(Enrol),
    /// The first frame of an enrolled host.
    Hello(Hello),
    /// Records, in order, beginning at the one after the last acknowledged.
    Records(Vec<Record>),
    /// An order is in force, or is done.
    Receipt(Receipt),
    /// "I am here", at least every [`HEARTBEAT_SECS`] seconds.
    Heartbeat(Heartbeat),
    /// "Send me more of the list of revoked keys"; only after it was announced.
    KrlAsk(KrlAsk),
    /// "Show that the ledger continues the trees of these sizes": at most [`MAX_SIZES`], each once. Said only to an
    /// authority whose welcome names a [`Welcome::tree`].
    Prove(Vec<u64>),
    /// "Certify my SSH keys again"; only to an authority that gave a challenge.
    Renew(renewal::SignedAsk),
    /// The link's own: "certify my next TLS key"; only to an authority that gave a challenge.
    RenewLink(renewal::LinkAsk),
    /// "The records up to this one are not here any more, and you do not have them": a ledger that was given up had
    /// acknowledged them. Only to an authority whose welcome names a [`Welcome::era`].
    Gone(RecordNumber),
    /// A part of what was recorded of a terminal; only to an authority whose welcome says [`Welcome::recordings`].
    Recording(Box<lane::Upload>),
    /// Records as they lie sealed in the spool, in order, as [`ToAuthority::Records`]; only to an authority whose welcome says
    /// [`Welcome::sealed`].
    Sealed(Box<Sealed>),
}

/// What the authority sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToHost {
    /// The answer to [`ToAuthority::Enrol`].
    Enrolled(Box<Enrolled>),
    /// The answer to [`ToAuthority::Hello`].
    Welcome(Welcome),
    /// The next order.
    Order(SignedOrder),
    /// Every record up to this one is durable at the authority; the host may let go of them.
    Acknowledged(RecordNumber),
    /// There is a newer list of revoked keys. Only to a host that said in its hello that it knows lists.
    Krl(SignedKrl),
    /// The answer to [`ToAuthority::KrlAsk`].
    KrlPart(KrlPart),
    /// The answer to [`ToAuthority::Prove`].
    Checkpoint(Box<Continuation>),
    /// "Ask for your SSH certificates now": what they say, or who signs them, has changed. Only to a host that said
    /// [`Hello::renews`].
    RenewNow,
    /// The answer to [`ToAuthority::Renew`].
    Renewed(renewal::Answer),
    /// The answer to [`ToAuthority::RenewLink`]; the link keeps it.
    LinkRenewed(renewal::LinkAnswer),
    /// The answer to [`ToAuthority::Recording`].
    Recording(Box<lane::Answer>),
    /// The last frame before the authority closes: why.
    Refused(Problem),
}

/// A request to join.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrol {
    /// The version of the wire.
    pub version: u32,
    /// The one-time token that an operator made for this host.
    pub token: String,
    /// A PKCS#10 request, PEM, for the host's TLS certificate. Its names are ignored: the token decides them.
    pub csr: String,
    /// The host's public SSH keys, in OpenSSH form, to be certified.
    pub host_keys: Vec<String>,
    /// The public half of the key by which the agent will prove that it asks for other host keys, in OpenSSH form.
    #[serde(default)]
    pub agent_key: Option<String>,
}

impl std::fmt::Debug for Enrol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enrol").field("token", &"(secret)").finish_non_exhaustive()
    }
}

/// What a host gets when it joins: all that it will trust.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// What the host is, and what it trusts.
    pub trust: Trust,
    /// Its TLS certificate, PEM.
    pub certificate: String,
    /// The authority's X.509 root, PEM.
    pub root: String,
    /// An SSH host certificate for each key that was sent, in the same order, in OpenSSH form.
    pub host_certificates: Vec<String>,
    /// The life of the TLS certificate.
    #[serde(default)]
    pub window: Option<Window>,
}

/// What a host is and whom it believes; pinned at enrolment, and changed by orders alone.
///
/// Who can change this: root on the host. Gains: can make this host trust another authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// The version of this format.
    pub version: u32,
    /// The host's name.
    pub host: HostName,
    /// Its labels.
    pub labels: Vec<Label>,
    /// Keys that sign user certificates, in OpenSSH form; the first signs now.
    pub user_authorities: Vec<String>,
    /// The key that signs orders now, in OpenSSH form, for agents that know only one.
    pub order_key: String,
    /// Keys that sign orders, in OpenSSH form; the first signs now. None from before there were several.
    #[serde(default)]
    pub order_keys: Vec<String>,
    /// Keys that sign host certificates, in OpenSSH form; the first signs now. None from before hosts kept them.
    #[serde(default)]
    pub host_authorities: Vec<String>,
    /// Keys that sign the ledger's checkpoints, as verifier keys of signed notes; the first signs now. None from before
    /// hosts kept them.
    #[serde(default)]
    pub log_keys: Vec<String>,
    /// The newest order that brought keys; none when those of enrolment hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderNumber>,
    /// The number of the newest order when the host joined; it takes those after it.
    pub orders_from: u64,
    /// The locks in force when the host joined.
    pub locks: Vec<crate::lock::Lock>,
    /// The restores of the ledger when the host joined, so that it knows what was given up in each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restores: Vec<Declared>,
    /// What terminals are recorded to; nothing before the authority has said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordTo>,
}

/// What terminals are recorded to, and which order said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordTo {
    /// The authority's recording key.
    pub key: RecordingKey,
    /// The order; 0 where the host knows it since it joined.
    pub order: u64,
    /// Whether records in the spool are sealed to it as well: the authority has said that it takes them so. Once so, always.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub seals: bool,
}

/// What a host knows of recording keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingStanding {
    /// The name of the one that it records to; none when it knows of none.
    pub key: Option<Hash>,
}

impl Trust {
    /// The keys that sign orders, whichever version wrote this.
    ///
    /// # Errors
    /// When one of them is no key.
    pub fn order_keys(&self) -> Result<Vec<AuthorityKey>, KeysError> {
        if self.order_keys.is_empty() {
            return Ok(vec![self.order_key.trim().parse()?]);
        }
        self.order_keys.iter().map(|key| key.parse()).collect()
    }

    /// The same with the keys that an order brings.
    #[must_use]
    pub fn with(&self, keys: &Keys, order: OrderNumber) -> Self {
        let texts =
            |keys: &[AuthorityKey]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
        let order_keys = texts(keys.order_keys());
        Self {
            user_authorities: texts(keys.user_authorities()),
            host_authorities: texts(keys.host_authorities()),
            order_key: order_keys.first().cloned().unwrap_or_else(|| self.order_key.clone()),
            order_keys,
            log_keys: keys.log_keys().iter().map(ToString::to_string).collect(),
            order: Some(order),
            ..self.clone()
        }
    }

    /// What names the keys that are believed: that of [`Keys::digest`] when they are a whole set.
    #[must_use]
    pub fn digest(&self) -> Fingerprint {
        let orders = if self.order_keys.is_empty() {
            vec![self.order_key.clone()]
        } else {
            self.order_keys.clone()
        };
        trust::digest(&[
            self.user_authorities.clone(),
            self.host_authorities.clone(),
            orders,
            self.log_keys.clone(),
        ])
    }
}

/// The first frame of an enrolled host. Its name is in its TLS certificate and is not repeated here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the wire.
    pub version: u32,
    /// The agent's version.
    pub agent_version: String,
    /// How much the agent sees.
    pub tier: Tier,
    /// The newest order that the host has in force; 0 for none.
    pub last_order: u64,
    /// The host's wall clock, for the authority to notice skew.
    pub at: Timestamp,
    /// How far it is with lists of revoked keys; absent when it knows none, and then gets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub krl: Option<KrlStanding>,
    /// The newest tree of the ledger that the host believes, for the authority to notice that its own went back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<Head>,
    /// What the host does with certificates without proof; absent from an agent that knows of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofMode>,
    /// Whether it understands [`ToHost::RenewNow`].
    #[serde(default)]
    pub renews: bool,
    /// What names the keys that the host believes ([`Trust::digest`]); none from an agent that takes no orders about
    /// keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Fingerprint>,
    /// The newest era of the ledger that the host knows of; none from an agent that knows of no restores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub era: Option<Era>,
    /// What it records terminals to; absent from an agent that records none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingStanding>,
}

/// The authority's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version of the wire.
    pub version: u32,
    /// The newest of the host's records that is durable at the authority; 0 for none.
    pub last_record: u64,
    /// The newest order there is; 0 for none. Those that the host lacks follow.
    pub newest_order: u64,
    /// The authority's wall clock.
    pub at: Timestamp,
    /// How many entries the ledger has; absent from an authority that answers no [`ToAuthority::Prove`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<u64>,
    /// What an ask for certificates on this connection carries; nothing from an authority that renews none.
    #[serde(default)]
    pub challenge: Option<String>,
    /// The newest generation of records that it reads ([`crate::record::Event::generation`]).
    #[serde(default = "first_generation")]
    pub records: u32,
    /// The ledger's era; absent from an authority that takes no [`ToAuthority::Gone`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub era: Option<Era>,
    /// Whether it takes recordings.
    #[serde(default)]
    pub recordings: bool,
    /// The newest order that named a recording key, where the host took it before its agent knew of recordings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Box<SignedOrder>>,
    /// Whether it takes [`ToAuthority::Sealed`].
    #[serde(default)]
    pub sealed: bool,
}

const fn first_generation() -> u32 {
    1
}

/// The ledger's newest checkpoint, and that it continues older ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continuation {
    /// The newest checkpoint, signed.
    pub checkpoint: Note,
    /// A path for each size that was asked for and that the tree has reached.
    pub paths: Vec<ContinuationPath>,
}

/// That the newest tree continues the one of `size` entries (RFC 6962, 2.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContinuationPath {
    /// The older tree's size.
    pub size: u64,
    /// The proof.
    pub path: Vec<Hash>,
}

/// What a host does with certificates that have no valid proof of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofMode {
    /// It refuses them, and reports.
    Require,
    /// It lets them in, and reports: its settings say so.
    Report,
    /// It lets them in, because it knows no key of the ledger yet.
    Unpinned,
}

/// "I am here."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The host's wall clock.
    pub at: Timestamp,
    /// Live sessions under the authority.
    pub sessions: u32,
    /// Records not yet acknowledged.
    pub spooled: u64,
    /// The newest order in force.
    pub last_order: Option<OrderNumber>,
    /// How far it is with lists of revoked keys; absent when it knows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub krl: Option<KrlStanding>,
    /// How its SSH certificates stand.
    #[serde(default)]
    pub certificates: Option<renewal::Standing>,
    /// What names the keys that the host believes, as in [`Hello`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Fingerprint>,
    /// What keeps it from recording, as it does while its disk is full; one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// The group keys of break-glass by which this host lets in: what root placed and installed, at most
    /// [`crate::breakglass::MAX_KEYS`]. Absent from an agent that does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_keys: Option<Vec<Fingerprint>>,
}

/// How often a host says that it is here, in seconds.
pub const HEARTBEAT_SECS: u64 = 5;
/// Most sizes that are asked about in one frame.
pub const MAX_SIZES: usize = 64;
/// Silence after which the authority calls a host unreachable, in seconds.
pub const SILENCE_SECS: u64 = 15;
/// Most SSH host keys in one request; stock sshd has three.
pub const MAX_HOST_KEYS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use ssh_key::PrivateKey;
    use ssh_key::private::Ed25519Keypair;

    fn public(seed: u8) -> ssh_key::PublicKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32])).public_key().clone()
    }

    fn key(seed: u8) -> AuthorityKey {
        AuthorityKey::of(&public(seed)).unwrap()
    }

    /// As the version before wrote it.
    fn old() -> Trust {
        let text = format!(
            r#"{{"version":1,"host":"db1","labels":[],"user_authorities":["{}"],"order_key":"{}","orders_from":3,"locks":[]}}"#,
            key(1),
            key(4)
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_trust_of_the_version_before_still_reads() {
        assert_eq!(old().order_keys().unwrap(), [key(4)]);
        assert!(old().log_keys.is_empty());
    }

    #[test]
    fn keys_from_an_order_replace_all_lists_and_are_named_alike_on_both_sides() {
        let public = public(5).key_data().ed25519().unwrap().0;
        let log = crate::log::LogKey::new("ledger".parse().unwrap(), public);
        let keys = Keys::try_new(trust::Lists {
            user_authorities: vec![key(2), key(1)],
            host_authorities: vec![key(3)],
            order_keys: vec![key(6), key(4)],
            log_keys: vec![log],
        })
        .unwrap();
        let order = OrderNumber::try_new(9).unwrap();
        let trust = old().with(&keys, order);
        assert_ne!(old().digest(), keys.digest());
        assert_eq!(trust.digest(), keys.digest());
        assert_eq!(trust.order_keys().unwrap(), [key(6), key(4)]);
        assert_eq!((trust.order_key.clone(), trust.order), (key(6).to_string(), Some(order)));
        assert_eq!((trust.orders_from, trust.host.as_str()), (3, "db1"));
        let text = serde_json::to_string(&trust).unwrap();
        assert_eq!(serde_json::from_str::<Trust>(&text).unwrap(), trust);
    }
}
