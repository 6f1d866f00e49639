//! What a few nodes do, as transcripts: commands in, and what each node did until nothing moved any
//! more; see `tests/scripts/node_*.txt`.
//!
//! Each line of a block is a command. `NODES` are numbers, as `1,3`, or `all`.
//!
//! ```text
//! group VOTERS [learners=N] [leader=1] [SETTING=VALUE ...]  begins anew; election=11,12,13 by node
//! tick NODES [xN]           campaign N            transfer N [TO]       fail N REASON
//! propose N NAME ... [bytes=N]                    read N NAME ...       change N NAME +ID -ID ...
//! receive N KIND from=N [term= log= index= commit= hint= [entry=|snapshot=TERM/INDEX] context= reject]
//! timing [N from=N [election=TICKS] [leases=off]]           alone: each node hears of all others
//! flushed N [INDEX]         applied N INDEX       spare N BYTES         damaged N
//! snapshot-sent N TO        snapshot-making N     snapshot-made N
//! stall-disk NODES          resume-disk NODES     stall-apply NODES     unreadable NODES
//! cut NODES                 heal                  lose KIND ... [to=N]  lose nothing
//! restart N last=INDEX      wait MILLIS
//! status NODES              told NODES            wants NODES
//! quiet [xN]                runs the lines below so often, and shows only what went wrong
//! ```

use std::path::Path;
use std::time::Duration;

use lsm_core::testkit::script::{self, Block};
use raft::eraftpb::{ConfState, Entry, Message, MessageType};

use super::Input;
use super::test_group::{TestGroup, command};
use super::test_trace::describe_status;
use crate::members::Change;

macro_rules! scripts {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*
    };
}

scripts! { proposals reads leases members leadership disks logs messages losses snapshots }

fn run(name: &str) {
    let file = format!("tests/scripts/node_{name}.txt");
    let mut group = TestGroup::new(1, 0, |_| {});
    script::run(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), |block| {
        answer(&mut group, block)
    });
}

fn answer(group: &mut TestGroup, block: &Block) -> String {
    let first = format!("{} {}", block.command, block.args.join(" "));
    let lines: Vec<_> = std::iter::once(&first).chain(&block.input).collect();
    let quiet = lines.iter().position(|line| line.starts_with("quiet")).unwrap_or(lines.len());
    lines[..quiet].iter().for_each(|line| act(group, line));
    let mut answer = std::mem::take(&mut group.trace);
    if let [quiet, lines @ ..] = &lines[quiet..] {
        (0..Words::new(quiet).count()).flat_map(|_| lines).for_each(|line| act(group, line));
        let wrong = [" refuses ", " fails", " ends"];
        let lines = std::mem::take(&mut group.trace).into_iter();
        answer.extend(lines.filter(|line| wrong.iter().any(|word| line.contains(word))));
    }
    answer.join("\n")
}

/// Words of a command, of which some have the form `name=value`.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn new(line: &'a str) -> Self {
        Self(line.split_whitespace().collect())
    }

    /// The word at this place; the command has place 0.
    fn at(&self, place: usize) -> &'a str {
        self.0.get(place).unwrap_or_else(|| panic!("too few words: {:?}", self.0))
    }

    /// The words from there on that are no `name=value`.
    fn from(&self, place: usize) -> impl Iterator<Item = &'a str> {
        self.0.iter().skip(place).copied().filter(|word| !word.contains('='))
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.value(name).map(number)
    }

    /// `xN` at the end; once without it.
    fn count(&self) -> u64 {
        self.0.last().and_then(|word| word.strip_prefix('x')).map_or(1, number)
    }

    fn nodes(&self, group: &TestGroup) -> Vec<u64> {
        match self.at(1) {
            "all" => group.ids().collect(),
            ids => ids.split(',').map(number).collect(),
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text} is not a number"))
}

fn act(group: &mut TestGroup, line: &str) {
    let words = Words::new(line);
    match words.at(0) {
        "group" => *group = begin(&words),
        "wait" => group.now += Duration::from_millis(number(words.at(1))),
        "heal" => group.ids().for_each(|id| group.node(id).is_cut = false),
        "lose" => {
            group.lost = words.from(1).filter(|word| *word != "nothing").map(kind).collect();
            group.lost_to = words.number("to");
        }
        "timing" if words.0.len() == 1 => {
            for from in group.ids() {
                let timing = group.node(from).config.timing();
                for to in group.ids().filter(|&to| to != from) {
                    group.input(to, Input::Timing { node: from, timing });
                }
            }
        }
        _ => {
            let nodes = words.nodes(group);
            let times = if words.at(0) == "tick" { words.count() } else { 1 };
            for &id in (0..times).flat_map(|_| &nodes) {
                match inputs(group, id, &words) {
                    Some(inputs) => inputs.into_iter().for_each(|input| group.input(id, input)),
                    None => set_or_show(group, id, &words),
                }
            }
        }
    }
}

/// What a command has a node step on, if it is one of that kind.
fn inputs(group: &mut TestGroup, id: u64, words: &Words<'_>) -> Option<Vec<Input<String>>> {
    let second = || number(words.at(2));
    let has_second = words.0.len() > 2;
    Some(vec![match words.at(0) {
        "propose" => {
            let bytes = words.number("bytes").unwrap_or_default() as usize;
            let propose =
                |name| Input::Propose { command: command(name, bytes), waiter: name.into() };
            return Some(words.from(2).map(propose).collect());
        }
        "read" => {
            let read = |name: &str| Input::Read { waiter: name.into() };
            return Some(words.from(2).map(read).collect());
        }
        "change" => Input::ChangeMembers {
            changes: words.from(3).map(change).collect(),
            waiter: words.at(2).into(),
        },
        "tick" => Input::Tick,
        "campaign" => Input::Campaign,
        "transfer" => Input::Transfer { to: has_second.then(second) },
        "fail" => Input::Fail { reason: words.0[2..].join(" ") },
        "receive" => Input::Message(message(group, id, words)),
        "timing" => timing(group, words),
        "flushed" if has_second => Input::Flushed { index: second() },
        "flushed" => Input::Flushed { index: group.node(id).applied },
        "applied" => Input::Applied { index: second() },
        "spare" => Input::Spare { bytes: second() },
        "damaged" => Input::StateDamaged,
        "snapshot-sent" => Input::SnapshotSent { node: second(), whole: true },
        _ => return None,
    }])
}

