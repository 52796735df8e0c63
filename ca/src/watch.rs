//! The roles file, read again whenever its folder changes. A bad file is refused and the roles stay.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

use crate::authority::Authority;
use crate::clock;
use crate::http::listener::unless_stopped;
use crate::role::Roles;

/// Watches from before the first read, so that no change falls between.
pub(crate) struct RolesWatch {
    _watcher: RecommendedWatcher,
    changes: mpsc::Receiver<()>,
}

impl RolesWatch {
    /// Begins to watch the folder of `file`: editors replace files rather than change them.
    pub(crate) fn begin(file: &Path) -> Result<Self, notify::Error> {
        let (tell, changes) = mpsc::channel(1);
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                match event {
                    Ok(event) if event.kind.is_access() => return,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::error!(%error, "the folder of the roles file cannot be watched");
                    }
                }
                if let Err(TrySendError::Closed(())) = tell.try_send(()) {
                    tracing::debug!("nobody reads the roles file any more");
                }
            })?;
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(Self { _watcher: watcher, changes })
    }

    /// Applies each change until `stop`.
    pub(crate) async fn run(mut self, authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
        let mut refused = None;
        while let Some(Some(())) = unless_stopped(&mut stop, self.changes.recv()).await {
            // Whoever writes the file may need more than one call for it.
            tokio::time::sleep(SETTLE).await;
            refused = apply(&authority, refused).await;
        }
    }
}

/// Reads the file and puts it in force or refuses it; gives back the refusal, so that it is said once.
async fn apply(authority: &Authority, refused: Option<String>) -> Option<String> {
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

const SETTLE: Duration = Duration::from_millis(50);
