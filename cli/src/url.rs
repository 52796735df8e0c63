//! Where the authority is: `https://name[:port]`, checked once.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};

/// The authority's address: https, a host, a port, nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Url {
    host: String,
    port: u16,
}

/// Why an address was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    /// It is no URL at all.
    #[error("is not of the form https://host:port")]
    Form,
    /// It is not https.
    #[error("does not begin with https://; the authority speaks nothing else")]
    Scheme,
    /// It holds a path, a query or a user.
    #[error("holds more than https://host:port")]
    More,
}

impl Url {
    /// The host: a name, or an address without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// The host as TLS names it.
    pub(crate) fn server_name(&self) -> Result<ServerName<'static>, UrlError> {
        ServerName::try_from(self.host.clone()).map_err(|_not_a_name| UrlError::Form)
    }

    /// The host and port as HTTP names them.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A query of these fields and values, with its question mark; empty when there are none.
pub(crate) fn query(fields: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (at, (name, value)) in fields.iter().enumerate() {
        text.push_str(if at == 0 { "?" } else { "&" });
        text.push_str(&format!("{name}={}", escaped(value)));
    }
    text
}

/// A value as one word of a query: what could mean something there is escaped, as in `+`, which means a blank.
pub(crate) fn escaped(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'@' | b':') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_no_uri| UrlError::Form)?;
        if uri.scheme_str() != Some("https") {
            return Err(UrlError::Scheme);
        }
        let authority = uri.authority().ok_or(UrlError::Form)?;
        if authority.as_str().contains('@') || uri.path() != "/" || uri.query().is_some() {
            return Err(UrlError::More);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(DEFAULT_PORT);
        let url = Self { host, port };
        if url.authority().len() < authority.as_str().len() {
            return Err(UrlError::Form);
        }
        url.server_name().map(|_| url)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

impl TryFrom<String> for Url {
    type Error = UrlError;
    fn try_from(text: String) -> Result<Self, UrlError> {
        text.parse()
    }
}

impl From<Url> for String {
    fn from(url: Url) -> Self {
        url.to_string()
    }
}

/// The port that an authority listens on when nobody says otherwise.
const DEFAULT_PORT: u16 = 7442;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_word_of_a_query() {
        let fields = [("who", "ana@example.com".to_owned()), ("text", "a+b &c".to_owned())];
        assert_eq!(query(&fields), "?who=ana@example.com&text=a%2Bb%20%26c");
        assert_eq!(query(&[]), "");
    }

    #[test]
    fn an_address_reads_back() {
        for text in ["https://ca.example.com:7442", "https://127.0.0.1:9", "https://[::1]:7442"] {
            assert_eq!(text.parse::<Url>().unwrap().to_string(), text);
        }
        assert_eq!("https://ca".parse::<Url>().unwrap().to_string(), "https://ca:7442");
        assert_eq!("https://ca/".parse::<Url>().unwrap().to_string(), "https://ca:7442");
    }

    #[test]
    fn anything_more_or_less_is_refused_with_its_reason() {
        let refused = |text: &str| text.parse::<Url>().unwrap_err();
        assert_eq!(refused("http://ca:7442"), UrlError::Scheme);
        assert_eq!(refused("ca.example.com"), UrlError::Scheme);
        assert_eq!(refused("https://ana@ca:7442"), UrlError::More);
        assert_eq!(refused("https://ca/v1"), UrlError::More);
        assert_eq!(refused("https://ca:99999"), UrlError::Form);
        assert_eq!(refused("https://"), UrlError::Form);
        assert_eq!(refused(""), UrlError::Form);
    }
}
