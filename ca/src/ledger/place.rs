//! Where the ledger is kept: in a file of its own, or on a PostgreSQL server that several authorities share.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::LedgerError;
use super::sql::{Address, Connection, SqlError, Tls, TlsError};
use crate::config::Config;
use crate::key::secret::{SecretError, password};
use crate::random;

/// Where the ledger is kept.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// In this file.
    File(PathBuf),
    /// On a server.
    Server(Arc<Server>),
}

/// A database on a server.
#[derive(Debug)]
pub(crate) struct Server {
    address: Address,
    shown: String,
}

/// Why the server cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    /// The password cannot be read.
    #[error(transparent)]
    Password(#[from] SecretError),
    /// The node got no name.
    #[error(transparent)]
    Random(#[from] random::NoRandomness),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Place {
    /// Where the settings say that it is.
    pub(crate) fn of(config: &Config) -> Result<Self, PlaceError> {
        match &config.ledger {
            None => Ok(Self::File(config.state_dir.join(LEDGER))),
            Some(server) => Self::at(server),
        }
    }

    /// On this server.
    pub(crate) fn at(server: &crate::config::ledger::Server) -> Result<Self, PlaceError> {
        let mut address = server.address.clone();
        if let Some(password) = password(&server.password)? {
            address.password(password.reveal());
        }
        address.application_name("curfew-ca").connect_timeout(CONNECT);
        address.keepalives_idle(KEEPALIVE).tcp_user_timeout(CONNECT);
        let node = random::bytes::<8>()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let tls = server.root_certificate.as_deref().map(Tls::of).transpose()?;
        let address = Address { config: address, tls, node };
        Ok(Self::Server(Arc::new(Server { address, shown: server.shown.clone() })))
    }

    /// The file, when it is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Server(_) => None,
        }
    }

    /// The name of this run of the program among those that share the ledger; nothing when nobody does.
    pub(crate) fn node(&self) -> Option<&str> {
        match self {
            Self::File(_) => None,
            Self::Server(server) => Some(&server.address.node),
        }
    }

    /// A connection that may write.
    pub(super) fn open(&self) -> Result<Connection, LedgerError> {
        match self {
            Self::File(path) if !path.exists() => Err(LedgerError::Missing(self.clone())),
            Self::File(path) => Ok(Connection::open(path)?),
            Self::Server(server) => Ok(server.connect()?),
        }
    }

    /// A connection to read with.
    pub(super) fn open_read_only(&self) -> Result<Connection, LedgerError> {
        match self {
            Self::File(path) => Ok(Connection::open_read_only(path)?),
            Self::Server(server) => Ok(server.connect()?),
        }
    }
}

impl Server {
    fn connect(&self) -> Result<Connection, SqlError> {
        Connection::connect(&self.address)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(formatter),
            Self::Server(server) => formatter.write_str(&server.shown),
        }
    }
}

/// The ledger's file in the state folder.
pub(crate) const LEDGER: &str = "ledger.db";
/// How long a server may take to answer, and how long what was sent may stay unacknowledged.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection may be silent before it is checked.
const KEEPALIVE: Duration = Duration::from_secs(10);
