//! The host half of Curfew: who is let in, what a session is, when it ends, and that it really does.
//!
//! In reading order: [`gate`] decides who is let in; [`session`] decides what must happen to sessions;
//! [`revocation`] knows what is locked; [`kernel`] tags, sees and kills; [`spool`] keeps records until the
//! authority has them; [`host`] holds the state and performs; [`run`] wires them together and decides nothing.

pub mod act;
pub mod activity;
pub mod alarm;
pub mod channel;
pub mod check;
pub mod client;
pub mod clock;
pub mod command;
pub mod config;
pub mod enrol;
pub mod explain;
pub mod feed;
pub mod files;
pub mod gate;
pub mod handed;
pub mod host;
pub mod install;
pub mod journal;
pub mod kernel;
pub mod kills;
pub mod krl;
pub mod link;
pub mod local;
pub mod marks;
pub mod peer;
pub mod proof;
pub mod recording;
pub mod renewal;
pub mod revocation;
pub mod run;
pub mod session;
pub mod socket;
pub mod spool;
pub mod sshd;
pub mod sshd_log;
pub mod status;
pub mod store;
pub mod supervisor;
pub mod terminal;
pub mod threshold;
pub mod unwritten;
pub mod witness;
