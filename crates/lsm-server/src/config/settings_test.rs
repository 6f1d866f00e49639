use clap::{CommandFactory, Parser};

use super::*;

#[derive(Debug, clap::Parser)]
struct Program {
    #[command(flatten)]
    start: StartArgs,
}

/// What a node needs at the least.
const LEAST: &str = "--node 1 --data d --members 1=127.0.0.1:5001/127.0.0.1:4001";

fn settings(flags: &str) -> Result<Settings, Error> {
    settings_with_file(flags, "")
}

fn settings_with_file(flags: &str, file: &str) -> Result<Settings, Error> {
    let words = std::iter::once("lsm-server").chain(flags.split_whitespace());
    let args = Program::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).start;
    let file = Given::parse(file).unwrap_or_else(|error| panic!("{error}"));
    Settings::check(&args.given.or(file).or(defaults()))
}

fn error(flags: &str) -> String {
    settings(flags).expect_err(flags).to_string()
}

/// Asserts that each of `words` stands in the error.
fn assert_error(flags: &str, words: &[&str]) {
    let error = error(flags);
    for word in words {
        assert!(error.contains(word), "{flags}: {word:?} is not in: {error}");
    }
}

#[test]
fn the_least_that_is_needed_gives_the_defaults() {
    let settings = settings(LEAST).unwrap();
    assert_eq!(settings.node, 1);
    assert_eq!(settings.cluster, "lsm");
    assert_eq!(settings.advertise.to_string(), "127.0.0.1:4001");
    assert_eq!(settings.advertise_peer.to_string(), "127.0.0.1:5001");
    assert_eq!(settings.limits, Limits::default());
    let default = Config::new(1);
    assert_eq!(format!("{:?}", settings.raft), format!("{default:?}"));
    assert_eq!(settings.founders.unwrap().nodes.len(), 1);
    assert_eq!(settings.threads as u64, threads());
}

#[test]
fn the_pages_of_all_scans_fit_into_the_answers() {
    let settings = settings(&format!("{LEAST} --scans-max 1000 --page-bytes-max 2MiB")).unwrap();
    assert_eq!(settings.limits.answer_bytes_max, 4000 << 20);
}

#[test]
fn an_empty_variable_gives_no_members() {
    let mut given = settings("--node 1 --data d --join").unwrap().effective;
    // What clap makes of LSM_MEMBERS=
    given.members = Some(vec![String::new()]);
    assert_eq!(Settings::check(&given).unwrap().founders, None);
    given.join = Some(false);
    let error = Settings::check(&given).unwrap_err().to_string();
    assert!(error.contains("members") && error.contains("is needed"), "{error}");
    given.members = Some(vec!["1=127.0.0.1:5001/127.0.0.1:4001".into(), String::new()]);
    Settings::check(&given).unwrap_err();
}

#[test]
fn a_flag_comes_before_the_file_and_the_file_before_the_default() {
    let file = "threads = 7\nscans-max = 8\nvalue-bytes-max = \"2MiB\"\nbatch-bytes-max = 3000000\n\
                node = 9\nlog-format = \"json\"\nrequest-time-max = \"4s\"";
    let settings = settings_with_file(&format!("{LEAST} --threads 5 --value-bytes-max 1KiB"), file);
    let settings = settings.unwrap();
    assert_eq!(settings.threads, 5);
    assert_eq!(settings.node, 1);
    assert_eq!(settings.limits.value_bytes_max, 1 << 10);
    assert_eq!(settings.limits.batch_bytes_max, 3_000_000);
    assert_eq!(settings.limits.scans_max, 8);
    assert_eq!(settings.limits.request_time_max, Duration::from_secs(4));
    assert_eq!(settings.limits.streams_max, Limits::default().streams_max);
    assert_eq!(settings.log.format, LogFormat::Json);
}

