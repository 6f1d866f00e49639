//! The search for an order of one register's operations that explains what was read.
//!
//! Wing & Gong's search ("Testing and Verifying Concurrent Objects", 1993) with Lowe's two
//! amendments ("Testing for linearizability", 2017): operations are ordered just in time, when
//! one that was not ordered yet returns, and a configuration (what is ordered, what the register
//! holds) that was tried once is not tried again. Keys are searched one by one, which is exact:
//! linearizability is local (Herlihy & Wing 1990).
//!
//! The rest uses that this is a register, and makes almost every step forced:
//!
//! * A read of what the register holds is ordered at once: that changes nothing.
//! * A write is *exposed* (ordered so that reads may see it) only when a read needs it, or when
//!   it returns. One that returns after another was exposed during its time may be *buried*
//!   instead: it stands right before that other, where nobody saw it. One of unknown outcome is
//!   exposed for a read, or never.
//! * Of several open writes of one value, that which returns first is exposed: what is left
//!   over can do all that the other could.
//! * What the register holds cannot be overwritten if another read of it returns before
//!   another write of it is called; and a write whose value no read is to see is buried if it
//!   can be.
//!
//! What is left to choose: which open value, of those that open reads wait for, comes before the
//! one that is needed now; and, for a value that was written more than once, whether a write of
//! it is exposed or buried. If all written values differ, wrong choices are noticed soon; in
//! general the problem is NP-complete (Gibbons & Korach 1997) and the search exponential in the
//! number of concurrent operations, so it gives up after a number of steps.
//!
//! Memory: 16 bytes and a little for each step. Configurations are told apart by fingerprints of
//! 128 bits; two that collide could only lead to a violation that is none.

use std::collections::HashSet;

/// Events looked at ahead, to try the likelier choice first.
const LOOK_AHEAD: usize = 256;

/// One operation, with its value as a number; zero is what the register holds at first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    /// Which operation of the history it is.
    pub(super) source: usize,
    pub(super) is_read: bool,
    pub(super) value: usize,
    pub(super) start: u64,
    pub(super) end: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is such an order.
    Order,
    /// There is none.
    NoOrder,
    /// The limit of steps was reached.
    Undecided,
}

/// Searches the operations of one register, whose values are less than `values`; also returns
/// how many steps that took. A step is a configuration in which something is to be decided.
pub(super) fn search(ops: &[Op], values: usize, steps_max: usize) -> (Found, usize) {
    let mut search = Search::new(ops, values);
    let found = search.run(steps_max);
    (found, search.seen.len())
}

#[derive(Clone, Copy, Debug)]
struct Event {
    op: usize,
    is_return: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    /// Orders an open write of this value, and the open reads of it.
    Expose(usize),
    /// Orders the returning write where it is not seen.
    Bury,
}

/// Where to go on after a dead end.
#[derive(Debug)]
struct Fork {
    position: usize,
    state: usize,
    exposed_at: usize,
    print: u128,
    trail: usize,
    /// Not tried yet; the next one is the last.
    moves: Vec<Move>,
}

#[derive(Debug)]
struct Search<'a> {
    ops: &'a [Op],
    /// Calls and returns in the order of time; at one time calls first.
    events: Vec<Event>,
    /// Position of the call of each operation.
    starts: Vec<usize>,
    /// Position of its return; `usize::MAX` if there is none.
    ends: Vec<usize>,
    /// Of each value: its reads by their return, its writes by their call, and those of them
    /// that are of unknown outcome.
    reads: Vec<Vec<usize>>,
    writes: Vec<Vec<usize>>,
    loose: Vec<Vec<usize>>,
    /// The place of each operation in `reads` or `writes`.
    ranks: Vec<usize>,

    // The configuration: all events before `position` are dealt with.
    position: usize,
    state: usize,
    /// Position at which a write was last exposed.
    exposed_at: usize,
    /// Called, not returned, not loose.
    open: Vec<usize>,
    done: Vec<bool>,
    /// Of each value: how many reads are not ordered, and how many loose writes are.
    reads_left: Vec<usize>,
    loose_used: Vec<usize>,
    /// Of each value: all before this rank are ordered.
    first_read: Vec<usize>,
    first_write: Vec<usize>,
    /// Fingerprint of what is done among the open and the loose.
    print: u128,

    /// What was done, in order, to be undone.
    trail: Vec<usize>,
    forks: Vec<Fork>,
    seen: HashSet<u128>,
}

