//! Records of the kernel's ring: any bytes decode or are refused, and no text in them is longer than its field.
#![no_main]

use agent::kernel::event::{Detail, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(event) = decode(input) else { return };
    assert!(!event.process.comm().chars().any(char::is_control));
    let Detail::Exec(exec) = event.detail else { return };
    assert!(exec.filename.len() <= 256 && exec.interp.len() <= 256 && exec.tty.len() <= 64);
    assert!(exec.argv.bytes.len() <= 512);
    let joined: usize = exec.argv.args().map(|argument| argument.len() + 1).sum();
    assert!(joined <= exec.argv.bytes.len() + 1);
});