/// Changes what is around a node, or shows what it is like.
fn set_or_show(group: &mut TestGroup, id: u64, words: &Words<'_>) {
    let node = group.node(id);
    let shown = match words.at(0) {
        "status" => describe_status(&node.node.status()),
        "told" => describe_status(&node.told),
        "wants" => format!("{:?}", node.node.wants()),
        "stall-disk" => return node.disk_stalls = true,
        "resume-disk" => {
            node.disk_stalls = false;
            return group.settle(Vec::new());
        }
        "stall-apply" => return node.apply_stalls = true,
        "cut" => return node.is_cut = true,
        "unreadable" => return node.node.storage().is_unreadable.set(true),
        "snapshot-making" => return node.node.storage().snapshot_index.set(Some(node.applied)),
        "snapshot-made" => return node.node.storage().snapshot_index.set(None),
        "restart" => return node.restart_with_loss(words.number("last").expect("last=INDEX")),
        other => panic!("unknown command {other}"),
    };
    let ended = if node.ended { " (ended)" } else { "" };
    group.trace.push(format!("{id} {shown}{ended}"));
}

fn begin(words: &Words<'_>) -> TestGroup {
    let number = |name, default| words.number(name).unwrap_or(default);
    let election: Vec<_> =
        words.value("election").map(|ticks| ticks.split(',').collect()).unwrap_or_default();
    let voters = self::number(words.at(1));
    let mut group = TestGroup::new(voters, number("learners", 0), |config| {
        config.lease_reads = words.0.contains(&"lease_reads");
        config.log_keep_bytes = number("log_keep_bytes", config.log_keep_bytes);
        let settings = [
            ("entry_bytes", &mut config.entry_bytes),
            ("entries_in_flight_max", &mut config.entries_in_flight_max),
            ("pending_bytes_max", &mut config.pending_bytes_max),
            ("pending_reads_max", &mut config.pending_reads_max),
        ];
        for (name, setting) in settings {
            *setting = number(name, *setting as u64) as usize;
        }
        if let Some(ticks) = election.get(config.node as usize - 1) {
            config.election_ticks_min = self::number(ticks) as usize;
            config.election_ticks_max = config.election_ticks_min + 1;
        }
    });
    if let Some(leader) = words.number("leader") {
        group.input(leader, Input::Campaign);
        assert!(group.node(leader).node.status().leads());
        group.forget();
    }
    group
}

/// What a node tells of its times, but for what is said here.
fn timing(group: &mut TestGroup, words: &Words<'_>) -> Input<String> {
    let node = words.number("from").expect("from=NODE");
    let mut config = group.node(node).config.clone();
    if let Some(ticks) = words.number("election") {
        config.election_ticks_min = ticks as usize;
    }
    config.lease_reads &= words.value("leases") != Some("off");
    Input::Timing { node, timing: config.timing() }
}

/// `+4`: a learner is added; `-3`: a member is removed.
fn change(word: &str) -> Change {
    match word.split_at(1) {
        ("+", node) => {
            let address = format!("node{node}");
            let (peer_address, client_address) = (address.clone(), address);
            Change::AddLearner { node: number(node), peer_address, client_address }
        }
        ("-", node) => Change::Remove { node: number(node) },
        _ => panic!("{word} is no change"),
    }
}

fn kind(name: &str) -> MessageType {
    let kinds = [
        MessageType::MsgHup,
        MessageType::MsgPropose,
        MessageType::MsgAppend,
        MessageType::MsgAppendResponse,
        MessageType::MsgSnapshot,
        MessageType::MsgHeartbeat,
        MessageType::MsgTimeoutNow,
        MessageType::MsgReadIndex,
    ];
    let found = kinds.into_iter().find(|kind| format!("{kind:?}") == name);
    found.unwrap_or_else(|| panic!("unknown kind of message: {name}"))
}

/// A message that is made by hand.
fn message(group: &TestGroup, to: u64, words: &Words<'_>) -> Message {
    let number = |name| words.number(name).unwrap_or_default();
    let mut message = Message::default();
    message.set_msg_type(kind(words.at(2)));
    (message.from, message.to, message.term) = (number("from"), to, number("term"));
    (message.index, message.log_term) = (number("index"), number("log"));
    message.commit = number("commit");
    (message.reject, message.reject_hint) = (words.0.contains(&"reject"), number("hint"));
    message.context = words.value("context").unwrap_or_default().as_bytes().to_vec().into();
    let pair = |name| {
        let (term, index) = words.value(name)?.split_once('/')?;
        Some((self::number(term), self::number(index)))
    };
    if let Some((term, index)) = pair("entry") {
        message.set_entries(vec![Entry { term, index, ..Entry::default() }].into());
    }
    if let Some((term, index)) = pair("snapshot") {
        let metadata = message.mut_snapshot().mut_metadata();
        (metadata.term, metadata.index) = (term, index);
        metadata.set_conf_state(ConfState::from((group.ids().collect::<Vec<_>>(), Vec::new())));
    }
    message
}
