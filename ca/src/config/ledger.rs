//! Where the ledger is kept, when it is not a file: the table `[ledger]`.
//!
//! Who can change this: root on the authority's machine. Gains: points the authority at another ledger, which hosts
//! refuse unless it continues the one that they know.

use std::path::PathBuf;

use postgres::config::Host;
use serde::Deserialize;
use toml::Spanned;

use super::keys::Place;
use super::{ConfigError, Setting, Source};

/// A database on a PostgreSQL server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// Where, as whom, which database; without the password.
    pub(crate) address: postgres::Config,
    /// The address as it is shown.
    pub(crate) shown: String,
    /// Where the password is.
    pub(crate) password: Place,
    /// Who signs the server's certificate; nothing when the connection stays on this machine.
    pub(crate) root_certificate: Option<PathBuf>,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LedgerForm {
    url: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    password_credential: Option<String>,
    root_certificate: Option<Spanned<PathBuf>>,
    quorum: Option<Spanned<usize>>,
}

impl LedgerForm {
    /// How many witnesses must have cosigned.
    pub(super) const fn quorum(&mut self) -> Option<Spanned<usize>> {
        self.quorum.take()
    }
}

impl Server {
    /// Reads the table; nothing when it names no server.
    pub(super) fn checked(
        source: &Source,
        form: Option<LedgerForm>,
    ) -> Result<Option<Self>, ConfigError> {
        let Some(form) = form else { return Ok(None) };
        let Some(url) = &form.url else {
            let others = [&form.password_file, &form.root_certificate];
            let first = others.into_iter().flatten().next();
            return match (first, &form.password_credential) {
                (None, None) => Ok(None),
                (at, _) => Err(source.wrong(
                    at.map_or(0, |at| at.span().start),
                    "ledger: this is of a server, and no `url` names one".into(),
                )),
            };
        };
        let offset = url.span().start;
        let server = Self::parse(url.get_ref(), &form)
            .map_err(|reason| source.wrong(offset, format!("ledger.url: {reason}")))?;
        Ok(Some(server))
    }

    /// Reads an address by itself, with a file of the password and one of the root certificates.
    pub(crate) fn named(
        url: &str,
        (password, root_certificate): (Option<PathBuf>, Option<PathBuf>),
    ) -> Result<Self, String> {
        let untouched = |file| Spanned::new(0..0, file);
        let form = LedgerForm {
            url: None,
            password_file: password.map(untouched),
            password_credential: None,
            root_certificate: root_certificate.map(untouched),
            quorum: None,
        };
        Self::parse(url, &form)
    }

    /// The file of the password, when it is in one.
    pub(crate) fn password_file(&self) -> Option<PathBuf> {
        match &self.password {
            Place::File(path) => Some(path.clone()),
            _ => None,
        }
    }

    fn parse(url: &str, form: &LedgerForm) -> Result<Self, String> {
        let has_root = form.root_certificate.is_some();
        let (address, shown, is_local) = address(url, has_root)?;
        let password = match (&form.password_file, &form.password_credential) {
            (Some(_), Some(_)) => {
                return Err("name a password_file or a password_credential, not both".into());
            }
            (Some(file), None) if !file.get_ref().is_absolute() => {
                return Err("password_file is not an absolute path".into());
            }
            (Some(file), None) => Place::File(file.get_ref().clone()),
            (None, Some(name)) => Place::Credential(name.clone()),
            (None, None) => Place::Default,
        };
        let root_certificate = form.root_certificate.as_ref().map(|file| file.get_ref().clone());
        if !is_local && root_certificate.is_none() {
            return Err(NO_ROOT.into());
        }
        Ok(Self { address, shown, password, root_certificate })
    }
}

