//! What control groups this machine has, and the plan of a session's.
//!
//! Limits are put where the machine keeps them: in the one hierarchy of version 2 if it has the controllers, else in the
//! hierarchies of version 1. Every session is put into a group even without a limit, since a group is the only thing
//! that ends a tree which does not want to end: by `cgroup.kill` (version 2; also beside version 1), else by the freezer.
//!
//! Groups lie beneath the daemon's own, so that whatever limits the daemon limits its sessions, and at the root of a
//! hierarchy where the daemon's own group cannot be written to.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use seawall_backend::Error;
use seawall_supervisor::cgroup::{Counter, Group, Kill, Plan, Setting};

/// What a session is limited to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Bytes.
    pub(crate) memory: Option<u64>,
    /// Thousandths of a processor.
    pub(crate) cpu_millis: Option<u32>,
    /// Tasks.
    pub(crate) processes: Option<u32>,
}

/// A hierarchy: where it is mounted, and the daemon's own place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    own: Option<PathBuf>,
}

/// The control groups of a machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    unified: Option<Hierarchy>,
    /// By controller.
    legacy: Vec<(String, Hierarchy)>,
    can_kill: bool,
}

const PERIOD: u64 = 100_000;
const CONTROLLERS: &str = "+memory +cpu +pids";

impl Machine {
    /// Looks at this one.
    pub(crate) fn detect() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        Self::from_text(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"), can_kill(&release))
    }

    fn from_text(mountinfo: &str, cgroup: &str, can_kill: bool) -> Self {
        let own = |controller: &str| {
            cgroup.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':');
                let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
                controllers.split(',').any(|name| name == controller).then(|| path.trim_start_matches('/').to_owned())
            })
        };
        let hierarchy = |mount: &str, own: Option<String>| {
            let mount = PathBuf::from(mount.replace("\\040", " "));
            let own = own.filter(|own| !own.is_empty()).map(|own| mount.join(own)).filter(|own| own.is_dir());
            Hierarchy { mount, own }
        };
        let mut machine = Self { can_kill, ..Self::default() };
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mount) = left.split(' ').nth(4) else { continue };
            let mut right = right.split(' ');
            match right.next() {
                Some("cgroup2") => machine.unified = Some(hierarchy(mount, own(""))),
                Some("cgroup") => {
                    for controller in right.nth(1).unwrap_or_default().split(',') {
                        machine.legacy.push((controller.to_owned(), hierarchy(mount, own(controller))));
                    }
                }
                _ => {}
            }
        }
        machine
    }

    /// How limits are enforced: `cgroup2`, `cgroup1` or `none`.
    pub(crate) fn limits(&self) -> &'static str {
        if self.unified_for_limits().is_some() {
            "cgroup2"
        } else if self.legacy_base("memory").is_some() {
            "cgroup1"
        } else {
            "none"
        }
    }

    /// The plan for a session's group, `PARENT/LEAF`.
    ///
    /// # Errors
    /// `Unsupported`, naming the field of a limit that cannot be enforced here.
    pub(crate) fn plan(&self, parent: &str, leaf: &str, wanted: Wanted) -> Result<Plan, Error> {
        let mut plan = Plan::default();
        if let Some(base) = self.unified_for_limits() {
            unified(&mut plan, &base, parent, leaf, wanted, true);
        } else {
            self.legacy(&mut plan, parent, leaf, wanted)?;
            // Version 2 without controllers, beside version 1: it still kills.
            if let Some(base) = self.unified_base() {
                unified(&mut plan, &base, parent, leaf, Wanted::default(), false);
            }
        }
        let own = |plan: &Plan| plan.groups.iter().rev().find(|group| group.own).map(|group| group.path.clone());
        plan.kill = if self.can_kill && self.unified_base().is_some() {
            own(&plan).map(Kill::Group)
        } else if let Some(base) = self.legacy_base("freezer") {
            let path = push(&mut plan, &base, parent, leaf, Vec::new());
            Some(Kill::Freezer(path))
        } else {
            own(&plan).map(Kill::Each)
        };
        Ok(plan)
    }

    fn legacy(&self, plan: &mut Plan, parent: &str, leaf: &str, wanted: Wanted) -> Result<(), Error> {
        let base = |controller, field| self.legacy_base(controller).ok_or_else(|| no_limit(field, controller));
        if let Some(bytes) = wanted.memory {
            let base = base("memory", "resources.memory")?;
            let settings = vec![
                Setting::new("memory.limit_in_bytes", bytes),
                // Memory and swap together; a kernel that does not count swap has no such file.
                Setting::optional("memory.memsw.limit_in_bytes", bytes),
            ];
            let path = push(plan, &base, parent, leaf, settings);
            plan.oom = Some(Counter { file: path.join("memory.oom_control"), key: "oom_kill".to_owned() });
        }
        if let Some(millis) = wanted.cpu_millis {
            let base = base("cpu", "resources.cpus")?;
            let (quota, period) = quota(millis);
            let settings = vec![Setting::new("cpu.cfs_period_us", period), Setting::new("cpu.cfs_quota_us", quota)];
            push(plan, &base, parent, leaf, settings);
        }
        if let Some(tasks) = wanted.processes {
            let base = base("pids", "resources.processes")?;
            push(plan, &base, parent, leaf, vec![Setting::new("pids.max", tasks)]);
        }
        Ok(())
    }

    /// A place in a hierarchy of version 1 where a group can be made.
    fn legacy_base(&self, controller: &str) -> Option<PathBuf> {
        let hierarchy = self.legacy.iter().find(|(name, _)| name == controller).map(|(_, hierarchy)| hierarchy)?;
        hierarchy.places().find(|place| writable(place))
    }

    /// A place in version 2 where a group can be made.
    fn unified_base(&self) -> Option<PathBuf> {
        self.unified.as_ref()?.places().find(|place| writable(place))
    }

    /// A place in version 2 whose groups can have the controllers.
    fn unified_for_limits(&self) -> Option<PathBuf> {
        self.unified.as_ref()?.places().find(|place| writable(place) && delegates(place))
    }
}

