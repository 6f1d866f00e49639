//! Scans: as streams and page by page.

use std::time::Duration;

use lsm_client::{Client, ClientOptions, Entry, ErrorKind, Scan, ScanStream};
use tokio_stream::StreamExt;
use tonic::Code;

use crate::fake::{Fake, Fault, options};

/// A cluster with the keys `k000` to `k099`, and `other`.
async fn filled() -> (Fake, Client) {
    filled_with(options()).await
}

async fn filled_with(options: ClientOptions) -> (Fake, Client) {
    let fake = Fake::start(2).await;
    for i in 0..100 {
        let (key, value) = (format!("k{i:03}"), format!("v{i}"));
        fake.world().data.insert(key.into(), value.into());
    }
    fake.world().data.insert("other".into(), "x".into());
    let client = fake.client_with(0, options).await;
    (fake, client)
}

/// Adds 250 pages of 256 KiB.
fn fill_big(fake: &Fake) {
    let mut world = fake.world();
    for i in 0..1000 {
        world.data.insert(format!("big{i:04}").into(), vec![0_u8; 64 << 10].into());
    }
    world.scan.page_entries = 4;
}

async fn all(mut scan: ScanStream) -> lsm_client::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    while let Some(entry) = scan.next().await? {
        entries.push(entry);
    }
    assert_eq!(scan.next().await.unwrap(), None, "it stays at its end");
    Ok(entries)
}

fn keys(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8(entry.key.to_vec()).unwrap()).collect()
}

fn numbers(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|i| format!("k{i:03}")).collect()
}

#[tokio::test]
async fn a_stream_gives_the_entries_in_order() {
    let (_fake, client) = filled().await;
    let entries = all(client.scan(Scan::prefix("k"))).await.unwrap();
    assert_eq!(keys(&entries), numbers(0..100));
    assert_eq!(entries[42].value, "v42");
    let scan = Scan::range("k010".."k020").reverse().limit(3).keys_only();
    let entries = all(client.scan(scan)).await.unwrap();
    assert_eq!(keys(&entries), numbers([19, 18, 17]));
    assert!(entries.iter().all(|entry| entry.value.is_empty()));
    assert_eq!(all(client.scan(Scan::prefix("none"))).await.unwrap(), []);
    assert_eq!(all(client.scan(Scan::all().limit(0))).await.unwrap(), []);
    assert_eq!(all(client.scan(Scan::all().limit(10))).await.unwrap().len(), 10);
    assert_eq!(all(client.scan(Scan::all())).await.unwrap().len(), 101);
}

#[tokio::test]
async fn it_is_a_stream_as_others_are() {
    let (_fake, client) = filled().await;
    let scan = client.scan(Scan::prefix("k"));
    let entries: Vec<_> = scan.map(|entry| entry.unwrap()).collect().await;
    assert_eq!(keys(&entries), numbers(0..100));
}

#[tokio::test]
async fn pages_lead_from_one_to_the_next() {
    let (_fake, client) = filled().await;
    for (scan, expected) in [
        (Scan::prefix("k"), numbers(0..100)),
        (Scan::prefix("k").reverse().limit(25), numbers((75..100).rev())),
    ] {
        let mut entries = Vec::new();
        let mut next = Some(scan);
        while let Some(scan) = next {
            let page = client.scan_page(scan).await.unwrap();
            assert!(page.entries.len() <= 10);
            entries.extend(page.entries);
            next = page.next;
        }
        assert_eq!(keys(&entries), expected);
    }
}

#[tokio::test]
async fn a_scan_that_cannot_begin_is_tried_again() {
    let (fake, client) = filled().await;
    fake.fault("scan stream", Fault::Fail(Code::Unavailable));
    fake.fault("scan stream", Fault::Hang);
    fake.world().scan.break_after = Some((0, Code::Unavailable));
    assert_eq!(all(client.scan(Scan::prefix("k"))).await.unwrap().len(), 100);
    assert_eq!(fake.world().count("scan stream"), 4);
}

#[tokio::test]
async fn a_scan_that_breaks_says_so() {
    let (fake, client) = filled().await;
    fake.world().scan.break_after = Some((3, Code::Unavailable));
    let mut scan = client.scan(Scan::prefix("k"));
    for _ in 0..30 {
        scan.next().await.unwrap().unwrap();
    }
    let error = scan.next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("after 30 entries"), "{error}");
    assert_eq!(scan.next().await.unwrap(), None);
    assert_eq!(fake.world().count("scan stream"), 1);
}

