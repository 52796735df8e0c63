//! `curfew-ca init`: the keys and the ledger, once. Nothing is overwritten.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use ssh_key::HashAlg;
use wire::recording::RecordingKey;

use super::say;
use crate::clock;
use crate::config::Config;
use crate::config::keys::{Backend, Place as Passphrase};
use crate::key::secret::{Secrets, passphrase_of};
use crate::key::{Keyring, Protection, Purpose, Store, guard};
use crate::ledger::{Ledger, Place};
use crate::x509::Root;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Encrypt the keys with the passphrase in this file; `-` is standard input. By default the passphrase is where
    /// `serve` will look for it (ca.toml, a credential), or is asked for at the terminal
    #[arg(long, value_name = "FILE", conflicts_with = "unencrypted")]
    passphrase_file: Option<PathBuf>,
    /// Leave the keys as plain files
    #[arg(long)]
    unencrypted: bool,
    /// Copy this private key, of ssh-keygen, instead of making one: PURPOSE is user, host, order or log
    #[arg(long, value_name = "PURPOSE=FILE", value_parser = imported)]
    import: Vec<(Purpose, PathBuf)>,
}

/// Makes the state folder, the keys, the root and the ledger.
pub(crate) fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let dir = &config.state_dir;
    let shown = dir.display();
    for open in guard::close() {
        tracing::debug!(%open, "the process is not closed");
    }
    make_dir(dir)?;
    let place = Place::of(config)?;
    if place.file().is_some_and(Path::exists) {
        bail!(
            "{shown} holds a ledger already; this authority has been set up, and nothing was changed"
        );
    }
    // A server that cannot be reached, or has a ledger, is found before keys are made.
    Ledger::may_be_created(&place)?;
    let Made { keyring, recording, is_plain } = make_keys(config, arguments)?;
    let now = clock::now();
    let fingerprint = Root::create(dir, now)?;
    Ledger::create(&place, &fingerprint, now)?;
    say(&format!("The authority is set up in {shown}."))?;
    for purpose in Purpose::ALL {
        for (slot, public) in keyring.slots(purpose) {
            let print = public.fingerprint(HashAlg::Sha256);
            say(&format!("Key {slot}: {} {print}", public.algorithm()))?;
        }
    }
    match recording {
        Some(key) => say(&format!("Key recording: {key}"))?,
        None => say(
            "No key to record terminals to was made, for want of a passphrase: `curfew-ca keys record` makes one.",
        )?,
    }
    say(&format!("Fingerprint: {fingerprint}"))?;
    if is_plain {
        say(
            "The keys are NOT encrypted: whoever reads that folder, or its backup, is the authority.",
        )?;
    }
    say("")?;
    say("Next:")?;
    say(
        "  1. Back up that folder and the passphrase, apart: who has both is the authority, and without them there is none.",
    )?;
    say(&format!("  2. Write the roles: {}", config.roles_file.display()))?;
    say("  3. Start it: systemctl enable --now curfew-ca   (or: curfew-ca serve)")?;
    say("  4. Add a person: curfew-ca identity add NAME --key FILE")?;
    say("  5. Add a host:   curfew-ca host token NAME --address ADDRESS --label env=prod")
}

fn make_dir(dir: &Path) -> anyhow::Result<()> {
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
    Ok(())
}

/// The keys of a new authority.
struct Made {
    /// One for each purpose.
    keyring: Keyring,
    /// What terminals are recorded to.
    recording: Option<RecordingKey>,
    /// Whether files among them are plain.
    is_plain: bool,
}

/// A key for each purpose, and one to record to.
fn make_keys(config: &Config, arguments: &Arguments) -> anyhow::Result<Made> {
    let mut secrets = Secrets::default();
    let mut given = None;
    if let Some(path) = &arguments.passphrase_file {
        given = Some(passphrase_of(path)?);
    }
    let settings = Store::new(&config.state_dir, config.keys.clone(), Secrets::default());
    let mut protections = Vec::new();
    for purpose in Purpose::ALL {
        let protection = match (settings.setting(purpose), &given) {
            (Backend::File { .. }, Some(secret)) => Protection::Passphrase(secret.clone()),
            (Backend::File { .. }, None) if arguments.unencrypted => Protection::Nothing,
            (Backend::File { passphrase, .. }, None) => {
                let secret = secrets.choose(passphrase).context(
                    "no passphrase for the keys; give --passphrase-file FILE, or --unencrypted to leave them plain",
                )?;
                Protection::Passphrase(secret)
            }
            _ => Protection::Nothing,
        };
        protections.push((purpose, protection));
    }
    // Protected like the ledger's key; where that is no file, by a passphrase of its own, if there is one.
    let for_recording = match (settings.setting(Purpose::Log), &given) {
        (_, Some(secret)) => Some(Protection::Passphrase(secret.clone())),
        (_, None) if arguments.unencrypted => Some(Protection::Nothing),
        (Backend::File { passphrase, .. }, None) => {
            Some(Protection::Passphrase(secrets.choose(passphrase)?))
        }
        (_, None) => secrets.choose(&Passphrase::Default).ok().map(Protection::Passphrase),
    };
    let recording = for_recording.map(|protection| settings.create_recording(&protection));
    let recording = recording.transpose()?.map(|key| key.public());
    let mut keyring = Keyring::default();
    let mut is_plain = false;
    for (purpose, protection) in protections {
        let slot = purpose.first();
        is_plain |=
            arguments.unencrypted && matches!(settings.setting(purpose), Backend::File { .. });
        let from = arguments.import.iter().find(|(which, _)| *which == purpose);
        let key = match from {
            Some((_, from)) => settings.import(slot, from, &protection)?,
            None => settings.create(slot, &protection)?,
        };
        keyring.add(slot, key)?;
    }
    Ok(Made { keyring, recording, is_plain })
}

fn imported(text: &str) -> Result<(Purpose, PathBuf), String> {
    let wrong = || format!("{text:?} is not PURPOSE=FILE with a purpose of user, host, order, log");
    let (word, path) = text.split_once('=').ok_or_else(wrong)?;
    let purpose = Purpose::ALL.into_iter().find(|purpose| purpose.word() == word);
    Ok((purpose.ok_or_else(wrong)?, path.into()))
}
