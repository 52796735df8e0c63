//! `curfew-agent check`.

use std::path::Path;

use super::{Exit, table};
use crate::check::{Severity, check};
use crate::install::System;

/// Tells every finding. Ends with failure when one defeats the agent.
pub(crate) fn perform(config: &Path, json: bool) -> anyhow::Result<Exit> {
    let findings = check(Path::new("/"), config, &mut System);
    if json {
        table::say_json(&findings)?;
    } else if findings.is_empty() {
        table::say("Nothing weakens the agent on this host.")?;
    } else {
        findings.iter().try_for_each(|finding| table::say(&format!("{finding}\n")))?;
    }
    let defeated = findings.iter().any(|finding| finding.severity == Severity::Defeated);
    Ok(if defeated { Exit::Failure } else { Exit::Ok })
}
