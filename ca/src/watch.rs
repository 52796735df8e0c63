//! The roles file, the policy folder and the files of weights, read again whenever they change. What is wrong is refused, and what was in force
//! stays.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

use crate::authority::Authority;
use crate::behaviour::Behaviour;
use crate::clock;
use crate::http::listener::unless_stopped;
use crate::ledger::RefusedPolicy;
use crate::policy::{Origin, Policy, PolicyError, files_as_they_are};
use crate::risk::Risk;
use crate::role::Roles;

/// Watches from before the first read, so that no change falls between.
pub(crate) struct Watch {
    watcher: RecommendedWatcher,
    changes: mpsc::Receiver<()>,
    /// Folders that may come later; each is watched from the first change on that follows its coming.
    may_come: Vec<PathBuf>,
}

impl Watch {
    /// Begins to watch the folder of `file`: editors replace files rather than change them.
    pub(crate) fn of_file(file: &Path) -> Result<Self, notify::Error> {
        let mut watch = Self::new("the folder of the roles file")?;
        watch.watcher.watch(parent(file), RecursiveMode::NonRecursive)?;
        Ok(watch)
    }

    /// Begins to watch a folder, and the one that it is in: it may come, go, or be replaced. Where neither is there, there
    /// is nothing to watch, which is said.
    pub(crate) fn of_folder(folder: &Path) -> Result<Self, notify::Error> {
        let mut watch = Self::new("the policy folder")?;
        watch.may_come = vec![parent(folder).into(), folder.into()];
        if watch.follow()? == 0 {
            let path = folder.display();
            tracing::info!(%path, "there is no such folder; a policy put there is in force from the next start on");
        }
        Ok(watch)
    }

    /// Begins to watch the folders of files that may come, go, or be replaced.
    pub(crate) fn of_files(files: &[&Path]) -> Result<Self, notify::Error> {
        let mut watch = Self::new("the folder of a file of weights")?;
        let mut folders: Vec<PathBuf> = files.iter().map(|file| parent(file).into()).collect();
        folders.sort();
        folders.dedup();
        watch.may_come = folders;
        watch.follow()?;
        Ok(watch)
    }

