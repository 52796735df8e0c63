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
    /// Whether people who have no key accept it by their login.
    #[serde(default)]
    pub(crate) unsigned: bool,
}

/// The settings of the table, for `check --settings`.
pub(crate) const BEHAVIOUR_SETTINGS: [Setting; 2] = [
    Setting {
        key: "file",
        default: "/etc/curfew/behaviour.txt",
        range: "a path",
        sentence: "A text that people read and sign before their first certificate, and again when it changes; read again when it changes. Without the table nobody is asked.",
    },
    Setting {
        key: "unsigned",
        default: "false",
        range: "true or false",
        sentence: "Whether people who log in through the identity provider and have no key may accept it by that login, unsigned; the entry says so.",
    },
];
