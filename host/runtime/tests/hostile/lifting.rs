//! Answers that cannot be read: places outside of memory, sizes that cannot be, texts that are none, cases that there
//! are not. And answers that can be read and are far too large.

use seawall_backend::{Error, ExecutionBackend, FaultKind};
use seawall_model::LogOptions;
use seawall_runtime::WasmBackend;
use wit_component::StringEncoding;

use crate::arena::{Arena, arena, key, refused};
use crate::guest::{Guest, SCRATCH, ZERO, words};

/// Where a guest's two pages end.
const END: u32 = 2 << 16;

/// A guest whose function answers with these words.
fn answering(function: &'static str, answer: &[u32]) -> Guest {
    Guest::new().body(function, format!("{} i32.const {SCRATCH}", words(SCRATCH, answer)))
}

/// `check` with an `ok` of a version and attributes: pointer and length of each.
fn reporting(version: [u32; 2], attributes: [u32; 2]) -> Guest {
    answering("check", &[0, 0, version[0], version[1], attributes[0], attributes[1]])
}

/// Every one of these guests' `check` ends in an answer that cannot be read, with the words beside it.
async fn unreadable(arena: &Arena, guests: impl IntoIterator<Item = (Guest, &'static str)>) {
    for (guest, words) in guests {
        let hostile = arena.load(arena.plugin(&guest)).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.check().await, FaultKind::BadAnswer, words);
            })
            .await;
    }
}

#[test]
fn an_answer_at_an_impossible_place_is_not_read() {
    let at = |place: u32| Guest::new().body("check", format!("i32.const {}", place.cast_signed()));
    arena(async |arena| {
        unreadable(
            arena,
            [
                (at(END), "out of bounds"),
                (at(END - 8), "out of bounds"),
                (at(u32::MAX - 7), "out of bounds"),
                (at(SCRATCH + 4), "not aligned"),
                (at(1), "not aligned"),
            ],
        )
        .await;
    });
}

#[test]
fn a_text_at_an_impossible_place_is_not_read() {
    let text = |pointer, length| reporting([pointer, length], [0, 0]);
    let out = "out of bounds";
    arena(async |arena| {
        unreadable(
            arena,
            [
                (text(END, 1), out),
                (text(END - 1, 2), out),
                (text(0, u32::MAX), out),
                (text(u32::MAX, u32::MAX), out),
                (text(u32::MAX, 1), out),
                (text(1, u32::MAX), out),
                (text(8, END), out),
            ],
        )
        .await;
        // To the last byte, and of no byte at the very end.
        for (pointer, length) in [(END - 1, 1), (END, 0)] {
            let backend = arena.load(arena.plugin(&text(pointer, length))).await;
            assert_eq!(backend.check().await.unwrap().version.chars().count() as u32, length);
        }
    });
}

#[test]
fn a_list_at_an_impossible_place_is_not_read() {
    let list = |pointer, length| reporting([0, 0], [pointer, length]);
    let out = "out of bounds";
    arena(async |arena| {
        unreadable(
            arena,
            [
                (list(END, 1), out),
                (list(END - 8, 1), out),
                // 16 bytes an element: the product wraps to 0, to 16, and to what there is.
                (list(SCRATCH, 1 << 28), out),
                (list(SCRATCH, (1 << 28) + 1), out),
                (list(0, u32::MAX), out),
                (list(u32::MAX - 3, u32::MAX), out),
                (list(SCRATCH + 2, 1), "not aligned"),
            ],
        )
        .await;
    });
}

#[test]
fn bytes_that_are_no_text_are_not_read() {
    let bytes = |bytes: &str, length| {
        reporting([21000, length], [0, 0]).field(&format!("(data (i32.const 21000) \"{bytes}\")"))
    };
    let bad = "invalid utf-8";
    arena(async |arena| {
        unreadable(
            arena,
            [
                (bytes("\\ff", 1), bad),
                // Cut off, longer than need be, a surrogate, beyond the last character.
                (bytes("\\e2\\82", 2), "incomplete utf-8"),
                (bytes("\\c0\\80", 2), bad),
                (bytes("\\ed\\a0\\80", 3), bad),
                (bytes("\\f4\\90\\80\\80", 4), bad),
            ],
        )
        .await;
        let whole = arena.load(arena.plugin(&bytes("\\e2\\82\\ac", 3))).await;
        assert_eq!(whole.check().await.unwrap().version, "€");
    });
}

