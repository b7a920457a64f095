//! Control groups: which version, and whether this user can limit sessions by them. By the same rules as the backend
//! `process`, which makes what can be made; this only looks.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::Finding;

/// What this machine has.
pub(super) fn look() -> Finding {
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let [mounts, own] = ["/proc/self/mountinfo", "/proc/self/cgroup"].map(|path| read(Path::new(path)));
    let writable = |path: &Path| access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    judge(&mounts, &own, &writable, &|path| read(&path.join("cgroup.controllers")))
}

/// Limits of memory, processors and tasks need these.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// Version 2 if it has the controllers, else version 1; `controllers` are those that a group of version 2 has.
fn judge(mounts: &str, own: &str, writable: &dyn Fn(&Path) -> bool, controllers: &dyn Fn(&Path) -> String) -> Finding {
    let about = "control groups";
    let (unified, legacy) = hierarchies(mounts);
    // The own group, and where that cannot be written to, the root of the hierarchy.
    let places = |controller: &str, mount: &Path| {
        let path = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (names, path) = (fields.next()?, fields.next()?);
            names.split(',').any(|name| name == controller).then_some(path)
        });
        let own = mount.join(path.unwrap_or_default().trim_start_matches('/'));
        [own, mount.to_owned()].into_iter().filter(|path| writable(path)).collect::<Vec<_>>()
    };
    let lacks = |place: &Path| {
        let has = controllers(place);
        CONTROLLERS.into_iter().filter(|wanted| !has.split_whitespace().any(|name| name == *wanted)).collect::<Vec<_>>()
    };
    let of_version_2 = unified.as_deref().map(|mount| places("", mount)).unwrap_or_default();
    if let Some(place) = of_version_2.iter().find(|place| lacks(place).is_empty()) {
        return Finding::ok(about, format!("version 2, sessions beneath {}", place.display()));
    }
    if legacy.iter().any(|(name, _)| CONTROLLERS.contains(&name.as_str())) {
        let has = |wanted: &str| legacy.iter().any(|(name, mount)| name == wanted && !places(name, mount).is_empty());
        let missing: Vec<_> = CONTROLLERS.into_iter().filter(|wanted| !has(wanted)).collect();
        return match missing.as_slice() {
            [] => Finding::ok(about, "version 1, with memory, cpu and pids"),
            missing => Finding::warning(
                about,
                format!("version 1, and this user cannot write to {}", missing.join(", ")),
                "run the daemon as root, or sessions of the backend `process` with these limits are refused",
            ),
        };
    }
    match (unified, of_version_2.first()) {
        (None, _) => Finding::warning(
            about,
            "none are mounted",
            "mount cgroup2, or sessions of the backend `process` with a limit are refused",
        ),
        (Some(_), None) => Finding::warning(
            about,
            "version 2, and this user cannot make groups",
            "have one delegated (`Delegate=yes` in the unit of systemd) or run the daemon as root; until then sessions of \
             the backend `process` with a limit are refused",
        ),
        (Some(_), Some(place)) => Finding::warning(
            about,
            format!("version 2, and {} has no {}", place.display(), lacks(place).join(", ")),
            "have the controllers delegated (`Delegate=yes` in the unit of systemd); until then sessions of the backend \
             `process` with these limits are refused",
        ),
    }
}

/// Where version 2 is mounted, and the controllers of version 1.
fn hierarchies(mounts: &str) -> (Option<PathBuf>, Vec<(String, PathBuf)>) {
    let (mut unified, mut legacy) = (None, Vec::new());
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(mount) = left.split(' ').nth(4).map(|mount| PathBuf::from(mount.replace("\\040", " "))) else {
            continue;
        };
        let mut right = right.split(' ');
        match right.next() {
            Some("cgroup2") => unified = Some(mount),
            Some("cgroup") => {
                let names = right.nth(1).unwrap_or_default().split(',').map(str::to_owned);
                legacy.extend(names.map(|name| (name, mount.clone())));
            }
            _ => {}
        }
    }
    (unified, legacy)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    const VERSION_2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
    const VERSION_1: &str = "31 25 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                             32 25 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                             33 25 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
    const OWN: &str = "0::/user.slice/a.service\n";

    #[test]
    fn control_groups_are_judged_by_what_can_be_written_and_what_they_have() {
        let all = |_: &Path| true;
        let none = |_: &Path| false;
        let every = |_: &Path| "cpuset cpu io memory pids".to_owned();
        let found = judge(VERSION_2, OWN, &all, &every);
        let beneath = "version 2, sessions beneath /sys/fs/cgroup/user.slice/a.service";
        assert_eq!((found.level, found.found.as_str()), (Level::Ok, beneath));
        let found = judge(VERSION_2, OWN, &none, &every);
        assert!(found.level == Level::Warning && found.advice.unwrap().contains("Delegate=yes"));
        let found = judge(VERSION_2, OWN, &all, &|_| "memory pids".to_owned());
        assert!(found.level == Level::Warning && found.found.ends_with("a.service has no cpu"), "{found:?}");
        assert_eq!(judge(VERSION_1, "", &all, &every).level, Level::Ok);
        let both = format!("{VERSION_2}{VERSION_1}");
        assert!(
            judge(&both, OWN, &all, &|_| String::new()).found.starts_with("version 1"),
            "a hybrid without controllers"
        );
        let found = judge(VERSION_1, "", &|path| !path.ends_with("pids"), &every);
        assert!(found.level == Level::Warning && found.found.ends_with("to pids"), "{found:?}");
        assert_eq!(judge("", "", &all, &every).found, "none are mounted");
    }
}
