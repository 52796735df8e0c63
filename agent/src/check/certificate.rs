//! What in sshd's effective settings takes the force out of a certificate: what it demands, or what it opens; pure.

use super::sshd::SEEN_FOR;
use super::{Finding, defeated, weakened};
use crate::install::sshd::{Effective, Version};

/// What bears on certificates besides sshd's settings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setting {
    /// sshd's release, when it said one.
    pub(crate) release: Option<Version>,
    /// The types of the keys that sign our user certificates, as in the file that sshd trusts.
    pub(crate) authorities: Vec<String>,
}

/// What is wrong with the settings that hold for `who`.
pub(crate) fn findings(effective: &Effective, setting: &Setting, who: &str) -> Vec<Finding> {
    let mut findings = algorithms(effective, setting, who);
    findings.extend(methods(effective, who));
    findings.extend(environment(effective, who));
    findings.extend(forwarding(effective, setting, who));
    findings
}

/// The types of the keys in a file of public keys.
pub(crate) fn key_types(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
}

fn algorithms(effective: &Effective, setting: &Setting, who: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(allowed) = effective.list("CASignatureAlgorithms") {
        for kind in &setting.authorities {
            // An RSA key signs by two names; its own, with SHA-1, nobody should take.
            let names: &[&str] = match kind.as_str() {
                "ssh-rsa" => &["rsa-sha2-512", "rsa-sha2-256"],
                other => &[other],
            };
            if !names.iter().any(|name| allowed.contains(name)) {
                findings.push(defeated(
                    format!(
                        "sshd: CASignatureAlgorithms has no {}{SEEN_FOR}{who})",
                        names.join(" or ")
                    ),
                    "That is what our authority signs with: no certificate opens anything.",
                    format!(
                        "add {} to CASignatureAlgorithms, or take the setting out",
                        names.join(",")
                    ),
                ));
            }
        }
    }
    if let Some(accepted) = effective.list("PubkeyAcceptedAlgorithms") {
        let missing = |kinds: &[&'static str]| -> Vec<&'static str> {
            kinds.iter().filter(|kind| !accepted.contains(kind)).copied().collect()
        };
        if !missing(&[OUR_OWN]).is_empty() {
            findings.push(defeated(
                format!("sshd: PubkeyAcceptedAlgorithms has no {OUR_OWN}{SEEN_FOR}{who})"),
                "That is what `curfew ssh` makes: no certificate of its own opens anything.",
                "add it to PubkeyAcceptedAlgorithms, or take the setting out",
            ));
        }
        let missing = missing(OTHERS);
        if !missing.is_empty() {
            findings.push(weakened(
                format!(
                    "sshd: PubkeyAcceptedAlgorithms has no {}{SEEN_FOR}{who})",
                    missing.join(", ")
                ),
                "Certificates over keys of these types, such as security keys, open nothing here.",
                "add them to PubkeyAcceptedAlgorithms, if people here have such keys",
            ));
        }
    }
    findings
}

/// Lists of methods, one of which must be gone through whole; `any` is no list.
fn methods(effective: &Effective, who: &str) -> Option<Finding> {
    let lists = effective.value("AuthenticationMethods");
    let by_key = |list: &str| list == "any" || list.split(',').any(|method| method == "publickey");
    if lists == "none" || lists.split_whitespace().any(by_key) {
        return None;
    }
    Some(defeated(
        format!("sshd: AuthenticationMethods is {lists}{SEEN_FOR}{who})"),
        "None of them is by key, so no certificate opens anything.",
        "add publickey to AuthenticationMethods, or take the setting out",
    ))
}

/// Variables that the client may set and that make a shell run something else first.
fn environment(effective: &Effective, who: &str) -> Option<Finding> {
    let harmful = |pattern: &&str| RULING.iter().any(|name| matches(pattern, name));
    let values = effective.values("AcceptEnv");
    let patterns: Vec<&str> =
        values.iter().flat_map(|value| value.split_whitespace()).filter(harmful).collect();
    if patterns.is_empty() {
        return None;
    }
    Some(weakened(
        format!("sshd: AcceptEnv takes {}{SEEN_FOR}{who})", patterns.join(" ")),
        "With BASH_ENV, LD_PRELOAD or PATH from the client, a certificate's forced command runs something else.",
        "name in AcceptEnv what is needed, such as LANG LC_*",
    ))
}

/// CVE-2025-32728: before 10.0 `DisableForwarding` left two of them on.
fn forwarding(effective: &Effective, setting: &Setting, who: &str) -> Option<Finding> {
    let is = |keyword: &str| effective.value(keyword) == "yes";
    let open = is("AllowAgentForwarding") || is("X11Forwarding");
    let old = setting.release.is_none_or(|release| release < FORWARDING_REPAIRED);
    (is("DisableForwarding") && open && old).then(|| {
        weakened(
            format!("sshd: DisableForwarding does not hold for the ssh-agent and X11{SEEN_FOR}{who})"),
            "Before OpenSSH 10.0 it leaves both on (CVE-2025-32728), for logins without a certificate too.",
            "say AllowAgentForwarding no and X11Forwarding no as well",
        )
    })
}

/// Whether `pattern`, with `*` and `?` as sshd reads them, takes `name`.
fn matches(pattern: &str, name: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = rest.as_str();
            let mut tail = name.chars();
            loop {
                if matches(rest, tail.as_str()) {
                    return true;
                }
                if tail.next().is_none() {
                    return false;
                }
            }
        }
        Some(wanted) => {
            let mut tail = name.chars();
            let next = tail.next();
            next.is_some_and(|next| wanted == '?' || wanted == next)
                && matches(rest.as_str(), tail.as_str())
        }
    }
}

