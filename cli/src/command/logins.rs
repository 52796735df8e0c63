//! `curfew logins` and `curfew logout`: which logins there are, and ending them.

use anyhow::Result;
use wire::api::Whoami;
use wire::login::{EndLogins, LoginRow, LoginsEnded};

use crate::client::Client;
use crate::clock;
use crate::exit::Exit;
use crate::home::Home;
use crate::render::{Screen, Table, count, moment};

/// List your logins that have not ended; an operator sees everybody's
#[derive(Debug, clap::Args)]
pub(crate) struct Logins {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Logins {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let home = Home::find()?;
        let mut client = Client::of(&home)?;
        let logins: Vec<LoginRow> = client.get("/v1/logins")?;
        if self.json {
            screen.json(&logins)?;
            return Ok(Exit::Done);
        }
        let own: Whoami = client.get("/v1/whoami")?;
        let now = clock::now();
        let mut table = Table::new(&["LOGIN", "IDENTITY", "BY", "BEGAN", "ENDS", "SECOND FACTOR"]);
        for row in logins {
            let mark = if row.login == own.login { " (this one)" } else { "" };
            let factor = row.mfa_at.map_or_else(|| "-".to_owned(), |at| moment::relative(at, now));
            table.row(vec![
                format!("{}{mark}", row.login).into(),
                row.identity.as_str().into(),
                row.method.name().into(),
                moment::relative(row.begun, now).into(),
                moment::relative(row.expires, now).into(),
                factor.into(),
            ]);
        }
        screen.table(&table)?;
        Ok(Exit::Done)
    }
}

/// End this login, another of yours, or all of them; an operator can end anybody's
#[derive(Debug, clap::Args)]
pub(crate) struct Logout {
    /// The login's number, as `curfew logins` shows it; this one, when left out
    login: Option<u64>,
    /// All of them
    #[arg(long, conflicts_with = "login")]
    all: bool,
}

impl Logout {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let home = Home::find()?;
        let mut client = Client::of(&home)?;
        let own: Whoami = client.get("/v1/whoami")?;
        let identity = self.all.then(|| own.identity.clone());
        let ask = EndLogins { login: self.login, identity };
        let ended: LoginsEnded = client.post("/v1/logins/end", &ask)?;
        if self.all || self.login.is_none_or(|login| login == own.login) {
            home.forget_session()?;
        }
        screen.line(&format!("{} ended.", count(ended.ended, "login")))?;
        Ok(Exit::Done)
    }
}
