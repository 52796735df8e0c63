//! The list of revoked keys that sshd reads by itself, so that what is locked opens nothing even where the agent is not
//! asked: another sshd, a stopped agent, a plain key.
//!
//! sshd reads the file at each login. It refuses everybody while the file is missing or damaged, and revokes nothing
//! while it is empty. So the file is there before sshd is told of it; each list is verified, read strictly here, then by
//! `ssh-keygen` of the same release as sshd, and only then put in place, in one step; and whoever removes or changes the
//! file finds it put back. [`shelf`] knows the files, [`adopted`] the lists that the host had before, [`assembly`] puts
//! parts together, [`trial`] loads on trial, and [`keeper`] does all of it on a thread of its own: a long list must not
//! keep orders and logins waiting.
//!
//! The agent makes no test with `sshd -t`: it does not read the list. `curfew-agent install` logs in on trial instead.

pub mod adopted;
pub mod assembly;
pub mod keeper;
pub mod shelf;
pub mod trial;

/// What sshd is told to read. Root's alone, like everything in the agent's folder.
pub const REVOKED_KEYS_PATH: &str = "/var/lib/curfew/krl/revoked_keys";
/// The folder of lists in the agent's state folder.
pub const FOLDER: &str = "krl";