/// The address, as it is shown, and whether it stays on this machine, in the clear. Who names a root wants TLS.
fn address(url: &str, has_root: bool) -> Result<(postgres::Config, String, bool), String> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err("write it as postgres://USER@HOST/DATABASE".into());
    }
    let (front, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut mode, mut rest) = (None, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value),
            _ => rest.push(pair),
        }
    }
    let plain = if rest.is_empty() { front.into() } else { format!("{front}?{}", rest.join("&")) };
    // What is wrong may be the password: the address is not repeated.
    let mut address: postgres::Config =
        plain.parse().map_err(|error| format!("it cannot be read: {error}"))?;
    if address.get_password().is_some() {
        return Err("a password does not belong here; name a password_file".into());
    }
    if address.get_dbname().is_none() || address.get_user().is_none() {
        return Err("it must name a user and a database: postgres://USER@HOST/DATABASE".into());
    }
    let is_local = !address.get_hosts().is_empty() && address.get_hosts().iter().all(is_local);
    let protected = match mode {
        Some("verify-full") => true,
        None => !is_local || has_root,
        Some("disable") if has_root => {
            return Err("sslmode=disable and a root_certificate contradict each other".into());
        }
        Some("disable") if is_local => false,
        Some("disable") => {
            return Err(
                "the ledger would cross the network in the clear; leave sslmode away".into()
            );
        }
        Some(other) => {
            return Err(format!(
                "sslmode={other} does not say who the server is; take verify-full, which is the default"
            ));
        }
    };
    let wanted = if protected {
        postgres::config::SslMode::Require
    } else {
        postgres::config::SslMode::Disable
    };
    address.ssl_mode(wanted);
    Ok((address, plain, !protected))
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost"
                || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

const NO_ROOT: &str =
    "the server is on another machine: name the root_certificate that signs its own";
/// Every setting of the table.
pub(crate) const LEDGER_SETTINGS: [Setting; 4] = [
    Setting {
        key: "url",
        default: "",
        range: "postgres://USER@HOST/DATABASE",
        sentence: "The PostgreSQL database that several authorities share; without it the ledger is a file in the state folder.",
    },
    Setting {
        key: "password_file",
        default: "",
        range: "an absolute path",
        sentence: "The database's password, in a file that only its owner can read.",
    },
    Setting {
        key: "password_credential",
        default: "curfew-ca.database",
        range: "a name",
        sentence: "The password as a credential of the unit; if it is not there, none is given.",
    },
    Setting {
        key: "root_certificate",
        default: "",
        range: "a path",
        sentence: "The certificates, as PEM, that sign the server's own; needed where it is on another machine.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Server>, ConfigError> {
        #[derive(Deserialize)]
        struct Whole {
            ledger: Option<LedgerForm>,
        }
        let source = Source::of(text);
        let whole: Whole = source.parse()?;
        Server::checked(&source, whole.ledger)
    }

    #[test]
    fn a_server_is_named_with_all_that_keeps_it_private() {
        assert!(read("").unwrap().is_none());
        let local = read("[ledger]\nurl = \"postgres://curfew@%2Frun%2Fpostgresql/ca\"").unwrap();
        assert!(local.unwrap().root_certificate.is_none());
        let far =
            "[ledger]\nurl = \"postgres://curfew@db.example.com/ca\"\nroot_certificate = \"/r\"";
        let far = read(far).unwrap().unwrap();
        assert_eq!(far.address.get_ssl_mode(), postgres::config::SslMode::Require);
        assert_eq!(far.shown, "postgres://curfew@db.example.com/ca");
        // A root that is named is used, also on this machine.
        let near = "[ledger]\nurl = \"postgres://curfew@localhost/ca\"\nroot_certificate = \"/r\"";
        let near = read(near).unwrap().unwrap();
        assert_eq!(near.address.get_ssl_mode(), postgres::config::SslMode::Require);
    }

    #[test]
    fn what_would_leak_or_mislead_is_refused() {
        let table = [
            ("mysql://x@y/z", "write it as"),
            ("postgres://curfew:secret@localhost/ca", "a password does not belong"),
            ("postgres://localhost/ca", "must name a user"),
            ("postgres://curfew@db.example.com/ca", "name the root_certificate"),
            ("postgres://curfew@db.example.com/ca?sslmode=disable", "in the clear"),
            ("postgres://curfew@db.example.com/ca?sslmode=require", "does not say who"),
        ];
        for (url, reason) in table {
            let error = read(&format!("[ledger]\nurl = \"{url}\"")).unwrap_err().to_string();
            assert!(error.starts_with("test.toml:2: ledger.url: "), "{error}");
            assert!(error.contains(reason), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let both = "[ledger]\nurl = \"postgres://a@localhost/ca?sslmode=disable\"\nroot_certificate = \"/r\"";
        assert!(read(both).unwrap_err().to_string().contains("contradict each other"));
        let error = read("[ledger]\npassword_file = \"/a\"").unwrap_err().to_string();
        assert!(error.contains("no `url` names one"), "{error}");
    }
}
