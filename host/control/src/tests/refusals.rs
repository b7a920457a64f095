//! Requests that cannot be met: a clear no, and nothing changed.

use seawall_model::{SessionName, SessionSpec, SessionState};

use super::house::{House, name, spec};
use crate::{ControlConfig, ControlError, StartError};

#[tokio::test(start_paused = true)]
async fn a_spec_that_cannot_be_is_refused_with_every_field_named() {
    let house = House::new().await;
    let mut bad = spec();
    bad.working_dir = Some("relative".to_owned());
    bad.labels.insert("seawall.store".to_owned(), "forged".to_owned());
    let Err(ControlError::Invalid(invalid)) = house.control.create(bad).await else { panic!("it was accepted") };
    assert_eq!(invalid.problems.len(), 2);
    let unknown = SessionSpec::new(name("nowhere"));
    let refused = house.control.create(unknown).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "there is no backend nowhere: `seawall backend ls` lists those that are configured"
    );
    assert_eq!(house.control.sessions(), []);
    assert_eq!(house.store.load().await.unwrap(), seawall_store::Snapshot::default());
    assert_eq!(house.fake.calls("create"), 0);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_is_found_by_id_name_and_beginning() {
    let house = House::new().await;
    let web: SessionName = "web".parse().unwrap();
    let session = house.running(SessionSpec { name: Some(web), ..spec() }).await;
    let id = session.id.as_str();
    for text in [id, "web", &id[..4], &id[..15]] {
        assert_eq!(house.control.resolve(text).unwrap(), session.id, "{text}");
    }
    let strange =
        ["", "we", "webb", &id[..3], "../../etc", "ZZZZ", &"f".repeat(1 << 20), "a b", "äöüß", &format!("{id}0")];
    for text in strange {
        let refused = house.control.resolve(text).unwrap_err();
        assert!(matches!(refused, ControlError::NoSuchSession(_)), "{text:.40}: {refused}");
        assert!(refused.to_string().len() < 400);
    }
    // A name wins over the beginning of an id; two ids that begin alike are ambiguous.
    let named: SessionName = id[..4].parse().unwrap();
    let other = house.running(SessionSpec { name: Some(named), ..spec() }).await;
    assert_eq!(house.control.resolve(&id[..4]).unwrap(), other.id);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_beginning_that_several_ids_share_is_refused() {
    let house = House::new().await;
    let first = house.running(spec()).await;
    let record = house.store.load().await.unwrap().sessions.remove(0);
    let twin = format!("{}ffff", &first.id.as_str()[..12]).parse().unwrap();
    let twin = seawall_store::SessionRecord { id: twin, name: "twin".parse().unwrap(), ..record };
    house.store.write(vec![seawall_store::Write::InsertSession(Box::new(twin))]).await.unwrap();
    let house = house.restart().await;
    let refused = house.control.resolve(&first.id.as_str()[..8]).unwrap_err();
    assert!(matches!(refused, ControlError::Ambiguous { matches: 2, .. }), "{refused}");
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_without_a_name_gets_one() {
    let house = House::new().await;
    let session = house.running(spec()).await;
    assert_eq!(session.name.as_str(), format!("fake-{}", &session.id.as_str()[..8]));
    assert_eq!(session.spec.name, Some(session.name));
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stored_is_said_and_not_shown() {
    let house = House::new().await;
    let session = house.running(spec()).await;
    house.store.close().await;
    let refused = house.control.stop(&session.id, None).await.unwrap_err();
    assert!(matches!(refused, ControlError::Store(seawall_store::Error::Closed)), "{refused:?}");
    let shown = house.control.session(&session.id).unwrap();
    assert_eq!((shown.state, shown.desired), (SessionState::Running, seawall_model::Desired::Running));
    assert!(matches!(house.control.create(spec()).await, Err(ControlError::Store(_))));
    assert_eq!(house.control.sessions().len(), 1);
    assert_eq!((house.fake.signals().len(), house.fake.calls("create")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn logs_of_a_backend_without_any_are_refused() {
    let house = House::new().await;
    let session = house.running(spec()).await;
    let refused = house.control.logs(&session.id, Default::default()).await.err().unwrap();
    assert!(matches!(&refused, ControlError::Backend(seawall_backend::Error::Unsupported(_))), "{refused}");
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_setting_is_refused_before_anything_starts() {
    let dir = tempfile::TempDir::new().unwrap();
    let store = seawall_store::Store::open(dir.path()).await.unwrap();
    let config = ControlConfig { missing_percent: 200, ..ControlConfig::default() };
    let refused = crate::Control::start(config, store.clone(), Default::default()).await.err().unwrap();
    assert!(matches!(refused, StartError::Config(_)));
    store.close().await;
}
