//! The rules of behaviour: the table `[behaviour]`.

use std::path::PathBuf;

use serde::Deserialize;

use super::Setting;

/// `[behaviour]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BehaviourAt {
    /// The file of the text.
    pub(crate) file: PathBuf,
}

/// The settings of the table, for `check --settings`.
pub(crate) const BEHAVIOUR_SETTINGS: [Setting; 1] = [Setting {
    key: "file",
    default: "/etc/curfew/behaviour.txt",
    range: "a path",
    sentence: "A text that people read and sign before their first certificate, and again when it changes; read again when it changes. Without the table nobody is asked.",
}];
