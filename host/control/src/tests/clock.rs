//! The system's clock is put forward or back by an hour while the daemon runs.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use seawall_model::{Session, SessionState};
use tokio::time::Instant;

use super::fake::{Chaos, Plans};
use super::house::{House, code, restarting, spec};

const HOUR: i64 = 3_600_000;
/// Any delay that was under way, and a nap until the clock is looked at again.
const SOON: Duration = Duration::from_secs(60);

/// One that is backing off, one in its grace, one whose act is tried again; and one that nothing happens to.
async fn all_waits(by: &'static AtomicI64, step: i64) {
    let house = House::by_the_clock(by).await;
    let bystander = house.running(restarting("always")).await;
    let ended = house.running(restarting("always")).await;
    house.fake.plan(Plans { ignores_term: true, ..Plans::default() });
    let deaf = house.running(spec()).await;
    house.fake.plan(Plans::default());
    house.later(Duration::from_secs(20)).await;

    house.control.stop(&deaf.id, Some(Duration::from_secs(10))).await.unwrap();
    house.eventually("it has heard", || house.fake.signals().len() == 1).await;
    house.fake.always("create", Chaos::Error(seawall_backend::Error::unavailable("not now")));
    let late = house.control.create(spec()).await.unwrap();
    house.eventually("it was tried", || house.fake.calls("create") > 3).await;
    house.fake.calm();
    house.fake.end(&ended.id, code(1));
    house.until(&ended.id, SessionState::Restarting).await;

    by.fetch_add(step, Ordering::SeqCst);
    let stepped = Instant::now();
    house.until(&deaf.id, SessionState::Stopped).await;
    house.until(&late.id, SessionState::Running).await;
    house.when(&ended.id, |now| now.incarnation == 2 && now.state == SessionState::Running).await;
    assert!(stepped.elapsed() < SOON, "{:?}", stepped.elapsed());
    house.later(SOON).await;
    let same = |now: Session| (now.state, now.incarnation, now.restarts) == (SessionState::Running, 1, 0);
    assert!(house.control.session(&bystander.id).is_some_and(same), "nobody is gone for that");
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_put_back_by_an_hour_holds_nothing_up_for_an_hour() {
    static BY: AtomicI64 = AtomicI64::new(0);
    all_waits(&BY, -HOUR).await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_put_forward_by_an_hour_declares_nobody_gone() {
    static BY: AtomicI64 = AtomicI64::new(0);
    all_waits(&BY, HOUR).await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_steps_to_and_fro_restarts_nobody() {
    static BY: AtomicI64 = AtomicI64::new(0);
    let house = House::by_the_clock(&BY).await;
    let session = house.running(restarting("always")).await;
    for hours in [1, -1, -1, 1, -1] {
        BY.fetch_add(hours * HOUR, Ordering::SeqCst);
        house.later(Duration::from_secs(90)).await;
    }
    let now = house.control.session(&session.id).unwrap();
    assert_eq!((now.state, now.incarnation, now.restarts), (SessionState::Running, 1, 0));
    assert_eq!((house.fake.calls("create"), house.fake.calls("remove")), (1, 0));
    house.done().await;
}
