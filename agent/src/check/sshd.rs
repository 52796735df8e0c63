//! What sshd's effective settings mean for the agent; pure.

use std::path::PathBuf;

use wire::krl::{Extent, Krl, RevokedKeysError};

use super::{Finding, defeated, weakened};
use crate::install::sshd::Effective;

/// What is wrong with the settings that hold for `who`.
pub(crate) fn findings(effective: &Effective, who: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (keyword, ours, holds) in effective.overridden() {
        if keyword == "ForceCommand" {
            findings.push(forced(&holds, who));
            continue;
        }
        let what = format!("sshd: {keyword} is {holds}, not {ours}{SEEN_FOR}{who})");
        let remedy = format!(
            "look for {keyword} in sshd_config, in files before 00-curfew.conf and in Match blocks; then curfew-agent install"
        );
        findings.push(match consequence(keyword) {
            Some(why) => defeated(what, why, remedy),
            None => weakened(what, "It is not what `curfew-agent install` set.", remedy),
        });
    }
    let keys = effective.value("AuthorizedKeysCommand");
    if keys != "none" {
        findings.push(weakened(
            format!("sshd: AuthorizedKeysCommand is {keys}{SEEN_FOR}{who})"),
            "It can name keys and authorities that the agent knows nothing of; they are other logins.",
            "see that it names no cert-authority",
        ));
    }
    findings
}

/// What is wrong where break-glass is to open a door, and sshd turns away addresses from which logins failed.
pub(crate) fn penalties(effective: &Effective, who: &str) -> Option<Finding> {
    let holds = effective.value("PerSourcePenalties");
    // "none" is also what sshd before 9.8 says, which has none.
    let is_exempt = effective.value("PerSourcePenaltyExemptList") != "none";
    (!matches!(holds, "none" | "no") && !is_exempt).then(|| {
        weakened(
            format!("sshd: PerSourcePenalties exempts nobody{SEEN_FOR}{who})"),
            "When logins fail from an address, sshd turns that address away for up to 10 minutes, before any key is looked at: break-glass too, for whoever shares it (a bastion, a NAT).",
            "name the networks from which break-glass is used in PerSourcePenaltyExemptList of sshd_config, and reload sshd",
        )
    })
}

/// What follows when sshd starts something else in channels than `curfew-pty`.
fn forced(holds: &str, who: &str) -> Finding {
    let what = format!("sshd: ForceCommand is {holds}{SEEN_FOR}{who})");
    if holds == "none" {
        return weakened(
            what,
            "Terminals of this account are not relayed: nothing of them is recorded, and a role that requires it does not hold here.",
            "keep it for accounts whose shell starts no programs, such as git-shell; else curfew-agent install",
        );
    }
    weakened(
        what,
        "sshd runs it and ignores the certificate's own forced command without a word: a grant for one command gets another. Terminals are not relayed.",
        "take it out, or keep it for accounts that no role names",
    )
}

/// What follows when a setting that the login path stands on does not hold.
fn consequence(keyword: &str) -> Option<&'static str> {
    match keyword {
        "TrustedUserCAKeys" => Some("Another authority's certificates count, or none."),
        "AuthorizedPrincipalsCommand" | "AuthorizedPrincipalsCommandUser" => {
            Some("The agent is not asked which certificate opens what.")
        }
        "AuthorizedPrincipalsFile" => Some(
            "The file is read before the agent is asked, and lets in whom the agent would refuse.",
        ),
        "UsePAM" => Some("The agent is not asked at login, and no session is tagged."),
        "PubkeyAuthentication" => Some("No certificate opens anything."),
        "RevokedKeys" => Some(
            "What is locked still opens wherever the agent is not asked: while it is stopped, or by a plain key.",
        ),
        "PermitUserEnvironment" => Some("Users write the environment of their logins."),
        _ => None,
    }
}

