//! A guest that lies in its answers: what cannot be is refused by name, and what is believed can be shown to people.

use std::time::Duration;

use seawall_backend::{Error, ExecutionBackend, FaultKind};
use seawall_model::{Health, State, is_deceptive};
use serde_json::{Value, json};

use crate::arena::{arena, key, refused};
use crate::told::{puppet, puppets};

/// What a terminal would obey, and what a reader would not see.
const FORGED: &str =
    "ok\u{1b}[2J\u{1b}]0;x\u{7}\r\n2026-11-22T00:00:00Z ERROR backend=docker \u{202e}gone\u{0}\u{9b}31m";

fn text(repeat: &str, times: usize) -> Value {
    json!({"repeat": repeat, "times": times})
}

fn sight(status: Value) -> Value {
    json!({"start": status})
}

#[test]
fn a_status_that_cannot_be_is_refused_by_name() {
    arena(async |arena| {
        let exited = |exit: Value| sight(json!({"state": "exited", "exit": exit}));
        let lies = vec![
            (exited(json!({"code": 256})), "status.exit.code: outside 0 to 255"),
            (exited(json!({"code": u32::MAX})), "status.exit.code"),
            (exited(json!({"signal": 0})), "status.exit.signal: outside 1 to 64"),
            (exited(json!({"signal": 65})), "status.exit.signal"),
            (sight(json!({"state": "exited"})), "status.exit: absent, though the workload has ended"),
            (sight(json!({"state": "dead"})), "status.exit: absent"),
            (sight(json!({"exit": {"code": 0}})), "status.exit: present, though the workload has not ended"),
            (sight(json!({"handle": text("h", 4097)})), "handle: 4097 bytes, where 4096 is the most"),
            (sight(json!({"handle": text("h", 1 << 20)})), "handle: 1048576 bytes"),
        ];
        let liars = puppets(arena, lies).await;
        arena
            .attack(&liars, |liars| async move {
                for (liar, words) in liars.iter() {
                    refused(liar.start(&key()).await, FaultKind::BadAnswer, words);
                }
            })
            .await;
    });
}

#[test]
fn a_status_at_the_edge_is_believed_as_far_as_it_can_be_true() {
    arena(async |arena| {
        let start = async |told: Value| arena.load(puppet(sight(told))).await.start(&key()).await.unwrap();
        for (code, signal) in [(Some(0), None), (Some(255), None), (None, Some(1)), (None, Some(64)), (None, None)] {
            let status = start(json!({"state": "exited", "exit": {"code": code, "signal": signal}})).await;
            let exit = status.exit.unwrap();
            assert_eq!((exit.code.map(u32::from), exit.signal.map(u32::from)), (code, signal));
        }
        // Health of what does not run, and of what never did.
        for state in ["created", "paused", "exited"] {
            let exit = (state == "exited").then(|| json!({}));
            let status = start(json!({"state": state, "health": "unhealthy", "exit": exit})).await;
            assert_eq!(status.health, Health::Unknown, "{state}");
        }
        // A handle is bytes that nobody reads.
        let odd = format!("../../{FORGED}");
        assert_eq!(start(json!({"handle": odd})).await.handle, Some(odd.into_bytes()));
        assert_eq!(start(json!({"handle": text("h", 4096)})).await.handle.map(|handle| handle.len()), Some(4096));
        // Times of no calendar: a start before the creation, at the beginning and at the end of all time.
        for (created, started) in [(u64::MAX, 0), (0, u64::MAX), (i64::MAX as u64 + 1, 1), (253_402_300_800_000, 5)] {
            let status = start(json!({"created-at": created, "started-at": started})).await;
            for time in [status.created_at.unwrap(), status.started_at.unwrap()] {
                let written = time.to_string();
                assert_eq!(written.len(), "9999-12-30T21:59:59.000Z".len(), "{written}");
                assert_eq!(written.parse::<seawall_model::Timestamp>().unwrap(), time);
            }
        }
    });
}

