//! The `[[source]]` tables of the file of settings: one for each source that goes and asks.
//!
//! A bad one is a message with the file, the line, the source, the key, the value and what was expected; nothing starts
//! then. A table names files and variables that hold credentials, never a credential: so it can be printed.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use tidemark_domain::fact::Source;
use tidemark_domain::gateway::GatewayVersion;
use tidemark_domain::id::CpName;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Sources of one server.
pub const SOURCES_MAX: usize = 64;
/// Addresses of one control plane's Admin API.
const URLS_MAX: usize = 8;
/// Targets that are listed in a table; longer lists come from a file or a service.
pub const TARGETS_MAX: usize = 10_000;
/// Names that are looked up for one source.
const NAMES_MAX: usize = 64;
/// Seconds between two runs: below a second Kong would do little else, above an hour nobody would call it watching.
const INTERVAL_S: (i64, i64) = (1, 3_600);
/// Seconds that one target may take.
const TIMEOUT_S: (i64, i64) = (1, 60);
const TIMEOUT_DEFAULT_S: i64 = 5;
/// A node of Kong's tells its control plane twice a minute what it runs.
const REPORTS_EVERY: Duration = Duration::from_secs(30);
/// The kinds, as a table names them.
const KINDS: [&str; 4] = ["admin_api", "status", "konnect", "shadow"];
/// Regions of Konnect (`kong-hybrid.md` 6.1).
const REGIONS: [&str; 6] = ["us", "eu", "au", "me", "in", "sg"];
/// Characters of the name of a control plane in Konnect.
const KONNECT_NAME_MAX: usize = 256;
/// Plugins, filters and versions of one shadow.
const NAMED_MAX: usize = 1_000;

/// One source, as it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name: in logs, on the page, in labels.
    pub name: String,
    /// The control plane that its facts are about.
    pub control_plane: CpName,
    /// Between the beginnings of two runs.
    pub interval: Duration,
    /// How long one request to a control plane may take, or all requests to one data plane.
    pub timeout: Duration,
    /// How it proves who it is, and whom it trusts.
    pub access: Access,
    /// What it asks.
    pub kind: Kind,
}

/// What a source asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The Admin API of a control plane: the first of these addresses that answers.
    AdminApi {
        /// At least one.
        urls: Vec<Url>,
    },
    /// The Status API of data planes.
    Status(Targets),
    /// A control plane of Konnect.
    Konnect(KonnectSettings),
    /// A control plane, as one more of its data planes.
    Shadow(Box<ShadowSettings>),
}

/// Which control plane of Konnect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KonnectSettings {
    /// Where its API is.
    pub at: KonnectAt,
    /// Its id or its name in Konnect.
    pub konnect_control_plane: String,
}

/// Where Konnect's API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KonnectAt {
    /// In a region of Konnect's.
    Region(String),
    /// Behind an address, as of a proxy.
    Url(Url),
}

impl KonnectAt {
    /// The address; `None` for a region that makes none, which no setting is.
    #[must_use]
    pub fn url(&self) -> Option<Url> {
        match self {
            Self::Region(region) => format!("https://{region}.api.konghq.com").parse().ok(),
            Self::Url(url) => Some(url.clone()),
        }
    }
}

/// What a shadow is ([`crate::shadow::Settings`] says more of each).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowSettings {
    /// `host:port` of Kong's `cluster_listen`.
    pub connect: String,
    /// The certificate (PEM).
    pub cluster_cert: PathBuf,
    /// Its key (PEM).
    pub cluster_cert_key: PathBuf,
    /// Kong's `cluster_mtls`.
    pub is_pki: bool,
    /// The authority of pki mode (PEM).
    pub cluster_ca_cert: Option<PathBuf>,
    /// The name in the control plane's certificate, in pki mode; else the host of `connect`.
    pub cluster_server_name: Option<String>,
    /// Gateway versions to be.
    pub versions: Vec<GatewayVersion>,
    /// Where it remembers its ids and its last hashes.
    pub folder: PathBuf,
    /// `name` or `name=version` of plugins beside those that Kong comes with.
    pub plugins: Vec<String>,
    /// Names of Wasm filters.
    pub filters: Vec<String>,
    /// Which replica answers at `connect`, where that is always the same one.
    pub replica: Option<String>,
    /// Whether it is a second node that syncs by v2.
    pub v2: bool,
}

