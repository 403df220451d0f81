//! The regions of Squadcast that the operator knows: two built in, others from `--region`. Pure.

use std::collections::BTreeMap;

use reqwest::Url;

/// What is appended to a region's `AUTH_URL`.
const EXCHANGE_PATH: &str = "/oauth/access-token";

/// Where refresh tokens of one region are exchanged, and where the access tokens are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// What `spec.region` calls it.
    pub name: String,
    /// The whole URL of the exchange.
    pub exchange_url: String,
    /// The base of the API, without a slash at its end: `api_url` of templates.
    pub api_url: String,
    /// Host, and port where it is not the usual one, of the exchange URL: for messages.
    pub host: String,
}

/// Why a `NAME=AUTH_URL[,API_URL]` is refused; names neither URL, since they may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {problem}")]
pub struct InvalidRegion {
    what: String,
    problem: &'static str,
}

impl Region {
    /// Reads `NAME=AUTH_URL[,API_URL]`. `AUTH_URL` may hold a path; `http://` is refused unless it is allowed.
    ///
    /// Where there is no API URL, it is taken to be the origin of the auth URL, with `api.` in place of
    /// `auth.` at its start, as Squadcast names its hosts.
    pub fn parse(text: &str, allow_http: bool) -> Result<Self, InvalidRegion> {
        Self::read(text, allow_http).map(|(region, _)| region)
    }

    /// The region, and whether its API URL was given.
    fn read(text: &str, allow_http: bool) -> Result<(Self, bool), InvalidRegion> {
        let refuse = |what: String, problem| Err(InvalidRegion { what, problem });
        let Some((name, urls)) = text.split_once('=') else {
            return refuse("the value".to_owned(), "there is no \"=\" in it; write NAME=AUTH_URL[,API_URL]");
        };
        let name = name.trim();
        if !is_name(name) {
            let what = if is_harmless(name) { format!("\"{name}\"") } else { "the value".to_owned() };
            return refuse(
                what,
                "what comes before \"=\" is no name of a region; write 1 to 32 lower-case letters, digits and inner hyphens",
            );
        }
        let (auth, api) = match urls.split_once(',') {
            Some((auth, api)) => (auth.trim(), Some(api.trim())),
            None => (urls.trim(), None),
        };
        let auth_url = match base(auth) {
            Ok(url) => url,
            Err(problem) => return refuse(format!("the auth URL of \"{name}\""), problem),
        };
        let problem = if auth_url.scheme() == "http" && !allow_http {
            Some(
                "http:// would send refresh tokens in the clear; use https://, or allow it with --insecure-allow-http",
            )
        } else if auth_url.path().trim_end_matches('/').ends_with(EXCHANGE_PATH) {
            Some("leave out /oauth/access-token, it is appended")
        } else {
            None
        };
        if let Some(problem) = problem {
            return refuse(format!("the auth URL of \"{name}\""), problem);
        }
        let api_url = match api.map(base).transpose() {
            Ok(url) => url,
            Err(problem) => return refuse(format!("the API URL of \"{name}\""), problem),
        };
        let given = api_url.is_some();
        let region = Self {
            name: name.to_owned(),
            exchange_url: format!("{}{EXCHANGE_PATH}", without_slash(&auth_url)),
            api_url: api_url.as_ref().map_or_else(|| api_of(&auth_url), without_slash),
            host: host(&auth_url),
        };
        Ok((region, given))
    }

    fn built_in(name: &str, auth_host: &str, api_host: &str) -> Self {
        Self {
            name: name.to_owned(),
            exchange_url: format!("https://{auth_host}{EXCHANGE_PATH}"),
            api_url: format!("https://{api_host}"),
            host: auth_host.to_owned(),
        }
    }
}

/// All regions that the operator knows, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions(BTreeMap<String, Region>);

impl Default for Regions {
    /// The regions that Squadcast has: `us` and `eu`.
    fn default() -> Self {
        let all = [
            Region::built_in("us", "auth.squadcast.com", "api.squadcast.com"),
            Region::built_in("eu", "auth.eu.squadcast.com", "api.eu.squadcast.com"),
        ];
        Self(all.into_iter().map(|region| (region.name.clone(), region)).collect())
    }
}

impl Regions {
    /// Adds or overrides a region; see [`Region::parse`]. One that overrides another and gives no API URL keeps
    /// the other's.
    pub fn add(&mut self, text: &str, allow_http: bool) -> Result<(), InvalidRegion> {
        let (mut region, api_given) = Region::read(text, allow_http)?;
        if let (false, Some(known)) = (api_given, self.0.get(&region.name)) {
            region.api_url.clone_from(&known.api_url);
        }
        self.0.insert(region.name.clone(), region);
        Ok(())
    }

    /// The region of this name.
    pub fn get(&self, name: &str) -> Option<&Region> {
        self.0.get(name)
    }

