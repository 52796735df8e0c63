//! The passphrase of a share: from the terminal, or from a file that only its owner reads; never from the command line.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use breakglass::share::{Locked, MIN_PASSPHRASE, Share, ShareFlaw};
use zeroize::Zeroizing;

use super::exchange;
use crate::exit::Fault;
use crate::prompt;

/// Where the passphrase comes from.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Passphrase {
    /// Read the passphrase of the share from the first line of this file, which nobody else may read; asked for otherwise
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Passphrase {
    /// A passphrase for a new share, entered twice.
    pub(crate) fn choose(&self) -> Result<Zeroizing<String>> {
        if let Some(path) = &self.passphrase_file {
            return from_file(path);
        }
        for _ in 0..TRIES {
            let one = asked("a passphrase for this share (several words): ")?;
            if one.chars().count() < MIN_PASSPHRASE {
                eprintln!("at least {MIN_PASSPHRASE} characters, please");
                continue;
            }
            if *asked("the same again: ")? == *one {
                return Ok(one);
            }
            eprintln!("the two differ");
        }
        bail!("no passphrase was chosen; nothing was written")
    }

    /// Opens a share; a passphrase that is mistyped is asked for again.
    pub(crate) fn open(&self, path: &Path) -> Result<Share> {
        private(path)?;
        let locked = Locked::read(&exchange::read(path)?)
            .with_context(|| format!("{} is no share", path.display()))?;
        if let Some(file) = &self.passphrase_file {
            return Ok(locked.open(&from_file(file)?)?);
        }
        let name = locked.name().map(ToString::to_string).unwrap_or_default();
        for _ in 0..TRIES {
            match locked.open(&asked(&format!("the passphrase of {name}'s share: "))?) {
                Err(ShareFlaw::Locked) => eprintln!("that is not it"),
                other => return Ok(other?),
            }
        }
        bail!("the share of {name} was not opened; nothing was done")
    }
}

fn asked(question: &str) -> Result<Zeroizing<String>> {
    prompt::passphrase(question)?.ok_or_else(|| {
        let line = "this is no terminal, and nobody can be asked for the passphrase; give --passphrase-file";
        Fault::Usage(line.to_owned()).into()
    })
}

fn from_file(path: &Path) -> Result<Zeroizing<String>> {
    private(path)?;
    let mut text = Zeroizing::new(String::new());
    let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    let line = text.lines().next().unwrap_or_default();
    Ok(Zeroizing::new(line.to_owned()))
}

/// What others can read is no secret.
fn private(path: &Path) -> Result<()> {
    let meta =
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if meta.mode() & 0o077 != 0 {
        let line = format!("{0} can be read by others; run `chmod 600 {0}`", path.display());
        return Err(Fault::Config(line).into());
    }
    Ok(())
}

const TRIES: usize = 5;
const MAX_FILE: u64 = 4_096;
