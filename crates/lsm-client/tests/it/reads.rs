//! Reads: tried until there is an answer or the time is over.

use std::time::{Duration, Instant};

use lsm_client::ErrorKind;
use tonic::Code;

use crate::fake::{Fake, Fault, TRY_TIMEOUT, options};

#[expect(clippy::disallowed_methods, reason = "the test is about real time")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn values_come_back() {
    let fake = Fake::start(1).await;
    let client = fake.client(0).await;
    client.put("k", vec![7_u8; 100_000]).await.unwrap();
    client.put("empty", "").await.unwrap();
    assert_eq!(client.get("k").await.unwrap().unwrap(), vec![7_u8; 100_000]);
    assert_eq!(client.get("empty").await.unwrap().unwrap(), "");
    assert_eq!(client.get("none").await.unwrap(), None);
    assert_eq!(client.get_stale("empty").await.unwrap().unwrap(), "");
    assert_eq!(fake.world().count("get stale"), 1);
}

#[tokio::test]
async fn a_read_is_tried_again() {
    let faults = [
        Fault::Fail(Code::Unavailable),
        Fault::Fail(Code::Cancelled),
        Fault::Hang,
        Fault::Refuse(Code::ResourceExhausted, "busy"),
        Fault::Refuse(Code::Unavailable, "not-leader"),
    ];
    for fault in faults {
        let fake = Fake::start(2).await;
        let client = fake.client(0).await;
        fake.fault("get", fault.clone());
        assert_eq!(client.get("k").await.unwrap(), None, "{fault:?}");
        assert_eq!(fake.world().count("get"), 2, "{fault:?}");
    }
}

#[tokio::test]
async fn what_cannot_work_is_not_tried_again() {
    let fake = Fake::start(2).await;
    let client = fake.client(0).await;
    let stops = [
        (Code::InvalidArgument, ErrorKind::Invalid),
        (Code::Unimplemented, ErrorKind::Invalid),
        (Code::Unknown, ErrorKind::Internal),
    ];
    for (code, kind) in stops {
        fake.world().asked.clear();
        fake.fault("get", Fault::Fail(code));
        let error = client.get("k").await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (kind, Some(code)));
        assert_eq!(fake.world().count("get"), 1);
    }
}

#[tokio::test]
async fn what_a_node_cannot_read_is_read_from_another() {
    for code in [Code::DataLoss, Code::Internal] {
        let fake = Fake::start(3).await;
        fake.world().data.insert("k".into(), "v".into());
        let client = fake.client(0).await;
        let fail = |method| fake.fault(method, Fault::Fail(code));
        (0..2).for_each(|_| fail("get"));
        assert_eq!(client.get("k").await.unwrap().unwrap(), "v");
        let mut asked = fake.world().nodes("get");
        asked.sort_unstable();
        assert_eq!(asked, [0, 1, 2]);
        fail("get stale");
        assert_eq!(client.get_stale("k").await.unwrap().unwrap(), "v");

        // Nobody can: each is asked once.
        fake.world().asked.clear();
        (0..3).for_each(|_| fail("get"));
        let error = client.get("k").await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Internal, Some(code)));
        assert_eq!(error.tried().count(), 3);
        assert_eq!(fake.world().count("get"), 3);

        // One node is asked for itself.
        fail("get stale");
        let error = client.node(&fake.address(1)).unwrap().get_stale("k").await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Internal, Some(code)));
    }
}

#[tokio::test]
async fn the_deadline_holds_whatever_the_nodes_do() {
    let ways = [Fault::Hang, Fault::Fail(Code::Unavailable), Fault::Hint("127.0.0.1:1".into())];
    for fault in ways {
        let fake = Fake::start(3).await;
        let options = options().try_timeout(Duration::from_millis(300));
        let client = fake.client_with(0, options).await;
        let client = client.with_timeout(Duration::from_secs(2)).unwrap();
        for _ in 0..1000 {
            fake.fault("get", fault.clone());
        }
        let start = now();
        let error = client.get("k").await.unwrap_err();
        let took = start.elapsed();
        // The nodes would go on for ever.
        assert!(took < Duration::from_secs(10), "{fault:?} took {took:?}");
        assert!(took > Duration::from_millis(900), "{fault:?} took {took:?}");
        let kind = match fault {
            Fault::Hang => ErrorKind::Timeout { may_have_applied: false },
            _ => ErrorKind::Unavailable,
        };
        assert_eq!(error.kind(), kind, "{fault:?}: {error}");
        assert!(error.tried().count() >= 2, "{fault:?}: {error}");
        let asked = fake.world().count("get");
        assert!((2..40).contains(&asked), "{fault:?}: asked {asked} times");
    }
}

#[tokio::test]
async fn nodes_are_told_how_much_time_there_is() {
    let fake = Fake::start(1).await;
    let (of_try, of_call) = (Duration::from_secs(5), Duration::from_secs(3));
    let client = fake.client_with(0, options().try_timeout(of_try)).await;
    let told = |method: &str| {
        let world = fake.world();
        let asked = world.asked.iter().rfind(|asked| asked.method == method).unwrap();
        let timeout = asked.timeout.clone().unwrap();
        let (number, unit) = timeout.split_at(timeout.len() - 1);
        let number: u64 = number.parse().unwrap();
        match unit {
            "n" => Duration::from_nanos(number),
            "u" => Duration::from_micros(number),
            "m" => Duration::from_millis(number),
            "S" => Duration::from_secs(number),
            _ => panic!("{timeout}"),
        }
    };
    client.get("k").await.unwrap();
    assert_eq!(told("get"), of_try);
    client.with_timeout(of_call).unwrap().get("k").await.unwrap();
    let time = told("get");
    assert!(time <= of_call && time > of_call / 3, "{time:?}");
    client.hash_check().await.unwrap();
    assert!(told("hash") > Duration::from_secs(15), "it may take long");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused() {
    let fake = Fake::start(1).await;
    let client = fake.client_with(0, options().answer_bytes_max(64 << 10)).await;
    client.put("k", vec![0_u8; 100_000]).await.unwrap();
    let error = client.get("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("65536"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_said_with_all_who_were_tried() {
    let mut fake = Fake::start(2).await;
    let (first, second) = (fake.address(0), fake.address(1));
    fake.kill(0).await;
    fake.kill(1).await;
    let options = options().timeout(2 * TRY_TIMEOUT);
    let error = options.open([&first, &second]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let mut tried: Vec<_> = error.tried().collect();
    tried.sort_unstable();
    let mut given = [&*first, &*second];
    given.sort_unstable();
    assert_eq!(tried, given);
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn bad_addresses_are_refused_at_once() {
    let error = options().open(["no port"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = options().open::<&str>([]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = options().try_timeout(Duration::ZERO).open(["a:1"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}
