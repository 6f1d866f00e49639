use lsm_log::error::ErrorKind;
use lsm_log::testkit::{TestFs, nonce};

use super::*;

fn dir() -> &'static Path {
    Path::new("/db")
}

fn path(name: FileName) -> PathBuf {
    name.in_dir(dir())
}

fn manifest(number: u64) -> PathBuf {
    path(FileName::Manifest(FileNumber(number)))
}

fn edit(number: u64) -> Edit {
    Edit {
        next_file: Some(FileNumber(number)),
        add_logs: vec![(FileNumber(number), 64)],
        ..Edit::default()
    }
}

/// How the snapshot of manifest `number` is read.
fn snapshot(number: u64) -> Edit {
    Edit { snapshot_end: true, ..edit(number) }
}

fn create_with(fs: &TestFs, number: u64, pieces: Vec<Edit>) -> Result<Manifest> {
    let number = FileNumber(number);
    Manifest::create(fs, dir(), (number, nonce(number)), pieces.into_iter())
}

fn create(fs: &TestFs, number: u64) -> Result<Manifest> {
    create_with(fs, number, vec![edit(number)])
}

fn encoded(edit: &Edit) -> Vec<u8> {
    let mut out = Vec::new();
    edit.encode(&mut out);
    out
}

/// Where the next record of manifest 1 goes.
fn place(bytes: &[u8]) -> RecordPlace {
    let number = FileNumber(1);
    RecordPlace { number, nonce: nonce(number), offset: bytes.len() }
}

fn load(fs: &TestFs) -> Result<Option<Loaded>> {
    Manifest::load(fs, dir())
}

/// A manifest with a snapshot and three edits.
fn sample() -> (TestFs, Vec<Edit>) {
    let fs = TestFs::default();
    let mut manifest = create(&fs, 1).unwrap();
    let edits: Vec<Edit> = (2..5).map(edit).collect();
    edits.iter().for_each(|edit| manifest.append(&encoded(edit)).unwrap());
    (fs, [vec![snapshot(1)], edits].concat())
}

#[test]
fn edits_come_back() {
    let (fs, edits) = sample();
    let loaded = load(&fs).unwrap().unwrap();
    assert_eq!(loaded.edits, edits);
    assert_eq!(loaded.number, FileNumber(1));
    assert_eq!(loaded.end, fs.bytes(&manifest(1)).len() as u64);
}

#[test]
fn the_length_is_that_of_the_file() {
    let fs = TestFs::default();
    let mut written = create(&fs, 1).unwrap();
    for number in 2..5 {
        assert_eq!(written.bytes(), fs.bytes(&manifest(1)).len() as u64);
        written.append(&encoded(&edit(number))).unwrap();
    }
}

#[test]
fn edits_without_change_are_fine() {
    let fs = TestFs::default();
    let mut manifest = create_with(&fs, 1, vec![Edit::default()]).unwrap();
    manifest.append(&encoded(&Edit::default())).unwrap();
    manifest.append(&encoded(&edit(2))).unwrap();
    let nothing = Edit { snapshot_end: true, ..Edit::default() };
    assert_eq!(load(&fs).unwrap().unwrap().edits, [nothing, edit(2)]);
}

#[test]
fn each_step_of_creation_is_durable_before_the_next() {
    let fs = TestFs::default();
    let mut manifest = create(&fs, 1).unwrap();
    let calls = [
        "create 000001.manifest",
        "write 000001.manifest",
        "sync 000001.manifest",
        // The proof, which is not waited for.
        "write 000001.manifest",
        "create CURRENT.new",
        "write CURRENT.new",
        "sync CURRENT.new",
        "sync folder db",
        "rename to CURRENT",
        "sync folder db",
    ];
    assert_eq!(fs.take_calls(), calls);
    manifest.append(&encoded(&edit(2))).unwrap();
    assert_eq!(fs.take_calls(), &calls[1..4]);
}

#[test]
fn current_bytes_are_golden() {
    let (fs, _) = sample();
    let text = String::from_utf8(fs.bytes(&path(FileName::Current))).unwrap();
    assert_eq!(text, "000001.manifest\n4a1ca69c\n");
}

