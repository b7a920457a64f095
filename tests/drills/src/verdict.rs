//! What is kept held against what is there: every session exactly once or not at all.

use std::collections::{BTreeMap, BTreeSet};

use std::time::Duration;

use anyhow::{Result, bail};
use seawall_model::{Desired, RestartPolicy, Session, SessionState};
use seawall_store::SessionRecord;

use crate::api::{Told, ask, sessions};
use crate::load::{Ledger, Promise};
use crate::report::Tally;
use crate::stage::Stage;
use crate::world::{Kept, Real, World, left_in_runs};

/// So often a daemon is given time before what is there and belongs to nobody counts as orphaned.
const CHANCES: u32 = 8;
/// Two listings and the grace, for orphans that nobody but the mock knows of.
const CHANCE: Duration = Duration::from_secs(3);

/// Starts the daemon, waits until nothing changes any more, kills it, and counts what does not agree. Gives how many
/// sessions are kept and how many workloads there are.
pub(crate) fn settle_and_judge(stage: &mut Stage, ledger: &Ledger, tally: &mut Tally) -> Result<(usize, usize)> {
    let mut chance = 0;
    loop {
        stage.serve()?;
        stage.rest(CHANCE * chance)?;
        stage.until_sessions("every session settles", settled)?;
        stage.kill()?;
        let kept = Kept::read(stage)?;
        let world = World::with(stage, &kept)?;
        let mut found = Tally::default();
        judge(&kept, &world, ledger, &mut found);
        chance += 1;
        if found.clean() || chance == CHANCES {
            tally.add("verdicts", 1);
            tally.lost.append(&mut found.lost);
            tally.duplicated.append(&mut found.duplicated);
            tally.orphaned.append(&mut found.orphaned);
            return Ok((kept.snapshot.sessions.len(), world.workloads.len()));
        }
    }
}

/// Nothing is about to be done for it.
fn settled(session: &Session) -> bool {
    match session.desired {
        Desired::Running if session.spec.restart == RestartPolicy::Always => session.state == SessionState::Running,
        Desired::Running => session.state == SessionState::Running || session.state.is_final(),
        Desired::Stopped => session.state.is_final(),
        Desired::Removed => false,
    }
}

/// Removes every session and ends the daemon; counts what is left of anything as orphaned.
pub(crate) fn clear_away(stage: &mut Stage, tally: &mut Tally) -> Result<()> {
    if !stage.serves() {
        stage.serve()?;
    }
    for session in sessions(&stage.home).unwrap_or_default() {
        match ask(&stage.home, "DELETE", &format!("/v1/sessions/{}?force=true", session.id), None) {
            Told::Yes(_) | Told::No(404, _) => {}
            Told::No(_, why) | Told::Silence(why) => bail!("{} could not be removed: {why}", session.name),
        }
    }
    let mut chance = 0;
    loop {
        stage.until_sessions("every session is removed", |_| false)?;
        // A create that was given up may have landed since: it is an orphan, and has to go by itself.
        stage.rest(CHANCE * chance)?;
        stage.terminate()?;
        let kept = Kept::read(stage)?;
        let world = World::with(stage, &kept)?;
        let mut orphaned: Vec<String> =
            world.workloads.iter().map(|real| format!("{} on {}", real.workload, real.backend)).collect();
        orphaned.extend(world.strays);
        orphaned.extend(left_in_runs(stage));
        chance += 1;
        if orphaned.is_empty() || chance == CHANCES {
            tally.orphaned.append(&mut orphaned);
            let intents = kept.snapshot.intents.iter();
            tally
                .lost
                .extend(intents.map(|intent| format!("{:?} of {} was never settled", intent.act, intent.session)));
            return Ok(());
        }
        stage.serve()?;
    }
}

