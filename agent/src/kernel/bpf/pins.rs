//! What lives in the kernel under a name, so that it outlives the agent; and how a new agent's
//! programs take over from an old one's.
//!
//! Shape of the directory, on a bpffs, 0700: one pin per map; `links-<generation>/` with one pin
//! per attached program. `control[0]` names the generation that acts. A successor attaches its
//! own generation beside the old one, where it does nothing; then writes its number into
//! `control[0]`; then removes the old links. Killed at any point, the next one finds exactly one
//! generation acting.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use libbpf_rs::btf::{BtfKind, types};
use libbpf_rs::{
    Link, MapCore as _, MapFlags, MapHandle, Object, ObjectBuilder, OpenMapMut, OpenObject,
    btf::Btf,
};
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::{Storage, bpf};
use crate::kernel::KernelError;

/// The directory of pins, held against other agents while this lives.
#[derive(Debug)]
pub(super) struct Pins {
    dir: PathBuf,
    _lock: OwnedFd,
}

/// The attached programs.
#[derive(Debug)]
pub(super) struct Links {
    /// The iterator over the tagged tasks, for this agent only.
    pub(super) lister: Link,
    /// Which of them act.
    pub(super) generation: u64,
    /// Held beside their pins: a pin that somebody removes detaches nothing while the agent runs.
    _pinned: Vec<Link>,
}

/// The maps that outlive the agent.
#[derive(Debug)]
pub(super) struct Maps {
    pub(super) tags: MapHandle,
    pub(super) sessions: MapHandle,
    pub(super) ending: MapHandle,
    pub(super) events: MapHandle,
    pub(super) payload: MapHandle,
    pub(super) handed: MapHandle,
    control: MapHandle,
}

impl Maps {
    fn of(object: &Object) -> Result<Self, KernelError> {
        Ok(Self {
            tags: handle(object, "tags")?,
            sessions: handle(object, "sessions")?,
            ending: handle(object, "ending")?,
            events: handle(object, "events")?,
            payload: handle(object, "payload")?,
            handed: handle(object, "handed")?,
            control: handle(object, "control")?,
        })
    }

    /// One number of the map `control`.
    pub(super) fn control(&self, index: u32) -> Result<u64, KernelError> {
        control(&self.control, index)
    }

    fn set_control(&self, index: u32, number: u64) -> Result<(), KernelError> {
        self.control
            .update(&index.to_ne_bytes(), &number.to_ne_bytes(), MapFlags::ANY)
            .map_err(bpf("write the control map"))
    }
}

impl Pins {
    /// Makes the directory if it is missing, and takes it.
    pub(super) fn hold(dir: &Path) -> Result<Self, KernelError> {
        let ground = dir.ancestors().find(|dir| dir.exists()).unwrap_or(dir);
        let found = rustix::fs::statfs(ground).map_err(|errno| file(ground)(errno.into()))?;
        if found.f_type != BPF_FS_MAGIC {
            return Err(KernelError::NoBpffs(dir.to_owned()));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(file(dir))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock =
            rustix::fs::open(dir, flags, Mode::empty()).map_err(|errno| file(dir)(errno.into()))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(KernelError::Held(dir.to_owned())),
            Err(errno) => Err(file(dir)(errno.into())),
        }
    }

    /// Loads the programs as a new generation, lets it act, and removes the older ones.
    pub(super) fn attach(&self, storage: Storage) -> Result<(Maps, Links), KernelError> {
        let older = self.generations()?;
        let acting = self.acting()?;
        let newest = older.last().copied().unwrap_or_default().max(acting);
        let generation = newest.checked_add(1).ok_or(KernelError::Missing("next generation"))?;

        let mut open = ObjectBuilder::default()
            .name("curfew_session")
            .and_then(|builder| builder.open_memory(SESSION_BPF))
            .map_err(bpf("open the kernel program"))?;
        self.prepare(&mut open, generation, storage)?;
        let object = open.load().map_err(bpf("load the kernel program"))?;
        let maps = Maps::of(&object)?;
        maps.set_control(LAYOUT_INDEX, LAYOUT)?;

        let links = self.links(generation);
        DirBuilder::new().mode(0o700).create(&links).map_err(file(&links))?;
        let mut pinned = Vec::new();
        for name in PROGRAMS {
            let mut link = attach(&object, name)?;
            link.pin(links.join(name)).map_err(bpf("pin an attached program"))?;
            pinned.push(link);
        }
        let lister = attach(&object, "list_members")?;
        maps.set_control(GENERATION, generation)?;
        for generation in older {
            self.remove(generation)?;
        }
        Ok((maps, Links { lister, generation, _pinned: pinned }))
    }

