//! Makes and opens keys, each in its backend, and lets none out that has not proved that it signs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ssh_key::{Algorithm, HashAlg, PublicKey};
use wire::recording::seal::OpeningKey;

use super::agent::{self, Agent};
use super::pinned::{Pinned, SUFFIX};
use super::proof::prove;
use super::remote::RemoteKey;
use super::secret::{Secret, Secrets, Use};
use super::token::{self, Session};
use super::{KeyError, Keyring, Purpose, Sign, SignError, Slot, file};
use crate::config::keys::{AgentKey as Chosen, Backend, Keys, Kind, Place, Token};
use crate::recording::OpeningKeys;

/// Where the authority's keys are.
pub(crate) struct Store {
    dir: PathBuf,
    settings: Keys,
    secrets: Mutex<Secrets>,
}

/// How a key's file is protected, besides its mode.
#[derive(Clone)]
pub(crate) enum Protection {
    /// By a passphrase.
    Passphrase(Secret),
    /// Not at all.
    Nothing,
}

/// How a slot's private key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// In a file, under a passphrase.
    Encrypted,
    /// In a file, as it is.
    Plain,
    /// With an ssh-agent.
    SshAgent,
    /// On a token.
    Token,
}

impl Store {
    /// The keys in the state folder `dir`, under these settings. Nothing is touched yet.
    pub(crate) fn new(dir: &Path, settings: Keys, secrets: Secrets) -> Self {
        Self { dir: dir.into(), settings, secrets: Mutex::new(secrets) }
    }

    /// Opens every key there is; makes none. Each purpose has at least one.
    pub(crate) fn open(&self) -> Result<Keyring, KeyError> {
        let mut keyring = Keyring::default();
        for purpose in Purpose::ALL {
            for slot in slots(&self.dir, purpose)? {
                keyring.add(slot, self.open_one(slot)?)?;
            }
        }
        Ok(keyring)
    }

    /// Makes a key for this slot, which must be empty: a new file or a new key on a token; or takes the one that the
    /// settings name, of an ssh-agent or on a token. From then on the slot is pinned to it.
    pub(crate) fn create(
        &self,
        slot: Slot,
        protection: &Protection,
    ) -> Result<Arc<dyn Sign>, KeyError> {
        let backend = self.setting(slot.purpose);
        named(slot, backend, || {
            self.refuse_taken(slot)?;
            match backend {
                Backend::File { kind, .. } => {
                    let key = file::create(&self.dir, slot, *kind, protection.passphrase())?;
                    self.pin(slot, backend, Arc::new(key))
                }
                Backend::SshAgent { socket, key, timeout } => {
                    let print = print(key)?;
                    let public = agent::choose(socket, &print, *timeout)?;
                    let agent = Agent::open(socket, &public, *timeout)?;
                    let key = RemoteKey::start(&public, *timeout, agent)?;
                    self.pin(slot, backend, Arc::new(key))
                }
                Backend::Pkcs11(token) => {
                    let token = at(token, slot);
                    let pin = self.pin_of(&token)?;
                    let public = token::obtain(&token, &pin)?;
                    let key = on_token(&token, pin, &public)?;
                    self.pin(slot, &Backend::Pkcs11(token), Arc::new(key))
                }
            }
        })
    }

    /// The key of this slot: the one that is there, because whoever made it died before its turn was recorded, or a new
    /// one, protected like the file of the slot `like`.
    pub(crate) fn obtain(&self, slot: Slot, like: Slot) -> Result<Arc<dyn Sign>, KeyError> {
        if slots(&self.dir, slot.purpose)?.contains(&slot) {
            return self.open_one(slot);
        }
        self.create(slot, &self.protection(like)?)
    }

    /// Opens every recording key there is; makes none. An authority from before recordings has none.
    pub(crate) fn open_recording(&self) -> Result<OpeningKeys, KeyError> {
        let mut keys = OpeningKeys::default();
        for name in self.recording_names()? {
            let path = self.dir.join(&name);
            let opens = format!("the key {name}");
            let place = passphrase_of(&self.settings.log);
            let ask = || self.secrets().find(Use::Passphrase, &place, &opens);
            keys.add(recording_key(&path, &*file::read_seed(&path, ask)?)?);
        }
        Ok(keys)
    }

