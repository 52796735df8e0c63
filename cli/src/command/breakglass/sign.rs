//! `curfew breakglass sign`: a custodian reads what is asked for, agrees, and goes through two rounds with the others.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use breakglass::keygen::Taken;
use breakglass::letter::Kind;
use breakglass::request::Request;
use breakglass::sign::{Committed, Responded, Signed};
use rand_core::OsRng;
use wire::identifier::Custodian;

use super::exchange::{self, Takes, Way};
use super::secret::Passphrase;
use super::show;
use crate::clock;
use crate::exit::Exit;
use crate::file;
use crate::render::{Screen, Tone};

/// Sign a request, together with the other custodians who are named in it
///
/// Shows in words what is signed, and asks. Then commitments pass between the custodians, then signatures; each program puts the
/// certificate together by itself. What is interrupted is begun anew: nothing of it can be used.
#[derive(Debug, clap::Args)]
pub(crate) struct Sign {
    /// Your share
    #[arg(long, value_name = "FILE")]
    share: PathBuf,
    /// The request
    #[arg(long, value_name = "FILE", default_value = "request.txt")]
    request: PathBuf,
    /// Agree to the request of this code, as `show` prints it, without being asked
    #[arg(long, value_name = "CODE")]
    agree: Option<String>,
    /// Where to put the certificate (default: beside the request)
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Where to keep the receipt (default: beside your share)
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    passphrase: Passphrase,
}

impl Sign {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        self.way.check()?;
        let request = Request::read(&exchange::read(&self.request)?)
            .with_context(|| format!("{} is no request", self.request.display()))?;
        let share = self.passphrase.open(&self.share)?;
        request.fits(share.group())?;
        request.timely(share.group(), clock::now())?;
        show::request(&request, screen)?;
        let plain = |code: &str| code.replace(' ', "").to_ascii_uppercase();
        let agreed = self.agree.as_deref().map(|code| plain(code) == plain(&request.code()));
        let question = format!("do you, {}, sign this?", share.name());
        self.way.confirm(&question, agreed, "--agree CODE")?;
        let (mut committed, letter) = Committed::commit(&share, &request, &mut OsRng)?;
        self.way.give(share.name(), &letter, screen)?;
        self.way.collect(Kind::Commitment, &mut committed, screen)?;
        let (mut responded, letter) = committed.respond()?;
        self.way.give(share.name(), &letter, screen)?;
        self.way.collect(Kind::Signature, &mut responded, screen)?;
        let signed = responded.finish()?;
        self.release(&request, &signed, screen)?;
        Ok(Exit::Done)
    }

    fn release(&self, request: &Request, signed: &Signed, screen: &Screen) -> Result<()> {
        let serial = request.serial();
        let beside = |path: &Path, name: String| path.with_file_name(name);
        let receipt = self.receipt.clone();
        let receipt =
            receipt.unwrap_or_else(|| beside(&self.share, format!("receipt-{serial}.txt")));
        exchange::write(&receipt, &signed.receipt.letter()?)?;
        let certificate = self.certificate.clone();
        let certificate =
            certificate.unwrap_or_else(|| self.request.with_extension("key-cert.pub"));
        let line = signed.certificate.to_openssh();
        file::write(&certificate, format!("{line}\n").as_bytes(), file::PUBLIC)
            .with_context(|| format!("cannot write {}", certificate.display()))?;
        screen.toned(Tone::Good, &format!("signed: {}", certificate.display()))?;
        screen.line(&line)?;
        screen
            .line(&format!("your receipt: {}; keep it: it proves who signed", receipt.display()))?;
        let (login, host) = (&request.terms().login, request.terms().hosts.first());
        let host = host.map(ToString::to_string).unwrap_or_default();
        screen.line(&format!(
            "where the key is: ssh -i KEY -o CertificateFile={} {login}@{host}",
            certificate.file_name().map(|name| name.to_string_lossy()).unwrap_or_default()
        ))
    }
}

impl Takes for Committed<'_> {
    fn take(&mut self, text: &str) -> Result<Taken> {
        Ok(Committed::take(self, text)?)
    }

    fn missing(&self) -> Vec<Custodian> {
        Committed::missing(self)
    }
}

impl Takes for Responded {
    fn take(&mut self, text: &str) -> Result<Taken> {
        Ok(Self::take(self, text)?)
    }

    fn missing(&self) -> Vec<Custodian> {
        Self::missing(self)
    }
}
