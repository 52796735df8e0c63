//! Signing a request to a store: AWS Signature Version 4. Pure.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use wire::time::Timestamp;

use crate::random::sha256;

/// A request, as it is signed.
#[derive(Debug)]
pub(super) struct Signing<'a> {
    /// Its method.
    pub(super) method: &'a str,
    /// The host and port that it is sent to.
    pub(super) host: &'a str,
    /// The path, as it stands in the request.
    pub(super) path: String,
    /// The query, in order, as it stands in the request.
    pub(super) query: String,
    /// The SHA-256 of what is sent.
    pub(super) payload: [u8; 32],
    /// Whether it is to fail when the object is there.
    pub(super) is_new: bool,
}

impl Signing<'_> {
    /// Every header that the request needs, the signature's among them.
    pub(super) fn headers(
        &self,
        (access_key, secret_key): (&str, &str),
        region: &str,
        now: Timestamp,
    ) -> Vec<(&'static str, String)> {
        let at = stamp(now);
        let day = at.split_once('T').map_or(at.as_str(), |(day, _)| day).to_owned();
        let payload = hex(&self.payload);
        let mut headers = vec![("host", self.host.to_owned())];
        headers.extend(self.is_new.then(|| ("if-none-match", "*".to_owned())));
        headers.push(("x-amz-content-sha256", payload.clone()));
        headers.push(("x-amz-date", at.clone()));
        let named: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let named = named.join(";");
        let lines: String =
            headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let canonical =
            format!("{}\n{}\n{}\n{lines}\n{named}\n{payload}", self.method, self.path, self.query);
        let scope = format!("{day}/{region}/s3/aws4_request");
        let text =
            format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hex(&sha256(&[canonical.as_bytes()])));
        let key = [day.as_str(), region, "s3", "aws4_request"]
            .iter()
            .fold(format!("AWS4{secret_key}").into_bytes(), |key, part| mac(&key, part.as_bytes()));
        let signature = hex(&mac(&key, text.as_bytes()));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={named}, Signature={signature}"
        );
        headers.push(("authorization", authorization));
        headers
    }
}

/// The path of an object, or of its bucket.
pub(super) fn path(bucket: &str, object: &str) -> String {
    let object: Vec<String> = object.split('/').map(escaped).collect();
    format!("/{}/{}", escaped(bucket), object.join("/"))
}

/// A query of these fields, which are in order.
pub(super) fn query(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
        .collect();
    fields.join("&")
}

/// Everything but unreserved characters is escaped, as the signature wants it.
fn escaped(text: &str) -> String {
    let mut to = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            to.push(char::from(byte));
        } else {
            to.push_str(&format!("%{byte:02X}"));
        }
    }
    to
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    sign(&Key::new(HMAC_SHA256, key), text).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `20130524T000000Z`.
fn stamp(now: Timestamp) -> String {
    let millis = i64::try_from(now.millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(
        |_far| "19700101T000000Z".into(),
        |at| at.strftime("%Y%m%dT%H%M%SZ").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of a listing in "Signature Calculations for the Authorization Header" of the S3 API reference.
    #[test]
    fn the_published_example_of_a_listing_comes_out() {
        let signing = Signing {
            method: "GET",
            host: "examplebucket.s3.amazonaws.com",
            path: "/".into(),
            query: query(&[("max-keys", "2".into()), ("prefix", "J".into())]),
            payload: sha256(&[]),
            is_new: false,
        };
        let keys = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let headers = signing.headers(keys, "us-east-1", Timestamp::from_secs(1_369_353_600));
        let (_, authorization) = headers.last().unwrap();
        assert_eq!(
            authorization,
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date, \
             Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn names_are_escaped_as_the_signature_wants_it() {
        assert_eq!(path("b", "db1/00ff/1.block"), "/b/db1/00ff/1.block");
        assert_eq!(path("b", "a b/ü"), "/b/a%20b/%C3%BC");
        assert_eq!(path("b", ""), "/b/");
        assert_eq!(query(&[("prefix", "a/b".into())]), "prefix=a%2Fb");
    }
}
