//! From what a plugin asks for to what the supervisor is told, or the refusal.
//!
//! This is the boundary: everything is checked here, resolved to what it really is (links followed, users as numbers,
//! limits as files of a control group), and carried out by the supervisor as it stands.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Resource;
use seawall_backend::Error;
use seawall_model::{ExecOptions, InvalidSpec, Problem, Secret};
use seawall_supervisor::log::Limits;
use seawall_supervisor::record::{self, Size, User};
use seawall_supervisor::rlimit;

use crate::cgroups::{Machine, Wanted};
use crate::users::{Account, Directory};
use crate::{ProcessGrant, Program, Scope, SetupError};

/// A grant that was found to make sense on this machine.
#[derive(Debug)]
pub(crate) struct Granted {
    grant: ProcessGrant,
    /// Whether the daemon can become somebody else.
    root: bool,
    /// Whom sessions run as by default.
    default: Account,
    /// Whom else they may ask to run as.
    others: Vec<User>,
}

impl Granted {
    pub(crate) fn new(grant: ProcessGrant) -> Result<Self, SetupError> {
        let refuse = |field: &str, message: String| Err(SetupError::Grant { field: field.to_owned(), message });
        let lists = [("programs", &grant.programs), ("directories", &grant.directories)];
        for (field, paths) in lists {
            if let Some(path) = paths.iter().flatten().find(|path| !path.is_absolute()) {
                return refuse(field, format!("{} is not an absolute path", path.display()));
            }
        }
        if let Some(dir) = grant.search_path().split(':').find(|dir| !dir.starts_with('/')) {
            return refuse("path", format!("{dir:?} is not an absolute path"));
        }
        if let Some(name) = grant.env.keys().find(|name| !is_variable(name)) {
            return refuse("env", format!("{name:?} cannot be the name of a variable"));
        }
        if let Some((name, _)) = grant.env.iter().find(|(_, value)| value.contains('\0')) {
            return refuse("env", format!("the value of {name} has a NUL character"));
        }

        let directory = Directory::read();
        let root = rustix::process::geteuid().is_root();
        let own = User { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
        let default = match grant.user.as_deref() {
            None if root => directory.account("nobody"),
            None => Ok(directory.account_of(own)),
            Some(text) => directory.account(text),
        };
        let default = match default {
            Ok(account) => account,
            Err(message) => return refuse("user", message),
        };
        let mut others = Vec::new();
        for text in &grant.users {
            match directory.account(text) {
                Ok(account) => others.push(account.user),
                Err(message) => return refuse("users", message),
            }
        }
        if !root && (default.user.uid != own.uid || others.iter().any(|user| user.uid != own.uid)) {
            let field = if default.user.uid == own.uid { "users" } else { "user" };
            return refuse(field, "only a daemon that is root can run sessions as another user".to_owned());
        }
        Ok(Self { grant, root, default, others })
    }

    /// Whether sessions run as another user than the daemon.
    pub(crate) fn root(&self) -> bool {
        self.root
    }

    /// The name of the default user.
    pub(crate) fn default_user(&self) -> &str {
        &self.default.name
    }

    /// Checks all of `program`. `work` is where its private directory will be.
    pub(crate) fn check(
        &self,
        program: &Program,
        machine: &Machine,
        scope: &Scope,
        work: &Path,
    ) -> Result<record::Program, Error> {
        let mut problems = Vec::new();
        let mut refuse = |field: String, message: String| problems.push(Problem { field, message });
        text(program, &mut refuse);
        let rlimits = self.rlimits(program, &mut refuse);
        let log = log_limits(program, &mut refuse);
        if !problems.is_empty() {
            return Err(InvalidSpec { problems }.into());
        }

        let account = self.account(program.user.as_deref(), scope)?;
        let working_dir = program.working_dir.as_deref().map(|dir| self.working_dir(dir, scope)).transpose()?;
        let file = self.file(&program.command, working_dir.as_deref(), scope)?;
        let wanted = Wanted { memory: program.memory, cpu_millis: program.cpu_millis, processes: program.processes };
        let leaf = format!("{}-{}", program.key.session, program.key.incarnation);
        let cgroup = machine.plan(&group_of(scope), &leaf, wanted)?;
        Ok(record::Program {
            file,
            arguments: program.command.clone(),
            env: self.env(program, &account, working_dir.as_deref().map_or(work, Path::new)),
            working_dir,
            user: self.root.then_some(account.user),
            rlimits,
            tty: program.tty,
            stdin: program.stdin,
            log,
            cgroup,
        })
    }

    /// Checks a command that is to run in the session of `program`.
    pub(crate) fn check_command(
        &self,
        options: &ExecOptions,
        program: &record::Program,
        scope: &Scope,
    ) -> Result<record::Interactive, Error> {
        let mut problems = Vec::new();
        let mut refuse = |field: String, message: String| problems.push(Problem { field, message });
        words(&options.command, &options.env, options.working_dir.as_deref(), &mut refuse);
        if !problems.is_empty() {
            return Err(InvalidSpec { problems }.into());
        }
        let account = options.user.as_deref().map(|user| self.account(Some(user), scope)).transpose()?;
        let working_dir = options.working_dir.as_deref().map(|dir| self.working_dir(dir, scope)).transpose()?;
        let dir = working_dir.as_deref().or(program.working_dir.as_deref());
        let file = self.file(&options.command, dir, scope)?;
        let mut env = Vec::new();
        if let Some(account) = &account {
            env.push(("USER".to_owned(), account.name.clone()));
            env.extend(account.home.clone().map(|home| ("HOME".to_owned(), home)));
        }
        if options.tty && !program.env.iter().any(|(name, _)| name == "TERM") {
            env.push(("TERM".to_owned(), "xterm".to_owned()));
        }
        env.extend(options.env.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())));
        let command = record::Command {
            file,
            arguments: options.command.clone(),
            env,
            working_dir,
            user: account.filter(|_| self.root).map(|account| account.user),
            timeout: options.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        };
        let size = options.size.map_or(Size::USUAL, |size| Size { columns: size.columns, rows: size.rows });
        Ok(record::Interactive { command, terminal: options.tty.then_some(size), stdin: options.stdin })
    }

    fn account(&self, asked: Option<&str>, scope: &Scope) -> Result<Account, Error> {
        let Some(asked) = asked else { return Ok(self.default.clone()) };
        let account = Directory::read().account(asked).map_err(|message| Error::invalid("user", message))?;
        if account.user == self.default.user || self.others.contains(&account.user) {
            return Ok(account);
        }
        let what_to_do = if self.root {
            format!("add it to `users` in [backend.{}.grants.process]", scope.backend)
        } else {
            "only a daemon that is root can run sessions as another user".to_owned()
        };
        Err(Error::Denied(format!("user: running as {asked} is not granted; {what_to_do}")))
    }

    fn working_dir(&self, asked: &str, scope: &Scope) -> Result<String, Error> {
        let invalid = |message| Error::invalid("working_dir", message);
        if !asked.starts_with('/') {
            return Err(invalid(format!("{asked} is not an absolute path")));
        }
        let real = match resolve(Path::new(asked), self.grant.directories.as_deref()) {
            Resolved::Granted(real) => real,
            Resolved::Absent(error) => return Err(invalid(format!("{asked} cannot be used: {}", why(&error)))),
            Resolved::Refused => {
                return Err(Error::Denied(format!(
                    "working_dir: {asked} is not granted; add it, or a directory above it, to `directories` in \
                     [backend.{}.grants.process]",
                    scope.backend
                )));
            }
        };
        if !real.is_dir() {
            return Err(invalid(format!("{asked} is not a directory")));
        }
        utf8(real).map_err(|real| invalid(format!("{} is not UTF-8", real.display())))
    }

    /// The file to execute. Only the real file counts for the grant; where not every program is granted it is also what
    /// is executed, so that no link can be turned in between.
    fn file(&self, command: &[String], working_dir: Option<&str>, scope: &Scope) -> Result<String, Error> {
        let name = command.first().map_or("", String::as_str);
        let invalid = |message| Error::invalid("command", message);
        let path = if name.starts_with('/') {
            PathBuf::from(name)
        } else if name.contains('/') {
            let Some(dir) = working_dir else {
                return Err(invalid(format!(
                    "{name} is relative to the working directory, which is a fresh empty one; give an absolute path, a \
                     name to be found in PATH, or a working_dir"
                )));
            };
            Path::new(dir).join(name)
        } else {
            self.search(name).ok_or_else(|| {
                invalid(format!("there is no program {name} in {}; give its absolute path", self.grant.search_path()))
            })?
        };
        let real = match resolve(&path, self.grant.programs.as_deref()) {
            Resolved::Granted(real) => real,
            Resolved::Absent(error) => {
                return Err(invalid(format!("{} cannot be executed: {}", path.display(), why(&error))));
            }
            Resolved::Refused => return Err(self.not_granted(&path, scope)),
        };
        if let Err(message) = executable(&real) {
            return Err(invalid(format!("{} cannot be executed: {message}", path.display())));
        }
        let file = if self.grant.programs.is_some() { real } else { path };
        utf8(file).map_err(|file| invalid(format!("{} is not UTF-8", file.display())))
    }

    /// Checks a program once more when it is about to be started: what was granted at create may have been turned into a
    /// link since, or be granted no longer.
    pub(crate) fn recheck(&self, program: &record::Program, scope: &Scope) -> Result<(), Error> {
        let file = Path::new(&program.file);
        match resolve(file, self.grant.programs.as_deref()) {
            Resolved::Refused => Err(self.not_granted(file, scope)),
            // Whether it is there and can be executed, executing it tells.
            Resolved::Granted(_) | Resolved::Absent(_) => Ok(()),
        }
    }

    fn not_granted(&self, path: &Path, scope: &Scope) -> Error {
        Error::Denied(format!(
            "command: {} is not granted; add it, or its directory, to `programs` in [backend.{}.grants.process]",
            path.display(),
            scope.backend
        ))
    }

    fn search(&self, name: &str) -> Option<PathBuf> {
        self.grant.search_path().split(':').map(|dir| Path::new(dir).join(name)).find(|path| executable(path).is_ok())
    }

    fn env(&self, program: &Program, account: &Account, dir: &Path) -> Vec<(String, String)> {
        let dir = dir.to_string_lossy().into_owned();
        let home = account.home.clone().filter(|home| Path::new(home).is_dir()).unwrap_or(dir);
        let mut env = BTreeMap::from([
            ("PATH".to_owned(), self.grant.search_path().to_owned()),
            ("HOME".to_owned(), home),
            ("USER".to_owned(), account.name.clone()),
        ]);
        if program.tty {
            env.insert("TERM".to_owned(), "xterm".to_owned());
        }
        env.extend(self.grant.env.clone());
        env.extend(program.env.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())));
        env.into_iter().collect()
    }

    fn rlimits(&self, program: &Program, refuse: &mut impl FnMut(String, String)) -> Vec<record::Rlimit> {
        for (at, limit) in program.rlimits.iter().enumerate() {
            let mut refuse = |message| refuse(format!("resources.ulimits[{at}]"), message);
            let Some(resource) = rlimit::resource(&limit.name) else {
                let known = rlimit::names().collect::<Vec<_>>().join(", ");
                refuse(format!("{:?} is no limit; there are {known}", limit.name));
                continue;
            };
            if limit.soft > limit.hard {
                refuse("the soft limit is above the hard one".to_owned());
            }
            let most = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
            // What takes the processor from everybody else no daemon gives away that was not given it.
            let scarce = matches!(resource, Resource::Rtprio | Resource::Nice);
            if limit.hard > most && scarce {
                let message = "is more than the daemon itself was given (systemd: LimitRTPRIO, LimitNICE)";
                refuse(format!("{} {message}: at most {most}", limit.hard));
            } else if limit.hard > most && !self.root {
                refuse(format!("{} is above {most}, and only a daemon that is root can give more", limit.hard));
            }
        }
        let limits = program.rlimits.iter();
        limits.map(|limit| record::Rlimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard }).collect()
    }
}

