//! The tar file itself: written without anything of the machine it is made on, and read strictly.

use std::io::{Read, Write};

use aws_lc_rs::digest::{Context, SHA256};
use tar::{Archive, Builder, EntryType, Header};
use wire::log::Hash;

use super::manifest::{
    FORMAT, LEDGER, MANIFEST, MAX_FILE, MAX_FILES, MAX_MANIFEST, Manifest, Member, POLICY, ROLES,
    SETTINGS, STATE, VERSION,
};

/// Why bytes are no backup.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is not of the form.
    #[error("{0}")]
    Form(String),
    /// A newer program made it.
    #[error("version {0}")]
    Newer(u32),
}

/// Writes one file.
pub(crate) fn put<W: Write, R: Read>(
    tar: &mut Builder<W>,
    (name, bytes): (&str, u64),
    from: R,
) -> std::io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_size(bytes);
    tar.append_data(&mut header, name, from)
}

/// Reads a backup: the manifest, then each file that it lists, which `take` gets to the end. Whatever is not as the manifest
/// says is an error, and what was handed out until then must be thrown away.
pub(crate) fn read<R: Read>(
    from: R,
    mut take: impl FnMut(&Manifest, &Member, &mut dyn Read) -> std::io::Result<()>,
) -> Result<Manifest, ArchiveError> {
    let mut archive = Archive::new(from);
    // Raw: no extension of tar may give a file another name or size.
    let mut entries = archive.entries()?.raw(true);
    let mut first = entries.next().ok_or_else(|| form("it is empty"))??;
    let (name, bytes) = named(&first)?;
    if name != MANIFEST || bytes > MAX_MANIFEST {
        return Err(form(
            "it does not begin with a list of its files: is it a backup of curfew-ca?",
        ));
    }
    let mut text = Vec::new();
    first.read_to_end(&mut text)?;
    let manifest = parse(&text)?;
    for member in &manifest.files {
        let lacks = || form(&format!("it ends before {}: it was cut", member.name));
        let mut entry = entries.next().ok_or_else(lacks)??;
        if named(&entry)? != (member.name.clone(), member.bytes) {
            return Err(form(&format!("something else stands where {} is due", member.name)));
        }
        let mut hashing = Hashing { from: &mut entry, context: Context::new(&SHA256), bytes: 0 };
        take(&manifest, member, &mut hashing)?;
        if hashing.bytes != member.bytes || hashing.finish() != Some(member.sha256) {
            return Err(form(&format!(
                "{} is not what its hash says: the backup was changed or is damaged",
                member.name
            )));
        }
    }
    match entries.next() {
        None => Ok(manifest),
        Some(_) => Err(form("something stands after the last file of its list")),
    }
}

/// Reads a manifest, which lists only names that a backup can hold, each once.
pub(crate) fn parse(text: &[u8]) -> Result<Manifest, ArchiveError> {
    #[derive(serde::Deserialize)]
    struct Head {
        format: String,
        version: u32,
    }
    let odd =
        |error: serde_json::Error| form(&format!("its list of files cannot be read: {error}"));
    let head: Head = serde_json::from_slice(text).map_err(odd)?;
    if head.format != FORMAT {
        return Err(form("it is no backup of curfew-ca"));
    }
    if head.version > VERSION {
        return Err(ArchiveError::Newer(head.version));
    }
    let manifest: Manifest = serde_json::from_slice(text).map_err(odd)?;
    if manifest.files.len() > MAX_FILES {
        return Err(form("it lists too many files"));
    }
    let mut names = std::collections::BTreeSet::new();
    for member in &manifest.files {
        if !is_name(&member.name) || !names.insert(member.name.as_str()) {
            return Err(form(&format!(
                "it lists {:?}, which is no file of a backup, or twice",
                member.name
            )));
        }
        if member.name != LEDGER && member.bytes > MAX_FILE {
            return Err(form(&format!("{} is too long", member.name)));
        }
    }
    if names.contains(LEDGER) { Ok(manifest) } else { Err(form("it holds no ledger")) }
}

/// Names that a backup can hold: none that leads out of its folder.
fn is_name(name: &str) -> bool {
    if let Some(file) = name.strip_prefix(STATE) {
        let stands_alone = [LEDGER, SETTINGS, ROLES, POLICY.trim_end_matches('/')];
        return is_plain(file) && !stands_alone.contains(&file);
    }
    match name.strip_prefix(POLICY) {
        Some(file) => is_plain(file),
        None => [LEDGER, SETTINGS, ROLES].contains(&name),
    }
}

/// A file's name that leads nowhere and hides nothing.
pub(super) fn is_plain(file: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&file.len()) && !file.starts_with('.') && file.bytes().all(is_letter)
}

fn named<R: Read>(entry: &tar::Entry<'_, R>) -> Result<(String, u64), ArchiveError> {
    if entry.header().entry_type() != EntryType::Regular {
        return Err(form("it holds something else than plain files"));
    }
    let name = std::str::from_utf8(&entry.path_bytes()).map(str::to_owned);
    let name = name.map_err(|_not| form("the name of a file in it is not UTF-8"))?;
    Ok((name, entry.header().entry_size()?))
}

fn form(reason: &str) -> ArchiveError {
    ArchiveError::Form(reason.to_owned())
}

/// Hashes what is read through it.
pub(crate) struct Hashing<R> {
    from: R,
    context: Context,
    bytes: u64,
}

impl<R: Read> Hashing<R> {
    /// Of this.
    pub(crate) fn new(from: R) -> Self {
        Self { from, context: Context::new(&SHA256), bytes: 0 }
    }

    /// How much was read, and what it hashes to.
    pub(crate) fn sum(self) -> Option<(u64, Hash)> {
        let bytes = self.bytes;
        Some((bytes, self.finish()?))
    }

    fn finish(self) -> Option<Hash> {
        <[u8; 32]>::try_from(self.context.finish().as_ref()).ok().map(Hash)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.context.update(buffer.get(..length).unwrap_or_default());
        self.bytes = self.bytes.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_holds_no_name_that_leads_out_of_its_folder() {
        for name in ["ledger.db", "ca.toml", "state/user_ca", "policy/10-freeze.test.toml"] {
            assert!(is_name(name), "{name}");
        }
        let long = format!("policy/{}", "a".repeat(65));
        for name in [
            "",
            "policy",
            "policy/",
            "state/policy",
            "state/ledger.db",
            "state/ca.toml",
            "policy/../roles.toml",
            "policy/a/b",
            "policy/.hidden",
            "state/state/x",
            "/etc/passwd",
            "policy/a b",
            &long,
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
