use super::*;
use crate::protocol::Challenge;

fn snapshot(generation: u64) -> Snapshot {
    Snapshot { generation, challenges: vec![challenge(generation)], ..Snapshot::default() }
}

fn challenge(number: u64) -> Challenge {
    Challenge { host: "a.test".into(), token: format!("t{number}"), key_authorization: "k".into() }
}

fn patch(from: u64) -> Patch {
    Patch { from, to: from + 1, challenges: Some(vec![challenge(from + 1)]), ..Patch::default() }
}

fn append(disk: &mut Disk, from: u64) {
    disk.append(&patch(from), from, || snapshot(from + 1)).unwrap();
}

fn reload(folder: &Path) -> (Option<Snapshot>, Vec<String>) {
    let (_, loaded) = Disk::open(folder).unwrap();
    (loaded.snapshot, loaded.warnings)
}

#[test]
fn snapshot_and_the_patches_after_it_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let (mut disk, loaded) = Disk::open(folder.path()).unwrap();
    assert!(loaded.snapshot.is_none() && loaded.warnings.is_empty());
    disk.write_snapshot(&snapshot(5)).unwrap();
    append(&mut disk, 5);
    append(&mut disk, 6);
    assert_eq!(reload(folder.path()), (Some(snapshot(7)), vec![]));
}

#[test]
fn a_corrupt_snapshot_gives_way_to_the_one_before_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (mut disk, _) = Disk::open(folder.path()).unwrap();
    disk.write_snapshot(&snapshot(1)).unwrap();
    append(&mut disk, 1);
    disk.write_snapshot(&snapshot(9)).unwrap();
    let path = folder.path().join(CURRENT);
    let mut text = fs::read(&path).unwrap();
    let last = text.len() - 3;
    text[last] ^= 1;
    fs::write(&path, text).unwrap();
    let (found, warnings) = reload(folder.path());
    assert_eq!(found, Some(snapshot(2)), "the one before, with its journal");
    assert!(warnings[0].contains("snapshot.json") && warnings[0].contains("checksum"), "{warnings:?}");
}

#[test]
fn a_torn_record_at_the_end_of_the_journal_is_left_out_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let (mut disk, _) = Disk::open(folder.path()).unwrap();
    disk.write_snapshot(&snapshot(1)).unwrap();
    append(&mut disk, 1);
    append(&mut disk, 2);
    let path = folder.path().join("journal.1.jsonl");
    let text = fs::read(&path).unwrap();
    fs::write(&path, &text[..text.len() - 10]).unwrap();
    let (found, warnings) = reload(folder.path());
    assert_eq!((found, warnings.len()), (Some(snapshot(2)), 1));
}

#[test]
fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (mut disk, _) = Disk::open(folder.path()).unwrap();
    disk.write_snapshot(&snapshot(1)).unwrap();
    append(&mut disk, 1);
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
}

#[test]
fn old_journals_don_t_pile_up() {
    let folder = tempfile::tempdir().unwrap();
    let (mut disk, _) = Disk::open(folder.path()).unwrap();
    for generation in [10, 20, 30, 40] {
        disk.write_snapshot(&snapshot(generation)).unwrap();
        append(&mut disk, generation);
    }
    let journals = fs::read_dir(folder.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("journal."))
        .count();
    assert_eq!(journals, 2);
}
