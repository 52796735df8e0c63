//! Our two lines in `/etc/pam.d/sshd`; pure.
//!
//! They stand before everything else, `@include` lines too, because an included file may hold lines of any kind and
//! modules that run before ours may put what the user wrote in place of what sshd said.

use wire::identifier::Principal;

use crate::config::OtherLogins;

/// `text` with our lines in front, and with no other line of ours.
#[must_use]
pub fn with_lines(text: &str, other_logins: OtherLogins) -> String {
    let agent_down = match other_logins {
        OtherLogins::Allow | OtherLogins::Alarm => "outside",
        OtherLogins::Refuse | OtherLogins::End => "refuse",
    };
    let mut text = without_lines(text);
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let first = lines.iter().position(|line| is_rule(line)).unwrap_or(lines.len());
    let ours = [
        format!("{NOTE}\n"),
        format!("account    required     {MODULE} agent_down={agent_down}\n"),
        format!("session    required     {MODULE} agent_down={agent_down}\n"),
    ];
    lines.splice(first..first, ours.iter().map(String::as_str));
    lines.concat()
}

/// Our lines, with the account that break-glass opens although nobody is at the gate.
#[must_use]
pub fn with_breakglass(text: &str, door: &Principal) -> String {
    let lines = text.split_inclusive('\n').map(|line| {
        let is_ours = is_rule(line) && line.contains(MODULE) && !line.contains("breakglass=");
        match line.strip_suffix('\n') {
            Some(rule) if is_ours => format!("{rule} breakglass={door}\n"),
            _ => line.to_owned(),
        }
    });
    lines.collect()
}

/// `text` without any line of ours; whatever else was edited since stays as it is.
#[must_use]
pub fn without_lines(text: &str) -> String {
    let ours = |line: &&str| line.trim_end() == NOTE || (is_rule(line) && line.contains(MODULE));
    text.split_inclusive('\n').filter(|line| !ours(line)).collect()
}

/// What stands in the way of our module being asked first; nothing when all is well.
#[must_use]
pub fn flaw(text: &str) -> Option<String> {
    ["account", "session"].into_iter().find_map(|kind| flaw_of(kind, text))
}

fn flaw_of(kind: &str, text: &str) -> Option<String> {
    let first = text.lines().filter(|line| is_rule(line)).find(|line| is_of(kind, line));
    let ours = |line: &str| is_of(kind, line) && line.contains(MODULE);
    match first {
        Some(line) if ours(line) => {
            let mut words = line.split_whitespace().skip(1);
            (words.next() != Some("required"))
                .then(|| format!("the {kind} line is not `required`: {line}"))
        }
        Some(line) if text.lines().filter(|line| is_rule(line)).any(ours) => {
            Some(format!("the first {kind} line is not ours: {line}"))
        }
        _ => Some(format!("there is no {kind} line with {MODULE}")),
    }
}

/// Whether a line belongs to the stack `kind`, or might: an include can hold any kind.
fn is_of(kind: &str, line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or_default();
    word.trim_start_matches('-').eq_ignore_ascii_case(kind) || word == "@include"
}

fn is_rule(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with('#')
}

/// The module's file.
pub const MODULE: &str = "pam_curfew.so";
/// The file these lines go to.
pub const PAM_PATH: &str = "/etc/pam.d/sshd";
const NOTE: &str = "# Curfew: curfew-agent is asked first. Written by `curfew-agent install`, taken out by `curfew-agent uninstall`.";

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "# PAM configuration\n\n@include common-auth\naccount required pam_nologin.so\n@include common-account\nsession optional pam_motd.so\n";

    #[test]
    fn our_lines_come_before_every_other() {
        let text = with_lines(DEBIAN, OtherLogins::Allow);
        let rules: Vec<&str> = text.lines().filter(|line| is_rule(line)).collect();
        assert_eq!(rules[0], "account    required     pam_curfew.so agent_down=outside");
        assert_eq!(rules[1], "session    required     pam_curfew.so agent_down=outside");
        assert_eq!(rules[2], "@include common-auth");
        assert_eq!(flaw(&text), None);
    }

    #[test]
    fn once_or_twice_is_the_same_and_the_last_policy_holds() {
        let once = with_lines(DEBIAN, OtherLogins::Allow);
        assert_eq!(with_lines(&once, OtherLogins::Allow), once);
        let refuse = with_lines(&once, OtherLogins::Refuse);
        assert_eq!(refuse.matches(MODULE).count(), 2);
        assert_eq!(refuse.matches("agent_down=refuse").count(), 2);
    }

    #[test]
    fn both_lines_name_the_account_of_break_glass_once() {
        let door = "breakglass@db1".parse().unwrap();
        let text = with_breakglass(&with_lines(DEBIAN, OtherLogins::Refuse), &door);
        assert_eq!(
            text.matches("pam_curfew.so agent_down=refuse breakglass=breakglass@db1\n").count(),
            2
        );
        assert_eq!(with_breakglass(&text, &door), text);
        assert_eq!(without_lines(&text), DEBIAN);
        assert_eq!(flaw(&text), None);
    }

    #[test]
    fn taking_out_leaves_what_was_edited_since() {
        let edited = with_lines(DEBIAN, OtherLogins::Allow) + "session required pam_mine.so\n";
        assert_eq!(without_lines(&edited), format!("{DEBIAN}session required pam_mine.so\n"));
        assert_eq!(without_lines(DEBIAN), DEBIAN);
        for odd in ["# no newline", "account required pam_unix.so\r\n", "\u{b}\n\n"] {
            assert_eq!(without_lines(odd), odd);
            let changed = with_lines(odd, OtherLogins::Allow);
            assert_eq!(without_lines(&changed).trim_end_matches('\n'), odd.trim_end_matches('\n'));
        }
    }

    #[test]
    fn what_runs_before_us_is_found() {
        let ours = "account required pam_curfew.so\nsession required pam_curfew.so\n";
        let table = [
            (String::new(), Some("no account line")),
            (DEBIAN.to_owned(), Some("no account line")),
            (ours.to_owned(), None),
            (format!("# pam_curfew.so\n{ours}"), None),
            (format!("@include common-auth\n{ours}"), Some("first account line is not ours")),
            (
                format!("-session optional pam_env.so user_readenv=1\n{ours}"),
                Some("first session line is not ours"),
            ),
            (ours.replace("account required", "account optional"), Some("not `required`")),
            (ours.replace("session required", "# session required"), Some("no session line")),
        ];
        for (text, expected) in table {
            let found = flaw(&text);
            match expected {
                None => assert_eq!(found, None, "{text}"),
                Some(part) => {
                    assert!(found.clone().unwrap_or_default().contains(part), "{text}: {found:?}");
                }
            }
        }
    }
}
