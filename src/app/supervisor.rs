//! What systemd is told of a unit with `Type=notify` or `Type=notify-reload`. Elsewhere it is told nothing.

use sd_notify::NotifyState;

/// It serves.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It takes up a configuration; [`ready`] follows, however that ends.
pub(crate) fn reloading() {
    // Without the time systemd would not know this reload from an earlier one.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// It is on its way out.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
