//! Hostile archives and lists: refused whole, nothing left on the disk.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use panda_builder::source::archive::extract_archive;
use panda_builder::source::extract::{BlobDir, ExtractError, ExtractLimits, extract_manifest};
use panda_domain::failure::FailureCode;
use panda_domain::source_tree::{ContentHash, SourceEntry, SourceKind, SourceManifest};
use tar::{EntryType, Header};

/// Writes raw headers, because the library refuses to make hostile ones.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn entry(mut self, kind: EntryType, path: &str, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o4755);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, path, "", content.as_bytes())
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn limits() -> ExtractLimits {
    ExtractLimits { entries: 100, bytes: 10 << 20, ratio: 100 }
}

/// Extracts and returns the error; asserts that nothing is left, inside or beside the target.
fn refused(archive: &[u8]) -> ExtractError {
    let parent = tempfile::tempdir().unwrap();
    let error = extract_archive(archive, &parent.path().join("source"), limits()).unwrap_err();
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0, "{error}");
    let failure = error.failure();
    assert!(!failure.failure.fix.is_empty() && failure.failure.code == FailureCode::P112, "{failure}");
    error
}

#[test]
fn paths_and_links_that_lead_out_are_refused_whole() {
    let hostile = [
        Archive::default().file("ok", "1").file("../../etc/x", "2"),
        Archive::default().file("/etc/x", "2"),
        Archive::default().file("a/../../x", "2"),
        Archive::default().entry(EntryType::Symlink, "a", "/etc", b"").file("a/passwd", "2"),
        Archive::default().entry(EntryType::Symlink, "a", "../..", b""),
        Archive::default().entry(EntryType::Symlink, "a", "b", b"").file("a/x", "through the link"),
        Archive::default().entry(EntryType::Symlink, "a", "b", b"").file("a", "over the link"),
        Archive::default().entry(EntryType::Link, "a", "/etc/passwd", b""),
        Archive::default().file("b", "").entry(EntryType::Link, "a", "b", b""),
        Archive::default().entry(EntryType::Char, "a", "", b""),
        Archive::default().entry(EntryType::Block, "a", "", b""),
        Archive::default().entry(EntryType::Fifo, "a", "", b""),
        Archive::default().file("a", "1").file("a", "2"),
        Archive::default().file("a", "1").file("a/b", "2"),
        Archive::default().entry(EntryType::Directory, "a/", "", b"").file("a", "2"),
        Archive::default().file("a\u{1}b", "1"),
    ];
    for archive in hostile {
        refused(&archive.finish());
    }
}

#[test]
fn a_long_name_is_bounded_and_a_second_size_is_refused() {
    let long = Archive::default()
        .entry(EntryType::GNULongName, "././@LongLink", "", &vec![b'a'; 4096])
        .file("x", "1");
    refused(&long.finish());
    let endless = Archive::default()
        .entry(EntryType::GNULongName, "././@LongLink", "", &vec![b'a'; 1 << 20])
        .file("x", "1");
    refused(&endless.finish());
    let sized = Archive::default().entry(EntryType::XHeader, "pax", "", b"12 size=999\n").file("x", "1");
    assert!(refused(&sized.finish()).to_string().contains("second size"));
    let elsewhere =
        Archive::default().entry(EntryType::XHeader, "pax", "", b"18 path=../../etc\n").file("x", "1");
    refused(&elsewhere.finish());
}

#[test]
fn too_many_entries_too_many_bytes_and_bombs_are_cut() {
    let many = (0..101).fold(Archive::default(), |archive, n| archive.file(&format!("f{n}"), ""));
    assert!(matches!(refused(&many.finish()), ExtractError::TooMany { limit: 100, .. }));
    let big = Archive::default().file("a", &"x".repeat(6 << 20)).file("b", &"x".repeat(6 << 20)).finish();
    assert!(matches!(refused(&big), ExtractError::TooLarge { path, .. } if path == "b"));
    let bomb = Archive::default().file("a", &"0".repeat(9 << 20)).finish();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gz.write_all(&bomb).unwrap();
    assert!(matches!(refused(&gz.finish().unwrap()), ExtractError::Ratio { limit: 100, .. }));
    let zst = zstd::encode_all(bomb.as_slice(), 3).unwrap();
    assert!(matches!(refused(&zst), ExtractError::Ratio { .. }));
}

#[test]
fn a_stream_without_end_is_cut_at_the_limit() {
    let header = Archive::default().file("a", "").0;
    let endless = header.chain(std::io::repeat(0));
    let parent = tempfile::tempdir().unwrap();
    // Zeros end an archive; what follows is never read.
    extract_archive(endless, &parent.path().join("a"), limits()).unwrap();
    let mut long = Header::new_gnu();
    long.set_size(1 << 40);
    long.set_mode(0o644);
    long.as_old_mut().name[0] = b'a';
    long.set_cksum();
    let endless = long.as_bytes().chain(std::io::repeat(b'x'));
    let error = extract_archive(endless, &parent.path().join("b"), limits()).unwrap_err();
    assert!(matches!(error, ExtractError::TooLarge { .. }), "{error}");
    assert!(!parent.path().join("b").exists());
}