/// Where data planes are found: all of these together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Listed.
    pub listed: Vec<Url>,
    /// A file of Prometheus' `file_sd`, JSON, read in each run.
    pub file_sd: Option<PathBuf>,
    /// An address that answers as Prometheus' `http_sd`, asked in each run.
    pub http_sd: Option<Url>,
    /// Names that are looked up in each run: every address is a target.
    pub dns: Vec<Url>,
    /// Names whose SRV records are looked up in each run: every address of every host, with its port, is a target.
    pub dns_srv: Vec<String>,
    /// The nameserver that is asked for `dns_srv`, instead of those of the machine.
    pub dns_server: Option<SocketAddr>,
    /// What grows in the request counters is taken for traffic: off where http-log tells the same requests.
    pub request_counters: bool,
}

/// Credentials by where they are, and whom to trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The header that carries the token.
    pub token_header: Option<String>,
    /// Whether the token is sent as `Authorization: Bearer` instead.
    pub is_bearer: bool,
    /// A file that holds the token.
    pub token_file: Option<PathBuf>,
    /// A variable that holds the token.
    pub token_env: Option<String>,
    /// A client certificate, PEM.
    pub client_cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub client_key_file: Option<PathBuf>,
    /// Authorities to trust beside those of the machine, PEM.
    pub ca_file: Option<PathBuf>,
}

impl Kind {
    /// The word of the setting, of labels and of tables.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        self.source().word()
    }

    /// The source of its facts.
    #[must_use]
    pub const fn source(&self) -> Source {
        match self {
            Self::AdminApi { .. } => Source::AdminApi,
            Self::Status(_) => Source::Status,
            Self::Konnect(_) => Source::Konnect,
            Self::Shadow(_) => Source::Shadow,
        }
    }
}

impl Settings {
    /// The pace at which its nodes are expected to be heard, in milliseconds; late is 1.5 of it, and three intervals
    /// without a success must not look like that before they are told as blindness. A row of the Admin API or
    /// of Konnect may be 30 seconds old when it is read, as Kong's nodes report twice a minute; a Status API answers for
    /// the moment.
    #[must_use]
    pub fn pace_ms(&self) -> u32 {
        let (interval, timeout) = (self.interval, self.timeout);
        let pace = match &self.kind {
            Kind::AdminApi { .. } | Kind::Konnect(_) => REPORTS_EVERY + interval.max(timeout),
            Kind::Status(_) => (2 * interval + timeout).max(REPORTS_EVERY),
            Kind::Shadow(_) => REPORTS_EVERY,
        };
        u32::try_from(pace.as_millis()).unwrap_or(u32::MAX)
    }