    /// Makes the next recording key; the first one, where there is none. It is protected like the ledger's key.
    pub(crate) fn create_recording(&self, protection: &Protection) -> Result<OpeningKey, KeyError> {
        let name = match self.recording_names()?.len() {
            0 => RECORDING.to_owned(),
            count => format!("{RECORDING}.{}", count.saturating_add(1)),
        };
        let seed = file::create_seed(&self.dir, &name, protection.passphrase())?;
        recording_key(&self.dir.join(&name), &seed)
    }

    /// How the next recording key is protected: like the one before, or like the ledger's key.
    pub(crate) fn recording_protection(&self) -> Result<Protection, KeyError> {
        let is_plain = match self.recording_names()?.last() {
            Some(last) => !file::is_seed_encrypted(&self.dir.join(last))?,
            None => {
                let log = Purpose::Log.first();
                self.dir.join(log.to_string()).exists() && !file::is_encrypted(&self.dir, log)?
            }
        };
        if is_plain {
            return Ok(Protection::Nothing);
        }
        let place = passphrase_of(&self.settings.log);
        let opens = "the recording key";
        Ok(Protection::Passphrase(self.secrets().find(Use::Passphrase, &place, opens)?))
    }

    /// The files of recording keys, first one first, and how each is kept.
    pub(crate) fn kept_recording(&self) -> Result<Vec<(String, Kept)>, KeyError> {
        let kept = |name: String| {
            let encrypted = file::is_seed_encrypted(&self.dir.join(&name))?;
            Ok((name, if encrypted { Kept::Encrypted } else { Kept::Plain }))
        };
        self.recording_names()?.into_iter().map(kept).collect()
    }

    /// Numbered without gaps: one that is missing is not passed over.
    fn recording_names(&self) -> Result<Vec<String>, KeyError> {
        let mut names = Vec::new();
        let mut name = RECORDING.to_owned();
        while self
            .dir
            .join(&name)
            .try_exists()
            .map_err(|source| KeyError::File { path: self.dir.join(&name), source })?
        {
            names.push(name);
            name = format!("{RECORDING}.{}", names.len().saturating_add(1));
        }
        Ok(names)
    }

    /// Every slot, and how its private key is kept. None is opened.
    pub(crate) fn kept(&self) -> Result<Vec<(Slot, Kept)>, KeyError> {
        let mut kept = Vec::new();
        for purpose in Purpose::ALL {
            for slot in slots(&self.dir, purpose)? {
                let how = match Pinned::read(&self.dir, slot)?.map(|pinned| pinned.backend) {
                    Some(Backend::SshAgent { .. }) => Kept::SshAgent,
                    Some(Backend::Pkcs11(_)) => Kept::Token,
                    _ if file::is_encrypted(&self.dir, slot)? => Kept::Encrypted,
                    _ => Kept::Plain,
                };
                kept.push((slot, how));
            }
        }
        Ok(kept)
    }

