//! `curfew-ca init`: the keys and the ledger, once. Nothing is overwritten.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};

use anyhow::{Context as _, bail};

use super::say;
use crate::authority::LEDGER;
use crate::clock;
use crate::config::Config;
use crate::key::{Keyring, Purpose};
use crate::ledger::Ledger;
use crate::x509::Root;

/// Makes the state folder, the keys, the root and the ledger.
pub(crate) fn run(config: &Config) -> anyhow::Result<()> {
    let dir = &config.state_dir;
    let shown = dir.display();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot make {shown} (setting `state_dir`)"))?;
    let mode = std::fs::metadata(dir).with_context(|| format!("cannot read {shown}"))?.mode();
    if mode & 0o077 != 0 {
        bail!(
            "{shown} can be entered by others (mode {:o}); run `chmod 700 {shown}`",
            mode & 0o777
        );
    }
    if dir.join(LEDGER).exists() {
        bail!(
            "{shown} holds a ledger already; this authority has been set up, and nothing was changed"
        );
    }
    for purpose in Purpose::ALL {
        Keyring::create(dir, purpose.first())?;
    }
    let now = clock::now();
    let fingerprint = Root::create(dir, now)?;
    Ledger::create(&dir.join(LEDGER), &fingerprint, now)?;
    say(&format!("The authority is set up in {shown}."))?;
    say(&format!("Fingerprint: {fingerprint}"))?;
    say("")?;
    say("Next:")?;
    say(
        "  1. Back up that folder: whoever has it is the authority, and without it there is none.",
    )?;
    say(&format!("  2. Write the roles: {}", config.roles_file.display()))?;
    say("  3. Start it: systemctl enable --now curfew-ca   (or: curfew-ca serve)")?;
    say("  4. Add a person: curfew-ca identity add NAME --key FILE")?;
    say("  5. Add a host:   curfew-ca host token NAME --address ADDRESS --label env=prod")
}
