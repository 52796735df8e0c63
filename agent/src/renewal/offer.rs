//! Whether sshd offers the host's certificates, and having it read them again where it must be told.
//!
//! Up to 9.7 sshd reads them for every connection. From 9.8 on its listener reads them when it starts and hands them to
//! each connection's process, so that it has to be reloaded, which no session notices (`docs/sshd-behaviour.md`).

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

use crate::install::sshd::{Effective, Version};
use crate::install::{Host, System};

/// Checks on a thread of its own, for the agent's loop waits for nothing; the outcome comes out of what is returned.
#[must_use]
pub fn begin(paths: Vec<PathBuf>, is_new: bool) -> Receiver<Result<(), String>> {
    let (say, outcome) = channel();
    std::thread::spawn(move || {
        let checked = check(&mut System, &paths, is_new);
        if say.send(checked).is_err() {
            tracing::debug!("nobody waits for the check of sshd any more");
        }
    });
    outcome
}

/// Says whether sshd offers each of `paths`. When they are new it is made to, if it has to be told.
///
/// # Errors
/// Why it does not, and what to do.
pub fn check(host: &mut dyn Host, paths: &[PathBuf], is_new: bool) -> Result<(), String> {
    let run = |host: &mut dyn Host, program: &str, words: &[&str]| {
        let line = format!("`{program} {}`", words.join(" "));
        host.run(program, words).map_err(|error| format!("{line}: {error}"))
    };
    let words = ["-T", "-C", "user=root,host=localhost,addr=127.0.0.1"];
    let told = run(host, SSHD, &words)?;
    if !told.ok {
        return Err(format!("sshd refuses its own configuration: {}", told.last_line()));
    }
    let effective = Effective::parse(&told.out);
    let named = effective.values("HostCertificate");
    for path in paths.iter().map(|path| path.display().to_string()) {
        if !named.contains(&path) {
            return Err(format!("sshd does not offer {path}; run `curfew-agent install` again"));
        }
    }
    let tested = run(host, SSHD, &["-t"])?;
    let about = |line: &&str| paths.iter().any(|path| line.contains(&*path.to_string_lossy()));
    if let Some(line) = tested.err.lines().find(about) {
        return Err(format!("sshd says: {line}"));
    }
    if !tested.ok {
        return Err(format!("sshd would not start again: {}", tested.last_line()));
    }
    let release = run(host, SSHD, &["-V"])?;
    let must_be_told = Version::find(&release.all()).is_none_or(Version::keeps_host_certificates);
    if is_new && must_be_told { reload(host) } else { Ok(()) }
}

/// Reloads whichever unit runs sshd; systemd's own line tests the configuration first. Where none does, sshd starts for
/// each connection and reads its files.
fn reload(host: &mut dyn Host) -> Result<(), String> {
    for unit in ["ssh.service", "sshd.service"] {
        let active = host.run("systemctl", &["is-active", "--quiet", unit]);
        if !active.map_err(|error| format!("systemctl: {error}"))?.ok {
            continue;
        }
        let reloaded = host.run("systemctl", &["reload", unit]);
        let reloaded = reloaded.map_err(|error| format!("systemctl: {error}"))?;
        return if reloaded.ok {
            tracing::info!(unit, "sshd was reloaded for its new host certificates");
            Ok(())
        } else {
            let why = reloaded.last_line();
            Err(format!("{unit} could not be reloaded and offers former certificates: {why}"))
        };
    }
    Ok(())
}

const SSHD: &str = "/usr/sbin/sshd";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::Ran;
    use std::path::Path;

    /// An sshd that says this.
    struct Said {
        release: &'static str,
        settings: &'static str,
        complaint: &'static str,
        reloads: bool,
        ran: Vec<String>,
    }

    impl Host for Said {
        fn run(&mut self, program: &str, words: &[&str]) -> std::io::Result<Ran> {
            let line = format!("{program} {}", words.join(" "));
            self.ran.push(line.clone());
            let (ok, out, err) = match words.first() {
                Some(&"-T") => (true, self.settings, ""),
                Some(&"-t") => (true, "", self.complaint),
                Some(&"-V") => (true, "", self.release),
                Some(&"is-active") => (line.ends_with("sshd.service"), "", ""),
                Some(&"reload") => (self.reloads, "", "Job failed"),
                other => panic!("{other:?}"),
            };
            Ok(Ran { ok, out: out.into(), err: err.into() })
        }

        fn try_login(&mut self, _root: &Path) -> Result<String, String> {
            panic!("nobody logs in")
        }
    }

    fn sshd(release: &'static str) -> Said {
        let settings = "hostcertificate /etc/ssh/other\nhostcertificate /var/lib/c/a-cert.pub\n";
        Said { release, settings, complaint: "", reloads: true, ran: Vec::new() }
    }

    fn paths() -> Vec<PathBuf> {
        vec!["/var/lib/c/a-cert.pub".into()]
    }

    #[test]
    fn sshd_is_reloaded_for_new_certificates_where_it_keeps_the_former() {
        for (release, is_new, reloaded) in [
            ("OpenSSH_9.2, OpenSSL", true, false),
            ("OpenSSH_9.7p1", true, false),
            ("OpenSSH_9.8p1", true, true),
            ("OpenSSH_10.3p1", true, true),
            ("OpenSSH_10.3p1", false, false),
            ("no release", true, true),
        ] {
            let mut host = sshd(release);
            check(&mut host, &paths(), is_new).unwrap();
            let was = host.ran.iter().any(|line| line == "systemctl reload sshd.service");
            assert_eq!(was, reloaded, "{release} {is_new}: {:?}", host.ran);
        }
        let mut broken = Said { reloads: false, ..sshd("OpenSSH_9.8p1") };
        let said = check(&mut broken, &paths(), true).unwrap_err();
        assert_eq!(
            said,
            "sshd.service could not be reloaded and offers former certificates: Job failed"
        );
    }

    #[test]
    fn a_certificate_that_sshd_does_not_offer_is_named() {
        let mut host = Said { settings: "hostcertificate none\n", ..sshd("OpenSSH_9.2") };
        let said = check(&mut host, &paths(), true).unwrap_err();
        assert!(said.starts_with("sshd does not offer /var/lib/c/a-cert.pub; run"), "{said}");
        let complaint = "No matching private key for certificate: /var/lib/c/a-cert.pub";
        let mut host = Said { complaint, ..sshd("OpenSSH_9.2") };
        let said = check(&mut host, &paths(), true).unwrap_err();
        assert_eq!(said, format!("sshd says: {complaint}"));
    }
}
