//! What may stand in a certificate that we sign: lists of what is allowed, never of what is not.

use std::net::IpAddr;

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

/// What sshd hands to the account's shell.
pub(super) fn is_command(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_COMMAND && !text.chars().any(char::is_control)
}

/// Networks as `addr_match_cidr_list` takes them: separated by commas, with no bit set after the prefix.
pub(super) fn are_networks(text: &str) -> bool {
    text.len() <= MAX_COMMAND && text.split(',').all(is_network)
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

fn is_network(text: &str) -> bool {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let (value, width) = match address.parse() {
        Ok(IpAddr::V4(four)) => (u128::from(four.to_bits()), 32),
        Ok(IpAddr::V6(six)) => (six.to_bits(), 128),
        Err(_) => return false,
    };
    let Some(prefix) = prefix else {
        return true;
    };
    let is_number =
        prefix.len() <= 3 && !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    match prefix.parse::<u32>() {
        Ok(length) if is_number && length <= width => {
            let free = width.saturating_sub(length);
            value == value.checked_shr(free).and_then(|kept| kept.checked_shl(free)).unwrap_or(0)
        }
        _ => false,
    }
}

fn is_of(text: &str, limit: usize, allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.len() <= limit && text.bytes().all(allowed)
}

/// Longest command, and longest list of networks: what still fits on a line that people read.
const MAX_COMMAND: usize = 4096;
/// Longest name of an option.
const MAX_NAME: usize = 64;
/// Longest value: a proof of inclusion in a ledger of any length fits.
const MAX_TEXT: usize = 16 * 1024;