#[test]
fn answers_about_what_was_not_asked_are_refused() {
    arena(async |arena| {
        let lies = vec![
            (json!({"inspect": [{"position": 2}]}), "found.position: 2 is out of range: 2 keys were asked about"),
            (json!({"inspect": [{"position": u32::MAX}]}), "found.position: 4294967295 is out of range"),
            (json!({"inspect": [{"position": 1}, {"position": 0}, {"position": 1}]}), "1 is there twice"),
            (json!({"inspect": [{"item": {"position": 0}, "times": 10_000}]}), "0 is there twice"),
            (
                json!({"inspect": [{"position": 0}, {"position": 1, "status": {"state": "dead"}}]}),
                "found[1].status.exit: absent",
            ),
        ];
        let liars = puppets(arena, lies).await;
        arena
            .attack(&liars, |liars| async move {
                for (liar, words) in liars.iter() {
                    refused(liar.inspect(&[key(), key()]).await, FaultKind::BadAnswer, words);
                }
            })
            .await;
        // In any order, and not all of them.
        let honest = arena.load(puppet(json!({"inspect": [{"position": 1}]}))).await;
        let found = honest.inspect(&[key(), key()]).await.unwrap().found;
        assert_eq!(found.iter().map(|found| found.position).collect::<Vec<_>>(), [1]);
        assert_eq!(found[0].status.state, State::Running);
    });
}

#[test]
fn a_listing_of_what_cannot_be_is_refused_by_name() {
    arena(async |arena| {
        let page = |session: Value, incarnation: u64| json!({"list": {"workloads": [{"session": session, "incarnation": incarnation}]}});
        let many = |times| {
            json!({"list": {"workloads": [
                {"item": {"session": "{n}", "incarnation": 1, "status": {"handle": "h"}}, "times": times}
            ]}})
        };
        let mut lies: Vec<_> = [
            "",
            "../../etc/passwd",
            "0123456789abcde/",
            "0123456789abcdeF",
            "0123456789abcde",
            "0123456789abcdef0",
            "0123456789abcde\u{0}",
            "0123456789abcde\n",
            "%30123456789abcd",
            // Digits of full width, and a Cyrillic letter: another 16 characters that look the same.
            "０１２３４５６７８９ａｂｃｄｅｆ",
            "0123456789\u{430}bcdef",
            FORGED,
        ]
        .into_iter()
        .map(|session| (page(json!(session), 1), "workloads[0].session: "))
        .collect();
        lies.extend([
            (page(text("0", 1 << 20), 1), "workloads[0].session: "),
            (page(json!("0123456789abcdef"), 0), "workloads[0].incarnation: counted from 1"),
            (many(1001), "page.workloads: 1001, where 1000 is the most"),
            (json!({"list": {"next": text("c", 4097)}}), "cursor: longer than 4096 bytes"),
            (json!({"list": {"next": text("c", 4 << 20)}}), "cursor: longer than 4096 bytes"),
            (json!({"list": {"next": ""}}), "cursor: empty"),
            (json!({"list": {"next": "same"}}), "page.next: is the cursor that was asked with"),
        ]);
        let liars = puppets(arena, lies).await;
        arena
            .attack(&liars, |liars| async move {
                for (liar, words) in liars.iter() {
                    refused(liar.list(Some("same")).await, FaultKind::BadAnswer, words);
                }
            })
            .await;
        // Just below.
        assert_eq!(arena.load(puppet(many(1000))).await.list(None).await.unwrap().workloads.len(), 1000);
        let next = arena.load(puppet(json!({"list": {"next": text("c", 4096)}}))).await.list(None).await.unwrap().next;
        assert_eq!(next.unwrap().len(), 4096);
        // So many that they do not even come across.
        let flood = arena.load(puppet(many(100_000))).await;
        arena
            .attack(&flood, |flood| async move {
                let answer = flood.list(None).await;
                let Err(Error::Fault(fault)) = answer else { panic!("{answer:?}") };
                assert!(matches!(fault.kind, FaultKind::Limit | FaultKind::BadAnswer | FaultKind::Memory), "{fault}");
            })
            .await;
    });
}

