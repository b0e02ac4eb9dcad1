//! What an upstream keeps while its settings stay as they are: its addresses and how they are, its
//! connections, and the calls that it is at work on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::files::Prints;
use crate::gateway::upstream::metrics::Gauges;
use crate::gateway::upstream::places::Places;
use crate::gateway::upstream::pool::Pool;
use crate::gateway::upstream::settings::Settings;
use crate::gateway::upstream::status::UpstreamStatus;
use crate::gateway::upstream::tending::{Surroundings, Tending};
use crate::problem::Problem;

#[derive(Debug)]
pub(crate) struct Kept {
    settings: Settings,
    /// What was in the files of certificates and keys.
    files: Prints,
    tending: Arc<Tending>,
    pub(crate) places: Places,
    pub(crate) gauges: Gauges,
    is_started: AtomicBool,
    end: CancellationToken,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Kept {
    /// What was kept before, where it would be made the same again; anything else begins anew.
    pub(crate) fn after(
        before: Option<&Arc<Self>>,
        settings: &Settings,
        around: &Surroundings,
    ) -> Result<Arc<Self>, Problem> {
        let Settings { ca_file, client_certificate_file, client_key_file, .. } = settings;
        let files = [ca_file, client_certificate_file, client_key_file];
        // Before they are read for use: what changes in between is met at the next occasion.
        let files = Prints::of(files.into_iter().flatten().cloned());
        match before {
            Some(before) if before.settings == *settings && before.files == files => {
                Ok(Arc::clone(before))
            }
            Some(_) | None => Self::new(settings, files, around).map(Arc::new),
        }
    }

    fn new(settings: &Settings, files: Prints, around: &Surroundings) -> Result<Self, Problem> {
        let patience = settings.queue_timeout.get();
        Ok(Self {
            tending: Arc::new(Tending::new(settings, around)?),
            places: Places::new(settings.max_concurrent, settings.max_queued, patience),
            gauges: around.metrics.of(&settings.id),
            settings: settings.clone(),
            files,
            is_started: AtomicBool::new(false),
            end: CancellationToken::new(),
        })
    }

    /// The addresses.
    pub(crate) fn pool(&self) -> &Pool {
        &self.tending.pool
    }

    /// When a call that begins now must be over.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.settings.response_timeout.get()
    }

    pub(crate) fn status(&self) -> UpstreamStatus {
        let (pool, now) = (self.pool(), self.pool().now());
        UpstreamStatus {
            id: self.settings.id.clone(),
            url: self.settings.url.to_string(),
            in_flight: self.places.taken(),
            max_concurrent: self.settings.max_concurrent,
            addresses: pool.addresses().iter().map(|address| address.status(now)).collect(),
        }
    }

    /// Starts what looks after the addresses, unless that runs. It ends with `stop` at the latest.
    pub(crate) fn start(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        if self.is_started.swap(true, Ordering::Relaxed) {
            return;
        }
        self.pool().addresses().iter().for_each(|address| address.show());
        let (tending, stop, unneeded) = (Arc::clone(&self.tending), stop.clone(), self.end.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = tending.run() => {}
                () = stop.cancelled() => {}
                () = unneeded.cancelled() => {}
            }
        });
    }
}
