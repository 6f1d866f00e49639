//! What scripts cannot say: bounds that hold for any length of round trip.

use std::collections::VecDeque;

use raft::eraftpb::Message;

use super::Input;
use super::test_group::TestGroup;

/// Many rounds are on their way by then, and each answer counts.
#[test]
fn reads_are_answered_within_two_round_trips_however_long_these_are() {
    const LAST: u32 = 40;
    for one_way in 0..=7 {
        let mut group = TestGroup::new(3, 0, |_| {});
        group.input(1, Input::Campaign);
        let (mut on_their_way, mut asked, mut late) = (VecDeque::new(), 0, 0);
        for tick in 0.. {
            let due = on_their_way.partition_point(|&(at, _): &(u32, Message)| at <= tick);
            let due: Vec<_> = on_their_way.drain(..due).map(|(_, message)| message).collect();
            let mut sent = Vec::new();
            for message in due {
                sent.extend(group.step(message.to, Input::Message(message)));
            }
            for id in 1..=3 {
                sent.extend(group.step(id, Input::Tick));
                if tick < LAST {
                    let waiter = format!("{tick}/{id}");
                    sent.extend(group.step(id, Input::Read { waiter }));
                    asked += 1;
                }
                sent.extend(group.sync(id));
            }
            on_their_way.extend(sent.into_iter().map(|message| (tick + one_way, message)));
            for waiter in group.readable.drain(..) {
                let (began, node) = waiter.split_once('/').unwrap();
                // A follower asks its leader, who asks the others. A read waits for a heartbeat
                // until it is asked for.
                let round_trips = if node == "1" { 1 } else { 2 };
                let most = round_trips * (2 * one_way + 2) + 2;
                late += u32::from(tick - began.parse::<u32>().unwrap() > most);
                asked -= 1;
            }
            if tick > LAST && asked == 0 {
                break;
            }
            assert!(tick < 3 * LAST, "{asked} reads have no answer, one way {one_way}");
        }
        let refused = group.trace.iter().any(|line| line.contains(" refuses "));
        assert_eq!((late, refused), (0, false), "one way {one_way}");
    }
}
