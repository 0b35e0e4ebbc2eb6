//! Every setting, with its bound, its default and its reason. One table ([`SETTINGS`]) names them; from it come the
//! parsing, the messages about bad ones, and what `tidemark config` prints.
//!
//! The command line wins over the environment, that over the file. A bad setting is a message that names where it
//! stands, its key, its value, and what was expected; the program then ends with 2.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidemark_domain::policy::Policy;
use tidemark_domain::time::{DAY, HOUR, MINUTE, SECOND};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::http::DoorLimits;
use crate::http::auth::{Tokens, may_listen};
use crate::http::body::BodyLimits;
use crate::sources::settings::{self as sources, Settings as Source};
use crate::store::Retention;

/// Every setting of the program, parsed.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The SQLite file.
    pub database: PathBuf,
    /// Bearer tokens; without it only loopback may be listened on.
    pub token_file: Option<PathBuf>,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Which log lines are written.
    pub log_filter: String,
    /// Thresholds of the verdict.
    pub policy: Policy,
    /// Bounds of the front door.
    pub limits: DoorLimits,
    /// How long facts are kept.
    pub retention: Retention,
    /// Sources that go and ask; of the file alone.
    pub sources: Vec<Source>,
}

impl Config {
    /// The tokens of the token file, if there is one.
    ///
    /// # Errors
    /// In words, if the file is bad, or if there is none and the listener can be reached from other machines.
    pub fn tokens(&self) -> Result<Option<Tokens>, String> {
        let tokens = self.token_file.as_deref().map(Tokens::read).transpose()?;
        may_listen(self.listen, tokens.as_ref())?;
        Ok(tokens)
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// One row of the table.
#[derive(Debug)]
pub struct Setting {
    /// Its name in the file and on the command line; dots become underscores in the environment.
    pub key: &'static str,
    /// What a value must be.
    pub kind: Kind,
    /// The value where none is given; empty for none.
    pub default: &'static str,
    /// What it is for, and why the default is as it is.
    pub reason: &'static str,
}

/// What a value must be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `ADDRESS:PORT`.
    Address,
    /// A path.
    File,
    /// A number with a unit, in these bounds (milliseconds).
    Span {
        /// At least.
        min: i64,
        /// At most.
        max: i64,
    },
    /// A number of bytes with or without a unit, in these bounds.
    Size {
        /// At least.
        min: i64,
        /// At most.
        max: i64,
    },
    /// A whole number in these bounds.
    Count {
        /// At least.
        min: i64,
        /// At most.
        max: i64,
    },
    /// One of these words.
    Word(&'static [&'static str]),
    /// A filter of log lines, `info,tidemark_server=debug`.
    Filter,
    /// `key=value`.
    Label,
}

const fn span(key: &'static str, default: &'static str, min: i64, max: i64, reason: &'static str) -> Setting {
    Setting { key, kind: Kind::Span { min, max }, default, reason }
}