/// Counts what is lost, duplicated and orphaned. Everything has settled, and no daemon runs.
fn judge(kept: &Kept, world: &World, ledger: &Ledger, tally: &mut Tally) {
    let mut there: BTreeMap<&str, Vec<&Real>> = BTreeMap::new();
    for real in &world.workloads {
        there.entry(&real.workload.session).or_default().push(real);
    }
    for record in &kept.snapshot.sessions {
        session(record, &there.remove(record.id.as_str()).unwrap_or_default(), tally);
    }
    let owned_by_none = there.into_values().flatten();
    tally.orphaned.extend(owned_by_none.map(|real| format!("{} on {}", real.workload, real.backend)));
    tally.orphaned.extend(world.strays.iter().cloned());
    for intent in &kept.snapshot.intents {
        tally.lost.push(format!("{:?} of {} was never settled", intent.act, intent.session));
    }
    promises(kept, ledger, tally);
}

/// One session and the workloads that bear its id.
fn session(record: &SessionRecord, there: &[&Real], tally: &mut Tally) {
    let id = format!("{} ({}) on {}", record.name, record.id, record.backend());
    if there.len() > 1 {
        let all: Vec<_> = there.iter().map(|real| real.workload.to_string()).collect();
        tally.duplicated.push(format!("{id}: {}", all.join(", ")));
    }
    let own = there.iter().find(|real| real.workload.incarnation == record.incarnation);
    let elsewhere = there.iter().any(|real| real.backend != record.backend().as_str());
    if elsewhere {
        tally.orphaned.push(format!("{id}: it is there on another backend too"));
    }
    match record.state {
        SessionState::Running | SessionState::Paused if !own.is_some_and(|own| runs(own, record)) => {
            tally.lost.push(format!("{id}: it is {} in the store, and does not run", record.state));
        }
        state if state.is_final() && there.iter().any(|real| real.runs) => {
            tally.orphaned.push(format!("{id}: it is {state} in the store, and runs"));
        }
        SessionState::Pending | SessionState::Created | SessionState::Restarting => {
            tally.lost.push(format!("{id}: it stays {}", record.state));
        }
        _ => {}
    }
}

/// A mocked workload that is to end by itself does so without anything to see.
fn runs(real: &Real, record: &SessionRecord) -> bool {
    real.runs || (real.backend == "mock" && !record.spec.options.is_empty())
}

