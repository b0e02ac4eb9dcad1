//! What can be known to be wrong with a configuration before anything is served: files, keys, certificates,
//! and combinations that weaken what the gateway is for.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::app::ambient::Ambient;
use crate::app::generation::Generation;
use crate::certificate::Certificate;
use crate::clock::UnixTime;
use crate::config::Config;
use crate::files;
use crate::problem::{Code, KeyPath, Problem};

/// Long enough to get a new one, short enough that nobody learns to look away.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// Says what is wrong beyond the form. Reads files and makes none; binds and dials nothing.
pub(crate) fn problems(config: &Config, ambient: &Ambient) -> Vec<Problem> {
    let files = named_files(config);
    // First, so that of a file that is not there nothing else is said.
    let mut problems: Vec<Problem> = files.iter().filter_map(file_problem).collect();
    problems.extend(Generation::check(config, ambient));
    let now = ambient.clock.now();
    for file in files.iter().filter(|file| file.key.ends_with("certificate_file")) {
        problems.extend(certificate_problems(file, now));
    }
    problems.extend(listener_problems(config));
    problems
}

/// A file that the configuration names.
struct Named {
    path: KeyPath,
    /// The last part of the path, which says what the file is for: `…_file` is read and must be there, and
    /// `…key_file`, `…secret_file` and `…password_file` hold secrets.
    key: String,
    file: PathBuf,
}

impl Named {
    fn is_secret(&self) -> bool {
        ["key_file", "secret_file", "password_file"].iter().any(|end| self.key.ends_with(end))
    }
}

fn named_files(config: &Config) -> Vec<Named> {
    let named = files::named_by(config).into_iter();
    named.map(|(path, file)| Named { key: path.name().to_owned(), path, file }).collect()
}

fn file_problem(named: &Named) -> Option<Problem> {
    let (path, file) = (named.path.clone(), named.file.display());
    // To open a pipe would wait for its writer.
    let about = match named.file.metadata() {
        Ok(about) if about.is_dir() => {
            let why = format!("{file} is a directory; name the file in it");
            return Some(Problem::error(Code::FileKind, path, why));
        }
        Ok(about) if !about.is_file() => {
            let why = format!("{file} is no regular file; name one");
            return Some(Problem::error(Code::FileKind, path, why));
        }
        about => about.and_then(|about| File::open(&named.file).map(|_| about)),
    };
    let about = match about {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let why = format!("{file}: there is no such file; name one, or make it");
            return Some(Problem::error(Code::FileMissing, path, why));
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let why = format!(
                "{file} may not be read by this user; give it to the user or group that hookgate runs as"
            );
            return Some(Problem::error(Code::FileUnreadable, path, why));
        }
        Err(error) => {
            let why = format!("{file} cannot be read: {error}; name a file that can");
            return Some(Problem::error(Code::FileUnreadable, path, why));
        }
    };
    (named.is_secret() && is_readable_by_all(&about)).then(|| {
        let why = format!(
            "{file} can be read by every user of this machine; run chmod o-rwx on it (in Kubernetes: defaultMode: 0440)"
        );
        Problem::warning(Code::FilePermissions, path, why)
    })
}

#[cfg(unix)]
fn is_readable_by_all(about: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    about.permissions().mode() & 0o004 != 0
}

#[cfg(not(unix))]
const fn is_readable_by_all(_: &Metadata) -> bool {
    false
}