    /// What was done to the pins of `generation`, which acts: what is gone is not taken over by the next agent, and who
    /// names another generation stops all tagging.
    pub(super) fn trouble(&self, generation: u64) -> Option<String> {
        let links = self.links(generation);
        let pins = PINNED.iter().map(|name| self.dir.join(name));
        let mut all = pins.chain(PROGRAMS.iter().map(|name| links.join(name)));
        if let Some(gone) = all.find(|path| !path.exists()) {
            return Some(format!(
                "{} is gone: what the kernel knows of sessions does not outlive the agent",
                gone.display()
            ));
        }
        match self.acting() {
            Ok(acting) if acting == generation => None,
            Ok(_) => Some("the programs in the kernel were told not to act".to_owned()),
            Err(error) => Some(format!("what the kernel keeps cannot be read: {error}")),
        }
    }

    /// Names the pins, checks what is there already, and sets the constants.
    fn prepare(
        &self,
        open: &mut OpenObject,
        generation: u64,
        storage: Storage,
    ) -> Result<(), KernelError> {
        let settings = settings(generation, storage)?;
        let mut set = false;
        for mut map in open.maps_mut() {
            let name = map.name().to_string_lossy().into_owned();
            if PINNED.contains(&name.as_str()) {
                let path = self.dir.join(&name);
                self.check(&map, &path)?;
                map.set_pin_path(&path).map_err(bpf("name a pin"))?;
            } else if name.ends_with(".rodata") {
                let constants = map.initial_value_mut().unwrap_or_default();
                let start = constants.first_chunk_mut().ok_or(KernelError::Missing("settings"))?;
                *start = settings;
                set = true;
            }
        }
        if set { Ok(()) } else { Err(KernelError::Missing("settings")) }
    }

    /// A pinned map of another shape would be misread.
    fn check(&self, map: &OpenMapMut<'_>, path: &Path) -> Result<(), KernelError> {
        if !path.exists() {
            return Ok(());
        }
        let pinned = MapHandle::from_pinned_path(path).map_err(bpf("open a pinned map"))?;
        let is = (pinned.map_type(), pinned.key_size(), pinned.value_size(), pinned.max_entries());
        let wanted = (map.map_type(), map.key_size(), map.value_size(), map.max_entries());
        if is != wanted {
            let name = map.name().to_string_lossy();
            return self.other_layout(format!("{name}: {is:?} instead of {wanted:?}"));
        }
        Ok(())
    }

    /// The generation that acts now; 0 when there was none.
    fn acting(&self) -> Result<u64, KernelError> {
        let path = self.dir.join("control");
        if !path.exists() {
            return Ok(0);
        }
        let map = MapHandle::from_pinned_path(&path).map_err(bpf("open a pinned map"))?;
        let layout = match control(&map, LAYOUT_INDEX) {
            Ok(layout) => layout,
            Err(error) => return self.other_layout(error.to_string()),
        };
        // 0: an agent was killed before it had written it, so nothing else was written either.
        if layout != 0 && layout != LAYOUT {
            return self.other_layout(format!("{layout} instead of {LAYOUT}"));
        }
        control(&map, GENERATION)
    }

    /// The generations that have links, oldest first.
    fn generations(&self) -> Result<BTreeSet<u64>, KernelError> {
        let mut generations = BTreeSet::new();
        for entry in fs::read_dir(&self.dir).map_err(file(&self.dir))? {
            let name = entry.map_err(file(&self.dir))?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("links-"));
            generations.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        Ok(generations)
    }

