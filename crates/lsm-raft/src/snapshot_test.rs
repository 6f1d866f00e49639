use lsm_log::fs::{CrashFs, CrashImage, MemFs};

use super::*;

fn file(name: &str, bytes: u64) -> SnapshotFile {
    SnapshotFile { name: name.into(), bytes }
}

fn header(files: Vec<SnapshotFile>) -> Header {
    Header { index: 5, term: 2, conf_state: ConfState::from((vec![1], vec![])), files }
}

/// A file's name and content.
type File = (&'static str, Vec<u8>);

/// A folder with the files of a small checkpoint, and its content.
fn checkpoint() -> (Arc<dyn Fs>, [File; 4]) {
    let fs: Arc<dyn Fs> = Arc::new(MemFs::new());
    let dir = Path::new("from");
    fs.create_dir_all(dir).unwrap();
    let bytes = |len: usize| (0..len).map(|i| (i * 7 + len) as u8).collect::<Vec<_>>();
    let files = [
        ("000001.table", bytes(2 * PIECE_BYTES_MAX)),
        ("000002.manifest", bytes(100)),
        ("1000000.table", bytes(PIECE_BYTES_MAX + 1)),
        ("CURRENT", bytes(1)),
    ];
    for (name, bytes) in &files {
        fs.create(&dir.join(name)).unwrap().write_at(0, bytes).unwrap();
    }
    fs.create(&dir.join("LOCK")).unwrap();
    (fs, files)
}

fn outgoing(fs: &Arc<dyn Fs>) -> Arc<Outgoing> {
    Arc::new(Outgoing::new(fs, Path::new("from"), (5, 2), ConfState::default()).unwrap())
}

fn start(fs: &Arc<dyn Fs>, header: Header) -> Result<Incoming> {
    Incoming::start(fs, PathBuf::from("to"), header)
}

#[test]
fn files_arrive_as_they_were() {
    let (fs, files) = checkpoint();
    let outgoing = outgoing(&fs);
    let names: Vec<_> = outgoing.header().files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["000001.table", "000002.manifest", "1000000.table", "CURRENT"]);
    // What lies there from before goes.
    fs.create_dir_all(Path::new("to")).unwrap();
    fs.create(Path::new("to/CURRENT")).unwrap();
    let mut incoming = start(&fs, outgoing.header().clone()).unwrap();
    let (mut received, mut lens) = (0, Vec::new());
    for piece in outgoing.pieces() {
        let piece = piece.unwrap();
        assert_eq!(outgoing.piece(piece.file, piece.offset).unwrap(), piece);
        incoming.write(&piece).unwrap();
        received += piece.data.len() as u64;
        lens.push(piece.data.len());
        assert_eq!(incoming.received(), received);
    }
    assert_eq!(lens, [PIECE_BYTES_MAX, PIECE_BYTES_MAX, 100, PIECE_BYTES_MAX, 1, 1]);
    assert_eq!(received, outgoing.header().bytes());
    let staged = incoming.finish().unwrap();
    assert_eq!(staged.header(), outgoing.header());
    for (name, bytes) in &files {
        let file = fs.open_read(&staged.dir().join(name)).unwrap();
        let mut found = vec![0; file.len() as usize];
        file.read_at(0, &mut found).unwrap();
        assert!(found == *bytes, "{name}");
    }
    assert_eq!(fs.list(staged.dir()).unwrap().len(), files.len());
    staged.keep();
    assert!(fs.list(Path::new("to")).is_ok());
    assert!(outgoing.piece(3, 1).is_err() && outgoing.piece(4, 0).is_err());
    drop(outgoing);
    assert!(fs.list(Path::new("from")).is_err());
}

#[test]
fn a_staged_snapshot_survives_power_loss() {
    let (from, files) = checkpoint();
    let outgoing = outgoing(&from);
    let to = CrashFs::new();
    let fs: Arc<dyn Fs> = Arc::new(to.clone());
    let mut incoming = start(&fs, outgoing.header().clone()).unwrap();
    outgoing.pieces().for_each(|piece| incoming.write(&piece.unwrap()).unwrap());
    let _staged = incoming.finish().unwrap();
    let image = to.image(CrashImage::Lost);
    for (name, bytes) in &files {
        let len = image.len(&Path::new("to").join(name)).unwrap();
        assert_eq!(len, bytes.len() as u64, "{name}");
    }
}

