//! What the person's plain `ssh` needs to know: which host authorities to believe for which hosts, and when to ask us.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use ssh_key::PublicKey;
use wire::api::{Authority, HostView};

use crate::exit::Fault;
use crate::file;
use crate::home::{Home, user_home};

/// The `known_hosts` file: each host authority, for the names and addresses of enrolled hosts and for nothing else.
///
/// A wildcard here would let one authority speak for every host there is (`sshd(8)`, `SSH_KNOWN_HOSTS FILE FORMAT`).
pub(crate) fn known_hosts(authority: &Authority, hosts: &[HostView]) -> Result<String> {
    let mut text = String::from("# Written by curfew; changes are overwritten.\n");
    for host in hosts {
        let names = names(host);
        for key in &authority.host_authorities {
            let key =
                PublicKey::from_openssh(key).context("a host authority's key cannot be read")?;
            let key = PublicKey::from(key.key_data().clone()).to_openssh()?;
            text.push_str(&format!("@cert-authority {} {key}\n", names.join(",")));
        }
    }
    Ok(text)
}

/// What a host is called: its name, then its addresses.
fn names(host: &HostView) -> Vec<&str> {
    let name = host.name.as_str();
    let addresses = host.addresses.iter().map(|address| address.as_str());
    std::iter::once(name).chain(addresses.filter(|address| *address != name)).collect()
}

/// The snippet that the person's ssh configuration includes: `program` is asked before each connection to one of
/// `hosts`, and to no other: their names are checked, while what stands on a command line may be anything, and old
/// clients hand it to a shell as it is.
pub(crate) fn snippet(home: &Home, program: &Path, hosts: &[HostView]) -> Result<String> {
    let program = word(program)?;
    let setting = match std::env::var_os("CURFEW_HOME") {
        Some(_) => format!("env CURFEW_HOME='{}' ", word(home.dir())?),
        None => String::new(),
    };
    let ours: Vec<&str> = hosts.iter().flat_map(names).collect();
    let ours = if ours.is_empty() { "!*".to_owned() } else { ours.join(",") };
    let id = word(&home.identity_dir())?;
    let known_hosts = word(&home.known_hosts_path())?;
    Ok(format!(
        "# Written by curfew; changes are overwritten.\n\
         Match host {ours} exec \"{setting}'{program}' ssh --prepare '%h' '%r'\"\n    \
         IdentityFile \"{id}/%r@%h\"\n    \
         CertificateFile \"{id}/%r@%h-cert.pub\"\n    \
         IdentitiesOnly yes\n    \
         IdentityAgent SSH_AUTH_SOCK\n    \
         UserKnownHostsFile \"{known_hosts}\"\n    \
         UpdateHostKeys no\n    \
         StrictHostKeyChecking yes\n"
    ))
}

/// A path as `ssh_config(5)` reads it between quotes, and as a shell reads it between apostrophes.
pub(crate) fn word(path: &Path) -> Result<String> {
    let text = path.to_str().filter(|text| !text.contains(['"', '\'', '\\', '$', '\n', '\r', '`']));
    text.map(|text| text.replace('%', "%%")).ok_or_else(|| {
        Fault::Config(format!(
            "{} holds a character that cannot stand in an ssh configuration (a quote, $ or \\); move it or set CURFEW_HOME",
            path.display()
        ))
        .into()
    })
}

/// What `install` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Installed {
    /// The line was added.
    Added,
    /// It was there before.
    Already,
}

/// The one line that makes plain `ssh` ask us.
pub(crate) fn include_line(home: &Home) -> Result<String> {
    let path = home.ssh_config_path();
    let short = user_home().ok().and_then(|base| path.strip_prefix(base).map(Path::to_owned).ok());
    let text = match short {
        Some(rest) => format!("~/{}", word(&rest)?),
        None => word(&path)?,
    };
    Ok(if text.contains(' ') { format!("Include \"{text}\"") } else { format!("Include {text}") })
}

/// Makes `line` the first line of `~/.ssh/config`, once; its other content and its mode stay.
pub(crate) fn install(line: &str) -> Result<Installed> {
    install_into(&user_home()?.join(".ssh"), line)
}

fn install_into(dir: &Path, line: &str) -> Result<Installed> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot make {}", dir.display()))?;
    let path = resolved(&dir.join("config"))?;
    let before = file::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = before.as_deref().unwrap_or_default();
    if text.lines().find(|each| !each.trim().is_empty()).is_some_and(|first| first.trim() == line) {
        return Ok(Installed::Already);
    }
    let mode = match &before {
        Some(_) => fs::metadata(&path)?.permissions().mode() & 0o7777,
        None => file::SECRET,
    };
    // The first line, because what stands below a Host or Match line counts only for that.
    let after = format!("{line}\n{text}");
    file::write(&path, after.as_bytes(), mode)
        .with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    Ok(Installed::Added)
}

