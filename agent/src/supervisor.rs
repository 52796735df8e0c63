//! What systemd is told: ready, alive, and how things stand (`sd_notify(3)`).

use std::time::Duration;

use sd_notify::NotifyState;

/// Everything that ready promises is in place.
pub fn ready() {
    say(&[NotifyState::Ready]);
}

/// The main loop has come round.
pub fn alive() {
    say(&[NotifyState::Watchdog]);
}

/// One line for `systemctl status`.
pub fn standing(line: &str) {
    say(&[NotifyState::Status(line)]);
}

/// How often [`alive`] must be said, if systemd watches: half of what it allows.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    let mut micros = 0;
    sd_notify::watchdog_enabled(false, &mut micros).then(|| Duration::from_micros(micros / 2))
}

/// Says [`alive`] as often as systemd asks, for a program whose event loop is this runtime.
pub async fn keep_watchdog() {
    let Some(interval) = watchdog_interval() else {
        return std::future::pending().await;
    };
    loop {
        alive();
        tokio::time::sleep(interval).await;
    }
}

fn say(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, state) {
        tracing::debug!(%error, "systemd was not told");
    }
}