/// Variables by which a shell or the loader is ruled.
const RULING: [&str; 6] = ["BASH_ENV", "ENV", "LD_PRELOAD", "LD_LIBRARY_PATH", "PATH", "SHELLOPTS"];
/// What `curfew` makes by itself.
const OUR_OWN: &str = "ssh-ed25519-cert-v01@openssh.com";
/// What people may have certified.
const OTHERS: &[&str] = &[
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com",
];
const FORWARDING_REPAIRED: Version = Version::new(10, 0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Severity;

    fn found(text: &str, authority: &str) -> Vec<Finding> {
        let setting = Setting {
            release: Some(Version::new(9, 2)),
            authorities: key_types(&format!("# ours\n{authority} AAAA curfew\n")),
        };
        findings(&Effective::parse(text), &setting, "ana from 192.0.2.1")
    }

    /// The defaults of OpenSSH 9.2, as `sshd -T` prints them.
    const DEFAULTS: &str = "casignaturealgorithms ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256\n\
        pubkeyacceptedalgorithms ssh-ed25519-cert-v01@openssh.com,ecdsa-sha2-nistp256-cert-v01@openssh.com,ecdsa-sha2-nistp384-cert-v01@openssh.com,ecdsa-sha2-nistp521-cert-v01@openssh.com,sk-ssh-ed25519-cert-v01@openssh.com,sk-ecdsa-sha2-nistp256-cert-v01@openssh.com,rsa-sha2-512-cert-v01@openssh.com\n\
        authenticationmethods any\nacceptenv LANG\nacceptenv LC_*\ndisableforwarding no\nx11forwarding yes\nallowagentforwarding yes\n";

    #[test]
    fn the_defaults_of_openssh_are_well() {
        for authority in ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"] {
            assert_eq!(found(DEFAULTS, authority), []);
        }
        assert_eq!(found("", "ssh-ed25519"), [], "what is not said is not judged");
    }

    #[test]
    fn each_setting_that_defeats_a_certificate_is_found() {
        let table = [
            (
                "algorithms ssh-ed25519,ecdsa",
                "algorithms ecdsa",
                Severity::Defeated,
                "no ssh-ed25519 ",
            ),
            (
                "pubkeyacceptedalgorithms ssh-ed25519-cert-v01@openssh.com,",
                "pubkeyacceptedalgorithms ",
                Severity::Defeated,
                "no ssh-ed25519-cert-v01@openssh.com ",
            ),
            (
                "sk-ssh-ed25519-cert-v01@openssh.com,",
                "",
                Severity::Weakened,
                "no sk-ssh-ed25519-cert-v01@openssh.com ",
            ),
            (
                "methods any",
                "methods password keyboard-interactive,password",
                Severity::Defeated,
                "AuthenticationMethods is password",
            ),
            ("acceptenv LANG", "acceptenv LANG LD_*", Severity::Weakened, "AcceptEnv takes LD_* "),
            ("acceptenv LC_*", "acceptenv *", Severity::Weakened, "AcceptEnv takes * "),
            (
                "disableforwarding no",
                "disableforwarding yes",
                Severity::Weakened,
                "DisableForwarding does not hold",
            ),
        ];
        for (from, to, severity, what) in table {
            assert!(DEFAULTS.contains(from), "{from}");
            let found = found(&DEFAULTS.replace(from, to), "ssh-ed25519");
            assert_eq!(found.len(), 1, "{to}: {found:?}");
            assert_eq!(found[0].severity, severity, "{to}");
            assert!(found[0].what.contains(what), "{to}: {found:?}");
        }
        let rsa = found(&DEFAULTS.replace(",rsa-sha2-512,rsa-sha2-256", ""), "ssh-rsa");
        assert!(rsa[0].what.contains("no rsa-sha2-512 or rsa-sha2-256"), "{rsa:?}");
        for fine in ["publickey", "publickey,password", "password publickey,keyboard-interactive"] {
            assert_eq!(
                found(&DEFAULTS.replace("methods any", &format!("methods {fine}")), "ssh-ed25519"),
                []
            );
        }
    }

    #[test]
    fn a_pattern_is_read_as_sshd_reads_it() {
        for (pattern, name, taken) in [
            ("*", "PATH", true),
            ("P?TH", "PATH", true),
            ("*_ENV", "BASH_ENV", true),
            ("LC_*", "LD_PRELOAD", false),
            ("PATH", "PATHS", false),
            ("", "PATH", false),
            ("**D", "LD_PRELOAD", true),
        ] {
            assert_eq!(matches(pattern, name), taken, "{pattern} {name}");
        }
    }
}