#[test]
fn what_a_plugin_says_is_shown_in_one_line_and_cut() {
    arena(async |arena| {
        let failure = |kind: &str, told: Value| json!({"start": {"error": {kind: told}}});
        let trouble = |message: Value| json!({"message": message});
        let mut lies = Vec::new();
        for message in [json!(FORGED), text("ä\u{1b}", 1 << 18)] {
            lies.push((failure("not-found", message.clone()), "not_found"));
            lies.push((failure("conflict", trouble(message.clone())), "conflict"));
            lies.push((failure("denied", message.clone()), "denied"));
            lies.push((failure("exhausted", trouble(message.clone())), "exhausted"));
            lies.push((failure("unavailable", trouble(message.clone())), "unavailable"));
            lies.push((failure("unsupported", message.clone()), "unsupported"));
            lies.push((failure("other", message.clone()), "other"));
            lies.push((failure("invalid", json!([{"field": message, "message": message}])), "invalid"));
        }
        let liars = puppets(arena, lies).await;
        arena
            .attack(&liars, |liars| async move {
                for (liar, kind) in liars.iter() {
                    let error = liar.start(&key()).await.unwrap_err();
                    assert_eq!(error.kind(), *kind);
                    let shown = error.to_string();
                    assert!(!shown.contains(is_deceptive), "{shown:?}");
                    assert!(shown.len() < 9 << 10, "{} bytes", shown.len());
                }
            })
            .await;
        // So many problems that nobody would read them.
        for (times, shown) in [(64, 64), (65, 64), (10_000, 64)] {
            let told = failure("invalid", json!([{"item": {"field": "f", "message": "m"}, "times": times}]));
            let error = arena.load(puppet(told)).await.start(&key()).await.unwrap_err();
            let Error::Invalid(invalid) = error else { panic!("{error}") };
            assert_eq!(invalid.problems.len(), shown);
        }
        let told = failure("invalid", json!([]));
        let error = arena.load(puppet(told)).await.start(&key()).await.unwrap_err();
        assert!(error.to_string().contains("did not say why"), "{error}");
    });
}

#[test]
fn how_it_ended_is_told_in_one_line() {
    arena(async |arena| {
        for message in [json!(FORGED), text("\n\u{1b}[31m", 100_000)] {
            let told = sight(json!({"state": "dead", "exit": {"message": message}}));
            let status = arena.load(puppet(told)).await.start(&key()).await.unwrap();
            let message = status.exit.unwrap().message.unwrap();
            assert!(!message.contains(is_deceptive) && message.len() <= (4 << 10) + 3, "{message:?}");
        }
    });
}

#[test]
fn nobody_waits_for_years_because_a_plugin_says_so() {
    arena(async |arena| {
        let hour = 3_600_000;
        for (told, believed) in [(0, 0), (hour, hour), (hour + 1, hour), (u64::MAX, hour)] {
            let told = json!({"check": {"error": {"unavailable": {"message": "later", "retry-after": told}}}});
            let error = arena.load(puppet(told)).await.check().await.unwrap_err();
            let Error::Unavailable { retry_after, .. } = error else { panic!("{error}") };
            assert_eq!(retry_after, Some(Duration::from_millis(believed)));
        }
    });
}

#[test]
fn a_flood_of_attributes_is_cut() {
    arena(async |arena| {
        let told = json!({"check": {
            "version": text("v\u{1b}", 100_000),
            "attributes": [{"item": [text("n\n", 1000), text("v", 1000)], "times": 1000}],
        }});
        let flood = arena.load(puppet(told)).await;
        arena
            .attack(&flood, |flood| async move {
                let report = flood.check().await.unwrap();
                assert_eq!(report.attributes.len(), 64);
                let texts = report.attributes.iter().flat_map(|(name, value)| [name, value]).chain([&report.version]);
                for text in texts {
                    assert!(!text.contains(is_deceptive) && text.len() <= 1024 + 3, "{text:?}");
                }
                assert!(report.version.len() <= 64 + 3, "{} bytes", report.version.len());
            })
            .await;
        let told = json!({"check": {"version": "1", "attributes": [{"item": ["n", text("v", 1024)], "times": 64}]}});
        let report = arena.load(puppet(told)).await.check().await.unwrap();
        assert_eq!(report.attributes, vec![("n".to_owned(), "v".repeat(1024)); 64]);
    });
}
