//! What is told of a session says where it is from: which look, and which trace.

use seawall_backend::{Error, trace};
use seawall_model::{SessionState, TraceId};

use super::fake::Chaos;
use super::house::{House, code, restarting, spec};
use crate::{LookKind, Why};

impl House {
    fn why(&self, id: &seawall_model::SessionId) -> Why {
        self.control.why(id).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_says_which_look_it_is_from() {
    let house = House::new().await;
    let id = house.control.create(spec()).await.unwrap().id;
    house.until(&id, SessionState::Running).await;
    let by_act = house.why(&id).observed.by.unwrap();
    assert_eq!((by_act.kind, by_act.number), (LookKind::Act, None));

    house.eventually("a quick look", || house.why(&id).observed.by.unwrap().kind == LookKind::Quick).await;
    house.eventually("a full sweep", || house.why(&id).observed.by.unwrap().kind == LookKind::Full).await;
    let why = house.why(&id);
    let (full, swept) = (why.observed.by.unwrap(), why.backend.known.unwrap().swept_by.unwrap());
    assert_eq!(full, swept);
    house
        .eventually("the next one", || {
            let next = house.why(&id).observed.by.unwrap();
            next.number > full.number && next.trace_id != full.trace_id
        })
        .await;
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn every_try_for_a_request_is_within_its_trace() {
    let house = House::new().await;
    house.fake.always("create", Chaos::Error(Error::unavailable("away")));
    let asked = TraceId::random();
    let id = trace::scope(asked, house.control.create(spec())).await.unwrap().id;
    house.eventually("tries", || house.why(&id).errors.first().is_some_and(|error| error.times > 2)).await;
    assert_eq!(house.why(&id).errors[0].trace_id, Some(asked));
    let events = house.control.events(None, 100).await.unwrap();
    let traces = |kind: &str| -> Vec<_> {
        events.iter().filter(|event| event.kind == kind).map(|event| event.trace_id).collect()
    };
    assert_eq!(traces("session.created"), [Some(asked)]);
    assert_eq!(traces("session.retrying"), [Some(asked)]);

    house.fake.calm();
    house.until(&id, SessionState::Running).await;
    assert_eq!(house.why(&id).observed.by.unwrap().trace_id, asked);
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_within_the_trace_of_the_sweep_that_saw_the_end() {
    let house = House::new().await;
    let session = house.running(restarting("always")).await;
    house.fake.end(&session.id, code(1));
    house.when(&session.id, |session| session.incarnation == 2 && session.state == SessionState::Running).await;
    let events = house.control.events(None, 100).await.unwrap();
    let told = |kind: &str| events.iter().rfind(|event| event.kind == kind).unwrap().trace_id;
    assert!(told("session.failed").is_some());
    assert_eq!(told("session.failed"), told("session.restarting"));
    assert_eq!(told("session.failed"), told("session.started"));
    assert_ne!(told("session.failed"), told("session.created"));
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_backend_has_a_trace() {
    let house = House::new().await;
    let id = house.running(spec()).await.id;
    for function in ["check", "inspect"] {
        house.fake.always(function, Chaos::Error(Error::unavailable("away")));
    }
    house
        .eventually("it is known", || {
            let known = house.why(&id).backend.known.unwrap();
            known.error.is_some() && !known.conditions.is_empty()
        })
        .await;
    let known = house.why(&id).backend.known.unwrap();
    assert!(known.trace_id.is_some() && known.conditions[0].trace_id.is_some(), "{known:?}");
    house.done().await;
}