#[test]
fn a_new_manifest_takes_over_when_current_names_it() {
    let (fs, edits) = sample();
    // A crash left the next manifest and CURRENT.new behind: both are made anew.
    fs.set(&manifest(9), b"half of it");
    fs.set(&path(FileName::CurrentNew), b"half of it");
    assert_eq!(load(&fs).unwrap().unwrap().edits, edits);
    create(&fs, 9).unwrap();
    let loaded = load(&fs).unwrap().unwrap();
    assert_eq!((loaded.number, loaded.edits), (FileNumber(9), vec![snapshot(9)]));
    let before = fs.bytes(&manifest(9));
    assert_eq!(create(&fs, 9).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(fs.bytes(&manifest(9)), before);
}

/// Whatever happens to one byte of the manifest, the result is an error, unless only what
/// follows the last edit is hit.
#[test]
fn every_flipped_bit_is_an_error_or_hits_no_edit() {
    let (fs, edits) = sample();
    let intact = fs.bytes(&manifest(1));
    let proof = intact.len() - 32;
    for bit in 0..intact.len() * 8 {
        let mut bytes = intact.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let damaged = fs.image();
        damaged.set(&manifest(1), &bytes);
        match load(&damaged) {
            Ok(loaded) => {
                assert_eq!(loaded.unwrap().edits, edits);
                assert!(bit / 8 >= proof, "bit {bit}");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                assert_eq!(error.file(), Some(&*manifest(1)));
                assert!(error.offset().is_some(), "{error}");
            }
        }
    }
}

/// A cut file is what a crash during an append leaves: the edits before the cut stay.
#[test]
fn every_cut_leaves_a_prefix_or_an_error() {
    let (fs, edits) = sample();
    let intact = fs.bytes(&manifest(1));
    let mut records = Records::new(&intact, FileNumber(1), nonce(FileNumber(1)), Lsn(0), 0);
    let mut ends = Vec::new();
    while let Some(frame) = records.read_next().unwrap() {
        if frame.payload != PROOF {
            ends.push(records.offset());
        }
    }
    assert_eq!(ends.len(), edits.len());
    for len in 0..intact.len() {
        let cut = fs.image();
        let zeroed = fs.image();
        cut.set(&manifest(1), &intact[..len]);
        let mut bytes = intact.clone();
        bytes[len..].fill(0);
        zeroed.set(&manifest(1), &bytes);
        let whole = ends.iter().filter(|end| **end <= len).count();
        match load(&cut) {
            Ok(loaded) => {
                assert!(whole > 0, "no snapshot, no manifest");
                assert_eq!(loaded.unwrap().edits, edits[..whole]);
            }
            Err(error) => assert!(whole == 0 && error.kind() == ErrorKind::Corrupt, "{error}"),
        }
        // Zeros instead of an end: padding that was zero anyway is not lost.
        match load(&zeroed) {
            Ok(loaded) => {
                let found = loaded.unwrap().edits;
                assert!(found.len() == whole || found.len() == whole + 1);
                assert_eq!(found, edits[..found.len()]);
            }
            Err(error) => assert!(whole == 0 && error.kind() == ErrorKind::Corrupt, "{error}"),
        }
    }
}

/// The page with the proof never arrived: then the last edit may have been cut off by a crash.
#[test]
fn without_its_proof_a_damaged_last_edit_is_a_torn_tail() {
    let (fs, edits) = sample();
    let mut bytes = fs.bytes(&manifest(1));
    bytes.truncate(bytes.len() - 32);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs.set(&manifest(1), &bytes);
    assert_eq!(load(&fs).unwrap().unwrap().edits, edits[..3]);
}

#[test]
fn edits_of_a_newer_program_are_unsupported() {
    let (fs, _) = sample();
    for version in [MANIFEST.version - 1, MANIFEST.version + 1] {
        let mut bytes = fs.bytes(&manifest(1));
        bytes[40] = version as u8;
        let crc = checksum(0, &bytes[..44]);
        bytes[44..48].copy_from_slice(&crc.to_le_bytes());
        let other = fs.image();
        other.set(&manifest(1), &bytes);
        assert_eq!(load(&other).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    let mut bytes = fs.bytes(&manifest(1));
    let (offset, sequence) = (bytes.len(), 8);
    let place = place(&bytes);
    wal::encode(&mut bytes, place, sequence, Lsn(offset as u64), &[63, 0]);
    fs.set(&manifest(1), &bytes);
    let error = load(&fs).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.offset(), Some(offset as u64 + 24));
}

#[test]
fn a_record_out_of_turn_is_an_error() {
    let (fs, _) = sample();
    let mut bytes = fs.bytes(&manifest(1));
    let offset = bytes.len();
    let place = place(&bytes);
    wal::encode(&mut bytes, place, 11, Lsn(offset as u64), &PROOF);
    fs.set(&manifest(1), &bytes);
    let error = load(&fs).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Corrupt, Some(offset as u64)));
}