#[test]
fn a_file_alone_is_enough() {
    let file = "node = 2\ndata = \"d\"\nlisten = \"0.0.0.0:4001\"\npeer-listen = \"[::]:5001\"\n\
                members = [\"1=a:5001/a:4001\", \"2=b:5001/b:4001\"]\nlease-reads = true";
    let settings = settings_with_file("", file).unwrap();
    assert_eq!(settings.advertise.to_string(), "b:4001");
    assert_eq!(settings.advertise_peer.to_string(), "b:5001");
    assert!(settings.raft.lease_reads);
}

#[test]
fn what_is_printed_reads_back_as_the_same() {
    let first = settings(&format!("{LEAST} --heartbeat 50ms --write-buffer-bytes 1MiB")).unwrap();
    let text = first.to_toml();
    assert_eq!(Given::parse(&text).unwrap(), first.effective, "{text}");
    assert_eq!(settings_with_file("", &text).unwrap().to_toml(), text);
    for key in ["node = 1", "heartbeat = \"50ms\"", "listen = \"127.0.0.1:4001\""] {
        assert!(text.contains(key), "{key}: {text}");
    }
}

#[test]
fn the_help_tells_the_true_defaults() {
    let text = defaults().to_toml();
    let defaults: toml::Table = text.parse().unwrap();
    let mut told = 0;
    for argument in Program::command().get_arguments() {
        let (Some(name), Some(help)) = (argument.get_long(), argument.get_help()) else { continue };
        let help = help.to_string();
        let Some((_, said)) = help.split_once("[default: ") else {
            // Whether to join is told by the flag's absence.
            assert!(name == "join" || !defaults.contains_key(name), "{name} hides its default");
            continue;
        };
        let said = said.strip_suffix(']').unwrap();
        match defaults.get(name) {
            Some(_) if name == "threads" => assert_eq!(said, "half of the cores"),
            Some(toml::Value::String(text)) => assert_eq!(said, text, "{name}"),
            Some(other) => assert_eq!(said, other.to_string(), "{name}"),
            None if name == "disk-reserve-bytes" => {
                assert!(said.starts_with("a tenth of"), "{said}");
            }
            None => assert!(said.starts_with("as in --members"), "{name}"),
        }
        told += 1;
    }
    assert!(told > 20, "{told}");
}

#[test]
fn every_setting_has_a_variable_of_its_name() {
    for argument in Program::command().get_arguments() {
        let name = argument.get_long().unwrap();
        let expected = match name {
            // Not settings of a node, but of this one start.
            "check" | "stop-with-stdin" => None,
            name => Some(format!("LSM_{}", name.replace('-', "_").to_uppercase())),
        };
        assert_eq!(argument.get_env().and_then(|name| name.to_str()), expected.as_deref());
    }
}

#[test]
fn a_key_of_the_file_that_is_no_setting_is_named() {
    let error = Given::parse("node = 1\nlisen = \"127.0.0.1:1\"").unwrap_err();
    assert!(error.contains("unknown field `lisen`") && error.contains("line 2"), "{error}");
    let error = Given::parse("[limits]\nscans-max = 1").unwrap_err();
    assert!(error.contains("unknown field `limits`"), "{error}");
}

