//! Callers who come at the same time, each again as soon as it was answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hookgate::clock::{Clock, SystemClock, UnixTime};
use hookgate::store::{Insert, Key, Namespace, Nonce, Store};
use tokio::runtime::Runtime;

use crate::figures::Times;

/// How long what is spent is remembered at least, as a link by default.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// `callers` tasks that make `each` calls one after the other. `call` is given a caller's number.
pub(crate) fn run<F>(
    runtime: &Runtime,
    callers: u64,
    each: u64,
    call: impl Fn(u64) -> F + Clone + Send + 'static,
) -> Times
where
    F: Future<Output = ()> + Send,
{
    let clock = SystemClock::new();
    let began = clock.monotonic();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let call = call.clone();
            runtime.spawn(async move {
                let clock = SystemClock::new();
                let mut times = Vec::new();
                for _ in 0..each {
                    let began = clock.monotonic();
                    call(caller).await;
                    times.push(clock.monotonic() - began);
                }
                times
            })
        })
        .collect();
    let each = tasks.into_iter().flat_map(|task| runtime.block_on(task).unwrap()).collect();
    Times::new(each, clock.monotonic() - began)
}

/// Spends an id that nobody has spent before.
pub(crate) async fn spend(store: Arc<dyn Store>, until: UnixTime) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let key = Key::new(Namespace::Link, &[&n.to_be_bytes()]);
    let nonce = Nonce(u128::from(n).to_be_bytes());
    let first = store.insert(key, nonce, Bytes::from_static(&[7; 32]), until).await.unwrap();
    assert_eq!(first, Insert::First);
}

/// `callers` who spend, `each` so often, in another order than it ends in: as links are opened.
pub(crate) fn spends(runtime: &Runtime, store: &Arc<dyn Store>, callers: u64, each: u64) -> Times {
    let (store, clock) = (Arc::clone(store), SystemClock::new());
    run(runtime, callers, each, move |_| {
        spend(Arc::clone(&store), clock.now().plus(HOUR + some_time_within_an_hour()))
    })
}

/// Spread evenly, and the same in each run.
fn some_time_within_an_hour() -> Duration {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    Duration::from_millis(n.wrapping_mul(2_654_435_761) % 3_600_000)
}
