//! Where lines go: a file that others may move away, or standard output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::audit::settings::AuditError;
use crate::problem::Code;

/// For its owner to write and for its group, which collects logs, to read.
const MODE: u32 = 0o640;
/// What nobody else may do.
const OTHERS: u32 = 0o007;

/// A place to append to.
#[derive(Debug)]
pub(crate) enum Output {
    /// A file.
    File(LogFile),
    /// Standard output.
    Stdout,
}

/// A file that is opened anew when another stands in its place, or none.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    /// Which file it is.
    number: (u64, u64),
    /// It ends in the middle of a line.
    torn: bool,
}

impl Output {
    /// Appends whole lines, and makes sure of them where `durable`. Where this fails, gives how many bytes of
    /// `lines` are written to the end of their line.
    pub(crate) fn append(&mut self, lines: &[u8], durable: bool) -> Result<(), (usize, io::Error)> {
        match self {
            Self::File(file) => file.append(lines, durable),
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(lines).and_then(|()| out.flush()).map_err(|error| (0, error))
            }
        }
    }

    /// Makes sure of everything that was appended.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self {
            Self::File(file) => file.file.sync_data(),
            Self::Stdout => Ok(()),
        }
    }
}

impl LogFile {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`AuditError::File`], also where everybody may read what it says about who did what.
    pub(crate) fn open(path: &Path) -> Result<Self, AuditError> {
        check(path)?;
        let (file, number, torn) = open(path).map_err(|error| unusable(path, &error))?;
        Ok(Self { path: path.to_owned(), file, number, torn })
    }

    fn append(&mut self, lines: &[u8], durable: bool) -> Result<(), (usize, io::Error)> {
        self.follow().map_err(|error| (0, error))?;
        if self.torn {
            self.file.write_all(b"\n").map_err(|error| (0, error))?;
            self.torn = false;
        }
        let mut written = 0;
        while let Some(rest) = lines.get(written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return Err(self.broken(lines, written, io::ErrorKind::WriteZero.into())),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(lines, written, error)),
            }
        }
        if durable {
            // What was written may be lost by now: it is written once more, and told apart by its number.
            self.file.sync_data().map_err(|error| (0, error))?;
        }
        Ok(())
    }

    /// The line in which it broke off is written once more, as a whole.
    fn broken(&mut self, lines: &[u8], written: usize, error: io::Error) -> (usize, io::Error) {
        let whole = lines.get(..written).unwrap_or_default();
        let ends = whole.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.torn = ends < written;
        (ends, error)
    }

    /// Opens the path anew where it names another file by now, or none.
    fn follow(&mut self) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(found) if number(&found) == self.number => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // What was appended to the one that was moved away must not be less sure than the rest.
        self.file.sync_data()?;
        let (file, number, torn) = open(&self.path)?;
        if file.metadata()?.permissions().mode() & OTHERS != 0 {
            tracing::warn!(path = %self.path.display(), "the audit file is open to everybody");
        }
        (self.file, self.number, self.torn) = (file, number, torn);
        Ok(())
    }
}

/// What is wrong with the path, without making anything.
pub(crate) fn check(path: &Path) -> Result<(), AuditError> {
    let open_to_all = "is open to everybody, and says who did what; chmod o= it";
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(wrong(path, Code::FileKind, "is no file")),
        Ok(found) if found.permissions().mode() & OTHERS != 0 => {
            Err(wrong(path, Code::FilePermissions, open_to_all))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !has_folder(path) => {
            let why = "is in a folder that is not there; make it, for hookgate alone";
            Err(wrong(path, Code::FileMissing, why))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn has_folder(path: &Path) -> bool {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.is_none_or(Path::is_dir)
}

fn unusable(path: &Path, error: &io::Error) -> AuditError {
    wrong(path, Code::FileUnreadable, &format!("cannot be used: {error}"))
}

fn wrong(path: &Path, code: Code, why: &str) -> AuditError {
    AuditError::File { path: path.display().to_string(), code, why: why.to_owned() }
}

fn open(path: &Path) -> io::Result<(File, (u64, u64), bool)> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
    let found = file.metadata()?;
    let mut last = [b'\n'];
    if found.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok((file, number(&found), last != [b'\n']))
}

fn number(of: &fs::Metadata) -> (u64, u64) {
    (of.dev(), of.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn what_was_moved_away_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("audit"), folder.path().join("audit.1"));
        let mut file = LogFile::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777 & !MODE, 0);
        file.append(b"1\n", true).unwrap();
        fs::rename(&path, &old).unwrap();
        file.append(b"2\n", false).unwrap();
        assert_eq!((read(&old), read(&path)), ("1\n".to_owned(), "2\n".to_owned()));
        // As `copytruncate` does.
        fs::write(&path, "").unwrap();
        file.append(b"3\n", false).unwrap();
        assert_eq!(read(&path), "3\n");
        // As `create` does, and another file with the same name.
        fs::rename(&path, &old).unwrap();
        fs::write(&path, "0\n").unwrap();
        file.append(b"4\n", false).unwrap();
        assert_eq!(read(&path), "0\n4\n");
    }

    #[test]
    fn a_line_that_was_cut_short_is_ended_and_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        fs::write(&path, "{\"half\":").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let mut file = LogFile::open(&path).unwrap();
        file.append(b"1\n", false).unwrap();
        assert_eq!(read(&path), "{\"half\":\n1\n");
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(file.broken(b"ab\ncd\n", 5, full()).0, 3);
        assert!(file.torn);
        assert_eq!(file.broken(b"ab\ncd\n", 3, full()).0, 3);
        assert!(!file.torn);
        assert_eq!(file.broken(b"ab\ncd\n", 0, full()).0, 0);
        assert!(!file.torn);
    }

    #[test]
    fn what_cannot_be_a_file_of_ones_own_is_refused_with_a_word_of_advice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        for (path, advice) in [
            (path.as_path(), "chmod o="),
            (folder.path(), "is no file"),
            (&folder.path().join("none/audit"), "make it"),
        ] {
            let why = LogFile::open(path).unwrap_err().to_string();
            assert!(why.contains(advice), "{why}");
        }
        assert!(!folder.path().join("none").exists());
    }
}
