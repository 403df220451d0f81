//! The command line: `run`, `crd`, `check`. Reads arguments and the environment, and nothing else here does.

#![allow(clippy::doc_markdown, reason = "--help shows these texts as they are: backticks would be noise")]

mod check;
mod dns;
mod run;
mod selector;
mod usage;
mod values;

use std::{ffi::OsString, io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, builder::Resettable, error::ErrorKind};

use self::usage::Usage;
use crate::{
    api::{self, SpecDuration},
    ops::{http::Listen, memory, telemetry::LogFormat},
    squadcast::{ClientError, Proxies, Regions, Settings},
};

/// Exit code of a failure, as of a `check` that gets no token.
const FAILURE: u8 = 1;
/// Exit code of a command line that makes no sense.
const USAGE: u8 = 2;

/// Keeps valid Squadcast access tokens in Kubernetes Secrets.
#[derive(Parser)]
#[command(
    name = "squadcast-operator",
    version,
    about,
    propagate_version = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Watch SquadcastCredential resources and keep their Secrets.
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinition as YAML.
    Crd,
    /// Make one exchange from here and print what a resource would report; never prints a token.
    ///
    /// The exit code is 0 where a token came, 1 where none did, 2 where the command line makes no sense.
    Check(CheckArgs),
}

/// What `run` takes. Each flag can be given as an environment variable; flags win, and an empty variable counts
/// as one that is not set.
#[derive(Args)]
pub(crate) struct RunArgs {
    /// Namespaces to watch, separated by commas [default: all].
    #[arg(long, value_name = "A,B", env = "SQUADCAST_OPERATOR_NAMESPACES", value_delimiter = ',', value_parser = values::namespace)]
    namespaces: Vec<String>,
    /// A region to add or override; may be repeated, in the environment separated by white space. The API URL
    /// is what templates call api_url.
    #[arg(long = "region", value_name = "NAME=AUTH_URL[,API_URL]", env = "SQUADCAST_OPERATOR_REGION")]
    regions: Vec<String>,
    #[command(flatten)]
    squadcast: SquadcastArgs,
    /// Address that serves /livez, /readyz and /metrics [default: [::]:8080, else 0.0.0.0:8080].
    #[arg(long, value_name = "ADDR", env = "SQUADCAST_OPERATOR_LISTEN")]
    listen: Option<Listen>,
    /// Read refresh tokens only from Secrets with the label credentials.squadcast.com/refresh-token: "true", and
    /// watch only these and those labelled app.kubernetes.io/managed-by: squadcast-operator. Any other target, as
    /// of creationPolicy Merge, is read by its name at each reconcile and looked at again every 10 minutes.
    #[arg(long, env = "SQUADCAST_OPERATOR_REQUIRE_SOURCE_LABEL")]
    require_source_label: bool,
    /// Work only while holding a Lease, so that of several replicas one works.
    #[arg(long, env = "SQUADCAST_OPERATOR_LEADER_ELECTION")]
    leader_election: bool,
    /// Namespace of the Lease [default: the Pod's].
    #[arg(long, value_name = "NAMESPACE", env = "SQUADCAST_OPERATOR_LEADER_ELECTION_NAMESPACE", value_parser = values::namespace)]
    leader_election_namespace: Option<String>,
    /// Name of the Lease.
    #[arg(
        long,
        value_name = "NAME",
        env = "SQUADCAST_OPERATOR_LEADER_ELECTION_NAME",
        value_parser = values::lease,
        default_value = "squadcast-operator"
    )]
    leader_election_name: String,
    /// Label selector: manage only resources that match, so that several releases can share a cluster.
    #[arg(long, value_name = "LABELS", env = "SQUADCAST_OPERATOR_SELECTOR")]
    selector: Option<String>,
    /// Reconciles at work at once.
    #[arg(long, value_name = "N", env = "SQUADCAST_OPERATOR_CONCURRENCY", default_value_t = 32, value_parser = values::count)]
    concurrency: u16,
    /// Exchanges a second, per region.
    #[arg(long, value_name = "N", env = "SQUADCAST_OPERATOR_EXCHANGE_RATE", default_value_t = 10, value_parser = values::count)]
    exchange_rate: u16,
    /// Exchanges in flight, per region.
    #[arg(long, value_name = "N", env = "SQUADCAST_OPERATOR_EXCHANGE_CONCURRENCY", default_value_t = 8, value_parser = values::count)]
    exchange_concurrency: u16,
    /// How to write the log.
    #[arg(long, value_name = "FORMAT", env = "SQUADCAST_OPERATOR_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
    /// What to log: a level, or TARGET=LEVEL, separated by commas.
    #[arg(long, value_name = "DIRECTIVES", env = "SQUADCAST_OPERATOR_LOG_FILTER", default_value = "info")]
    log_filter: String,
}

/// How to reach Squadcast: the same for `run` and `check`.
#[derive(Args)]
pub(crate) struct SquadcastArgs {
    /// Accept auth URLs that begin with http://. Refresh tokens then travel unencrypted.
    #[arg(long, env = "SQUADCAST_OPERATOR_INSECURE_ALLOW_HTTP")]
    insecure_allow_http: bool,
    /// PEM file of certificate authorities to trust besides the platform's; read again when it changes.
    #[arg(long, value_name = "PEM", env = "SQUADCAST_OPERATOR_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// Longest time for a whole exchange, from 1s to 10m.
    #[arg(
        long,
        value_name = "DURATION",
        env = "SQUADCAST_OPERATOR_EXCHANGE_TIMEOUT",
        default_value = "15s",
        value_parser = values::exchange_timeout
    )]
    exchange_timeout: SpecDuration,
}

