//! The table of layers, as data.
//!
//! A row is a file or folder of a crate's `src/`, its layer, and what it may never import
//! although that lies lower. A row may import lower layers only. The indented rows are the
//! files of the folder above: inside a folder, and among the rows of L0, imports go down the
//! list. `any` imports what it likes and is imported by tests only.
//!
//! `x_test.rs` holds the tests of `x.rs` and needs no row. Tests of a folder as a whole are named
//! for their topic instead, and each has a row: so a test whose subject was renamed is noticed.

pub(crate) struct Crate {
    /// Below `crates/`.
    pub(crate) name: &'static str,
    /// Whether files are reached only through the `fs` folder of the engine.
    pub(crate) bans_std_fs: bool,
    /// Crates that must not be named here.
    pub(crate) never: &'static [&'static str],
    pub(crate) table: &'static str,
}

pub(crate) const CRATES: [Crate; 6] = [
    Crate {
        name: "lsm-log",
        bans_std_fs: true,
        never: &["lsm_core", "lsm_raft", "lsm_client", "lsm_server"],
        table: "
lib.rs              L5
fuzzing.rs          L3
wal/                L2
    damage_test.rs
    test_log.rs
    log.rs
    ahead.rs
    writer.rs
    record_reader.rs
    rewrite.rs
    reader.rs
    segment_state.rs
    scan.rs
    syncer.rs
    segment.rs
    record.rs
    nonce.rs
file_name.rs        L1
fs/                 L1
    contract_test.rs
    crash.rs
    crash_content.rs
    fault.rs
    fault_plan.rs
    mem.rs
    names.rs
    os.rs
    linux.rs
    portable.rs
    traits.rs
checksum.rs         L0
coding.rs           L0
error.rs            L0
testkit/            any
    document.rs
    hostile.rs
    test_fs.rs
",
    },
    Crate {
        name: "lsm-core",
        bans_std_fs: true,
        never: &["lsm_raft", "lsm_client", "lsm_server"],
        table: "
lib.rs              L7
db/                 L6
    handle.rs
    keyspace.rs
    open_db.rs
    checkpoint.rs
    keyspaces.rs
    open.rs
    replay.rs
    verify.rs
    levels.rs
    threads.rs
    rest.rs
    background.rs
    removal.rs
    write.rs
    compact.rs
    flush.rs
    log.rs
    reads.rs
    range_iter.rs
    scan.rs
    read.rs
    engine.rs
    trees.rs
    idle.rs
    write_queue.rs
    pacing.rs
    work.rs
    tree.rs
    snapshot.rs
    visible_seq.rs
    stats.rs
    stall.rs
    retry.rs
    lifecycle.rs
document_test.rs    L5
fuzzing.rs          L5
compaction/         L5
    simulation_test.rs
    job.rs
    rest.rs
    manual.rs
    picker.rs
    effort.rs
    levels.rs
    busy.rs
    plan.rs
    output_splitter.rs
    drop_policy.rs
version/            L4
    document_test.rs
    fuzzing.rs
    set.rs
    manifest.rs
    catalog.rs
    edit.rs
    version.rs
    table_file.rs
    table_meta.rs
    obsolete.rs
memtable/           L3
    cursor.rs
    table.rs
    entry.rs
    filter.rs
    memory.rs
sstable/            L3
    damage_test.rs
    document_test.rs
    table_test.rs
    fuzzing.rs
    open_tables.rs
    verify.rs
    scan.rs
    cursor.rs
    reader.rs
    read_ahead.rs
    builder.rs
    properties.rs
    filter.rs
    index.rs
    compress.rs
    block_builder.rs
    block.rs
    format.rs
batch.rs            L2
iter/               L2
    merge.rs
    concat.rs
    cursor.rs
options.rs          L1
value.rs            L1
cache.rs            L1
key/                L1
    internal.rs
    keyspace_id.rs
    range.rs
    hash.rs
metrics.rs          L0
clock.rs            L0
event.rs            L0
testkit/            any
    script.rs
    copies.rs
    runner.rs
    disk.rs
    generate.rs
    model.rs
",
    },
    Crate {
        name: "lsm-raft",
        bans_std_fs: true,
        never: &["lsm_client", "lsm_server"],
        table: "
lib.rs              L5
runtime/            L4
    open.rs
    stepper.rs
    handle.rs
    raft_thread.rs
    log_thread.rs
    apply_thread.rs
    restoring.rs
    shared.rs
    beside.rs
    busy.rs
    hashes.rs
    inbox.rs
    jobs.rs
    queues.rs
fuzzing.rs          L4
storage.rs          L3
node/               L2
    step_test.rs
    test_group.rs
    ready.rs
    membership.rs
    leadership.rs
    step.rs
    status.rs
    guard.rs
    heard.rs
    disk.rs
    changes.rs
    catching_up.rs
    proposals.rs
    reads.rs
    leases.rs
    losses.rs
    elections.rs
    truncation.rs
    io.rs
state_machine/      L2
    apply_test.rs
    crash_test.rs
    restore_test.rs
    test_state.rs
    test_log.rs
    machine.rs
    reader.rs
    checked.rs
    current.rs
    book.rs
    hash.rs
    folder.rs
    sessions.rs
    layout.rs
log_store/          L2
    crash_test.rs
    document_test.rs
    hostile_test.rs
    test_log.rs
    fuzzing.rs
    open.rs
    replay.rs
    writer.rs
    store.rs
    live.rs
    index.rs
    record.rs
transport.rs        L1
command.rs          L1
identity.rs         L0
members.rs          L0
room.rs             L0
outcome.rs          L0
snapshot.rs         L0
config.rs           L0
error.rs            L0
testkit/            any
    linear.rs
    violation.rs
    search.rs
    history.rs
",
    },
    Crate {
        name: "lsm-proto",
        bans_std_fs: false,
        never: &["lsm_log", "lsm_core", "lsm_raft", "lsm_client", "lsm_server"],
        table: "
lib.rs              L2
generated.rs        L1
codec.rs            L1
words.rs            L0
",
    },
    Crate {
        name: "lsm-client",
        bans_std_fs: false,
        never: &["lsm_log", "lsm_core", "lsm_raft", "lsm_server"],
        table: "
lib.rs              L8
client.rs           L7
node_client.rs      L6
scan_stream.rs      L5
calls.rs            L4
attempts.rs         L3
route.rs            L2
directory.rs        L1
node.rs             L0
rpc.rs              L0
sessions.rs         L0
failure.rs          L0
backoff.rs          L0
scan.rs             L0
batch.rs            L0
into_bytes.rs       L0
options.rs          L0
tls.rs              L0
error.rs            L0
",
    },
    Crate {
        name: "lsm-server",
        bans_std_fs: false,
        never: &[],
        table: "
main.rs             L5
node.rs             L4
sim/                L4
    seeds.rs
    group.rs
    faults.rs
    pair.rs
    client.rs
    stub.rs
    history.rs
    host.rs
    net.rs
    report.rs
service/            L3
    server_test.rs
    group_test.rs
    test_group.rs
    routes.rs
    dispatch.rs
    health.rs
    kv.rs
    session.rs
    storage.rs
    cluster.rs
    hash_check.rs
    scan.rs
    pager.rs
    range.rs
    leader.rs
    context.rs
    forward.rs
    line.rs
    lookups.rs
peer/               L2
    replica_test.rs
    origin_test.rs
    test_cluster.rs
    exchange_test.rs
    stranger_test.rs
    fuzzing.rs
    fake.rs
    proxy.rs
    door.rs
    identify.rs
    receiver.rs
    transport.rs
    snapshot.rs
    link.rs
    hash.rs
    queue.rs
    caller.rs
    handshake_test.rs
    handshake.rs
    hello.rs
    told.rs
    refused.rs
    testimony.rs
    directory.rs
    group.rs
    wire.rs
local/              L2
    run.rs
    view.rs
    processes.rs
    plan.rs
admin/              L2
    command.rs
    storage.rs
    load.rs
    keys.rs
    escape.rs
    group.rs
    status.rs
    to.rs
    failure.rs
intake/             L2
    service.rs
    request.rs
    answer.rs
    room.rs
    kind.rs
convert.rs          L1
framing.rs          L1
fields.rs           L1
listener.rs         L1
handles.rs          L1
signals.rs          L1
logging.rs          L1
config/             L0
    settings.rs
    filter.rs
    tls.rs
    given.rs
    nodes.rs
    units.rs
    error.rs
tls/                L0
    test_authority.rs
    certificates.rs
    nodes_only.rs
    own.rs
    carrier.rs
exit.rs             L0
pulse.rs            L0
limits.rs           L0
gather.rs           L0
untaken.rs          L0
",
    },
];

