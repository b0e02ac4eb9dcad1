//! Who may get at a key file.
//!
//! A file of one's own must be one's own alone: mode 0600 or 0400. One of root's may be readable by its
//! group, because that is how a process without privileges gets at a secret that is put there for it:
//! Kubernetes mounts secrets as root's with the pod's `fsGroup` and mode 0440, and systemd's credentials
//! show the same mode. Nobody besides the owner may ever change it, nor the world read it. A third user's
//! file is that user's to change, whatever its mode: only root reads it, who changes the files of others.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};

const ROOT: u32 = 0;

/// A file's owner, group and permission bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// The id of the user whose file it is.
    pub owner: u32,
    group: u32,
    /// The permission bits.
    pub mode: u32,
}

impl Access {
    /// That of a file.
    pub fn of(about: &Metadata) -> Self {
        Self { owner: about.uid(), group: about.gid(), mode: about.mode() & 0o7777 }
    }

    /// Whether more than the owner and, where it is not `reader`, its group can get at the file.
    pub const fn is_too_wide(&self, reader: u32) -> bool {
        let allowed = if self.owner == reader { 0o700 } else { 0o740 };
        self.mode & !allowed != 0
    }

    /// Whether a user owns the file who is neither `reader` nor root, and so could change it under a reader
    /// who may not touch that user's files.
    pub const fn is_foreign(&self, reader: u32) -> bool {
        self.owner != reader && self.owner != ROOT && reader != ROOT
    }

    /// Gives a new file to the same owner and group with the same permissions.
    ///
    /// # Errors
    /// The operating system's: only root may give files away.
    pub fn give(&self, file: &File) -> io::Result<()> {
        let now = Self::of(&file.metadata()?);
        if (now.owner, now.group) != (self.owner, self.group) {
            fchown(file, Some(self.owner), Some(self.group))?;
        }
        file.set_permissions(Permissions::from_mode(self.mode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_users_file_is_for_root_alone() {
        let table = [
            (1000, 1000, false),
            (0, 1000, false),
            (1234, 1000, true),
            (65_534, 1000, true),
            (0, 0, false),
            (1234, 0, false),
        ];
        for (owner, reader, foreign) in table {
            let access = Access { owner, group: reader, mode: 0o640 };
            assert_eq!(access.is_foreign(reader), foreign, "{owner} {reader}");
        }
    }

    #[test]
    fn a_group_may_read_what_somebody_else_owns_and_nobody_may_do_more() {
        const ME: u32 = 1000;
        let table = [
            (ME, 0o600, false),
            (ME, 0o400, false),
            (ME, 0o440, true),
            (ME, 0o640, true),
            (ME, 0o604, true),
            (0, 0o400, false),
            (0, 0o440, false),
            (0, 0o640, false),
            (0, 0o460, true),
            (0, 0o660, true),
            (0, 0o450, true),
            (0, 0o444, true),
            (0, 0o402, true),
            (0, 0o401, true),
            (0, 0o4400, true),
            (0, 0o2440, true),
        ];
        for (owner, mode, too_wide) in table {
            let access = Access { owner, group: 1000, mode };
            assert_eq!(access.is_too_wide(ME), too_wide, "{owner} {mode:o}");
        }
    }
}
