//! `curfew-ca restore`: puts a backup back where no authority is, and declares it.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::Serialize;
use wire::log::{Checkpoint, Policy};
use wire::time::Timestamp;

use super::migrate::faults;
use super::{say, say_json, shown};
use crate::backup::{LeftOut, Manifest, POLICY, ROLES, SETTINGS, Unpacked, read_manifest, unpack};
use crate::clock;
use crate::config::Config;
use crate::key::secret::Secrets;
use crate::key::{Keyring, Purpose, Ring, Store, create_private, guard};
use crate::ledger::moving::{self, Waiting};
use crate::ledger::{Actor, Audit, LEDGER, Ledger, Place, Restored, log_key, named_after};
use crate::x509::Root;

/// What to put back, and where.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The state folder to make, instead of the one of the settings; it must be empty or not there
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Put the ledger into a file in the state folder, also where the settings name a server: to rehearse, or to leave it
    #[arg(long)]
    into_file: bool,
    /// Where the private keys lie that are not in the backup, as the backup named them
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Why; hosts and the ledger keep it
    #[arg(long, value_name = "TEXT", default_value = "put back from a backup")]
    reason: String,
    /// Only say what the backup holds, and check its hashes
    #[arg(long)]
    check: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What was put back.
#[derive(Serialize)]
struct View<'a> {
    state_dir: &'a Path,
    era: u64,
    first_order: u64,
    /// How many entries the ledger goes on from.
    entries: u64,
    /// Locks that hosts were told again.
    locks: usize,
}

/// Does it.
pub(crate) fn run(settings: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.check {
        return check(arguments);
    }
    for open in guard::close() {
        tracing::debug!(%open, "the process is not closed");
    }
    let began = clock::now();
    let present = settings.exists().then(|| Config::read(settings)).transpose()?;
    let manifest = read_manifest(&arguments.file)?;
    let Some(target) =
        arguments.to.clone().or_else(|| present.as_ref().map(|it| it.state_dir.clone()))
    else {
        let shown = settings.display();
        bail!(
            "{shown} is missing; name the state folder with --to, and it will be written from the backup"
        );
    };
    refuse_living(&target, present.as_ref())?;
    let owner = Owner::of(&target)?;
    let mut name = target.as_os_str().to_owned();
    name.push(".restoring");
    let unpacked = unpack(&arguments.file, Path::new(&name))
        .context("the backup cannot be unpacked beside the state folder")?;
    complete(&unpacked, arguments)?;
    let config = match present {
        Some(config) => config,
        None => Config::read(&unpacked.folder().join(SETTINGS))
            .context("the backup's own settings cannot be used; write ca.toml first")?,
    };
    let server = if arguments.into_file { None } else { server(&config)? };
    let keys = Store::new(unpacked.folder(), config.keys.clone(), Secrets::default());
    let keyring = keys.open()?;
    let policy = verify(&unpacked, &keyring)?;
    let restored = declare(&unpacked, Arc::new(keyring), (&arguments.reason, began))?;
    let waiting =
        server.as_ref().map(|server| put_there(&unpacked, server, &policy)).transpose()?;
    put_settings(&unpacked, settings, (&config, owner))?;
    owner.take(unpacked.folder())?;
    unpacked.keep(&target)?;
    if let Some(waiting) = waiting {
        // Only now, when its keys are in their place: until then a restore begun again begins anew.
        waiting.finish().context(
            "the state folder is in its place, but the ledger on the server could not be marked as whole; \
             move the folder away and restore again",
        )?;
    }
    tell(arguments, (&manifest, &restored), (&target, &config))
}

/// The server that the settings name, if they do, which must have no ledger.
fn server(config: &Config) -> anyhow::Result<Option<Place>> {
    let place = Place::of(config)?;
    if place.file().is_some() {
        return Ok(None);
    }
    moving::is_free(&place).context(
        "a restore overwrites nothing: name an empty database in ca.toml, or put it into a file with --into-file",
    )?;
    Ok(Some(place))
}

/// Moves the restored ledger to the server, where nobody opens it yet.
fn put_there(unpacked: &Unpacked, server: &Place, policy: &Policy) -> anyhow::Result<Waiting> {
    let from = Place::File(unpacked.folder().join(LEDGER));
    let copied = moving::copy(&from, server).context("the ledger cannot be put on the server")?;
    let faults = faults(server, policy)?;
    ensure!(
        faults.is_empty(),
        "what was put on the server does not hold, and nothing was restored: {}",
        faults.join("; ")
    );
    let waiting = copied.without_file();
    unpacked.without_ledger()?;
    Ok(waiting)
}