impl Hierarchy {
    fn places(&self) -> impl Iterator<Item = PathBuf> {
        self.own.iter().chain([&self.mount]).cloned()
    }
}

fn unified(plan: &mut Plan, base: &Path, parent: &str, leaf: &str, wanted: Wanted, controllers: bool) {
    let hand_down = || if controllers { vec![Setting::new("cgroup.subtree_control", CONTROLLERS)] } else { Vec::new() };
    plan.groups.push(Group { path: base.join(parent), settings: hand_down(), own: false });
    let path = base.join(parent).join(leaf);
    let mut settings = Vec::new();
    if let Some(bytes) = wanted.memory {
        settings.push(Setting::new("memory.max", bytes));
        settings.push(Setting::optional("memory.swap.max", 0));
    }
    if let Some(millis) = wanted.cpu_millis {
        let (quota, period) = quota(millis);
        settings.push(Setting::new("cpu.max", format!("{quota} {period}")));
    }
    if let Some(tasks) = wanted.processes {
        settings.push(Setting::new("pids.max", tasks));
    }
    if controllers {
        plan.oom = Some(Counter { file: path.join("memory.events"), key: "oom_kill".to_owned() });
    }
    plan.groups.push(Group { path, settings, own: true });
}

/// Adds a group of version 1, or settings to the one that is there: controllers may share a hierarchy.
fn push(plan: &mut Plan, base: &Path, parent: &str, leaf: &str, settings: Vec<Setting>) -> PathBuf {
    let path = base.join(parent).join(leaf);
    match plan.groups.iter_mut().find(|group| group.path == path) {
        Some(group) => group.settings.extend(settings),
        None => {
            plan.groups.push(Group { path: base.join(parent), settings: Vec::new(), own: false });
            plan.groups.push(Group { path: path.clone(), settings, own: true });
        }
    }
    path
}

/// Quota and period in µs. The kernel's least quota is 1 ms, its longest period 1 s.
fn quota(millis: u32) -> (u64, u64) {
    let millis = u64::from(millis.max(1));
    let period = if millis < 10 { 1_000_000 } else { PERIOD };
    (millis * period / 1000, period)
}

