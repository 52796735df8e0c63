//! How letters pass between custodians: through a folder that all of them see in turn, or as text on the screen and keyboard.
//!
//! A bad letter is named and changes nothing; the right one still fits. On a terminal one is asked; elsewhere nothing is asked, and
//! what would have been confirmed must be on the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use breakglass::keygen::Taken;
use breakglass::letter::{Kind, Letter, MAX_BYTES, TITLE};
use wire::identifier::Custodian;

use super::qr;
use crate::clock;
use crate::duration::Span;
use crate::exit::Fault;
use crate::file;
use crate::render::{Screen, Tone};

/// How letters are handed over.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Way {
    /// Hand letters over through this folder: a memory stick that goes round, or a shared folder. Each custodian's program waits
    /// there for the letters of the others. Without it letters are shown, and those of the others are typed or pasted
    #[arg(long, value_name = "DIR")]
    exchange: Option<PathBuf>,
    /// Read letters and answers from standard input although it is no terminal
    #[arg(long, conflicts_with = "exchange")]
    text: bool,
    /// Show letters as QR codes as well. None is read here: a scanner that types, or a telephone, gives the text
    #[arg(long, conflicts_with = "exchange")]
    qr: bool,
    /// How long to wait for a letter in the folder
    #[arg(long, value_name = "SPAN", default_value = "1h", requires = "exchange")]
    patience: Span,
}

/// What a letter is taken by: what became of it, or what is wrong with it.
pub(crate) trait Takes {
    /// Takes one.
    fn take(&mut self, text: &str) -> Result<Taken>;
    /// Whose are not there yet.
    fn missing(&self) -> Vec<Custodian>;
}

impl Way {
    /// Whether letters can pass at all.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(folder) = &self.exchange {
            let meta =
                fs::metadata(folder).with_context(|| format!("cannot use {}", folder.display()))?;
            return if meta.is_dir() {
                Ok(())
            } else {
                Err(Fault::Usage(format!("{} is no folder", folder.display())).into())
            };
        }
        if self.text || io::stdin().is_terminal() {
            return Ok(());
        }
        let line = "this is no terminal: name a folder for letters with --exchange, or give --text to read them from standard input";
        Err(Fault::Usage(line.to_owned()).into())
    }

    /// Asks for a yes on the terminal; elsewhere what stands on the command line counts.
    pub(crate) fn confirm(&self, question: &str, agreed: Option<bool>, flag: &str) -> Result<()> {
        match agreed {
            Some(true) => return Ok(()),
            Some(false) => {
                bail!("{flag} says something else than what is to be agreed to; nothing was done")
            }
            None => {}
        }
        if !io::stdin().is_terminal() && !self.text {
            let line = format!("this is no terminal, and nobody can be asked; give {flag}");
            return Err(Fault::Usage(line).into());
        }
        let mut input = io::stdin().lock();
        for _ in 0..MAX_ASKED {
            eprint!("{question} [yes/no] ");
            let mut line = String::new();
            let read = io::Read::take(&mut input, MAX_LINE).read_line(&mut line);
            if read.context("cannot read what is typed")? == 0 {
                break;
            }
            match line.trim().to_ascii_lowercase().as_str() {
                "yes" => return Ok(()),
                "no" => bail!("not agreed; nothing was done"),
                _ => eprintln!("please type yes or no"),
            }
        }
        bail!("not agreed; nothing was done")
    }

    /// Hands a letter to all others.
    pub(crate) fn give(&self, from: &Custodian, letter: &Letter, screen: &Screen) -> Result<()> {
        match &self.exchange {
            Some(folder) => {
                let path = folder.join(name_of(letter.kind, from));
                write(&path, letter)?;
                screen.line(&format!("written: {}", path.display()))
            }
            None => {
                let what = format!(
                    "--- the {} of {from}, for all others; copy it whole or read it to them ---",
                    letter.kind
                );
                screen.toned(Tone::Strong, &what)?;
                screen.raw(letter.to_string().as_bytes())?;
                if self.qr { qr::show(letter, screen) } else { Ok(()) }
            }
        }
    }

    /// Waits for the letters of all others.
    pub(crate) fn collect(&self, kind: Kind, to: &mut dyn Takes, screen: &Screen) -> Result<()> {
        match &self.exchange {
            Some(folder) => self.watch(folder, kind, to, screen),
            None => ask(kind, to, screen),
        }
    }

    fn watch(&self, folder: &Path, kind: Kind, to: &mut dyn Takes, screen: &Screen) -> Result<()> {
        let deadline = clock::now().after(self.patience.duration());
        let mut seen: BTreeMap<PathBuf, String> = BTreeMap::new();
        let mut waiting = BTreeSet::new();
        loop {
            for path in letters(folder, kind)? {
                let Ok(text) = fs::read_to_string(&path) else { continue };
                if seen.get(&path) == Some(&text) {
                    continue;
                }
                match to.take(&text) {
                    Ok(Taken::New) => screen.line(&format!("taken: {}", path.display()))?,
                    Ok(Taken::Known) => {}
                    // Half a file looks like a bad letter; it is looked at again when it has changed.
                    Err(error) => screen.note(&format!("{}: {error:#}", path.display())),
                }
                seen.insert(path, text);
            }
            let missing: BTreeSet<Custodian> = to.missing().into_iter().collect();
            if missing.is_empty() {
                return Ok(());
            }
            if missing != waiting {
                screen.note(&format!("waiting for the {kind} of {}", list(&missing)));
                waiting = missing;
            }
            if clock::now() >= deadline {
                bail!(
                    "nothing came from {} in {}; begin anew when all are there",
                    list(&waiting),
                    folder.display()
                );
            }
            pause(LOOK);
        }
    }
}

