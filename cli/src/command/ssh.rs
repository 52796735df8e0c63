//! `curfew ssh`: a certificate for one account on one host, then the real ssh, and why it was refused when it was.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use wire::api::{CertificateReply, HostView};
use wire::identifier::{Address, Login, RoleName};
use wire::octets::plain;
use wire::options::Wishes;
use wire::time::Timestamp;

use super::attempts;
use super::login::learn_hosts;
use crate::client::Client;
use crate::clock;
use crate::duration::Span;
use crate::exit::{Exit, Fault};
use crate::home::{Home, Learned};
use crate::identity_file::{self, IdentityFile};
use crate::issue::{self, Issued, OwnKey, Wish, as_address, find_host};
use crate::narrow::Narrow;
use crate::render::{Screen, moment};
use crate::ssh_config::word;

mod child;

/// Get on a host
///
/// Asks for a certificate, hands it to your ssh-agent for as long as it lives (or, without an agent, to a file), and
/// runs `ssh`. What stands after `--` is given to ssh as if it stood after the host: options, then a command. The exit code is
/// ssh's; when the host refused the certificate, the reason is asked for and said.
#[derive(Debug, clap::Args)]
pub(crate) struct Ssh {
    /// Where, and as whom
    #[arg(value_name = "[LOGIN@]HOST", required_unless_present = "prepare")]
    destination: Option<String>,
    /// A key of your own to certify (either half), instead of a new one for each certificate: a security key, say
    #[arg(long, value_name = "PATH")]
    key: Option<PathBuf>,
    /// Only get the certificate ready: what ssh's `Match exec` calls. Exits 1 for a host that is not Curfew's
    #[arg(
        long,
        num_args = 2,
        value_names = ["HOST", "LOGIN"],
        allow_hyphen_values = true,
        conflicts_with_all = ["destination", "key", "Terms", "Narrow", "rest"]
    )]
    prepare: Option<Vec<OsString>>,
    #[command(flatten)]
    terms: Terms,
    /// Options and a command for ssh
    #[arg(last = true, value_name = "SSH ARGUMENTS")]
    rest: Vec<OsString>,
}

/// On what terms; each only narrows what the role allows.
#[derive(Debug, clap::Args)]
pub(crate) struct Terms {
    /// For how long, such as 20s or 1h30m; only shortens what the role allows
    #[arg(long = "for", value_name = "SPAN")]
    span: Option<Span>,
    /// Under which role, when several fit
    #[arg(long)]
    role: Option<RoleName>,
    /// Why; kept with the grant
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    narrow: Narrow,
}

impl Terms {
    /// Whether the words make sense, before anybody is asked about them.
    pub(crate) fn check(&self, destination: &str) -> Result<Checked<'_>> {
        let (login, name) = parse(destination)?;
        Ok(Checked { terms: self, login, name, wishes: self.narrow.wishes()? })
    }
}

/// What was typed, understood.
pub(crate) struct Checked<'a> {
    terms: &'a Terms,
    login: Option<Login>,
    name: Address,
    wishes: Wishes,
}

impl Checked<'_> {
    /// What is wished for, and where the host is reached.
    pub(crate) fn wish(self, client: &mut Client, home: &Home) -> Result<(Wish, Address)> {
        let Self { terms, login, name, wishes } = self;
        let host = known_host(client, home, &name)?;
        let login = match login {
            Some(login) => login,
            None => usual_login(&host)?,
        };
        let address = host.addresses.first().cloned().map_or_else(|| as_address(&host.name), Ok)?;
        let wish = Wish {
            host: host.name,
            login,
            role: terms.role.clone(),
            span: terms.span,
            wishes,
            reason: terms.reason.clone(),
        };
        Ok((wish, address))
    }
}

