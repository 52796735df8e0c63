//! What the kernel side says happened in a session, decoded from ring buffer records.
//!
//! Shape: `bpf/session.h`, native byte order, one record per event, exact length per kind.
//! Who can change this: only the kernel programs write the rings. The bytes inside (arguments,
//! names, `comm`) are chosen by the person in the session and may be anything; nothing here
//! assumes text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::{Process, Tag};

/// One thing that a process of a session did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which session.
    pub tag: Tag,
    /// Number within the session, from 0, given before the record was written: a missing number
    /// is a lost event.
    pub seq: u64,
    /// When, on `CLOCK_BOOTTIME`.
    pub at: Duration,
    /// Who did it. For a fork: the child.
    pub process: Process,
    /// The parent's process id, 0 if it is outside the agent's pid namespace.
    pub ppid: u32,
    /// Real user id, as the initial user namespace sees it.
    pub uid: u32,
    /// Effective user id, as the initial user namespace sees it.
    pub euid: u32,
    /// What was noticed while the event was taken.
    pub flags: Flags,
    /// What happened.
    pub detail: Detail,
}

/// The kinds of event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// A process (not a thread) was made.
    Fork,
    /// A program was started.
    Exec(Box<Exec>),
    /// The last thread of a process ended.
    Exit(ExitStatus),
    /// A stream socket went out, or waits for others to come in.
    Socket(Socket),
}

/// What was done with a stream socket. Whether anybody answered is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// Whether it goes out: to that address and port. Else it waits at them.
    pub connects: bool,
    /// The address; nothing for a socket that is of no version of IP.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

/// How a process ended, as `wait(2)` encodes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus(u32);

impl ExitStatus {
    /// The argument of `exit`, unless a signal ended the process.
    #[must_use]
    pub fn code(self) -> Option<u8> {
        let [_, _, code, _] = self.0.to_be_bytes();
        self.signal().is_none().then_some(code)
    }

    /// The signal that ended the process, if one did.
    #[must_use]
    pub fn signal(self) -> Option<u8> {
        let [.., low] = self.0.to_be_bytes();
        let signal = low & 0x7f;
        (signal != 0).then_some(signal)
    }
}

/// A program that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// The path given to `execve`, at most 255 bytes.
    pub filename: Vec<u8>,
    /// The program that runs: for a script its interpreter, else the same as `filename`.
    pub interp: Vec<u8>,
    /// The arguments of the new image.
    pub argv: Argv,
    /// The controlling terminal (`pts0`), empty without one.
    pub tty: Vec<u8>,
    /// Inode number of the program (the interpreter, for a script).
    pub inode: u64,
    /// Device of that inode, as major and minor number.
    pub device: (u32, u32),
    /// Id of the cgroup on the v2 hierarchy.
    pub cgroup: u64,
    /// Real group id.
    pub gid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Audit login uid, if one is set.
    pub loginuid: Option<u32>,
    /// Audit session id, if one is set.
    pub sessionid: Option<u32>,
}

/// The arguments of a program, as far as they could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argv {
    /// The captured part: arguments, each ended by a NUL.
    pub bytes: Vec<u8>,
    /// How many bytes there were.
    pub total: u32,
    /// How many arguments there were.
    pub count: u32,
}

impl Argv {
    /// The captured arguments in order; the last one is cut short unless [`Argv::is_whole`].
    pub fn args(&self) -> impl Iterator<Item = &[u8]> {
        let ended = self.bytes.strip_suffix(&[0]).unwrap_or(&self.bytes);
        let none = self.bytes.is_empty();
        ended.split(|byte| *byte == 0).skip(usize::from(none))
    }

    /// Whether every byte was captured.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        u32::try_from(self.bytes.len()).is_ok_and(|length| length == self.total)
    }
}

