//! A throw-away fleet of real hosts, and what a test needs to meet them.
//!
//! A host is a whole Debian (systemd, logind, journald, sshd) in namespaces of its own, up in less
//! than a second from a cached image. Programs are met from the outside only: through `ssh`, command
//! lines, sockets and files.
//!
//! ```no_run
//! # fn main() -> Result<(), tests::FleetError> {
//! let fleet = tests::Fleet::bare()?;
//! let db1 = fleet.host("db1")?;
//! db1.add_user("deploy")?;
//! let ana = fleet.client("ana")?;
//! db1.authorize("deploy", &ana.public_key()?)?;
//! assert_eq!(ana.ssh("deploy", &db1).run(["whoami"])?.text(), "deploy");
//! # Ok(())
//! # }
//! ```
//!
//! Everything a [`Fleet`] made goes when it is dropped, also when the test panics, is interrupted or
//! is killed: each host is held by a keeper process that takes it down when the test's end of a pipe
//! closes. What a killed keeper leaves is removed by the next [`Fleet`] on the machine.

mod authority;
mod base;
mod client;
mod clock;
mod command;
mod error;
mod fleet;
mod host;
mod patience;
mod postgres;
mod programs;
mod readme;
mod session;
mod site;
mod terminal;
mod tools;

pub use authority::{Authority, KeySetup};
pub use base::{Base, Debian};
pub use client::{Client, Ssh, SshAgent};
pub use clock::Stopwatch;
pub use command::{Output, Running};
pub use error::FleetError;
pub use fleet::Fleet;
pub use host::{Host, Process};
pub use patience::{eventually, eventually_some, grace};
pub use postgres::Postgres;
pub use programs::Programs;
pub use readme::Readme;
pub use session::{Certified, REASON};
pub use site::{Person, ROLES, Site, Token};
pub use terminal::Terminal;
pub use tools::compile;
