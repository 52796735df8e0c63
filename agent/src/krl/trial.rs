//! Loading a list on trial, with the program that came with sshd.
//!
//! `ssh-keygen -Q` reads a list with the same code as sshd of its release. Our own reader is strict by the sources of
//! several releases; this one is asked because it is the one that counts here. It gets the files' names as arguments and
//! no more time than a login could bear, for a login takes as long.

use std::path::Path;

use crate::install::Host;

/// Whether `list` can be read by sshd of this host; `probe` is any public key that is not on it.
///
/// # Errors
/// Why not.
pub fn load(list: &Path, probe: &Path, host: &mut dyn Host) -> Result<(), String> {
    let (list, probe) = (list.to_string_lossy(), probe.to_string_lossy());
    let words = ["--kill-after=2", PATIENCE, "ssh-keygen", "-Q", "-f", &list, &probe];
    match host.run("timeout", &words) {
        Ok(ran) if ran.ok => Ok(()),
        Ok(ran) if ran.last_line() == "it said nothing" => Err(format!(
            "ssh-keygen did not read it within {PATIENCE} s, and each login would take as long"
        )),
        Ok(ran) => Err(format!("ssh-keygen cannot read it: {}", ran.last_line())),
        Err(error) => Err(format!("ssh-keygen could not be asked: {error}")),
    }
}

/// A public key that nobody has: its point is a hash of words.
pub const PROBE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEN1cmZldyBhc2tzIHdoZXRoZXIgYSBsaXN0IGxvYWRz curfew-probe\n";
/// In seconds; a million serials at random take seven (OpenSSH 9.2).
const PATIENCE: &str = "20";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::System;
    use wire::krl::Krl;
    use wire::time::Timestamp;

    #[test]
    fn what_sshd_would_refuse_does_not_load() {
        let folder = tempfile::tempdir().unwrap();
        let (list, probe) = (folder.path().join("list"), folder.path().join("probe.pub"));
        std::fs::write(&probe, PROBE).unwrap();
        let mut krl = Krl::new(1, Timestamp::from_secs(1));
        std::fs::write(&list, krl.encode().unwrap()).unwrap();
        load(&list, &probe, &mut System).unwrap();
        std::fs::write(&list, b"SSHKRL\n\0").unwrap();
        let refused = load(&list, &probe, &mut System).unwrap_err();
        assert!(refused.contains("cannot read it"), "{refused}");
        assert!(load(&folder.path().join("none"), &probe, &mut System).is_err());
        // The probe itself is judged: a list that revokes it says so.
        let key = PROBE.parse::<ssh_key::PublicKey>().unwrap();
        krl.revoke_key(key.key_data()).unwrap();
        std::fs::write(&list, krl.encode().unwrap()).unwrap();
        assert!(load(&list, &probe, &mut System).unwrap_err().contains("REVOKED"));
    }
}
