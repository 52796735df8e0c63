//! The authority while it serves: its rooms, and the one line from an ask to a signed certificate.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ssh_key::PublicKey;
use wire::api::{HostProgress, OrderProgress};
use wire::hostlink::{RecordingStanding, SILENCE_SECS};
use wire::identifier::{Fingerprint, HostName, OrderNumber};
use wire::order::SignedOrder;
use wire::recording::RecordingKey;
use wire::time::Timestamp;

use crate::access::{self, Ask, Denial, Facts, Rules};
use crate::alarm::Alarms;
use crate::behaviour::{Behaviour, BehaviourError};
use crate::bucket::Bucket;
use crate::challenge::Challenges;
use crate::clock;
use crate::config::Config;
use crate::config::notify::NotifyAt;
use crate::cosign::{Unwitnessed, Witnesses};
use crate::exit::Exit;
use crate::fleet::Fleet;
use crate::http::caller::Asking;
use crate::issuer::Issuers;
use crate::key::secret::Secrets;
use crate::key::{KeyError, Keyring, Purpose, Ring, Sign, Slot, Store};
use crate::krl::Lists;
use crate::ledger::{Actor, Ledger, LedgerError, Move, Place, ReceiptRow, RefusedPolicy, Vouch};
use crate::notice::keep::Notices;
use crate::notice::receiver::Receiver;
use crate::policy::{Origin, Policy, PolicyError};
use crate::recording::bucket::BucketStore;
use crate::recording::store::Folder;
use crate::recording::{OpeningKeys, Recordings};
use crate::risk::{Risk, RiskError, Vouched};
use crate::role::Roles;
use crate::rotation::{Exceptions, Fresh, Input, Stage};
use crate::sealed::Sealer;
use crate::signer::{Blank, Signed, Signer, SignerError};
use crate::tracker::Tracker;
use crate::x509::Root;

mod weights;

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
    /// Who cosigns the ledger's checkpoints.
    pub(crate) witnesses: Witnesses,
    /// What was recorded of terminals.
    pub(crate) recordings: Arc<Recordings>,
    /// What opens it.
    opening: RwLock<Arc<OpeningKeys>>,
    /// Login challenges.
    pub(crate) challenges: Challenges,
    /// Who else may say who somebody is.
    pub(crate) issuers: Issuers,
    /// Seals what people keep until they come back from the identity provider.
    pub(crate) sealer: Sealer,
    /// Turns to ask the identity provider.
    pub(crate) asking: tokio::sync::Semaphore,
    /// Where tickets are looked up.
    pub(crate) tracker: Option<Tracker>,
    /// What became of calls for break-glass.
    pub(crate) alarms: Alarms,
    /// Who is told of what goes on.
    pub(crate) receivers: Vec<Arc<Receiver>>,
    /// What they were not told.
    pub(crate) notices: Notices,
    /// Where keys are made and kept.
    keys: Arc<Store>,
    /// The keys that sign.
    pub(crate) ring: Arc<Ring>,
    /// Held by whoever takes a step of a rotation, so that no two make the same key.
    rotating: tokio::sync::Mutex<()>,
    /// The last change that was heeded of those that other nodes make.
    heeded: Mutex<u64>,
    /// The roles in force, and what is wrong with the file if it was refused.
    roles: RwLock<(Arc<Roles>, Option<String>)>,
    /// The policy in force, and what is wrong with the folder if it was refused.
    policy: RwLock<(Policy, Option<String>)>,
    /// The weights of risks in force, and what is wrong with their files if they were refused.
    risk: RwLock<(Risk, Option<String>)>,
    /// The rules of behaviour in force, and what is wrong with their file if it was refused.
    behaviour: RwLock<(Option<Behaviour>, Option<String>)>,
}

/// What an operator wants done with the keys of one purpose.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Which purpose.
    pub(crate) purpose: Purpose,
    /// What.
    pub(crate) act: Act,
    /// What is left out.
    pub(crate) exceptions: Exceptions,
    /// Why.
    pub(crate) reason: String,
}

/// One step of a rotation, as operators call it.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// On: announce the next key, or let the announced one sign.
    Rotate,
    /// Back.
    Revert,
    /// Stop believing the key that signed before.
    Retire,
    /// Stop believing this key at once.
    Compromise(Fingerprint),
}

