//! The data directory of the embedded default: its layout, its locks and its signing key.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use tokio::task::spawn_blocking;

use super::Role;
use crate::signing::keys::{KEY_BYTES_MIN, KeyRing};

/// What lies where in a data directory.
#[derive(Clone, Debug)]
pub(super) struct Layout(pub(super) PathBuf);

impl Layout {
    pub(super) fn database(&self) -> PathBuf {
        self.0.join("metadata.db")
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.0.join("blobs")
    }

    /// The database of a backup or a restore that is not whole yet.
    pub(super) fn unfinished(&self) -> PathBuf {
        self.0.join("unfinished.db")
    }

    /// Half a backup or half a restore is none.
    pub(super) fn refuse_unfinished(&self) -> anyhow::Result<()> {
        if self.unfinished().exists() {
            bail!(
                "{} holds a backup or a restore that was never finished: remove it and begin anew",
                self.0.display()
            );
        }
        Ok(())
    }

    /// What processes tell each other of changed records by.
    pub(super) fn changes(&self) -> PathBuf {
        self.0.join("changes")
    }

    pub(super) fn signing_key(&self) -> PathBuf {
        self.0.join("signing.key")
    }
}

/// An open data directory. Its locks keep other servers out for as long as it lives.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    _locks: Vec<File>,
}

impl DataDir {
    /// Opens the directory for the listeners of `role`, making it where it is not there. A second server
    /// with one of the same listeners is refused.
    pub(super) async fn open(path: &Path, role: Role) -> anyhow::Result<Self> {
        let path = path.to_owned();
        spawn_blocking(move || Self::open_blocking(path, role)).await?
    }

    fn open_blocking(path: PathBuf, role: Role) -> anyhow::Result<Self> {
        Layout(path.clone()).refuse_unfinished()?;
        // Private from the start: what is below it is every user's.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.with_context(|| format!("cannot make the data directory {}", path.display()))?;
        let grpc = role.runs_grpc().then_some("grpc.lock");
        let http = role.runs_http().then_some("http.lock");
        let locks = grpc.into_iter().chain(http).map(|name| lock(&path, name));
        let locks = locks.collect::<anyhow::Result<_>>()?;
        Ok(Self { path, _locks: locks })
    }

    pub(super) fn layout(&self) -> Layout {
        Layout(self.path.clone())
    }

    /// The directory's own signing key, made at the first start: 32 random bytes in hex, readable by their
    /// owner alone.
    pub(super) async fn signing_key(&self) -> anyhow::Result<KeyRing> {
        let path = self.layout().signing_key();
        spawn_blocking(move || {
            let key = read_or_make_key(&path)
                .with_context(|| format!("cannot use the signing key {}", path.display()))?;
            let key = key.trim();
            if key.contains(char::is_whitespace) {
                bail!("{} must hold one key; set signing.keys_file for more", path.display());
            }
            KeyRing::new([key]).with_context(|| format!("in {}", path.display()))
        })
        .await?
    }
}

fn lock(directory: &Path, name: &str) -> anyhow::Result<File> {
    let path = directory.join(name);
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another server is running on the data directory {} (it holds {name}); stop it first, or choose \
             another directory with --data",
            directory.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Two processes that start at once end up with the same key: it appears under its name whole, and the
/// first one stays.
fn read_or_make_key(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    let mut random = [0; KEY_BYTES_MIN];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    // Named by chance: what a crash left of an earlier start is in nobody's way.
    let mut chance = [0; 8];
    getrandom::fill(&mut chance).map_err(io::Error::other)?;
    let staging = path.with_extension(format!("key.{}", hex::encode(chance)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staging)?;
    file.write_all(hex::encode(random).as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&staging, path);
    fs::remove_file(&staging)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn the_key_is_made_once_and_private() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("data");
        let data = DataDir::open(&path, Role::All).await?;
        let first = data.signing_key().await?;
        assert!(first.verify("m", &data.signing_key().await?.sign("m")));
        let mode = fs::metadata(path.join("signing.key"))?.permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o700);
        Ok(())
    }

    #[tokio::test]
    async fn a_role_runs_once_a_directory_and_pairs_may_share_it() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let grpc = DataDir::open(directory.path(), Role::Grpc).await?;
        let http = DataDir::open(directory.path(), Role::Http).await?;
        let refused = DataDir::open(directory.path(), Role::All).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("another server")));
        drop((grpc, http));
        DataDir::open(directory.path(), Role::All).await?;
        Ok(())
    }
}
