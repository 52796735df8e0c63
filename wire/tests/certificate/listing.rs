//! What `ssh-keygen -L` prints, from our own reading: equal text means equal reading, to the last byte.

use ssh_key::HashAlg;
use wire::certificate::{Certificate, FOREVER, KNOWN_EXTENSIONS, Kind, Options};
use wire::key::KeyKind;

/// The listing of `certificate` in a file of this name.
pub(crate) fn listing(file: &str, certificate: &Certificate) -> Vec<u8> {
    let (subject, authority) = (certificate.subject(), certificate.authority());
    let kind = match certificate.kind() {
        Kind::User => "user",
        Kind::Host => "host",
    };
    let print = |key: &ssh_key::public::KeyData| key.fingerprint(HashAlg::Sha256).to_string();
    let mut text = format!(
        "{file}:\n        Type: {} {kind} certificate\n        Public key: {}-CERT {}\n        Signing CA: {} {} (using {})\n        Key ID: \"",
        certificate.name(),
        short(KeyKind::of(subject).unwrap()),
        print(subject),
        short(KeyKind::of(authority).unwrap()),
        print(authority),
        certificate.signature().algorithm(),
    )
    .into_bytes();
    text.extend(certificate.key_id().as_bytes());
    let window = (certificate.valid_after(), certificate.valid_before());
    text.extend(
        format!(
            "\"\n        Serial: {}\n        Valid: {}\n        Principals: ",
            certificate.serial(),
            valid(window)
        )
        .into_bytes(),
    );
    if certificate.principals().is_empty() {
        text.extend(b"(none)");
    }
    text.push(b'\n');
    for principal in certificate.principals() {
        text.extend(b"                ");
        text.extend(principal.as_bytes());
        text.push(b'\n');
    }
    options(&mut text, "Critical Options", certificate.critical(), true);
    options(&mut text, "Extensions", certificate.extensions(), false);
    text
}

fn options(text: &mut Vec<u8>, title: &str, options: &Options, are_critical: bool) {
    text.extend(format!("        {title}: ").into_bytes());
    if options.is_empty() {
        text.extend(b"(none)");
    }
    text.push(b'\n');
    for (name, data) in options.iter() {
        text.extend(b"                ");
        text.extend(name.as_bytes());
        let name = std::str::from_utf8(name.as_bytes()).unwrap();
        let takes_text = are_critical && ["force-command", "source-address"].contains(&name);
        let is_flag =
            if are_critical { name == "verify-required" } else { KNOWN_EXTENSIONS.contains(&name) };
        if takes_text {
            text.push(b' ');
            // A string within the string.
            text.extend(&data.as_bytes()[4..]);
        } else if !is_flag && data.as_bytes().is_empty() {
            text.extend(b" UNKNOWN FLAG OPTION");
        } else if !is_flag {
            let hex: String = data.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            text.extend(format!(" UNKNOWN OPTION: {hex} (len {})", data.as_bytes().len()).bytes());
        }
        text.push(b'\n');
    }
}

const fn short(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Ed25519 => "ED25519",
        KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 => "ECDSA",
        KeyKind::Rsa => "RSA",
        KeyKind::SkEd25519 => "ED25519-SK",
        KeyKind::SkEcdsaP256 => "ECDSA-SK",
    }
}

fn valid((after, before): (u64, u64)) -> String {
    match (after, before) {
        (0, FOREVER) => "forever".into(),
        (0, before) => format!("before {}", moment(before)),
        (after, FOREVER) => format!("after {}", moment(after)),
        (after, before) => format!("from {} to {}", moment(after), moment(before)),
    }
}

/// In UTC.
fn moment(secs: u64) -> String {
    let (mut day, time) = (secs / 86_400, secs % 86_400);
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}", day + 1)
}
