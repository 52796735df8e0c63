//! The policy in force: the folder of `*.cedar` files, or the default where there is none; and how it is asked.
//!
//! Who can change this: root on the authority's machine. Gains: decides what is required beside a role, down to nothing;
//! what no role gives, no policy gives. A change is an entry in the ledger, with the difference.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use policy::{Cases, DEFAULT, DEFAULT_NAME, Fault, File, Moment, PolicySet, Question, Verdict};
use serde::Serialize;
use wire::time::Timestamp;

/// A set of policies, and the time zone in which it sees days and hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    set: Arc<PolicySet>,
    zone: TimeZone,
    origin: Origin,
}

/// A question, and what the policy says to it. Only [`Policy::judge`] makes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Judged {
    /// The hash of the policies that were asked.
    set: String,
    verdict: Verdict,
    question: Question,
}

/// Where a set of policies comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From the folder.
    Folder,
    /// There is no folder; it is the one that comes with this program.
    Default,
}

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    /// A folder or a file in it cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file has a name that is no text.
    #[error("{0}: the name of a policy must be plain text")]
    Name(PathBuf),
    /// The folder holds no policies.
    #[error(
        "{0}: there is no *.cedar file in it, and nobody could do anything; `curfew-ca policy default` prints one to begin with"
    )]
    Empty(PathBuf),
    /// There was a folder, and now there is none.
    #[error(
        "{0} is gone, and the default policy does not take its place; bring it back, or put what `curfew-ca policy default` prints into it"
    )]
    Gone(PathBuf),
    /// What the files say is wrong.
    #[error("{0}")]
    Wrong(Faults),
}

/// Everything that is wrong, a line each.
#[derive(Debug)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl Policy {
    /// Reads the folder; where there is none, the default is in force.
    pub(crate) fn read(folder: &Path, zone: TimeZone) -> Result<Self, PolicyError> {
        let (files, origin) = match cedar_files(folder)? {
            Some(files) if files.is_empty() => return Err(PolicyError::Empty(folder.into())),
            Some(files) => (files, Origin::Folder),
            None => {
                let (name, text) = (DEFAULT_NAME.to_owned(), DEFAULT.to_owned());
                (vec![File { name, text }], Origin::Default)
            }
        };
        let set = PolicySet::load(&files).map_err(|faults| at(folder, faults))?;
        Ok(Self { set: Arc::new(set), zone, origin })
    }

    /// Where it comes from.
    pub(crate) const fn origin(&self) -> Origin {
        self.origin
    }

    /// The policies themselves.
    pub(crate) fn set(&self) -> &PolicySet {
        &self.set
    }

    /// The moment as policies see it.
    pub(crate) fn moment(&self, now: Timestamp) -> Moment {
        Moment::at(i64::try_from(now.millis()).unwrap_or(i64::MAX), &self.zone)
    }

    /// Asks it.
    pub(crate) fn judge(&self, question: Question) -> Judged {
        let verdict = self.set.decide(&question);
        Judged { set: self.set.hash().to_owned(), verdict, question }
    }

    /// Reads the cases beside the policies.
    pub(crate) fn cases(&self, folder: &Path) -> Result<Vec<Cases>, PolicyError> {
        let (mut read, mut faults) = (Vec::new(), Vec::new());
        for file in files(folder, CASES)?.unwrap_or_default() {
            match Cases::read(&file, &self.zone) {
                Ok(cases) => read.push(cases),
                Err(wrong) => faults.extend(wrong),
            }
        }
        if faults.is_empty() { Ok(read) } else { Err(at(folder, faults)) }
    }
}

impl Judged {
    /// What the policy says.
    pub(crate) const fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// What it was asked.
    pub(crate) const fn question(&self) -> &Question {
        &self.question
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::NotEligible => {
                let (who, what) = (&self.question.who.name, self.question.act.words());
                write!(f, "the policy in force does not let {who} {what}")
            }
            other => other.fmt(f),
        }
    }
}

/// The files of policies in a folder, in order of name; nothing when there is no folder.
fn cedar_files(folder: &Path) -> Result<Option<Vec<File>>, PolicyError> {
    files(folder, POLICIES)
}

/// What the folder says, for the record of its refusal; nothing when it cannot be read or is too long to be kept.
pub(crate) fn files_as_they_are(folder: &Path) -> Vec<File> {
    let files = cedar_files(folder).ok().flatten().unwrap_or_default();
    let size = files.iter().map(|file| file.text.len()).fold(0, usize::saturating_add);
    if size > policy::MAX_TEXT { Vec::new() } else { files }
}

fn files(folder: &Path, ending: &str) -> Result<Option<Vec<File>>, PolicyError> {
    let unread = |path: &Path| {
        let path = path.to_owned();
        move |source| PolicyError::Read { path, source }
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unread(folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(unread(folder))?.path();
        let name = path.file_name().unwrap_or_default();
        let Some(name) = name.to_str() else {
            return Err(PolicyError::Name(path));
        };
        // Editors leave hidden files beside the one that they write.
        if name.starts_with('.') || !name.ends_with(ending) {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(unread(&path))?;
        found.push(File { name: name.to_owned(), text });
    }
    found.sort();
    Ok(Some(found))
}

/// Says the whole path of each file.
fn at(folder: &Path, faults: Vec<Fault>) -> PolicyError {
    let whole =
        |fault: Fault| Fault { file: folder.join(&fault.file).display().to_string(), ..fault };
    PolicyError::Wrong(Faults(faults.into_iter().map(whole).collect()))
}

/// How the name of a file of policies ends.
pub(crate) const POLICIES: &str = ".cedar";
/// How the name of a file of cases ends, which the policies must pass.
pub(crate) const CASES: &str = ".test.toml";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The default, which every test of something else is under.
    pub(crate) fn default() -> Policy {
        Policy { origin: Origin::Default, ..of(DEFAULT) }
    }

    pub(crate) fn of(text: &str) -> Policy {
        let file = File { name: "test.cedar".into(), text: text.into() };
        let set = Arc::new(PolicySet::load(&[file]).unwrap());
        Policy { set, zone: TimeZone::UTC, origin: Origin::Folder }
    }

    #[test]
    fn the_default_is_in_force_only_where_there_is_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("policy");
        let read = || Policy::read(&folder, TimeZone::UTC);
        let default = read().unwrap();
        assert_eq!((default.origin(), &default), (Origin::Default, &read().unwrap()));
        std::fs::create_dir(&folder).unwrap();
        assert!(matches!(read(), Err(PolicyError::Empty(_))));
        std::fs::write(folder.join(".b.cedar.swp"), "nothing").unwrap();
        std::fs::write(folder.join("b.cedar"), "permit (principal, action, resource);").unwrap();
        let error = read().unwrap_err().to_string();
        assert!(error.ends_with("/policy/b.cedar:1: this policy has no name; write @id(\"a-name\") before it; denials and the ledger name it so"), "{error}");
        std::fs::write(folder.join("b.cedar"), DEFAULT).unwrap();
        assert_eq!(read().unwrap().origin(), Origin::Folder);
        std::fs::create_dir(folder.join("c.cedar")).unwrap();
        assert!(matches!(read(), Err(PolicyError::Read { .. })));
    }
}