/// What `advance` ran into.
enum Stop {
    End,
    Dead,
    /// Several ways lead on; the likeliest is the last.
    Fork(Vec<Move>),
}

impl<'a> Search<'a> {
    fn new(ops: &'a [Op], values: usize) -> Self {
        let mut events = Vec::with_capacity(2 * ops.len());
        let (mut reads, mut writes) = (vec![Vec::new(); values], vec![Vec::new(); values]);
        for (op, &Op { is_read, value, start, end, .. }) in ops.iter().enumerate() {
            events.push((start, Event { op, is_return: false }));
            events.extend(end.map(|end| (end, Event { op, is_return: true })));
            let same = if is_read { &mut reads } else { &mut writes };
            same[value].push(op);
        }
        events.sort_by_key(|(time, event)| (*time, event.is_return, event.op));
        let events: Vec<_> = events.into_iter().map(|(_, event)| event).collect();
        let (mut starts, mut ends) = (vec![0; ops.len()], vec![usize::MAX; ops.len()]);
        for (position, event) in events.iter().enumerate() {
            let of = if event.is_return { &mut ends } else { &mut starts };
            of[event.op] = position;
        }
        reads.iter_mut().for_each(|same| same.sort_by_key(|&op| ends[op]));
        writes.iter_mut().for_each(|same| same.sort_by_key(|&op| starts[op]));
        let mut ranks = vec![0; ops.len()];
        for same in reads.iter().chain(&writes) {
            same.iter().enumerate().for_each(|(rank, &op)| ranks[op] = rank);
        }
        let is_loose = |op: &usize| ends[*op] == usize::MAX;
        let loose = writes.iter().map(|same| same.iter().copied().filter(is_loose).collect());
        let loose = loose.collect();
        Self {
            ops,
            events,
            starts,
            ends,
            loose,
            reads_left: reads.iter().map(Vec::len).collect(),
            reads,
            writes,
            ranks,
            position: 0,
            state: 0,
            exposed_at: 0,
            open: Vec::new(),
            done: vec![false; ops.len()],
            loose_used: vec![0; values],
            first_read: vec![0; values],
            first_write: vec![0; values],
            print: 0,
            trail: Vec::new(),
            forks: Vec::new(),
            seen: HashSet::new(),
        }
    }

    fn run(&mut self, steps_max: usize) -> Found {
        loop {
            match self.advance() {
                Stop::End => return Found::Order,
                Stop::Dead if self.forks.is_empty() => return Found::NoOrder,
                Stop::Dead => {}
                Stop::Fork(moves) => self.forks.push(Fork {
                    position: self.position,
                    state: self.state,
                    exposed_at: self.exposed_at,
                    print: self.print,
                    trail: self.trail.len(),
                    moves,
                }),
            }
            if self.seen.len() >= steps_max {
                return Found::Undecided;
            }
            self.take_fork();
        }
    }

    /// Deals with events until one leaves a choice, or none.
    fn advance(&mut self) -> Stop {
        while let Some(&Event { op, is_return }) = self.events.get(self.position) {
            if !is_return {
                self.begin(op);
                self.position += 1;
                continue;
            }
            if !self.done[op] {
                let mut moves = self.moves(op);
                // With one way on there is no fork, but another may lead here again.
                if moves.is_empty() || !self.seen.insert(self.fingerprint()) {
                    return Stop::Dead;
                }
                if moves.len() > 1 {
                    return Stop::Fork(moves);
                }
                self.make(moves.remove(0));
                continue;
            }
            self.open.retain(|&open| open != op);
            self.print ^= mark(Part::Done, op);
            self.position += 1;
        }
        Stop::End
    }

