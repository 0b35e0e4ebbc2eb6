//! The command line: words to settings, and settings to what is done.

use std::future::Future;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tidemark_domain::id::CpName;
use tidemark_domain::time::Timestamp;
use tidemark_server::commands::{self, CheckSource, Demo, Ended, Explain, Import, Serve};
use tidemark_server::config::{Config, Given, LogFormat, unknown_variables};
use tidemark_server::http::openapi;
use tidemark_server::run::HeldAt;
use tidemark_server::simulate::commands as simulate;
use tidemark_server::simulate::scenario::Telling;
use tidemark_server::simulate::wire::commands as wire;
use tidemark_server::tap::commands::{self as tap, Tap};
use tracing_subscriber::EnvFilter;

/// How far each configuration version has reached across the fleet, and which nodes it did not reach.
#[derive(Parser)]
#[command(name = "tidemark", version, propagate_version = true)]
struct CommandLine {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Settings {
    /// A file of settings (TOML).
    #[arg(long, global = true, env = "TIDEMARK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any setting, as `tidemark config` names it; may be repeated.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// The SQLite file.
    #[arg(long, global = true, value_name = "PATH")]
    database: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Serves pages, REST, live events and metrics.
    Serve {
        /// Where to listen; port 0 takes a free one.
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<String>,
        /// Bearer tokens; needed to listen on anything but loopback.
        #[arg(long, value_name = "FILE")]
        token_file: Option<String>,
        /// Hold the clock at this time, or at the last one recorded: to look at the past. Nothing is taken in.
        #[arg(long, value_name = "TIME|recorded", value_parser = held_at)]
        at: Option<HeldAt>,
    },
    /// Serves a simulated fleet with a week behind it, to look at. Its database is its own: a new one, which goes away
    /// with it, or the one of --database, which no demo may share with a real fleet.
    Demo {
        /// Where to listen; port 0 takes a free one.
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<String>,
        /// Bearer tokens; needed to listen on anything but loopback.
        #[arg(long, value_name = "FILE")]
        token_file: Option<String>,
        /// Seconds of the story in a second.
        #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
        speed: u32,
        /// Tell this scenario file instead of the demo's own story.
        #[arg(long, value_name = "FILE")]
        scenario: Option<PathBuf>,
    },
    /// Reads recorded Kong sessions into a database, or into a running server.
    Import {
        /// Send to this server instead.
        #[arg(long, value_name = "URL", conflicts_with = "database")]
        to: Option<String>,
        /// The control plane's name; else its cluster id, else the folder's name.
        #[arg(long, value_name = "NAME")]
        control_plane: Option<CpName>,
        /// Folders, .jsonl files, or - for standard input.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Prints the verdict of a node with its evidence.
    Explain {
        /// The moment; now if absent.
        #[arg(long, value_name = "TIME|recorded", value_parser = held_at)]
        at: Option<HeldAt>,
        /// The node's id, hostname or address, or CONTROL_PLANE/ID.
        node: String,
    },
    /// Asks a source of the settings once, and says what works and what does not.
    CheckSource {
        /// Its name.
        name: String,
    },
    /// Stands between data planes and their control plane, passes every byte on, and tells a server what it sees.
    Tap(Box<Tap>),
    /// Simulates fleets: stories for tests, drills and load.
    Simulate {
        #[command(subcommand)]
        what: Simulate,
    },
    /// Prints every setting with its reason, bound, value and origin.
    Config,
    /// Prints the description of the interface (OpenAPI 3.1).
    Openapi,
}

#[derive(Subcommand)]
enum Simulate {
    /// Tells scenarios in virtual time to a Tidemark of their own, and looks whether their claims hold.
    Check {
        /// Only the story, or only its twin.
        #[arg(long, value_name = "story|twin", value_parser = telling)]
        only: Option<Telling>,
        /// Another seed than the file's.
        #[arg(long, value_name = "NUMBER")]
        seed: Option<u64>,
        /// Scenario files (TOML).
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Tells a scenario to a running server over REST, as time passes.
    Run {
        /// The server; its token is read from TIDEMARK_TOKEN.
        #[arg(long, value_name = "URL")]
        to: String,
        /// Seconds of the story in a second.
        #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
        speed: u32,
        /// Tell the twin.
        #[arg(long)]
        twin: bool,
        /// Another seed than the file's.
        #[arg(long, value_name = "NUMBER")]
        seed: Option<u64>,
        /// A scenario file (TOML).
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Runs simulated data planes against a control plane, Kong's own or a simulated one.
    Nodes(Box<wire::Nodes>),
    /// Runs a simulated control plane for data planes, Kong's own or simulated ones.
    ControlPlane(Box<wire::ControlPlaneCommand>),
    /// Writes a throwaway cluster certificate for both.
    ClusterCert(wire::ClusterCert),
}

/// A setting is bad: the exit code that clap has for bad arguments.
const BAD_SETTING: u8 = 2;
/// Something of the input was damaged and left out.
const WITH_DAMAGE: u8 = 3;

fn main() -> ExitCode {
    let CommandLine { settings, command } = CommandLine::parse();
    let database = settings.database.clone().map(PathBuf::from);
    let (given, config) = match collect(settings, &command) {
        Ok(collected) => collected,
        Err(message) => return bad_setting(&message),
    };
    match command {
        Command::Config => print(&given.reference()),
        Command::Openapi => print(&format!("{}\n", openapi::text())),
        Command::Serve { at, .. } => match config.tokens() {
            Ok(tokens) => run(&config.clone(), commands::serve(Serve { config, tokens, at }, ready)),
            Err(message) => bad_setting(&message),
        },
        Command::Demo { speed, scenario, .. } => match config.tokens() {
            Ok(tokens) => {
                let demo = Demo { config: config.clone(), tokens, database, scenario, speed };
                run(&config, commands::demo(demo, ready))
            }
            Err(message) => bad_setting(&message),
        },
        Command::Import { to, control_plane, paths } => {
            run(&config.clone(), commands::import(Import { config, to, control_plane, paths }))
        }
        Command::Simulate { what: Simulate::Check { only, seed, files } } => {
            run(&config, simulate::check_files(simulate::Check { files, telling: only, seed }))
        }
        Command::Simulate { what: Simulate::Run { to, speed, twin, seed, file } } => {
            let telling = if twin { Telling::Twin } else { Telling::Story };
            run(&config, simulate::run(simulate::Run { file, telling, to, speed, seed }))
        }
        Command::Simulate { what: Simulate::Nodes(nodes) } => {
            run(&config, commands::until_stopped(|stopped| wire::nodes(*nodes, stopped)))
        }
        Command::Simulate { what: Simulate::ControlPlane(control_plane) } => run(
            &config,
            commands::until_stopped(|stopped| wire::control_plane(*control_plane, stopped, control_plane_ready)),
        ),
        Command::Simulate { what: Simulate::ClusterCert(asked) } => {
            run(&config, async move { wire::cluster_cert(&asked) })
        }
        Command::CheckSource { name } => run(&config.clone(), commands::check_source(CheckSource { config, name })),
        Command::Tap(tap) => run(&config, commands::until_stopped(|stopped| tap::tap(*tap, stopped, tap_ready))),
        Command::Explain { at, node } => run(&config.clone(), async {
            print(&commands::explain(Explain { config, at, node }).await?);
            Ok(Ended::Well)
        }),
    }
}

fn bad_setting(message: &str) -> ExitCode {
    eprintln!("tidemark: {message}");
    ExitCode::from(BAD_SETTING)
}

/// The one line that whoever waits for the server reads; they may have gone away since.
fn ready(address: SocketAddr) {
    let _ = writeln!(std::io::stdout(), "Tidemark is ready on http://{address}");
}

/// The same of a tap.
fn tap_ready(address: SocketAddr) {
    let _ = writeln!(std::io::stdout(), "The tap is ready for data planes on {address}");
}

/// The same of a simulated control plane.
fn control_plane_ready(address: SocketAddr, admin: Option<SocketAddr>) {
    let admin = admin.map_or(String::new(), |admin| format!(", and as the Admin API on http://{admin}"));
    let _ = writeln!(std::io::stdout(), "A simulated control plane is ready for nodes on {address}{admin}");
}

/// Settings of all origins, in their order.
fn collect(settings: Settings, command: &Command) -> Result<(Given, Config), String> {
    let mut command_line = settings.set;
    let mut named = |key: &str, value: &Option<String>| {
        command_line.extend(value.iter().map(|value| (key.to_owned(), value.clone())));
    };
    named("database", &settings.database);
    if let Command::Serve { listen, token_file, .. } | Command::Demo { listen, token_file, .. } = command {
        named("listen", listen);
        named("token_file", token_file);
    }
    let environment = |variable: &str| std::env::var_os(variable).map(|value| value.to_string_lossy().into_owned());
    let given = Given::collect(&command_line, &environment, settings.config.as_deref());
    let given = given.map_err(|bad| bad.to_string())?;
    let config = given.parse().map_err(|bad| bad.to_string())?;
    Ok((given, config))
}

fn run(config: &Config, work: impl Future<Output = anyhow::Result<Ended>>) -> ExitCode {
    log(config);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(work) {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::WithDamage) => ExitCode::from(WITH_DAMAGE),
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("tidemark: {error:#}");
    ExitCode::FAILURE
}

/// Prints, and is content when the reader (`| head`) has seen enough.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => failed(&error.into()),
    }
}

/// The log goes to standard error: standard output is for answers.
fn log(config: &Config) {
    // What strays into a lookup would be a line each there; what came of a lookup is said by its source.
    let filter = EnvFilter::new(format!("hickory_net=error,hickory_resolver=error,{}", config.log_filter));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in unknown_variables(names) {
        tracing::warn!("{name} is set, and is no setting; `tidemark config` lists them");
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("expected KEY=VALUE".to_owned()),
    }
}

fn telling(text: &str) -> Result<Telling, String> {
    [Telling::Story, Telling::Twin]
        .into_iter()
        .find(|telling| telling.word() == text)
        .ok_or_else(|| "expected story or twin".to_owned())
}

fn held_at(text: &str) -> Result<HeldAt, String> {
    let expected = "expected a time as RFC 3339, as in 2026-11-20T08:53:57Z, or recorded";
    match text {
        "recorded" => Ok(HeldAt::Recorded),
        _ => Timestamp::parse(text).map(HeldAt::Moment).ok_or_else(|| expected.to_owned()),
    }
}
