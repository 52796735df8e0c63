//! The agent's unix sockets, each open to root and one group, none to the world.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, chown};
use tokio::net::{UnixListener, UnixStream};
use wire::frame::{Decoder, encode};

/// A socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("socket {path}: {source}")]
pub struct SocketError {
    /// The socket.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Listens at `path`, for root and the members of `group` alone; for root alone without one.
///
/// # Errors
/// When the folder is not there, the group does not exist, or the system says no.
pub fn listen(path: &Path, group: Option<&str>) -> Result<UnixListener, SocketError> {
    let failed = |source| SocketError { path: path.into(), source };
    crate::store::remove(path).map_err(|error| failed(io::Error::other(error)))?;
    let gid = group.map(find_group).transpose().map_err(failed)?;
    // Made for root alone, then opened: there is no moment in which a stranger could connect.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener.map_err(failed)?;
    if let Some(gid) = gid {
        chown(path, Some(Uid::from_raw(0)), Some(gid)).map_err(|error| failed(error.into()))?;
        let mode = std::fs::Permissions::from_mode(0o660);
        std::fs::set_permissions(path, mode).map_err(failed)?;
    }
    Ok(listener)
}

/// Listens at `path` for everybody: who may say what is decided by who they are.
///
/// # Errors
/// When the folder is not there, or the system says no.
pub fn listen_to_all(path: &Path) -> Result<UnixListener, SocketError> {
    let listener = listen(path, None)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
        .map_err(|source| SocketError { path: path.into(), source })?;
    Ok(listener)
}

fn find_group(name: &str) -> io::Result<Gid> {
    let missing =
        || io::Error::other(format!("there is no group {name}; run `curfew-agent install`"));
    Ok(Group::from_name(name)?.ok_or_else(missing)?.gid)
}

/// Reads one frame.
///
/// # Errors
/// When the peer closes first or sends no such frame.
pub async fn read_frame<T: serde::de::DeserializeOwned>(
    stream: &mut UnixStream,
    limit: usize,
) -> io::Result<T> {
    use tokio::io::AsyncReadExt as _;
    let mut decoder = Decoder::new(limit);
    let mut bytes = [0; 4096];
    loop {
        if let Some(frame) = decoder.take().map_err(io::Error::other)? {
            return Ok(frame);
        }
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        decoder.push(bytes.get(..count).unwrap_or_default());
    }
}

/// Writes one frame.
///
/// # Errors
/// When the peer has gone.
pub async fn write_frame<T: serde::Serialize + Sync>(
    stream: &mut UnixStream,
    value: &T,
) -> io::Result<()> {
    use tokio::io::AsyncWriteExt as _;
    stream.write_all(&encode(value).map_err(io::Error::other)?).await
}
