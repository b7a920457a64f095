//! The restart policy of a session: whether it is started again, how soon, and how often. Pure.
//!
//! Failures in a row are what the backoff and `on-failure:N` go by, and one that did well begins them anew. The budget counts
//! every restart of the policy, however well it did. What a user starts or stops begins both anew.

use std::time::Duration;

use seawall_model::{RestartBudget, RestartPolicy, Timestamp};

use crate::Backoff;
use crate::draft::{Context, Draft};

impl Draft {
    /// The session's own backoff, and the daemon's where it has none.
    pub(crate) fn backoff(&self, context: &Context<'_>) -> Backoff {
        let (own, general) = (self.record.spec.restart_backoff, context.config.restart);
        let most = own.most.unwrap_or(general.most);
        match own.first {
            Some(first) => Backoff { first, most: most.max(first) },
            None => Backoff { first: general.first.min(most), most },
        }
    }

    /// One that did well for so long begins its failures anew.
    pub(crate) fn reset_after(&self, context: &Context<'_>) -> Duration {
        self.record.spec.restart_backoff.reset.unwrap_or(context.config.healthy_uptime)
    }

    /// A user's hand: nothing that was is held against it.
    pub(crate) fn forgive(&mut self) {
        self.record.failures = 0;
        self.record.restarted.clear();
    }

    /// The restart policy starts it again after one more failure.
    pub(crate) fn comes_back(&self, context: &Context<'_>) -> bool {
        let before = if self.marks.healthy_for >= self.reset_after(context) { 0 } else { self.record.failures };
        let policy = match self.record.spec.restart {
            RestartPolicy::Never => false,
            RestartPolicy::OnFailure { max } => max.is_none_or(|max| before < max),
            RestartPolicy::Always => true,
        };
        policy && self.budget_left(context.now) != Some(0)
    }

    /// How many restarts its budget has left; `None` without one.
    pub(crate) fn budget_left(&self, now: Timestamp) -> Option<u32> {
        let budget = self.record.spec.restart_budget?;
        Some(left(budget, &self.record.restarted, now))
    }

    /// Counts one restart.
    pub(crate) fn spend(&mut self, now: Timestamp) {
        let Some(budget) = self.record.spec.restart_budget else { return };
        let restarted = &mut self.record.restarted;
        // Whatever lies ahead was counted before the clock was put back.
        restarted.iter_mut().for_each(|at| *at = (*at).min(now));
        restarted.push(now);
        restarted.retain(|at| now.since(*at) < budget.within);
        let most = usize::try_from(budget.restarts).unwrap_or(usize::MAX);
        restarted.drain(..restarted.len().saturating_sub(most));
    }
}

/// What a budget has left.
pub(crate) fn left(budget: RestartBudget, restarted: &[Timestamp], now: Timestamp) -> u32 {
    let spent = restarted.iter().filter(|at| now.since(**at) < budget.within).count();
    budget.restarts.saturating_sub(u32::try_from(spent).unwrap_or(u32::MAX))
}

/// A budget in words.
pub(crate) fn in_words(budget: RestartBudget) -> String {
    let RestartBudget { restarts, within } = budget;
    let times = if restarts == 1 { "1 restart".to_owned() } else { format!("{restarts} restarts") };
    format!("{times} within {}", humantime::format_duration(within))
}