/// What was noticed while an event was taken: `FLAG_*` of `bpf/session.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// A page of the arguments could not be read.
    pub const ARGV_FAULT: Self = Self(1);
    /// The arguments are longer than the 256 KiB that are kept.
    pub const ARGV_CUT: Self = Self(1 << 1);
    /// The arguments went through the second ring.
    pub const ARGV_CHUNKED: Self = Self(1 << 2);
    /// A part of the arguments was lost because the second ring was full.
    pub const ARGV_LOST: Self = Self(1 << 3);
    /// A set-user-id bit, set-group-id bit or file capability took effect.
    pub const SECUREEXEC: Self = Self(1 << 4);
    /// The program has no name on disk: deleted, or a memfd.
    pub const UNLINKED: Self = Self(1 << 5);
    /// The filename is longer than what was kept.
    pub const NAME_CUT: Self = Self(1 << 6);
    /// The filename could not be read.
    pub const NAME_FAULT: Self = Self(1 << 7);
    /// The interpreter's path is longer than what was kept.
    pub const INTERP_CUT: Self = Self(1 << 8);
    /// The interpreter's path could not be read.
    pub const INTERP_FAULT: Self = Self(1 << 9);
    /// The session was being ended: the kernel sent SIGKILL.
    pub const ENDING: Self = Self(1 << 10);

    /// Whether all of `flags` are set.
    #[must_use]
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// Why a record was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not as long as its kind is.
    #[error("a record has {0} bytes, which no kind of record has")]
    Length(usize),
    /// A kind that this version does not know.
    #[error("a record is of the unknown kind {0}")]
    Kind(u32),
    /// Tag 0 names no session.
    #[error("a record has no tag")]
    Untagged,
    /// A length field that contradicts the record.
    #[error("a record says {0} bytes of arguments, which it cannot hold")]
    Argv(u32),
}

/// Decodes one record of the ring `events`.
///
/// The arguments of an exec that is [`Flags::ARGV_CHUNKED`] are still missing; `Chunks` has them.
///
/// # Errors
/// A record that is not what `bpf/session.h` says.
pub fn decode(record: &[u8]) -> Result<Event, DecodeError> {
    let length = record.len();
    let mut fields = Fields { rest: record, length };
    let kind = fields.u32()?;
    let flags = Flags(fields.u32()?);
    let tag = Tag::new(fields.u64()?).ok_or(DecodeError::Untagged)?;
    let seq = fields.u64()?;
    let at = Duration::from_nanos(fields.u64()?);
    let start = Duration::from_nanos(fields.u64()?);
    let pid = fields.u32()?;
    let ppid = fields.u32()?;
    let uid = fields.u32()?;
    let euid = fields.u32()?;
    let comm = fields.text::<COMM_BYTES>()?;
    let detail = match kind {
        KIND_FORK => Detail::Fork,
        KIND_EXEC => Detail::Exec(Box::new(exec(&mut fields, flags)?)),
        KIND_EXIT => {
            let status = fields.u32()?;
            fields.u32()?;
            Detail::Exit(ExitStatus(status))
        }
        KIND_CONNECT | KIND_LISTEN => Detail::Socket(socket(&mut fields, kind == KIND_CONNECT)?),
        other => return Err(DecodeError::Kind(other)),
    };
    fields.end()?;
    let process = Process::new(pid, start, &comm);
    Ok(Event { tag, seq, at, process, ppid, uid, euid, flags, detail })
}

/// A piece of the arguments of one exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk<'a> {
    pub(crate) tag: Tag,
    pub(crate) seq: u64,
    pub(crate) offset: u32,
    pub(crate) bytes: &'a [u8],
}

/// Decodes one record of the ring `payload`.
pub(crate) fn decode_chunk(record: &[u8]) -> Result<Chunk<'_>, DecodeError> {
    let mut fields = Fields { rest: record, length: record.len() };
    let tag = Tag::new(fields.u64()?).ok_or(DecodeError::Untagged)?;
    let seq = fields.u64()?;
    let offset = fields.u32()?;
    let length = fields.u32()?;
    let held = fields.bytes::<CHUNK_BYTES>()?;
    fields.end()?;
    let bytes = prefix(held, length)?;
    if offset.checked_add(length).is_none_or(|end| end > MAX_ARGV) {
        return Err(DecodeError::Argv(offset));
    }
    Ok(Chunk { tag, seq, offset, bytes })
}

/// A live task, as the iterator lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) tag: Tag,
    pub(crate) process: Process,
}

