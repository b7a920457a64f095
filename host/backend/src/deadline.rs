//! The deadline of a whole call, host calls included: neither fuel nor epochs stop a host call that does not return.

use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use tokio::time::Instant;

use crate::{Fault, FaultKind};

/// Runs `call` for at most `limit`, then drops it. What it had asked the engine for may still happen.
///
/// # Errors
/// What the call answers, or a [`FaultKind::Deadline`].
pub async fn within<T, E: From<Fault>>(
    function: &'static str,
    limit: Duration,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer,
        Err(_) => Err(E::from(late(function, limit))),
    }
}

/// The same for all that a stream tells: after `limit` it is dropped, and a [`FaultKind::Deadline`] is its last item.
pub(crate) fn all_within<S, T, E>(
    function: &'static str,
    limit: Duration,
    stream: S,
) -> impl Stream<Item = Result<T, E>>
where
    S: Stream<Item = Result<T, E>> + Unpin,
    E: From<Fault>,
{
    let until = Instant::now() + limit;
    stream::unfold(Some(stream), move |stream| async move {
        let mut stream = stream?;
        match tokio::time::timeout_at(until, stream.next()).await {
            Ok(item) => item.map(|item| (item, Some(stream))),
            Err(_) => Some((Err(E::from(late(function, limit))), None)),
        }
    })
}

fn late(function: &'static str, limit: Duration) -> Fault {
    let message = format!("took longer than its deadline of {limit:?}");
    Fault { kind: FaultKind::Deadline, function, message, backtrace: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn just_in_time_passes_and_just_late_is_cut_off() {
        let limit = Duration::from_secs(10);
        let after = |millis| async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok::<(), Fault>(())
        };
        assert!(within("check", limit, after(9_999)).await.is_ok());
        let Err(fault) = within("check", limit, after(10_001)).await else { panic!("not cut off") };
        assert_eq!(fault.kind, FaultKind::Deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_a_stream_tells_has_one_deadline() {
        let each = |millis| {
            Box::pin(stream::iter(0..5).then(move |number| async move {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                Ok::<_, Fault>(number)
            }))
        };
        let limit = Duration::from_secs(10);
        let told: Vec<_> = all_within("images.prepare", limit, each(1_999)).collect().await;
        assert_eq!(told.iter().filter(|item| item.is_ok()).count(), 5);
        let told: Vec<_> = all_within("images.prepare", limit, each(3_000)).collect().await;
        let [Ok(0), Ok(1), Ok(2), Err(fault)] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(fault.kind, FaultKind::Deadline);
    }
}