    /// The table as `tidemark config` prints it.
    #[must_use]
    pub fn reference(&self) -> String {
        let mut text = String::from("\n[[source]]\n");
        let mut line = |key: &str, value: toml::Value| {
            let _ = writeln!(text, "{key} = {value}");
        };
        let seconds = |span: Duration| toml::Value::from(i64::try_from(span.as_secs()).unwrap_or(i64::MAX));
        let urls = |urls: &[Url]| toml::Value::from(urls.iter().map(Url::to_string).collect::<Vec<_>>());
        line("name", self.name.as_str().into());
        line("kind", self.kind.word().into());
        line("control_plane", self.control_plane.as_str().into());
        line("interval_s", seconds(self.interval));
        line("timeout_s", seconds(self.timeout));
        match &self.kind {
            Kind::AdminApi { urls: addresses } => line("urls", urls(addresses)),
            Kind::Status(targets) => {
                if !targets.listed.is_empty() {
                    line("targets", urls(&targets.listed));
                }
                if !targets.dns.is_empty() {
                    line("dns", urls(&targets.dns));
                }
                if !targets.dns_srv.is_empty() {
                    line("dns_srv", targets.dns_srv.clone().into());
                }
                if let Some(server) = &targets.dns_server {
                    line("dns_server", server.to_string().into());
                }
                if let Some(url) = &targets.http_sd {
                    line("http_sd", url.as_str().into());
                }
                if let Some(path) = &targets.file_sd {
                    line("file_sd", path.display().to_string().into());
                }
                if targets.request_counters {
                    line("request_counters", true.into());
                }
            }
            Kind::Konnect(konnect) => {
                match &konnect.at {
                    KonnectAt::Region(region) => line("region", region.as_str().into()),
                    KonnectAt::Url(url) => line("url", url.as_str().into()),
                }
                line("konnect_control_plane", konnect.konnect_control_plane.as_str().into());
            }
            Kind::Shadow(shadow) => {
                let path = |path: &PathBuf| toml::Value::from(path.display().to_string());
                line("connect", shadow.connect.as_str().into());
                line("cluster_cert", path(&shadow.cluster_cert));
                line("cluster_cert_key", path(&shadow.cluster_cert_key));
                line("cluster_mtls", if shadow.is_pki { "pki" } else { "shared" }.into());
                if let Some(ca) = &shadow.cluster_ca_cert {
                    line("cluster_ca_cert", path(ca));
                }
                if let Some(name) = &shadow.cluster_server_name {
                    line("cluster_server_name", name.as_str().into());
                }
                line("versions", shadow.versions.iter().map(GatewayVersion::as_str).collect::<Vec<_>>().into());
                line("folder", path(&shadow.folder));
                for (key, names) in [("plugins", &shadow.plugins), ("filters", &shadow.filters)] {
                    if !names.is_empty() {
                        line(key, names.clone().into());
                    }
                }
                if let Some(replica) = &shadow.replica {
                    line("replica", replica.as_str().into());
                }
                line("v2", shadow.v2.into());
            }
        }
        let access = &self.access;
        for (key, value) in [("token_header", &access.token_header), ("token_env", &access.token_env)] {
            if let Some(value) = value {
                line(key, value.as_str().into());
            }
        }
        for (key, path) in [
            ("token_file", &access.token_file),
            ("client_cert_file", &access.client_cert_file),
            ("client_key_file", &access.client_key_file),
            ("ca_file", &access.ca_file),
        ] {
            if let Some(path) = path {
                line(key, path.display().to_string().into());
            }
        }
        text
    }
}

/// What is wrong with a table, and where in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The byte in the file.
    pub offset: usize,
    /// In words, with the source, the key and the value.
    pub what: String,
}

/// Reads the value of `source`: an array of tables.
///
/// # Errors
/// The first that is wrong.
pub fn read(value: &Spanned<DeValue<'_>>) -> Result<Vec<Settings>, Wrong> {
    let wrong = |offset, what: &str| Wrong { offset, what: what.to_owned() };
    let DeValue::Array(tables) = value.get_ref() else {
        return Err(wrong(value.span().start, "source: expected tables, each under a line [[source]]"));
    };
    let mut all: Vec<Settings> = Vec::new();
    for table in tables.iter() {
        let offset = table.span().start;
        let DeValue::Table(fields) = table.get_ref() else {
            return Err(wrong(offset, "source: expected a table under a line [[source]]"));
        };
        let settings = one(&mut Fields::new(fields, offset))?;
        if all.iter().any(|other| other.name == settings.name) {
            let what =
                format!("source {:?}: name: {:?} is taken; each source has its own", settings.name, settings.name);
            return Err(Wrong { offset, what });
        }
        all.push(settings);
        if all.len() > SOURCES_MAX {
            return Err(wrong(offset, &format!("source: a server has at most {SOURCES_MAX} sources")));
        }
    }
    Ok(all)
}