#[test]
fn only_the_next_piece_is_taken() {
    let (fs, _) = checkpoint();
    let outgoing = outgoing(&fs);
    let pieces: Vec<_> = outgoing.pieces().map(Result::unwrap).collect();
    let changed = |at: usize, change: &dyn Fn(&mut Piece)| {
        let mut piece = pieces[at].clone();
        change(&mut piece);
        piece
    };
    let resized = |at: usize, len: usize| {
        let data = Bytes::from(vec![0; len]);
        Piece { crc32c: crc32c::crc32c(&data), data, ..pieces[at].clone() }
    };
    let bad: [(usize, Piece, &str); 9] = [
        (0, changed(0, &|piece| piece.crc32c ^= 1), "checksum"),
        (1, pieces[0].clone(), "the next is"),
        (0, pieces[2].clone(), "the next is"),
        (2, pieces[3].clone(), "the next is"),
        (1, changed(1, &|piece| piece.offset += 1), "the next is"),
        (0, changed(0, &|piece| piece.file = u32::MAX), "the next is"),
        (1, resized(1, 0), "0 bytes"),
        (0, resized(0, PIECE_BYTES_MAX + 1), "262145 bytes"),
        (2, resized(2, 101), "101 bytes"),
    ];
    for (good, bad, words) in bad {
        let mut incoming = start(&fs, outgoing.header().clone()).unwrap();
        pieces[..good].iter().for_each(|piece| incoming.write(piece).unwrap());
        let error = incoming.write(&bad).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(incoming.write(&pieces[good]).is_err(), "it has failed");
        assert!(incoming.finish().is_err());
        assert!(fs.list(Path::new("to")).is_err(), "nothing is left");
    }
    for count in 0..pieces.len() {
        let mut incoming = start(&fs, outgoing.header().clone()).unwrap();
        pieces[..count].iter().for_each(|piece| incoming.write(piece).unwrap());
        let error = incoming.finish().unwrap_err();
        assert!(error.to_string().contains("broke off"), "{error}");
    }
    let mut incoming = start(&fs, outgoing.header().clone()).unwrap();
    pieces.iter().for_each(|piece| incoming.write(piece).unwrap());
    assert!(incoming.write(&pieces[0]).unwrap_err().to_string().contains("complete already"));
}

#[test]
fn headers_name_files_of_an_engine_and_nothing_else() {
    let (fs, _) = checkpoint();
    let long = "1".repeat(21) + ".table";
    let bad_names = [
        "",
        "LOCK",
        "CURRENT.new",
        "000001.log",
        "1.table",
        "0000001.table",
        "00000a.table",
        "+00001.table",
        ".table",
        "table",
        "000001.table.x",
        "000001",
        "../CURRENT",
        "/etc/passwd",
        "a/000001.table",
        "000001.table/",
        "..",
        ".",
        "000001.table\0",
        &long,
    ];
    for name in bad_names {
        let error = start(&fs, header(vec![file(name, 1)])).unwrap_err();
        assert!(error.to_string().contains("no file of a checkpoint"), "{name:?}: {error}");
    }
    for name in ["CURRENT", "000000.table", "999999.manifest", "18446744073709551615.table"] {
        start(&fs, header(vec![file(name, 1)])).unwrap();
    }
    let twice = vec![file("000001.table", 1), file("CURRENT", 1), file("000001.table", 1)];
    assert!(start(&fs, header(twice)).unwrap_err().to_string().contains("twice"));
    assert!(
        start(&fs, header(vec![file("CURRENT", 0)])).unwrap_err().to_string().contains("empty")
    );
    let many = (0..=FILES_MAX).map(|i| file(&format!("{i:06}.table"), 1)).collect();
    assert!(start(&fs, header(many)).unwrap_err().to_string().contains("100000"));
    assert!(start(&fs, Header { index: 0, ..header(vec![]) }).is_err());
    assert!(start(&fs, Header { term: 0, ..header(vec![]) }).is_err());
    let huge = header(vec![file("000001.table", u64::MAX), file("CURRENT", u64::MAX)]);
    assert_eq!(huge.bytes(), u64::MAX);
}
