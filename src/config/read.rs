//! Reads files with care: only regular ones, only of a sane size, only inside the configuration directory.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use super::error::{Error, Source};

/// The longest configuration file in bytes.
const MAX_LEN: u64 = 1 << 20;

/// The permission of everybody else to read (`S_IROTH`).
const OTHERS_READ: u32 = 0o004;

pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) world_readable: bool,
}

/// Reads a whole file of at most `max_len` bytes.
///
/// # Errors
///
/// A message to be read after the file's name.
pub(super) fn regular_file(path: &Path, max_len: u64) -> Result<Content, String> {
    try_regular_file(path, max_len).map_err(|error| match error {
        Refusal::Io(error) => format!("cannot be read ({error})"),
        Refusal::NotRegular => "is no regular file".into(),
        Refusal::TooLong => format!("is longer than {max_len} bytes"),
    })
}

enum Refusal {
    Io(io::Error),
    NotRegular,
    TooLong,
}

fn try_regular_file(path: &Path, max_len: u64) -> Result<Content, Refusal> {
    // Asked before opening, because to open a FIFO is to wait for its writer.
    if !fs::metadata(path).map_err(Refusal::Io)?.is_file() {
        return Err(Refusal::NotRegular);
    }
    let mut file = File::open(path).map_err(Refusal::Io)?;
    // Asked of the open file, because the path may lead elsewhere by now.
    let metadata = file.metadata().map_err(Refusal::Io)?;
    if !metadata.is_file() {
        return Err(Refusal::NotRegular);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(max_len)).unwrap_or_default() + 1);
    // One byte more than allowed, because a file may grow while it is read.
    file.by_ref()
        .take(max_len + 1)
        .read_to_end(&mut bytes)
        .map_err(Refusal::Io)?;
    if bytes.len() as u64 > max_len {
        return Err(Refusal::TooLong);
    }
    Ok(Content {
        bytes,
        world_readable: metadata.mode() & OTHERS_READ != 0,
    })
}

/// Reads one configuration file. `None` if there is no such file.
pub(super) fn source(path: &Arc<Path>) -> Result<Option<Source>, Error> {
    let content = match try_regular_file(path, MAX_LEN) {
        Ok(content) => content,
        Err(Refusal::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(Refusal::Io(error)) => {
            return Err(Error::of_file(
                path,
                format!("the file cannot be read ({error}): correct its permissions"),
            ));
        }
        Err(Refusal::NotRegular) => {
            return Err(Error::of_file(
                path,
                "this is no regular file: write a file, or rename this",
            ));
        }
        Err(Refusal::TooLong) => {
            return Err(Error::of_file(
                path,
                "the file is longer than 1 MiB: split it into several",
            ));
        }
    };
    match String::from_utf8(content.bytes) {
        Ok(text) => Ok(Some(Source::new(Arc::clone(path), text, content.world_readable))),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let byte = error.as_bytes()[valid];
            let text = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
            let source = Source::new(Arc::clone(path), text, content.world_readable);
            Err(source.error(valid, format!("byte 0x{byte:02X} is not UTF-8: save the file as UTF-8")))
        }
    }
}

/// Refuses a path that leads out of the configuration directory, of which `inside` is the real path.
///
/// Symbolic links inside are fine: Kubernetes mounts `x.toml` as a link to `..data/x.toml`, and `..data` as a link to
/// the directory of the current version, to switch all files at once.
pub(super) fn check_inside(path: &Path, inside: &Path) -> Result<(), Error> {
    match path.canonicalize() {
        Ok(real) if real.starts_with(inside) => Ok(()),
        Ok(_) => Err(Error::of_file(
            path,
            "the symbolic link leads out of the configuration directory: put the file itself here",
        )),
        Err(error) => Err(Error::of_file(
            path,
            format!("the symbolic link cannot be followed ({error}): remove it, or put the file itself here"),
        )),
    }
}

/// A file's path, with the error if it is a symbolic link that may not be followed.
pub(super) type Found = (Arc<Path>, Option<Error>);

/// The tenant files in the order of their names. `None` if there is no such directory.
pub(super) fn tenant_files(dir: &Path, inside: &Path) -> Result<Option<Vec<Found>>, Error> {
    let unreadable = |error: &io::Error| {
        Error::of_file(
            dir,
            format!("the directory cannot be read ({error}): correct its permissions"),
        )
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(dir).is_err() => return Ok(None),
        Err(error) => return Err(unreadable(&error)),
    };
    check_inside(dir, inside)?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(&error))?;
        let name = entry.file_name();
        let bytes = name.as_encoded_bytes();
        // Not what editors leave behind (`x.toml~`, `.x.toml.swp`, `.#x.toml`), nor what Kubernetes keeps (`..data`).
        if bytes.starts_with(b".") || !bytes.ends_with(b".toml") {
            continue;
        }
        let path: Arc<Path> = entry.path().into();
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let error = if is_link {
            check_inside(&path, inside).err()
        } else {
            None
        };
        files.push((path, error));
    }
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(Some(files))
}