/// A guest whose texts are UTF-16: `describe` says `a`, version `1`.
fn wide(guest: Guest) -> Guest {
    guest
        .encoding(StringEncoding::UTF16)
        .field("(data (i32.const 22000) \"a\\00\") (data (i32.const 22002) \"1\\00\")")
        .body("describe", format!("{} i32.const 22100", words(22100, &[22000, 1, 22002, 1, 0, 0, 0, 0, 0, 0])))
}

#[test]
fn words_that_are_no_text_are_not_read() {
    let units = |pointer: u32, bytes: &str, length| {
        wide(reporting([pointer, length], [0, 0]).field(&format!("(data (i32.const {pointer}) \"{bytes}\")")))
    };
    arena(async |arena| {
        unreadable(
            arena,
            [
                // A surrogate alone, the wrong one first, one at the end; an odd place; sizes that wrap.
                (units(21000, "\\00\\d8a\\00", 2), "unpaired surrogate"),
                (units(21000, "\\00\\dc\\00\\d8", 2), "unpaired surrogate"),
                (units(21000, "a\\00\\3d\\d8", 2), "unpaired surrogate"),
                (units(21001, "a\\00", 1), "not aligned"),
                (units(21000, "", 1 << 31), "out of bounds"),
                (units(21000, "", u32::MAX), "out of bounds"),
                (units(END - 2, "", 2), "out of bounds"),
            ],
        )
        .await;
        let pair = arena.load(arena.plugin(&units(21000, "\\3d\\d8\\00\\de", 2))).await;
        assert_eq!(pair.check().await.unwrap().version, "\u{1f600}");
        assert!(pair.start(&key()).await.is_ok());
    });
}

#[test]
fn bytes_or_words_that_are_no_text_are_not_read() {
    // The highest bit of the length says which of the two a text is.
    const WIDE: u32 = 1 << 31;
    let text = |pointer: u32, bytes: &str, length| {
        let data = format!("(data (i32.const {pointer}) \"{bytes}\")");
        reporting([pointer, length], [0, 0]).field(&data).encoding(StringEncoding::CompactUTF16)
    };
    arena(async |arena| {
        unreadable(
            arena,
            [
                (text(21000, "\\00\\d8", WIDE | 1), "unpaired surrogate"),
                (text(21001, "a\\00", WIDE | 1), "not aligned"),
                (text(21001, "a", 1), "not aligned"),
                (text(21000, "", u32::MAX), "out of bounds"),
                (text(21000, "", WIDE - 1), "out of bounds"),
                (text(END - 2, "", WIDE | 2), "out of bounds"),
            ],
        )
        .await;
        let narrow = arena.load(arena.plugin(&text(21000, "\\e9", 1))).await;
        assert_eq!(narrow.check().await.unwrap().version, "é");
        let wide = arena.load(arena.plugin(&text(21000, "\\ac\\20", WIDE | 1))).await;
        assert_eq!(wide.check().await.unwrap().version, "€");
    });
}

#[test]
fn a_case_that_there_is_not_is_not_read() {
    /// Status: state and health; whether there is an exit, a handle.
    fn status(state: u32, health: u32, exit: u32, handle: u32) -> Guest {
        let mut answer = [0; 30];
        (answer[2], answer[4], answer[26]) = (state | health << 8, exit, handle);
        answering("start", &answer)
    }
    arena(async |arena| {
        unreadable(
            arena,
            [
                (answering("check", &[2]), "invalid expected discriminant"),
                (answering("check", &[255]), "invalid expected discriminant"),
                (answering("check", &[1, 0, 8]), "unexpected discriminant: 8"),
                (answering("check", &[1, 0, 255]), "unexpected discriminant: 255"),
                // An `unavailable` whose retry-after is neither there nor absent.
                (answering("check", &[1, 0, 5, 0, 0, 0, 2]), "invalid option discriminant"),
            ],
        )
        .await;
        for (guest, words) in [
            (status(5, 0, 0, 0), "unexpected discriminant: 5"),
            (status(255, 0, 0, 0), "unexpected discriminant: 255"),
            (status(0, 4, 0, 0), "unexpected discriminant: 4"),
            (status(0, 0, 2, 0), "invalid option discriminant"),
            (status(0, 0, 0, 2), "invalid option discriminant"),
        ] {
            let hostile = arena.load(arena.plugin(&guest)).await;
            arena
                .attack(&hostile, |hostile| async move {
                    refused(hostile.start(&key()).await, FaultKind::BadAnswer, words);
                })
                .await;
        }
    });
}

