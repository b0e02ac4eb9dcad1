//! Spends on each backend, by one caller and by many at once.

use tokio::runtime::Runtime;

use crate::backends::Stand;
use crate::callers;
use crate::figures::{Effort, Times, ms, ratio};
use crate::sync;

/// A disk's moods change: what is compared is measured in turns.
const TURNS: u64 = 5;

pub(crate) fn measure(effort: Effort) {
    let runtime = Runtime::new().unwrap();
    for stand in Stand::all() {
        let _within = runtime.enter();
        let store = stand.open();
        for count in [1, 64, 256] {
            let (mut spends, mut syncs) = (Times::default(), Times::default());
            for _ in 0..TURNS {
                syncs.add(sync::append(effort.of(200)));
                let each = effort.of(20_000).div_ceil(count).min(effort.of(1_000));
                spends.add(callers::spends(&runtime, &store, count, each));
            }
            println!(
                "{:<7}{count:>4} at once   {}   fdatasync {}   ratio {:.2}",
                stand.name,
                spends.line(),
                ms(syncs.p50()),
                ratio(spends.p50(), syncs.p50()),
            );
        }
    }
}
