//! Which file systems there are, and which of them hold files that somebody may write.
//!
//! Source: `proc_pid_mountinfo(5)`. Mount points are named by whoever mounts; the kernel escapes blanks and backslashes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// The file systems that are watched, each by one of its mount points.
///
/// A line that is not understood is passed over: what is left out is a file system, and not the others.
#[must_use]
pub fn watched(mountinfo: &[u8]) -> Vec<PathBuf> {
    let mut points = BTreeMap::new();
    for mount in mountinfo.split(|byte| *byte == b'\n').filter_map(parse) {
        if !HOLDS_NO_FILES.contains(&mount.kind.as_slice()) && mount.point != DEVICES {
            points.entry(mount.device).or_insert(mount.point);
        }
    }
    points.into_values().map(|point| PathBuf::from(OsString::from_vec(point))).collect()
}

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// `major:minor`, which names the file system.
    device: Vec<u8>,
    point: Vec<u8>,
    kind: Vec<u8>,
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|byte| *byte == b' ');
    let device = words.nth(2).filter(|device| is_device(device))?.to_vec();
    let point = unescaped(words.nth(1)?)?;
    // Optional fields, as many as there are, end with a hyphen.
    words.find(|word| *word == b"-")?;
    let kind = words.next().filter(|kind| !kind.is_empty())?.to_vec();
    point.starts_with(b"/").then_some(Mount { device, point, kind })
}

fn is_device(word: &[u8]) -> bool {
    let mut parts = word.split(|byte| *byte == b':');
    let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    parts.next().is_some_and(is_number)
        && parts.next().is_some_and(is_number)
        && parts.next().is_none()
}

/// A word without the kernel's escapes: a backslash and three octal digits.
fn unescaped(word: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(word.len());
    let mut bytes = word.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            plain.push(*byte);
            continue;
        }
        let mut code: u32 = 0;
        for _ in 0..3 {
            let digit = bytes.next().filter(|digit| (b'0'..=b'7').contains(*digit))?;
            code = code.checked_mul(8)?.checked_add(u32::from(digit.checked_sub(b'0')?))?;
        }
        plain.push(u8::try_from(code).ok()?);
    }
    Some(plain)
}

/// Kinds of file systems in which nothing lies that somebody wrote: they show the kernel, or hold what has a name only.
const HOLDS_NO_FILES: [&[u8]; 22] = [
    b"autofs",
    b"binfmt_misc",
    b"bpf",
    b"cgroup",
    b"cgroup2",
    b"configfs",
    b"debugfs",
    b"devpts",
    b"devtmpfs",
    b"efivarfs",
    b"fusectl",
    b"hugetlbfs",
    b"mqueue",
    b"nfsd",
    b"nsfs",
    b"proc",
    b"pstore",
    b"rpc_pipefs",
    b"securityfs",
    b"selinuxfs",
    b"sysfs",
    b"tracefs",
];
/// Devices: everybody writes to `/dev/null`, and to be told of a file is to have it opened.
const DEVICES: &[u8] = b"/dev";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_file_system_that_holds_files_is_watched_once() {
        let table = b"22 1 0:20 / / rw,relatime shared:1 - overlay overlay rw\n\
            23 22 0:21 / /proc rw - proc proc rw\n\
            24 22 0:5 / /dev rw,nosuid shared:2 - tmpfs tmpfs rw\n\
            25 24 0:22 / /dev/shm rw - tmpfs tmpfs rw\n\
            26 22 254:1 / /srv/a\\040b rw shared:9 master:3 - ext4 /dev/vda1 rw\n\
            27 22 254:1 /x /srv/again rw - ext4 /dev/vda1 rw\n\
            28 22 0:23 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        let named: Vec<String> =
            watched(table).iter().map(|point| point.display().to_string()).collect();
        assert_eq!(named, ["/", "/dev/shm", "/srv/a b"]);
    }

    #[test]
    fn what_is_no_line_of_the_table_names_no_file_system() {
        for line in [
            "",
            "22 1 0:20 / / rw",
            "22 1 0:20 / / rw -",
            "22 1 0:20 / / rw - ",
            "22 1 020 / / rw - ext4 x rw",
            "22 1 0:20:1 / / rw - ext4 x rw",
            "22 1 a:b / / rw - ext4 x rw",
            "22 1 0:20 / srv rw - ext4 x rw",
            "22 1 0:20 / /a\\04 rw - ext4 x rw",
            "22 1 0:20 / /a\\777 rw - ext4 x rw",
            "22 1 0:20 / /a\\089 rw - ext4 x rw",
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_passed_over(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for point in watched(&bytes) {
                prop_assert!(point.is_absolute());
            }
        }

        #[test]
        fn a_mount_point_reads_as_it_was_written(name in "[a-z \\\\\n\t]{1,20}") {
            let mut escaped = String::new();
            for byte in name.bytes() {
                if matches!(byte, b' ' | b'\\' | b'\n' | b'\t') {
                    escaped.push_str(&format!("\\{byte:03o}"));
                } else {
                    escaped.push(char::from(byte));
                }
            }
            let line = format!("22 1 0:20 / /{escaped} rw - ext4 x rw");
            prop_assert_eq!(watched(line.as_bytes()), [PathBuf::from(format!("/{name}"))]);
        }
    }
}