#[test]
fn any_byte_is_a_truth_value() {
    // Exited, with an exit that says it was out of memory: 2, where 1 is usual.
    let mut answer = [0; 30];
    (answer[2], answer[4], answer[10]) = (3, 1, 2);
    arena(async |arena| {
        let backend = arena.load(arena.plugin(&answering("start", &answer))).await;
        assert!(backend.start(&key()).await.unwrap().exit.unwrap().oom);
    });
}

#[test]
fn a_handle_of_nothing_is_no_stream() {
    arena(async |arena| {
        for handle in [0, 1, 77, 1 << 30, u32::MAX] {
            let hostile = arena.load(arena.plugin(&answering("logs", &[0, 0, handle]).logs())).await;
            arena
                .attack(&hostile, |hostile| async move {
                    let answer = hostile.logs(&key(), &LogOptions::default()).await.map(|_| "a stream");
                    refused(answer, FaultKind::BadAnswer, "handle");
                })
                .await;
        }
    });
}

/// What such a guest answers is more than may be copied.
async fn too_much<F>(arena: &Arena, guest: Guest, ask: impl Fn(WasmBackend) -> F)
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let hostile = arena.load(arena.plugin(&guest)).await;
    let attack = |hostile| {
        let asked = ask(hostile);
        async move { drop(refused(asked.await, FaultKind::Limit, "too much data")) }
    };
    arena.attack(&hostile, attack).await;
}

#[test]
fn a_huge_text_is_not_copied() {
    arena(async |arena| {
        let guest = reporting([0, 60 << 20], [0, 0]).memory("1000");
        too_much(arena, guest, |hostile| async move {
            drop(hostile.check().await?);
            Ok(())
        })
        .await;
    });
}

#[test]
fn a_huge_list_is_not_copied() {
    // 500,000 answers of 120 bytes about position 0, all in memory that was never written to.
    arena(async |arena| {
        let guest = answering("inspect", &[0, 0, 1 << 16, 500_000]).memory("1000");
        too_much(arena, guest, |hostile| async move {
            drop(hostile.inspect(&[key()]).await?);
            Ok(())
        })
        .await;
    });
}

/// Fills `count` elements of 16 bytes, from 65536 on, with two texts that are both the same `length` bytes.
fn exploding(count: u32, length: u32) -> String {
    format!(
        "(local $at i32) (local.set $at (i32.const 65536))
         (loop $for
           (i32.store (local.get $at) (i32.const {SCRATCH}))
           (i32.store offset=8 (local.get $at) (i32.const {SCRATCH}))
           (i32.store offset=4 (local.get $at) (i32.const {length}))
           (i32.store offset=12 (local.get $at) (i32.const {length}))
           (br_if $for (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (i32.const {}))))",
        65536 + 16 * count
    )
}

#[test]
fn a_list_of_texts_that_are_all_the_same_memory_is_not_copied() {
    // 1.6 MB of list, and 6.4 GB if it were copied.
    arena(async |arena| {
        let fill = exploding(100_000, 32 << 10);
        let report = words(9008, &[0, 0, 0, 0, 65536, 100_000]);
        let guest = Guest::new().memory("64").body("check", format!("{fill} {report} i32.const {}", 9008));
        too_much(arena, guest, |hostile| async move {
            drop(hostile.check().await?);
            Ok(())
        })
        .await;
    });
}

#[test]
fn an_error_that_explodes_is_not_copied() {
    arena(async |arena| {
        let fill = exploding(100_000, 32 << 10);
        let invalid = words(9008, &[1, 0, 2, 0, 65536, 100_000]);
        let guest = Guest::new().memory("64").body("start", format!("{fill} {invalid} i32.const {}", 9008));
        too_much(arena, guest, |hostile| async move {
            drop(hostile.start(&key()).await?);
            Ok(())
        })
        .await;
    });
}

#[test]
fn an_answer_that_is_still_in_bounds_is_cut_to_what_people_read() {
    // 8 MiB of attributes: copied, since it may be, and shortened before anyone keeps it.
    arena(async |arena| {
        let fill = exploding(4000, 1 << 10);
        let report = words(9008, &[0, 0, 0, 0, 65536, 4000]);
        let guest = Guest::new().memory("4").body("check", format!("{fill} {report} i32.const {}", 9008));
        let backend = arena.load(arena.plugin(&guest)).await;
        arena
            .attack(&backend, |backend| async move {
                let report = backend.check().await.unwrap();
                assert_eq!(report.attributes.len(), 64);
                assert!(report.attributes.iter().all(|(name, value)| name.len() + value.len() <= 4 << 10));
            })
            .await;
        assert!(backend.start(&key()).await.is_ok(), "{ZERO}");
    });
}
