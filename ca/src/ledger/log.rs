//! The log as the outside knows it: its name, which never changes, and the keys that sign its checkpoints.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use wire::identifier::Fingerprint;
use wire::log::{Checkpoint, Head, KeyName, LogKey, Note, Signature};

use super::sql::{Connection, OptionalExtension as _};
use super::{LedgerError, keys};
use crate::key::{Keyring, Purpose, Sign};

/// Signs checkpoints, by every key of the log that is in force.
#[derive(Clone)]
pub(super) struct Log {
    name: KeyName,
    keys: LogKeys,
}

/// The keys of the log that are believed. A checkpoint carries a signature by each, so that whoever knows one of them
/// can check it while the log goes over from one to the next.
#[derive(Clone)]
pub(super) struct LogKeys(Arc<RwLock<Vec<Signer>>>);

#[derive(Clone)]
struct Signer {
    public: LogKey,
    key: Arc<dyn Sign>,
}

impl Log {
    /// The log that this ledger is, with its keys.
    pub(super) fn open(connection: &Connection, keyring: &Keyring) -> Result<Self, LedgerError> {
        let name = name(connection)?;
        let signers = signers(connection, keyring)?;
        Ok(Self { name, keys: LogKeys(Arc::new(RwLock::new(signers))) })
    }

    /// The keys, to be exchanged while others sign with them.
    pub(super) fn keys(&self) -> LogKeys {
        self.keys.clone()
    }

    /// Signs what the tree is.
    pub(super) fn sign(&self, head: Head) -> Result<Note, LedgerError> {
        let text = Checkpoint { origin: self.name.as_str().to_owned(), head }.text();
        self.keys.sign(&text)
    }

    /// Its public keys.
    #[cfg(test)]
    pub(super) fn public(&self) -> Vec<LogKey> {
        self.keys.read().iter().map(|signer| signer.public.clone()).collect()
    }
}

impl LogKeys {
    /// Takes the keys that are believed now, as this connection sees them.
    pub(super) fn renew(
        &self,
        connection: &Connection,
        keyring: &Keyring,
    ) -> Result<(), LedgerError> {
        let signers = signers(connection, keyring)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = signers;
        Ok(())
    }

    /// Signs a text by each of them.
    pub(super) fn sign(&self, text: &str) -> Result<Note, LedgerError> {
        let lines = self.read().iter().map(|signer| signer.line(text)).collect::<Result<_, _>>()?;
        Ok(Note::new(text, lines)?)
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Signer>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log's keys that are believed, the one first that the ledger says signs.
fn signers(connection: &Connection, keyring: &Keyring) -> Result<Vec<Signer>, LedgerError> {
    let name = name(connection)?;
    let believed = keys::of(connection, Purpose::Log)?;
    believed
        .believed()
        .map(|key| {
            let (purpose, fingerprint) = (Purpose::Log, key.fingerprint.clone());
            let absent = LedgerError::KeyAbsent { purpose, fingerprint };
            Signer::new(&name, keyring.find(&key.fingerprint).ok_or(absent)?)
        })
        .collect()
}

impl Signer {
    fn new(name: &KeyName, key: Arc<dyn Sign>) -> Result<Self, LedgerError> {
        let public = log_key(name, key.public())?;
        Ok(Self { public, key })
    }

    fn line(&self, text: &str) -> Result<Signature, LedgerError> {
        let signature = self.key.sign(text.as_bytes())?;
        let bytes =
            <[u8; 64]>::try_from(signature.as_bytes()).map_err(|_length| LedgerError::LogKey)?;
        Ok(self.public.line(bytes))
    }
}

/// An Ed25519 key as the key of this log.
pub(crate) fn log_key(name: &KeyName, key: &ssh_key::PublicKey) -> Result<LogKey, LedgerError> {
    let ed25519 = key.key_data().ed25519().ok_or(LedgerError::LogKey)?;
    Ok(LogKey::new(name.clone(), ed25519.0))
}

/// Gives the log its name, once.
pub(super) fn christen(connection: &Connection, root: &Fingerprint) -> Result<(), LedgerError> {
    let name = named_after(root);
    connection.prepare_cached("INSERT INTO log (name) VALUES (?)")?.execute([name])?;
    Ok(())
}

/// The name of the log of the authority with this root.
pub(crate) fn named_after(root: &Fingerprint) -> String {
    let digest = crate::random::sha256(&[root.as_str().as_bytes()]);
    let short: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("log.curfew.internal/{short}")
}

/// The log's name.
pub(super) fn name(connection: &Connection) -> Result<KeyName, LedgerError> {
    let name: Option<String> = connection
        .prepare_cached("SELECT name FROM log")?
        .query_row((), |row| row.get(0))
        .optional()?;
    let name = name.ok_or_else(|| LedgerError::Torn("the log has no name".into()))?;
    Ok(KeyName::try_new(name)?)
}
