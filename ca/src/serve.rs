//! The authority at work: binds, says that it is ready, serves, renews its own certificate, and stops in order.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sd_notify::NotifyState;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin;
use crate::alarm;
use crate::authority::Authority;
use crate::clock;
use crate::config::Config;
use crate::cosign;
use crate::fleet::listener::serve_hosts;
use crate::fleet::silence;
use crate::http::listener::{serve_local, serve_people, serve_plain, unless_stopped};
use crate::http::{bounded, metrics, router, scim};
use crate::index;
use crate::krl;
use crate::lapse;
use crate::notice;
use crate::odd;
use crate::retention;
use crate::tls::Leaf;
use crate::tracker;
use crate::watch::Watch;
use crate::x509::LEAF_LIFETIME;

/// Serves until it is told to stop.
pub(crate) async fn serve(config: Config) -> anyhow::Result<()> {
    let roles_watch = Watch::of_file(&config.roles_file)
        .with_context(|| format!("cannot watch the folder of {}", config.roles_file.display()))?;
    let policy_watch = Watch::of_folder(&config.policy_dir)
        .with_context(|| format!("cannot watch {}", config.policy_dir.display()))?;
    let risk_watch = Watch::of_files(&[&config.risk_file, &config.risk_trial_file])
        .context("cannot watch the files of weights")?;
    let behaviour_watch = watch_behaviour(&config)?;
    let authority = Arc::new(Authority::open(config)?);
    begin_rules(&authority).await?;
    let config = &authority.config;
    let leaf = Leaf::issue(&authority.root, &config.names, clock::now())?;
    // The operator's socket first: whoever sees a port open finds the socket too.
    let local = bind_local(&config.admin_socket).await?;
    let people = bind("listen", config.listen).await?;
    let hosts = bind("hosts_listen", config.hosts_listen).await?;
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let directories = scim::router(Arc::clone(&authority));
    let public = bounded(router(Arc::clone(&authority)).merge(directories));
    tasks.spawn(serve_people(people, public, leaf.for_people()?, stopped.clone()));
    let hosts_tls = leaf.for_hosts(&authority.root)?;
    tasks.spawn(serve_hosts(hosts, Arc::clone(&authority), hosts_tls, stopped.clone()));
    let private =
        bounded(router(Arc::clone(&authority)).merge(admin::router(Arc::clone(&authority))));
    tasks.spawn(serve_local(local, private, stopped.clone()));
    serve_figures(&authority, &mut tasks, &stopped).await?;
    tasks.spawn(silence::watch(Arc::clone(&authority), stopped.clone()));
    tasks.spawn(roles_watch.roles(Arc::clone(&authority), stopped.clone()));
    tasks.spawn(policy_watch.policy(Arc::clone(&authority), stopped.clone()));
    tasks.spawn(risk_watch.risk(Arc::clone(&authority), stopped.clone()));
    if let Some(watch) = behaviour_watch {
        tasks.spawn(watch.behaviour(Arc::clone(&authority), stopped.clone()));
    }
    tasks.spawn(cosign::collect(Arc::clone(&authority), stopped.clone()));
    tasks.spawn(krl::keep(Arc::clone(&authority), stopped.clone()));
    tasks.spawn(index::keep(Arc::clone(&authority), stopped.clone()));
    see_to_requests(&authority, &mut tasks, &stopped);
    tasks.spawn(retention::keep(Arc::clone(&authority), stopped.clone()));
    tasks.spawn(heed(Arc::clone(&authority), stopped.clone()));
    tasks.spawn(renew_leaf(leaf, Arc::clone(&authority), stopped.clone()));
    tasks.spawn(pat_watchdog(stopped));
    tell_systemd(&[NotifyState::Ready]);
    let (fingerprint, keys) = (authority.root.fingerprint(), authority.keyring());
    tracing::info!(%fingerprint, ?keys, "the authority is ready");
    asked_to_stop(&mut tasks).await?;
    tell_systemd(&[NotifyState::Stopping]);
    stop.send_replace(true);
    if tokio::time::timeout(GRACE, async { while tasks.join_next().await.is_some() {} })
        .await
        .is_err()
    {
        tracing::warn!("connections were still open when the time to stop was over");
    }
    if let Err(error) = std::fs::remove_file(&authority.config.admin_socket) {
        tracing::warn!(%error, "the operator's socket could not be removed");
    }
    tracing::info!("the authority has stopped");
    Ok(())
}

