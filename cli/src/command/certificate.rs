//! `curfew certificate`: a certificate over a key of one's own, as a file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::ssh::Terms;
use crate::client::Client;
use crate::clock;
use crate::exit::Exit;
use crate::file;
use crate::home::Home;
use crate::issue::{self, OwnKey};
use crate::render::{Screen, moment};

/// Have a key of your own certified
///
/// For keys that already exist, security keys above all, and for programs that are no ssh. Only the public half is read
/// and sent; it may be a key that only your ssh-agent holds.
#[derive(Debug, clap::Args)]
pub(crate) struct Certificate {
    /// Where, and as whom
    #[arg(value_name = "[LOGIN@]HOST")]
    destination: String,
    /// The key (either half; RSA of 2,048 to 16,384 bits)
    #[arg(long, value_name = "PATH")]
    key: PathBuf,
    /// Where to put the certificate (default: beside the key, PATH-cert.pub, where ssh finds it)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    terms: Terms,
}

impl Certificate {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let checked = self.terms.check(&self.destination)?;
        let own = OwnKey::read(&self.key)?;
        let home = Home::find()?;
        let mut client = Client::of(&home)?;
        let (wish, _address) = checked.wish(&mut client, &home)?;
        let (certificate, reply) = issue::certify(&mut client, own.public(), &wish)?;
        let out = self.out.unwrap_or_else(|| beside(&self.key));
        file::write(&out, format!("{}\n", certificate.to_openssh()).as_bytes(), file::PUBLIC)
            .with_context(|| format!("cannot write {}", out.display()))?;
        let until = moment::relative(reply.valid_before, clock::now());
        screen.line(&format!(
            "{}: {}@{}, certificate {}, grant {}; it opens nothing any more {until}",
            out.display(),
            wish.login,
            wish.host,
            reply.serial,
            reply.grant
        ))?;
        Ok(Exit::Done)
    }
}

/// `KEY-cert.pub` for either half's name, as `ssh-keygen -s` calls it.
fn beside(key: &Path) -> PathBuf {
    let stem = match key.extension() {
        Some(extension) if extension == "pub" => key.with_extension(""),
        _ => key.to_owned(),
    };
    let mut name = OsString::from(stem);
    name.push("-cert.pub");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_stands_where_ssh_looks_for_it() {
        for key in ["/k/id_ed25519_sk", "/k/id_ed25519_sk.pub"] {
            assert_eq!(beside(Path::new(key)), Path::new("/k/id_ed25519_sk-cert.pub"));
        }
        assert_eq!(beside(Path::new("/k/my.key")), Path::new("/k/my.key-cert.pub"));
    }
}
