//! From a wish to get on a host to a certificate that ssh can use: ask, check, hand to the ssh-agent or to a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use ssh_key::private::Ed25519Keypair;
use ssh_key::public::KeyData;
use ssh_key::{PrivateKey, PublicKey};
use wire::api::{CertificateAsk, CertificateReply, HostView};
use wire::certificate::Certificate;
use wire::identifier::{Address, HostName, Login, Principal, RoleName};
use wire::options::Wishes;
use wire::time::Timestamp;
use zeroize::Zeroizing;

use crate::client::Client;
use crate::duration::Span;
use crate::home::{Home, Learned};
use crate::identity_file::IdentityFile;
use crate::login_key;
use crate::ssh_agent::SshAgent;

/// Who wants to be whom, where, and on what terms.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// The host.
    pub(crate) host: HostName,
    /// The account.
    pub(crate) login: Login,
    /// The role, when several fit.
    pub(crate) role: Option<RoleName>,
    /// For how long.
    pub(crate) span: Option<Span>,
    /// What to leave out of what the role allows.
    pub(crate) wishes: Wishes,
    /// Why.
    pub(crate) reason: Option<String>,
}

/// A key of the person's own that is to be certified.
#[derive(Debug)]
pub(crate) struct OwnKey {
    public: PublicKey,
    /// The private half's file; none when only an ssh-agent has it.
    private_path: Option<PathBuf>,
}

impl OwnKey {
    /// The key at `path`, either half's file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path).context("--key is no path")?;
        let public = login_key::public_half(&path)?;
        let private_path = Some(login_key::private_path(&path)).filter(|path| path.exists());
        Ok(Self { public, private_path })
    }

    /// What is certified.
    pub(crate) const fn public(&self) -> &PublicKey {
        &self.public
    }
}

/// A certificate that is in place.
#[derive(Debug)]
pub(crate) struct Issued {
    /// Where ssh finds it.
    pub(crate) identity: IdentityFile,
    /// What the authority said of it.
    pub(crate) reply: CertificateReply,
    /// Why the private half is in a file and not in an ssh-agent, when it is.
    pub(crate) in_file_because: Option<String>,
    /// Why certificates from before are still in the ssh-agent, when they are.
    pub(crate) kept_because: Option<String>,
}

/// Finds the host that is called `name`, by its own name or by an address.
pub(crate) fn find_host<'a>(hosts: &'a [HostView], name: &Address) -> Option<&'a HostView> {
    let by_name = hosts.iter().find(|host| host.name.as_str() == name.as_str());
    by_name.or_else(|| hosts.iter().find(|host| host.addresses.contains(name)))
}

/// The host's own name as an address, which it always is.
pub(crate) fn as_address(host: &HostName) -> Result<Address> {
    Ok(Address::try_new(host.as_str())?)
}

/// Asks for a new certificate and puts it in place.
pub(crate) fn issue(
    client: &mut Client,
    home: &Home,
    wish: &Wish,
    now: Timestamp,
) -> Result<Issued> {
    let pair = new_pair()?;
    let public = PublicKey::from(KeyData::from(pair.public));
    let (certificate, reply) = certify(client, &public, wish)?;
    let identity = IdentityFile::of(&home.identity_dir(), &wish.login, &as_address(&wish.host)?);
    let in_file_because = match hand_to_agent(&pair, &certificate, wish, now)? {
        Handed::Yes => None,
        Handed::No(reason) => Some(reason),
    };
    let private = in_file_because.is_some().then(|| PrivateKey::from(pair));
    identity.put(&certificate, private.as_ref())?;
    let kept_because = forget_former(&certificate, wish, now);
    Ok(Issued { identity, reply, in_file_because, kept_because })
}

/// Asks for a certificate over a key of the person's own and puts it in place; the key stays where it is.
pub(crate) fn issue_over(
    client: &mut Client,
    home: &Home,
    (wish, own): (&Wish, &OwnKey),
    now: Timestamp,
) -> Result<Issued> {
    let (certificate, reply) = certify(client, &own.public, wish)?;
    let identity = IdentityFile::of(&home.identity_dir(), &wish.login, &as_address(&wish.host)?);
    identity.put(&certificate, None)?;
    if let Some(path) = &own.private_path {
        identity.link(path)?;
    }
    let kept_because = forget_former(&certificate, wish, now);
    Ok(Issued { identity, reply, in_file_because: None, kept_because })
}