/// What becomes of requests by time, by their tickets, and when nobody approved them; what was odd in
/// sessions; and who is told of what goes on.
fn see_to_requests(
    authority: &Arc<Authority>,
    tasks: &mut JoinSet<()>,
    stopped: &watch::Receiver<bool>,
) {
    tasks.spawn(lapse::keep(Arc::clone(authority), stopped.clone()));
    tasks.spawn(tracker::follow(Arc::clone(authority), stopped.clone()));
    tasks.spawn(alarm::keep(Arc::clone(authority), stopped.clone()));
    tasks.spawn(odd::keep::keep(Arc::clone(authority), stopped.clone()));
    for receiver in &authority.receivers {
        let receiver = Arc::clone(receiver);
        tasks.spawn(notice::keep::keep(Arc::clone(authority), receiver, stopped.clone()));
    }
}

/// Serves figures to this machine, if the settings say where.
async fn serve_figures(
    authority: &Arc<Authority>,
    tasks: &mut JoinSet<()>,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let Some(address) = authority.config.metrics_listen else { return Ok(()) };
    let listener = bind("metrics_listen", address).await?;
    let router = bounded(metrics::router(Arc::clone(authority)));
    tasks.spawn(serve_plain(listener, router, stopped.clone()));
    Ok(())
}

/// Records the roles, the policy, the weights and the rules that this authority begins with.
async fn begin_rules(authority: &Authority) -> anyhow::Result<()> {
    authority.replace_roles((*authority.roles()).clone(), clock::now()).await?;
    authority.begin_policy(clock::now()).await?;
    let vouched = authority.vouch_for(authority.risk(), clock::now()).await?;
    let vouched = vouched.map_err(anyhow::Error::msg).context("the weights of risks")?;
    authority.replace_risk(vouched, clock::now()).await?;
    authority.replace_behaviour(authority.behaviour(), clock::now()).await?;
    Ok(())
}

fn watch_behaviour(config: &Config) -> anyhow::Result<Option<Watch>> {
    let Some(at) = &config.behaviour else { return Ok(None) };
    let cannot = || format!("cannot watch the folder of {}", at.file.display());
    Watch::of_file(&at.file).with_context(cannot).map(Some)
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (setting `{key}`)"))?;
    let bound = listener.local_addr().with_context(|| format!("{key} has no address"))?;
    tracing::info!(setting = key, address = %bound, "listening");
    Ok(listener)
}

/// Binds the operator's socket; one that a dead process left is removed, a live one is not.
async fn bind_local(path: &Path) -> anyhow::Result<UnixListener> {
    let shown = path.display();
    if path.exists() {
        if UnixStream::connect(path).await.is_ok() {
            bail!("another authority is serving on {shown} (setting `admin_socket`)");
        }
        std::fs::remove_file(path)
            .with_context(|| format!("cannot remove the stale socket {shown}"))?;
    }
    let listener = UnixListener::bind(path)
        .with_context(|| format!("cannot listen on {shown} (setting `admin_socket`)"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot restrict {shown}"))?;
    Ok(listener)
}

/// Returns when a signal asks for it; an error when a part of the authority ended by itself.
async fn asked_to_stop(tasks: &mut JoinSet<()>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        Some(ended) = tasks.join_next() => {
            ended.context("a part of the authority died")?;
            bail!("a part of the authority ended by itself")
        }
    }
}

async fn renew_leaf(leaf: Arc<Leaf>, authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
    let mut pause = RENEWAL;
    while unless_stopped(&mut stop, tokio::time::sleep(pause)).await.is_some() {
        pause = match leaf.renew(&authority.root, &authority.config.names, clock::now()) {
            Ok(()) => RENEWAL,
            Err(error) => {
                tracing::error!(%error, "the server's certificate could not be renewed; trying again");
                RETRY
            }
        };
    }
}

/// Heeds what other authorities write that share the ledger. Where nobody does there is never any word.
async fn heed(authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
    let mut news = authority.ledger.news();
    while unless_stopped(&mut stop, news.changed()).await.is_some_and(|heard| heard.is_ok()) {
        authority.heed().await;
    }
}

/// Tells systemd's watchdog that the runtime turns, when the unit asks for that.
async fn pat_watchdog(mut stop: watch::Receiver<bool>) {
    let mut micros = 0;
    let pause = if sd_notify::watchdog_enabled(false, &mut micros) {
        Duration::from_micros(micros / 2)
    } else {
        RENEWAL
    };
    while unless_stopped(&mut stop, tokio::time::sleep(pause)).await.is_some() {
        if micros > 0 {
            tell_systemd(&[NotifyState::Watchdog]);
        }
    }
}

fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

/// The server's certificate is renewed at a third of its life.
const RENEWAL: Duration = Duration::from_secs(LEAF_LIFETIME.as_secs() / 3);
const RETRY: Duration = Duration::from_secs(60);
/// How long open connections may take to end.
const GRACE: Duration = Duration::from_secs(5);