fn one(fields: &mut Fields<'_>) -> Result<Settings, Wrong> {
    const NAME: &str = "a name: [a-z0-9][a-z0-9._-]{0,62}";
    let name = fields.needed("name", NAME)?;
    if name.value.parse::<CpName>().is_err() {
        return Err(fields.bad(&name, NAME));
    }
    fields.source = name.value.clone();
    let kind = fields.needed("kind", &format!("one of {}", KINDS.join(", ")))?;
    let control_plane = fields.needed("control_plane", NAME)?;
    let control_plane = control_plane.value.parse().map_err(|_| fields.bad(&control_plane, NAME))?;
    let (kind, interval_default_s) = match kind.value.as_str() {
        "admin_api" => (admin_api(fields)?, 10),
        "status" => (status(fields)?, 15),
        "konnect" => (konnect(fields)?, 30),
        "shadow" => (shadow(fields)?, 30),
        _ => return Err(fields.bad(&kind, &format!("one of {}", KINDS.join(", ")))),
    };
    let settings = Settings {
        name: name.value,
        control_plane,
        interval: fields.seconds("interval_s", INTERVAL_S, interval_default_s)?,
        timeout: fields.seconds("timeout_s", TIMEOUT_S, TIMEOUT_DEFAULT_S)?,
        access: access(fields, matches!(kind, Kind::Konnect(_)))?,
        kind,
    };
    fields.end()?;
    Ok(settings)
}

fn admin_api(fields: &mut Fields<'_>) -> Result<Kind, Wrong> {
    let expected = format!("1 to {URLS_MAX} addresses, as in [\"http://127.0.0.1:8001\"]");
    let urls = fields.urls("urls", URLS_MAX, &expected)?;
    if urls.is_empty() {
        return Err(fields.missing("urls", &expected));
    }
    Ok(Kind::AdminApi { urls })
}

fn status(fields: &mut Fields<'_>) -> Result<Kind, Wrong> {
    let listed = format!("up to {TARGETS_MAX} addresses, as in [\"http://10.0.0.7:8007\"]");
    let named =
        format!("up to {NAMES_MAX} addresses with http and a port, as in [\"http://kong-status.kong.svc:8007\"]");
    let srv = format!("up to {NAMES_MAX} names, as in [\"_status._tcp.kong-status.kong.svc.cluster.local\"]");
    let targets = Targets {
        listed: fields.urls("targets", TARGETS_MAX, &listed)?,
        file_sd: fields.path("file_sd")?,
        http_sd: fields.url("http_sd")?,
        dns: fields.urls("dns", NAMES_MAX, &named)?,
        dns_srv: fields.names("dns_srv", NAMES_MAX, &srv)?,
        dns_server: fields.address("dns_server")?,
        request_counters: fields.flag("request_counters")?,
    };
    // A certificate is checked against the name; an address that was looked up has lost it.
    if let Some(url) = targets.dns.iter().find(|url| url.scheme() != "http") {
        return Err(fields.bad(&Given { key: "dns", value: url.to_string(), offset: fields.offset }, &named));
    }
    if targets.dns_server.is_some() && targets.dns_srv.is_empty() {
        return Err(fields.missing("dns_server", "dns_server together with dns_srv"));
    }
    if targets == (Targets { request_counters: targets.request_counters, ..Targets::default() }) {
        return Err(fields.missing("targets", "at least one of targets, file_sd, http_sd, dns, dns_srv"));
    }
    Ok(Kind::Status(targets))
}

fn konnect(fields: &mut Fields<'_>) -> Result<Kind, Wrong> {
    let regions = format!("one of {}", REGIONS.join(", "));
    let named = format!("a name or an id of up to {KONNECT_NAME_MAX} characters");
    let at = match (fields.text("region", &regions)?, fields.url("url")?) {
        (Some(region), None) if REGIONS.contains(&region.value.as_str()) => KonnectAt::Region(region.value),
        (Some(region), None) => return Err(fields.bad(&region, &regions)),
        (None, Some(url)) => KonnectAt::Url(url),
        (None, None) => return Err(fields.missing("region", &format!("{regions}; or url"))),
        (Some(_), Some(_)) => return Err(fields.missing("region", "region or url, not both")),
    };
    let control_plane = fields.needed("konnect_control_plane", &named)?;
    if control_plane.value.chars().count() > KONNECT_NAME_MAX {
        return Err(fields.missing("konnect_control_plane", &named));
    }
    Ok(Kind::Konnect(KonnectSettings { at, konnect_control_plane: control_plane.value }))
}

