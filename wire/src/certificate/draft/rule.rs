//! What may stand in a certificate that we sign: lists of what is allowed, never of what is not.

use super::{MAX_KEY_ID, MAX_PRINCIPAL};

/// sshd prints it into its log without quotes, so blanks and line ends would forge fields.
pub(super) fn is_key_id(text: &str) -> bool {
    is_of(text, MAX_KEY_ID, |byte| byte.is_ascii_alphanumeric() || b"@._:=/-".contains(&byte))
}

/// No comma, wildcard, blank, quote or control character: each has opened something somewhere.
pub(super) fn is_principal(text: &str) -> bool {
    let begins = text
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte));
    begins
        && is_of(text, MAX_PRINCIPAL, |byte| {
            byte.is_ascii_alphanumeric() || b"@._:-".contains(&byte)
        })
}

/// `name@domain`, as PROTOCOL.certkeys has it for options that are not OpenSSH's.
pub(super) fn is_of_a_domain(name: &str) -> bool {
    let is_word = |word: &str, more: &[u8]| {
        is_of(word, MAX_NAME, |byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    name.len() <= MAX_NAME
        && name
            .split_once('@')
            .is_some_and(|(name, domain)| is_word(name, b"-_.") && is_word(domain, b"-."))
}

/// The value of an option of a domain.
pub(super) fn is_text(value: &str) -> bool {
    value.len() <= MAX_TEXT && !value.contains('\0')
}

fn is_of(text: &str, limit: usize, allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.len() <= limit && text.bytes().all(allowed)
}

/// Longest name of an option.
const MAX_NAME: usize = 64;
/// Longest value: a proof of inclusion in a ledger of any length fits.
const MAX_TEXT: usize = 16 * 1024;
