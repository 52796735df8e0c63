//! `curfew login`: pin the authority the first time, prove who you are with an SSH key, learn the hosts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use wire::api::{Authority, Challenge, ChallengeAsk, HostView, LoginAsk, Token};
use wire::identifier::{Fingerprint, Identity};
use wire::identity::Method;
use wire::login::{
    Flow, Known, OidcAnswer, OidcBegin, OidcBegun, OidcFinish, WorkloadAsk, message,
};
use wire::octets::plain;
use wire::problem::Code;

use crate::client::Client;
use crate::clock;
use crate::exit::{Exit, Fault};
use crate::file;
use crate::first_contact;
use crate::home::{Home, Learned, Membership};
use crate::login_key::LoginKey;
use crate::render::{Screen, Tone, count, moment};
use crate::ssh_agent::SshAgent;
use crate::ssh_config::{self, Installed};
use crate::url::Url;

/// Log in with an SSH key, through an identity provider, or as a job
///
/// The first time, name the authority, its fingerprint and yourself; later `curfew login` is enough. The key is a file,
/// or is held by your ssh-agent; an encrypted key's passphrase is asked on the terminal.
#[derive(Debug, clap::Args)]
pub(crate) struct Login {
    /// Where the authority is, such as <https://ca.example.com:7442>
    #[arg(long, value_name = "URL", requires = "fingerprint")]
    ca: Option<Url>,
    /// The fingerprint of the authority's root, as your operator gave it to you
    #[arg(long, value_name = "SHA256:…", requires = "ca")]
    fingerprint: Option<Fingerprint>,
    /// Who you are there, such as ana@example.com
    #[arg(long)]
    identity: Option<Identity>,
    /// The SSH key to prove it with (either half; default: your ssh-agent's keys, then ~/.ssh)
    #[arg(long, value_name = "PATH")]
    key: Option<PathBuf>,
    /// Log in through your organisation's identity provider, in a browser on any device
    #[arg(long, conflicts_with_all = ["identity", "key"])]
    oidc: bool,
    /// Log in as a job, with the token in this file, which its pipeline's issuer signed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "oidc"])]
    workload_token_file: Option<PathBuf>,
    /// Add the line to ~/.ssh/config that makes plain `ssh` use Curfew
    #[arg(long)]
    install_ssh_config: bool,
}

impl Login {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let home = Home::find()?;
        let mut membership = self.membership(&home)?;
        let mut client = Client::stranger(&membership)?;
        let authority = meet(&mut client, &membership)?;
        let token = self.prove(&mut client, &mut membership, screen)?;
        home.create()?;
        home.keep_membership(&membership)?;
        home.keep_session(&token)?;
        let until = moment::relative(token.expires, clock::now());
        client.become_known(token);
        let hosts = learn_hosts_of(&mut client, &home, &authority)?;
        screen.toned(
            Tone::Good,
            &format!("Logged in as {}; the login ends {until}.", membership.identity),
        )?;
        let reach = count(u64::try_from(hosts.len()).unwrap_or(u64::MAX), "host");
        screen.line(&format!("{reach} within reach; see `curfew hosts`."))?;
        offer_ssh_config(&home, self.install_ssh_config, screen)?;
        Ok(Exit::Done)
    }

    /// Proves who it is, in the way that was asked for; another's word says as whom, too.
    fn prove(
        &self,
        client: &mut Client,
        membership: &mut Membership,
        screen: &Screen,
    ) -> Result<Token> {
        let known = match &self.workload_token_file {
            Some(path) => by_workload(client, path, self.identity.clone())?,
            None if self.oidc => by_oidc(client, screen)?,
            None => return prove(client, membership, screen),
        };
        membership.identity = known.identity;
        Ok(known.token)
    }

    /// The authority named now, or the one from before with what is named now.
    fn membership(&self, home: &Home) -> Result<Membership> {
        let before = home.known_membership()?;
        let key = match &self.key {
            Some(path) => Some(std::path::absolute(path).context("--key is no path")?),
            None => before.as_ref().and_then(|before| before.key.clone()),
        };
        let identity =
            self.identity.clone().or_else(|| before.as_ref().map(|before| before.identity.clone()));
        let (Some(url), Some(fingerprint)) = (&self.ca, &self.fingerprint) else {
            let before = home.membership()?;
            let identity = identity.unwrap_or(before.identity);
            return Ok(Membership { identity, key, ..before });
        };
        // Whoever lets another say who they are is told afterwards.
        let is_told = self.oidc || self.workload_token_file.is_some();
        let identity = match identity {
            None if is_told => Identity::try_new("unknown")?,
            other => other.ok_or_else(|| {
                Fault::Usage(
                    "who are you there? add --identity, such as --identity ana@example.com".into(),
                )
            })?,
        };
        let root = first_contact::root(url, fingerprint)?;
        Ok(Membership { url: url.clone(), fingerprint: fingerprint.clone(), root, identity, key })
    }
}

/// Asks for the hosts and keeps what ssh and `--prepare` need of them.
pub(crate) fn learn_hosts(client: &mut Client, home: &Home) -> Result<Vec<HostView>> {
    let authority = meet(client, &home.membership()?)?;
    learn_hosts_of(client, home, &authority)
}

