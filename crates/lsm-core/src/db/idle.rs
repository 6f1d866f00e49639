//! Since when nobody has written to a keyspace, and what would bring it to rest.
//!
//! What there is to do, and how long nobody must have written before it is worth it, is decided
//! elsewhere (`compaction::rest`); here the time is measured. Writers take no part in that: now
//! and then their memtables are looked at.
//!
//! Threads: one at a time; the owner guards it with a lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use lsm_log::error::Result;

use super::tree::{SuperVersion, Tree};
use crate::compaction::{self, BusyTables, IDLE_TIME_CHEAP, IDLE_TIME_MAX, IDLE_TIME_MIN};
use crate::key::{KeyspaceId, SeqNo};
use crate::memtable::Memtable;
use crate::version::Version;

/// Jobs that bring rest get one part in so many of the time, but for those that readers paid for.
const SHARE_ONE_IN: u32 = 8;

/// Looks are so far apart: each goes over all keyspaces.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// While readers lose time, what makes them faster is to be done soon after it is paid for.
const LOOK_SOON: Duration = Duration::from_millis(20);
/// What they lose between two looks, in nanoseconds, so that the next ones are soon, ...
const LOSS_MIN: u64 = 1_000_000;
/// ... and for how long: whoever lost time may do so again.
const SOON_TIME: Duration = Duration::from_secs(1);

/// What is known of the keyspaces' rest.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    keyspaces: BTreeMap<KeyspaceId, Quiet>,
    /// Nobody looks for a job before.
    look_from: Duration,
    /// What readers had paid at the last look and was not spent.
    unspent: u64,
    /// They lost so much that looks are close together until then.
    soon_until: Duration,
    /// No job is begun before that nobody has paid for.
    not_before: Duration,
    /// The time, where steps made by hand let it pass, and how much of it the last one did.
    stepped: Duration,
    step: Duration,
}

/// A keyspace that nobody wrote to since a certain time, or so it seems.
#[derive(Debug)]
struct Quiet {
    since: Duration,
    /// What writes change.
    active: Weak<Memtable>,
    entries: u64,
    /// What there is to do, once it was looked for.
    outlook: Option<Outlook>,
}

/// What there is to do in a keyspace as long as its tables stay as they are and no reader lets go
/// of what it holds.
#[derive(Debug)]
struct Outlook {
    version: Weak<Version>,
    held_until: Option<SeqNo>,
    chore: Option<Chore>,
}

#[derive(Clone, Copy, Debug)]
struct Chore {
    /// How long nobody must have written.
    after: Duration,
    kind: ChoreKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChoreKind {
    /// Of the memtables.
    Flush,
    Compact,
}

/// What looking for work came to.
#[derive(Debug)]
pub(super) enum IdleFound {
    Due(Arc<Tree>, ChoreKind),
    /// Somebody has written to a keyspace just now.
    Busy,
    /// Some keyspace may have something to do later.
    Later,
    Nothing,
}

impl Idle {
    /// Lets time pass by a step that found nothing due, twice as much as by the one before; tells the
    /// time.
    pub(super) fn pass(&mut self) -> Duration {
        self.step = (2 * self.step).clamp(IDLE_TIME_MIN, IDLE_TIME_MAX);
        self.stepped += self.step;
        self.stepped
    }

    /// There was nothing to do, and readers have paid so much: for a moment nobody looks again,
    /// however often threads are woken.
    pub(super) fn has_looked(&mut self, now: Duration, unspent: u64) {
        let before = std::mem::replace(&mut self.unspent, unspent);
        if unspent.saturating_sub(before) >= LOSS_MIN {
            self.soon_until = now + SOON_TIME;
        }
        self.look_from = now + self.soon(now).unwrap_or(LOOK_EVERY);
    }

    /// How soon to look again although nothing is announced, if readers lose time.
    pub(super) fn soon(&self, now: Duration) -> Option<Duration> {
        (now < self.soon_until).then_some(LOOK_SOON)
    }

    /// Whether it is time to look for a job.
    pub(super) fn may_look(&self, now: Duration) -> bool {
        now >= self.look_from
    }

    /// Whether it is time to begin one that nobody has paid for.
    pub(super) fn may_begin(&self, now: Duration) -> bool {
        now >= self.not_before
    }

