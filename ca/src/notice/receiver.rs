//! A receiver of notices, and how it is told: by a post, or by a command.
//!
//! A post may show a token and may be signed in the way of Standard Webhooks, so that whoever gets it knows who sent it, that
//! nothing was changed, and when: `webhook-signature: v1,BASE64` is HMAC-SHA256 over `webhook-id.webhook-timestamp.body`.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue, InvalidHeaderValue};
use hyper::{StatusCode, Uri};
use wire::time::Timestamp;
use zeroize::Zeroizing;

use super::{Interest, Notice};
use crate::call::{Silence, call};
use crate::config::notify::{NotifyAt, Url, Way, parsed};
use crate::key::secret::{Secret, SecretError, password_of};
use crate::web::{Roots, Web, WebError};

/// Somebody who is told, with all that is needed for it.
pub(crate) struct Receiver {
    at: NotifyAt,
    how: How,
}

enum How {
    Command(Vec<String>),
    Post { url: Uri, web: Web, token: Option<HeaderValue>, secret: Option<Secret> },
}

/// Why a receiver cannot be told at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiverError {
    /// A secret of it cannot be read.
    #[error("the receiver {0} of notices: {1}")]
    Secret(String, #[source] SecretError),
    /// The roots of its certificate cannot be read.
    #[error("the receiver {0} of notices: {1}")]
    Roots(String, #[source] Roots),
    /// The address that is kept elsewhere is none.
    #[error("the receiver {0} of notices: what is kept as its url is no http or https address")]
    Url(String),
    /// The token cannot be sent.
    #[error("the receiver {0} of notices: its token holds what no header can")]
    Token(String),
}

/// Why a notice was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Untold {
    /// Nobody was reached, or they could not take it now.
    #[error("{0}")]
    Away(String),
    /// They were reached, and will not take this one.
    #[error("{0}")]
    Refused(String),
}

impl Receiver {
    /// Reads what is secret about it.
    pub(crate) fn open(at: NotifyAt) -> Result<Self, ReceiverError> {
        let name = || at.name.clone();
        let how = match &at.way {
            Way::Command(words) => How::Command(words.clone()),
            Way::Post { url, root, token, secret } => {
                let read = |what, place| {
                    password_of(what, place).map_err(|error| ReceiverError::Secret(name(), error))
                };
                let url = match url {
                    Url::Plain(url) => url.clone(),
                    Url::Secret(place) => parsed(read("address of notices", place)?.reveal())
                        .ok_or_else(|| ReceiverError::Url(name()))?,
                };
                let token =
                    token.as_ref().map(|place| read("token of notices", place)).transpose()?;
                let token = token.map(|token| bearer(&token)).transpose();
                let secret = secret.as_ref().map(|place| read("secret of notices", place));
                let web = Web::new(root.as_deref(), url.scheme_str() == Some("https"));
                How::Post {
                    url,
                    web: web.map_err(|error| ReceiverError::Roots(name(), error))?,
                    token: token.map_err(|_odd| ReceiverError::Token(name()))?,
                    secret: secret.transpose()?,
                }
            }
        };
        Ok(Self { at, how })
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        &self.at.name
    }

    /// What it is told of.
    pub(crate) const fn interest(&self) -> Interest<'_> {
        let NotifyAt { events, risk_from, odd_from, .. } = &self.at;
        Interest { events, risk_from: *risk_from, odd_from: *odd_from }
    }

    /// Tells it, once.
    pub(crate) async fn tell(&self, notice: &Notice, now: Timestamp) -> Result<(), Untold> {
        let body =
            serde_json::to_vec(notice).map_err(|error| Untold::Refused(error.to_string()))?;
        match &self.how {
            How::Command(words) => call(words, &body).await.map_err(by_command),
            How::Post { url, web, token, secret } => {
                let id = format!("{}-{}", notice.authority, notice.entry);
                let mut headers = signature(secret.as_ref(), (&id, &body), now)?;
                headers.extend(token.clone().map(|token| (AUTHORIZATION, token)));
                let answer = web.post(url, (headers, Bytes::from(body)), MAX_ANSWER).await;
                judged(answer.map(|(status, _)| status))
            }
        }
    }
}