/// Every setting.
pub const SETTINGS: [Setting; 31] = [
    Setting {
        key: "listen",
        kind: Kind::Address,
        default: "127.0.0.1:3000",
        reason: "Loopback, because without a token file everybody who reaches it may do everything. Port 0 takes a free one.",
    },
    Setting {
        key: "database",
        kind: Kind::File,
        default: "tidemark.db",
        reason: "The SQLite file, in the working directory so that it is seen. One process at a time.",
    },
    Setting {
        key: "token_file",
        kind: Kind::File,
        default: "",
        reason: "Lines `read TOKEN` and `send TOKEN`. Needed to listen on anything but loopback.",
    },
    Setting {
        key: "log.format",
        kind: Kind::Word(&["text", "json"]),
        default: "text",
        reason: "Text for people, JSON for machines. The log goes to standard error.",
    },
    Setting {
        key: "log.filter",
        kind: Kind::Filter,
        default: "info",
        reason: "Which lines are written, by module and level.",
    },
    span(
        "policy.report_interval",
        "30s",
        SECOND,
        HOUR,
        "The pace of reports where a source does not say another; Kong's. Late after 1.5 of it, disconnected after 3.",
    ),
    span(
        "policy.propagation",
        "60s",
        SECOND,
        DAY,
        "How long a change may take to reach a node before it is behind. A control plane may have its own.",
    ),
    span(
        "policy.reconnect",
        "30s",
        SECOND,
        HOUR,
        "A connection that was seen to close counts as gone after this; Kong redials in 5 to 10 s.",
    ),
    span(
        "policy.word_wait",
        "90s",
        SECOND,
        HOUR,
        "How long a hash that is not in the ledger waits for the control plane's word.",
    ),
    span(
        "policy.changeset_gap",
        "15s",
        0,
        HOUR,
        "Versions closer together are one changeset: three of Kong's push gaps.",
    ),
    span("policy.changeset_max", "30m", SECOND, DAY, "A changeset is never older than this."),
    span("policy.replica_window", "15s", 0, HOUR, "Words of two replicas closer together are one version."),
    span(
        "policy.gone_ephemeral",
        "10m",
        MINUTE,
        30 * DAY,
        "A node that comes and goes by design leaves the counts after this silence.",
    ),
    span("policy.gone", "24h", MINUTE, 365 * DAY, "Any node leaves the counts after this silence."),
    span(
        "policy.clock_skew",
        "5s",
        SECOND,
        DAY,
        "A node's clock that differs by more is shown; it is never used to order.",
    ),
    span("policy.sources_disagree", "90s", SECOND, DAY, "Two sources may disagree for this long before it is shown."),
    span("policy.expiring", "30d", HOUR, 365 * DAY, "A certificate or license that ends within this is shown."),
    span(
        "policy.moved_ticket",
        "15m",
        MINUTE,
        DAY,
        "An expected hash that moved without a change opens a ticket after this, where every change is announced.",
    ),
    span(
        "policy.moved_page",
        "60m",
        MINUTE,
        7 * DAY,
        "An expected hash that moved without a change pages after this, where changes are not announced.",
    ),
    Setting {
        key: "policy.flapping_reconnects",
        kind: Kind::Count { min: 2, max: 1_000 },
        default: "6",
        reason: "Reconnects within an hour from which a node is shown as flapping.",
    },
    Setting {
        key: "policy.ephemeral_label",
        kind: Kind::Label,
        default: "",
        reason: "The label of nodes that come and go by design.",
    },
    Setting {
        key: "limits.body",
        kind: Kind::Size { min: 64 << 10, max: 64 << 20 },
        default: "8MiB",
        reason: "One request's body on the wire: 10,000 full reports, compressed.",
    },
    Setting {
        key: "limits.body_inflated",
        kind: Kind::Size { min: 64 << 10, max: 512 << 20 },
        default: "64MiB",
        reason: "The same after decompression; eight such bodies are in hand at most.",
    },
    span("limits.body_time", "30s", SECOND, 10 * MINUTE, "How long a sender may take for a body."),
    span(
        "limits.request_time",
        "60s",
        SECOND,
        10 * MINUTE,
        "How long a request may take before it is given up; live events apart.",
    ),
    span("retention.intervals", "30d", DAY, 3_650 * DAY, "How long reports of nodes are kept."),
    span(
        "retention.keyframes",
        "7d",
        HOUR,
        3_650 * DAY,
        "How long the packed states are kept by which the past is answered quickly.",
    ),
    span(
        "retention.traffic_minutes",
        "26h",
        2 * HOUR,
        32 * DAY,
        "How long sums of traffic are kept by minute: a chart of a day. They are most of what traffic takes on the disk.",
    ),
    span("retention.traffic_hours", "32d", 2 * DAY, 400 * DAY, "The same by hour: a chart of a month."),
    span(
        "retention.traffic_days",
        "400d",
        32 * DAY,
        3_650 * DAY,
        "The same by day: a chart of a year, and usage by month.",
    ),
    Setting {
        key: "limits.subscribers",
        kind: Kind::Count { min: 1, max: 100_000 },
        default: "1000",
        reason: "Subscribers to live events at once; each costs a connection.",
    },
];

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave one.
    Default,
    /// In the file, at this line.
    File {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// In this variable.
    Environment(String),
    /// On the command line.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(out, "default"),
            Self::File { path, line } => write!(out, "{}:{line}", path.display()),
            Self::Environment(variable) => write!(out, "{variable}"),
            Self::CommandLine => write!(out, "command line"),
        }
    }
}