/// What clients were told holds.
fn promises(kept: &Kept, ledger: &Ledger, tally: &mut Tally) {
    let by_name: BTreeMap<&str, &SessionRecord> =
        kept.snapshot.sessions.iter().map(|record| (record.name.as_str(), record)).collect();
    for (name, promise) in ledger {
        match (promise, by_name.get(name.as_str())) {
            (Promise::There { .. }, None) => tally.lost.push(format!("{name}: it was promised, and is not kept")),
            (Promise::Gone, Some(record)) => {
                tally.orphaned.push(format!("{name}: its removal was promised, and it is {}", record.state));
            }
            (Promise::There { running: Some(true) }, Some(record)) if record.state != SessionState::Running => {
                tally.lost.push(format!("{name}: it was promised to run, and is {}", record.state));
            }
            (Promise::There { running: Some(false) }, Some(record)) if !record.state.is_final() => {
                tally.orphaned.push(format!("{name}: its stop was promised, and it is {}", record.state));
            }
            _ => {}
        }
    }
    let known: BTreeSet<&str> = ledger.keys().map(String::as_str).collect();
    let invented = by_name.keys().filter(|name| !known.contains(*name));
    tally.orphaned.extend(invented.map(|name| format!("{name}: nobody asked for it")));
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use seawall_model::{Health, SessionSpec, Timestamp};
    use seawall_store::Snapshot;
    use seawall_testing::workloads::Workload;

    use super::*;

    const ID: &str = "0123456789abcdef";

    fn record(state: SessionState) -> Result<SessionRecord> {
        Ok(SessionRecord {
            id: ID.parse()?,
            name: "one".parse()?,
            spec: SessionSpec::new("docker".parse()?),
            desired: Desired::Running,
            incarnation: 2,
            restarts: 0,
            failures: 0,
            state,
            health: Health::Unknown,
            started: false,
            ready: false,
            exit: None,
            handle: None,
            created_at: Timestamp::from_millis(1),
            started_at: None,
            finished_at: None,
            restart_at: None,
            restarted: Vec::new(),
            reason: None,
        })
    }

    fn real(incarnation: u64, runs: bool) -> Real {
        Real { backend: "docker", workload: Workload { session: ID.to_owned(), incarnation }, runs }
    }

    /// How many are lost, duplicated and orphaned.
    fn counts(sessions: Vec<SessionRecord>, workloads: Vec<Real>, promise: Option<Promise>) -> (usize, usize, usize) {
        let kept = Kept::of(Snapshot { sessions, intents: Vec::new() });
        let world = World { workloads, strays: Vec::new() };
        let ledger = promise.map(|promise| ("one".to_owned(), promise)).into_iter().collect();
        let mut tally = Tally::default();
        judge(&kept, &world, &ledger, &mut tally);
        (tally.lost.len(), tally.duplicated.len(), tally.orphaned.len())
    }

    #[test]
    fn a_session_that_is_there_as_it_is_kept_is_well() -> Result<()> {
        use SessionState::{Failed, Running, Stopped};
        let runs = Some(Promise::There { running: Some(true) });
        assert_eq!(counts(vec![record(Running)?], vec![real(2, true)], runs), (0, 0, 0));
        let stopped = Some(Promise::There { running: Some(false) });
        assert_eq!(counts(vec![record(Stopped)?], vec![real(2, false)], stopped), (0, 0, 0));
        let unknown = Some(Promise::There { running: None });
        assert_eq!(counts(vec![record(Failed)?], vec![], unknown), (0, 0, 0));
        assert_eq!(counts(vec![], vec![], Some(Promise::Gone)), (0, 0, 0));
        assert_eq!(counts(vec![], vec![], Some(Promise::Perhaps)), (0, 0, 0));
        Ok(())
    }

    #[test]
    fn each_way_of_being_wrong_is_counted() -> Result<()> {
        use SessionState::{Pending, Running, Stopped};
        let there = |running| Some(Promise::There { running });
        assert_eq!(counts(vec![record(Running)?], vec![], there(Some(true))), (1, 0, 0), "it does not run");
        assert_eq!(counts(vec![record(Running)?], vec![real(1, true)], there(None)), (1, 0, 0), "an older one runs");
        assert_eq!(counts(vec![record(Running)?], vec![real(2, true), real(1, false)], there(None)), (0, 1, 0));
        assert_eq!(counts(vec![record(Stopped)?], vec![real(2, true)], there(None)), (0, 0, 1), "it runs on");
        assert_eq!(counts(vec![record(Pending)?], vec![], there(None)), (1, 0, 0), "nothing comes of it");
        assert_eq!(counts(vec![], vec![real(1, false)], Some(Promise::Gone)), (0, 0, 1), "nobody's workload");
        assert_eq!(counts(vec![], vec![], there(None)), (1, 0, 0), "what was promised is not kept");
        assert_eq!(counts(vec![record(Running)?], vec![real(2, true)], Some(Promise::Gone)), (0, 0, 1));
        assert_eq!(counts(vec![record(Running)?], vec![real(2, true)], there(Some(false))), (0, 0, 1));
        assert_eq!(counts(vec![record(Stopped)?], vec![real(2, false)], there(Some(true))), (1, 0, 0));
        assert_eq!(counts(vec![record(Running)?], vec![real(2, true)], None), (0, 0, 1), "nobody asked for it");
        Ok(())
    }

    #[test]
    fn two_that_run_at_once_are_seen() {
        let world = World { workloads: vec![real(1, true), real(2, true)], strays: Vec::new() };
        assert_eq!(world.twice().len(), 1);
        let world = World { workloads: vec![real(1, false), real(2, true)], strays: Vec::new() };
        assert_eq!(world.twice(), Vec::<String>::new());
    }
}
