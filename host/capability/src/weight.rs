//! What a value takes of a call's budget of bytes: its own size and that of all that it points to. One that points to
//! nothing weighs something too: a million empty texts are 24 MB of the host's memory.

use std::mem::size_of;

use crate::bindings::{docker, process, types};

/// How much a value weighs, in bytes.
pub(crate) trait Weight: Sized {
    /// Whether it never has a part elsewhere, so that many need not be looked at one by one.
    const FLAT: bool = false;

    /// Besides its own size.
    fn beside(&self) -> usize;

    /// In all.
    fn weight(&self) -> usize {
        size_of::<Self>() + self.beside()
    }
}

impl Weight for u8 {
    const FLAT: bool = true;

    fn beside(&self) -> usize {
        0
    }
}

impl Weight for String {
    fn beside(&self) -> usize {
        self.len()
    }
}

impl<T: Weight> Weight for Vec<T> {
    fn beside(&self) -> usize {
        let parts = if T::FLAT { 0 } else { self.iter().map(Weight::beside).sum() };
        self.len() * size_of::<T>() + parts
    }
}

impl<T: Weight> Weight for Option<T> {
    fn beside(&self) -> usize {
        self.as_ref().map_or(0, Weight::beside)
    }
}

impl<A: Weight, B: Weight> Weight for (A, B) {
    fn beside(&self) -> usize {
        self.0.beside() + self.1.beside()
    }
}

impl Weight for types::Key {
    fn beside(&self) -> usize {
        let Self { session, incarnation: _, handle } = self;
        session.beside() + handle.beside()
    }
}

impl Weight for types::Status {
    fn beside(&self) -> usize {
        let message = self.exit.as_ref().map_or(0, |exit| exit.message.beside());
        message + self.handle.beside()
    }
}

impl Weight for types::Found {
    fn beside(&self) -> usize {
        self.status.beside()
    }
}

impl Weight for types::Workload {
    fn beside(&self) -> usize {
        self.session.beside() + self.status.beside()
    }
}

impl Weight for types::Page {
    fn beside(&self) -> usize {
        self.workloads.beside() + self.next.beside()
    }
}

impl Weight for types::ExecOptions {
    fn beside(&self) -> usize {
        let Self { command, env, working_dir, user, timeout: _, tty: _, size: _, stdin: _ } = self;
        command.beside() + env.beside() + working_dir.beside() + user.beside()
    }
}

impl Weight for types::Measurement {
    const FLAT: bool = true;

    fn beside(&self) -> usize {
        0
    }
}

impl Weight for types::Endpoint {
    fn beside(&self) -> usize {
        self.address.beside()
    }
}

impl Weight for types::CheckResult {
    fn beside(&self) -> usize {
        self.output.beside()
    }
}

impl Weight for docker::Mount {
    fn beside(&self) -> usize {
        let source = match &self.source {
            docker::MountSource::Bind(name) | docker::MountSource::Volume(name) => name.beside(),
            docker::MountSource::Tmpfs(_) => 0,
        };
        source + self.target.beside()
    }
}

impl Weight for docker::Port {
    fn beside(&self) -> usize {
        self.address.beside()
    }
}

impl Weight for docker::Ulimit {
    fn beside(&self) -> usize {
        self.name.beside()
    }
}

impl Weight for docker::HealthCheck {
    fn beside(&self) -> usize {
        match self {
            Self::Image | Self::Disabled => 0,
            Self::Command(check) => check.command.beside(),
        }
    }
}

impl Weight for docker::Container {
    fn beside(&self) -> usize {
        // Every field is named, so that none that is added can be forgotten.
        let Self {
            key,
            name,
            image,
            entrypoint,
            command,
            env,
            labels,
            hostname,
            working_dir,
            user,
            mounts,
            memory: _,
            cpu_millis: _,
            default_cpu_millis: _,
            processes: _,
            ulimits,
            tty: _,
            stdin: _,
            init: _,
            read_only_root: _,
            drop_capabilities,
            add_capabilities,
            privileged: _,
            network: _,
            ports,
            stop_signal: _,
            stop_grace: _,
            health_check,
            log_max_size: _,
            log_max_files: _,
        } = self;
        key.beside()
            + name.beside()
            + image.beside()
            + entrypoint.beside()
            + command.beside()
            + env.beside()
            + labels.beside()
            + hostname.beside()
            + working_dir.beside()
            + user.beside()
            + mounts.beside()
            + ulimits.beside()
            + drop_capabilities.beside()
            + add_capabilities.beside()
            + ports.beside()
            + health_check.beside()
    }
}

impl Weight for process::Rlimit {
    fn beside(&self) -> usize {
        self.name.beside()
    }
}

impl Weight for process::Program {
    fn beside(&self) -> usize {
        let Self {
            key,
            command,
            env,
            working_dir,
            user,
            memory: _,
            cpu_millis: _,
            processes: _,
            rlimits,
            tty: _,
            stdin: _,
            log_max_size: _,
            log_max_files: _,
        } = self;
        key.beside() + command.beside() + env.beside() + working_dir.beside() + user.beside() + rlimits.beside()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_weighs_something() {
        assert!(vec![String::new(); 1000].weight() >= 24_000);
        assert!(vec![(String::new(), String::new()); 1000].weight() >= 48_000);
    }

    #[test]
    fn what_a_value_points_to_is_counted_at_every_depth() {
        let key = types::Key { session: "s".repeat(100), incarnation: 1, handle: Some(vec![0; 1000]) };
        assert!(vec![key.clone(), key].weight() >= 2200);
        let found: Option<Vec<(String, Vec<String>)>> = Some(vec![("a".repeat(10), vec!["b".repeat(500)])]);
        assert!(found.weight() >= 510);
    }
}
