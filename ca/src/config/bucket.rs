//! Where recordings are kept, when it is not a folder: the table `[recordings]`.
//!
//! Who can change this: root on the authority's machine. Gains: has new recordings kept elsewhere; those that were kept
//! before are then missed by whoever reads or verifies them.

use std::path::PathBuf;

use hyper::http::Uri;
use serde::Deserialize;
use toml::Spanned;

use super::keys::Place;
use super::{ConfigError, Source};

/// A bucket of a store that speaks S3.
#[derive(Debug, Clone)]
pub(crate) struct BucketAt {
    /// Where the store is: `https://host[:port]`.
    pub(crate) endpoint: Uri,
    /// The bucket.
    pub(crate) bucket: String,
    /// What the names of objects begin with; empty, or with a slash at its end.
    pub(crate) prefix: String,
    /// What requests are signed for.
    pub(crate) region: String,
    /// Where the name of the access key is.
    pub(crate) access_key: Place,
    /// Where its secret is.
    pub(crate) secret_key: Place,
    /// Who signs the store's certificate; those whom the machine believes when this is nothing.
    pub(crate) root: Option<PathBuf>,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordingsForm {
    url: Spanned<String>,
    endpoint: Spanned<String>,
    region: Option<Spanned<String>>,
    access_key_file: Option<Spanned<PathBuf>>,
    access_key_credential: Option<String>,
    secret_key_file: Option<Spanned<PathBuf>>,
    secret_key_credential: Option<String>,
    root_certificate: Option<PathBuf>,
}

impl BucketAt {
    /// Reads the table.
    pub(super) fn checked(
        source: &Source,
        form: Option<RecordingsForm>,
    ) -> Result<Option<Self>, ConfigError> {
        let Some(form) = form else { return Ok(None) };
        let wrong = |at: usize, key: &str, reason: &str| {
            source.wrong(at, format!("recordings.{key}: {reason}"))
        };
        let (bucket, prefix) = bucket(form.url.get_ref())
            .map_err(|reason| wrong(form.url.span().start, "url", reason))?;
        let endpoint = endpoint(form.endpoint.get_ref())
            .map_err(|reason| wrong(form.endpoint.span().start, "endpoint", reason))?;
        let region = match form.region {
            None => "us-east-1".to_owned(),
            Some(region) if is_word(region.get_ref()) => region.into_inner(),
            Some(region) => {
                let reason = "a region is made of letters, digits and dashes";
                return Err(wrong(region.span().start, "region", reason));
            }
        };
        let place = |key,
                     file: Option<Spanned<PathBuf>>,
                     credential: Option<String>,
                     usual: &str| match (file, credential) {
            (Some(file), Some(_)) => {
                Err(wrong(file.span().start, key, "name a file or a credential, not both"))
            }
            (Some(file), None) if !file.get_ref().is_absolute() => {
                Err(wrong(file.span().start, key, "it is not an absolute path"))
            }
            (Some(file), None) => Ok(Place::File(file.into_inner())),
            (None, Some(name)) => Ok(Place::Credential(name)),
            (None, None) => Ok(Place::Credential(usual.to_owned())),
        };
        let (file, credential) = (form.access_key_file, form.access_key_credential);
        let access_key = place("access_key_file", file, credential, "curfew-ca.s3-access-key")?;
        let (file, credential) = (form.secret_key_file, form.secret_key_credential);
        let secret_key = place("secret_key_file", file, credential, "curfew-ca.s3-secret-key")?;
        let root = form.root_certificate;
        Ok(Some(Self { endpoint, bucket, prefix, region, access_key, secret_key, root }))
    }
}

impl std::fmt::Display for BucketAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}/{} at {}", self.bucket, self.prefix, self.endpoint)
    }
}

/// The bucket and the beginning of names in it: `s3://bucket/prefix`.
fn bucket(url: &str) -> Result<(String, String), &'static str> {
    let rest = url.strip_prefix("s3://").ok_or("write it as s3://BUCKET or s3://BUCKET/PREFIX")?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let fits = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
            && !part.is_empty()
            && part.trim_matches('.') == part
    };
    if !fits(bucket) || bucket.len() > 63 {
        return Err("a bucket's name is made of letters, digits, dots and dashes");
    }
    let prefix = prefix.trim_end_matches('/');
    if prefix.is_empty() {
        return Ok((bucket.to_owned(), String::new()));
    }
    if prefix.len() > 256 || !prefix.split('/').all(fits) {
        return Err("the prefix is made of letters, digits, dots, dashes and single slashes");
    }
    Ok((bucket.to_owned(), format!("{prefix}/")))
}

fn endpoint(text: &str) -> Result<Uri, &'static str> {
    let form = "write it as https://HOST or https://HOST:PORT";
    let uri: Uri = text.parse().map_err(|_odd| form)?;
    let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none() && !text.contains('@');
    let host = uri.host().ok_or(form)?.trim_matches(['[', ']']);
    if !is_bare {
        return Err(form);
    }
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if host == "localhost" || is_loopback(host) => Ok(uri),
        Some("http") => Err("without TLS only a store on this machine is spoken to"),
        _ => Err(form),
    }
}

fn is_loopback(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_named_by_its_address() {
        let ok = |url: &str| bucket(url).unwrap();
        assert_eq!(ok("s3://records"), ("records".into(), String::new()));
        assert_eq!(ok("s3://records/"), ("records".into(), String::new()));
        assert_eq!(ok("s3://records/prod/a/"), ("records".into(), "prod/a/".into()));
        for odd in [
            "records",
            "s3://",
            "s3:///x",
            "s3://a b",
            "s3://a//b",
            "s3://a/../b",
            "s3://a/b c",
            "https://a",
        ] {
            assert!(bucket(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_store_elsewhere_is_spoken_to_over_tls_alone() {
        for good in [
            "https://s3.example.com",
            "https://s3.example.com:9000/",
            "http://127.0.0.1:5000",
            "http://[::1]:1",
            "http://localhost:1",
        ] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in [
            "http://s3.example.com",
            "s3.example.com",
            "https://s3.example.com/bucket",
            "https://a@b",
            "ftp://a",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