/// What is wrong with a list of revoked keys; `bytes` is nothing when it cannot be read.
pub(crate) fn revoked_keys(path: &str, bytes: Option<&[u8]>) -> Option<Finding> {
    let Some(bytes) = bytes else {
        return Some(defeated(
            format!("RevokedKeys {path} cannot be read"),
            "sshd then refuses every login by key or certificate.",
            "put the file back, or take the setting out; Curfew's own is put back by the running agent",
        ));
    };
    let is_ours = path == crate::krl::REVOKED_KEYS_PATH;
    match Krl::revoked_keys(bytes) {
        Err(RevokedKeysError::Empty) => {}
        Err(error) => {
            return Some(defeated(
                format!("RevokedKeys {path}: {error}"),
                "sshd then refuses every login by key or certificate.",
                "put a whole list in its place; Curfew's own is put back by the running agent",
            ));
        }
        // Text without a key. A binary list that revokes nothing says so in its header.
        Ok(list) if list.version() == 0 && list.extent() == Extent::default() && !is_ours => {}
        Ok(_) => return None,
    }
    Some(weakened(
        format!("RevokedKeys {path} is empty"),
        "sshd reads it as a list of nothing, without a word: what was revoked opens again.",
        "put the list back; a list that revokes nothing is written by `ssh-keygen -k`",
    ))
}

/// What is wrong with `RevokedKeys` lines beside ours; `adopted` are the files that ours has taken over.
pub(crate) fn other_lists(file: &str, text: &str, adopted: &[PathBuf]) -> Vec<Finding> {
    let lines = crate::install::sshd::revoked_keys(text).into_iter();
    lines
        .filter_map(|line| {
            let paths = line.paths.join(" ");
            if line.is_in_match {
                return Some(defeated(
                    format!("{file}: a Match block sets RevokedKeys {paths}"),
                    "For whom it matches sshd does not read the list that Curfew keeps: what is locked opens where the agent is not asked.",
                    "take it out of the block; name the file before all blocks, and run `curfew-agent install`",
                ));
            }
            let is_known = line.paths.iter().all(|path| adopted.contains(&PathBuf::from(path)));
            (!is_known).then(|| {
                weakened(
                    format!("{file}: RevokedKeys {paths} has no effect"),
                    "sshd reads the list that Curfew keeps in its place, and what this one revokes is not in it.",
                    "curfew-agent install, which takes it over",
                )
            })
        })
        .collect()
}

/// Whether an `authorized_keys` file trusts an authority.
pub(crate) fn trusts_an_authority(text: &str) -> bool {
    let lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    lines
        .into_iter()
        .any(|line| options(line).any(|option| option.eq_ignore_ascii_case("cert-authority")))
}

/// Whether a line of an `authorized_keys` file trusts an authority and does not say for which principals.
pub(crate) fn trusts_for_anybody(text: &str) -> bool {
    let lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    lines.into_iter().any(|line| {
        let options: Vec<String> =
            options(line).map(|option| option.to_ascii_lowercase()).collect();
        options.iter().any(|option| option == "cert-authority")
            && !options.iter().any(|option| option.starts_with("principals="))
    })
}

/// The options before the key: separated by commas, ended by a blank, with quotes that protect both.
fn options(line: &str) -> impl Iterator<Item = String> {
    let mut options = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for character in line.chars() {
        match character {
            '"' if !escaped => quoted = !quoted,
            ' ' | '\t' if !quoted => break,
            ',' if !quoted => options.push(String::new()),
            _ => options.last_mut().into_iter().for_each(|option| option.push(character)),
        }
        escaped = character == '\\';
    }
    options.into_iter()
}