/// The name of the group above those of a store's sessions.
fn group_of(scope: &Scope) -> String {
    format!("seawall-{}", scope.store)
}

/// What program and command have in common.
fn words(
    command: &[String],
    env: &[(String, Secret)],
    working_dir: Option<&str>,
    refuse: &mut impl FnMut(String, String),
) {
    if command.first().is_none_or(String::is_empty) {
        refuse("command".to_owned(), "there must be a program to run".to_owned());
    }
    for (at, argument) in command.iter().enumerate() {
        if argument.contains('\0') {
            refuse(format!("command[{at}]"), "an argument cannot contain a NUL character".to_owned());
        }
    }
    for (name, value) in env {
        let shown: String = name.chars().take(80).collect();
        if !is_variable(name) {
            refuse(format!("env.{}", shown.escape_debug()), "this cannot be the name of a variable".to_owned());
        } else if value.reveal().contains('\0') {
            refuse(format!("env.{shown}"), "a value cannot contain a NUL character".to_owned());
        }
    }
    if working_dir.is_some_and(|dir| dir.contains('\0')) {
        refuse("working_dir".to_owned(), "a path cannot contain a NUL character".to_owned());
    }
}

fn text(program: &Program, refuse: &mut impl FnMut(String, String)) {
    words(&program.command, &program.env, program.working_dir.as_deref(), refuse);
    if program.memory == Some(0) {
        refuse("resources.memory".to_owned(), "at least one byte".to_owned());
    }
    if program.cpu_millis == Some(0) {
        refuse("resources.cpus".to_owned(), "at least 0.001".to_owned());
    }
    if program.processes == Some(0) {
        refuse("resources.processes".to_owned(), "at least 1".to_owned());
    }
}