impl Ssh {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        match (&self.prepare, &self.destination) {
            (Some(words), _) => match words.as_slice() {
                [host, login] => prepare(host, login, screen),
                _ => Ok(Exit::Usage),
            },
            (None, Some(destination)) => self.connect(destination, screen),
            (None, None) => Ok(Exit::Usage),
        }
    }

    fn connect(&self, destination: &str, screen: &Screen) -> Result<Exit> {
        let checked = self.terms.check(destination)?;
        let own = self.key.as_deref().map(OwnKey::read).transpose()?;
        let home = Home::find()?;
        let mut client = Client::of(&home)?;
        // The authority is asked for a certificate anyhow: whom hosts prove themselves by is asked with it.
        learn_hosts(&mut client, &home)?;
        let (wish, address) = checked.wish(&mut client, &home)?;
        enter(client, &home, ((&wish, &address), own.as_ref(), self.rest.as_slice()), screen)
    }
}

/// What is wished for and where it is reached; a key of one's own; and what is for ssh.
pub(super) type Going<'a> = ((&'a Wish, &'a Address), Option<&'a OwnKey>, &'a [OsString]);

/// Gets a certificate and runs ssh with it.
pub(super) fn enter(
    mut client: Client,
    home: &Home,
    ((wish, address), own, rest): Going<'_>,
    screen: &Screen,
) -> Result<Exit> {
    let issued = fresh(&mut client, home, (wish, own), screen)?;
    // Its threads end with it: signals are waited for while ssh runs.
    drop(client);
    let began = clock::now();
    let mut ssh = ssh(home, &issued.identity, (wish, address), rest)?;
    match child::run(&mut ssh)? {
        child::Ended::Code(SSH_FAILED) => {
            say_why(home, &issued.reply, began, screen);
            Ok(Exit::Ssh(SSH_FAILED))
        }
        child::Ended::Code(code) => Ok(Exit::Ssh(code)),
        // As a shell says it.
        child::Ended::Signal(signal) => {
            Ok(Exit::Ssh(u8::try_from(signal).unwrap_or_default().saturating_add(128)))
        }
    }
}

/// Says why the host refused the certificate, if it did; ssh's own words stand above it.
fn say_why(home: &Home, reply: &CertificateReply, began: Timestamp, screen: &Screen) {
    // The authority's clock and ours may differ a little.
    let since = began.before(SKEW);
    let asked = Client::of(home)
        .and_then(|mut client| attempts::why(&mut client, (reply.serial.number(), since)));
    match asked {
        Ok(Some(attempt)) => screen.note(&format!(
            "curfew: {} refused certificate {}: {}",
            attempt.host,
            reply.serial,
            plain(&attempt.reason)
        )),
        // It failed for another reason, which ssh has said.
        Ok(None) => {}
        Err(error) => screen.note(&format!("curfew: why it failed cannot be asked: {error:#}")),
    }
}

/// Gets a certificate ready for `ssh HOST` as `LOGIN`. Anything that is not a host of ours is none of our business: no
/// output, no network.
fn prepare(host: &OsStr, login: &OsStr, screen: &Screen) -> Result<Exit> {
    let named = host.to_str().and_then(|text| Address::try_new(text.to_ascii_lowercase()).ok());
    let login = login.to_str().and_then(|text| Login::try_new(text).ok());
    let (Some(name), Some(login)) = (named, login) else { return Ok(Exit::Failure) };
    if std::env::var_os(PREPARED).is_some_and(|done| done.to_str() == Some(&mark(&login, &name))) {
        return Ok(Exit::Failure);
    }
    let home = Home::find()?;
    let hosts = home.hosts()?;
    let Some(host) = find_host(&hosts, &name) else { return Ok(Exit::Failure) };
    home.create()?;
    let guard = identity_file::lock(&home.identity_dir())?;
    let wish = Wish {
        host: host.name.clone(),
        login,
        role: None,
        span: None,
        wishes: Wishes::default(),
        reason: None,
    };
    let mut client = keep_up(&home, screen)?;
    // The authority says why not, where ssh would only find no host authority for it.
    let in_reach = home.hosts()?.iter().any(|host| host.name == wish.host);
    let kept = issue::reusable(&home, &wish, clock::now())?.filter(|_kept| in_reach);
    let identity = match kept {
        Some(identity) => identity,
        None => {
            let client = match &mut client {
                Some(client) => client,
                none => none.insert(Client::of(&home)?),
            };
            issue(client, &home, (&wish, None), screen)?.identity
        }
    };
    identity.mirror(&IdentityFile::of(&home.identity_dir(), &wish.login, &name))?;
    drop(guard);
    Ok(Exit::Done)
}

