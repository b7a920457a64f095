//! `ps`: which sessions there are, filtered and shown as Docker does.

use clap::Args;
use seawall_model::{Exit, Health, Session, SessionState, Timestamp};

use super::fields::{FIELDS, json, value};
use super::format::table;
use super::sessions::word;
use super::template::Template;
use super::{Global, say};
use crate::client::Client;
use crate::exit::Failure;

/// `ps`.
#[derive(Debug, Args)]
#[command(after_help = "\
Filters of one key are alternatives, except labels; those of several keys must all hold. A filter by state or exit code looks
among those that are over as well.
  state=running    state=over (any of stopped, failed, lost)    exited=137    backend=docker    health=unhealthy
  name=web (a part of it)    id=a8db (its beginning)    image=busybox    label=tier    label=tier=front
Docker's own words mean the same: status=, status=exited, ancestor=.

A format is `table`, `json` (an object a line), or text with fields as in {{.ID}}; after `table `, in columns with headers:
  {{.ID}} {{.Name}} {{.Backend}} {{.State}} {{.Health}} {{.Ready}} {{.Restarts}} {{.Incarnation}} {{.Age}} {{.CreatedAt}}
  {{.Image}} {{.Command}} {{.Labels}} {{.Ports}} {{.Exit}} {{.Reason}}, {{json .}} for all of it, and as in Docker
  {{.Names}} {{.Status}} {{.RunningFor}}. Of Go's templates that is all there is.")]
pub(crate) struct Ps {
    /// Show those that are over as well
    #[arg(short, long)]
    all: bool,
    /// Print ids only
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    /// Only those that are so
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = filter)]
    filter: Vec<Filter>,
    /// How each is shown
    #[arg(long, value_name = "table|json|TEMPLATE", value_parser = format)]
    format: Option<Format>,
    /// Show ids and commands in full
    #[arg(long)]
    no_trunc: bool,
    /// Only so many that were asked for last, those that are over as well
    #[arg(short = 'n', long, value_name = "NUMBER")]
    last: Option<usize>,
    /// The one that was asked for last, as with -n 1
    #[arg(short, long, conflicts_with = "last")]
    latest: bool,
}

/// What a session has to be.
#[derive(Clone, Debug)]
enum Filter {
    State(SessionState),
    Over,
    Exited(u8),
    Image(String),
    Health(Health),
    Backend(String),
    Name(String),
    Id(String),
    Label(String, Option<String>),
}

/// How each is shown.
#[derive(Clone, Debug)]
enum Format {
    Table,
    Json,
    Columns(Template),
    Lines(Template),
}

fn filter(text: &str) -> Result<Filter, String> {
    let refuse = || {
        let known = "state=, exited=, health=, backend=, name=, id=, image= or label=";
        format!("{text:?} is no filter: write {known}")
    };
    let (key, value) = text.split_once('=').ok_or_else(refuse)?;
    let value = value.to_owned();
    Ok(match key {
        "state" | "status" if matches!(value.as_str(), "over" | "exited") => Filter::Over,
        "exited" => Filter::Exited(value.parse().map_err(|_| format!("{value:?} is no exit code: write 0 to 255"))?),
        "image" | "ancestor" => Filter::Image(value),
        "state" | "status" => Filter::State(known(&value, SessionState::ALL)?),
        "health" => {
            Filter::Health(known(&value, [Health::Healthy, Health::Unhealthy, Health::Starting, Health::Unknown])?)
        }
        "backend" => Filter::Backend(value),
        "name" => Filter::Name(value),
        "id" => Filter::Id(value),
        "label" => match value.split_once('=') {
            Some((key, value)) => Filter::Label(key.to_owned(), Some(value.to_owned())),
            None => Filter::Label(value, None),
        },
        _ => return Err(refuse()),
    })
}

/// The one of these whose word it is.
fn known<T: serde::Serialize, const N: usize>(given: &str, all: [T; N]) -> Result<T, String> {
    let words: Vec<String> = all.iter().map(word).collect();
    let found = all.into_iter().find(|one| word(one) == given);
    found.ok_or_else(|| format!("{given:?} is none of {}", words.join(", ")))
}

fn format(text: &str) -> Result<Format, String> {
    Ok(match text {
        "table" => Format::Table,
        "json" => Format::Json,
        _ => match text.strip_prefix("table ") {
            Some(columns) => Format::Columns(Template::parse(columns, FIELDS)?),
            None => Format::Lines(Template::parse(text, FIELDS)?),
        },
    })
}

