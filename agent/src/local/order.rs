//! Whether the login path is as it was installed, and what keeps the agent alive; looks, and changes nothing.
//!
//! A part of what `curfew-agent check` looks at, by files alone, so that it can be done every few seconds: our settings
//! for sshd, our lines for PAM, and our units, which nobody may mask.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::install::{pam, sshd};

/// What is not in order on the host whose root folder is `root`, a sentence each. Nothing where nothing was installed.
#[must_use]
pub fn disorder(root: &Path) -> BTreeSet<String> {
    let read = |path: &str| fs::read_to_string(root.join(path.trim_start_matches('/'))).ok();
    let mut found = BTreeSet::new();
    let (drop_in, lines) = (read(sshd::DROP_IN_PATH), read(pam::PAM_PATH));
    let has_lines = lines.as_deref().is_some_and(|text| text.contains(pam::MODULE));
    if drop_in.is_none() && !has_lines {
        return found;
    }
    match drop_in {
        None => drop(found.insert(format!("{} was removed", sshd::DROP_IN_PATH))),
        Some(text) if text != as_written(&text) => {
            found.insert(format!("{} was changed", sshd::DROP_IN_PATH));
        }
        Some(_) => {}
    }
    let config = read(sshd::CONFIG_PATH).unwrap_or_default();
    if sshd::with_include(&config).is_some_and(|text| text != config) {
        found.insert(format!("{} does not begin with our settings", sshd::CONFIG_PATH));
    }
    if let Some(flaw) = pam::flaw(&lines.unwrap_or_default()) {
        found.insert(format!("{}: {flaw}", pam::PAM_PATH));
    }
    for folder in ["/etc/systemd/system", "/run/systemd/system"] {
        for unit in UNITS {
            let path = format!("{folder}/{unit}");
            let at = root.join(path.trim_start_matches('/'));
            if fs::read_link(&at).is_ok_and(|to| to == Path::new("/dev/null")) {
                found.insert(format!("{path} masks the unit, which will not start again"));
            }
        }
    }
    found
}

/// Our settings as we would write them, with what these say of the host.
fn as_written(text: &str) -> String {
    let settings = sshd::drop_in(&sshd::host_certificates(text), &sshd::excepted(text));
    let door = sshd::breakglass_login(text);
    door.map_or(settings.clone(), |login| sshd::with_breakglass(&settings, &login))
}

const UNITS: [&str; 2] = ["curfew-agent.service", "curfew-link.service"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OtherLogins;

    #[test]
    fn each_thing_that_is_taken_away_is_named_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        assert!(disorder(root.path()).is_empty(), "nothing is installed");
        let put = |path: &str, text: &str| {
            let path = root.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let settings =
            sshd::drop_in(&["/var/lib/curfew/x-cert.pub".to_owned()], &["git".to_owned()]);
        let lines = pam::with_lines("account required pam_unix.so\n", OtherLogins::Allow);
        let config = sshd::with_include("Port 22\n").unwrap();
        let all = [
            (sshd::DROP_IN_PATH, &settings),
            (pam::PAM_PATH, &lines),
            (sshd::CONFIG_PATH, &config),
        ];
        all.iter().for_each(|(path, text)| put(path, text));
        assert!(disorder(root.path()).is_empty());
        for (path, text, words) in [
            (sshd::DROP_IN_PATH, settings.replace("UsePAM yes", "UsePAM no"), "was changed"),
            (pam::PAM_PATH, pam::without_lines(&lines), "there is no account line"),
            (sshd::CONFIG_PATH, format!("UsePAM no\n{config}"), "does not begin with our settings"),
        ] {
            put(path, &text);
            let found = disorder(root.path());
            assert!(found.len() == 1 && found.iter().all(|what| what.contains(words)), "{found:?}");
            all.iter().for_each(|(path, text)| put(path, text));
        }
        fs::remove_file(root.path().join(sshd::DROP_IN_PATH.trim_start_matches('/'))).unwrap();
        assert!(disorder(root.path()).iter().any(|what| what.contains("was removed")));
        put(sshd::DROP_IN_PATH, &settings);
        let folder = root.path().join("etc/systemd/system");
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.join(UNITS[0])).unwrap();
        assert!(disorder(root.path()).iter().any(|what| what.contains("masks the unit")));
    }
}