/// A setting that is bad. Reads `tidemark.toml:3: policy.gone: "soon" is not …, expected …`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {what}")]
pub struct BadSetting {
    origin: Origin,
    what: String,
}

/// The values that were given, each with its origin, and not parsed yet; and the sources of the file.
#[derive(Clone, Debug)]
pub struct Given(BTreeMap<&'static str, (String, Origin)>, Vec<Source>);

impl Given {
    /// Collects values from all origins. `command_line` has keys of the table; `environment` may have anything.
    ///
    /// # Errors
    /// If the file cannot be read, or a key of it or of the command line is unknown.
    pub fn collect(
        command_line: &[(String, String)],
        environment: &dyn Fn(&str) -> Option<String>,
        file: Option<&Path>,
    ) -> Result<Self, BadSetting> {
        let mut given = BTreeMap::new();
        for setting in &SETTINGS {
            given.insert(setting.key, (setting.default.to_owned(), Origin::Default));
        }
        let mut sources = Vec::new();
        if let Some(path) = file {
            let (values, found) = read_file(path)?;
            sources = found;
            for (key, value, line) in values {
                let origin = Origin::File { path: path.to_owned(), line };
                let known = known(&key, &origin)?;
                given.insert(known, (value, origin));
            }
        }
        for setting in &SETTINGS {
            let variable = variable(setting.key);
            if let Some(value) = environment(&variable) {
                given.insert(setting.key, (value, Origin::Environment(variable)));
            }
        }
        for (key, value) in command_line {
            let known = known(key, &Origin::CommandLine)?;
            given.insert(known, (value.clone(), Origin::CommandLine));
        }
        Ok(Self(given, sources))
    }

    /// Parses all of them.
    ///
    /// # Errors
    /// The first that is bad.
    pub fn parse(&self) -> Result<Config, BadSetting> {
        let value = |key: &'static str| Value { key, given: self };
        let defaults = Policy::default();
        let config = Config {
            listen: value("listen").address()?,
            database: PathBuf::from(value("database").text()?.unwrap_or_default()),
            token_file: value("token_file").text()?.map(PathBuf::from),
            log_format: if value("log.format").word()? == "json" { LogFormat::Json } else { LogFormat::Text },
            log_filter: value("log.filter").filter()?,
            policy: Policy {
                report_interval_ms: value("policy.report_interval").number()?,
                propagation_ms: value("policy.propagation").number()?,
                reconnect_ms: value("policy.reconnect").number()?,
                word_wait_ms: value("policy.word_wait").number()?,
                changeset_gap_ms: value("policy.changeset_gap").number()?,
                changeset_max_ms: value("policy.changeset_max").number()?,
                replica_window_ms: value("policy.replica_window").number()?,
                gone_ephemeral_ms: value("policy.gone_ephemeral").number()?,
                gone_ms: value("policy.gone").number()?,
                clock_skew_ms: value("policy.clock_skew").number()?,
                sources_disagree_ms: value("policy.sources_disagree").number()?,
                expiring_ms: value("policy.expiring").number()?,
                moved_ticket_ms: value("policy.moved_ticket").number()?,
                moved_page_ms: value("policy.moved_page").number()?,
                flapping_reconnects: u32::try_from(value("policy.flapping_reconnects").number()?)
                    .unwrap_or(defaults.flapping_reconnects),
                ephemeral_label: value("policy.ephemeral_label").label()?,
                ..Policy::default()
            },
            limits: DoorLimits {
                body: BodyLimits {
                    wire_max: value("limits.body").size()?,
                    inflated_max: value("limits.body_inflated").size()?,
                    time_max: value("limits.body_time").duration()?,
                },
                request_time_max: value("limits.request_time").duration()?,
                subscribers_max: value("limits.subscribers").size()?,
            },
            retention: Retention {
                intervals_ms: value("retention.intervals").number()?,
                keyframes_ms: value("retention.keyframes").number()?,
                minutes_ms: value("retention.traffic_minutes").number()?,
                hours_ms: value("retention.traffic_hours").number()?,
                days_ms: value("retention.traffic_days").number()?,
            },
            sources: self.1.clone(),
        };
        Ok(config)
    }

    /// The table as `tidemark config` prints it: a TOML file that would say the same, with reasons and origins.
    #[must_use]
    pub fn reference(&self) -> String {
        let mut text =
            String::from("# Every setting: what it is for, what it may be, its value and where that stands.\n");
        let mut section = "";
        for setting in sorted() {
            let (head, name) = setting.key.rsplit_once('.').unwrap_or(("", setting.key));
            if head != section {
                text.push_str(&format!("\n[{head}]\n"));
                section = head;
            }
            let (value, origin) = &self.0[setting.key];
            let default = if setting.default.is_empty() { "none" } else { setting.default };
            text.push_str(&format!("\n# {}\n# {}; default {default}", setting.reason, setting.kind));
            text.push_str(&format!("; {}\n", variable(setting.key)));
            match (value.is_empty(), setting.kind) {
                (true, _) => text.push_str(&format!("# {name} = \"\"  # {origin}\n")),
                (false, Kind::Count { .. }) => text.push_str(&format!("{name} = {value}  # {origin}\n")),
                (false, _) => text.push_str(&format!("{name} = {}  # {origin}\n", toml::Value::from(value.as_str()))),
            }
        }
        text.extend(self.1.iter().map(Source::reference));
        text
    }
}

/// Top-level keys first, as TOML wants it, then by section.
fn sorted() -> Vec<&'static Setting> {
    let mut settings: Vec<&Setting> = SETTINGS.iter().collect();
    settings.sort_by_key(|setting| setting.key.rsplit_once('.').map_or("", |(section, _)| section));
    settings
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Address => write!(out, "an address with a port, as in 127.0.0.1:3000"),
            Self::File => write!(out, "a path"),
            Self::Span { min, max } => write!(out, "a span from {} to {} (ms, s, m, h, d)", unit(min), unit(max)),
            Self::Size { min, max } => {
                write!(out, "a size from {} KiB to {} MiB (bytes, KiB, MiB)", min >> 10, max >> 20)
            }
            Self::Count { min, max } => write!(out, "a whole number from {min} to {max}"),
            Self::Word(words) => write!(out, "one of {}", words.join(", ")),
            Self::Filter => write!(out, "a log filter, as in info,tidemark_server=debug"),
            Self::Label => write!(out, "a label, key=value"),
        }
    }
}