/// Where `unsafe` may stand: mappings and system calls.
pub(crate) const UNSAFE_FILES: [&str; 5] = [
    "benches/peers/src/lmdb_store.rs",
    "crates/lsm-log/src/fs/linux.rs",
    "crates/lsm-log/src/fs/os.rs",
    "crates/lsm-log/src/fs/portable.rs",
    "crates/lsm-core/tests/fork.rs",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    Level(u8),
    Any,
}

/// A file or folder of `src/`, with all that stands about it in the table.
pub(crate) struct Row {
    /// A folder's name ends with `/`.
    pub(crate) name: &'static str,
    pub(crate) layer: Layer,
    pub(crate) never: Vec<&'static str>,
    /// The files of a folder, importers above imported.
    pub(crate) files: Vec<&'static str>,
}

impl Row {
    pub(crate) fn is_folder(&self) -> bool {
        self.name.ends_with('/')
    }

    /// The name of the module.
    pub(crate) fn module(&self) -> &'static str {
        self.name.trim_end_matches('/').trim_end_matches(".rs")
    }

    /// How messages call it.
    pub(crate) fn title(&self) -> String {
        match self.layer {
            Layer::Level(level) => format!("{} (L{level})", self.name),
            Layer::Any => self.name.to_owned(),
        }
    }
}