    fn begin(&mut self, op: usize) {
        let Op { is_read, value, end, .. } = self.ops[op];
        if end.is_some() {
            self.open.push(op);
        }
        if is_read && value == self.state {
            self.order(op);
        }
    }

    fn order(&mut self, op: usize) {
        let Op { is_read, value, end, .. } = self.ops[op];
        self.done[op] = true;
        self.print ^= mark(Part::Done, op);
        self.trail.push(op);
        self.reads_left[value] -= usize::from(is_read);
        self.loose_used[value] += usize::from(end.is_none());
    }

    fn undo(&mut self, op: usize) {
        let Op { is_read, value, end, .. } = self.ops[op];
        self.done[op] = false;
        self.reads_left[value] += usize::from(is_read);
        let first = if is_read { &mut self.first_read } else { &mut self.first_write };
        first[value] = first[value].min(self.ranks[op]);
        self.loose_used[value] -= usize::from(end.is_none());
    }

    fn make(&mut self, next: Move) {
        match next {
            Move::Bury => self.order(self.events[self.position].op),
            Move::Expose(value) => {
                let write = self.open_write(value).expect("moves are possible");
                self.order(write);
                self.state = value;
                self.exposed_at = self.position;
                for at in 0..self.open.len() {
                    let op = self.open[at];
                    if !self.done[op] && self.ops[op].is_read && self.ops[op].value == value {
                        self.order(op);
                    }
                }
            }
        }
    }

    /// Goes back to the last fork and takes its next way.
    fn take_fork(&mut self) {
        let Some(fork) = self.forks.last_mut() else { return };
        let next = fork.moves.pop().expect("a fork without ways is dropped");
        let Fork { position, state, exposed_at, print, trail, .. } = *fork;
        if fork.moves.is_empty() {
            self.forks.pop();
        }
        while self.trail.len() > trail {
            let op = self.trail.pop().expect("it is longer");
            self.undo(op);
        }
        while self.position > position {
            self.position -= 1;
            let Event { op, is_return } = self.events[self.position];
            if is_return {
                self.open.push(op);
            } else if self.ops[op].end.is_some() {
                self.open.retain(|&open| open != op);
            }
        }
        (self.state, self.exposed_at, self.print) = (state, exposed_at, print);
        self.make(next);
    }

    /// The open write of this value to expose first: the one that returns first, else one of
    /// unknown outcome.
    fn open_write(&self, value: usize) -> Option<usize> {
        let fits =
            |op: usize| !self.done[op] && !self.ops[op].is_read && self.ops[op].value == value;
        let open = self.open.iter().copied().filter(|&op| fits(op));
        open.min_by_key(|&op| self.ends[op]).or_else(|| {
            let next = self.loose[value].get(self.loose_used[value]).copied();
            next.filter(|&op| self.starts[op] < self.position)
        })
    }

    /// The ways on for an operation that returns and is not ordered, the likeliest last; none
    /// at a dead end.
    fn moves(&mut self, op: usize) -> Vec<Move> {
        let Op { is_read, value, .. } = self.ops[op];
        let can_leave = self.can_come_back(self.state, None);
        if is_read {
            let possible = can_leave && self.open_write(value).is_some();
            let mut moves = if possible { self.detours(value) } else { Vec::new() };
            let at = moves.iter().position(|&detour| self.is_urgent(detour, value));
            if possible {
                moves.insert(at.unwrap_or(moves.len()), Move::Expose(value));
            }
            return moves;
        }
        let mut moves = Vec::new();
        if can_leave && self.reads_left[value] > 0 {
            moves = self.detours(value);
        }
        if value == self.state {
            // Nobody sees it, and others can be buried before it.
            moves.push(Move::Expose(value));
            return moves;
        }
        let can_bury = self.starts[op] < self.exposed_at;
        if self.reads_left[value] == 0 && can_bury {
            return vec![Move::Bury];
        }
        if can_leave {
            moves.push(Move::Expose(value));
        }
        if can_bury && self.can_come_back(value, Some(op)) {
            let at = moves.len() - usize::from(can_leave && self.is_read_next(value));
            moves.insert(at, Move::Bury);
        }
        moves
    }

