//! `curfew-agent enroll`.

use std::path::PathBuf;

use wire::identifier::Fingerprint;

use super::{Exit, table};
use crate::enrol::{Invitation, Places, enrol};

/// What `curfew-ca host token` printed.
#[derive(clap::Args)]
pub(crate) struct Enroll {
    /// The authority's host listener.
    #[arg(long, value_name = "NAME:PORT")]
    authority: String,
    /// The fingerprint of the authority's root: `SHA256:…`.
    #[arg(long)]
    fingerprint: Fingerprint,
    /// A file with the one-time token, `-` for standard input: a token in the arguments could be read by every user.
    #[arg(long, value_name = "FILE", default_value = "-")]
    token_file: PathBuf,
}

impl std::fmt::Debug for Enroll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enroll").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Enroll {
    pub(crate) async fn perform(self, config: PathBuf) -> anyhow::Result<Exit> {
        let token = read_token(&self.token_file)?;
        let invitation =
            Invitation { authority: self.authority, fingerprint: self.fingerprint, token };
        let places = Places { config, ..Places::default() };
        let enrolled = enrol(&invitation, &places).await?;
        let trust = &enrolled.trust;
        let labels: Vec<&str> = trust.labels.iter().map(|label| label.as_str()).collect();
        table::say(&format!(
            "This host is {}{}{}.\nNext: curfew-agent install",
            trust.host,
            if labels.is_empty() { "" } else { ", " },
            labels.join(" ")
        ))?;
        Ok(Exit::Ok)
    }
}

fn read_token(path: &std::path::Path) -> anyhow::Result<String> {
    use anyhow::Context as _;
    use std::io::Read as _;
    let mut token = String::new();
    if path.as_os_str() == "-" {
        if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
            eprint!("Token: ");
        }
        std::io::stdin().lines().next().transpose()?.unwrap_or_default().clone_into(&mut token);
    } else {
        let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
        file.take(MAX_TOKEN).read_to_string(&mut token)?;
    }
    let token = token.trim().to_owned();
    anyhow::ensure!(!token.is_empty(), "there is no token; make one with `curfew-ca host token`");
    Ok(token)
}

const MAX_TOKEN: u64 = 4096;