    /// The names of all regions, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// `^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`, as the resource's schema has it.
fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// Nothing that could be a part of a URL.
fn is_harmless(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn base(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "it is no URL; write https://HOST[:PORT][/PATH]")?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err("the scheme is not supported; use https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("user information is not supported; leave out what is before the \"@\"");
    }
    if url.query().is_some() {
        return Err("a query is not supported; leave out the \"?\" and what follows it");
    }
    if url.fragment().is_some() {
        return Err("a fragment is not supported; leave out the \"#\" and what follows it");
    }
    Ok(url)
}

fn without_slash(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn api_of(auth_url: &Url) -> String {
    let host = host(auth_url);
    let host = host.strip_prefix("auth.").map_or_else(|| host.clone(), |rest| format!("api.{rest}"));
    format!("{}://{host}", auth_url.scheme())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(text: &str, exchange_url: &str, api_url: &str) {
        let region = Region::parse(text, false).unwrap();
        assert_eq!(
            (region.exchange_url.as_str(), region.api_url.as_str()),
            (exchange_url, api_url),
            "{text}"
        );
    }

    fn rejects(text: &str, why: &str) {
        let error = Region::parse(text, false).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
        for secret in ["alice", "hunter2", "\n"] {
            assert!(!error.contains(secret), "{text}: {error}");
        }
    }

    #[test]
    fn built_in_regions() {
        let regions = Regions::default();
        assert_eq!(regions.names().collect::<Vec<_>>(), ["eu", "us"]);
        let us = regions.get("us").unwrap();
        assert_eq!(us, &Region::parse("us=https://auth.squadcast.com", false).unwrap());
        let eu = regions.get("eu").unwrap();
        assert_eq!(eu, &Region::parse("eu=https://auth.eu.squadcast.com/", false).unwrap());
        assert_eq!(regions.get("in"), None);
    }

    #[test]
    fn what_a_region_may_look_like() {
        let exchange = "https://auth.in.squadcast.com/oauth/access-token";
        accepts("in=https://auth.in.squadcast.com", exchange, "https://api.in.squadcast.com");
        accepts("in=https://auth.in.squadcast.com/", exchange, "https://api.in.squadcast.com");
        accepts(
            "tf=https://api.squadcast.com/v3",
            "https://api.squadcast.com/v3/oauth/access-token",
            "https://api.squadcast.com",
        );
        accepts(
            "a-1=https://gate.corp:8443/squadcast//,https://gate.corp:8443/api/",
            "https://gate.corp:8443/squadcast/oauth/access-token",
            "https://gate.corp:8443/api",
        );
        accepts("x=https://[::1]:9", "https://[::1]:9/oauth/access-token", "https://[::1]:9");
        let longest = "a".repeat(32);
        accepts(&format!("{longest}=https://a.b"), "https://a.b/oauth/access-token", "https://a.b");
    }

    #[test]
    fn what_is_no_region() {
        rejects("https://alice:hunter2@a.b", "no \"=\"");
        rejects("https://alice:hunter2@a.b?x=1", "the value: what comes before");
        rejects("=https://a.b", "the value: what comes before");
        rejects("US=https://a.b", "\"US\": what comes before");
        rejects("-a=https://a.b", "\"-a\": what comes before");
        rejects("a-=https://a.b", "\"a-\": what comes before");
        rejects(&format!("{}=https://a.b", "a".repeat(33)), "1 to 32");
        rejects("a=", "auth URL of \"a\": it is no URL");
        rejects("a=a.b", "auth URL of \"a\": it is no URL");
        rejects("a=https://alice:hunter2@", "auth URL of \"a\": it is no URL");
        rejects("a=https://alice:hunter2@a.b", "auth URL of \"a\": user information");
        rejects("a=https://alice@a.b", "auth URL of \"a\": user information");
        rejects("a=https://a.b?x", "auth URL of \"a\": a query");
        rejects("a=https://a.b/#x", "auth URL of \"a\": a fragment");
        rejects("a=ftp://a.b", "auth URL of \"a\": the scheme");
        rejects("a=http://a.b", "--insecure-allow-http");
        rejects("a=https://a.b/oauth/access-token/", "it is appended");
        rejects("a=https://a.b,", "API URL of \"a\": it is no URL");
        rejects("a=https://a.b,https://alice:hunter2@a.b", "API URL of \"a\": user information");
    }

    #[test]
    fn http_where_it_is_allowed() {
        let region = Region::parse("a=http://127.0.0.1:8080", true).unwrap();
        assert_eq!(region.exchange_url, "http://127.0.0.1:8080/oauth/access-token");
        assert_eq!(region.host, "127.0.0.1:8080");
    }

    #[test]
    fn an_override_keeps_the_api_url() {
        let mut regions = Regions::default();
        regions.add("eu=https://gate.corp/eu", false).unwrap();
        let eu = regions.get("eu").unwrap();
        assert_eq!(eu.exchange_url, "https://gate.corp/eu/oauth/access-token");
        assert_eq!(eu.api_url, "https://api.eu.squadcast.com");
        regions.add("eu=https://gate.corp/eu,https://gate.corp/api", false).unwrap();
        assert_eq!(regions.get("eu").unwrap().api_url, "https://gate.corp/api");
        assert!(regions.add("eu=", false).is_err());
    }
}
