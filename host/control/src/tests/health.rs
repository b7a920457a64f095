//! Health of backends by the clock: each threshold of `[control.check]`, on both sides of it.

use std::time::Duration;

use seawall_backend::Error;

use super::fake::{Chaos, Fake};
use super::house::House;
use crate::{BackendHealth, BackendStatus, CheckConfig, ControlConfig, Phase};

const MILLI: Duration = Duration::from_millis(1);

async fn checked_by(check: CheckConfig) -> House {
    House::with(ControlConfig { check, ..ControlConfig::default() }, Fake::new()).await
}

impl House {
    fn status(&self) -> BackendStatus {
        self.control.backends().remove(0)
    }

    /// What the next check to begin leads to.
    async fn next_check(&self, chaos: Chaos) -> BackendStatus {
        let before = self.status().checked_at;
        self.fake.always("check", chaos);
        self.eventually("a check ends", || self.status().checked_at > before).await;
        self.status()
    }
}

fn down() -> Chaos {
    Chaos::Error(Error::unavailable("away"))
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_is_healthy_one_later_degraded_and_one_too_late_none() {
    let config = CheckConfig::default();
    let house = checked_by(config).await;
    let health = async |took| house.next_check(Chaos::Slow(took)).await.health;
    assert_eq!(health(config.degraded_after).await, BackendHealth::Healthy);
    assert_eq!(health(config.degraded_after + MILLI).await, BackendHealth::Degraded);
    assert_eq!(health(config.timeout - MILLI).await, BackendHealth::Degraded);
    assert_eq!(house.status().failures, 0);
    let late = house.next_check(Chaos::Slow(config.timeout + MILLI)).await;
    assert_eq!((late.failures, late.error.as_deref()), (1, Some("no answer within 10s")));
    house.done().await;
}

#[tokio::test(start_paused = true)]
async fn so_many_failures_in_a_row_are_unhealthy_and_one_less_is_not() {
    for failures in [1, 3, 5] {
        let house = checked_by(CheckConfig { failures, ..CheckConfig::default() }).await;
        house.next_check(Chaos::Slow(Duration::ZERO)).await;
        for nth in 1..failures {
            let status = house.next_check(down()).await;
            assert_eq!((status.health, status.failures), (BackendHealth::Healthy, nth));
        }
        assert_eq!(house.next_check(down()).await.health, BackendHealth::Unhealthy);
        house.told("backend.unhealthy", 1).await;
        house.done().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_healthy_backend_is_checked_by_one_interval_and_another_by_the_other() {
    let config = CheckConfig { interval: Duration::from_secs(100), ..CheckConfig::default() };
    let house = checked_by(config).await;
    house.eventually("the first check is at once", || house.status().checked_at.is_some()).await;
    let checks = || house.fake.calls("check");
    assert_eq!(checks(), 1);
    house.later(config.interval.mul_f64(0.89)).await;
    assert_eq!(checks(), 1, "it came too soon");
    // Not unhealthy: then every sweep that gets through would ask for a check besides.
    house.fake.always("check", Chaos::Error(Error::Exhausted { message: "busy".to_owned(), retry_after: None }));
    house.later(config.interval.mul_f64(0.22)).await;
    assert!(checks() >= 2, "it did not come");
    let before = checks();
    house.later(config.retry_interval * 10).await;
    let soon = checks() - before;
    assert!((9..=12).contains(&soon), "{soon} checks in ten intervals");
    house.done().await;
}

/// B8, and what an engine says of credentials.
#[tokio::test(start_paused = true)]
async fn busy_is_degraded_and_refused_credentials_are_told_from_an_engine_that_is_away() {
    let house = checked_by(CheckConfig::default()).await;
    let busy = Chaos::Error(Error::Exhausted { message: "too many requests".to_owned(), retry_after: None });
    for _ in 0..5 {
        let status = house.next_check(busy.clone()).await;
        assert_eq!((status.health, status.failures), (BackendHealth::Degraded, 0));
    }
    assert_eq!(house.control.overview().summary.phase, Phase::Degraded);
    let denied = house.next_check(Chaos::Error(Error::Denied("who are you?".to_owned()))).await;
    assert_eq!((denied.health, denied.error.as_deref()), (BackendHealth::Unauthenticated, Some("who are you?")));
    assert_eq!(house.control.overview().summary.phase, Phase::Failed);
    assert_eq!(house.next_check(Chaos::Slow(Duration::ZERO)).await.health, BackendHealth::Healthy);
    for kind in ["backend.degraded", "backend.unauthenticated", "backend.healthy"] {
        house.told(kind, 1).await;
    }
    house.done().await;
}