fn bearer(token: &Secret) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What says who sent it; the number and the moment are there without a secret too.
fn signature(
    secret: Option<&Secret>,
    (id, body): (&str, &[u8]),
    now: Timestamp,
) -> Result<Vec<(HeaderName, HeaderValue)>, Untold> {
    let at = now.secs().to_string();
    let mut headers = vec![("webhook-id", id.to_owned()), ("webhook-timestamp", at.clone())];
    headers.extend(secret.map(|secret| {
        let key = Key::new(HMAC_SHA256, &key(secret));
        let said = [id.as_bytes(), b".", at.as_bytes(), b".", body].concat();
        ("webhook-signature", format!("v1,{}", STANDARD.encode(sign(&key, &said))))
    }));
    let header = |(name, value): (&'static str, String)| {
        let value = HeaderValue::from_str(&value);
        let value = value.map_err(|error| Untold::Refused(error.to_string()))?;
        Ok((HeaderName::from_static(name), value))
    };
    headers.into_iter().map(header).collect()
}

/// The bytes of a secret: those behind `whsec_` in base64, as others hand them out, or the line itself.
fn key(secret: &Secret) -> Zeroizing<Vec<u8>> {
    let line = secret.reveal();
    let named = line.strip_prefix("whsec_").and_then(|rest| STANDARD.decode(rest).ok());
    Zeroizing::new(named.unwrap_or_else(|| line.as_bytes().to_vec()))
}

/// A receiver that says this one is not for it is not asked again; whatever else is wrong may be put right.
fn judged(answer: Result<StatusCode, WebError>) -> Result<(), Untold> {
    match answer {
        Ok(status) if status.is_success() => Ok(()),
        Ok(
            status @ (StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY),
        ) => Err(Untold::Refused(format!("it answered {status}"))),
        Ok(status) => Err(Untold::Away(format!("it answered {status}"))),
        Err(error) => Err(Untold::Away(error.to_string())),
    }
}

fn by_command(silence: Silence) -> Untold {
    match &silence {
        Silence::Failed(status, _) if status.code() == Some(NOT_THIS_ONE) => {
            Untold::Refused(silence.to_string())
        }
        _ => Untold::Away(silence.to_string()),
    }
}

/// The exit code by which a command says that it will never take this one: `EX_DATAERR` of sysexits.
const NOT_THIS_ONE: i32 = 65;
/// Longest answer that is read.
const MAX_ANSWER: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_with_a_notice_itself_is_refused() {
        for code in [200, 201, 204] {
            assert!(judged(Ok(StatusCode::from_u16(code).unwrap())).is_ok(), "{code}");
        }
        for code in [400, 413, 415, 422] {
            let said = judged(Ok(StatusCode::from_u16(code).unwrap()));
            assert!(matches!(said, Err(Untold::Refused(_))), "{code}");
        }
        for code in [100, 301, 302, 401, 403, 404, 408, 410, 429, 500, 503] {
            let said = judged(Ok(StatusCode::from_u16(code).unwrap()));
            assert!(matches!(said, Err(Untold::Away(_))), "{code}");
        }
        assert!(matches!(
            judged(Err(WebError::Late(std::time::Duration::ZERO))),
            Err(Untold::Away(_))
        ));
    }

    #[test]
    fn a_post_is_signed_as_others_verify_it() {
        // The example of the Standard Webhooks specification.
        let secret = Secret::of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        let now = Timestamp::from_secs(1_614_265_330);
        let headers = signature(Some(&secret), (id, body), now).unwrap();
        assert_eq!(headers[2].1, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let secret = Secret::of("hush");
        let headers = signature(Some(&secret), ("id", b"{}"), now).unwrap();
        let tag = STANDARD.encode(sign(&Key::new(HMAC_SHA256, b"hush"), b"id.1614265330.{}"));
        let said: Vec<_> = headers.iter().map(|(_, value)| value.to_str().unwrap()).collect();
        assert_eq!(said, ["id", "1614265330", &format!("v1,{tag}")]);
        assert_eq!(signature(None, ("id", b"{}"), now).unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_command_says_whether_it_took_one_will_later_or_never() {
        let run = async |script: &str| {
            let words = ["/bin/sh", "-c", script].map(str::to_owned);
            call(&words, b"{}").await.map_err(by_command)
        };
        assert!(run("cat > /dev/null").await.is_ok());
        assert!(matches!(run("exit 65").await, Err(Untold::Refused(_))));
        assert!(matches!(run("exit 1").await, Err(Untold::Away(_))));
        assert!(matches!(run("kill -9 $$").await, Err(Untold::Away(_))));
    }
}