/// Asks for a certificate over `public`, and checks that it is what was asked for.
pub(crate) fn certify(
    client: &mut Client,
    public: &PublicKey,
    wish: &Wish,
) -> Result<(Certificate, CertificateReply)> {
    let ask = CertificateAsk {
        public_key: public.to_openssh()?,
        host: as_address(&wish.host)?,
        login: wish.login.clone(),
        role: wish.role.clone(),
        duration_secs: wish.span.map(Span::secs),
        wishes: wish.wishes.clone(),
        reason: wish.reason.clone(),
    };
    let reply: CertificateReply = client.post("/v1/certificates", &ask)?;
    let certificate = check(&reply, public, wish)?;
    Ok((certificate, reply))
}

/// The certificate from before, when it is good for a while and its key can still be used.
pub(crate) fn reusable(home: &Home, wish: &Wish, now: Timestamp) -> Result<Option<IdentityFile>> {
    let identity = IdentityFile::of(&home.identity_dir(), &wish.login, &as_address(&wish.host)?);
    let Some(certificate) = identity.certificate() else { return Ok(None) };
    if !lasts(&certificate, now) || !is_believed(&certificate, &home.learned()?) {
        return Ok(None);
    }
    let usable = identity.has_private()
        || match SshAgent::of_environment() {
            Ok(Some(mut agent)) => agent.holds_key_of(&certificate).unwrap_or(false),
            Ok(None) | Err(_) => false,
        };
    Ok(usable.then_some(identity))
}

/// Hosts believe who signed it, as far as the authority last said: a key may have been retired since it was signed.
fn is_believed(certificate: &Certificate, learned: &Option<Learned>) -> bool {
    let believed = learned.iter().flat_map(|learned| &learned.user_authorities);
    let mut keys = believed.filter_map(|line| PublicKey::from_openssh(line).ok());
    keys.any(|key| key.key_data() == certificate.authority())
}

/// More than a minute and more than a third of its life are left.
fn lasts(certificate: &Certificate, now: Timestamp) -> bool {
    let left = certificate.valid_before().saturating_sub(now.secs());
    let life = certificate.valid_before().saturating_sub(certificate.valid_after());
    left > LEAST_LEFT.as_secs() && left > life / 3
}

/// The authority is trusted to decide; that it answered what was asked is checked all the same.
fn check(reply: &CertificateReply, public: &PublicKey, wish: &Wish) -> Result<Certificate> {
    let certificate = Certificate::from_openssh(&reply.certificate)
        .context("the authority's certificate cannot be read")?;
    let principal = Principal::of(&wish.login, &wish.host)?;
    if certificate.subject() != public.key_data() {
        bail!("the authority certified another key than ours; the certificate is thrown away");
    }
    let wanted = principal.as_str().as_bytes();
    if !certificate.principals().iter().any(|name| name.as_bytes() == wanted) {
        bail!("the authority's certificate is not for {principal}; it is thrown away");
    }
    Ok(certificate)
}

enum Handed {
    Yes,
    No(String),
}

fn hand_to_agent(
    pair: &Ed25519Keypair,
    certificate: &Certificate,
    wish: &Wish,
    now: Timestamp,
) -> Result<Handed> {
    let left = certificate.valid_before().saturating_sub(now.secs());
    if left == 0 {
        bail!(
            "the certificate ended before it came; this machine's clock is ahead of the authority's, set it right"
        );
    }
    let lifetime = u32::try_from(left).unwrap_or(u32::MAX);
    let comment = comment(wish);
    let added = match SshAgent::of_environment() {
        Ok(None) => {
            return Ok(Handed::No("no ssh-agent is running (SSH_AUTH_SOCK is not set)".into()));
        }
        Ok(Some(mut agent)) => agent.add(pair, certificate, &comment, lifetime),
        Err(error) => Err(error),
    };
    Ok(added.map_or_else(|error| Handed::No(error.to_string()), |()| Handed::Yes))
}

/// Takes from the ssh-agent what `certificate` replaces; why not, when that fails. It is no reason to fail: the agent
/// forgets it at its end in any case.
fn forget_former(certificate: &Certificate, wish: &Wish, now: Timestamp) -> Option<String> {
    let forgotten = match SshAgent::of_environment() {
        Ok(None) => return None,
        Ok(Some(mut agent)) => {
            let before = now.before(LOGIN_UNDER_WAY).secs();
            agent.forget_former(&comment(wish), certificate, before)
        }
        Err(error) => Err(error),
    };
    forgotten.err().map(|error| error.to_string())
}