fn writable(place: &Path) -> bool {
    access(place, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Whether groups made here have the controllers; sees to it where that can be done.
fn delegates(place: &Path) -> bool {
    let has = |file: &str| {
        let text = fs::read_to_string(place.join(file)).unwrap_or_default();
        ["memory", "cpu", "pids"].iter().all(|wanted| text.split_whitespace().any(|name| name == *wanted))
    };
    let hand_down = || fs::write(place.join("cgroup.subtree_control"), CONTROLLERS).is_ok();
    if has("cgroup.subtree_control") {
        return true;
    }
    has("cgroup.controllers") && (hand_down() || (step_aside(place) && hand_down()))
}

/// Version 2 hands no controllers down from a group that has processes. Where this daemon is alone in it, as in a unit
/// with `Delegate=yes`, it moves into a group beneath.
fn step_aside(place: &Path) -> bool {
    let own = std::process::id().to_string();
    let procs = fs::read_to_string(place.join("cgroup.procs")).unwrap_or_default();
    if procs.trim() != own {
        return false;
    }
    let aside = place.join("seawall-daemon");
    let _ = fs::create_dir(&aside);
    fs::write(aside.join("cgroup.procs"), own).is_ok()
}

/// `cgroup.kill` came with Linux 5.14.
fn can_kill(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(14))
}

fn no_limit(field: &str, controller: &str) -> Error {
    Error::Unsupported(format!(
        "{field}: this machine has no control group for `{controller}` that Seawall can write to, so this cannot be \
         limited; run the daemon as root, delegate a control group to it (systemd: Delegate=yes), or leave the limit out"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Wanted {
        Wanted { memory: Some(64 << 20), cpu_millis: Some(1500), processes: Some(32) }
    }

    fn settings(plan: &Plan) -> Vec<(String, String)> {
        let own = plan.groups.iter().filter(|group| group.own);
        own.flat_map(|group| group.settings.iter().map(|s| (s.file.clone(), s.content.clone()))).collect()
    }

    /// A directory that imitates version 2: files where the kernel has files.
    fn imitation(controllers: &str) -> (tempfile::TempDir, Machine) {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("system.slice/seawall.service");
        fs::create_dir_all(&own).unwrap();
        for place in [dir.path(), &own] {
            fs::write(place.join("cgroup.controllers"), controllers).unwrap();
            fs::write(place.join("cgroup.subtree_control"), "").unwrap();
            fs::write(place.join("cgroup.procs"), "").unwrap();
        }
        let mountinfo = format!("30 23 0:26 / {} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n", dir.path().display());
        let machine = Machine::from_text(&mountinfo, "0::/system.slice/seawall.service\n", true);
        (dir, machine)
    }

    #[test]
    fn version_2_gets_one_group_with_every_limit_beneath_the_daemons_own() {
        let (dir, machine) = imitation("cpuset cpu io memory hugetlb pids");
        assert_eq!(machine.limits(), "cgroup2");
        let plan = machine.plan("seawall-x", "s-1", all()).unwrap();
        let own = dir.path().join("system.slice/seawall.service");
        assert_eq!(fs::read_to_string(own.join("cgroup.subtree_control")).unwrap(), CONTROLLERS);
        let leaf = own.join("seawall-x/s-1");
        let paths: Vec<_> = plan.groups.iter().map(|group| &group.path).collect();
        assert_eq!(paths, [&own.join("seawall-x"), &leaf]);
        let expected =
            [("memory.max", "67108864"), ("memory.swap.max", "0"), ("cpu.max", "150000 100000"), ("pids.max", "32")];
        assert_eq!(settings(&plan), expected.map(|(file, content)| (file.to_owned(), content.to_owned())));
        assert_eq!(plan.kill, Some(Kill::Group(leaf.clone())));
        assert_eq!(plan.oom.unwrap().file, leaf.join("memory.events"));
    }

    #[test]
    fn version_2_without_controllers_kills_and_limits_nothing() {
        let (_dir, machine) = imitation("");
        assert_eq!(machine.limits(), "none");
        let error = machine.plan("seawall-x", "s-1", all()).unwrap_err();
        assert!(matches!(&error, Error::Unsupported(message) if message.contains("resources.memory")), "{error}");
        let plan = machine.plan("seawall-x", "s-1", Wanted::default()).unwrap();
        assert!(matches!(plan.kill, Some(Kill::Group(_))), "{plan:?}");
    }

    #[test]
    fn a_machine_without_groups_refuses_each_limit_by_name() {
        let machine = Machine::from_text("", "", true);
        assert_eq!(machine.plan("p", "l", Wanted::default()).unwrap(), Plan::default());
        for (wanted, field) in [
            (Wanted { memory: Some(1 << 30), ..Wanted::default() }, "resources.memory"),
            (Wanted { cpu_millis: Some(1), ..Wanted::default() }, "resources.cpus"),
            (Wanted { processes: Some(1), ..Wanted::default() }, "resources.processes"),
        ] {
            let error = machine.plan("p", "l", wanted).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }

    #[test]
    fn version_1_gets_a_group_in_each_hierarchy_and_the_freezer() {
        let dir = tempfile::tempdir().unwrap();
        let mut mountinfo = String::new();
        for name in ["memory", "cpu,cpuacct", "pids", "freezer"] {
            let mount = dir.path().join(name);
            fs::create_dir(&mount).unwrap();
            mountinfo += &format!("1 2 0:3 / {} rw - cgroup cgroup rw,{name}\n", mount.display());
        }
        // The options begin with `rw`, which is no controller that anybody asks for.
        let machine = Machine::from_text(&mountinfo, "4:memory:/nowhere\n3:cpu,cpuacct:/\n", true);
        assert_eq!(machine.limits(), "cgroup1");
        let plan = machine.plan("seawall-x", "s-1", all()).unwrap();
        let at = |name: &str| dir.path().join(name).join("seawall-x/s-1");
        let own: Vec<_> = plan.groups.iter().filter(|group| group.own).map(|group| group.path.clone()).collect();
        assert_eq!(own, [at("memory"), at("cpu,cpuacct"), at("pids"), at("freezer")]);
        assert_eq!(plan.kill, Some(Kill::Freezer(at("freezer"))));
        assert!(settings(&plan).contains(&("cpu.cfs_quota_us".into(), "150000".into())));
    }

    #[test]
    fn the_smallest_share_is_one_that_the_kernel_takes() {
        for millis in [1, 9, 10, 999, 100_000_000] {
            let (quota, period) = quota(millis);
            assert!(quota >= 1000 && period <= 1_000_000, "{millis}");
            assert_eq!(quota * 1000 / period, u64::from(millis));
        }
    }

    #[test]
    fn kernels_that_kill_groups_are_told_by_their_release() {
        for (release, expected) in [("5.14.0", true), ("6.1.0-18-amd64", true), ("5.10.0-28", false), ("4.19", false)] {
            assert_eq!(can_kill(release), expected, "{release}");
        }
    }
}
