//! `check`: one exchange from here, told in words, with the reason that a resource would show.

use std::{
    io::{Read as _, Write as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use zeroize::Zeroizing;

use self::told::{Told, Way};
use super::{
    CheckArgs, CheckOutput, FAILURE, Stop, cannot_print, no_client, runtime,
    usage::{Usage, variable},
};
use crate::squadcast::{Client, Grant, RefreshToken, Region, Regions};

mod told;

/// Exchanges of `--probe`, and the seconds between them.
const PROBES: usize = 3;
const BETWEEN: Duration = Duration::from_secs(6);
/// More than any refresh token; a larger file is none.
const MAX_FILE: u64 = 64 * 1024;

/// Makes the check.
pub(super) fn check(args: &CheckArgs) -> Result<ExitCode, Stop> {
    let regions = known_regions(args)?;
    let name = args.region.split('=').next().unwrap_or_default();
    let region = regions.get(name).ok_or_else(|| {
        let known: Vec<&str> = regions.names().collect();
        let problem =
            format!("\"{name}\" is not known; write {}, or NAME=AUTH_URL[,API_URL]", known.join(" or "));
        Usage::of("--region", problem)
    })?;
    let settings = args.squadcast.settings()?;
    let proxy = settings.proxies.of(&region.exchange_url);
    let client = Client::new(settings).map_err(|e| no_client(&e))?;
    let (from, token) = read_token(args.refresh_token_file.as_deref())?;
    let way = Way::new(region, proxy, from);
    print(args.output, &way.lines())?;
    let told = match token {
        Ok(token) => runtime()?.block_on(exchanges(args, &client, region, &token, &way))?,
        Err(why) => {
            let told = way.unsent(why);
            print(args.output, &told.lines())?;
            told
        }
    };
    print(args.output, &told.findings())?;
    if args.output == CheckOutput::Json {
        let json = serde_json::to_string_pretty(&told)
            .map_err(|e| Stop::Failure(format!("cannot write JSON: {e}")))?;
        print(CheckOutput::Text, &[json])?;
    }
    Ok(if told.is_success() { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) })
}

/// The regions built in, those that the environment gives to an operator beside it, and the one of the flag.
fn known_regions(args: &CheckArgs) -> Result<Regions, Usage> {
    let allow_http = args.squadcast.insecure_allow_http;
    let variable = variable("--region");
    let mut known = Regions::default();
    for text in std::env::var(&variable).unwrap_or_default().split_whitespace() {
        known.add(text, allow_http).map_err(|e| Usage::of(&variable, e.to_string()))?;
    }
    // A URL without a name is read as a region too: what it is refused with does not repeat it.
    if !args.region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        known.add(&args.region, allow_http).map_err(|e| Usage::of("--region", e.to_string()))?;
    }
    Ok(known)
}

/// Where the refresh token is from, a file, standard input or the environment, and what is there.
fn read_token(file: Option<&Path>) -> Result<(String, Result<RefreshToken, String>), Stop> {
    let (from, value) = match file {
        Some(path) if path == Path::new("-") => {
            ("standard input".to_owned(), read_all(std::io::stdin().lock(), "standard input")?)
        }
        Some(path) => {
            let from = path.display().to_string();
            let file = std::fs::File::open(path).map_err(|e| cannot_read(&from, &e))?;
            let value = read_all(file, &from)?;
            (from, value)
        }
        None => {
            let value = std::env::var_os("SQUADCAST_REFRESH_TOKEN").filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| {
                Usage::of(
                    "--refresh-token-file",
                    "there is no refresh token; name a file that holds it, - for standard input, or set SQUADCAST_REFRESH_TOKEN",
                )
            })?;
            ("SQUADCAST_REFRESH_TOKEN".to_owned(), Zeroizing::new(value.into_encoded_bytes()))
        }
    };
    let token = RefreshToken::parse(&value).map_err(|error| {
        format!("the refresh token from \"{from}\" {error}: take it as Squadcast's web application shows it")
    });
    Ok((from, token))
}

fn cannot_read(from: &str, error: &std::io::Error) -> Usage {
    Usage::of(
        "--refresh-token-file",
        format!("cannot read \"{from}\" ({error}); name a file that can be read, or - for standard input"),
    )
}

fn read_all(reader: impl std::io::Read, from: &str) -> Result<Zeroizing<Vec<u8>>, Stop> {
    let mut value = Zeroizing::new(Vec::new());
    reader.take(MAX_FILE).read_to_end(&mut value).map_err(|e| cannot_read(from, &e))?;
    Ok(value)
}

/// Makes one exchange, or those of a probe; tells each, and answers with what the last one told.
async fn exchanges(
    args: &CheckArgs,
    client: &Client,
    region: &Region,
    token: &RefreshToken,
    way: &Way,
) -> Result<Told, Stop> {
    let mut grants: Vec<Grant> = Vec::new();
    loop {
        // A token that has been replaced is not sent again: that might end the new one.
        let current = grants.iter().rev().find_map(|g| g.rotated.as_ref()).unwrap_or(token);
        let exchanged = client.exchange(region, current).await;
        let told = match &exchanged {
            Ok(grant) => way.clone().granted(grant, current),
            Err(failure) => way.clone().refused(failure),
        };
        print(args.output, &told.lines())?;
        let Ok(grant) = exchanged else { return Ok(told) };
        grants.push(grant);
        if !args.probe {
            return Ok(told);
        }
        if grants.len() == PROBES {
            return Ok(told.with_findings(&grants));
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

/// Lines for people, which programs do not get.
fn print(output: CheckOutput, lines: &[String]) -> Result<(), Stop> {
    if output == CheckOutput::Json {
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{line}")).map_err(|e| cannot_print(&e))
}