/// Reads a table. Its rows are ours, so a mistake in them is a panic.
pub(crate) fn parse(table: &'static str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for line in table.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let name = words.next().expect("the line is not empty");
        if line.starts_with(' ') {
            let folder = rows.last_mut().filter(|row| row.is_folder());
            folder.unwrap_or_else(|| panic!("{name} stands below no folder")).files.push(name);
            continue;
        }
        let layer = match words.next() {
            Some("any") => Layer::Any,
            Some(word) => Layer::Level(
                word.strip_prefix('L').and_then(|n| n.parse().ok()).expect("a layer, as in L3"),
            ),
            None => panic!("{name} has no layer"),
        };
        let never = match words.next() {
            Some(word) => {
                assert_eq!(word, "never", "only `never` follows the layer of {name}");
                words.collect()
            }
            None => Vec::new(),
        };
        rows.push(Row { name, layer, never, files: Vec::new() });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_reads_and_names_each_file_once() {
        for krate in &CRATES {
            let rows = parse(krate.table);
            let mut names: Vec<_> = rows.iter().map(|row| row.name.to_owned()).collect();
            for row in &rows {
                names.extend(row.files.iter().map(|file| format!("{}{file}", row.name)));
                for never in &row.never {
                    assert!(rows.iter().any(|r| r.module() == *never), "{never}");
                }
            }
            let count = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count, "{}", krate.name);
        }
    }

    #[test]
    fn a_row_keeps_what_the_table_says() {
        let rows = parse("wal/ L3 never key batch\n    writer.rs\n    record.rs\nkit/ any\n");
        assert_eq!(rows[0].title(), "wal/ (L3)");
        assert_eq!(rows[0].never, ["key", "batch"]);
        assert_eq!(rows[0].files, ["writer.rs", "record.rs"]);
        assert_eq!(rows[1].layer, Layer::Any);
    }
}