/// Asks what has changed at the authority, when the last time is a while ago. Without an answer what was known serves for
/// as long again: a certificate that is good opens its host also while the authority is away.
fn keep_up(home: &Home, screen: &Screen) -> Result<Option<Client>> {
    let now = clock::now();
    let learned = home.learned()?;
    if learned.as_ref().is_some_and(|learned| !learned.is_old(now)) {
        return Ok(None);
    }
    let asked = Client::of(home).and_then(|mut client| {
        learn_hosts(&mut client, home)?;
        Ok(client)
    });
    match asked {
        Ok(client) => Ok(Some(client)),
        Err(error) => {
            screen
                .note(&format!("curfew: {error:#}; going on with what the authority said before"));
            if let Some(learned) = learned {
                home.keep_learned(&Learned { asked: now, ..learned })?;
            }
            Ok(None)
        }
    }
}

fn fresh(
    client: &mut Client,
    home: &Home,
    (wish, own): (&Wish, Option<&OwnKey>),
    screen: &Screen,
) -> Result<Issued> {
    home.create()?;
    let guard = identity_file::lock(&home.identity_dir())?;
    let issued = issue(client, home, (wish, own), screen)?;
    drop(guard);
    Ok(issued)
}

fn issue(
    client: &mut Client,
    home: &Home,
    (wish, own): (&Wish, Option<&OwnKey>),
    screen: &Screen,
) -> Result<Issued> {
    let now = clock::now();
    identity_file::sweep(&home.identity_dir(), now)?;
    let issued = match own {
        Some(own) => issue::issue_over(client, home, (wish, own), now)?,
        None => issue::issue(client, home, wish, now)?,
    };
    let until = moment::relative(issued.reply.grant_until, clock::now());
    screen.note(&format!(
        "curfew: {}@{}, certificate {}, grant {}; the session ends {until}",
        wish.login, wish.host, issued.reply.serial, issued.reply.grant
    ));
    if let Some(reason) = &issued.kept_because {
        screen.note(&format!(
            "curfew: certificates from before stay in the ssh-agent until they end: {reason}"
        ));
    }
    if let Some(reason) = &issued.in_file_because {
        screen.note(&format!(
            "curfew: {reason}; the key is in {} until then",
            issued.identity.private_path().display()
        ));
    }
    Ok(issued)
}

pub(super) fn known_host(client: &mut Client, home: &Home, name: &Address) -> Result<HostView> {
    if let Some(host) = find_host(&home.hosts()?, name) {
        return Ok(host.clone());
    }
    let hosts = learn_hosts(client, home)?;
    let host = find_host(&hosts, name).cloned();
    host.with_context(|| format!("{name} is no host that you may enter; see `curfew hosts`"))
}

/// The person's own name where it is a login there, else the only login there is.
pub(super) fn usual_login(host: &HostView) -> Result<Login> {
    let mut logins: Vec<&Login> = host.logins.iter().map(|each| &each.login).collect();
    logins.sort();
    logins.dedup();
    let user =
        nix::unistd::User::from_uid(nix::unistd::geteuid()).context("cannot tell who you are")?;
    if let Some(own) =
        user.and_then(|user| logins.iter().find(|login| login.as_str() == user.name).copied())
    {
        return Ok(own.clone());
    }
    let name = &host.name;
    match logins.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(Fault::Usage(format!(
            "you may not enter {name} as anybody; ask your operator for a role"
        ))
        .into()),
        several => {
            let list: Vec<String> = several.iter().map(|login| format!("{login}@{name}")).collect();
            Err(Fault::Usage(format!("as whom? write one of {}", list.join(", "))).into())
        }
    }
}