fn shadow(fields: &mut Fields<'_>) -> Result<Kind, Wrong> {
    const CONNECT: &str = "host:port of the control plane's cluster_listen";
    const MTLS: &str = "shared or pki";
    let connect = fields.needed("connect", CONNECT)?;
    let port = connect.value.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(1..))) {
        return Err(fields.bad(&connect, CONNECT));
    }
    let mtls = fields.text("cluster_mtls", MTLS)?;
    let is_pki = match mtls.as_ref().map(|given| (given, given.value.as_str())) {
        None | Some((_, "shared")) => false,
        Some((_, "pki")) => true,
        Some((given, _)) => return Err(fields.bad(given, MTLS)),
    };
    let expected = "gateway versions, as in [\"3.9.1\"]";
    let mut versions = Vec::new();
    for given in fields.texts("versions", expected)? {
        versions.push(given.value.parse().map_err(|_| fields.bad(&given, expected))?);
    }
    if versions.is_empty() {
        return Err(fields.missing("versions", expected));
    }
    let needed = |fields: &mut Fields<'_>, key| fields.path(key)?.ok_or_else(|| fields.missing(key, "a path"));
    let names = |given: Vec<Given>| given.into_iter().map(|given| given.value).collect();
    let settings = ShadowSettings {
        connect: connect.value,
        cluster_cert: needed(fields, "cluster_cert")?,
        cluster_cert_key: needed(fields, "cluster_cert_key")?,
        is_pki,
        cluster_ca_cert: fields.path("cluster_ca_cert")?,
        cluster_server_name: fields.text("cluster_server_name", "a name")?.map(|given| given.value),
        versions,
        folder: needed(fields, "folder")?,
        plugins: names(fields.texts("plugins", "names, as in [\"my-plugin=1.0\"]")?),
        filters: names(fields.texts("filters", "names")?),
        replica: fields.text("replica", "a name")?.map(|given| given.value),
        v2: fields.flag("v2")?,
    };
    if is_pki && settings.cluster_ca_cert.is_none() {
        return Err(fields.missing("cluster_ca_cert", "a path, with cluster_mtls = \"pki\""));
    }
    Ok(Kind::Shadow(Box::new(settings)))
}

/// A bearer's token is needed, and its header is known.
fn access(fields: &mut Fields<'_>, is_bearer: bool) -> Result<Access, Wrong> {
    let token_header = match is_bearer {
        true => None,
        false => fields.text("token_header", "the name of a header, as in Kong-Admin-Token")?,
    };
    if let Some(header) = &token_header
        && header.value.parse::<http::HeaderName>().is_err()
    {
        return Err(fields.bad(header, "the name of a header, as in Kong-Admin-Token"));
    }
    let token_env = fields.text("token_env", "the name of a variable")?;
    let access = Access {
        token_header: token_header.map(|given| given.value),
        is_bearer,
        token_file: fields.path("token_file")?,
        token_env: token_env.map(|given| given.value),
        client_cert_file: fields.path("client_cert_file")?,
        client_key_file: fields.path("client_key_file")?,
        ca_file: fields.path("ca_file")?,
    };
    if access.token_file.is_some() && access.token_env.is_some() {
        return Err(fields.missing("token_file", "token_file or token_env, not both"));
    }
    let has_token = access.token_file.is_some() || access.token_env.is_some();
    if is_bearer && !has_token {
        return Err(fields.missing("token_file", "token_file or token_env, with a token of Konnect"));
    }
    if !is_bearer && has_token != access.token_header.is_some() {
        return Err(fields.missing("token_header", "token_header together with token_file or token_env"));
    }
    if access.client_cert_file.is_some() != access.client_key_file.is_some() {
        return Err(fields.missing("client_key_file", "client_cert_file and client_key_file together"));
    }
    Ok(access)
}

