//! Who cosigns the ledger's checkpoints: the tables `[[witness]]`, and `quorum` in `[ledger]`.
//!
//! Who can change this: root on the authority's machine. Gains: whose word its certificates carry; a host counts only the
//! witnesses that it has pinned itself.

use std::path::PathBuf;

use hyper::Uri;
use serde::Deserialize;
use toml::Spanned;
use wire::log::WitnessKey;

use super::{ConfigError, Setting, Source};

/// The witnesses, and how many of them a certificate needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cosigning {
    /// How many must have cosigned a certificate's checkpoint before it is given out.
    pub(crate) quorum: usize,
    /// Each.
    pub(crate) each: Vec<WitnessAt>,
}

/// A witness, and where it is.
#[derive(Debug, Clone)]
pub(crate) struct WitnessAt {
    /// Its key, with its name.
    pub(crate) key: WitnessKey,
    /// Where it takes submissions, without `/add-checkpoint`.
    pub(crate) url: Uri,
    /// The roots that an https address is believed by; the system's when absent.
    pub(crate) root: Option<PathBuf>,
}

/// `[[witness]]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WitnessForm {
    key: Spanned<String>,
    url: Spanned<String>,
    root: Option<PathBuf>,
}

impl Cosigning {
    pub(super) fn checked(
        source: &Source,
        (witnesses, quorum): (Option<Vec<Spanned<WitnessForm>>>, Option<Spanned<usize>>),
    ) -> Result<Self, ConfigError> {
        let mut each: Vec<WitnessAt> = Vec::new();
        for form in witnesses.unwrap_or_default() {
            let offset = form.span().start;
            let witness = WitnessAt::checked(source, form.into_inner())?;
            if each.iter().any(|known| known.key.public() == witness.key.public()) {
                let message = format!("witness: {} is there twice", witness.key.name());
                return Err(source.wrong(offset, message));
            }
            each.push(witness);
        }
        let Some(quorum) = quorum else { return Ok(Self { quorum: 0, each }) };
        let (offset, quorum) = (quorum.span().start, quorum.into_inner());
        if quorum > each.len() || quorum > MAX_QUORUM {
            let message = format!(
                "quorum: {quorum} is out of range; there are {} witnesses, and at most {MAX_QUORUM} can be asked for",
                each.len()
            );
            return Err(source.wrong(offset, message));
        }
        Ok(Self { quorum, each })
    }
}

impl WitnessAt {
    fn checked(source: &Source, form: WitnessForm) -> Result<Self, ConfigError> {
        let key = form.key.get_ref().parse().map_err(|error| {
            let message = format!("witness: key: {error}; `curfew-ca witness init` prints it");
            source.wrong(form.key.span().start, message)
        })?;
        let url: Option<Uri> = form.url.get_ref().parse().ok().filter(is_good);
        let url = url.ok_or_else(|| {
            let message = format!(
                "witness: url: {:?} is not of the form http://host:port or https://host:port",
                form.url.get_ref()
            );
            source.wrong(form.url.span().start, message)
        })?;
        Ok(Self { key, url, root: form.root })
    }
}

fn is_good(url: &Uri) -> bool {
    let has_scheme = matches!(url.scheme_str(), Some("http" | "https"));
    let has_host = url
        .authority()
        .is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    has_scheme && has_host && url.query().is_none()
}

/// What `[ledger]` says of witnesses.
pub(crate) const QUORUM_SETTINGS: [Setting; 1] = [Setting {
    key: "quorum",
    default: "0",
    range: "0 to the number of witnesses, at most 16",
    sentence: "How many witnesses must have cosigned a certificate's checkpoint before the certificate is given out.",
}];
/// The settings of each `[[witness]]`.
pub(crate) const WITNESS_SETTINGS: [Setting; 3] = [
    Setting {
        key: "key",
        default: "w1.example.com+1a2b3c4d+BASE64",
        range: "a witness's key, as `curfew-ca witness init` prints it",
        sentence: "By whose key it cosigns, with its name.",
    },
    Setting {
        key: "url",
        default: "https://w1.example.com:7444",
        range: "http://host:port or https://host:port",
        sentence: "Where it takes submissions (c2sp.org/tlog-witness).",
    },
    Setting {
        key: "root",
        default: "/etc/ssl/certs/ca-certificates.crt",
        range: "a file of certificates in PEM",
        sentence: "By which roots an https address is believed.",
    },
];
/// With more signatures than these a certificate grows too long for sshd.
const MAX_QUORUM: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    const KEY: &str = "key = \"w1.example.com+9c6e1b8a+AAAA\"";

    fn key(name: &str, seed: u8) -> String {
        WitnessKey::new(name.parse().unwrap(), [seed; 32]).to_string()
    }

    #[test]
    fn witnesses_are_read_and_a_quorum_is_of_those_there_are() {
        let (one, other) = (key("w1", 1), key("w2", 2));
        let text = format!(
            "[ledger]\nquorum = 2\n[[witness]]\nkey = \"{one}\"\nurl = \"http://127.0.0.1:1\"\n\
             [[witness]]\nkey = \"{other}\"\nurl = \"https://w2:7444/x\"\nroot = \"/r.pem\"\n"
        );
        let cosigning = Config::parse(&Source::of(&text)).unwrap().witnesses;
        assert_eq!((cosigning.quorum, cosigning.each.len()), (2, 2));
        let refused = |text: &str| Config::parse(&Source::of(text)).unwrap_err().to_string();
        let three = text.replace("quorum = 2", "quorum = 3");
        assert!(refused(&three).starts_with("test.toml:2: quorum: 3 is out of range"));
        let twice = text.replace(&other, &key("another", 1));
        assert!(refused(&twice).starts_with("test.toml:6: witness: another is there twice"));
        for url in ["w1:7444", "ftp://w1", "http://", "http://ana@w1", "http://w1/?x"] {
            let error = refused(&text.replace("http://127.0.0.1:1", url));
            assert!(error.starts_with("test.toml:5: witness: url: "), "{error}");
        }
        let error = refused(&format!("[[witness]]\n{KEY}\nurl = \"http://w\""));
        assert!(error.starts_with("test.toml:2: witness: key: "), "{error}");
    }
}
