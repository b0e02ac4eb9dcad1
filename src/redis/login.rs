//! Who the gateway is for the servers.

use std::io;
use std::path::PathBuf;

use redis::RedisConnectionInfo;
use zeroize::Zeroizing;

use crate::redis::error::SetupError;
use crate::redis::trouble::Trouble;

/// Which keys of the configuration a login comes from, for sentences.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    pub(super) username: &'static str,
    pub(super) password_file: &'static str,
}

/// A user, and the file with the password. The password itself is held only while a connection is made.
#[derive(Clone, Debug)]
pub(super) struct Login {
    keys: Keys,
    username: Option<String>,
    password_file: Option<PathBuf>,
}

impl Login {
    /// The login, once its file could be read.
    pub(super) fn new(
        keys: Keys,
        username: Option<&String>,
        password_file: Option<&PathBuf>,
    ) -> Result<Self, SetupError> {
        let Keys { username: user_key, password_file: file_key } = keys;
        if username.is_some() && password_file.is_none() {
            return Err(SetupError::NoPassword { username: user_key, password_file: file_key });
        }
        if let Some(path) = password_file {
            let wrong = |error: io::Error| SetupError::File {
                key: file_key,
                path: path.clone(),
                why: error.to_string(),
            };
            let bytes = Zeroizing::new(std::fs::read(path).map_err(wrong)?);
            password(&bytes).map_err(wrong)?;
        }
        Ok(Self { keys, username: username.cloned(), password_file: password_file.cloned() })
    }

    /// What a new connection says first, with the password as it is now.
    pub(super) async fn now(&self, database: u16) -> Result<RedisConnectionInfo, Trouble> {
        // The library's name is not told: a user with the least rights may not, and it is of no use.
        let mut says =
            RedisConnectionInfo::default().set_db(i64::from(database)).set_skip_set_lib_name();
        if let Some(username) = &self.username {
            says = says.set_username(username);
        }
        if let Some(path) = &self.password_file {
            let unreadable =
                |error: io::Error| Trouble::PasswordFile(self.keys.password_file, error.kind());
            let bytes = Zeroizing::new(tokio::fs::read(path).await.map_err(unreadable)?);
            says = says.set_password(password(&bytes).map_err(unreadable)?);
        }
        Ok(says)
    }
}

fn password(bytes: &[u8]) -> io::Result<&str> {
    let wrong = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    let text = std::str::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() { Err(wrong("it is empty")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: Keys = Keys { username: "username", password_file: "password_file" };

    fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    #[tokio::test]
    async fn one_line_feed_does_not_count_and_a_new_password_does() {
        let (_folder, path) = file(b" pass word\n\n");
        let login = Login::new(KEYS, None, Some(&path)).unwrap();
        assert_eq!(login.now(0).await.unwrap().password(), Some(" pass word\n"));
        std::fs::write(&path, "other\r\n").unwrap();
        assert_eq!(login.now(0).await.unwrap().password(), Some("other"));
        std::fs::remove_file(&path).unwrap();
        let gone = login.now(0).await.unwrap_err();
        assert_eq!(gone, Trouble::PasswordFile("password_file", io::ErrorKind::NotFound));
    }

    #[test]
    fn what_is_no_password_is_refused_and_never_shown() {
        for bytes in [&b""[..], b"\n", b"s\xffcret"] {
            let (_folder, path) = file(bytes);
            let why = Login::new(KEYS, None, Some(&path)).unwrap_err().to_string();
            assert!(why.starts_with("state.redis.password_file: "), "{why}");
            assert!(!why.contains("cret"), "{why}");
        }
        let (_folder, path) = file(b"secret");
        let login = Login::new(KEYS, Some(&"user".to_owned()), Some(&path)).unwrap();
        assert!(!format!("{login:?}").contains("secret"));
        let missing = path.with_file_name("missing");
        assert!(Login::new(KEYS, None, Some(&missing)).is_err());
        assert!(Login::new(KEYS, Some(&"user".to_owned()), None).is_err());
    }
}
