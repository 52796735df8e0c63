//! The authority while it serves: its rooms, and the one line from an ask to a signed certificate.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use ssh_key::PublicKey;
use wire::api::{HostProgress, OrderProgress};
use wire::hostlink::SILENCE_SECS;
use wire::identifier::{Fingerprint, HostName, OrderNumber};
use wire::time::Timestamp;

use crate::access::{self, Ask, Denial, Rules};
use crate::challenge::Challenges;
use crate::clock;
use crate::config::Config;
use crate::exit::Exit;
use crate::fleet::Fleet;
use crate::key::secret::Secrets;
use crate::key::{Keyring, Purpose, Sign, Store};
use crate::krl::Lists;
use crate::ledger::{Ledger, LedgerError, ReceiptRow, Vouch};
use crate::role::Roles;
use crate::signer::{Signed, Signer, SignerError};
use crate::x509::Root;

/// Everything that a route or a host's connection needs.
pub(crate) struct Authority {
    /// The settings.
    pub(crate) config: Config,
    /// What was decided.
    pub(crate) ledger: Ledger,
    /// Signs certificates.
    pub(crate) signer: Signer,
    /// The X.509 root.
    pub(crate) root: Root,
    /// The hosts that are connected.
    pub(crate) fleet: Fleet,
    /// The list of revoked keys.
    pub(crate) krl: Lists,
    /// Login challenges.
    pub(crate) challenges: Challenges,
    /// The keys that sign.
    pub(crate) keyring: Keyring,
    order_key: Arc<dyn Sign>,
    /// The roles in force, and what is wrong with the file if it was refused.
    roles: RwLock<(Arc<Roles>, Option<String>)>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoCertificate {
    /// Policy says no.
    #[error(transparent)]
    Denied(Denial),
    /// Things changed faster than they could be decided.
    #[error("access is being changed right now; try again")]
    Busy,
    /// The ledger failed.
    #[error(transparent)]
    Ledger(LedgerError),
    /// The signer failed.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

impl Authority {
    /// Reads the keys, the roles and the ledger; makes none of them.
    pub(crate) fn open(config: Config) -> anyhow::Result<Self> {
        let dir = config.state_dir.clone();
        let keys = Store::new(&dir, config.keys.clone(), Secrets::default());
        let keyring = keys.open()?;
        let roles = Roles::read(&config.roles_file)?;
        Ok(Self {
            ledger: Ledger::open(&dir.join(LEDGER), vec![keyring.oldest(Purpose::Log)?])?,
            signer: Signer::new(keyring.oldest(Purpose::User)?, keyring.oldest(Purpose::Host)?),
            root: Root::read(&dir)?,
            fleet: Fleet::default(),
            krl: Lists::default(),
            challenges: Challenges::new(config.challenge_lifetime)?,
            order_key: keyring.oldest(Purpose::Order)?,
            keyring,
            roles: RwLock::new((Arc::new(roles), None)),
            config,
        })
    }

    /// Decides, records, signs. What changes between the decision and its record makes it decide again.
    pub(crate) async fn certify(&self, ask: Ask) -> Result<Signed, NoCertificate> {
        for _ in 0..MAX_DECISIONS {
            let now = clock::now();
            let ledger = &self.ledger;
            let facts = ledger
                .facts(ask.identity.clone(), ask.host.clone(), now)
                .await
                .map_err(NoCertificate::Ledger)?;
            // After the facts: roles that are newer than the facts are harmless, older ones would not be.
            let roles = self.roles();
            let rules = Rules {
                roles: &roles,
                lifetime: self.config.certificate_lifetime,
                backdate: self.config.backdate,
            };
            let permit = match access::decide(ask.clone(), &facts, &rules, now) {
                Ok(permit) => permit,
                Err(denial) => {
                    ledger.deny(ask, &denial, now).await.map_err(NoCertificate::Ledger)?;
                    return Err(NoCertificate::Denied(denial));
                }
            };
            let blank = self.signer.blank().map_err(SignerError::Random)?;
            match ledger.record(permit, blank, now).await {
                Ok(recorded) => return Ok(self.signer.sign(recorded, now)?),
                Err(LedgerError::Stale) => {}
                Err(error) => return Err(NoCertificate::Ledger(error)),
            }
        }
        Err(NoCertificate::Busy)
    }

    /// What is said of a host's SSH keys now, once the ledger agrees.
    pub(crate) fn vouch(&self, keys: &[PublicKey]) -> Vouch {
        Vouch {
            keys: keys.iter().map(|key| wire::certificate::fingerprint(key.key_data())).collect(),
            authority: self.host_authority(),
            lifetime: self.config.host_certificate_lifetime,
        }
    }

    /// The key that signs host certificates now.
    pub(crate) fn host_authority(&self) -> Fingerprint {
        wire::certificate::fingerprint(self.signer.host_authority().key_data())
    }

    /// How far an order has come; nothing when there is no such order.
    pub(crate) async fn progress(
        &self,
        order: OrderNumber,
    ) -> Result<Option<OrderProgress>, LedgerError> {
        let Some((at, receipts)) = self.ledger.receipts(order).await? else {
            return Ok(None);
        };
        let took_micros = receipts.iter().map(|row| row.elapsed_micros).max().unwrap_or(0);
        let mut receipts: BTreeMap<HostName, ReceiptRow> =
            receipts.into_iter().map(|row| (row.host.clone(), row)).collect();
        let hosts = self.ledger.hosts().await?;
        let now = clock::now();
        let mut complete = true;
        let mut told = Vec::new();
        // A host that joined later got the locks when it joined, and never gets this order.
        for host in hosts.into_iter().filter(|host| host.orders_from < order.number()) {
            let connected = self.fleet.is_connected(&host.name);
            let receipt = receipts.remove(&host.name).map(|row| row.receipt);
            let is_done = receipt.as_ref().is_some_and(|receipt| receipt.done);
            complete &= is_done || !(connected || is_returning(host.seen, now));
            told.push(HostProgress { host: host.name, connected, receipt });
        }
        Ok(Some(OrderProgress { order, at, hosts: told, took_micros, complete }))
    }

    /// The roles in force.
    pub(crate) fn roles(&self) -> Arc<Roles> {
        Arc::clone(&self.roles.read().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// What is wrong with the roles file, when it was refused and older roles are in force.
    pub(crate) fn roles_refusal(&self) -> Option<String> {
        self.roles.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Puts other roles in force, then records them; every decision from before is made again.
    pub(crate) async fn replace_roles(
        &self,
        roles: Roles,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let kept = Arc::new(roles.clone());
        *self.roles.write().unwrap_or_else(PoisonError::into_inner) = (kept, None);
        self.ledger.roles_changed(roles, now).await
    }

    /// Keeps the roles, remembers why the new file was refused, and records it.
    pub(crate) async fn refuse_roles(
        &self,
        reason: String,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        {
            let mut roles = self.roles.write().unwrap_or_else(PoisonError::into_inner);
            roles.1 = Some(reason.clone());
        }
        self.ledger.roles_refused(reason, now).await
    }

    /// The key that signs orders.
    pub(crate) fn order_key(&self) -> Arc<dyn Sign> {
        Arc::clone(&self.order_key)
    }

    /// A public key as it is given out, without its comment.
    pub(crate) fn printed(key: &PublicKey) -> Result<String, ssh_key::Error> {
        PublicKey::new(key.key_data().clone(), "").to_openssh()
    }

    /// The name that people and hosts are told, with a port.
    pub(crate) fn address(&self, port: u16) -> String {
        let name = self.config.names.first().map_or("localhost", String::as_str);
        if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") }
    }
}

/// Whether a host that is not connected was heard of so lately that its link may only be starting again.
fn is_returning(seen: Option<Timestamp>, now: Timestamp) -> bool {
    seen.is_some_and(|seen| now.since(seen).as_secs() < SILENCE_SECS)
}

/// What is wrong decides the exit code: a configuration file, or something else.
pub(crate) fn exit_for(error: &anyhow::Error) -> Exit {
    if error.downcast_ref::<crate::config::ConfigError>().is_some() {
        Exit::Config
    } else {
        Exit::Failed
    }
}

/// The ledger's file in the state folder.
pub(crate) const LEDGER: &str = "ledger.db";
/// How often a decision is made again before the caller is told to come back.
const MAX_DECISIONS: usize = 8;