fn check(arguments: &Arguments) -> anyhow::Result<()> {
    let manifest = read_manifest(&arguments.file)?;
    if arguments.json {
        return say_json(&manifest);
    }
    let head = manifest.checkpoint.text().parse::<Checkpoint>()?.head;
    say(&format!(
        "a backup of {}, {}: {} entries; every hash holds",
        manifest.origin.as_str(),
        shown(manifest.at),
        head.size
    ))?;
    let names: Vec<&str> = manifest.files.iter().map(|file| file.name.as_str()).collect();
    say(&format!("in it: {}", names.join(", ")))?;
    for LeftOut { key, whereabouts } in &manifest.left_out {
        say(&format!("NOT in it: the private key {key}, which was {}", whereabouts.in_words()))?;
    }
    Ok(())
}

/// A ledger that is there must not be lost, and one that is served must not get a twin.
fn refuse_living(target: &Path, present: Option<&Config>) -> anyhow::Result<()> {
    if let Some(config) = present
        && UnixStream::connect(&config.admin_socket).is_ok()
    {
        bail!(
            "an authority is serving on {}; stop it first: a restored one must not serve beside it",
            config.admin_socket.display()
        );
    }
    let is_empty = match std::fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", target.display()));
        }
    };
    let shown = target.display();
    ensure!(
        is_empty,
        "{shown} is not empty, and a restore overwrites nothing; move it away: what it holds may be newer than the backup"
    );
    Ok(())
}

fn complete(unpacked: &Unpacked, arguments: &Arguments) -> anyhow::Result<()> {
    let missing = unpacked.complete(arguments.keys.as_deref())?;
    ensure!(
        missing.is_empty(),
        "the backup does not hold these private keys, which were plain files: {}; name the folder of their copies with --keys",
        missing.join(", ")
    );
    Ok(())
}

/// The ledger, by its own signatures; and that root and keys are those of this ledger.
fn verify(unpacked: &Unpacked, keyring: &Keyring) -> anyhow::Result<Policy> {
    let place = Place::File(unpacked.folder().join(LEDGER));
    // Brings one of an older version up to date.
    Ledger::open(&place, &Arc::new(Ring::new(keyring.clone())))
        .context("the ledger in the backup cannot be opened")?
        .close();
    let name = Audit::open(&place)?.name()?;
    let root = Root::read(unpacked.folder())?.fingerprint();
    ensure!(named_after(&root) == name.as_str(), "the X.509 root is not the one of this ledger");
    let logs = keyring.slots(Purpose::Log).map(|(_, key)| log_key(&name, key));
    let policy = Policy { logs: logs.collect::<Result<_, _>>()?, ..Policy::default() };
    let report = Audit::open(&place)?.verify(&policy, &[])?;
    let rebuilt = Audit::open(&place)?.compare()?;
    let state = rebuilt.differences.iter().map(|difference| format!("state: {difference}"));
    let faults: Vec<String> = report.faults.iter().cloned().chain(state).collect();
    ensure!(
        report.verified.is_some() && faults.is_empty(),
        "the ledger in the backup does not hold, and nothing was restored: {}",
        faults.join("; ")
    );
    Ok(policy)
}

fn declare(
    unpacked: &Unpacked,
    keyring: Arc<Keyring>,
    (reason, began): (&str, Timestamp),
) -> anyhow::Result<Restored> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let now = runtime.block_on(second_after(began))?;
    let place = Place::File(unpacked.folder().join(LEDGER));
    let ledger = Ledger::open(&place, &Arc::new(Ring::new((*keyring).clone())))?;
    let said = (Actor::local(), reason.to_owned());
    let restored = runtime.block_on(ledger.declare_restore(said, keyring, now));
    // Closed before the folder gets its name.
    ledger.close();
    restored.context("the restore could not be declared, and nothing was restored")
}

/// A moment in a later second than that. An era is named by its second: a restore that begins after another has declared
/// itself, even one that was killed right then, must not give the same numbers again.
async fn second_after(began: Timestamp) -> anyhow::Result<Timestamp> {
    let since = clock::instant();
    loop {
        let now = clock::now();
        if now.secs() > began.secs() {
            return Ok(now);
        }
        ensure!(
            clock::instant().saturating_duration_since(since) < CLOCK_STANDS,
            "this machine's clock stands still or went back, and numbers could be given twice; set it, then restore again"
        );
        tokio::time::sleep(TICK).await;
    }
}