    /// Detaches a generation: its pins are what keeps it attached.
    fn remove(&self, generation: u64) -> Result<(), KernelError> {
        let links = self.links(generation);
        for entry in fs::read_dir(&links).map_err(file(&links))? {
            let path = entry.map_err(file(&links))?.path();
            fs::remove_file(&path).map_err(file(&path))?;
        }
        fs::remove_dir(&links).map_err(file(&links))
    }

    fn links(&self, generation: u64) -> PathBuf {
        self.dir.join(format!("links-{generation}"))
    }

    fn other_layout<T>(&self, what: String) -> Result<T, KernelError> {
        Err(KernelError::Layout { pin_dir: self.dir.clone(), what })
    }
}

fn attach(object: &Object, name: &'static str) -> Result<Link, KernelError> {
    let program = object.progs_mut().find(|program| program.name() == name);
    program.ok_or(KernelError::Missing(name))?.attach().map_err(bpf("attach a program"))
}

fn handle(object: &Object, name: &'static str) -> Result<MapHandle, KernelError> {
    let map = object.maps().find(|map| map.name() == name).ok_or(KernelError::Missing(name))?;
    MapHandle::try_from(&map).map_err(bpf("take a map"))
}

fn control(map: &MapHandle, index: u32) -> Result<u64, KernelError> {
    let value = map
        .lookup(&index.to_ne_bytes(), MapFlags::ANY)
        .map_err(bpf("read the control map"))?
        .unwrap_or_default();
    let number = value.first_chunk().ok_or(KernelError::Missing("control number"))?;
    Ok(u64::from_ne_bytes(*number))
}

/// `struct settings` of `bpf/session.h`.
fn settings(generation: u64, storage: Storage) -> Result<[u8; 16], KernelError> {
    let inum = own_pid_namespace()?.to_ne_bytes();
    let mut settings = Vec::with_capacity(16);
    settings.extend(generation.to_ne_bytes());
    settings.extend(inum);
    settings.push(u8::from(exit_says_last()?));
    settings.push(u8::from(storage == Storage::Fails));
    settings.extend([0; 2]);
    settings.first_chunk().copied().ok_or(KernelError::Missing("settings"))
}

fn own_pid_namespace() -> Result<u32, KernelError> {
    let path = Path::new("/proc/self/ns/pid");
    let inode = fs::metadata(path).map_err(file(path))?.ino();
    u32::try_from(inode).map_err(|error| file(path)(io::Error::other(error)))
}

/// Whether the tracepoint `sched_process_exit` has its second argument, `group_dead` (6.16).
fn exit_says_last() -> Result<bool, KernelError> {
    let action = "read the kernel's BTF";
    let btf = Btf::from_vmlinux().map_err(bpf(action))?;
    let prototype = btf
        .type_by_name::<types::Typedef<'_>>("btf_trace_sched_process_exit")
        .and_then(|alias| alias.next_type())
        .and_then(|pointer| pointer.next_type())
        .filter(|function| function.kind() == BtfKind::FuncProto)
        .and_then(|function| types::FuncProto::try_from(function).ok())
        .ok_or(KernelError::Missing("tracepoint sched_process_exit to attach to"))?;
    // The first parameter is the program's own context.
    Ok(prototype.len() > 2)
}

fn file(path: &Path) -> impl Fn(io::Error) -> KernelError {
    move |source| KernelError::File { path: path.to_owned(), source }
}

/// Made by `build.rs` from `bpf/session.bpf.c`.
static SESSION_BPF: &[u8] = include_bytes!(env!("SESSION_BPF"));

/// The programs whose links are pinned.
const PROGRAMS: [&str; 4] = ["on_fork", "on_exec", "on_exit", "on_socket"];
/// The maps that are pinned; the rest belongs to one generation.
const PINNED: [&str; 8] =
    ["tags", "strays", "sessions", "ending", "control", "events", "payload", "handed"];
/// Raised with every change of what is in the maps: `LAYOUT` of `bpf/session.h`.
const LAYOUT: u64 = 1;
/// Indexes of the map `control`.
const GENERATION: u32 = 0;
pub(super) const STRAYS: u32 = 1;
const LAYOUT_INDEX: u32 = 3;
/// `BPF_FS_MAGIC` of `linux/magic.h`.
const BPF_FS_MAGIC: rustix::fs::FsWord = 0xcafe_4a11;
