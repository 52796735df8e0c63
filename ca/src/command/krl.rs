//! `curfew-ca krl`: what is locked, for machines without the agent.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use serde::Serialize;
use wire::krl::{Extent, Krl};
use wire::time::Timestamp;

use super::{say, say_json, shown};
use crate::admin::KrlMade;
use crate::admin::client::Client;
use crate::random;
use crate::revocation::COMMENT;

/// What to do with lists.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write what is locked now as the list that sshd reads as `RevokedKeys`
    Export(Arguments),
}

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The file, which is replaced in one step, with its signature in FILE.sig; standard output when absent
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Say what it holds as JSON
    #[arg(long, requires = "out")]
    json: bool,
}

/// What was written.
#[derive(Serialize)]
struct Written<'a> {
    file: &'a Path,
    version: u64,
    generated: Timestamp,
    bytes: usize,
    holds: Extent,
    locked_sessions: u64,
}

impl Command {
    /// Does it.
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let Self::Export(arguments) = self;
        let made: KrlMade = client.read("/admin/krl").await?;
        let bytes = STANDARD.decode(&made.krl).context("the authority sent no base64")?;
        // What cannot be read here would lock everybody out there.
        let krl =
            Krl::decode(&bytes).context("the authority made a list that sshd would refuse")?;
        let Some(path) = &arguments.out else {
            let mut out = std::io::stdout();
            ensure!(!out.is_terminal(), "the list is binary; name a file with --out");
            out.write_all(&bytes).context("standard output is closed")?;
            let summary = described(&krl, bytes.len(), &made);
            return writeln!(std::io::stderr(), "{summary}").context("standard error is closed");
        };
        refuse_to_lose(path, &krl)?;
        let beside = beside(path);
        for (path, bytes) in [(path, bytes.as_slice()), (&beside, made.signature.as_bytes())] {
            replace(path, bytes)
                .with_context(|| format!("{} cannot be written", path.display()))?;
        }
        if arguments.json {
            return say_json(&Written {
                file: path,
                version: krl.version(),
                generated: krl.generated(),
                bytes: bytes.len(),
                holds: krl.extent(),
                locked_sessions: made.sessions,
            });
        }
        say(&format!("{}: {}", path.display(), described(&krl, bytes.len(), &made)))
    }
}

/// Where the signature lies: OpenSSH refuses a list that carries one itself.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// `version 812 of 2027-01-15T08:00:00Z: 3 certificates and 1 key revoked, 312 bytes`
fn described(krl: &Krl, bytes: usize, made: &KrlMade) -> String {
    let extent = krl.extent();
    let left_out = match made.sessions {
        0 => String::new(),
        count => format!("; {count} locked sessions left out, which only the agent can end"),
    };
    format!(
        "version {} of {}: {} certificates and {} keys revoked, {bytes} bytes{left_out}",
        krl.version(),
        shown(krl.generated()),
        made.certificates,
        extent.fingerprints
    )
}

/// Refuses to take back what the file revokes now: a newer list of ours, or anything that is not ours.
fn refuse_to_lose(path: &Path, krl: &Krl) -> anyhow::Result<()> {
    let shown = path.display();
    let there = match std::fs::read(path) {
        Ok(there) => there,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("{shown} cannot be read")),
    };
    if there.is_empty() {
        return Ok(());
    }
    let there = Krl::decode(&there)
        .with_context(|| format!("{shown} is there and no list of ours; move it away first"))?;
    ensure!(
        there.comment().as_bytes() == COMMENT.as_bytes(),
        "{shown} is a list that somebody else made; what it revokes would be lost, so move it away first"
    );
    ensure!(
        there.version() <= krl.version(),
        "{shown} has version {}, and the ledger is at {}: is it an old backup? Move the file away if it is right",
        there.version(),
        krl.version()
    );
    Ok(())
}

/// Puts `bytes` in the file's place, durably and in one step: sshd reads it at any moment.
fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let name = path.file_name().context("it names no file")?.to_string_lossy().into_owned();
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or_else(|| Path::new("."));
    let unique = u64::from_be_bytes(random::bytes()?);
    let next = dir.join(format!(".{name}.{unique:016x}"));
    let written = write(&next, bytes).and_then(|()| std::fs::rename(&next, path));
    if let Err(error) = written {
        // What failed first is what is told; a file that was never made cannot be removed.
        drop(std::fs::remove_file(&next));
        return Err(error.into());
    }
    Ok(File::open(dir)?.sync_all()?)
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    // Nothing in it is a secret, and `ssh-keygen -Q` should work for everybody, whatever the umask.
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(bytes)?;
    file.sync_all()
}
