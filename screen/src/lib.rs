//! What a terminal showed, worked out from the bytes that were sent to it, and shown again without them.
//!
//! Pure: no I/O, no clock. What passed a terminal was written by whoever sat at it, and would drive the reader's terminal as
//! well: set its title, write its clipboard, have it answer as if the reader had typed. So it goes into an emulator and
//! nowhere else, and what reaches the reader is drawn from the emulator's cells by [`paint`], which writes letters, colours and
//! positions of its own and nothing else.

pub mod cast;
pub mod emulator;
pub mod film;
pub mod frame;
pub mod keys;
pub mod paint;
pub mod player;
pub mod text;
