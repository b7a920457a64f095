//! The deadline of a whole call, host calls included: neither fuel nor epochs stop a host call that does not return.

use std::time::Duration;

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
        Err(_) => Err(E::from(Fault {
            kind: FaultKind::Deadline,
            function,
            message: format!("took longer than its deadline of {limit:?}"),
            backtrace: Vec::new(),
        })),
    }
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
}
