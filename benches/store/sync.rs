//! What it takes to get one record to the disk: the measure for everything that is durable.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use tempfile::TempDir;

use crate::figures::{Effort, Times, ratio};

const PAGE: u64 = 4_096;
/// Pages of the file that is written into: 64 MB.
const PAGES: u64 = 16_384;

/// One record, beside one page for each of 64 callers, far apart as in a file with many entries.
pub(crate) fn measure(effort: Effort) {
    let record = append(effort.of(1_000));
    println!("one record appended      {}", record.line());
    for count in [1, 64] {
        let pages = pages(effort.of(1_000), count);
        let ratio = ratio(pages.p50(), record.p50());
        println!("{count:>2} pages, far apart      {}   ratio {ratio:.2}", pages.line());
    }
}

/// A folder on the file system that the build is on. The system's folder for temporary files may be memory.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A record of a spend's size appended to a file, and one `fdatasync`.
pub(crate) fn append(count: u64) -> Times {
    let folder = folder();
    let mut file = File::create(folder.path().join("records")).unwrap();
    Times::of(count, |_| {
        file.write_all(&[7; 100]).unwrap();
        file.sync_data().unwrap();
    })
}

/// So many pages written into a file, and one `fdatasync`.
fn pages(times: u64, count: u64) -> Times {
    let folder = folder();
    let file = File::create(folder.path().join("pages")).unwrap();
    let page = [7; PAGE as usize];
    (0..PAGES).for_each(|n| file.write_all_at(&page, n * PAGE).unwrap());
    file.sync_all().unwrap();
    Times::of(times, |turn| {
        for n in turn * count..(turn + 1) * count {
            let place = n.wrapping_mul(2_654_435_761) % PAGES;
            file.write_all_at(&page, place * PAGE).unwrap();
        }
        file.sync_data().unwrap();
    })
}