/// What a key of ours is called in an ssh-agent.
fn comment(wish: &Wish) -> String {
    format!("curfew {}@{}", wish.login, wish.host)
}

fn new_pair() -> Result<Ed25519Keypair> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)
        .map_err(|error| anyhow!("the system gives no randomness: {error}"))?;
    Ok(Ed25519Keypair::from_seed(&seed))
}

/// ssh needs a moment to connect, and a person to type.
const LEAST_LEFT: Duration = Duration::from_secs(60);

/// An ssh that began with the certificate from before may still be logging in, for the two minutes that sshd gives it
/// (`LoginGraceTime`); certificates begin half a minute before they are made.
const LOGIN_UNDER_WAY: Duration = Duration::from_secs(150);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::tests::fresh;
    use crate::ssh_agent::tests::{authority, certified};

    fn wish() -> Wish {
        Wish {
            host: "db1".parse().unwrap(),
            login: "app".parse().unwrap(),
            role: None,
            span: None,
            wishes: Wishes::default(),
            reason: None,
        }
    }

    fn learned(authority: &PrivateKey) -> Learned {
        let user_authorities = vec![authority.public_key().to_openssh().unwrap()];
        Learned { asked: Timestamp::from_secs(1), user_authorities }
    }

    fn reply(certificate: &Certificate) -> CertificateReply {
        CertificateReply {
            certificate: certificate.to_openssh(),
            serial: wire::identifier::Serial::try_new(7).unwrap(),
            grant: "g1".parse().unwrap(),
            host: "db1".parse().unwrap(),
            valid_before: Timestamp::from_secs(1_000),
            grant_until: Timestamp::from_secs(1_000),
        }
    }

    #[test]
    fn a_certificate_for_another_key_or_place_is_thrown_away() {
        let (pair, certificate) = certified(5, 1_000);
        let ours = PublicKey::from(KeyData::from(pair.public));
        assert!(check(&reply(&certificate), &ours, &wish()).is_ok());
        let other = PublicKey::from(KeyData::from(certified(6, 1_000).0.public));
        assert!(check(&reply(&certificate), &other, &wish()).is_err());
        let elsewhere = Wish { login: "root".parse().unwrap(), ..wish() };
        assert!(check(&reply(&certificate), &ours, &elsewhere).is_err());
    }

    #[test]
    fn a_certificate_serves_again_while_a_minute_and_a_third_of_its_life_are_left() {
        let at = |secs| lasts(&certified(5, 900).1, Timestamp::from_secs(secs));
        assert!(at(599));
        assert!(!at(600), "a third is left");
        assert!(!at(2_000));
        let short = |secs| lasts(&certified(5, 100).1, Timestamp::from_secs(secs));
        assert!(short(39));
        assert!(!short(40), "a minute is left");
    }

    #[test]
    fn a_certificate_whose_key_nobody_has_does_not_serve_again() {
        let (_guard, home) = fresh();
        let (pair, certificate) = certified(5, 10_000);
        let identity =
            IdentityFile::of(&home.identity_dir(), &wish().login, &"db1".parse().unwrap());
        identity.put(&certificate, None).unwrap();
        home.keep_learned(&learned(&authority())).unwrap();
        assert!(reusable(&home, &wish(), Timestamp::from_secs(1)).unwrap().is_none());
        identity.put(&certificate, Some(&PrivateKey::from(pair))).unwrap();
        assert_eq!(reusable(&home, &wish(), Timestamp::from_secs(1)).unwrap(), Some(identity));
    }

    #[test]
    fn a_certificate_that_hosts_no_longer_believe_does_not_serve_again() {
        let (_guard, home) = fresh();
        let (pair, certificate) = certified(5, 10_000);
        let identity =
            IdentityFile::of(&home.identity_dir(), &wish().login, &"db1".parse().unwrap());
        identity.put(&certificate, Some(&PrivateKey::from(pair.clone()))).unwrap();
        let serves = || reusable(&home, &wish(), Timestamp::from_secs(1)).unwrap().is_some();
        assert!(!serves(), "nobody said whom hosts believe");
        home.keep_learned(&learned(&PrivateKey::from(pair))).unwrap();
        assert!(!serves(), "its authority is retired");
        home.keep_learned(&learned(&authority())).unwrap();
        assert!(serves());
    }

    #[test]
    fn what_was_learned_serves_for_a_minute_and_no_longer_when_the_clock_was_set_back() {
        let old = |secs| learned(&authority()).is_old(Timestamp::from_secs(secs));
        assert!(!old(60));
        assert!(old(61));
        assert!(old(0));
    }
}