/// Where a link leads, so that the link stays and its target is changed.
fn resolved(path: &Path) -> Result<PathBuf> {
    match fs::canonicalize(path) {
        Ok(target) => Ok(target),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if path.is_symlink() {
                return Err(anyhow!(
                    "{} is a link that leads nowhere; repair it first",
                    path.display()
                ));
            }
            Ok(path.to_owned())
        }
        Err(error) => Err(error).with_context(|| format!("cannot follow {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::tests::fresh;
    use ssh_key::PrivateKey;
    use ssh_key::private::Ed25519Keypair;
    use std::os::unix::fs::PermissionsExt as _;
    use wire::time::Timestamp;

    fn authority() -> Authority {
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&[1; 32]));
        Authority {
            version: 1,
            fingerprint: wire::identifier::Fingerprint::of(b"root"),
            user_authorities: vec![],
            host_authorities: vec![format!("{} a comment", key.public_key().to_openssh().unwrap())],
            log_keys: vec![],
            at: Timestamp::from_secs(0),
        }
    }

    fn host(name: &str, addresses: &[&str]) -> HostView {
        HostView {
            name: name.parse().unwrap(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            labels: vec![],
            logins: vec![],
            seen: None,
            tier: None,
            connected: true,
            last_order: 0,
            krl: None,
            certificate_until: None,
            certificate_problem: None,
        }
    }

    #[test]
    fn an_authority_is_believed_for_enrolled_hosts_only() {
        let hosts = [host("db1", &["10.0.0.5", "db1"]), host("web1", &[])];
        let text = known_hosts(&authority(), &hosts).unwrap();
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("@cert-authority db1,10.0.0.5 ssh-ed25519 AAAA"), "{text}");
        assert!(lines[1].starts_with("@cert-authority web1 ssh-ed25519 AAAA"), "{text}");
        assert!(!text.contains('*') && !text.contains("comment"));
    }

    #[test]
    fn a_host_authority_that_is_no_key_is_refused() {
        let forged =
            Authority { host_authorities: vec!["ssh-ed25519 AAAA\n* evil".into()], ..authority() };
        assert!(known_hosts(&forged, &[host("db1", &[])]).is_err());
    }

    #[test]
    fn a_path_that_would_break_out_of_its_quotes_is_refused() {
        for path in ["/a'b/curfew", "/a\"b", "/a$HOME", "/a\nb", "/a\\b", "/a`b`"] {
            assert!(word(Path::new(path)).is_err(), "{path:?}");
        }
        assert_eq!(word(Path::new("/a b/100%")).unwrap(), "/a b/100%%");
    }

    #[test]
    fn the_snippet_asks_the_running_program() {
        let (_guard, home) = fresh();
        let hosts = [host("db1", &["10.0.0.1"])];
        let text = snippet(&home, Path::new("/usr/bin/curfew"), &hosts).unwrap();
        assert!(text.contains("\nMatch host db1,10.0.0.1 exec \""), "{text}");
        assert!(text.contains("'/usr/bin/curfew' ssh --prepare '%h' '%r'\"\n"), "{text}");
        assert!(text.contains("/id/%r@%h-cert.pub\"\n    IdentitiesOnly yes\n"), "{text}");
    }

    #[test]
    fn without_hosts_nothing_is_asked() {
        let (_guard, home) = fresh();
        let text = snippet(&home, Path::new("/usr/bin/curfew"), &[]).unwrap();
        assert!(text.contains("\nMatch host !* exec \""), "{text}");
    }

    #[test]
    fn the_line_is_added_first_and_once_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        fs::write(&path, "Host a\n  User b\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(install_into(dir.path(), "Include x").unwrap(), Installed::Added);
        assert_eq!(install_into(dir.path(), "Include x").unwrap(), Installed::Already);
        assert_eq!(fs::read_to_string(&path).unwrap(), "Include x\nHost a\n  User b\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_configuration_that_is_not_there_is_made_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let ssh = dir.path().join(".ssh");
        assert_eq!(install_into(&ssh, "Include x").unwrap(), Installed::Added);
        assert_eq!(fs::metadata(&ssh).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(ssh.join("config")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_link_to_the_configuration_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (target, path) = (dir.path().join("dotfiles"), dir.path().join("config"));
        fs::write(&target, "Host a\n").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        install_into(dir.path(), "Include x").unwrap();
        assert!(path.is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), "Include x\nHost a\n");
    }
}