/// A span as a setting writes it.
fn unit(ms: i64) -> String {
    match ms {
        ms if ms > 0 && ms % DAY == 0 => format!("{}d", ms / DAY),
        ms if ms > 0 && ms % HOUR == 0 => format!("{}h", ms / HOUR),
        ms if ms > 0 && ms % MINUTE == 0 => format!("{}m", ms / MINUTE),
        ms if ms % SECOND == 0 => format!("{}s", ms / SECOND),
        ms => format!("{ms}ms"),
    }
}

/// The environment variable of a key.
#[must_use]
pub fn variable(key: &str) -> String {
    format!("TIDEMARK_{}", key.replace('.', "_").to_uppercase())
}

/// Variables of ours that no setting has: a misspelt one would be lost without a word. They are no error, as
/// Kubernetes sets `TIDEMARK_PORT` and its like for a service of this name.
pub fn unknown_variables(environment: impl Iterator<Item = String>) -> Vec<String> {
    let known: Vec<String> = SETTINGS.iter().map(|setting| variable(setting.key)).collect();
    let is_ours = |name: &String| name.starts_with("TIDEMARK_") && !known.contains(name);
    environment.filter(|name| is_ours(name) && !OTHER_VARIABLES.contains(&name.as_str())).collect()
}

/// Variables that are no settings: the file of settings, the token of an import, the bundle of a debug build.
const OTHER_VARIABLES: [&str; 3] = ["TIDEMARK_CONFIG", "TIDEMARK_TOKEN", "TIDEMARK_SITE_DIR"];

