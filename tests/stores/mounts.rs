//! File systems of their own, small and real. Mounting needs root, or sudo that asks for no password.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// A mounted file system, until it is dropped.
pub(crate) struct Mounted<'p>(&'p Path);

impl<'p> Mounted<'p> {
    /// In memory.
    pub(crate) fn tmpfs(path: &'p Path, size: &str) -> Self {
        as_root(&["mount", "-t", "tmpfs", "-o", &format!("size={size},mode=0777"), "tmpfs"], path);
        Self(path)
    }

    /// As on disks, in the file `image`, which keeps what is in it when this is dropped.
    pub(crate) fn ext4(path: &'p Path, image: &Path) -> Self {
        let file = image.to_str().unwrap();
        if !image.exists() {
            File::create_new(image).unwrap().set_len(16 << 20).unwrap();
            run(&["mkfs.ext4", "-q", "-F", "-m", "0", file]);
        }
        as_root(&["mount", "-o", "loop", file], path);
        let mounted = Self(path);
        as_root(&["chmod", "0777"], path);
        mounted
    }

    /// A program that another test is just starting holds every open file for a moment, and nothing
    /// becomes read-only while a file on it is open for writing.
    pub(crate) fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let command = rooted(&["mount", "-o", &options], self.0);
        for _ in 0..1000 {
            if done(&command) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        as_root(&["mount", "-o", &options], self.0);
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        as_root(&["umount", "-l"], self.0);
    }
}

/// Lets nobody write to what is at `path`, root included, or everybody again.
pub(crate) fn set_immutable(path: &Path, immutable: bool) {
    as_root(&["chattr", if immutable { "+i" } else { "-i" }], path);
}

fn as_root(command: &[&str], path: &Path) {
    run(&rooted(command, path));
}

fn rooted<'w>(command: &[&'w str], path: &'w Path) -> Vec<&'w str> {
    let sudo: &[&str] = if is_root() { &[] } else { &["sudo", "-n"] };
    [sudo, command, &[path.to_str().unwrap()]].concat()
}

fn run(words: &[&str]) {
    assert!(
        done(words),
        "{words:?} failed: run the tests as root, or with sudo that asks for no password"
    );
}

fn done(words: &[&str]) -> bool {
    let done = Command::new(words[0]).args(&words[1..]).status();
    done.is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}