/// Decodes the output of the iterator; one entry per thread.
pub(crate) fn decode_members(output: &[u8]) -> Result<Vec<Member>, DecodeError> {
    let (records, rest) = output.as_chunks::<MEMBER_BYTES>();
    if !rest.is_empty() {
        return Err(DecodeError::Length(rest.len()));
    }
    records.iter().map(|record| decode_member(record)).collect()
}

fn decode_member(record: &[u8]) -> Result<Member, DecodeError> {
    let mut fields = Fields { rest: record, length: record.len() };
    let tag = Tag::new(fields.u64()?).ok_or(DecodeError::Untagged)?;
    let start = Duration::from_nanos(fields.u64()?);
    let pid = fields.u32()?;
    fields.u32()?;
    let comm = fields.text::<COMM_BYTES>()?;
    fields.end()?;
    Ok(Member { tag, process: Process::new(pid, start, &comm) })
}

fn exec(fields: &mut Fields<'_>, flags: Flags) -> Result<Exec, DecodeError> {
    let inode = fields.u64()?;
    let cgroup = fields.u64()?;
    let device = fields.u32()?;
    let gid = fields.u32()?;
    let egid = fields.u32()?;
    let loginuid = set_id(fields.u32()?);
    let sessionid = set_id(fields.u32()?);
    let count = fields.u32()?;
    let total = fields.u32()?;
    let captured = fields.u32()?;
    let tty = fields.text::<TTY_BYTES>()?;
    let filename = fields.text::<NAME_BYTES>()?;
    let interp = fields.text::<NAME_BYTES>()?;
    let held = fields.bytes::<INLINE_ARGV>()?;
    if captured > total.min(MAX_ARGV) {
        return Err(DecodeError::Argv(captured));
    }
    let bytes = if flags.has(Flags::ARGV_CHUNKED) { &[] } else { prefix(held, captured)? };
    let argv = Argv { bytes: bytes.to_vec(), total, count };
    let device = (device >> MINOR_BITS, device & MINOR_MASK);
    Ok(Exec { filename, interp, argv, tty, inode, device, cgroup, gid, egid, loginuid, sessionid })
}

fn socket(fields: &mut Fields<'_>, connects: bool) -> Result<Socket, DecodeError> {
    let address = *fields.bytes::<16>()?;
    let [family, port] = [fields.u16()?, fields.u16()?];
    fields.u32()?;
    let address = match (family, address) {
        (AF_INET, [a, b, c, d, ..]) => Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
        // One that is of the older version inside the newer is shown as what it is.
        (AF_INET6, address) => Some(Ipv6Addr::from(address).to_canonical()),
        _ => None,
    };
    Ok(Socket { connects, address, port })
}

/// The kernel's "not set" is the highest number.
fn set_id(id: u32) -> Option<u32> {
    (id != u32::MAX).then_some(id)
}

fn prefix(held: &[u8], length: u32) -> Result<&[u8], DecodeError> {
    usize::try_from(length)
        .ok()
        .and_then(|length| held.get(..length))
        .ok_or(DecodeError::Argv(length))
}

/// Reads a record from its start; running out is a wrong length, never a panic.
struct Fields<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Fields<'a> {
    fn bytes<const N: usize>(&mut self) -> Result<&'a [u8; N], DecodeError> {
        let (taken, rest) =
            self.rest.split_first_chunk::<N>().ok_or(DecodeError::Length(self.length))?;
        self.rest = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_ne_bytes(*self.bytes::<2>()?))
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_ne_bytes(*self.bytes::<4>()?))
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_ne_bytes(*self.bytes::<8>()?))
    }

    /// What stands before the first NUL.
    fn text<const N: usize>(&mut self) -> Result<Vec<u8>, DecodeError> {
        let held = self.bytes::<N>()?;
        Ok(held.split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
    }

    fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Length(self.length)) }
    }
}