/// Why a step of a rotation was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotationError {
    /// The ledger did not take it.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The next key could not be made or opened.
    #[error("the next key could not be made: {0}")]
    Key(#[from] KeyError),
    /// It was made and cannot be found.
    #[error("the key {0} was made and is not where keys are kept")]
    Lost(String),
    /// The thread that made it died.
    #[error("the next key could not be made: its thread died")]
    Died,
    /// The ledger knows no key of this purpose.
    #[error("the ledger knows no key for {0:?}")]
    NoKeys(Purpose),
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoCertificate {
    /// Policy says no.
    #[error(transparent)]
    Denied(Denial),
    /// The login is over.
    #[error("the login has ended")]
    LoggedOut,
    /// Things changed faster than they could be decided.
    #[error("access is being changed right now; try again")]
    Busy,
    /// The ledger failed.
    #[error(transparent)]
    Ledger(LedgerError),
    /// Too few witnesses have cosigned the ledger.
    #[error(transparent)]
    Unwitnessed(#[from] Unwitnessed),
    /// The signer failed.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

impl Authority {
    /// Reads the keys, the roles and the ledger; makes none of them.
    pub(crate) fn open(config: Config) -> anyhow::Result<Self> {
        let dir = config.state_dir.clone();
        let keys = Arc::new(Store::new(&dir, config.keys.clone(), Secrets::default()));
        let ring = Arc::new(Ring::new(keys.open()?));
        let opening = Arc::new(keys.open_recording()?);
        let recordings = Arc::new(Recordings::new(store(&config)?));
        let roles = Roles::read(&config.roles_file)?;
        let policy = Policy::read(&config.policy_dir, config.time_zone.clone())?;
        let behaviour =
            config.behaviour.as_ref().map(|at| Behaviour::read(&at.file)).transpose()?;
        let risk = Risk::read(&config.risk_file, &config.risk_trial_file)?;
        let ledger = Ledger::open(&Place::of(&config)?, &ring)?;
        Ok(Self {
            signer: Signer::new(Arc::clone(&ring)),
            root: Root::read(&dir)?,
            fleet: Fleet::default(),
            krl: Lists::default(),
            witnesses: Witnesses::new(&config.witnesses),
            recordings,
            opening: RwLock::new(opening),
            tracker: config.tracker.clone().map(Tracker::new).transpose()?,
            challenges: Challenges::new(config.challenge_lifetime, ledger.challenge_key()),
            issuers: Issuers::new(&config)?,
            sealer: Sealer::new(ledger.challenge_key(), "oidc")?,
            asking: tokio::sync::Semaphore::new(MAX_ASKING),
            alarms: Alarms::default(),
            receivers: receivers(&config)?,
            notices: Notices::default(),
            ledger,
            keys,
            ring,
            rotating: tokio::sync::Mutex::default(),
            heeded: Mutex::new(0),
            roles: RwLock::new((Arc::new(roles), None)),
            policy: RwLock::new((policy, None)),
            risk: RwLock::new((risk, None)),
            behaviour: RwLock::new((behaviour, None)),
            config,
        })
    }

    /// Decides, records, has it witnessed, signs. What changes between the decision and its record makes it decide again.
    ///
    /// The first decision may rest on what was read lately. A yes then stands only if nothing has changed since, which the
    /// ledger says; a no is decided once more, on what is read anew.
    pub(crate) async fn certify(&self, ask: Ask, by: &Asking) -> Result<Signed, NoCertificate> {
        let ledger = &self.ledger;
        let mut login = by.login.epoch;
        for _ in 0..MAX_DECISIONS {
            let now = clock::now();
            let policy = self.policy();
            let (facts, is_anew) = self.facts(&ask, policy.set().reads("risk"), now).await?;
            if login != facts.epoch {
                let holds = ledger.login(by.token, now).await.map_err(NoCertificate::Ledger)?;
                login = holds.ok_or(NoCertificate::LoggedOut)?.epoch;
                ledger.forget_facts(&ask.identity, &ask.host);
                continue;
            }
            // After the facts: roles and policy that are newer than the facts are harmless, older ones would not be.
            let (roles, policy, risk) = (self.roles(), self.policy(), self.risk());
            let rules = Rules {
                roles: &roles,
                policy: &policy,
                risk: Some(&risk),
                behaviour: self.behaviour().map(|rules| rules.hash()),
                lifetime: self.config.certificate_lifetime,
                backdate: self.config.backdate,
            };
            let permit = match access::decide(ask.clone(), &facts, &rules, now) {
                Ok(permit) => permit,
                Err(_denial) if !is_anew => {
                    ledger.forget_facts(&ask.identity, &ask.host);
                    continue;
                }
                Err(denial) => {
                    ledger.deny(ask, &denial, now).await.map_err(NoCertificate::Ledger)?;
                    return Err(NoCertificate::Denied(denial));
                }
            };
            let blank = self.blank()?;
            let begins = !matches!(permit.plan(), access::Plan::Reuse(..));
            let recorded = ledger.record(permit, blank, now).await;
            if begins || recorded.is_err() {
                ledger.forget_facts(&ask.identity, &ask.host);
            }
            match recorded {
                Ok(recorded) => {
                    let witnessed = self.witnesses.witness(ledger, recorded).await?;
                    return Ok(self.signer.sign(witnessed, now)?);
                }
                Err(LedgerError::Stale) => {}
                Err(error) => return Err(NoCertificate::Ledger(error)),
            }
        }
        Err(NoCertificate::Busy)
    }

    /// What bears on an ask, and whether it was read for it.
    /// What was before is read only where policy asks for the risk.
    async fn facts(
        &self,
        ask: &Ask,
        with_risk: bool,
        now: Timestamp,
    ) -> Result<(Arc<Facts>, bool), NoCertificate> {
        let lately = self.ledger.facts_lately(&ask.identity, &ask.host);
        // What bears on a risk is not kept: it changes without a change of the epoch.
        if let Some(facts) = lately.filter(|_| !with_risk) {
            return Ok((facts, false));
        }
        let (identity, host) = (ask.identity.clone(), ask.host.clone());
        let facts = if with_risk {
            let key = ask.login_key.clone();
            self.ledger.facts_with_risk((identity, host), key, now).await
        } else {
            self.ledger.facts(identity, host, now).await
        };
        Ok((facts.map_err(NoCertificate::Ledger)?, true))
    }

    /// What a certificate begins with: the key whose turn it is, which the ledger checks once more.
    fn blank(&self) -> Result<Blank, NoCertificate> {
        let keys = self.ledger.keys_now();
        let signing = keys.signing(Purpose::User).ok_or(NoCertificate::Busy)?;
        Ok(self.signer.blank(&signing.fingerprint)?)
    }

    /// The key that signs orders and lists of revoked keys now.
    pub(crate) fn order_key(&self) -> Result<Arc<dyn Sign>, LedgerError> {
        let keys = self.ledger.keys_now();
        let torn = || LedgerError::Torn("no key signs orders".into());
        let fingerprint = keys.signing(Purpose::Order).ok_or_else(torn)?.fingerprint.clone();
        let purpose = Purpose::Order;
        self.keyring().find(&fingerprint).ok_or(LedgerError::KeyAbsent { purpose, fingerprint })
    }

    /// What is said of a host's SSH keys now, once the ledger agrees.
    pub(crate) fn vouch(&self, keys: &[PublicKey]) -> Vouch {
        Vouch {
            keys: keys.iter().map(|key| wire::certificate::fingerprint(key.key_data())).collect(),
            lifetime: self.config.host_certificate_lifetime,
        }
    }

    /// The key that signs host certificates now.
    pub(crate) fn host_authority(&self) -> Option<Fingerprint> {
        let keys = self.ledger.keys_now();
        keys.signing(Purpose::Host).map(|key| key.fingerprint.clone())
    }

    /// How far an order has come; nothing when there is no such order.
    pub(crate) async fn progress(
        &self,
        order: OrderNumber,
    ) -> Result<Option<OrderProgress>, LedgerError> {
        let Some((at, receipts)) = self.ledger.receipts(order).await? else {
            return Ok(None);
        };
        let mut kills = self.ledger.kills(order).await?;
        let took_micros = receipts.iter().map(|row| row.elapsed_micros).max().unwrap_or(0);
        let mut receipts: BTreeMap<HostName, ReceiptRow> =
            receipts.into_iter().map(|row| (row.host.clone(), row)).collect();
        let hosts = self.ledger.hosts().await?;
        let now = clock::now();
        let mut complete = true;
        let mut told = Vec::new();
        // A host that joined later got the locks when it joined, and never gets this order.
        for host in hosts.into_iter().filter(|host| host.orders_from < order.number()) {
            let connected = self.fleet.is_connected(&host.name) || host.is_elsewhere(now);
            let receipt = receipts.remove(&host.name).map(|row| row.receipt);
            let is_done = receipt.as_ref().is_some_and(|receipt| receipt.done);
            complete &= is_done || !(connected || is_returning(host.seen, now));
            let kills = Some(kills.remove(&host.name).unwrap_or_default());
            told.push(HostProgress { host: host.name, connected, receipt, kills });
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

    /// The policy in force.
    pub(crate) fn policy(&self) -> Policy {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// What is wrong with the policy folder, when it was refused and an older policy is in force.
    pub(crate) fn policy_refusal(&self) -> Option<String> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Records the policy that this authority begins with. The default does not take the place of a folder that is gone.
    pub(crate) async fn begin_policy(&self, now: Timestamp) -> anyhow::Result<()> {
        let policy = self.policy();
        if policy.origin() == Origin::Default && self.ledger.policy_was_a_folder().await? {
            return Err(PolicyError::Gone(self.config.policy_dir.clone()).into());
        }
        self.ledger.policy_changed(policy, now).await?;
        Ok(())
    }

    /// Puts another policy in force, then records it; every decision from before is made again.
    pub(crate) async fn replace_policy(
        &self,
        policy: Policy,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = (policy.clone(), None);
        self.ledger.policy_changed(policy, now).await
    }

    /// Keeps the policy, remembers why the changed folder was refused, and records it.
    pub(crate) async fn refuse_policy(
        &self,
        refused: RefusedPolicy,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let policy = {
            let mut kept = self.policy.write().unwrap_or_else(PoisonError::into_inner);
            kept.1 = Some(refused.reason.clone());
            kept.0.clone()
        };
        self.ledger.policy_refused((refused, policy), now).await
    }

    /// The rules of behaviour in force, if there are any.
    pub(crate) fn behaviour(&self) -> Option<Behaviour> {
        self.behaviour.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// What is wrong with their file, when it was refused and an older text is in force.
    pub(crate) fn behaviour_refusal(&self) -> Option<String> {
        self.behaviour.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Puts another text in force, then records it; every decision from before is made again.
    pub(crate) async fn replace_behaviour(
        &self,
        behaviour: Option<Behaviour>,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        *self.behaviour.write().unwrap_or_else(PoisonError::into_inner) = (behaviour.clone(), None);
        self.ledger.behaviour_changed(behaviour, now).await
    }

    /// Keeps the text, and remembers why the changed file was refused.
    pub(crate) fn refuse_behaviour(&self, reason: String) {
        self.behaviour.write().unwrap_or_else(PoisonError::into_inner).1 = Some(reason);
    }

    /// The weights of risks in force.
    pub(crate) fn risk(&self) -> Risk {
        self.risk.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// What is wrong with the files of weights, when they were refused and older weights are in force.
    pub(crate) fn risk_refusal(&self) -> Option<String> {
        self.risk.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Puts other weights in force, then records them; every decision from before is made again.
    pub(crate) async fn replace_risk(
        &self,
        vouched: Vouched,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let risk = vouched.risk.clone();
        *self.risk.write().unwrap_or_else(PoisonError::into_inner) = (risk, None);
        self.ledger.risk_changed(vouched, now).await
    }

    /// Keeps the weights, remembers why the changed files were refused, and records it.
    pub(crate) async fn refuse_risk(
        &self,
        reason: String,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let kept = {
            let mut kept = self.risk.write().unwrap_or_else(PoisonError::into_inner);
            kept.1 = Some(reason.clone());
            kept.0.clone()
        };
        self.ledger.risk_refused((reason, kept), now).await
    }

    /// The keys that user certificates are checked against, the one that signs now first.
    pub(crate) fn user_authorities(&self) -> Vec<PublicKey> {
        let keys = self.ledger.keys_now();
        keys.believed.user_authorities().iter().map(|key| key.key().clone()).collect()
    }

    /// Tells hosts the keys of now where no order has yet. What fails is said and tried at the next arrival of a host.
    pub(crate) async fn tell_keys(&self) {
        match self.ledger.tell_keys(self.keyring(), clock::now()).await {
            Ok(None) => {}
            Ok(Some(order)) => {
                tracing::info!(%order, "hosts are told all keys that they are to believe");
            }
            Err(error) => tracing::error!(%error, "hosts could not be told which keys to believe"),
        }
    }

    /// The keys that open recordings.
    pub(crate) fn opening(&self) -> Arc<OpeningKeys> {
        Arc::clone(&self.opening.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key by which hosts are told what of their recordings is here: the ledger's.
    pub(crate) fn log_key(&self) -> Result<Arc<dyn Sign>, LedgerError> {
        let keys = self.ledger.keys_now();
        let torn = || LedgerError::Torn("no key signs the ledger".into());
        let fingerprint = keys.signing(Purpose::Log).ok_or_else(torn)?.fingerprint.clone();
        let purpose = Purpose::Log;
        self.keyring().find(&fingerprint).ok_or(LedgerError::KeyAbsent { purpose, fingerprint })
    }

    /// What a host is told that records to no key or another: the order that says to which, made now where none has yet.
    /// What fails is said, and tried at the next arrival of a host.
    pub(crate) async fn tell_recording_key(
        &self,
        knows: Option<&RecordingStanding>,
    ) -> Option<Box<SignedOrder>> {
        let (key, knows) = (self.opening().newest()?, knows?);
        if knows.key == Some(key.name()) {
            return None;
        }
        let said = (Actor::authority(), "a host does not know this key yet".into());
        let told = match self.ledger.record_to(said, key, self.keyring(), clock::now()).await {
            Ok(Some(order)) => {
                tracing::info!(%order, %key, "hosts are told what to record terminals to");
                return None;
            }
            Ok(None) => self.ledger.recording_key().await,
            Err(error) => Err(error),
        };
        match told {
            Ok(told) => told.map(|told| Box::new(told.signed)),
            Err(error) => {
                tracing::error!(%error, "hosts could not be told what to record terminals to");
                None
            }
        }
    }

    /// Makes a new recording key and tells hosts. What was recorded to those before still opens.
    pub(crate) async fn renew_recording_key(
        &self,
        by: Actor,
        reason: String,
        now: Timestamp,
    ) -> Result<(RecordingKey, OrderNumber), RotationError> {
        let _turn = self.rotating.lock().await;
        let keys = Arc::clone(&self.keys);
        let made = tokio::task::spawn_blocking(move || -> Result<OpeningKeys, KeyError> {
            keys.create_recording(&keys.recording_protection()?)?;
            keys.open_recording()
        });
        let opening = made.await.map_err(|_died| RotationError::Died)??;
        let lost = || RotationError::Lost("recording".into());
        let key = opening.newest().ok_or_else(lost)?;
        *self.opening.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(opening);
        let order = self.ledger.record_to((by, reason), key, self.keyring(), now).await?;
        Ok((key, order.ok_or_else(lost)?))
    }

    /// Takes a step of a rotation. A key that it needs is made first, in the next slot; one that lies there because a
    /// step was cut short before it was recorded is taken.
    pub(crate) async fn rotate(
        &self,
        by: Actor,
        plan: Plan,
        now: Timestamp,
    ) -> Result<OrderNumber, RotationError> {
        let _turn = self.rotating.lock().await;
        let standing = self.ledger.keys().await?;
        let Some(keys) = standing.keys.get(&plan.purpose) else {
            return Err(RotationError::NoKeys(plan.purpose));
        };
        let next = Slot { purpose: plan.purpose, number: keys.next_number() };
        let input = match plan.act {
            Act::Rotate if keys.at(Stage::Next).is_some() => Input::Switch,
            Act::Rotate => Input::Announce(self.fresh(next).await?),
            Act::Revert => Input::Revert,
            Act::Retire => Input::Retire,
            Act::Compromise(key) => {
                let fresh =
                    if keys.needs_fresh(&key) { Some(self.fresh(next).await?) } else { None };
                Input::Compromise(key, fresh)
            }
        };
        let step =
            Move { purpose: plan.purpose, input, exceptions: plan.exceptions, reason: plan.reason };
        let order = self.ledger.rotate(by, (step, self.keyring()), now).await?;
        self.krl.wake();
        if plan.purpose == Purpose::Host {
            // Hosts whose certificates another key signed get them from the one that signs now.
            for host in self.ledger.hosts().await? {
                self.fleet.ask_renewal(&host.name);
            }
        }
        Ok(order)
    }

    async fn fresh(&self, slot: Slot) -> Result<Fresh, RotationError> {
        if self.keyring().key(slot).is_none() {
            let (keys, ring) = (Arc::clone(&self.keys), self.ring.now());
            let like = ring.slots(slot.purpose).map(|(slot, _)| slot).last();
            let made = tokio::task::spawn_blocking(move || -> Result<Keyring, KeyError> {
                let mut ring = (*ring).clone();
                let key = keys.obtain(slot, like.unwrap_or(slot))?;
                let added = ring.add(slot, key);
                if added.is_err() {
                    // The settings name the key of before: the slot is not bound to it.
                    keys.release(slot)?;
                }
                added.map(|()| ring)
            });
            self.ring.replace(made.await.map_err(|_died| RotationError::Died)??);
        }
        let key = self.keyring().key(slot).ok_or_else(|| RotationError::Lost(slot.to_string()))?;
        Ok(self.ledger.fresh_key((slot.purpose, slot.number), key.public().clone()).await?)
    }

    /// Heeds what another node has written: hosts that were removed or certified anew, keys, receipts.
    pub(crate) async fn heed(&self) {
        self.fleet.change();
        let (before, now) = {
            let epoch = self.ledger.epoch();
            (std::mem::replace(&mut *self.heeded(), epoch), epoch)
        };
        if before == now {
            return;
        }
        self.krl.wake();
        let hosts = match self.ledger.hosts().await {
            Ok(hosts) => hosts,
            Err(error) => {
                tracing::error!(%error, "what another node did to hosts cannot be read");
                *self.heeded() = before;
                return;
            }
        };
        let authority = self.host_authority();
        self.fleet.keep(&hosts);
        for host in &hosts {
            let differs = host.certified.as_ref().zip(authority.as_ref()).is_some_and(
                |(certified, authority)| certified.differs(&host.name, &host.addresses, authority),
            );
            if differs {
                self.fleet.ask_renewal(&host.name);
            }
        }
    }

    fn heeded(&self) -> MutexGuard<'_, u64> {
        self.heeded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What holds the key of this slot.
    pub(crate) fn backend(&self, slot: Slot) -> Option<&'static str> {
        self.keys.backend(slot)
    }

    /// The keys as they are now; the ledger chooses the one that signs.
    pub(crate) fn keyring(&self) -> Arc<Keyring> {
        self.ring.now()
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

fn receivers(config: &Config) -> anyhow::Result<Vec<Arc<Receiver>>> {
    let open = |at: &NotifyAt| Ok(Arc::new(Receiver::open(at.clone())?));
    config.notify.iter().map(open).collect()
}

/// Whether a host that is not connected was heard of so lately that its link may only be starting again.
fn is_returning(seen: Option<Timestamp>, now: Timestamp) -> bool {
    seen.is_some_and(|seen| now.since(seen).as_secs() < SILENCE_SECS)
}

/// Where recordings are kept: the bucket that is named, or a folder.
fn store(config: &Config) -> anyhow::Result<Arc<dyn crate::recording::Store>> {
    Ok(match &config.bucket {
        None => Arc::new(Folder::new(config.recordings_dir.clone())),
        Some(at) => {
            let runtime = tokio::runtime::Handle::try_current()?;
            Arc::new(BucketStore::new(Bucket::open(at.clone())?, runtime))
        }
    })
}

/// What is wrong decides the exit code: a configuration file, or something else.
pub(crate) fn exit_for(error: &anyhow::Error) -> Exit {
    if error.is::<crate::config::ConfigError>()
        || error.is::<PolicyError>()
        || error.is::<RiskError>()
        || error.is::<BehaviourError>()
    {
        Exit::Config
    } else {
        Exit::Failed
    }
}

/// Most questions to the identity provider at once.
const MAX_ASKING: usize = 16;
/// How often a decision is made again before the caller is told to come back.
const MAX_DECISIONS: usize = 8;