/// Asks for letters until all are there. What is typed wrong is said, and asked for again.
fn ask(kind: Kind, to: &mut dyn Takes, screen: &Screen) -> Result<()> {
    let mut input = io::stdin().lock();
    loop {
        let missing: BTreeSet<Custodian> = to.missing().into_iter().collect();
        if missing.is_empty() {
            return Ok(());
        }
        screen.note(&format!(
            "paste or type the {kind} of {} now, from its line \"{TITLE} {kind}\" to its line END:",
            list(&missing)
        ));
        let mut text = String::new();
        loop {
            let mut line = String::new();
            let read = io::Read::take(&mut input, MAX_LINE).read_line(&mut line);
            if read.context("cannot read what is typed")? == 0 {
                bail!(
                    "the input ended before the letters of {} had come; begin anew",
                    list(&missing)
                );
            }
            text.push_str(&line);
            let is_end =
                line.trim_start_matches(['>', ' ']).to_ascii_uppercase().starts_with("END");
            if is_end || text.len() > MAX_TEXT {
                break;
            }
        }
        match to.take(&text) {
            Ok(Taken::New) => screen.note("taken"),
            Ok(Taken::Known) => screen.note("that one is known already"),
            Err(error) => screen.note(&format!("not taken: {error:#}")),
        }
    }
}

/// Waits a moment. Nobody speaks on the channel: that is the point of it.
pub(super) fn pause(span: Duration) {
    let (_silent, heard) = channel::<()>();
    // Time is all that comes.
    if heard.recv_timeout(span).is_ok() {}
}

fn letters(folder: &Path, kind: Kind) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let begins = format!("{}-", kind.to_string().to_ascii_lowercase());
    let is_one = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| name.starts_with(&begins) && name.ends_with(".txt"))
            && fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() < MAX_FILE)
    };
    let mut paths: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(is_one).collect();
    paths.sort();
    Ok(paths)
}

/// `commitment-ann.txt`
fn name_of(kind: Kind, from: &Custodian) -> String {
    format!("{}-{from}.txt", kind.to_string().to_ascii_lowercase())
}

/// Writes a letter that everybody may read.
pub(crate) fn write(path: &Path, letter: &Letter) -> Result<()> {
    file::write(path, letter.to_string().as_bytes(), file::PUBLIC)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Reads a letter's text.
pub(crate) fn read(path: &Path) -> Result<String> {
    let length =
        fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if length >= MAX_FILE {
        return Err(Fault::Usage(format!("{} is too long for a letter", path.display())).into());
    }
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn list(names: &BTreeSet<Custodian>) -> String {
    let names: Vec<&str> = names.iter().map(Custodian::as_str).collect();
    names.join(" and ")
}

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_millis(200);
const MAX_ASKED: usize = 5;
const MAX_LINE: u64 = 4_096;
/// Longest text around a letter.
const MAX_TEXT: usize = 8 * MAX_BYTES;
/// Longest file that is taken for a letter.
const MAX_FILE: u64 = 128 * 1024;