const KIND_FORK: u32 = 1;
const KIND_EXEC: u32 = 2;
const KIND_EXIT: u32 = 3;
const KIND_CONNECT: u32 = 4;
const KIND_LISTEN: u32 = 5;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const COMM_BYTES: usize = 16;
const TTY_BYTES: usize = 64;
const NAME_BYTES: usize = 256;
const INLINE_ARGV: usize = 512;
const CHUNK_BYTES: usize = 4096;
const MEMBER_BYTES: usize = 40;
/// The longest argv that is kept: 64 chunks.
pub(crate) const MAX_ARGV: u32 = 256 << 10;
/// The kernel's own `dev_t` has 20 bits of minor number.
const MINOR_BITS: u32 = 20;
const MINOR_MASK: u32 = (1 << MINOR_BITS) - 1;

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The head of a record, field by field as `struct head` has them.
    pub(crate) fn head(kind: u32, flags: u32, tag: u64, seq: u64) -> Vec<u8> {
        let mut record = Vec::new();
        record.extend(kind.to_ne_bytes());
        record.extend(flags.to_ne_bytes());
        record.extend(tag.to_ne_bytes());
        record.extend(seq.to_ne_bytes());
        record.extend(1_500_000_000_u64.to_ne_bytes());
        record.extend(1_230_000_000_u64.to_ne_bytes());
        for id in [42_u32, 41, 1000, 0] {
            record.extend(id.to_ne_bytes());
        }
        record.extend(padded(b"bash", COMM_BYTES));
        record
    }

    fn padded(text: &[u8], width: usize) -> Vec<u8> {
        let mut field = text.to_vec();
        field.resize(width, 0);
        field
    }

    pub(crate) fn exec_record(flags: u32, seq: u64, argv: &[u8], total: u32) -> Vec<u8> {
        let captured = u32::try_from(argv.len()).unwrap();
        let mut record = head(KIND_EXEC, flags, 7, seq);
        record.extend(99_u64.to_ne_bytes());
        record.extend(1234_u64.to_ne_bytes());
        for field in [(8 << 20) | 3, 100, 101, 1000, u32::MAX, 2, total, captured] {
            record.extend(field.to_ne_bytes());
        }
        record.extend(padded(b"pts0", TTY_BYTES));
        record.extend(padded(b"/usr/bin/ls", NAME_BYTES));
        record.extend(padded(b"/usr/bin/ls", NAME_BYTES));
        let inline = if flags & Flags::ARGV_CHUNKED.0 == 0 { argv } else { b"" };
        record.extend(padded(inline, INLINE_ARGV));
        record
    }

    pub(crate) fn chunk_record(seq: u64, offset: u32, bytes: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        record.extend(7_u64.to_ne_bytes());
        record.extend(seq.to_ne_bytes());
        record.extend(offset.to_ne_bytes());
        record.extend(u32::try_from(bytes.len()).unwrap().to_ne_bytes());
        record.extend(padded(bytes, CHUNK_BYTES));
        record
    }

    #[test]
    fn records_are_as_long_as_the_c_structs() {
        assert_eq!(head(KIND_FORK, 0, 7, 0).len(), 72);
        assert_eq!(exec_record(0, 0, b"", 0).len(), 1208);
        assert_eq!(chunk_record(0, 0, b"").len(), 4120);
    }

    fn socket_record(kind: u32, family: u16, address: [u8; 16], port: u16) -> Vec<u8> {
        let mut record = head(kind, 0, 7, 5);
        record.extend(address);
        record.extend(family.to_ne_bytes());
        record.extend(port.to_ne_bytes());
        record.extend(0_u32.to_ne_bytes());
        record
    }

    #[test]
    fn sockets_are_decoded_in_both_families_and_others_have_no_address() {
        let mut v4 = [0; 16];
        v4[..4].copy_from_slice(&[10, 0, 0, 9]);
        let mapped = Ipv4Addr::new(10, 0, 0, 9).to_ipv6_mapped().octets();
        let v6: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let of = |kind, family, address| {
            let record = socket_record(kind, family, address, 443);
            assert_eq!(record.len(), 96);
            let Detail::Socket(socket) = decode(&record).unwrap().detail else { panic!() };
            assert_eq!((socket.connects, socket.port), (kind == KIND_CONNECT, 443));
            socket.address.map(|address| address.to_string())
        };
        assert_eq!(of(KIND_CONNECT, AF_INET, v4).as_deref(), Some("10.0.0.9"));
        assert_eq!(of(KIND_CONNECT, AF_INET6, mapped).as_deref(), Some("10.0.0.9"));
        assert_eq!(of(KIND_LISTEN, AF_INET6, v6.octets()).as_deref(), Some("2001:db8::1"));
        assert_eq!(of(KIND_LISTEN, 40, v4), None);
        let short = socket_record(KIND_LISTEN, AF_INET, v4, 1);
        assert!(decode(&short[..95]).is_err());
    }

    #[test]
    fn exec_is_decoded_field_by_field() {
        let event = decode(&exec_record(Flags::SECUREEXEC.0, 5, b"ls\0\0", 4)).unwrap();
        assert_eq!(event.tag.to_string(), "0000000000000007");
        assert_eq!((event.seq, event.ppid, event.uid, event.euid), (5, 41, 1000, 0));
        assert_eq!(event.at, Duration::from_millis(1500));
        assert_eq!((event.process.pid(), event.process.start_ticks()), (42, 123));
        assert_eq!(event.process.comm(), "bash");
        assert!(event.flags.has(Flags::SECUREEXEC));
        let Detail::Exec(exec) = event.detail else { panic!("not an exec") };
        assert_eq!(exec.device, (8, 3));
        assert_eq!((exec.gid, exec.egid, exec.inode, exec.cgroup), (100, 101, 99, 1234));
        assert_eq!((exec.loginuid, exec.sessionid), (Some(1000), None));
        assert_eq!(
            (exec.tty.as_slice(), exec.filename.as_slice()),
            (&b"pts0"[..], &b"/usr/bin/ls"[..])
        );
        assert!(exec.argv.is_whole());
        assert_eq!(exec.argv.args().collect::<Vec<_>>(), [&b"ls"[..], b""]);
    }

    #[test]
    fn empty_arguments_are_kept_wherever_they_stand() {
        let args = |bytes: &[u8]| {
            let argv = Argv { bytes: bytes.to_vec(), total: 0, count: 0 };
            argv.args().map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        assert_eq!(args(b""), Vec::<Vec<u8>>::new());
        assert_eq!(args(b"\0"), [b"".to_vec()]);
        assert_eq!(args(b"a\0\0b\0\0"), [b"a".to_vec(), vec![], b"b".to_vec(), vec![]]);
    }

    #[test]
    fn exit_tells_code_from_signal() {
        let exit = |status: u32| {
            let mut record = head(KIND_EXIT, 0, 7, 0);
            record.extend(status.to_ne_bytes());
            record.extend([0; 4]);
            let Detail::Exit(status) = decode(&record).unwrap().detail else { panic!("no exit") };
            (status.code(), status.signal())
        };
        assert_eq!(exit(0), (Some(0), None));
        assert_eq!(exit(0x300), (Some(3), None));
        assert_eq!(exit(9), (None, Some(9)));
        assert_eq!(exit(0x8b), (None, Some(11)));
    }

    #[test]
    fn contradictions_are_refused() {
        assert_eq!(decode(&[]), Err(DecodeError::Length(0)));
        assert_eq!(decode(&head(9, 0, 7, 0)), Err(DecodeError::Kind(9)));
        assert_eq!(decode(&head(KIND_FORK, 0, 0, 0)), Err(DecodeError::Untagged));
        let mut long = head(KIND_FORK, 0, 7, 0);
        long.push(0);
        assert_eq!(decode(&long), Err(DecodeError::Length(73)));
        assert_eq!(decode(&exec_record(0, 0, b"abc", 2)), Err(DecodeError::Argv(3)));
        let past_the_end = chunk_record(0, MAX_ARGV, b"x");
        assert_eq!(decode_chunk(&past_the_end), Err(DecodeError::Argv(MAX_ARGV)));
        assert_eq!(decode_members(&[0; 41]), Err(DecodeError::Length(1)));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            drop(decode(&bytes));
            drop(decode_chunk(&bytes));
            drop(decode_members(&bytes));
        }

        #[test]
        fn any_flip_in_a_record_decodes_or_is_refused(at in 0..1208_usize, to: u8, flags: u32) {
            let mut record = exec_record(flags & !Flags::ARGV_CHUNKED.0, 1, b"a\0b\0", 4);
            record[at] = to;
            if let Ok(Event { detail: Detail::Exec(exec), .. }) = decode(&record) {
                prop_assert!(exec.argv.bytes.len() <= INLINE_ARGV);
            }
        }
    }
}
