//! Scripts, and a random comparison with a model that reads everything.

use super::*;
use crate::testkit::script;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");

/// `5` or `5p` is a put, `5d` a delete, both at sequence number 5.
fn parse_tag(text: &str) -> Tag {
    let (digits, kind) = match text.strip_suffix('d') {
        Some(digits) => (digits, Kind::Delete),
        None => (text.trim_end_matches('p'), Kind::Put),
    };
    Tag::new(SeqNo(digits.parse().expect("a sequence number")), kind)
}

fn print_tag(tag: Tag) -> String {
    let suffix = if tag.kind() == Some(Kind::Delete) { "d" } else { "" };
    format!("{}{suffix}", tag.seq())
}

/// `retain 3 7`: the snapshots. Input lines: `key versions…`, `key! …` if it is at the bottom.
#[test]
fn scripts() {
    script::run(format!("{SCRIPTS}/retention.txt"), |block| {
        assert_eq!(block.command, "retain");
        let snapshots: Vec<SeqNo> =
            block.args.iter().map(|arg| SeqNo(arg.parse().expect("a snapshot"))).collect();
        let mut retention = DropPolicy::new(snapshots);
        let mut answer = String::new();
        for line in &block.input {
            let mut words = line.split_whitespace();
            let key = words.next().expect("a key");
            answer += key.trim_end_matches('!');
            for (at, word) in words.enumerate() {
                let fate = retention.decide(at == 0, parse_tag(word), || key.ends_with('!'));
                if let VersionFate::Keep(tag) = fate {
                    answer += &format!(" {}", print_tag(tag));
                }
            }
            answer += "\n";
        }
        answer
    });
}

/// A version with the number its value was written under, which survives a zeroed sequence.
type Version = (Tag, u64);

/// What a reader at `seq` gets from `versions`, newest first.
fn visible(versions: &[Version], seq: u64) -> Option<u64> {
    let (tag, value) = versions.iter().find(|(tag, _)| tag.seq().0 <= seq)?;
    (tag.kind() == Some(Kind::Put)).then_some(*value)
}

fn random_versions(rng: &mut fastrand::Rng, seqs: std::ops::Range<u64>) -> Vec<Version> {
    let kind = |rng: &mut fastrand::Rng| {
        if rng.u8(..3) == 0 { Kind::Delete } else { Kind::Put }
    };
    let picked: Vec<u64> = seqs.rev().filter(|_| rng.u8(..3) == 0).collect();
    picked.into_iter().map(|seq| (Tag::new(SeqNo(seq), kind(rng)), seq)).collect()
}

#[test]
fn every_reader_sees_the_same() {
    for seed in 0..2_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut snapshots: Vec<u64> = (0..rng.usize(0..5)).map(|_| rng.u64(0..30)).collect();
        snapshots.push(rng.u64(20..32));
        snapshots.sort_unstable();
        snapshots.dedup();
        let newest = *snapshots.last().unwrap();
        let listed: Vec<SeqNo> = snapshots.iter().map(|&seq| SeqNo(seq)).collect();
        let mut retention = DropPolicy::new(listed);
        for _key in 0..8 {
            let merged = random_versions(&mut rng, 10..40);
            // Older data below, or none and known to be none.
            let at_bottom = rng.bool();
            let older = match at_bottom {
                true => Vec::new(),
                false => random_versions(&mut rng, 1..10),
            };
            let mut kept = Vec::new();
            for (at, &(tag, value)) in merged.iter().enumerate() {
                if let VersionFate::Keep(tag) = retention.decide(at == 0, tag, || at_bottom) {
                    kept.push((tag, value));
                }
            }
            let order: Vec<Tag> = kept.iter().map(|(tag, _)| *tag).collect();
            assert!(order.is_sorted_by(|a, b| a > b), "seed {seed}: {order:?}");
            let minimal = snapshots.len() + merged.iter().filter(|v| v.0.seq().0 > newest).count();
            assert!(kept.len() <= minimal, "seed {seed}: more than one version a stripe");

            let before = [merged, older.clone()].concat();
            let after = [kept, older].concat();
            for seq in snapshots.iter().copied().chain(newest..42) {
                assert_eq!(
                    visible(&before, seq),
                    visible(&after, seq),
                    "seed {seed}, snapshots {snapshots:?}, reader at {seq}: {before:?} -> {after:?}"
                );
            }
        }
    }
}