fn known(key: &str, origin: &Origin) -> Result<&'static str, BadSetting> {
    let found = SETTINGS.iter().find(|setting| setting.key == key);
    found.map(|setting| setting.key).ok_or_else(|| BadSetting {
        origin: origin.clone(),
        what: format!("{key}: there is no such setting; `tidemark config` lists them"),
    })
}

/// Keys, values and lines of a file, and its sources; sections become dots.
fn read_file(path: &Path) -> Result<(Vec<(String, String, usize)>, Vec<Source>), BadSetting> {
    let bad = |line: usize, what: String| BadSetting { origin: Origin::File { path: path.to_owned(), line }, what };
    let text = std::fs::read_to_string(path).map_err(|error| bad(1, format!("cannot be read: {error}")))?;
    let line_of = |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
    let mut table = DeTable::parse(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(span.start));
        bad(line, format!("is not TOML: {}", error.message()))
    })?;
    let found = table.get_mut().remove("source");
    let found = found.map(|value| sources::read(&value).map_err(|wrong| bad(line_of(wrong.offset), wrong.what)));
    let sources = found.transpose()?.unwrap_or_default();
    let mut values = Vec::new();
    flatten("", table.get_ref(), &mut |key: String, value: &Spanned<DeValue<'_>>| {
        let line = line_of(value.span().start);
        match value.get_ref() {
            DeValue::String(text) => values.push((key, text.to_string(), line)),
            DeValue::Integer(number) => values.push((key, number.to_string(), line)),
            other => {
                let what = format!("{key}: expected a string or a whole number, found {}", other.type_str());
                return Err(bad(line, what));
            }
        }
        Ok(())
    })?;
    Ok((values, sources))
}

fn flatten(
    prefix: &str,
    table: &DeTable<'_>,
    each: &mut dyn FnMut(String, &Spanned<DeValue<'_>>) -> Result<(), BadSetting>,
) -> Result<(), BadSetting> {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
        match value.get_ref() {
            DeValue::Table(inner) => flatten(&key, inner, each)?,
            _ => each(key, value)?,
        }
    }
    Ok(())
}

/// A value of the table while it is parsed.
struct Value<'a> {
    key: &'static str,
    given: &'a Given,
}

