//! A key on a PKCS#11 token. The private half never comes here.
//!
//! A session that broke is opened again, with the PIN, once for each signature; a PIN that the token refused is never
//! tried again by itself, because tokens count.

use std::path::PathBuf;

mod object;
mod session;

pub(super) use session::{Session, obtain};

/// Why a token did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The module cannot be used.
    #[error("the PKCS#11 module {module}: {reason}")]
    Module {
        /// The shared library.
        module: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is no such token.
    #[error(
        "the PKCS#11 module {module} has no token {wanted}; it has {present}: is it plugged in?"
    )]
    NoToken {
        /// The shared library.
        module: PathBuf,
        /// What was looked for.
        wanted: String,
        /// The tokens that are there.
        present: String,
    },
    /// The PIN is wrong.
    #[error(
        "the token {token} refuses the PIN ({reason}); it is not tried again, because tokens lock themselves: put the right one where ca.toml says (pin_file, pin_credential) and start again"
    )]
    Pin {
        /// The token.
        token: String,
        /// What it said.
        reason: &'static str,
    },
    /// There is no such key.
    #[error(
        "the token {token} holds no private key {wanted}; `pkcs11-tool --list-objects --login` shows what it holds"
    )]
    NoKey {
        /// The token.
        token: String,
        /// What was looked for.
        wanted: String,
    },
    /// There are several.
    #[error("the token {token} holds {count} private keys {wanted}; set `id` in ca.toml")]
    Several {
        /// The token.
        token: String,
        /// What was looked for.
        wanted: String,
        /// How many.
        count: usize,
    },
    /// The key is of no use.
    #[error("the token's key {wanted} cannot be used: {reason}")]
    Unusable {
        /// The key.
        wanted: String,
        /// Why.
        reason: &'static str,
    },
    /// A call failed.
    #[error("the token did not do it: {0}")]
    Call(#[from] cryptoki::error::Error),
    /// It signed something that is no signature.
    #[error("the token made no signature: {0}")]
    Signature(String),
}
