//! `curfew breakglass kit`: what lies in the safe: this program, the group, the hosts, and two sheets of paper.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use breakglass::group::Group;
use breakglass::letter;
use wire::breakglass::{LOGIN, authorized_line};
use wire::certificate::fingerprint;
use wire::identifier::{Custodian, HostName, Login};
use wire::trust::AuthorityKey;

use super::{exchange, place};
use crate::clock;
use crate::exit::{Exit, Fault};
use crate::file;
use crate::render::{Screen, Tone};

/// Put together what lies in the safe
///
/// A folder for a memory stick: a program that needs nothing of the machine it runs on, the group, the hosts with what sshd reads on each,
/// and instructions that print on two sheets. It holds no secret.
#[derive(Debug, clap::Args)]
pub(crate) struct Kit {
    /// The group
    #[arg(long, value_name = "FILE", default_value = "breakglass-group.txt")]
    group: PathBuf,
    /// A host that the kit is for, with its address: db1=10.0.0.5
    #[arg(long = "host", value_name = "HOST=ADDRESS", required = true)]
    hosts: Vec<String>,
    /// The account on them that break-glass opens
    #[arg(long, value_name = "LOGIN", default_value = LOGIN)]
    login: String,
    /// The program to take along (default: this one); it must be linked statically
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Leave the program out, where this one is not linked statically
    #[arg(long, conflicts_with = "program")]
    without_program: bool,
    /// The folder to make
    #[arg(long, value_name = "DIR", default_value = "breakglass-kit")]
    out: PathBuf,
}

impl Kit {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let group = place::group(&self.group)?;
        let login: Login = self.login.parse().map_err(|error| Fault::Usage(format!("{error}")))?;
        let hosts = self.hosts.iter().map(|text| host(text)).collect::<Result<Vec<_>>>()?;
        if !self.without_program {
            self.take_program()?;
        }
        fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot make {}", self.out.display()))?;
        exchange::write(&self.out.join("breakglass-group.txt"), &group.letter())?;
        let key = AuthorityKey::of(&group.public_key())?;
        self.put("breakglass.pub", &format!("{key}\n"))?;
        let mut lines = String::new();
        for (name, address) in &hosts {
            lines.push_str(&format!("{name} {address} {}\n", authorized_line(&key, &login, name)?));
        }
        self.put("hosts.txt", &lines)?;
        self.put("instructions.html", &page(&group, &hosts, &login)?)?;
        screen.toned(Tone::Good, &format!("the kit is in {}", self.out.display()))?;
        screen.line("print instructions.html on two sheets and put both into the safe, with the memory stick")?;
        screen.line("shares are not in it: each custodian keeps their own, apart from the kit")?;
        Ok(Exit::Done)
    }

    fn put(&self, name: &str, text: &str) -> Result<()> {
        let path = self.out.join(name);
        file::write(&path, text.as_bytes(), file::PUBLIC)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Takes the program along, if it runs on a machine that has nothing.
    fn take_program(&self) -> Result<()> {
        let own = std::env::current_exe().context("cannot find this program")?;
        let path = self.program.clone().unwrap_or(own);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if !is_static(&bytes) {
            let line = format!(
                "{} needs libraries of the machine it runs on; build one that does not with `cargo xtask kit`, and name it with --program (or give --without-program)",
                path.display()
            );
            return Err(Fault::Usage(line).into());
        }
        fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot make {}", self.out.display()))?;
        let to = self.out.join("curfew");
        fs::write(&to, bytes).with_context(|| format!("cannot write {}", to.display()))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} executable", to.display()))
    }
}

fn host(text: &str) -> Result<(HostName, String)> {
    let wrong = || Fault::Usage(format!("{text:?} is not of the form HOST=ADDRESS"));
    let (name, address) = text.split_once('=').ok_or_else(wrong)?;
    let name = name.parse().map_err(|error| Fault::Usage(format!("{error}")))?;
    let address: wire::identifier::Address =
        address.parse().map_err(|error| Fault::Usage(format!("{error}")))?;
    Ok((name, address.to_string()))
}

/// Whether a program of Linux asks for no loader of libraries (ELF, no `PT_INTERP`).
fn is_static(bytes: &[u8]) -> bool {
    let u16_at = |at: usize| bytes.get(at..)?.first_chunk().map(|two| u16::from_le_bytes(*two));
    let u64_at = |at: usize| bytes.get(at..)?.first_chunk().map(|eight| u64::from_le_bytes(*eight));
    let u32_at = |at: usize| bytes.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four));
    // 64 bits, little-endian.
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return false;
    }
    let (Some(offset), Some(size), Some(count)) = (u64_at(32), u16_at(54), u16_at(56)) else {
        return false;
    };
    let Ok(offset) = usize::try_from(offset) else { return false };
    (0..count).all(|index| {
        let at =
            usize::from(index).checked_mul(usize::from(size)).and_then(|at| at.checked_add(offset));
        at.and_then(u32_at).is_some_and(|kind| kind != PT_INTERP)
    })
}