/// What parts a finding from the connection it was seen for.
pub(crate) const SEEN_FOR: &str = " (seen for ";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Severity;
    use crate::install::sshd::drop_in;

    /// `sshd -T` of a host that is installed.
    fn installed() -> String {
        let text = drop_in(&[], &[]);
        let rules = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        rules
            .filter_map(|line| line.split_once(' '))
            .map(|(key, value)| format!("{} {value}\n", key.to_lowercase()))
            .collect()
    }

    fn found(text: &str) -> Vec<Finding> {
        findings(&Effective::parse(text), "ana from 192.0.2.1")
    }

    #[test]
    fn an_installed_host_is_well() {
        assert_eq!(found(&installed()), []);
    }

    #[test]
    fn who_shares_an_address_must_not_be_kept_from_break_glass() {
        let found = |text: &str| penalties(&Effective::parse(text), "root from 192.0.2.1");
        let holds = "persourcepenalties crash:90 authfail:5 noauth:1\n";
        let finding = found(&format!("{holds}persourcepenaltyexemptlist none\n")).unwrap();
        assert_eq!(finding.severity, Severity::Weakened);
        assert!(finding.what.starts_with("sshd: PerSourcePenalties exempts nobody (seen for root"));
        let fine = [
            "",
            "persourcepenalties no\npersourcepenaltyexemptlist none\n",
            &format!("{holds}persourcepenaltyexemptlist 10.0.0.0/8\n"),
        ];
        for text in fine {
            assert_eq!(found(text), None, "{text:?}");
        }
    }

    #[test]
    fn each_override_is_found_and_weighed() {
        let table = [
            ("usepam yes", "usepam no", Severity::Defeated, "no session is tagged"),
            (
                "authorizedprincipalsfile none",
                "authorizedprincipalsfile /etc/p",
                Severity::Defeated,
                "before the agent is asked",
            ),
            (
                "trustedusercakeys /etc/curfew/user_ca.pub",
                "trustedusercakeys /etc/x",
                Severity::Defeated,
                "Another authority",
            ),
            (
                "permituserenvironment no",
                "permituserenvironment yes",
                Severity::Defeated,
                "Users write",
            ),
            ("clientaliveinterval 30", "clientaliveinterval 0", Severity::Weakened, "not what"),
            (
                "forcecommand exec /usr/lib/curfew/curfew-pty",
                "forcecommand /bin/menu",
                Severity::Weakened,
                "ignores the certificate's",
            ),
            (
                "forcecommand exec /usr/lib/curfew/curfew-pty",
                "forcecommand none",
                Severity::Weakened,
                "are not relayed",
            ),
            (
                "usepam yes",
                "usepam yes\nauthorizedkeyscommand /bin/keys",
                Severity::Weakened,
                "other logins",
            ),
        ];
        for (from, to, severity, why) in table {
            let found = found(&installed().replace(from, to));
            assert_eq!(found.len(), 1, "{to}: {found:?}");
            assert_eq!(found[0].severity, severity, "{to}");
            assert!(found[0].why.contains(why), "{to}: {found:?}");
        }
    }

    #[test]
    fn a_list_that_revokes_nothing_by_mistake_is_found() {
        assert!(revoked_keys("/k", None).unwrap().what.contains("cannot be read"));
        for empty in [&b""[..], b"\n \n", b"# nothing\n"] {
            assert!(
                revoked_keys("/k", Some(empty)).unwrap().what.contains("is empty"),
                "{empty:?}"
            );
        }
        let list = Krl::new(1, wire::time::Timestamp::from_secs(1)).encode().unwrap();
        assert_eq!(revoked_keys("/k", Some(&list)), None);
        let ours = Krl::new(0, wire::time::Timestamp::from_secs(0)).encode().unwrap();
        assert_eq!(revoked_keys(crate::krl::REVOKED_KEYS_PATH, Some(&ours)), None);
        let key = crate::krl::trial::PROBE.as_bytes();
        assert_eq!(revoked_keys("/k", Some(key)), None);
        for damaged in [&b"SSHKRL\n\0"[..], b"<html>", b"ssh-ed25519 AAAA\n"] {
            let found = revoked_keys("/k", Some(damaged)).unwrap();
            assert_eq!(found.severity, Severity::Defeated, "{found:?}");
        }
    }

    #[test]
    fn a_list_that_ours_hides_or_that_hides_ours_is_found() {
        let text = "RevokedKeys /a\nRevokedKeys /b\nMatch User ana\nRevokedKeys /a\n";
        let found = other_lists("f", text, &["/a".into()]);
        let what: Vec<&str> = found.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(
            what,
            ["f: RevokedKeys /b has no effect", "f: a Match block sets RevokedKeys /a"]
        );
        assert_eq!(other_lists("f", &drop_in(&[], &[]), &[]), []);
    }

    #[test]
    fn authorities_are_found_among_options_and_not_in_comments() {
        let table = [
            ("cert-authority ssh-ed25519 AAAA", true),
            ("  no-pty,cert-authority,principals=\"a,b\" ssh-ed25519 AAAA", true),
            ("command=\"x \\\" y\",Cert-Authority ssh-ed25519 AAAA", true),
            ("# cert-authority ssh-ed25519 AAAA", false),
            ("ssh-ed25519 AAAA cert-authority", false),
            ("command=\"cert-authority,x\" ssh-ed25519 AAAA", false),
            ("", false),
        ];
        for (line, expected) in table {
            let text = format!("ssh-rsa AAAA\n{line}\n");
            assert_eq!(trusts_an_authority(&text), expected, "{line}");
            let anybody = expected && !line.contains("principals=");
            assert_eq!(trusts_for_anybody(&text), anybody, "{line}");
        }
    }
}
