use std::collections::BTreeMap;

use fastrand::Rng;

use super::*;

/// The same by looking at everything each time.
#[derive(Default)]
struct Model {
    opened: u64,
    /// Id, number and index of the last request.
    rows: Vec<(u64, u64, u64)>,
}

impl Model {
    fn open(&mut self, max: usize, index: u64) -> u64 {
        if self.rows.len() == max {
            let oldest = self.rows.iter().min_by_key(|row| (row.2, row.0)).unwrap().0;
            self.rows.retain(|row| row.0 != oldest);
        }
        self.opened += 1;
        self.rows.push((self.opened, 0, index));
        self.opened
    }

    fn request(&mut self, session: Session, index: u64) -> Verdict {
        let Some(row) = self.rows.iter_mut().find(|row| row.0 == session.id) else {
            return Verdict::Unknown;
        };
        if session.sequence == 0 || session.sequence < row.1 {
            return Verdict::Passed { last: row.1 };
        }
        if session.sequence == row.1 {
            return Verdict::Repeated { index: row.2 };
        }
        (row.1, row.2) = (session.sequence, index);
        Verdict::New
    }
}

/// What is stored: rows, and how many sessions were opened.
#[derive(Default)]
struct Stored {
    opened: u64,
    rows: BTreeMap<u64, Vec<(u64, SessionRow)>>,
}

impl Stored {
    fn save(&mut self, sessions: &mut Sessions) {
        self.opened = sessions.opened();
        for (group, sessions) in sessions.take_changed() {
            if sessions.is_empty() {
                self.rows.remove(&group);
            } else {
                self.rows.insert(group, sessions);
            }
        }
    }

    fn load(&self, max: usize) -> Sessions {
        Sessions::load(max, self.opened, self.rows.values().flatten().copied().collect())
    }
}

#[test]
fn sessions_agree_with_the_model_whenever_they_are_stored() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let max = rng.usize(1..6);
        let (mut model, mut stored) = (Model::default(), Stored::default());
        let mut sessions = Sessions::new(max);
        let mut index = 1;
        for _ in 0..300 {
            // Several in one entry.
            index += rng.u64(..2);
            match rng.u8(..10) {
                0 => stored.save(&mut sessions),
                1 => {
                    stored.save(&mut sessions);
                    sessions = stored.load(max);
                }
                2 | 3 => assert_eq!(sessions.open(index), model.open(max, index), "seed {seed}"),
                _ => {
                    let id = model.opened.saturating_sub(rng.u64(..8));
                    let session = Session { id, sequence: rng.u64(..6) };
                    let verdict = sessions.judge(session);
                    if verdict == Verdict::New {
                        sessions.applied(session, index);
                    }
                    assert_eq!(verdict, model.request(session, index), "seed {seed}: {session:?}");
                }
            }
            let mut ids: Vec<u64> = sessions.by_id.keys().copied().collect();
            ids.sort_unstable();
            let mut expected: Vec<u64> = model.rows.iter().map(|row| row.0).collect();
            expected.sort_unstable();
            assert_eq!(ids, expected, "seed {seed}");
            assert_eq!(sessions.by_use.len(), ids.len(), "seed {seed}");
        }
    }
}

#[test]
fn a_session_that_is_used_outlives_idle_ones() {
    let mut sessions = Sessions::new(2);
    let (a, b) = (sessions.open(1), sessions.open(1));
    sessions.applied(Session { id: a, sequence: 1 }, 2);
    let c = sessions.open(3);
    assert_eq!((a, b, c), (1, 2, 3));
    assert_eq!(sessions.judge(Session { id: b, sequence: 1 }), Verdict::Unknown);
    assert_eq!(sessions.judge(Session { id: a, sequence: 2 }), Verdict::New);
    // Retries do not count as use: what they did is the log's past.
    assert_eq!(sessions.judge(Session { id: a, sequence: 1 }), Verdict::Repeated { index: 2 });
    sessions.open(4);
    assert_eq!(sessions.judge(Session { id: a, sequence: 1 }), Verdict::Unknown);
}

#[test]
fn a_new_session_has_made_no_request() {
    let mut sessions = Sessions::new(2);
    let id = sessions.open(7);
    assert_eq!(sessions.judge(Session { id, sequence: 0 }), Verdict::Passed { last: 0 });
    assert_eq!(sessions.judge(Session { id, sequence: 9 }), Verdict::New);
}