impl Value<'_> {
    fn raw(&self) -> &str {
        &self.given.0[self.key].0
    }

    fn kind(&self) -> Kind {
        SETTINGS.iter().find(|setting| setting.key == self.key).map_or(Kind::File, |setting| setting.kind)
    }

    fn bad(&self) -> BadSetting {
        let (value, origin) = &self.given.0[self.key];
        BadSetting { origin: origin.clone(), what: format!("{}: {value:?} is not {}", self.key, self.kind()) }
    }

    fn text(&self) -> Result<Option<String>, BadSetting> {
        let (value, origin) = &self.given.0[self.key];
        match value.as_str() {
            // An empty path is a mistake, but the absence of one.
            "" if *origin != Origin::Default => Err(self.bad()),
            "" => Ok(None),
            text => Ok(Some(text.to_owned())),
        }
    }

    fn address(&self) -> Result<SocketAddr, BadSetting> {
        let text = self.raw().strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        text.as_deref().unwrap_or(self.raw()).parse().map_err(|_| self.bad())
    }

    fn word(&self) -> Result<&str, BadSetting> {
        match self.kind() {
            Kind::Word(words) if words.contains(&self.raw()) => Ok(self.raw()),
            _ => Err(self.bad()),
        }
    }

    fn filter(&self) -> Result<String, BadSetting> {
        let parsed = tracing_subscriber::EnvFilter::builder().parse(self.raw());
        parsed.map(|_| self.raw().to_owned()).map_err(|_| self.bad())
    }

    /// A span in milliseconds, a size in bytes, or a count, within its bounds.
    fn number(&self) -> Result<i64, BadSetting> {
        let digits = self.raw().bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = self.raw().split_at(digits);
        let number: i64 = number.parse().map_err(|_| self.bad())?;
        let (factor, min, max) = match (self.kind(), unit.trim()) {
            (Kind::Span { min, max }, "ms") => (1, min, max),
            (Kind::Span { min, max }, "s") => (SECOND, min, max),
            (Kind::Span { min, max }, "m" | "min") => (MINUTE, min, max),
            (Kind::Span { min, max }, "h") => (HOUR, min, max),
            (Kind::Span { min, max }, "d") => (DAY, min, max),
            (Kind::Size { min, max }, "" | "B") => (1, min, max),
            (Kind::Size { min, max }, "KiB") => (1 << 10, min, max),
            (Kind::Size { min, max }, "MiB") => (1 << 20, min, max),
            (Kind::Count { min, max }, "") => (1, min, max),
            _ => return Err(self.bad()),
        };
        let value = number.checked_mul(factor).ok_or_else(|| self.bad())?;
        if (min..=max).contains(&value) { Ok(value) } else { Err(self.bad()) }
    }

    fn size(&self) -> Result<usize, BadSetting> {
        usize::try_from(self.number()?).map_err(|_| self.bad())
    }

    fn duration(&self) -> Result<Duration, BadSetting> {
        u64::try_from(self.number()?).map(Duration::from_millis).map_err(|_| self.bad())
    }

    fn label(&self) -> Result<Option<(String, String)>, BadSetting> {
        let Some(text) = self.text()? else { return Ok(None) };
        let (key, value) = text.split_once('=').ok_or_else(|| self.bad())?;
        if key.is_empty() {
            return Err(self.bad());
        }
        Ok(Some((key.to_owned(), value.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(
        command_line: &[(&str, &str)],
        environment: &[(&str, &str)],
        file: Option<&str>,
    ) -> Result<Given, BadSetting> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tidemark.toml");
        if let Some(text) = file {
            std::fs::write(&path, text).expect("a file");
        }
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let command_line: Vec<_> = command_line.iter().map(own).collect();
        let variables: BTreeMap<_, _> = environment.iter().map(own).collect();
        Given::collect(&command_line, &|name| variables.get(name).cloned(), file.map(|_| path.as_path()))
    }

    fn config(
        command_line: &[(&str, &str)],
        environment: &[(&str, &str)],
        file: Option<&str>,
    ) -> Result<Config, String> {
        let config = given(command_line, environment, file).and_then(|given| given.parse());
        config.map_err(|bad| bad.to_string().rsplit('/').next().unwrap_or_default().to_owned())
    }

    #[test]
    fn the_table_says_what_the_code_has_as_defaults() {
        let config = config(&[], &[], None).expect("defaults are good");
        assert_eq!(config.policy, Policy::default());
        assert_eq!(config.retention, Retention::default());
        assert_eq!(config.limits.body.wire_max, BodyLimits::default().wire_max);
        assert_eq!(config.limits.body.inflated_max, BodyLimits::default().inflated_max);
        assert_eq!(config.limits.request_time_max, DoorLimits::default().request_time_max);
        assert_eq!(config.limits.subscribers_max, DoorLimits::default().subscribers_max);
        assert_eq!(config.listen, SocketAddr::from(([127, 0, 0, 1], 3000)));
        assert_eq!(config.token_file, None);
    }

    #[test]
    fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
        let file = Some("listen = \"127.0.0.1:1\"\n[policy]\ngone = \"2h\"\npropagation = \"2m\"\n");
        let environment = [("TIDEMARK_LISTEN", "127.0.0.1:2"), ("TIDEMARK_POLICY_GONE", "3h")];
        let all = config(&[("listen", "127.0.0.1:3")], &environment, file).expect("good");
        assert_eq!(all.listen.port(), 3);
        assert_eq!((all.policy.gone_ms, all.policy.propagation_ms), (3 * HOUR, 2 * MINUTE));
    }

    #[test]
    fn a_bad_setting_says_where_it_stands_and_what_was_expected() {
        let message = |command_line: &[(&str, &str)], environment: &[(&str, &str)], file| {
            config(command_line, environment, file).expect_err("it is bad")
        };
        insta::assert_snapshot!(message(&[], &[], Some("[policy]\n\ngone = \"soon\"\n")), @r#"tidemark.toml:3: policy.gone: "soon" is not a span from 1m to 365d (ms, s, m, h, d)"#);
        insta::assert_snapshot!(message(&[], &[], Some("listen = true\n")), @"tidemark.toml:1: listen: expected a string or a whole number, found boolean");
        insta::assert_snapshot!(message(&[], &[], Some("\nlisen = \"x\"\n")), @"tidemark.toml:2: lisen: there is no such setting; `tidemark config` lists them");
        insta::assert_snapshot!(message(&[], &[], Some("listen = \n")), @"tidemark.toml:1: is not TOML: string values must be quoted, expected literal string");
        insta::assert_snapshot!(message(&[], &[("TIDEMARK_LISTEN", "3000")], None), @r#"TIDEMARK_LISTEN: listen: "3000" is not an address with a port, as in 127.0.0.1:3000"#);
        insta::assert_snapshot!(message(&[("log.format", "xml")], &[], None), @r#"command line: log.format: "xml" is not one of text, json"#);
    }

    #[test]
    fn bounds_hold_on_both_sides() {
        #[track_caller]
        fn check(key: &str, value: &str, fits: bool) {
            assert_eq!(config(&[(key, value)], &[], None).is_ok(), fits, "{key} = {value}");
        }
        check("policy.gone", "59s", false);
        check("policy.gone", "60s", true);
        check("policy.gone", "365d", true);
        check("policy.gone", "366d", false);
        check("policy.gone", "60", false);
        check("policy.gone", "-1d", false);
        check("policy.gone", "99999999999999999d", false);
        check("limits.body", "64KiB", true);
        check("limits.body", "63KiB", false);
        check("limits.body", "64MiB", true);
        check("limits.body", "65MiB", false);
        check("limits.body", "1048576", true);
        check("policy.flapping_reconnects", "1", false);
        check("policy.flapping_reconnects", "2", true);
        check("policy.ephemeral_label", "kind=spot", true);
        check("policy.ephemeral_label", "spot", false);
        check("log.filter", "info,tidemark_server=loud", false);
        check("token_file", "", false);
    }

    #[test]
    fn a_variable_that_no_setting_has_is_named() {
        let names = ["TIDEMARK_LISTEN", "TIDEMARK_LISEN", "TIDEMARK_CONFIG", "PATH"].map(str::to_owned);
        assert_eq!(unknown_variables(names.into_iter()), ["TIDEMARK_LISEN"]);
    }

    #[test]
    fn what_is_printed_is_a_file_that_says_the_same() {
        let given = given(&[("policy.gone", "2h"), ("token_file", "a \"b\"")], &[], None).expect("good");
        let printed = given.reference();
        let again = super::tests::given(&[], &[], Some(&printed)).expect("it is TOML");
        for setting in &SETTINGS {
            assert_eq!(given.0[setting.key].0, again.0[setting.key].0, "{}", setting.key);
        }
        assert!(printed.contains("gone = \"2h\"  # command line"), "{printed}");
    }
}