/// Whose the state folder is to be: of whoever had the empty one that a package or an operator made for the authority.
#[derive(Debug, Clone, Copy)]
struct Owner(Option<(u32, u32)>);

impl Owner {
    /// Nobody else's, where there is no folder yet.
    fn of(target: &Path) -> anyhow::Result<Self> {
        match std::fs::metadata(target) {
            Ok(found) => Ok(Self(Some((found.uid(), found.gid())))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self(None)),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", target.display())),
        }
    }

    /// Gives them a file, or a folder and all that is in it.
    fn take(self, path: &Path) -> anyhow::Result<()> {
        let Some((uid, gid)) = self.0 else { return Ok(()) };
        let cannot = || format!("cannot give {} to user {uid}", path.display());
        let found = std::fs::symlink_metadata(path).with_context(cannot)?;
        if (found.uid(), found.gid()) != (uid, gid) {
            lchown(path, Some(uid), Some(gid)).with_context(cannot)?;
        }
        if found.is_dir() {
            for entry in std::fs::read_dir(path).with_context(cannot)? {
                self.take(&entry.with_context(cannot)?.path())?;
            }
        }
        Ok(())
    }
}

/// Settings, roles and policies go where none are; those that are there count, and the backup's stay beside the ledger.
fn put_settings(
    unpacked: &Unpacked,
    settings: &Path,
    (config, owner): (&Config, Owner),
) -> anyhow::Result<()> {
    for (name, path) in [(SETTINGS, settings), (ROLES, config.roles_file.as_path())] {
        let held = unpacked.folder().join(name);
        if path.exists() || !held.exists() {
            continue;
        }
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        create_private(path, &read(&held)?)?;
        owner.take(path)?;
    }
    put_policies(&unpacked.folder().join(POLICY), &config.policy_dir)
}

/// The same for policies: into a folder that is not there, or is empty; one that holds anything is left alone.
fn put_policies(held: &Path, folder: &Path) -> anyhow::Result<()> {
    let cannot = |path: &Path| format!("cannot read {}", path.display());
    let is_taken = |path: &Path| {
        Ok::<_, std::io::Error>(path.exists() && std::fs::read_dir(path)?.next().is_some())
    };
    if !held.exists() || is_taken(folder).with_context(|| cannot(folder))? {
        return Ok(());
    }
    make_folder(folder)?;
    for entry in std::fs::read_dir(held).with_context(|| cannot(held))? {
        let entry = entry.with_context(|| cannot(held))?;
        let to = folder.join(entry.file_name());
        put(&to, &read(&entry.path())?)
            .with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

/// Readable as any new file is: the authority's user reads policies, and they are no secret.
fn put(to: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create_new(to)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn tell(
    arguments: &Arguments,
    (manifest, restored): (&Manifest, &Restored),
    (target, config): (&Path, &Config),
) -> anyhow::Result<()> {
    let Restored { era, cut, order, locks } = restored;
    if arguments.json {
        return say_json(&View {
            state_dir: target,
            era: era.number(),
            first_order: order.number(),
            entries: cut.size,
            locks: *locks,
        });
    }
    say(&format!(
        "The authority is restored in {} as of {}: {} entries hold.",
        target.display(),
        shown(manifest.at),
        cut.size
    ))?;
    say(&format!("Its numbers go on in era {era}: the next serial is {}.", era.first_order()))?;
    say("What was decided after the backup is lost. So:")?;
    say("  - people log in again, and tokens for hosts that were not used are void")?;
    say(
        "  - hosts and identities that were added since are added again, those that were removed or disabled since, again too",
    )?;
    say(
        "  - hosts are told when they connect; `curfew-ca incident list` says what each had seen, and which locks it keeps",
    )?;
    if let Some(server) = config.ledger.as_ref().filter(|_| !arguments.into_file) {
        say(&format!("Its ledger is on {}.", server.shown))?;
    }
    if arguments.into_file && config.ledger.is_some() {
        say(
            "Its ledger is a file in that folder, and ca.toml names a server: take `url` out of [ledger] before it serves.",
        )?;
    }
    if target != config.state_dir {
        say(&format!(
            "ca.toml names another state folder: set state_dir = {:?}",
            target.display().to_string()
        ))?;
    }
    say("Start it: systemctl start curfew-ca   (or: curfew-ca serve)")
}

/// How often the clock is looked at.
const TICK: Duration = Duration::from_millis(20);
/// A clock that has not come to the next second after so long stands still, or went back.
const CLOCK_STANDS: Duration = Duration::from_secs(5);