    fn new(what: &'static str) -> Result<Self, notify::Error> {
        let (tell, changes) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            match event {
                Ok(event) if event.kind.is_access() => return,
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "{what} cannot be watched"),
            }
            if let Err(TrySendError::Closed(())) = tell.try_send(()) {
                tracing::debug!("nobody reads {what} any more");
            }
        })?;
        Ok(Self { watcher, changes, may_come: Vec::new() })
    }

    /// Applies each change of the roles until `stop`.
    pub(crate) async fn roles(
        mut self,
        authority: Arc<Authority>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut refused = None;
        while self.changed(&mut stop).await {
            refused = apply_roles(&authority, refused).await;
        }
    }

    /// Applies each change of the policy until `stop`.
    pub(crate) async fn policy(
        mut self,
        authority: Arc<Authority>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut refused = None;
        while self.changed(&mut stop).await {
            refused = apply_policy(&authority, refused).await;
        }
    }

    /// Applies each change of the weights of risks until `stop`.
    pub(crate) async fn risk(mut self, authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
        let mut refused = None;
        while self.changed(&mut stop).await {
            refused = apply_risk(&authority, refused).await;
        }
    }

    /// Applies each change of the rules of behaviour until `stop`.
    pub(crate) async fn behaviour(
        mut self,
        authority: Arc<Authority>,
        mut stop: watch::Receiver<bool>,
    ) {
        while self.changed(&mut stop).await {
            apply_behaviour(&authority).await;
        }
    }

    async fn changed(&mut self, stop: &mut watch::Receiver<bool>) -> bool {
        let Some(Some(())) = unless_stopped(stop, self.changes.recv()).await else {
            return false;
        };
        // Whoever writes a file may need more than one call for it.
        tokio::time::sleep(SETTLE).await;
        if let Err(error) = self.follow() {
            tracing::error!(%error, "a folder cannot be watched");
        }
        true
    }

    /// Watches what is there of the folders that may come, and says how many are. One that was replaced is another one.
    fn follow(&mut self) -> Result<usize, notify::Error> {
        let mut there: usize = 0;
        for folder in self.may_come.iter().filter(|folder| folder.is_dir()) {
            self.watcher.watch(folder, RecursiveMode::NonRecursive)?;
            there = there.saturating_add(1);
        }
        Ok(there)
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Reads the file and puts it in force or refuses it; gives back the refusal, so that it is said once.
async fn apply_roles(authority: &Authority, refused: Option<String>) -> Option<String> {
    let now = clock::now();
    let path = &authority.config.roles_file;
    let (recorded, refusal) = match Roles::read(path) {
        Ok(roles) if refused.is_none() && *authority.roles() == roles => return None,
        Ok(roles) => {
            tracing::info!(path = %path.display(), roles = roles.len(), "other roles are in force");
            (authority.replace_roles(roles, now).await.map(drop), None)
        }
        Err(error) => {
            let reason = error.to_string();
            if refused.as_ref() == Some(&reason) {
                return refused;
            }
            tracing::error!(%reason, "the roles file is refused; the roles from before stay in force");
            (authority.refuse_roles(reason.clone(), now).await, Some(reason))
        }
    };
    if let Err(error) = recorded {
        tracing::error!(%error, "a change of the roles could not be recorded");
    }
    refusal
}

/// The same for the policy. A folder that went away is refused too: the default would demand less.
async fn apply_policy(authority: &Authority, refused: Option<String>) -> Option<String> {
    let now = clock::now();
    let (folder, zone) = (&authority.config.policy_dir, authority.config.time_zone.clone());
    let in_force = authority.policy();
    let read = match Policy::read(folder, zone) {
        Ok(policy) if policy.origin() == Origin::Default && in_force.origin() == Origin::Folder => {
            Err(PolicyError::Gone(folder.clone()))
        }
        other => other,
    };
    let (recorded, refusal) = match read {
        Ok(policy) if refused.is_none() && in_force == policy => return None,
        Ok(policy) => {
            let (hash, policies) = (policy.set().hash().to_owned(), policy.set().len());
            tracing::info!(path = %folder.display(), %hash, policies, "another policy is in force");
            (authority.replace_policy(policy, now).await.map(drop), None)
        }
        Err(error) => {
            let reason = error.to_string();
            if refused.as_ref() == Some(&reason) {
                return refused;
            }
            tracing::error!(%reason, "the policy is refused; the one from before stays in force");
            let files = files_as_they_are(folder);
            let refused = RefusedPolicy { reason: reason.clone(), files };
            (authority.refuse_policy(refused, now).await, Some(reason))
        }
    };
    if let Err(error) = recorded {
        tracing::error!(%error, "a change of the policy could not be recorded");
    }
    refusal
}

/// The same for the weights of risks.
async fn apply_risk(authority: &Authority, refused: Option<String>) -> Option<String> {
    let now = clock::now();
    let (file, trial) = (&authority.config.risk_file, &authority.config.risk_trial_file);
    let read = match Risk::read(file, trial) {
        Ok(risk) if refused.is_none() && authority.risk() == risk => return None,
        Ok(risk) => authority.vouch_for(risk, now).await,
        Err(error) => Ok(Err(error.to_string())),
    };
    let (recorded, refusal) = match read {
        Ok(Ok(vouched)) => {
            tracing::info!(weights = vouched.risk.weights().name(), "other weights are in force");
            (authority.replace_risk(vouched, now).await.map(drop), None)
        }
        // Nothing could be looked up: what was in force stays, and the next change looks again.
        Err(error) => (Err(error), refused),
        Ok(Err(reason)) => {
            if refused.as_ref() == Some(&reason) {
                return refused;
            }
            tracing::error!(%reason, "weights are refused; those from before stay in force");
            (authority.refuse_risk(reason.clone(), now).await, Some(reason))
        }
    };
    if let Err(error) = recorded {
        tracing::error!(%error, "a change of the weights could not be recorded");
    }
    refusal
}

/// The same for the rules of behaviour. A file that went away is refused: nobody would be asked any more.
async fn apply_behaviour(authority: &Authority) {
    let Some(at) = &authority.config.behaviour else { return };
    match Behaviour::read(&at.file) {
        Ok(rules)
            if authority.behaviour_refusal().is_none()
                && authority.behaviour() == Some(rules.clone()) => {}
        Ok(rules) => {
            tracing::info!(hash = %rules.hash(), "other rules of behaviour are in force");
            if let Err(error) = authority.replace_behaviour(Some(rules), clock::now()).await {
                tracing::error!(%error, "a change of the rules of behaviour could not be recorded");
            }
        }
        Err(error) => {
            let reason = error.to_string();
            tracing::error!(%reason, "rules of behaviour are refused; those from before stay in force");
            authority.refuse_behaviour(reason);
        }
    }
}

const SETTLE: Duration = Duration::from_millis(50);