/// Whether it can be asked for: labels of letters, digits, hyphens and underscores (RFC 1035 2.3.4, RFC 2782).
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let name = text.strip_suffix('.').unwrap_or(text);
    name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()) && label.bytes().all(fits))
}

/// A value with its key and place.
struct Given {
    key: &'static str,
    value: String,
    offset: usize,
}

/// The fields of one table that were not read yet.
struct Fields<'a> {
    left: Vec<(&'a str, &'a Spanned<DeValue<'a>>)>,
    offset: usize,
    source: String,
}

impl<'a> Fields<'a> {
    fn new(table: &'a DeTable<'a>, offset: usize) -> Self {
        let left = table.iter().map(|(key, value)| (key.get_ref().as_ref(), value)).collect();
        Self { left, offset, source: "?".to_owned() }
    }

    fn take(&mut self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        let place = self.left.iter().position(|(name, _)| *name == key)?;
        Some(self.left.swap_remove(place).1)
    }

    fn wrong(&self, offset: usize, words: &str) -> Wrong {
        Wrong { offset, what: format!("source {:?}: {words}", self.source) }
    }

    fn bad(&self, given: &Given, expected: &str) -> Wrong {
        self.wrong(given.offset, &format!("{}: {:?} is not {expected}", given.key, given.value))
    }

    fn missing(&self, key: &str, expected: &str) -> Wrong {
        self.wrong(self.offset, &format!("{key}: expected {expected}"))
    }

    fn text(&mut self, key: &'static str, expected: &str) -> Result<Option<Given>, Wrong> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let offset = value.span().start;
        match value.get_ref() {
            DeValue::String(text) if !text.is_empty() => Ok(Some(Given { key, value: text.to_string(), offset })),
            DeValue::String(_) => Err(self.wrong(offset, &format!("{key}: \"\" is not {expected}"))),
            other => Err(self.wrong(offset, &format!("{key}: expected {expected}, found {}", other.type_str()))),
        }
    }

    fn needed(&mut self, key: &'static str, expected: &str) -> Result<Given, Wrong> {
        self.text(key, expected)?.ok_or_else(|| self.missing(key, expected))
    }

