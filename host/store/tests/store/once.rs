//! Idempotency keys: with the session or not at all, and for a day.

use std::time::Duration;

use seawall_model::Timestamp;
use seawall_store::{Error, Once, Store, Write};

use crate::common::session;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn at(now: Timestamp, after: Duration) -> Timestamp {
    now + after
}

#[tokio::test]
async fn a_key_is_kept_for_a_day_and_then_free_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let web = session("web");
    let born = Timestamp::from_millis(1_800_000_000_000);
    let once = Once { key: "k".to_owned(), request: [7; 32], session: web.id.clone(), at: born };
    let writes = vec![Write::InsertSession(Box::new(web.clone())), Write::PutOnce(once.clone())];
    store.write(writes).await.unwrap();
    store.close().await;

    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(store.once("k", at(born, DAY)).await.unwrap(), Some(once.clone()));
    assert_eq!(store.once("K", born).await.unwrap(), None);
    let late = at(born, DAY + Duration::from_millis(1));
    assert_eq!(store.once("k", late).await.unwrap(), None);

    let other = session("other");
    let again = Once { request: [8; 32], session: other.id.clone(), at: at(born, DAY), ..once.clone() };
    let writes = |again: &Once| vec![Write::InsertSession(Box::new(other.clone())), Write::PutOnce(again.clone())];
    let taken = store.write(writes(&again)).await.unwrap_err();
    assert!(matches!(&taken, Error::KeyTaken(key) if key == "k"), "{taken:?}");
    assert_eq!(store.load().await.unwrap().sessions.len(), 1, "neither was written");

    let again = Once { at: late, ..again };
    store.write(writes(&again)).await.unwrap();
    assert_eq!(store.once("k", late).await.unwrap(), Some(again));
    // What becomes of the session is another thing.
    store.write(vec![Write::DeleteSession(other.id.clone())]).await.unwrap();
    assert!(store.once("k", late).await.unwrap().is_some());
    store.write(vec![Write::ForgetOnce("k".to_owned()), Write::ForgetOnce("never".to_owned())]).await.unwrap();
    assert_eq!(store.once("k", late).await.unwrap(), None);
    store.close().await;
}