    /// A job that nobody had paid for took from `begun` to `ended`: for some time there is no other.
    pub(super) fn has_run(&mut self, begun: Duration, ended: Duration) {
        self.not_before = ended + (SHARE_ONE_IN - 1) * ended.saturating_sub(begun);
    }

    /// The first keyspace that has been left alone for long enough. `trees` are all there are, in the
    /// order of their numbers: there may be thousands, and nobody writes to most of them.
    pub(super) fn find(
        &mut self,
        trees: &[Arc<Tree>],
        oldest: SeqNo,
        now: Duration,
    ) -> Result<IdleFound> {
        let is_there = |id: &KeyspaceId| trees.binary_search_by_key(id, |tree| tree.id).is_ok();
        self.keyspaces.retain(|id, _| is_there(id));
        let (mut busy, mut later) = (false, false);
        for tree in trees {
            let view = tree.pinned();
            let quiet = self.keyspaces.entry(tree.id).or_insert_with(|| Quiet::new(&view, now));
            if quiet.was_written(&view) {
                *quiet = Quiet::new(&view, now);
                self.step = Duration::ZERO;
            }
            let left_alone = now.saturating_sub(quiet.since);
            busy |= left_alone < IDLE_TIME_MIN;
            if left_alone < IDLE_TIME_CHEAP {
                continue;
            }
            match quiet.chore(&view, oldest)? {
                Some(chore) if chore.after <= left_alone => {
                    return Ok(IdleFound::Due(Arc::clone(tree), chore.kind));
                }
                Some(_) => later = true,
                None => {}
            }
        }
        Ok(match (busy, later) {
            (true, _) => IdleFound::Busy,
            (false, true) => IdleFound::Later,
            (false, false) => IdleFound::Nothing,
        })
    }

    /// How many keyspaces something is known of.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.keyspaces.len()
    }

    /// The memtables of the keyspace were sealed by ourselves: nobody wrote.
    pub(super) fn was_flushed(&mut self, tree: &Tree) {
        if let Some(quiet) = self.keyspaces.get_mut(&tree.id) {
            *quiet = Quiet::new(&tree.super_version(), quiet.since);
        }
    }
}

impl Quiet {
    fn new(view: &SuperVersion, since: Duration) -> Self {
        let (active, entries) = (Arc::downgrade(&view.active), view.active.entries());
        Self { since, active, entries, outlook: None }
    }

    fn was_written(&self, view: &SuperVersion) -> bool {
        // A `Weak` keeps the address from being used again.
        self.active.as_ptr() != Arc::as_ptr(&view.active) || self.entries != view.active.entries()
    }

    /// What there is to do; looked for anew only when something has changed.
    fn chore(&mut self, view: &SuperVersion, oldest: SeqNo) -> Result<Option<Chore>> {
        let holds = |outlook: &Outlook| {
            outlook.version.as_ptr() == Arc::as_ptr(&view.version)
                && outlook.held_until.is_none_or(|seq| oldest < seq)
        };
        if !self.outlook.as_ref().is_some_and(holds) {
            self.outlook = Some(Outlook::of(view, oldest)?);
        }
        Ok(self.outlook.as_ref().and_then(|outlook| outlook.chore))
    }
}

impl Outlook {
    fn of(view: &SuperVersion, oldest: SeqNo) -> Result<Self> {
        let version = &view.version;
        let memtables: Vec<_> = view.filling().filter(|m| !m.is_empty()).cloned().collect();
        let flush = compaction::flush_effort(&memtables, version)?;
        let cheap = view.options.idle_amplification_max.into();
        let flush = flush.map(|effort| (effort.idle_time(cheap), ChoreKind::Flush));
        let compact = compaction::rest(version, &BusyTables::default(), &view.options, oldest);
        let compact = compact.map(|(_, effort)| (effort.idle_time(cheap), ChoreKind::Compact));
        let chores = flush.into_iter().chain(compact);
        let first = chores.min_by_key(|(after, _)| *after);
        Ok(Self {
            version: Arc::downgrade(version),
            held_until: compaction::held_until(version, oldest),
            chore: first.map(|(after, kind)| Chore { after, kind }),
        })
    }
}
