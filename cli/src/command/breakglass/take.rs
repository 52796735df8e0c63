//! `curfew breakglass --host …`: in at once while the authority is up, without approval, and never quietly.

use std::ffi::OsString;

use anyhow::Result;
use wire::api::{HostView, Whoami};
use wire::breakglass::pass::FACTOR_AGE;
use wire::identifier::{Address, HostName, Login, RoleName};
use wire::octets::plain;
use wire::options::Wishes;
use wire::request::{RequestAsk, RequestDetail, Sentence};

use crate::client::Client;
use crate::clock;
use crate::command::{login, ssh};
use crate::duration::Span;
use crate::exit::{Exit, Fault};
use crate::home::Home;
use crate::issue::{Wish, as_address};
use crate::render::Screen;

/// What is taken without approval.
#[derive(Debug, clap::Args)]
pub(crate) struct Take {
    /// Get on this host now, without approval: one of yours by a role, where the policy lets you take break-glass. The
    /// authority must be up; it and the host tell everybody at once
    #[arg(long, value_name = "HOST")]
    host: Address,
    /// Why: everybody who is told reads it
    #[arg(long, value_name = "TEXT")]
    reason: Sentence,
    /// As whom, when there are several accounts
    #[arg(long, value_name = "LOGIN")]
    login: Option<Login>,
    /// Under which role, when several fit
    #[arg(long, value_name = "ROLE")]
    role: Option<RoleName>,
    /// For how long, an hour at most; what the role gives by default, when left out
    #[arg(long = "for", value_name = "SPAN")]
    span: Option<Span>,
    /// Options and a command for ssh
    #[arg(last = true, value_name = "SSH ARGUMENTS")]
    rest: Vec<OsString>,
}

impl Take {
    pub(super) fn run(self, screen: &Screen) -> Result<Exit> {
        let home = Home::find()?;
        let mut client = Client::of(&home)?;
        let host = ssh::known_host(&mut client, &home, &self.host)?;
        let login = match &self.login {
            Some(login) => login.clone(),
            None => ssh::usual_login(&host)?,
        };
        let role = self.role(&host, &login)?;
        show_factor(&mut client, &home, screen)?;
        let request = self.ask(&mut client, (&host.name, &role))?.view.request;
        screen.note(&format!(
            "curfew: BREAK-GLASS {request}, {login}@{} under role {role}: it is told everywhere and recorded whole. Give it back \
             with `curfew done`; somebody else must review it within a day, and you take no other before that",
            host.name
        ));
        let address = host.addresses.first().cloned().map_or_else(|| as_address(&host.name), Ok)?;
        let wish = Wish {
            host: host.name,
            login,
            role: Some(role),
            span: None,
            wishes: Wishes::default(),
            reason: Some(self.reason.to_string()),
        };
        ssh::enter(client, &home, ((&wish, &address), None, self.rest.as_slice()), screen)
    }

    fn ask(
        &self,
        client: &mut Client,
        (host, role): (&HostName, &RoleName),
    ) -> Result<RequestDetail> {
        let ask = RequestAsk {
            role: role.clone(),
            hosts: vec![host.clone()],
            duration_secs: self.span.map(Span::secs),
            start: None,
            extends: None,
            reason: self.reason.clone(),
            expected: None,
            ticket: None,
            urgent: true,
            breakglass: true,
        };
        client.post("/v1/requests", &ask)
    }

    /// The role that is named, or the only one that gives the account there.
    fn role(&self, host: &HostView, login: &Login) -> Result<RoleName> {
        if let Some(role) = &self.role {
            return Ok(role.clone());
        }
        let fitting = host.logins.iter().filter(|each| each.login == *login);
        let roles: Vec<&str> = fitting.map(|each| each.role.as_str()).collect();
        match roles.as_slice() {
            [only] => Ok(RoleName::try_new(*only)?),
            [] => Err(Fault::Usage(format!("no role of yours gives {login}@{}", host.name)).into()),
            several => {
                let list = several.join(", ");
                Err(Fault::Usage(format!("under which role? --role one of {list}")).into())
            }
        }
    }
}

/// Logs in once more where the second factor of this login is not from just now. Whether what is shown then is enough is for
/// the authority to say.
fn show_factor(client: &mut Client, home: &Home, screen: &Screen) -> Result<()> {
    let whoami: Whoami = client.get("/v1/whoami")?;
    let oldest = clock::now().before(FACTOR_AGE).after(MARGIN);
    if whoami.mfa_at.is_some_and(|at| at >= oldest) {
        return Ok(());
    }
    let who = plain(whoami.identity.as_str());
    screen.note(&format!(
        "curfew: break-glass asks for a second factor: logging in as {who} once more; touch your security key when it asks"
    ));
    login::again(client, home, whoami.method, screen)
}

/// What may pass between this look and the authority's.
const MARGIN: std::time::Duration = std::time::Duration::from_secs(60);