fn learn_hosts_of(
    client: &mut Client,
    home: &Home,
    authority: &Authority,
) -> Result<Vec<HostView>> {
    let hosts: Vec<HostView> = client.get("/v1/hosts")?;
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let known_hosts = ssh_config::known_hosts(authority, &hosts)?;
    let snippet = ssh_config::snippet(home, &program, &hosts)?;
    home.keep_hosts(&hosts)?;
    let user_authorities = authority.user_authorities.clone();
    home.keep_learned(&Learned { asked: clock::now(), user_authorities })?;
    file::write(&home.known_hosts_path(), known_hosts.as_bytes(), file::PUBLIC)
        .context("cannot write known_hosts")?;
    file::write(&home.ssh_config_path(), snippet.as_bytes(), file::PUBLIC)
        .context("cannot write ssh_config")?;
    Ok(hosts)
}

fn meet(client: &mut Client, membership: &Membership) -> Result<Authority> {
    let authority: Authority = client.get("/v1/authority")?;
    if authority.version != wire::VERSION {
        bail!(
            "the authority speaks version {}, this curfew version {}; install the curfew that came with the authority",
            authority.version,
            wire::VERSION
        );
    }
    if authority.fingerprint != membership.fingerprint {
        bail!(
            "the authority calls itself {}, but {} was pinned; log in with its new --ca and --fingerprint",
            authority.fingerprint,
            membership.fingerprint
        );
    }
    Ok(authority)
}

/// Logs in once more in the way of before: to show a second factor.
pub(crate) fn again(
    client: &mut Client,
    home: &Home,
    method: Method,
    screen: &Screen,
) -> Result<()> {
    let membership = home.membership()?;
    let mut stranger = Client::stranger(&membership)?;
    let token = match method {
        Method::Oidc => by_oidc(&mut stranger, screen)?.token,
        _ => prove(&mut stranger, &membership, screen)?,
    };
    home.keep_session(&token)?;
    client.become_known(token);
    Ok(())
}

/// Exchanges a job's token.
fn by_workload(client: &mut Client, path: &Path, identity: Option<Identity>) -> Result<Known> {
    let token = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the token in {}", path.display()))?;
    client.post("/v1/login/workload", &WorkloadAsk { token: token.trim().to_owned(), identity })
}

/// Has the person go to the provider with a browser, and asks until they have.
fn by_oidc(client: &mut Client, screen: &Screen) -> Result<Known> {
    let begun: OidcBegun =
        client.post("/v1/login/oidc/begin", &OidcBegin { flow: Flow::Device })?;
    screen.note(&format!("Go with a browser to  {}", plain(&begun.url)));
    if let Some(code) = &begun.code {
        screen.note(&format!("and enter the code    {}", plain(code)));
    }
    if let Some(complete) = &begun.complete {
        screen.note(&format!("or open at once       {}", plain(complete)));
    }
    let mut pause = begun.interval_secs.clamp(1, 60);
    loop {
        client.pause(Duration::from_secs(pause));
        let ask = OidcFinish { handle: begun.handle.clone(), code: None, state: None };
        match client.post("/v1/login/oidc/finish", &ask)? {
            OidcAnswer::Done(known) => return Ok(known),
            OidcAnswer::Pending { interval_secs } => pause = interval_secs.clamp(1, 60),
        }
        if begun.expires <= clock::now() {
            bail!("nobody entered the code in time; run `curfew login --oidc` again");
        }
    }
}

/// Tries each key until one is believed.
fn prove(client: &mut Client, membership: &Membership, screen: &Screen) -> Result<Token> {
    let mut agent = agent(screen);
    let keys = LoginKey::candidates(membership.key.as_deref(), agent.as_mut())?;
    let mut refusals = Vec::new();
    for key in &keys {
        match prove_with(client, membership, key, agent.as_mut()) {
            Ok(token) => return Ok(token),
            Err(error) if is_refusal(&error) => {
                refusals.push(format!("  {}: {error}", key.describe()));
            }
            Err(error) => return Err(error),
        }
    }
    let identity = &membership.identity;
    let problem = wire::problem::Problem::new(
        Code::Denied,
        format!("the authority does not believe that you are {identity}"),
    );
    let advice = format!(
        "none of these keys was accepted:\n{}\nName the enrolled key with --key, or ask your operator to enrol one of them",
        refusals.join("\n")
    );
    Err(anyhow::Error::from(Fault::Refused(problem)).context(advice))
}

fn prove_with(
    client: &mut Client,
    membership: &Membership,
    key: &LoginKey,
    agent: Option<&mut SshAgent>,
) -> Result<Token> {
    let identity = membership.identity.clone();
    let Challenge { challenge, .. } =
        client.post("/v1/login/challenge", &ChallengeAsk { identity: identity.clone() })?;
    let text = message(&membership.fingerprint, &identity, &challenge);
    let signature = key.sign(&text, agent)?;
    client.post("/v1/login", &LoginAsk { identity, challenge, signature })
}

/// An agent that does not answer is said and done without: a key file may still serve.
pub(crate) fn agent(screen: &Screen) -> Option<SshAgent> {
    SshAgent::of_environment().unwrap_or_else(|error| {
        screen.note(&format!("{error}; going on without it"));
        None
    })
}

pub(crate) fn is_refusal(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<Fault>(),
        Some(Fault::Refused(problem)) if matches!(problem.code, Code::Unauthenticated | Code::Denied)
    )
}

fn offer_ssh_config(home: &Home, install: bool, screen: &Screen) -> Result<()> {
    let line = ssh_config::include_line(home)?;
    if !install {
        screen.line("For plain `ssh` to work too, make this the first line of ~/.ssh/config, or log in with --install-ssh-config:")?;
        return screen.line(&format!("  {line}"));
    }
    match ssh_config::install(&line)? {
        Installed::Added => screen.line("Added to ~/.ssh/config; plain `ssh` works now."),
        Installed::Already => screen.line("~/.ssh/config has the line already; plain `ssh` works."),
    }
}