/// Splits `login@host`.
fn parse(destination: &str) -> Result<(Option<Login>, Address), Fault> {
    let refuse = |error: wire::identifier::NameError| Fault::Usage(error.to_string());
    let (login, host) = match destination.rsplit_once('@') {
        Some((login, host)) => (Some(login.parse().map_err(refuse)?), host),
        None => (None, destination),
    };
    Ok((login, Address::try_new(host.to_ascii_lowercase()).map_err(refuse)?))
}

/// ssh, with everything that it is told.
fn ssh(
    home: &Home,
    identity: &IdentityFile,
    (wish, address): (&Wish, &Address),
    rest: &[OsString],
) -> Result<Command> {
    let mut ssh = Command::new("ssh");
    let options = [
        format!("IdentityFile=\"{}\"", word(identity.private_path())?),
        format!("CertificateFile=\"{}\"", word(&identity.certificate_path())?),
        "IdentitiesOnly=yes".to_owned(),
        "IdentityAgent=SSH_AUTH_SOCK".to_owned(),
        format!("UserKnownHostsFile=\"{}\"", word(&home.known_hosts_path())?),
        // Without these ssh would offer to believe a plain host key where the certificate fails.
        "StrictHostKeyChecking=yes".to_owned(),
        "UpdateHostKeys=no".to_owned(),
        format!("HostKeyAlias={}", wish.host),
        format!("HostName={address}"),
    ];
    for option in options {
        ssh.arg("-o").arg(option);
    }
    ssh.arg("-l").arg(wish.login.as_str()).arg(wish.host.as_str()).args(rest);
    ssh.env(PREPARED, mark(&wish.login, address));
    Ok(ssh)
}

fn mark(login: &Login, address: &Address) -> String {
    format!("{login}@{address}")
}

/// Tells `--prepare`, asked by the ssh that we started, that its certificate is in place already.
const PREPARED: &str = "CURFEW_PREPARED";
/// What ssh ends with when it is ssh that failed, and not the command.
const SSH_FAILED: u8 = 255;
/// How far our clock may be ahead of the authority's.
const SKEW: std::time::Duration = std::time::Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use wire::api::LoginView;

    fn host(logins: &[&str]) -> HostView {
        HostView {
            name: "db1".parse().unwrap(),
            addresses: vec!["10.0.0.5".parse().unwrap()],
            labels: vec![],
            logins: logins
                .iter()
                .map(|login| LoginView {
                    login: login.parse().unwrap(),
                    role: "deploy".parse().unwrap(),
                })
                .collect(),
            seen: None,
            tier: None,
            connected: true,
            last_order: 0,
            krl: None,
            certificate_until: None,
            certificate_problem: None,
        }
    }

    #[test]
    fn the_only_login_needs_no_name_and_several_do() {
        assert_eq!(usual_login(&host(&["nobody-else"])).unwrap().as_str(), "nobody-else");
        assert_eq!(usual_login(&host(&["app-x", "app-x"])).unwrap().as_str(), "app-x");
        let error = usual_login(&host(&["app-x", "app-y"])).unwrap_err();
        assert_eq!(error.to_string(), "as whom? write one of app-x@db1, app-y@db1");
        assert!(usual_login(&host(&[])).is_err());
    }

    #[test]
    fn a_destination_is_a_login_and_a_host_and_nothing_else() {
        let (login, name) = parse("app@DB1").unwrap();
        assert_eq!((login.unwrap().as_str(), name.as_str()), ("app", "db1"));
        assert!(parse("db1").unwrap().0.is_none());
        for text in ["", "@db1", "app@", "-oProxyCommand=x", "app@-oX", "a b@db1", "app@db1;id"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