/// What `check` takes.
#[derive(Args)]
pub(crate) struct CheckArgs {
    /// us, eu, one that SQUADCAST_OPERATOR_REGION adds, or a region as NAME=AUTH_URL[,API_URL].
    #[arg(long, value_name = "REGION")]
    region: String,
    /// File that holds the refresh token; - for standard input [default: SQUADCAST_REFRESH_TOKEN].
    #[arg(long, value_name = "FILE")]
    refresh_token_file: Option<PathBuf>,
    /// Make three exchanges 6 s apart, and tell how Squadcast treats repeated ones.
    #[arg(long)]
    probe: bool,
    /// How to print it.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: CheckOutput,
    #[command(flatten)]
    squadcast: SquadcastArgs,
}

/// The form of what `check` tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CheckOutput {
    /// For people, a line a fact, as soon as it is known.
    #[default]
    Text,
    /// For programs: one object, at the end.
    Json,
}

/// Why a command ended without doing its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// The command line makes no sense.
    #[error(transparent)]
    Usage(#[from] Usage),
    /// The process cannot work where it is.
    #[error("{0}")]
    Failure(String),
}

/// Runs the program; what it returns is the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed = command().try_get_matches_from(&arguments).and_then(|m| Cli::from_arg_matches(&m));
    let ended = match parsed {
        Ok(cli) => execute(cli),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            error.print().map(|()| ExitCode::SUCCESS).map_err(|e| cannot_print(&e))
        }
        Err(error) => Err(Usage::from(&error).into()),
    };
    match ended {
        Ok(code) => code,
        Err(Stop::Usage(usage)) => complain(
            &usage.naming_variables(&arguments, |variable| usage::is_set(variable.as_ref())).to_string(),
            USAGE,
        ),
        Err(Stop::Failure(why)) => complain(&why, FAILURE),
    }
}

/// The flags as they are declared, but for what the environment says of them.
fn command() -> clap::Command {
    Cli::command().mut_subcommands(|command| {
        command.mut_args(|arg| {
            // A value may hold what is not for the screen.
            let arg = arg.hide_env_values(true);
            match arg.get_env().and_then(std::env::var_os) {
                Some(value) if value.is_empty() => arg.env(Resettable::Reset),
                _ => arg,
            }
        })
    })
}

fn execute(cli: Cli) -> Result<ExitCode, Stop> {
    // Before anything that may open a connection: building a client panics without a provider.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return Err(Stop::Failure("TLS was set up twice".to_owned()));
    }
    // Before there is a token in memory. Where the system refuses it, tokens are as safe as in any other program.
    if let Err(error) = memory::keep_private() {
        complain(&format!("cannot keep the memory out of core dumps: {error}; going on without"), 0);
    }
    match cli.command {
        Command::Run(args) => run::run(*args),
        Command::Crd => print_crd(),
        Command::Check(args) => check::check(&args),
    }
}

fn cannot_print(error: &std::io::Error) -> Stop {
    Stop::Failure(format!("cannot write to standard output: {error}"))
}

fn complain(why: &str, code: u8) -> ExitCode {
    // One line, whatever it repeats.
    let line = why.split(char::is_control).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "squadcast-operator: {line}");
    ExitCode::from(code)
}

fn print_crd() -> Result<ExitCode, Stop> {
    let yaml =
        serde_saphyr::to_string(api::crd()).map_err(|e| Stop::Failure(format!("cannot write YAML: {e}")))?;
    std::io::stdout().write_all(yaml.as_bytes()).map_err(|e| cannot_print(&e))?;
    Ok(ExitCode::SUCCESS)
}

/// The regions built in and those of the command line.
fn regions(extra: &[String], allow_http: bool) -> Result<Regions, Usage> {
    let mut regions = Regions::default();
    for text in extra.iter().flat_map(|text| text.split_whitespace()) {
        regions.add(text, allow_http).map_err(|e| Usage::of("--region", e.to_string()))?;
    }
    Ok(regions)
}

impl SquadcastArgs {
    /// What a client for Squadcast is built from: these flags, and the proxies of the environment.
    fn settings(&self) -> Result<Settings, Stop> {
        Ok(Settings {
            timeout: self.exchange_timeout.as_std(),
            ca_file: self.ca_file.clone(),
            proxies: Proxies::from_env().map_err(|e| Stop::Failure(e.to_string()))?,
        })
    }
}

/// A client for Squadcast cannot be built: for its certificates, which a flag names, or for what is around it.
fn no_client(error: &ClientError) -> Stop {
    match error {
        ClientError::CaFile(_) => {
            Usage::of("--ca-file", format!("{error}; name a PEM file of certificates")).into()
        }
        _ => Stop::Failure(error.to_string()),
    }
}

/// A single-threaded runtime: measured to cost less than several workers, at the same speed.
fn runtime() -> Result<tokio::runtime::Runtime, Stop> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Stop::Failure(format!("cannot start the runtime: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_run_has_its_environment_variable() {
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        for arg in run.get_arguments().filter(|a| !matches!(a.get_id().as_str(), "help" | "version")) {
            let flag = arg.get_long().unwrap();
            let env = arg.get_env().unwrap().to_str().unwrap();
            assert_eq!(env, usage::variable(flag));
        }
    }
}
