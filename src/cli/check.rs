//! `check`: one exchange from here, told in words, with the reason that a resource would show.

use std::{
    io::{Read as _, Write as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{CheckArgs, FAILURE, Stop, cannot_print, no_client, regions, runtime, usage::Usage};
use crate::{
    api::Reason,
    schedule::{self, Life, RenewalPolicy},
    squadcast::{Client, Failure, Grant, Proxies, RefreshToken, Region, Regions, Settings},
};

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
    let proxies = Proxies::from_env().map_err(|e| Stop::Failure(e.to_string()))?;
    let proxy = proxies.of(&region.exchange_url);
    let settings = Settings {
        timeout: args.squadcast.exchange_timeout.as_std(),
        ca_file: args.squadcast.ca_file.clone(),
        proxies,
    };
    let client = Client::new(settings).map_err(|e| no_client(&e))?;
    let token = match read_token(args.refresh_token_file.as_deref())? {
        Ok(token) => token,
        Err(why) => {
            print(&[line("reason", Reason::RefreshTokenInvalid.as_str()), line("message", &why)])?;
            return Ok(ExitCode::from(FAILURE));
        }
    };
    let mut lines = vec![line("region", &region.name), line("asked", &region.exchange_url)];
    if let Some(proxy) = proxy {
        lines.push(line("proxy", &proxy));
    }
    print(&lines)?;
    runtime()?.block_on(exchanges(args.probe, &client, region, &token))
}

fn known_regions(args: &CheckArgs) -> Result<Regions, Usage> {
    // A URL without a name is read as a region too: what it is refused with does not repeat it.
    if !args.region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return regions(std::slice::from_ref(&args.region), args.squadcast.insecure_allow_http);
    }
    regions(&[], args.squadcast.insecure_allow_http)
}

/// The refresh token from a file, standard input or the environment; `Ok(Err(…))` where it is none.
fn read_token(file: Option<&Path>) -> Result<Result<RefreshToken, String>, Stop> {
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
    Ok(RefreshToken::parse(&value).map_err(|error| {
        format!("the refresh token from \"{from}\" {error}: take it as Squadcast's web application shows it")
    }))
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

async fn exchanges(
    probe: bool,
    client: &Client,
    region: &Region,
    token: &RefreshToken,
) -> Result<ExitCode, Stop> {
    let mut grants: Vec<Grant> = Vec::new();
    for number in 1..=if probe { PROBES } else { 1 } {
        if number > 1 {
            tokio::time::sleep(BETWEEN).await;
        }
        // A token that has been replaced is not sent again: that might end the new one.
        let current = grants.iter().rev().find_map(|g| g.rotated.as_ref()).unwrap_or(token);
        match client.exchange(region, current).await {
            Ok(grant) => {
                print(&success(&grant, region, current))?;
                grants.push(grant);
            }
            Err(failure) => {
                print(&refusal(&failure))?;
                return Ok(ExitCode::from(FAILURE));
            }
        }
    }
    if probe {
        print(&findings(&grants))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(what: &str, value: &str) -> String {
    format!("{what:<9} {value}")
}

fn success(grant: &Grant, region: &Region, token: &RefreshToken) -> Vec<String> {
    let now = grant.received_at;
    let mut lines = vec![
        line("reason", Reason::TokenValid.as_str()),
        line("message", "Squadcast answered with a valid access token"),
    ];
    let at = |second: i64| Timestamp::from_second(second.saturating_sub(grant.skew)).ok();
    if let (Some(issued), Some(expires)) = (at(grant.issued_at), at(grant.expires_at)) {
        let renewal = schedule::renewal(
            Life { issued, expires },
            RenewalPolicy::TwoThirds,
            token.fingerprint(&region.name),
        );
        lines.push(line("issued", &issued.to_string()));
        lines.push(line("expires", &format!("{expires} (in {} s)", schedule::seconds_between(now, expires))));
        lines.push(line("renews", &renewal.at.to_string()));
    }
    if grant.skew != 0 {
        let side = if grant.skew > 0 { "ahead of" } else { "behind" };
        let seconds = grant.skew.unsigned_abs();
        lines.push(line("clock", &format!("Squadcast's is {seconds} s {side} this machine's")));
    }
    if grant.rotated.is_some() {
        lines.push(line(
            "rotation",
            "the answer holds another refresh token than the one sent, which is not shown or stored here: see spec.refreshTokenRotation",
        ));
    }
    lines
}

fn refusal(failure: &Failure) -> Vec<String> {
    let mut lines = vec![line("reason", failure.reason.as_str()), line("message", &failure.message)];
    if let Some(wait) = failure.retry_after {
        lines.push(line("wait", &format!("Squadcast asks for {} s", wait.as_secs())));
    }
    lines
}

fn findings(grants: &[Grant]) -> Vec<String> {
    let pairs = || grants.iter().zip(grants.iter().skip(1));
    let yes = |holds: bool| if holds { "yes" } else { "no" };
    vec![
        String::new(),
        format!("access token repeated: {}", yes(pairs().any(|(a, b)| a.access_token == b.access_token))),
        format!(
            "life restarted by each exchange: {}",
            yes(pairs().all(|(a, b)| b.expires_at > a.expires_at))
        ),
        format!("refresh token changed: {}", yes(grants.iter().any(|g| g.rotated.is_some()))),
    ]
}

fn print(lines: &[String]) -> Result<(), Stop> {
    let mut out = std::io::stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{line}")).map_err(|e| cannot_print(&e))
}
