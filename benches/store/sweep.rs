//! Spends while what has ended is swept, beside spends while there is nothing to sweep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hookgate::clock::{Clock, Sleep, SystemClock, UnixTime};
use hookgate::store::Store;
use tokio::runtime::Runtime;

use crate::backends::Stand;
use crate::callers;
use crate::callers::HOUR;
use crate::figures::{Effort, Times};

const ENDED: u64 = 1_000_000;

pub(crate) fn measure(effort: Effort) {
    let runtime = Runtime::new().unwrap();
    let ended = effort.of(ENDED).next_multiple_of(256);
    for count in [1, 64] {
        let each = effort.of(20_000).div_ceil(count);
        let (stand, clock) = (Stand::disk(), Arc::new(LeapingClock::default()));
        let store = stand.open_with(clock.clone());
        drop(spends(&runtime, &store, &clock, 256, ended / 256));
        let idle = spends(&runtime, &store, &clock, count, each);
        clock.leap();
        let before = store.fill().entries;
        let busy = spends(&runtime, &store, &clock, count, each);
        let swept = before + count * each - store.fill().entries;
        println!("{count:>3} at once, nothing to sweep        {}", idle.line());
        println!("{count:>3} at once, {swept:>6} of {before:>7} swept {}", busy.line());
        let visits = visits(&runtime, &store, &clock, effort.of(20));
        println!("    1 beside an idle store's sweep    {}", visits.line());
    }
}

/// Spends that come after the store had nothing to do and began to sweep.
fn visits(
    runtime: &Runtime,
    store: &Arc<dyn Store>,
    clock: &Arc<LeapingClock>,
    count: u64,
) -> Times {
    let mut visits = Times::default();
    for _ in 0..count {
        let before = store.fill().entries;
        while store.fill().entries == before {
            runtime.block_on(async { clock.sleep(Duration::from_millis(1)).await });
        }
        visits.add(spends(runtime, store, clock, 1, 1));
    }
    visits
}

fn spends(
    runtime: &Runtime,
    store: &Arc<dyn Store>,
    clock: &Arc<LeapingClock>,
    callers: u64,
    each: u64,
) -> Times {
    let (store, until) = (Arc::clone(store), clock.now().plus(HOUR));
    callers::run(runtime, callers, each, move |_| callers::spend(Arc::clone(&store), until))
}

/// The machine's clock, which can leap over the hour in which nothing ends.
#[derive(Debug, Default)]
struct LeapingClock {
    machine: SystemClock,
    hours: AtomicU64,
}

impl LeapingClock {
    fn leap(&self) {
        self.hours.fetch_add(1, Ordering::Relaxed);
    }

    fn leapt(&self) -> Duration {
        HOUR * u32::try_from(self.hours.load(Ordering::Relaxed)).unwrap()
    }
}

impl Clock for LeapingClock {
    fn now(&self) -> UnixTime {
        self.machine.now().plus(self.leapt())
    }

    fn monotonic(&self) -> Duration {
        // With the wall clock: a store ends nothing by one that leaps alone.
        self.machine.monotonic() + self.leapt()
    }

    fn sleep(&self, duration: Duration) -> Sleep<'_> {
        self.machine.sleep(duration)
    }
}
