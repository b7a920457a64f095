//! The Engine's words for a container's state, in ours.
//!
//! One rule needs saying. The Engine gives an exit code and nothing else: a program killed by signal 9 and one that
//! returned 137 look the same. We give the code as the Engine does and never a signal; `oom` is the Engine's own flag.

use bollard::models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, HealthStatusEnum};
use seawall_model::{Exit, Health, State, Status, Timestamp};

use crate::identity::{BACKEND, INCARNATION, SESSION, STORE, Stamp};

/// What the Engine's word for a state means. A word that we do not know is somebody's newer state: not ended.
pub(crate) fn state(word: &str) -> State {
    match word {
        "created" => State::Created,
        "paused" => State::Paused,
        "exited" => State::Exited,
        // On its way out, and it will not run again.
        "dead" | "removing" => State::Dead,
        _ => State::Running,
    }
}

fn word(status: Option<ContainerStateStatusEnum>) -> &'static str {
    match status {
        Some(ContainerStateStatusEnum::CREATED) => "created",
        Some(ContainerStateStatusEnum::PAUSED) => "paused",
        Some(ContainerStateStatusEnum::EXITED) => "exited",
        Some(ContainerStateStatusEnum::DEAD) => "dead",
        Some(ContainerStateStatusEnum::REMOVING) => "removing",
        Some(
            ContainerStateStatusEnum::RUNNING
            | ContainerStateStatusEnum::STOPPING
            | ContainerStateStatusEnum::RESTARTING
            | ContainerStateStatusEnum::EMPTY,
        )
        | None => "running",
    }
}

/// The Engine's own state of a container, before what we make of it.
pub(crate) fn raw_state(container: &ContainerInspectResponse) -> State {
    state(word(container.state.as_ref().and_then(|state| state.status)))
}

/// What stands on an inspected container.
pub(crate) fn stamp(container: &ContainerInspectResponse) -> Stamp<'_> {
    let labels = container.config.as_ref().and_then(|config| config.labels.as_ref());
    let label = |name: &str| labels.and_then(|labels| labels.get(name)).map(String::as_str);
    let name = container.name.as_deref().unwrap_or_default();
    Stamp {
        id: container.id.as_deref().unwrap_or_default(),
        name: name.strip_prefix('/').unwrap_or(name),
        store: label(STORE),
        backend: label(BACKEND),
        session: label(SESSION),
        incarnation: label(INCARNATION),
    }
}

/// Everything that inspecting one container tells.
pub(crate) fn of(container: &ContainerInspectResponse) -> Status {
    let inner = container.state.as_ref();
    let failure = inner.and_then(|state| state.error.as_deref()).filter(|text| !text.is_empty());
    let state = match raw_state(container) {
        // It could not be started, and stays `created` for the Engine.
        State::Created if failure.is_some() => State::Dead,
        state => state,
    };
    let health = match (state, inner.and_then(|state| state.health.as_ref())) {
        (State::Running, None) => Health::Healthy,
        (State::Running, Some(health)) => match health.status {
            Some(HealthStatusEnum::HEALTHY | HealthStatusEnum::NONE) => Health::Healthy,
            Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
            Some(HealthStatusEnum::STARTING) => Health::Starting,
            Some(HealthStatusEnum::EMPTY) | None => Health::Unknown,
        },
        _ => Health::Unknown,
    };
    Status {
        state,
        health,
        exit: state.ended().then(|| exit(inner, failure)),
        created_at: container.created.as_deref().and_then(time),
        started_at: inner.and_then(|state| state.started_at.as_deref()).and_then(time),
        handle: container.id.as_ref().map(|id| id.as_bytes().to_vec()),
    }
}

fn exit(state: Option<&ContainerState>, failure: Option<&str>) -> Exit {
    let Some(state) = state else { return Exit::default() };
    // A container that the Engine lost has a code outside of this range, and one that it could not start and has no
    // code for has 0.
    let code = state.exit_code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0 || failure.is_none());
    let beyond = state.exit_code.filter(|code| u8::try_from(*code).is_err());
    let message =
        failure.map(str::to_owned).or_else(|| beyond.map(|code| format!("the Engine gives {code} as its code")));
    Exit {
        code,
        signal: None,
        oom: state.oom_killed.unwrap_or(false),
        message,
        at: state.finished_at.as_deref().and_then(time),
    }
}

/// Docker writes the year 1 for "never".
fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|time: &Timestamp| time.as_millis() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspected(state: serde_json::Value) -> Status {
        let json = serde_json::json!({"Id": "ab", "Created": "2026-01-02T03:04:05.678901234Z", "State": state});
        of(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn a_running_container_without_a_check_is_healthy() {
        let status = inspected(serde_json::json!({"Status": "running", "StartedAt": "2026-01-02T03:04:06Z"}));
        assert_eq!((status.state, status.health, status.exit), (State::Running, Health::Healthy, None));
        assert_eq!(status.created_at.unwrap().to_string(), "2026-01-02T03:04:05.678Z");
        assert_eq!(status.started_at.unwrap().to_string(), "2026-01-02T03:04:06.000Z");
        for (word, health) in
            [("starting", Health::Starting), ("unhealthy", Health::Unhealthy), ("healthy", Health::Healthy)]
        {
            let json = serde_json::json!({"Status": "running", "Health": {"Status": word}});
            assert_eq!(inspected(json).health, health);
        }
    }

    #[test]
    fn an_end_carries_its_code_and_never_a_guess() {
        let never = "0001-01-01T00:00:00Z";
        let killed = inspected(serde_json::json!({"Status": "exited", "ExitCode": 137, "OOMKilled": true,
            "StartedAt": never, "FinishedAt": "2026-01-02T03:04:07Z"}));
        let exit = killed.exit.unwrap();
        assert_eq!((exit.code, exit.signal, exit.oom), (Some(137), None, true));
        assert_eq!((killed.started_at, exit.at.is_some(), killed.health), (None, true, Health::Unknown));

        let lost = inspected(serde_json::json!({"Status": "dead", "ExitCode": -1})).exit.unwrap();
        assert!(lost.unknown() && lost.message.unwrap().contains("-1"));
    }

    #[test]
    fn what_could_not_be_started_is_dead_and_says_why() {
        let status = inspected(serde_json::json!({"Status": "created", "ExitCode": 127, "Error": "no such file"}));
        assert_eq!(status.state, State::Dead);
        assert_eq!(status.exit.unwrap().to_string(), "exit code 127: no such file");
        let status = inspected(serde_json::json!({"Status": "created", "ExitCode": 0, "Error": "port in use"}));
        assert!(status.exit.unwrap().unknown());
    }
}