    /// What holds the key of this slot; nothing when it is bound to none.
    pub(crate) fn backend(&self, slot: Slot) -> Option<&'static str> {
        Pinned::read(&self.dir, slot).ok().flatten().map(|pinned| pinned.backend.name())
    }

    /// Unbinds a slot from a key of an ssh-agent or a token; a file stays, and stays bound.
    pub(crate) fn release(&self, slot: Slot) -> Result<(), KeyError> {
        if self.dir.join(slot.to_string()).exists() {
            return Ok(());
        }
        Pinned::remove(&self.dir, slot)
    }

    /// Copies a private key that was made elsewhere into this slot, which must be empty.
    pub(crate) fn import(
        &self,
        slot: Slot,
        from: &Path,
        protection: &Protection,
    ) -> Result<Arc<dyn Sign>, KeyError> {
        let backend = self.setting(slot.purpose);
        named(slot, backend, || {
            if !matches!(backend, Backend::File { .. }) {
                let reason =
                    format!("only files take keys; the backend in ca.toml is {}", backend.name());
                return Err(KeyError::Unfit { path: from.into(), reason });
            }
            self.refuse_taken(slot)?;
            let key = file::import(&self.dir, slot, from, protection.passphrase())?;
            self.pin(slot, backend, Arc::new(key))
        })
    }

    /// What holds this purpose's next key.
    pub(crate) const fn setting(&self, purpose: Purpose) -> &Backend {
        match purpose {
            Purpose::User => &self.settings.user,
            Purpose::Host => &self.settings.host,
            Purpose::Order => &self.settings.order,
            Purpose::Log => &self.settings.log,
        }
    }

    /// How this purpose's next file is protected: like the file of this slot.
    fn protection(&self, slot: Slot) -> Result<Protection, KeyError> {
        let Backend::File { passphrase: place, .. } = self.setting(slot.purpose) else {
            return Ok(Protection::Nothing);
        };
        let path = self.dir.join(slot.to_string());
        if path.exists() && !file::is_encrypted(&self.dir, slot)? {
            return Ok(Protection::Nothing);
        }
        let opens = format!("the key {slot}");
        Ok(Protection::Passphrase(self.secrets().find(Use::Passphrase, place, &opens)?))
    }

    fn open_one(&self, slot: Slot) -> Result<Arc<dyn Sign>, KeyError> {
        let pinned = Pinned::read(&self.dir, slot)?;
        let setting = self.setting(slot.purpose);
        let backend = match &pinned {
            Some(pinned) => reached_by(&pinned.backend, setting),
            // Made by the version before, which knew files only.
            None => Backend::File { kind: Kind::Ed25519, passphrase: passphrase_of(setting) },
        };
        named(slot, &backend, || {
            let key: Arc<dyn Sign> = match (&backend, &pinned) {
                (Backend::SshAgent { socket, timeout, .. }, Some(pinned)) => {
                    let agent = Agent::open(socket, &pinned.public, *timeout)?;
                    Arc::new(RemoteKey::start(&pinned.public, *timeout, agent)?)
                }
                (Backend::Pkcs11(token), Some(pinned)) => {
                    let pin = self.pin_of(token)?;
                    Arc::new(on_token(token, pin, &pinned.public)?)
                }
                _ => {
                    let opens = format!("the key {slot}");
                    let place = passphrase_of(&backend);
                    let ask = || self.secrets().find(Use::Passphrase, &place, &opens);
                    Arc::new(file::read(&self.dir, slot, ask)?)
                }
            };
            match &pinned {
                None => self.pin(slot, &backend, key),
                Some(pinned) if pinned.public.key_data() == key.public().key_data() => {
                    fit(slot, key)
                }
                Some(pinned) => {
                    let shown = |key: &PublicKey| key.fingerprint(HashAlg::Sha256).to_string();
                    let (offered, pinned) = (shown(key.public()), shown(&pinned.public));
                    Err(KeyError::Other { offered, pinned })
                }
            }
        })
    }

    /// Binds the slot to this key, once it has proved that it signs.
    fn pin(
        &self,
        slot: Slot,
        backend: &Backend,
        key: Arc<dyn Sign>,
    ) -> Result<Arc<dyn Sign>, KeyError> {
        let key = fit(slot, key)?;
        let pinned = Pinned { public: key.public().clone(), backend: backend.clone() };
        pinned.create(&self.dir, slot)?;
        Ok(key)
    }

    fn refuse_taken(&self, slot: Slot) -> Result<(), KeyError> {
        match Pinned::read(&self.dir, slot)? {
            Some(_) => Err(KeyError::Exists(self.dir.join(slot.to_string()))),
            None => Ok(()),
        }
    }

    fn pin_of(&self, token: &Token) -> Result<Secret, KeyError> {
        let opens = format!("the token {}", token.token.as_deref().unwrap_or("of that serial"));
        Ok(self.secrets().find(Use::Pin, &token.pin, &opens)?)
    }

    fn secrets(&self) -> MutexGuard<'_, Secrets> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Protection {
    const fn passphrase(&self) -> Option<&Secret> {
        match self {
            Self::Passphrase(secret) => Some(secret),
            Self::Nothing => None,
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Where a pinned key is looked for: which key it is stands in the record, how to reach it in the settings of today if
/// they are about the same kind of backend.
fn reached_by(pinned: &Backend, setting: &Backend) -> Backend {
    match (pinned, setting) {
        (Backend::File { kind, .. }, Backend::File { passphrase, .. }) => {
            Backend::File { kind: *kind, passphrase: passphrase.clone() }
        }
        (Backend::SshAgent { key, .. }, Backend::SshAgent { socket, timeout, .. }) => {
            Backend::SshAgent { socket: socket.clone(), key: key.clone(), timeout: *timeout }
        }
        (Backend::Pkcs11(pinned), Backend::Pkcs11(setting)) => {
            let (label, id) = (pinned.label.clone(), pinned.id.clone());
            Backend::Pkcs11(Token { label, id, kind: pinned.kind, ..setting.clone() })
        }
        (pinned, _) => pinned.clone(),
    }
}

fn recording_key(path: &Path, seed: &[u8; 32]) -> Result<OpeningKey, KeyError> {
    crate::recording::key::derive(seed).map_err(|_says_no_more| KeyError::Unfit {
        path: path.into(),
        reason: "no recording key can be made of it".into(),
    })
}

fn passphrase_of(setting: &Backend) -> Place {
    match setting {
        Backend::File { passphrase, .. } => passphrase.clone(),
        Backend::SshAgent { .. } | Backend::Pkcs11(_) => Place::Default,
    }
}

fn on_token(token: &Token, pin: Secret, public: &PublicKey) -> Result<RemoteKey, SignError> {
    let session = Session::new(token.clone(), pin, public.clone());
    RemoteKey::start(public, token.timeout, session)
}

/// The fingerprint by which a key of an agent is chosen.
fn print(key: &Chosen) -> Result<String, KeyError> {
    match key {
        Chosen::Fingerprint(print) => Ok(print.to_string()),
        Chosen::File(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|source| KeyError::File { path: path.clone(), source })?;
            let public = wire::key::from_openssh(text.trim())
                .map_err(|flaw| KeyError::Unfit { path: path.clone(), reason: flaw.to_string() })?;
            Ok(public.fingerprint(HashAlg::Sha256).to_string())
        }
    }
}

/// The token's key for this slot: a successor bears its number behind the label, or is found by the id of the settings.
fn at(token: &Token, slot: Slot) -> Token {
    let mut token = token.clone();
    if slot.number > 1
        && let Some(label) = &mut token.label
    {
        label.push_str(&format!(".{}", slot.number));
        token.id = None;
    }
    token
}

/// A key that is of the right type and has proved that it signs.
fn fit(slot: Slot, key: Arc<dyn Sign>) -> Result<Arc<dyn Sign>, KeyError> {
    let algorithm = key.public().algorithm();
    if slot.purpose == Purpose::Log && algorithm != Algorithm::Ed25519 {
        return Err(KeyError::NotForNotes(algorithm.to_string()));
    }
    prove(slot, &*key)?;
    Ok(key)
}

/// Says in an error which key it is about.
fn named<T>(
    slot: Slot,
    backend: &Backend,
    work: impl FnOnce() -> Result<T, KeyError>,
) -> Result<T, KeyError> {
    work().map_err(|source| KeyError::Of {
        slot,
        backend: backend.name(),
        source: Box::new(source),
    })
}

/// The slots of this purpose that have a record or a file in `dir`; the first one if there is none, so that what is missing
/// has a name.
fn slots(dir: &Path, purpose: Purpose) -> Result<Vec<Slot>, KeyError> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => KeyError::Missing(dir.into()),
        _ => KeyError::File { path: dir.into(), source },
    };
    let mut slots = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(name) = name.to_str() else { continue };
        let name = name.strip_suffix(SUFFIX).unwrap_or(name);
        let number = name.strip_prefix(purpose.name()).and_then(|rest| match rest {
            "" => Some(1),
            rest => rest.strip_prefix('.')?.parse().ok().filter(|number| *number > 1),
        });
        let slot = number.map(|number| Slot { purpose, number });
        slots.extend(slot.filter(|slot| slot.to_string() == name));
    }
    slots.sort_unstable();
    slots.dedup();
    if slots.is_empty() {
        slots.push(purpose.first());
    }
    Ok(slots)
}