    /// Whether the reads of a value that are not ordered may see a write that is not either:
    /// called before the first of them returns, and not `without`.
    fn can_come_back(&mut self, value: usize, without: Option<usize>) -> bool {
        if self.reads_left[value] == 0 {
            return true;
        }
        let (reads, writes) = (&self.reads[value], &self.writes[value]);
        let (read, write) = (&mut self.first_read[value], &mut self.first_write[value]);
        while self.done[reads[*read]] {
            *read += 1;
        }
        while writes.get(*write).is_some_and(|&op| self.done[op]) {
            *write += 1;
        }
        let mut left = writes[*write..].iter().filter(|&&op| !self.done[op]);
        let next = left.find(|&&op| Some(op) != without);
        next.is_some_and(|&op| self.starts[op] < self.ends[reads[*read]])
    }

    /// Other values that open reads wait for and that could come before `value`; those after
    /// which `value` can wait no longer stand last.
    fn detours(&self, value: usize) -> Vec<Move> {
        let mut moves = Vec::new();
        for &op in &self.open {
            let other = self.ops[op].value;
            let waits = self.ops[op].is_read && !self.done[op] && other != value;
            let detour = Move::Expose(other);
            if waits && !moves.contains(&detour) && self.open_write(other).is_some() {
                moves.push(detour);
            }
        }
        moves.sort_by_key(|&detour| self.is_urgent(detour, value));
        moves
    }

    /// Whether all reads of the detour's value are open now, while some of `value` are to come:
    /// then the detour probably comes first.
    fn is_urgent(&self, detour: Move, value: usize) -> bool {
        let to_come = |value: usize| {
            let waits = |op: &&usize| {
                let op = **op;
                self.ops[op].is_read && !self.done[op] && self.ops[op].value == value
            };
            self.reads_left[value] - self.open.iter().filter(waits).count()
        };
        matches!(detour, Move::Expose(other) if to_come(other) == 0 && to_come(value) > 0)
    }

    /// Whether the reads that return next see `value` before they see what the register holds.
    fn is_read_next(&self, value: usize) -> bool {
        let ahead = self.events[self.position..].iter().take(LOOK_AHEAD);
        let mut reads = ahead.filter(|event| event.is_return && self.ops[event.op].is_read);
        let next = reads.find_map(|event| {
            let read = self.ops[event.op].value;
            (!self.done[event.op] && (read == value || read == self.state)).then_some(read)
        });
        next == Some(value)
    }

    /// Of the configuration. Two that allow the same have the same one: how long ago a write was
    /// exposed matters only to the open writes that could be buried.
    fn fingerprint(&self) -> u128 {
        let could_be_buried = |op: &usize| {
            !self.done[*op] && !self.ops[*op].is_read && self.starts[*op] < self.exposed_at
        };
        let buriable = self.open.iter().copied().filter(|op| could_be_buried(op));
        let latest = buriable.map(|op| self.starts[op] + 1).max().unwrap_or(0);
        self.print
            ^ mark(Part::Position, self.position)
            ^ mark(Part::State, self.state)
            ^ mark(Part::Latest, latest)
    }
}

/// What a fingerprint is made of.
#[derive(Clone, Copy, Debug)]
enum Part {
    Done,
    Position,
    State,
    Latest,
}

/// The share of one part in fingerprints.
fn mark(part: Part, number: usize) -> u128 {
    let low = mix((part as u64) << 62 ^ number as u64);
    u128::from(low) << 64 | u128::from(mix(low ^ 0x1656_67b1_9e37_79f9))
}

/// A bijection of the 64-bit numbers that leaves no visible order (splitmix64).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