/// When it is good, and whether the chain is one. What cannot be read at all is said by whoever uses it.
fn certificate_problems(named: &Named, now: UnixTime) -> Vec<Problem> {
    let Some(chain) = chain(&named.file) else { return Vec::new() };
    let (at, file) = (|| named.path.clone(), named.file.display());
    let mut problems = Vec::new();
    for (place, certificate) in chain.iter().enumerate() {
        let which = if place == 0 {
            String::new()
        } else {
            format!("certificate {} of ", place.saturating_add(1))
        };
        let (from, to) = (certificate.not_before(), certificate.not_after());
        match certificate.left(now) {
            None => {
                let why = format!("{which}{file} expired at {to}; get a new one");
                problems.push(Problem::error(Code::CertificateExpired, at(), why));
            }
            Some(_) if now < from => {
                let why = format!(
                    "{which}{file} is not valid before {from}; set this machine's clock right, or get another"
                );
                problems.push(Problem::error(Code::CertificateNotYetValid, at(), why));
            }
            Some(left) if left < SOON => {
                let days = left.as_secs() / 86_400;
                let why = format!("{which}{file} expires at {to}, in {days} days; get a new one");
                problems.push(Problem::warning(Code::CertificateExpiring, at(), why));
            }
            Some(_) => {}
        }
    }
    problems.extend(chain_problem(&chain, named));
    problems
}

fn chain(file: &Path) -> Option<Vec<Certificate>> {
    Certificate::read_chain(file).ok()
}

fn chain_problem(chain: &[Certificate], named: &Named) -> Option<Problem> {
    let file = named.file.display();
    let broken =
        chain.iter().zip(chain.iter().skip(1)).position(|(one, next)| !one.names_issuer(next));
    if let Some(place) = broken {
        let (one, next) = (place.saturating_add(1), place.saturating_add(2));
        let why = format!(
            "{file}: certificate {next} did not issue certificate {one}; put the listener's own first and behind each the one that issued it"
        );
        return Some(Problem::warning(Code::CertificateChain, named.path.clone(), why));
    }
    let alone = chain.first().filter(|first| chain.len() == 1 && first.is_self_signed());
    alone.map(|_| {
        let why = format!(
            "{file} is self-signed, so that nobody accepts it who was not told to; get one from a CA that the EHRs and their browsers trust"
        );
        Problem::warning(Code::CertificateSelfSigned, named.path.clone(), why)
    })
}

/// What the public listener's keys say together with `public_url`.
fn listener_problems(config: &Config) -> Vec<Problem> {
    let (listener, url) = (&config.listener, config.public_url.as_url());
    let mut problems = Vec::new();
    let host = url.host_str().unwrap_or_default();
    let first = listener.certificate_file.as_deref().and_then(chain);
    if let Some(first) = first.as_ref().and_then(|chain| chain.first())
        && !first.covers(host)
    {
        let names =
            if first.names().is_empty() { "no name".to_owned() } else { first.names().join(", ") };
        let why = format!(
            "the certificate is for {names}, not for {host}; get one for it, unless a proxy in front shows another"
        );
        let problem =
            Problem::warning(Code::CertificateName, KeyPath::of("listener.certificate_file"), why);
        problems.push(problem.with(KeyPath::of("public_url"), "the host that EHRs call"));
    }
    let here = listener.address.ip().is_loopback();
    if listener.plaintext && !here {
        let why = format!(
            "is on, and {} is not only this machine's own; listen on 127.0.0.1, or see that nobody but the TLS terminator reaches it",
            listener.address
        );
        problems.push(Problem::warning(Code::Weak, KeyPath::of("listener.plaintext"), why));
    }
    if !listener.plaintext && url.scheme() == "http" {
        let why = "is http, and the listener speaks TLS; write https, or listener.plaintext = true";
        let problem = Problem::warning(Code::Weak, KeyPath::of("public_url"), why);
        problems.push(problem.with(KeyPath::of("listener.plaintext"), "false"));
    }
    problems.extend(config.client.iter().enumerate().filter(|(_, client)| client.auth.allow_public_test_keys).map(
        |(index, _)| {
            let why = "is on, and anybody can sign as a client whose private key is published; remove it where patients are real";
            let at = KeyPath::of("client").index(index).key("allow_public_test_keys");
            Problem::warning(Code::PublicTestKey, at, why)
        },
    ));
    problems
}