/// What files of recording keys are called after.
const RECORDING: &str = "recording";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recording_keys_are_made_one_after_the_other_and_protected_alike() {
        for passphrase in [None, Some("correct horse")] {
            let (dir, made) = set_up(passphrase);
            assert_eq!(made.open_recording().unwrap().newest(), None);
            let store = store(dir.path(), passphrase);
            let mut keys = Vec::new();
            for _ in 0..2 {
                let protection = store.recording_protection().unwrap();
                keys.push(store.create_recording(&protection).unwrap().public());
            }
            assert_ne!(keys[0], keys[1]);
            assert_eq!(store.open_recording().unwrap().newest(), Some(keys[1]));
            let expected = if passphrase.is_some() { Kept::Encrypted } else { Kept::Plain };
            let kept = store.kept_recording().unwrap();
            assert_eq!(kept, [("recording".into(), expected), ("recording.2".into(), expected)]);
            assert_eq!(store.kept().unwrap().len(), Purpose::ALL.len());
        }
    }

    fn set_up(passphrase: Option<&str>) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), passphrase);
        let protection =
            passphrase.map_or(Protection::Nothing, |text| Protection::Passphrase(Secret::of(text)));
        for purpose in Purpose::ALL {
            store.create(purpose.first(), &protection).unwrap();
        }
        (dir, store)
    }

    fn store(dir: &Path, passphrase: Option<&str>) -> Store {
        let file = Backend::File { kind: Kind::Ed25519, passphrase: Place::Default };
        let keys = Keys { user: file.clone(), host: file.clone(), order: file.clone(), log: file };
        let mut secrets = Secrets::default();
        if let Some(text) = passphrase {
            secrets.keep(Use::Passphrase, Place::Default, Secret::of(text));
        }
        Store::new(dir, keys, secrets)
    }

    #[test]
    fn a_key_is_never_overwritten_and_never_made_by_opening() {
        let (dir, store) = set_up(None);
        let order = Purpose::Order.first();
        let public = store.open().unwrap().key(order).unwrap().public().clone();
        let error = store.create(order, &Protection::Nothing).err().unwrap().to_string();
        assert!(error.contains("the key order (file)") && error.contains("exists"), "{error}");
        assert_eq!(store.open().unwrap().key(order).unwrap().public(), &public);
        std::fs::remove_file(dir.path().join("order")).unwrap();
        let error = store.open().unwrap_err().to_string();
        assert!(error.contains("the key order (file)") && error.contains("missing"), "{error}");
    }

    #[test]
    fn a_key_that_took_another_s_place_is_refused() {
        let (dir, store) = set_up(None);
        std::fs::copy(dir.path().join("user_ca"), dir.path().join("host_ca")).unwrap();
        let error = store.open().unwrap_err().to_string();
        assert!(error.contains("the key host_ca (file): it offers the key SHA256:"), "{error}");
        std::fs::copy(dir.path().join("user_ca.slot"), dir.path().join("host_ca.slot")).unwrap();
        let error = store.open().unwrap_err();
        assert!(matches!(error, KeyError::Shared(..)), "{error}");
    }

    #[test]
    fn keys_of_the_version_before_are_opened_and_pinned() {
        let (dir, store) = set_up(None);
        for purpose in Purpose::ALL {
            let record = dir.path().join(format!("{}.slot", purpose.name()));
            std::fs::remove_file(record).unwrap();
        }
        store.open().unwrap();
        let record = dir.path().join("user_ca.slot");
        assert!(std::fs::read_to_string(record).unwrap().contains("ssh-ed25519 "));
    }

    #[test]
    fn a_successor_is_protected_like_the_one_before() {
        for passphrase in [None, Some("correct horse")] {
            let (dir, made) = set_up(passphrase);
            let store = store(dir.path(), passphrase);
            assert_eq!(made.open().unwrap().slots(Purpose::User).count(), 1);
            let first = Purpose::User.first();
            let protection = store.protection(first).unwrap();
            store.create(first.next(), &protection).unwrap();
            for odd in ["user_ca.1", "user_ca.02", "user_ca.pub", "user_ca2"] {
                std::fs::write(dir.path().join(odd), "").unwrap();
            }
            let encrypted = file::is_encrypted(dir.path(), first.next()).unwrap();
            assert_eq!(encrypted, passphrase.is_some());
            let keyring = store.open().unwrap();
            let slots: Vec<String> =
                keyring.slots(Purpose::User).map(|(slot, _)| slot.to_string()).collect();
            assert_eq!(slots, ["user_ca", "user_ca.2"]);
            let first = keyring.key(first).unwrap();
            assert_eq!(keyring.oldest(Purpose::User).unwrap().public(), first.public());
        }
    }

    #[test]
    fn the_log_s_key_is_one_that_notes_know() {
        let dir = tempfile::tempdir().unwrap();
        let made = tempfile::tempdir().unwrap();
        let path = made.path().join("key");
        let done = std::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "ecdsa", "-N", "", "-f"])
            .arg(&path)
            .status();
        assert!(done.unwrap().success());
        let store = store(dir.path(), None);
        let refused = store.import(Purpose::Log.first(), &path, &Protection::Nothing);
        let error = refused.err().unwrap().to_string();
        assert!(error.contains("must be ed25519"), "{error}");
        store.import(Purpose::User.first(), &path, &Protection::Nothing).unwrap();
    }
}
