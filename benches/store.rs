//! Spends a second, on each backend, for callers who come at the same time.
//!
//! The time of one round is the time in which every caller has spent one id: on disk that is the
//! latency a caller sees, since those who wait together share a sync.
#![expect(clippy::unwrap_used, reason = "a bench that cannot set up has nothing to measure")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hookgate::clock::{Clock, SystemClock};
use hookgate::entropy::SystemEntropy;
use hookgate::store::{Backend, Insert, Key, Namespace, Nonce, Settings, Store, open};
use tokio::task::JoinSet;

async fn round(store: &Arc<dyn Store>, callers: u64, next: &AtomicU64, clock: &dyn Clock) {
    let until = clock.now().plus(std::time::Duration::from_secs(3600));
    let mut round = JoinSet::new();
    for _ in 0..callers {
        let (store, n) = (Arc::clone(store), next.fetch_add(1, Ordering::Relaxed));
        round.spawn(async move {
            let key = Key::new(Namespace::Link, &[&n.to_be_bytes()]);
            let nonce = Nonce(u128::from(n).to_be_bytes());
            store.insert(key, nonce, Bytes::from_static(&[7; 32]), until).await.unwrap()
        });
    }
    while let Some(first) = round.join_next().await {
        assert_eq!(first.unwrap(), Insert::First);
    }
}

fn spends(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut group = criterion.benchmark_group("spends");
    group.sample_size(20);
    for backend in [Backend::Memory, Backend::Disk] {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            backend,
            directory: folder.path().to_owned(),
            max_entries: 100_000_000,
            ..Settings::default()
        };
        let clock = Arc::new(SystemClock::new());
        let entropy = Arc::new(SystemEntropy::default());
        let store = open(&settings, Arc::<SystemClock>::clone(&clock), entropy).unwrap();
        let next = AtomicU64::new(0);
        for callers in [1, 16, 64, 256] {
            group.throughput(Throughput::Elements(callers));
            let id = BenchmarkId::new(format!("{backend:?}"), callers);
            group.bench_function(id, |bencher| {
                bencher.iter(|| runtime.block_on(round(&store, callers, &next, clock.as_ref())));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, spends);
criterion_main!(benches);