/// How many of the hosts fit on the second sheet, beside all else that stands there.
fn that_fit(hosts: &[(HostName, String)]) -> usize {
    let lines = hosts.iter().scan(0_usize, |lines, (name, address)| {
        let letters = name.to_string().len().saturating_add(address.len());
        *lines = lines.saturating_add(letters.div_ceil(ROW_LETTERS));
        Some(*lines)
    });
    lines.take_while(|lines| *lines <= ROWS).count()
}

/// The instructions: two sheets, without a script and without anything from elsewhere.
fn page(group: &Group, hosts: &[(HostName, String)], login: &Login) -> Result<String> {
    let custodians: Vec<&str> = group.members().values().map(Custodian::as_str).collect();
    let fit = that_fit(hosts);
    let rows: String = hosts
        .iter()
        .take(fit)
        .map(|(name, address)| format!("<tr><td>{name}</td><td>{address}</td></tr>"))
        .collect();
    let more = match hosts.len().saturating_sub(fit) {
        0 => String::new(),
        more => format!("And {more} more: hosts.txt, on the memory stick, has them all."),
    };
    let asked: Vec<String> = custodians
        .iter()
        .take(usize::from(group.threshold()))
        .map(|name| format!("--custodian {name}"))
        .collect();
    let first = hosts.first().map(|(name, _)| name.to_string()).unwrap_or_default();
    let address = hosts.first().map(|(_, address)| address.clone()).unwrap_or_default();
    // Names of all kinds are strict: no character in them means anything in HTML.
    let filled = [
        ("THRESHOLD", group.threshold().to_string()),
        ("COUNT", custodians.len().to_string()),
        ("CUSTODIANS", custodians.join(", ")),
        ("KEY", fingerprint(&group.key_data()).to_string()),
        ("CODE", letter::code(&group.digest())),
        ("EXPIRES", place::shown(group.expires(), clock::now())),
        ("PRINTED", place::shown(clock::now(), clock::now()).replace(" (now)", "")),
        ("ASKED", asked.join(" ")),
        ("HOST", first),
        ("ADDRESS", address),
        ("LOGIN", login.to_string()),
        ("ROWS", rows),
        ("MORE", more),
    ];
    let mut text = include_str!("kit.html").to_owned();
    for (name, value) in filled {
        text = text.replace(&format!("{{{name}}}"), &value);
    }
    Ok(text)
}

const PT_INTERP: u32 = 3;
/// Lines of hosts for which the second sheet has room; seen on paper of the format A4.
const ROWS: usize = 28;
/// Letters of a host and its address on one line there.
const ROW_LETTERS: usize = 36;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_asks_for_a_loader_is_told_from_one_that_does_not() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(!is_static(&own), "tests are linked dynamically");
        let mut elf = vec![0; 64 + 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (elf[32], elf[54], elf[56], elf[64]) = (64, 56, 1, 1);
        assert!(is_static(&elf));
        elf[64] = 3;
        assert!(!is_static(&elf));
        for cut in 0..elf.len() {
            let _ = is_static(&elf[..cut]);
        }
        assert!(!is_static(b"#!/bin/sh"));
    }

    #[test]
    fn more_hosts_than_fit_on_two_sheets_are_on_the_stick() {
        let hosts = |count: usize, name: &str| -> Vec<(HostName, String)> {
            let named = (0..count).map(|number| format!("{name}{number}").parse().unwrap());
            named.map(|name| (name, "10.0.0.5".to_owned())).collect()
        };
        assert_eq!(that_fit(&hosts(3, "db")), 3);
        assert_eq!(that_fit(&hosts(100, "db")), ROWS);
        // A long name takes two lines.
        assert_eq!(that_fit(&hosts(100, &"db".repeat(20))), ROWS / 2);
        assert_eq!(that_fit(&[]), 0);
    }

    #[test]
    fn a_host_of_the_kit_has_a_name_and_an_address() {
        assert!(host("db1=10.0.0.5").is_ok());
        for wrong in ["db1", "=10.0.0.5", "db1=", "db 1=x", "db1=<b>"] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }
}