impl Filter {
    fn lets(&self, session: &Session) -> bool {
        match self {
            Self::State(state) => session.state == *state,
            Self::Over => session.state.is_final(),
            Self::Exited(code) => {
                session.state.is_final() && session.exit.as_ref().and_then(Exit::shell_code) == Some(*code)
            }
            Self::Image(image) => session.spec.image.as_ref().is_some_and(|has| is_image(has, image)),
            Self::Health(health) => session.health == *health && runs(session),
            Self::Backend(backend) => session.backend.as_str() == backend,
            Self::Name(part) => session.name.as_str().contains(part),
            Self::Id(beginning) => session.id.as_str().starts_with(beginning),
            Self::Label(key, value) => {
                session.spec.labels.get(key).is_some_and(|has| value.as_ref().is_none_or(|value| has == value))
            }
        }
    }
}

/// The same image, whatever its tag if none is asked for.
fn is_image(has: &str, asked: &str) -> bool {
    has == asked || has.strip_prefix(asked).is_some_and(|rest| rest.starts_with([':', '@']))
}

/// Only what runs has a health.
fn runs(session: &Session) -> bool {
    matches!(session.state, SessionState::Running | SessionState::Unknown)
}

/// Alternatives within a key, except of labels.
fn let_in(filters: &[Filter], session: &Session) -> bool {
    let key = |filter: &Filter| match filter {
        Filter::Over => std::mem::discriminant(&Filter::State(SessionState::Stopped)),
        other => std::mem::discriminant(other),
    };
    let same = |filter: &Filter, other: &Filter| key(filter) == key(other);
    filters.iter().all(|filter| match filter {
        Filter::Label(..) => filter.lets(session),
        _ => filters.iter().any(|other| same(filter, other) && other.lets(session)),
    })
}

impl Ps {
    /// Lists sessions.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        let last = if self.latest { Some(1) } else { self.last };
        let by_state =
            self.filter.iter().any(|filter| matches!(filter, Filter::State(_) | Filter::Over | Filter::Exited(_)));
        let query = [("all", (self.all || by_state || last.is_some()).to_string())];
        let mut sessions: Vec<Session> = client.get(&["sessions"], &query).await?;
        sessions.retain(|session| let_in(&self.filter, session));
        if let Some(last) = last {
            sessions.drain(..sessions.len().saturating_sub(last));
        }
        if global.json {
            global.show(&sessions, |_| String::new())?;
        } else {
            say(&self.text(&sessions, Timestamp::now())?)?;
        }
        Ok(0)
    }

    fn text(&self, sessions: &[Session], now: Timestamp) -> Result<String, Failure> {
        let row =
            |session: &Session, template: &Template| template.fill(|field| value(field, session, now, !self.no_trunc));
        Ok(match &self.format {
            _ if self.quiet => sessions.iter().map(|session| format!("{}\n", self.id(session))).collect(),
            None | Some(Format::Table) => list(sessions, now, !self.no_trunc),
            Some(Format::Json) => {
                let mut lines = String::new();
                for session in sessions {
                    lines.push_str(&json(session));
                    lines.push('\n');
                }
                lines
            }
            Some(Format::Lines(template)) => {
                let line = |session| format!("{}\n", super::printable(&row(session, template)));
                sessions.iter().map(line).collect()
            }
            Some(Format::Columns(template)) => {
                let header = template.fill(|field| field.to_uppercase());
                let cells = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
                let header = cells(&header);
                let header: Vec<&str> = header.iter().map(String::as_str).collect();
                table(&header, sessions.iter().map(|session| cells(&row(session, template))))
            }
        })
    }

    fn id<'a>(&self, session: &'a Session) -> &'a str {
        if self.no_trunc { session.id.as_str() } else { session.id.short() }
    }
}