#[test]
fn a_value_of_the_wrong_kind_is_named_with_its_line() {
    for (text, word) in [
        ("node = \"one\"", "line 1"),
        ("node = -1", "line 1"),
        ("node = \"one\"", "a whole number"),
        ("threads = 1.5", "a whole number"),
        ("\nlisten = \"localhost:1\"", "line 2"),
        ("listen = \"localhost:1\"", "an IP address and a port: 127.0.0.1:4001"),
        ("peer-listen = \"localhost\"", "an IP address and a port: 127.0.0.1:4001"),
        ("listen = 4001", "an IP address and a port, as in \"127.0.0.1:4001\""),
        ("members = \"1=a:1/a:2\"", "a list of nodes, as in [\"1=db1:5001/db1:4001\""),
        ("value-bytes-max = \"1MB\"", "64KiB"),
        ("value-bytes-max = 1.5", "a number of bytes"),
        ("heartbeat = 200", "a span of time with its unit, as in \"250ms\""),
        ("heartbeat = \"200\"", "250ms"),
        ("compression = \"zstd\"", "`none` or `lz4`"),
        ("node = ", "line 1"),
    ] {
        let error = Given::parse(text).unwrap_err();
        assert!(error.contains(word), "{text}: {error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let words = ["lsm-server", "--config", "/nowhere/lsm.toml"];
    let args = Program::try_parse_from(words).unwrap().start;
    let error = Settings::new(args).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/lsm.toml: "), "{error}");
}

#[test]
fn what_is_needed_is_asked_for() {
    assert_error("", &["node", "--node", "LSM_NODE"]);
    assert_error("--node 1", &["data", "LSM_DATA"]);
    assert_error("--node 1 --data d", &["members", "--join"]);
    assert_error("--node 0 --data d --join", &["start at 1"]);
}

#[test]
fn members_and_join_exclude_each_other() {
    assert_error(&format!("{LEAST} --join"), &["--members", "--join", "contradict"]);
    assert!(settings(&format!("{LEAST} --join=false")).is_ok());
    let joined = settings("--node 6 --data d --join").unwrap();
    assert_eq!(joined.founders, None);
    let file = "join = true";
    let error = settings_with_file(LEAST, file).unwrap_err().to_string();
    assert!(error.contains("contradict"), "{error}");
}

#[test]
fn members_must_hold_this_node_where_it_is() {
    let members = "--data d --members 1=127.0.0.1:5001/127.0.0.1:4001,2=b:5001/b:4001";
    assert_error(&format!("{members} --node 3"), &["--node", "--members", "node 3", "1, 2"]);
    let node = format!("{members} --node 1");
    assert!(settings(&node).is_ok());
    assert_error(&format!("{node} --listen 127.0.0.1:4002"), &["--listen", "--members", "4002"]);
    assert_error(&format!("{node} --peer-listen 10.0.0.1:5001"), &["--peer-listen", "--members"]);
    assert_error(&format!("{node} --advertise 127.0.0.1:4002"), &["--advertise", "--members"]);
    assert_error(&format!("{node} --advertise-peer x:1"), &["--advertise-peer", "--members"]);
    // Behind a translation of addresses both may be true.
    let behind = "--listen 10.0.0.1:4001 --advertise 127.0.0.1:4001";
    assert!(settings(&format!("{node} {behind}")).is_ok());
    // Every address of the machine: any of them may be the one that is known.
    assert!(settings(&format!("{node} --listen 0.0.0.0:4001")).is_ok());
    assert_error("--node 1 --data d --members 1=a/b", &["members", "no port"]);
}

#[test]
fn addresses_must_be_of_use() {
    let join = "--node 1 --data d --join";
    assert_error(&format!("{join} --listen 127.0.0.1:0"), &["listen", "port 0"]);
    assert_error(&format!("{join} --listen 127.0.0.1:5001"), &["--listen", "--peer-listen"]);
    assert_error(&format!("{join} --listen 0.0.0.0:4001"), &["advertise", "no address"]);
    assert_error(&format!("{join} --advertise nonsense"), &["advertise", "no port"]);
    assert_error(&format!("{join} --advertise a:1 --advertise-peer a:1"), &["both are a:1"]);
    let told = settings(&format!("{join} --listen 0.0.0.0:4001 --advertise a:4001")).unwrap();
    assert_eq!(told.advertise.to_string(), "a:4001");
}

#[test]
fn the_cluster_has_a_plain_name() {
    for name in ["a b", "käse", "a/b", &"x".repeat(65)] {
        let words = ["lsm-server", "--node", "1", "--data", "d", "--join", "--cluster", name];
        let args = Program::try_parse_from(words).unwrap().start;
        let error = Settings::new(args).unwrap_err().to_string();
        assert!(error.contains("cluster") && error.contains("letters"), "{error}");
    }
    assert!(settings(&format!("{LEAST} --cluster prod-1.eu_west")).is_ok());
}

#[test]
fn every_limit_is_named_with_its_range() {
    for (setting, bad, range) in [
        ("threads", "0", "1 to 256"),
        ("threads", "257", "1 to 256"),
        ("value-bytes-max", "1023", "1KiB to 64MiB"),
        ("batch-bytes-max", "65MiB", "1KiB to 64MiB"),
        ("page-bytes-max", "1B", "1KiB to 16MiB"),
        ("scans-max", "0", "1 to 10000"),
        ("streams-max", "0", "1 to 100000"),
        ("connections-max", "70000", "1 to 60000"),
        ("requests-max", "0", "1 to 1000000"),
        ("requests-bytes-max", "1MiB", "2MiB to 1TiB"),
        ("request-time-max", "9ms", "10ms to 600s"),
        ("leader-wait-max", "601s", "0s to 600s"),
        ("keepalive-interval", "1ms", "1s to 3600s"),
        ("keepalive-timeout", "1ms", "1s to 600s"),
        ("write-buffer-bytes", "1KiB", "64KiB to 4GiB"),
        ("block-cache-bytes", "2TiB", "0B to 1TiB"),
        ("heartbeat", "5ms", "10ms to 10s"),
        ("election-timeout", "1ms", "50ms to 120s"),
        ("log-keep-bytes", "1KiB", "1MiB to 1TiB"),
    ] {
        assert_error(&format!("{LEAST} --{setting} {bad}"), &[setting, range]);
    }
}

#[test]
fn the_log_is_never_turned_off_by_mistake() {
    assert_error(&format!("{LEAST} --log-level loud=very"), &["log-level", "loud=very"]);
    assert_error(&format!("{LEAST} --log-level loud"), &["log-level", "loud", "warn, info"]);
    for (level, filter) in [("warning", "warn"), ("lsm_raft=debug", "info,lsm_raft=debug")] {
        let log = settings(&format!("{LEAST} --log-level {level}")).unwrap().log;
        assert_eq!(log.filter, filter);
    }
}

#[test]
fn a_flag_that_is_no_address_to_listen_at_says_what_one_is() {
    let words = ["lsm-server", "--listen", "localhost:4001"];
    let error = Program::try_parse_from(words).unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:4001, or 0.0.0.0:4001 for all"), "{error}");
}

#[test]
fn limits_that_contradict_each_other_are_both_named() {
    assert_error(
        &format!("{LEAST} --batch-bytes-max 1MiB"),
        &["--batch-bytes-max", "--value-bytes-max", "1MiB", "8MiB"],
    );
    assert_error(
        &format!("{LEAST} --requests-bytes-max 34MiB"),
        &["--requests-bytes-max", "--batch-bytes-max", "34MiB", "35MiB"],
    );
    assert_error(
        &format!("{LEAST} --leader-wait-max 11s"),
        &["--leader-wait-max", "--request-time-max", "11s", "10s"],
    );
    assert_error(
        &format!("{LEAST} --election-timeout 500ms"),
        &["--election-timeout", "--heartbeat", "500ms", "200ms"],
    );
}

#[test]
fn times_become_ticks() {
    let raft =
        settings(&format!("{LEAST} --heartbeat 30ms --election-timeout 100ms")).unwrap().raft;
    assert_eq!(raft.tick, Duration::from_millis(15));
    assert_eq!(
        (raft.heartbeat_ticks, raft.election_ticks_min, raft.election_ticks_max),
        (2, 7, 14)
    );
}

#[test]
fn large_batches_get_room_to_wait_in() {
    let large = settings(&format!("{LEAST} --batch-bytes-max 64MiB")).unwrap();
    assert_eq!(large.raft.pending_bytes_max, 256 << 20);
}
