//! A HealthChain service in a Python process of its own, which ends with the test.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The running service.
pub(crate) struct HealthChain {
    process: Child,
    /// Where it listens.
    pub(crate) url: String,
}

impl HealthChain {
    /// Starts it on a port that it picks itself.
    pub(crate) fn start() -> Self {
        let python = Path::new(ROOT).join("target/test-tools/venv/bin/python");
        assert!(python.exists(), "{} is not there; run tests/run", python.display());
        let mut process = Command::new(&python)
            .args(["-m", "uvicorn", "--app-dir", "tests/legacy", "healthchain_service:app"])
            .args(["--host", "127.0.0.1", "--port", "0"])
            .current_dir(ROOT)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; run tests/run", python.display()));
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let url = lines.by_ref().map_while(Result::ok).find_map(|line| {
            said.push_str(&line);
            said.push('\n');
            let (_, url) = line.split_once("running on ")?;
            url.split(' ').next().map(str::to_owned)
        });
        let service = Self { process, url: url.unwrap_or_default() };
        assert!(!service.url.is_empty(), "HealthChain did not start; run tests/run\n{said}");
        // Read on, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        service
    }
}

impl Drop for HealthChain {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