#[tokio::test]
async fn a_scan_goes_on_where_it_broke_if_it_may() {
    for (scan, expected) in [
        (Scan::prefix("k").limit(95), numbers(0..95)),
        (Scan::prefix("k").reverse(), numbers((0..100).rev())),
    ] {
        let (fake, client) = filled().await;
        fake.world().scan.break_after = Some((3, Code::Unavailable));
        let entries = all(client.scan(scan.resume_if_broken())).await.unwrap();
        assert_eq!(keys(&entries), expected);
        assert_eq!(fake.world().count("scan stream"), 2);
    }
}

#[tokio::test]
async fn what_a_node_cannot_scan_comes_from_another() {
    let (fake, client) = filled().await;
    fake.fault("scan stream", Fault::Fail(Code::DataLoss));
    assert_eq!(all(client.scan(Scan::prefix("k"))).await.unwrap().len(), 100);
    let mut asked = fake.world().nodes("scan stream");
    asked.sort_unstable();
    assert_eq!(asked, [0, 1]);

    fake.world().scan.break_after = Some((3, Code::DataLoss));
    let error = all(client.scan(Scan::prefix("k"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "it has begun, and may not go on");
    fake.world().scan.break_after = Some((3, Code::DataLoss));
    let entries = all(client.scan(Scan::prefix("k").resume_if_broken())).await.unwrap();
    assert_eq!(keys(&entries), numbers(0..100));

    // Nobody can.
    (0..2).for_each(|_| fake.fault("scan stream", Fault::Fail(Code::DataLoss)));
    let error = all(client.scan(Scan::prefix("k").resume_if_broken())).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Internal, Some(Code::DataLoss)));
}

#[tokio::test]
async fn a_scan_goes_on_at_another_node_if_one_dies() {
    let (mut fake, client) = filled().await;
    fake.world().scan.hang_after = Some(2);
    let mut scan = client.scan(Scan::prefix("k").resume_if_broken());
    for _ in 0..20 {
        scan.next().await.unwrap().unwrap();
    }
    let dead = fake.world().nodes("scan stream")[0];
    fake.world().leader = Some(1 - dead);
    fake.world().scan.hang_after = None;
    fake.kill(dead).await;
    let rest = all(scan).await.unwrap();
    assert_eq!(keys(&rest), numbers(20..100));
}

#[tokio::test]
async fn a_page_that_does_not_come_is_not_waited_for_in_vain() {
    let (fake, client) = filled().await;
    let client = client.with_timeout(Duration::from_secs(1)).unwrap();
    fake.world().scan.hang_after = Some(1);
    let error = all(client.scan(Scan::prefix("k"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout { may_have_applied: false });
}

#[tokio::test]
async fn a_scan_that_the_node_ends_early_is_not_taken_for_whole() {
    let (fake, client) = filled().await;
    fake.world().scan.stop_after = Some(2);
    let error = all(client.scan(Scan::prefix("k"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn a_slow_reader_holds_the_node_back_and_a_gone_one_stops_it() {
    let (fake, client) = filled().await;
    fill_big(&fake);
    let mut scan = client.scan(Scan::prefix("big"));
    scan.next().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let made = fake.world().scan.pages_made;
    assert!(made < 30, "{made} of 250 pages were made for a reader of one entry");
    assert_eq!(fake.world().scan.streams, 1);
    drop(scan);
    fake.until("the scan ends", |world| world.scan.streams == 0).await;
}

#[tokio::test]
async fn slow_readers_of_scans_hold_nothing_else_up() {
    let (fake, client) = filled().await;
    fill_big(&fake);
    let mut scans = Vec::new();
    for _ in 0..20 {
        let mut scan = client.scan(Scan::prefix("big"));
        scan.next().await.unwrap().unwrap();
        scans.push(scan);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    fake.world().asked.clear();
    for i in 0..50 {
        client.get(format!("big{i:04}")).await.unwrap().unwrap();
    }
    assert_eq!(fake.world().count("get"), 50, "none had to be tried again");
}

#[tokio::test]
async fn giving_up_on_an_entry_does_not_lose_it() {
    let (fake, client) = filled_with(options().try_timeout(Duration::from_secs(5))).await;
    fake.fault("scan stream", Fault::Slow(Duration::from_secs(1)));
    let mut scan = client.scan(Scan::prefix("k"));
    let none = tokio::time::timeout(Duration::from_millis(50), scan.next()).await;
    assert!(none.is_err());
    assert_eq!(all(scan).await.unwrap().len(), 100);
    assert_eq!(fake.world().count("scan stream"), 1);
}
