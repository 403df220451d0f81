//! What an exchange without an answer means, in plain words. Pure.

use std::error::Error;
use std::io;
use std::time::Duration;

use rustls::CertificateError;

use super::plain;
use crate::api::Reason;
use crate::redact::clean;
use crate::squadcast::Region;

/// The whole exchange took too long.
pub(super) fn timeout(after: Duration, region: &Region, proxy: Option<&str>) -> (Reason, String) {
    let message = format!("no answer from {}{} within {after:?}", region.host, through(proxy));
    (Reason::Timeout, message)
}

/// What went wrong with the connection. The message is the same each time, and holds no URL.
pub(super) fn explain(error: &reqwest::Error, region: &Region, proxy: Option<&str>) -> (Reason, String) {
    let host = &region.host;
    let through = through(proxy);
    if error.is_timeout() {
        let what = if error.is_connect() { "no connection to" } else { "no answer from" };
        return (Reason::Timeout, format!("{what} {host}{through} in time"));
    }
    if causes(error).any(is_not_http) {
        let message = format!(
            "the answer of {host}{through} is not HTTP. This is usually not Squadcast but a proxy \
             or a firewall in its place. Check the auth URL of region \"{}\".",
            region.name
        );
        return (Reason::InvalidResponse, message);
    }
    let what = if error.is_dns() {
        format!("the name of {} cannot be resolved", proxy.unwrap_or(host))
    } else if error.is_connect() {
        format!("no connection to {host}{through}")
    } else {
        format!("the connection to {host}{through} was lost")
    };
    (Reason::ConnectionFailed, format!("{what}: {}", cause(error)))
}

fn through(proxy: Option<&str>) -> String {
    proxy.map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default()
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

fn is_not_http(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
}

/// The innermost cause.
fn cause(error: &reqwest::Error) -> String {
    if let Some(tls) = causes(error).find_map(tls_error) {
        return tls_cause(tls);
    }
    let innermost = causes(error).last().unwrap_or(error);
    clean(&innermost.downcast_ref::<io::Error>().map_or_else(|| innermost.to_string(), plain), &[])
}

/// TLS errors come in I/O errors, even one in another, which do not tell of them as their sources.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().and_then(|inner| tls_error(inner)),
        None => error.downcast_ref(),
    }
}

/// Library messages name the time and so are never the same twice.
fn tls_cause(error: &rustls::Error) -> String {
    use CertificateError as E;
    let rustls::Error::InvalidCertificate(error) = error else {
        return format!("TLS failed: {}", clean(&error.to_string(), &[]));
    };
    let what = match error {
        E::Expired | E::ExpiredContext { .. } => {
            "has expired; check the clock of the node or machine that asked, too"
        }
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "is not valid yet; check the clock of the node or machine that asked"
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            "is for another name; something else answers in its place, or the auth URL is wrong"
        }
        E::UnknownIssuer => {
            "is not signed by an authority that is trusted here; where a proxy that inspects TLS is meant to \
             be there, give its authority with --ca-file"
        }
        E::Revoked => "is revoked",
        E::BadEncoding => "cannot be read",
        _ => "is not accepted",
    };
    format!("the server's certificate {what}")
}