fn log_limits(program: &Program, refuse: &mut impl FnMut(String, String)) -> Limits {
    let default = Limits::default();
    let limits = Limits {
        max_size: program.log_max_size.unwrap_or(default.max_size),
        max_files: program.log_max_files.unwrap_or(default.max_files),
    };
    if limits.max_size < Limits::MIN_SIZE {
        refuse("logs.max_size".to_owned(), format!("at least {} KiB", Limits::MIN_SIZE >> 10));
    }
    if !(1..=Limits::MAX_FILES).contains(&limits.max_files) {
        refuse("logs.max_files".to_owned(), format!("1 to {}", Limits::MAX_FILES));
    }
    limits
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// What a path leads to.
enum Resolved {
    /// To this, without links in it.
    Granted(PathBuf),
    /// To nothing, where it would be granted.
    Absent(io::Error),
    /// Out of what is granted, or to nothing there: which of the two is nobody's business who has no grant for it.
    Refused,
}

/// Where `path` leads, if that is one of `roots` or lies beneath one. No roots given: every path does.
fn resolve(path: &Path, roots: Option<&[PathBuf]>) -> Resolved {
    let beneath = |real: &Path| {
        roots.is_none_or(|roots| {
            roots.iter().filter_map(|root| fs::canonicalize(root).ok()).any(|root| real.starts_with(root))
        })
    };
    // As far as there is anything, and not by a link that leads to nothing.
    let within = || {
        let found = path.ancestors().find_map(|part| match fs::canonicalize(part) {
            Ok(real) => Some(beneath(&real)),
            Err(_) => part.is_symlink().then_some(false),
        });
        found.unwrap_or(false)
    };
    match fs::canonicalize(path) {
        Ok(real) if beneath(&real) => Resolved::Granted(real),
        Err(error) if roots.is_none() || within() => Resolved::Absent(error),
        _ => Resolved::Refused,
    }
}

fn executable(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path).map_err(|error| why(&error))?;
    if metadata.is_dir() {
        return Err("it is a directory".to_owned());
    }
    if !metadata.is_file() {
        return Err("it is not a file".to_owned());
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err("it is not marked as executable".to_owned());
    }
    Ok(())
}

fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or directory".to_owned(),
        _ => error.to_string(),
    }
}

fn utf8(path: PathBuf) -> Result<String, PathBuf> {
    path.into_os_string().into_string().map_err(|text| PathBuf::from(<_ as AsRef<OsStr>>::as_ref(&text)))
}