    fn texts(&mut self, key: &'static str, expected: &str) -> Result<Vec<Given>, Wrong> {
        let Some(value) = self.take(key) else { return Ok(Vec::new()) };
        let offset = value.span().start;
        let DeValue::Array(elements) = value.get_ref() else {
            let found = value.get_ref().type_str();
            return Err(self.wrong(offset, &format!("{key}: expected {expected}, found {found}")));
        };
        if elements.len() > NAMED_MAX {
            return Err(self.wrong(offset, &format!("{key}: expected at most {NAMED_MAX}, found {}", elements.len())));
        }
        let text = |element: &Spanned<DeValue<'_>>| match element.get_ref() {
            DeValue::String(text) if !text.is_empty() => {
                Ok(Given { key, value: text.to_string(), offset: element.span().start })
            }
            other => {
                let words = format!("{key}: expected {expected}, found {}", other.type_str());
                Err(self.wrong(element.span().start, &words))
            }
        };
        elements.iter().map(text).collect()
    }

    fn flag(&mut self, key: &'static str) -> Result<bool, Wrong> {
        let Some(value) = self.take(key) else { return Ok(false) };
        match value.get_ref() {
            DeValue::Boolean(flag) => Ok(*flag),
            other => {
                let words = format!("{key}: expected true or false, found {}", other.type_str());
                Err(self.wrong(value.span().start, &words))
            }
        }
    }

    fn path(&mut self, key: &'static str) -> Result<Option<PathBuf>, Wrong> {
        Ok(self.text(key, "a path")?.map(|given| PathBuf::from(given.value)))
    }

    fn url(&mut self, key: &'static str) -> Result<Option<Url>, Wrong> {
        let expected = "an address, as in http://127.0.0.1:8001";
        self.text(key, expected)?.map(|given| self.parsed(&given, expected)).transpose()
    }

    fn urls(&mut self, key: &'static str, most: usize, expected: &str) -> Result<Vec<Url>, Wrong> {
        let given = self.several(key, most, expected)?;
        given.iter().map(|given| self.parsed(given, expected)).collect()
    }

    fn names(&mut self, key: &'static str, most: usize, expected: &str) -> Result<Vec<String>, Wrong> {
        let given = self.several(key, most, expected)?;
        let name = |given: Given| if is_name(&given.value) { Ok(given.value) } else { Err(self.bad(&given, expected)) };
        given.into_iter().map(name).collect()
    }

    /// One text at least, where the key is there at all.
    fn several(&mut self, key: &'static str, most: usize, expected: &str) -> Result<Vec<Given>, Wrong> {
        let Some(value) = self.take(key) else { return Ok(Vec::new()) };
        let offset = value.span().start;
        let DeValue::Array(elements) = value.get_ref() else {
            let found = value.get_ref().type_str();
            return Err(self.wrong(offset, &format!("{key}: expected {expected}, found {found}")));
        };
        if elements.is_empty() || elements.len() > most {
            return Err(self.wrong(offset, &format!("{key}: expected {expected}, found {}", elements.len())));
        }
        let text = |element: &Spanned<DeValue<'_>>| match element.get_ref() {
            DeValue::String(text) => Ok(Given { key, value: text.to_string(), offset: element.span().start }),
            other => {
                let words = format!("{key}: expected {expected}, found {}", other.type_str());
                Err(self.wrong(element.span().start, &words))
            }
        };
        elements.iter().map(text).collect()
    }

    fn address(&mut self, key: &'static str) -> Result<Option<SocketAddr>, Wrong> {
        let expected = "an address with a port, as in 127.0.0.1:53";
        let Some(given) = self.text(key, expected)? else { return Ok(None) };
        match given.value.parse::<SocketAddr>() {
            Ok(address) if address.port() > 0 => Ok(Some(address)),
            _ => Err(self.bad(&given, expected)),
        }
    }

    fn parsed(&self, given: &Given, expected: &str) -> Result<Url, Wrong> {
        let url = Url::parse(&given.value).map_err(|_| self.bad(given, expected))?;
        // Not repeated: it may be a password.
        if !url.username().is_empty() || url.password().is_some() {
            let words = "an address without a user; use token_header with token_file or token_env";
            return Err(self.wrong(given.offset, &format!("{}: expected {words}", given.key)));
        }
        let fits = matches!(url.scheme(), "http" | "https") && url.has_host() && url.fragment().is_none();
        if fits { Ok(url) } else { Err(self.bad(given, expected)) }
    }

    fn seconds(&mut self, key: &'static str, (min, max): (i64, i64), default: i64) -> Result<Duration, Wrong> {
        let Some(value) = self.take(key) else { return Ok(Duration::from_secs(default.unsigned_abs())) };
        let offset = value.span().start;
        let expected = format!("a whole number from {min} to {max}");
        let DeValue::Integer(number) = value.get_ref() else {
            let found = value.get_ref().type_str();
            return Err(self.wrong(offset, &format!("{key}: expected {expected}, found {found}")));
        };
        let text = number.to_string();
        match text.parse::<i64>() {
            Ok(seconds) if (min..=max).contains(&seconds) => Ok(Duration::from_secs(seconds.unsigned_abs())),
            _ => Err(self.wrong(offset, &format!("{key}: {text} is not {expected}"))),
        }
    }

    fn end(&self) -> Result<(), Wrong> {
        match self.left.first() {
            None => Ok(()),
            Some((key, value)) => {
                let words = format!("{key}: there is no such setting of this kind of source");
                Err(self.wrong(value.span().start, &words))
            }
        }
    }
}
