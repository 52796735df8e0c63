//! The table of mounts, in which whoever mounts chooses names: no line of it names a place that is no absolute path, and
//! none keeps the others from being read.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|table: &[u8]| {
    let watched = files::mounts::watched(table);
    assert!(watched.iter().all(|point| point.is_absolute()));
    let mut more = b"1 1 99999:1 / /known rw - ext4 x rw\n".to_vec();
    more.extend_from_slice(table);
    let points = files::mounts::watched(&more);
    assert!(points.len() >= watched.len());
    assert!(points.iter().any(|point| point.as_os_str() == "/known"));
});
