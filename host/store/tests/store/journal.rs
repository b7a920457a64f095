//! The journal: what is kept of it, and how it is read.

use seawall_model::{SessionId, Timestamp};
use seawall_store::{Event, EventFilter, JournalConfig, Store, StoreConfig, Write};

use crate::common::{event, session};

async fn store(dir: &std::path::Path, events: u64) -> Store {
    let journal = JournalConfig { events, ..JournalConfig::default() };
    Store::open_with(dir, StoreConfig { journal, ..StoreConfig::default() }).await.unwrap()
}

async fn tell(store: &Store, events: impl IntoIterator<Item = Event>) {
    store.write(events.into_iter().map(Write::Event).collect()).await.unwrap();
}

fn about(session: &SessionId, message: &str) -> Event {
    Event { session: Some(session.clone()), ..event(message) }
}

#[tokio::test]
async fn a_session_that_flaps_pushes_out_nothing_but_its_own_past() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), 500).await;
    let quiet: Vec<_> = (0..50).map(|_| SessionId::random()).collect();
    let backend = || Event { session: None, name: None, ..event("a backend") };
    for session in &quiet {
        tell(&store, (0..3).map(|_| about(session, "quiet"))).await;
    }
    tell(&store, [backend(), backend()]).await;
    let flapping = SessionId::random();
    for round in 0..200 {
        tell(&store, (0..25).map(|_| about(&flapping, &round.to_string()))).await;
    }

    let kept = store.events(None, 10_000).await.unwrap();
    let count = |message: &str| kept.iter().filter(|event| event.message == message).count();
    assert_eq!((count("quiet"), count("a backend")), (150, 2));
    assert!((500..=550).contains(&kept.len()), "{} are kept", kept.len());
    let newest: Vec<_> = kept.iter().filter(|event| event.session.as_ref() == Some(&flapping)).collect();
    assert!(newest.iter().map(|event| event.id).is_sorted_by(|a, b| a + 1 == *b), "its newest, without a gap");
    assert_eq!(kept.last().unwrap().id, 5152);
    store.close().await;
}

#[tokio::test]
async fn with_too_many_voices_for_the_room_what_is_oldest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), 100).await;
    for round in 0..30 {
        tell(&store, (0..10).map(|_| event(&round.to_string()))).await;
    }
    let kept = store.events(None, 10_000).await.unwrap();
    assert!((100..=110).contains(&kept.len()), "{} are kept", kept.len());
    assert!(kept.iter().map(|event| event.id).is_sorted_by(|a, b| a + 1 == *b) && kept.last().unwrap().id == 300);
    store.close().await;
}

#[tokio::test]
async fn what_grows_old_goes_when_asked_while_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), 100).await;
    // After the first write there is pruned at once: it may be the first in an hour.
    store.write(vec![Write::InsertSession(Box::new(session("web")))]).await.unwrap();
    tell(&store, [Event { at: Timestamp::from_millis(1), ..event("old") }]).await;
    tell(&store, [event("new")]).await;
    assert_eq!(store.events(None, 10).await.unwrap().len(), 2, "not pruned at each write");
    store.prune();
    while store.events(None, 10).await.unwrap().len() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.events(None, 10).await.unwrap()[0].message, "new");
    store.close().await;
}

#[tokio::test]
async fn pages_give_what_is_meant_and_say_what_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), 100).await;
    let web = SessionId::random();
    for at in 0..30 {
        tell(&store, [about(&web, &at.to_string()), event("another")]).await;
    }
    let filter = EventFilter { sessions: vec![web.to_string()], ..EventFilter::default() };
    let (mut after, mut pages, mut found) = (0, 0, Vec::new());
    loop {
        let page = store.event_page(after, 7, filter.clone()).await.unwrap();
        assert_eq!(page.missed, 0);
        found.extend(page.events.into_iter().map(|event| event.message));
        (after, pages) = (page.after, pages + 1);
        if !page.more {
            break;
        }
    }
    assert_eq!(found, (0..30).map(|at| at.to_string()).collect::<Vec<_>>());
    assert_eq!((after, pages), (60, 5), "what is not meant was looked at as well");

    let last = store.before_last_events(2, filter.clone()).await.unwrap();
    let page = store.event_page(last, 100, filter.clone()).await.unwrap();
    assert_eq!(page.events.iter().map(|event| event.message.as_str()).collect::<Vec<_>>(), ["28", "29"]);
    assert_eq!(store.before_last_events(1000, filter.clone()).await.unwrap(), 0);
    assert_eq!(store.before_last_events(0, EventFilter::default()).await.unwrap(), 60);

    for _ in 0..100 {
        tell(&store, [event("another")]).await;
    }
    let kept = store.events(None, 1000).await.unwrap();
    let page = store.event_page(10, 1000, EventFilter::default()).await.unwrap();
    assert_eq!(page.missed + page.events.len() as u64, 150);
    assert!(page.missed > 0 && kept.len() < 150, "{}", page.missed);
    store.close().await;
}
