//! A session's terminal, in two processes that do not trust each other.
//!
//! `curfew-pty` is what sshd starts (`ForceCommand`), as the user. It asks the agent what it is in, hands over the
//! client's terminal, and runs what was asked for on another. `curfew-recorder` runs as a user of its own, one process
//! a terminal, and stands between the two: it relays, counts what was typed, and keeps what is to be kept. The user's
//! processes can neither read, stop nor fake it; when it dies, the terminal hangs up.
//!
//! In reading order: [`plan`] says what is to be run; [`standing`] what is known without the agent; [`stub`] is
//! `curfew-pty`; [`typed`] counts; [`veil`] decides what of the input is kept, and [`tape`] keeps; [`relay`] is the recorder. `unsafe` is in [`tty`] alone.

pub mod clock;
pub mod passing;
pub mod plan;
pub mod relay;
pub mod standing;
pub mod stub;
pub mod tape;
pub mod tty;
pub mod typed;
pub mod veil;
