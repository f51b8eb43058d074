//! Unpacks tar, tar.gz and tar.zst from people we don't know.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use panda_domain::source_tree::{SourceManifest, SourceProblem};
use tar::EntryType;

use super::extract::{ExtractError, ExtractLimits, Sink, shown};

/// An archive may always become this large, whatever its ratio.
const RATIO_FREE_BYTES: u64 = 1 << 20;
/// Longest extension record (long name, PAX header) of an entry, in bytes.
const MAX_EXTENSION_BYTES: u64 = 64 * 1024;

/// Unpacks an archive into `target`, which must not exist yet; nothing stays there on an error.
pub fn extract_archive(archive: impl Read, target: &Path, limits: ExtractLimits) -> Result<(), ExtractError> {
    let read = Rc::new(Cell::new(0));
    let counted = Counted { inner: archive, read: read.clone() };
    let mut buffered = BufReader::new(counted);
    let magic = buffered.fill_buf().map_err(ExtractError::Archive)?;
    let plain: Box<dyn Read + '_> = if magic.starts_with(&[0x1f, 0x8b]) {
        Box::new(flate2::bufread::MultiGzDecoder::new(buffered))
    } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut decoder = zstd::Decoder::with_buffer(buffered).map_err(ExtractError::Archive)?;
        // 2^27 bytes is what `zstd --long` takes at most without being asked.
        decoder.window_log_max(27).map_err(ExtractError::Archive)?;
        Box::new(decoder)
    } else {
        Box::new(buffered)
    };
    let bounded = Bounded { inner: plain, given: 0, read, limits };
    unpack(bounded, target, limits)
}

fn unpack(stream: Bounded<'_>, target: &Path, limits: ExtractLimits) -> Result<(), ExtractError> {
    let mut archive = tar::Archive::new(stream);
    let mut sink = Sink::create(target, limits)?;
    let mut extensions = Extensions::default();
    // Raw: the library would read a long name of any length into memory, and let a PAX header move the end
    // of an entry, so that two readers see two archives.
    for (seen, entry) in archive.entries().map_err(ExtractError::Archive)?.raw(true).enumerate() {
        let mut entry = entry.map_err(|error| bound_error(error, "the next entry"))?;
        let kind = entry.header().entry_type();
        let path = match extensions.path.take() {
            Some(path) => path,
            None => entry.path_bytes().into_owned(),
        };
        let path = path_text(&path)?;
        // An entry may have two extensions before it.
        if seen / 3 > limits.entries {
            return Err(ExtractError::TooMany { limit: limits.entries, path: shown(&path) });
        }
        match kind {
            EntryType::GNULongName
            | EntryType::GNULongLink
            | EntryType::XHeader
            | EntryType::XGlobalHeader => {
                extensions.read(kind, &mut entry, &path)?;
                continue;
            }
            // The root itself, as `tar -C dir .` writes it.
            EntryType::Directory if path.is_empty() => {}
            EntryType::Directory => sink.directory(&path)?,
            EntryType::Regular | EntryType::Continuous => {
                let executable = entry.header().mode().map_err(ExtractError::Archive)? & 0o100 != 0;
                let written = sink.file(&path, executable, &mut entry);
                let (length, _) = written.map_err(|error| match error {
                    ExtractError::Archive(error) => bound_error(error, &path),
                    error => error,
                })?;
                if length != entry.header().size().map_err(ExtractError::Archive)? {
                    return Err(ExtractError::Archive(io::ErrorKind::UnexpectedEof.into()));
                }
            }
            EntryType::Symlink => {
                let link = extensions.link.take().or_else(|| entry.link_name_bytes().map(Into::into));
                let link = String::from_utf8(link.unwrap_or_default());
                let link = link.map_err(|_| ExtractError::entry(&path, SourceProblem::Control))?;
                sink.symlink(&path, &link)?;
            }
            kind => return Err(ExtractError::Kind { path: shown(&path), kind: named(kind) }),
        }
        extensions = Extensions::default();
    }
    sink.keep();
    Ok(())
}