fn list(sessions: &[Session], now: Timestamp, short: bool) -> String {
    let header = ["ID", "Name", "Backend", "State", "Health", "Restarts", "Age", "Ports", "Command"];
    let rows = sessions.iter().map(|session| header.iter().map(|field| value(field, session, now, short)).collect());
    table(&header.map(str::to_uppercase).each_ref().map(String::as_str), rows)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use seawall_model::{Port, Protocol};

    use super::super::sessions::tests::session;
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        ps: Ps,
    }

    fn sessions() -> [Session; 3] {
        [
            session(|_| {}),
            session(|session| {
                session.name = "long-gone".parse().unwrap();
                session.state = SessionState::Unknown;
                session.last_state = Some(SessionState::Running);
                session.spec.command = vec!["sh".to_owned(), "-c".to_owned(), "echo\n".repeat(30)];
                let port = |container, host| Port { container, host, address: None, protocol: Protocol::Tcp };
                session.spec.ports = vec![port(80, Some(8080)), port(443, None)];
            }),
            session(|session| {
                session.state = SessionState::Stopped;
                session.exit = Some(Exit { code: Some(0), ..Exit::default() });
                session.finished_at = Some("2026-01-01T01:00:00Z".parse().unwrap());
            }),
        ]
    }

    fn now() -> Timestamp {
        "2026-01-01T01:30:00Z".parse().unwrap()
    }

    #[test]
    fn ps_shows_one_line_a_session() {
        insta::assert_snapshot!(list(&sessions(), now(), true));
        insta::assert_snapshot!(list(&[], now(), true));
    }

    fn said(line: &[&str]) -> Result<String, String> {
        let line = Line::try_parse_from(std::iter::once(&"ps").chain(line)).map_err(|error| error.to_string())?;
        let mut sessions = sessions().to_vec();
        sessions.retain(|session| let_in(&line.ps.filter, session));
        Ok(line.ps.text(&sessions, now()).unwrap())
    }

    #[test]
    fn a_format_shows_the_fields_that_it_names() {
        assert_eq!(said(&["-q"]).unwrap(), "0123456789ab\n".repeat(3));
        assert_eq!(said(&["-q", "--no-trunc"]).unwrap(), "0123456789abcdef\n".repeat(3));
        let lines = said(&["--format", "{{.Name}}\\t{{ .State }}"]).unwrap();
        assert_eq!(lines, "web\trunning\nlong-gone\tunknown (running)\nweb\tstopped\n");
        let columns = said(&["--format", "table {{.Name}}\\t{{.Backend}}"]).unwrap();
        assert_eq!(columns, "NAME        BACKEND\nweb         docker\nlong-gone   docker\nweb         docker\n");
        let json = said(&["--format", "json"]).unwrap();
        assert!(json.lines().all(|line| serde_json::from_str::<Session>(line).is_ok()), "{json}");
        let docker = said(&["--format", "{{.Names}}: {{.Status}}"]).unwrap();
        let words = ["Up About an hour (healthy)", "Unknown (running)", "Exited (0) 30 minutes ago"];
        let names = ["web", "long-gone", "web"];
        let expected: String = names.iter().zip(words).map(|(name, word)| format!("{name}: {word}\n")).collect();
        assert_eq!(docker, expected);
        assert_eq!(said(&["--format", "{{json .}}"]).unwrap(), json);
        let wrong = said(&["--format", "{{.Naem}}"]).unwrap_err();
        assert!(wrong.contains("did you mean `Name`"), "{wrong}");
    }

    #[test]
    fn filters_of_one_key_are_alternatives_and_those_of_several_must_all_hold() {
        let names = |line: &[&str]| said(&[line, &["--format", "{{.Name}}/{{.State}}"]].concat()).unwrap();
        assert_eq!(names(&["-f", "state=stopped", "-f", "state=running"]), "web/running\nweb/stopped\n");
        assert_eq!(names(&["-f", "state=stopped", "-f", "name=long"]), "");
        assert_eq!(
            names(&["-f", "name=gone", "-f", "backend=docker", "-f", "id=0123"]),
            "long-gone/unknown (running)\n"
        );
        assert_eq!(names(&["-f", "health=healthy"]), "web/running\nlong-gone/unknown (running)\n");
        assert_eq!(names(&["-f", "label=tier"]), "");
        assert_eq!(names(&["-f", "status=exited"]), "web/stopped\n");
        assert_eq!(names(&["-f", "state=over", "-f", "state=running"]), "web/running\nweb/stopped\n");
        assert_eq!(names(&["-f", "exited=0"]), "web/stopped\n");
        assert_eq!(names(&["-f", "exited=1"]), "");
        assert_eq!(names(&["-f", "ancestor=busybox", "-f", "exited=0"]), "web/stopped\n");
        assert_eq!(names(&["-f", "image=busy"]), "");
        for (wrong, said_of_it) in [
            ("state=gone", "none of pending"),
            ("health=well", "none of"),
            ("stat", "no filter"),
            ("x=y", "no filter"),
            ("exited=256", "0 to 255"),
        ] {
            let said = said(&["-f", wrong]).unwrap_err();
            assert!(said.contains(said_of_it), "{said}");
        }
    }
}