#[test]
fn a_failed_append_is_final() {
    for fail in [TestFs::fail_writes, TestFs::fail_syncs] {
        let fs = TestFs::default();
        let mut manifest = create(&fs, 1).unwrap();
        fail(&fs, true);
        assert_eq!(manifest.append(&encoded(&edit(2))).unwrap_err().kind(), ErrorKind::Io);
        fail(&fs, false);
        fs.take_calls();
        let error = manifest.append(&encoded(&edit(3))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
        assert!(error.to_string().contains("told to fail"), "{error}");
        assert!(fs.take_calls().is_empty());
    }
}

#[test]
fn a_failed_creation_leaves_the_old_one_in_force() {
    for fail in [TestFs::fail_writes, TestFs::fail_syncs] {
        let (fs, edits) = sample();
        fail(&fs, true);
        assert_eq!(create(&fs, 9).unwrap_err().kind(), ErrorKind::Io);
        fail(&fs, false);
        assert_eq!(load(&fs).unwrap().unwrap().edits, edits);
    }
}

#[test]
fn a_folder_without_current_is_new_or_damaged() {
    let fs = TestFs::default();
    assert_eq!(load(&fs).unwrap(), None);
    // What a crash during the very first creation may leave.
    fs.set(&path(FileName::Lock), b"");
    fs.set(&manifest(1), b"half of it");
    fs.set(&path(FileName::CurrentNew), b"half of it");
    fs.set(&dir().join("notes.txt"), b"not ours");
    assert_eq!(load(&fs).unwrap(), None);
    for name in [FileName::Log(FileNumber(2)), FileName::Table(FileNumber(3))] {
        let fs = fs.image();
        fs.set(&path(name), b"");
        let error = load(&fs).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(error.file(), Some(&*path(FileName::Current)));
    }
}

#[test]
fn a_damaged_current_is_an_error() {
    let (fs, _) = sample();
    let intact = fs.bytes(&path(FileName::Current));
    let mut damaged: Vec<Vec<u8>> = (0..intact.len()).map(|len| intact[..len].to_vec()).collect();
    for bit in 0..intact.len() * 8 {
        let mut bytes = intact.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        damaged.push(bytes);
    }
    damaged.push([&intact[..], b"\n"].concat());
    damaged.push([&intact[..], &[b' '; 100]].concat());
    for bytes in damaged {
        fs.set(&path(FileName::Current), &bytes);
        let error = load(&fs).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{bytes:?}");
        assert_eq!(error.file(), Some(&*path(FileName::Current)));
    }
}

#[test]
fn a_missing_or_swapped_manifest_is_named() {
    let (fs, _) = sample();
    create(&fs, 9).unwrap();
    let other = fs.bytes(&manifest(1));
    fs.set(&manifest(9), &other);
    let swapped = load(&fs).unwrap_err();
    assert!(swapped.to_string().contains("number"), "{swapped}");
    fs.remove(&manifest(9)).unwrap();
    let missing = load(&fs).unwrap_err();
    for error in [swapped, missing] {
        assert_eq!((error.kind(), error.file()), (ErrorKind::Corrupt, Some(&*manifest(9))));
    }
}

/// A snapshot that is not there to its end never passes for a smaller one, whatever is left of it.
#[test]
fn a_snapshot_in_pieces_is_there_as_a_whole_or_not_at_all() {
    let fs = TestFs::default();
    let pieces: Vec<Edit> = (1..5).map(edit).collect();
    let mut manifest_1 = create_with(&fs, 1, pieces.clone()).unwrap();
    let intact = fs.bytes(&manifest(1));
    let mut records = Records::new(&intact, FileNumber(1), nonce(FileNumber(1)), Lsn(0), 0);
    let ends: Vec<usize> =
        std::iter::from_fn(|| records.read_next().unwrap().map(|_| records.offset())).collect();
    assert_eq!(ends.len(), 5, "each piece is a record, and there is one proof");
    let mut expected = pieces;
    expected[3].snapshot_end = true;
    for len in 0..intact.len() {
        let cut = fs.image();
        cut.set(&manifest(1), &intact[..len]);
        match load(&cut) {
            Ok(loaded) => {
                assert!(len >= ends[3]);
                assert_eq!(loaded.unwrap().edits, expected);
            }
            Err(error) => {
                assert!(len < ends[3] && error.kind() == ErrorKind::Corrupt, "{error}");
            }
        }
    }
    manifest_1.append(&encoded(&edit(5))).unwrap();
    expected.push(edit(5));
    assert_eq!(load(&fs).unwrap().unwrap().edits, expected);
    let mut bytes = fs.bytes(&manifest(1));
    let (offset, place) = (bytes.len(), place(&bytes));
    wal::encode(&mut bytes, place, 7, Lsn(offset as u64), &encoded(&snapshot(6)));
    fs.set(&manifest(1), &bytes);
    let error = load(&fs).unwrap_err();
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("twice"), "{error}");
}

#[cfg(feature = "testkit")]
#[test]
fn any_bytes_are_read() {
    let mut written = Vec::new();
    let number = lsm_log::fuzzing::NUMBER;
    let nonce = nonce(number);
    Header { number, base: Lsn(0), synced: Lsn(0), owner: 0 }.encode(&MANIFEST, &mut written);
    nonce.encode(number, &mut written);
    for sequence in 0..4 {
        let place = RecordPlace { number, nonce, offset: written.len() };
        let edit = Edit { snapshot_end: sequence == 1, ..edit(sequence) };
        wal::encode(&mut written, place, sequence, Lsn(0), &encoded(&edit));
    }
    assert_eq!(decode(&written, number).unwrap().0.len(), 4);
    for seed in 0..2000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut bytes = written.clone();
        for _ in 0..rng.usize(0..4) {
            let at = rng.usize(0..bytes.len());
            bytes[at] = rng.u8(..);
        }
        let _ = decode(&bytes, number);
        lsm_log::fuzzing::mend_checksums(&mut bytes);
        let _ = decode(&bytes, number);
    }
}