/// What the records before an entry say about it.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Extensions {
    fn read(&mut self, kind: EntryType, entry: &mut impl Read, path: &str) -> Result<(), ExtractError> {
        let mut record = Vec::new();
        entry
            .take(MAX_EXTENSION_BYTES + 1)
            .read_to_end(&mut record)
            .map_err(|error| bound_error(error, path))?;
        if record.len() as u64 > MAX_EXTENSION_BYTES {
            return Err(ExtractError::entry(path, SourceProblem::TooLong));
        }
        match kind {
            EntryType::GNULongName => self.path = Some(until_nul(record)),
            EntryType::GNULongLink => self.link = Some(until_nul(record)),
            EntryType::XHeader => self.pax(&record, path)?,
            // Global records (a commit's name in `git archive`) say nothing about files.
            _ => {}
        }
        Ok(())
    }

    fn pax(&mut self, record: &[u8], path: &str) -> Result<(), ExtractError> {
        for extension in tar::PaxExtensions::new(record) {
            let extension = extension.map_err(ExtractError::Archive)?;
            match extension.key_bytes() {
                b"path" => self.path = Some(extension.value_bytes().to_vec()),
                b"linkpath" => self.link = Some(extension.value_bytes().to_vec()),
                b"size" => {
                    return Err(ExtractError::Kind {
                        path: shown(path),
                        kind: "given a second size by a PAX header",
                    });
                }
                key if key.starts_with(b"GNU.sparse") => {
                    return Err(ExtractError::Kind { path: shown(path), kind: "a sparse file" });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn until_nul(mut record: Vec<u8>) -> Vec<u8> {
    if let Some(end) = record.iter().position(|byte| *byte == 0) {
        record.truncate(end);
    }
    record
}

fn path_text(bytes: &[u8]) -> Result<String, ExtractError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| ExtractError::entry(&String::from_utf8_lossy(bytes), SourceProblem::Control))?;
    let text = text.strip_suffix('/').unwrap_or(text);
    let mut plain = text;
    while let Some(rest) = plain.strip_prefix("./") {
        plain = rest;
    }
    Ok(if plain == "." { String::new() } else { plain.to_owned() })
}

fn named(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Link => "a hard link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a named pipe",
        EntryType::GNUSparse => "a sparse file",
        _ => "of an unknown kind",
    }
}

/// Counts what comes from outside.
struct Counted<R> {
    inner: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.read.set(self.read.get() + length as u64);
        Ok(length)
    }
}

/// Stops a stream that grows beyond the limits, headers and padding included.
struct Bounded<'a> {
    inner: Box<dyn Read + 'a>,
    given: u64,
    read: Rc<Cell<u64>>,
    limits: ExtractLimits,
}

/// Travels through `io::Error`, because that is what a reader may say.
#[derive(Debug, thiserror::Error)]
enum BoundError {
    #[error("too large")]
    TooLarge(u64),
    #[error("grows beyond measure")]
    Ratio(u64),
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.given += length as u64;
        // Headers cost 512 bytes an entry, padding at most as much again.
        let overhead = self.limits.entries as u64 * (1024 + MAX_EXTENSION_BYTES / 64);
        if self.given > self.limits.bytes.saturating_add(overhead) {
            return Err(io::Error::other(BoundError::TooLarge(self.limits.bytes)));
        }
        if self.given > RATIO_FREE_BYTES && self.given / self.read.get().max(1) > self.limits.ratio {
            return Err(io::Error::other(BoundError::Ratio(self.limits.ratio)));
        }
        Ok(length)
    }
}

fn bound_error(error: io::Error, path: &str) -> ExtractError {
    let bound = error.get_ref().and_then(|inner| inner.downcast_ref::<BoundError>());
    match bound {
        Some(BoundError::TooLarge(limit)) => ExtractError::TooLarge { limit: *limit, path: shown(path) },
        Some(BoundError::Ratio(limit)) => ExtractError::Ratio { limit: *limit, path: shown(path) },
        None => ExtractError::Archive(error),
    }
}

/// Reads an extracted archive back as a list, so that it is stored like any upload.
pub fn list_extracted(directory: &Path) -> Result<SourceManifest, panda_source_walk::WalkError> {
    let options =
        panda_source_walk::WalkOptions { max_entries: usize::MAX, max_bytes: u64::MAX, keep: Vec::new() };
    Ok(panda_source_walk::walk(directory, &options)?.manifest)
}