#[test]
fn an_archive_that_ends_early_leaves_nothing() {
    let whole = Archive::default().file("a", "1").file("b", &"x".repeat(5000)).finish();
    refused(&whole[..2000]);
    refused(b"this is no archive, but it is longer than one header of five hundred and twelve bytes would be, is it not? \
              this is no archive, but it is longer than one header of five hundred and twelve bytes would be, is it not? \
              this is no archive, but it is longer than one header of five hundred and twelve bytes would be, is it not? \
              this is no archive, but it is longer than one header of five hundred and twelve bytes would be, is it not? \
              this is no archive, but it is longer than one header of five hundred and twelve bytes would be, is it not?");
}

#[test]
fn a_good_archive_keeps_modes_links_and_case_and_loses_setuid() {
    let archive = Archive::default()
        .entry(EntryType::Directory, "./", "", b"")
        .entry(EntryType::Directory, "./empty/", "", b"")
        .file("./README", "upper")
        .file("./readme", "lower")
        .entry(EntryType::Symlink, "./sub/link", "../README", b"")
        .entry(EntryType::GNULongName, "././@LongLink", "", format!("deep/{}\0", "n".repeat(150)).as_bytes())
        .file("short", "long name");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&archive.finish()).unwrap();
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("source");
    extract_archive(gz.finish().unwrap().as_slice(), &root, limits()).unwrap();
    assert_eq!(fs::read_to_string(root.join("README")).unwrap(), "upper");
    assert_eq!(fs::read_to_string(root.join("readme")).unwrap(), "lower");
    assert_eq!(fs::read_to_string(root.join("sub/link")).unwrap(), "upper");
    assert!(root.join("deep").join("n".repeat(150)).is_file() && root.join("empty").is_dir());
    assert_eq!(fs::metadata(root.join("README")).unwrap().mode() & 0o7777, 0o755);
}

fn manifest(entries: &[(&str, &str)]) -> SourceManifest {
    let entries = entries.iter().map(|(path, text)| SourceEntry {
        path: (*path).to_owned(),
        kind: SourceKind::File {
            executable: false,
            size: text.len() as u64,
            sha256: ContentHash::of(text.as_bytes()),
        },
    });
    SourceManifest::new(entries.collect()).unwrap()
}

#[test]
fn a_list_and_its_contents_become_a_directory_whose_times_follow_the_contents() {
    let blobs = tempfile::tempdir().unwrap();
    for text in ["one", "two"] {
        fs::write(blobs.path().join(ContentHash::of(text.as_bytes()).to_string()), text).unwrap();
    }
    let blobs = BlobDir(blobs.path().to_owned());
    let parent = tempfile::tempdir().unwrap();
    let extract = |name: &str, entries: &[(&str, &str)]| {
        let root = parent.path().join(name);
        extract_manifest(&manifest(entries), &root, limits(), |hash| blobs.open(hash)).map(|()| root)
    };
    let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let first = extract("first", &[("a/b", "one"), ("c", "two")]).unwrap();
    let again = extract("again", &[("a/b", "one"), ("c", "one")]).unwrap();
    assert_eq!(time(&first.join("a/b")), time(&again.join("a/b")));
    assert_ne!(time(&first.join("c")), time(&again.join("c")), "equal length, other content");

    let missing = extract("missing", &[("a", "one"), ("b", "three")]).unwrap_err();
    assert!(matches!(missing, ExtractError::Missing { ref path, .. } if path == "b"), "{missing}");
    assert!(!parent.path().join("missing").exists());
    let known: HashMap<ContentHash, &str> = HashMap::from([(ContentHash::of(b"one"), "other")]);
    let root = parent.path().join("mismatch");
    let wrong = extract_manifest(&manifest(&[("a", "one")]), &root, limits(), |hash| {
        Ok(known.get(hash).map(|text| text.as_bytes()))
    });
    assert!(matches!(wrong, Err(ExtractError::Mismatch { .. })) && !root.exists());
    let few = ExtractLimits { entries: 1, ..limits() };
    let many =
        extract_manifest(&manifest(&[("a", "one"), ("b", "one")]), &root, few, |hash| blobs.open(hash));
    assert!(matches!(many, Err(ExtractError::TooMany { .. })) && !root.exists());
}

#[test]
fn what_is_there_already_is_neither_written_into_nor_removed() {
    let parent = tempfile::tempdir().unwrap();
    fs::write(parent.path().join("mine"), "x").unwrap();
    assert!(
        extract_archive(Archive::default().file("a", "1").finish().as_slice(), parent.path(), limits())
            .is_err()
    );
    assert!(parent.path().join("mine").exists() && !parent.path().join("a").exists());
}
