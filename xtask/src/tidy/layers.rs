//! The table of layers, as data.
//!
//! A row at the margin is a crate. The rows below it are the folders and the single files of its
//! `src/`, each with its layer. A row imports rows of lower layers only; among those of L0,
//! imports go down the list. `any` imports what it likes, and is imported by tests only. Roots
//! of crates and tests import what they like and need no row.
//!
//! `never` is what a crate or row may not name of other crates; that they do not depend on each
//! other, cargo itself sees to. `may` lifts for one row what its crate never names.

pub(crate) const TABLE: &str = "
lsm-log                 never std::fs lsm_client
    fuzzing.rs      L3
    wal/            L2
    file_name.rs    L1
    fs/             L1  may std::fs
    checksum.rs     L0
    coding.rs       L0
    error.rs        L0
    testkit/        any

lsm-core                never std::fs lsm_client
    db/             L6
    compaction/     L5
    fuzzing.rs      L5
    version/        L4
    memtable/       L3  never lsm_log::fs
    sstable/        L3
    batch.rs        L2
    iter/           L2  never lsm_log::fs
    options.rs      L1
    value.rs        L1
    cache.rs        L1
    key/            L1
    metrics.rs      L0
    clock.rs        L0
    event.rs        L0
    testkit/        any

lsm-raft                never std::fs lsm_client
    runtime/        L4
    fuzzing.rs      L4
    storage.rs      L3
    node/           L2
    state_machine/  L2
    log_store/      L2
    transport.rs    L1
    command.rs      L1
    identity.rs     L0
    members.rs      L0
    room.rs         L0
    outcome.rs      L0
    snapshot.rs     L0
    config.rs       L0
    error.rs        L0
    testkit/        any

lsm-proto               never lsm_log lsm_core lsm_raft
    rpc.rs          L2
    generated.rs    L1
    codec.rs        L1
    words.rs        L0

lsm-client              never lsm_log lsm_core lsm_raft
    client.rs       L7
    node_client.rs  L6
    scan_stream.rs  L5
    calls.rs        L4
    attempts.rs     L3
    route.rs        L2
    address_book.rs L1
    node.rs         L0
    sessions.rs     L0
    failure.rs      L0
    backoff.rs      L0
    scan.rs         L0
    batch.rs        L0
    into_bytes.rs   L0
    options.rs      L0
    tls.rs          L0
    error.rs        L0

lsm-args
    pem.rs          L0
    units.rs        L0

lsm-admin               never lsm_log lsm_core lsm_raft
    command.rs      L3
    storage.rs      L2
    load.rs         L2
    status.rs       L1
    group.rs        L1
    keys.rs         L1
    to.rs           L1
    failure.rs      L0
    escape.rs       L0

lsm-server
    node.rs         L4
    sim/            L4
    service/        L3
    peer/           L2
    local/          L2
    front/          L1
    validate.rs     L1
    signals.rs      L1
    logging.rs      L1
    config/         L0
    tls/            L0
    exit.rs         L0
    probe.rs        L0
    dialer.rs       L0
    status.rs       L0
    limits.rs       L0
";

pub(crate) struct Crate<'a> {
    /// Its folder below `crates/`.
    pub(crate) name: &'a str,
    pub(crate) never: Vec<&'a str>,
    pub(crate) rows: Vec<Row<'a>>,
}

impl Crate<'_> {
    /// What the paths of its files begin with.
    pub(crate) fn below(&self) -> String {
        format!("crates/{}/src/", self.name)
    }
}

/// A file or folder of `src/`, with all that stands about it in the table.
#[derive(PartialEq, Eq)]
pub(crate) struct Row<'a> {
    /// A folder's name ends with `/`.
    pub(crate) name: &'a str,
    /// In the list of its crate.
    pub(crate) place: usize,
    /// None for `any`.
    pub(crate) layer: Option<u8>,
    pub(crate) never: Vec<&'a str>,
    pub(crate) may: Vec<&'a str>,
}

impl Row<'_> {
    /// Whether this is the row of the file, named below `src/`.
    pub(crate) fn holds(&self, name: &str) -> bool {
        name == self.name || self.name.ends_with('/') && name.starts_with(self.name)
    }

    /// How messages call it.
    pub(crate) fn title(&self) -> String {
        match self.layer {
            Some(layer) => format!("{} (L{layer})", self.name),
            None => self.name.to_owned(),
        }
    }
}

/// Reads a table. Its rows are ours, so a mistake in them is a panic.
pub(crate) fn parse(table: &str) -> Vec<Crate<'_>> {
    let mut crates: Vec<Crate<'_>> = Vec::new();
    for line in table.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a name");
        let layer = line.starts_with(' ').then(|| words.next().expect("a layer"));
        let (word, names) = (words.next(), words.collect());
        let (never, may) = match word {
            None => (Vec::new(), Vec::new()),
            Some("never") => (names, Vec::new()),
            Some("may") => (Vec::new(), names),
            Some(other) => panic!("{other} in the row of {name}"),
        };
        let Some(layer) = layer else {
            crates.push(Crate { name, never, rows: Vec::new() });
            continue;
        };
        let level = || layer.strip_prefix('L')?.parse().ok();
        let layer = (layer != "any").then(|| level().expect("a layer, as in L3"));
        let rows = &mut crates.last_mut().expect("a crate above its rows").rows;
        rows.push(Row { name, place: rows.len(), layer, never, may });
    }
    crates
}
