//! Which proxy an exchange goes through. Reads the environment once; pure after that.

use std::fmt;
use std::sync::Arc;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

/// The proxies to go through, as curl reads them from the environment.
#[derive(Clone)]
pub struct Proxies(Arc<Rules>);

struct Rules {
    matcher: Matcher,
    http: Option<Url>,
    https: Option<Url>,
}

/// Why a proxy is of no use. Does not name its URL, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: this is no usable proxy; write http://HOST:PORT or https://HOST:PORT")]
pub struct InvalidProxy {
    variable: &'static str,
}

impl Proxies {
    /// Reads `HTTPS_PROXY`, `HTTP_PROXY` (for `http://` auth URLs), `ALL_PROXY` and `NO_PROXY`, each also in
    /// lower case.
    pub fn from_env() -> Result<Self, InvalidProxy> {
        let read = |upper: &str| {
            [upper.to_owned(), upper.to_lowercase()].iter().find_map(|name| std::env::var(name).ok())
        };
        let proxy = |variable| match read(variable) {
            Some(url) => parse(variable, &url),
            None => parse("ALL_PROXY", &read("ALL_PROXY").unwrap_or_default()),
        };
        Ok(Self::with(proxy("HTTP_PROXY")?, proxy("HTTPS_PROXY")?, &read("NO_PROXY").unwrap_or_default()))
    }

    /// No proxy at all.
    pub fn none() -> Self {
        Self::with(None, None, "")
    }

    /// These proxies for `http://` and `https://` URLs, none where empty; `no` as `NO_PROXY`.
    pub fn new(http: &str, https: &str, no: &str) -> Result<Self, InvalidProxy> {
        Ok(Self::with(parse("HTTP_PROXY", http)?, parse("HTTPS_PROXY", https)?, no))
    }

    fn with(http: Option<Url>, https: Option<Url>, no: &str) -> Self {
        let text = |url: &Option<Url>| url.as_ref().map(Url::to_string).unwrap_or_default();
        let matcher = Matcher::builder().http(text(&http)).https(text(&https)).no(no.to_owned()).build();
        Self(Arc::new(Rules { matcher, http, https }))
    }

    /// The proxy for this URL, with its user information.
    pub(super) fn whole(&self, url: &str) -> Option<Url> {
        let uri: http::Uri = url.parse().ok()?;
        self.0.matcher.intercept(&uri)?;
        if uri.scheme_str() == Some("http") { self.0.http.clone() } else { self.0.https.clone() }
    }

    /// The proxy for this URL, without its user information: for messages.
    pub fn of(&self, url: &str) -> Option<String> {
        let proxy = self.whole(url)?;
        let host = proxy.host_str()?;
        let port = proxy.port().map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{}://{host}{port}", proxy.scheme()))
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxies")
    }
}

/// Reads a proxy's URL; `http://` is meant where there is no scheme.
fn parse(variable: &'static str, text: &str) -> Result<Option<Url>, InvalidProxy> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) };
    match url {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Some(url)),
        _ => Err(InvalidProxy { variable }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: &str = "https://auth.squadcast.com/oauth/access-token";

    #[test]
    fn the_scheme_of_the_url_chooses() {
        let proxies = Proxies::new("plain:1", "http://alice:hunter2@secure:3128/", "").unwrap();
        assert_eq!(proxies.of(US).as_deref(), Some("http://secure:3128"));
        assert_eq!(proxies.of("http://a.b/").as_deref(), Some("http://plain:1"));
        assert_eq!(proxies.whole(US).unwrap().password(), Some("hunter2"));
        assert_eq!(Proxies::none().of(US), None);
        assert_eq!(Proxies::new("plain:1", "", "").unwrap().of(US), None);
    }

    #[test]
    fn what_goes_past_the_proxy() {
        for (no, past) in [
            ("squadcast.com", true),
            (".squadcast.com", true),
            ("a.b, auth.squadcast.com", true),
            ("*", true),
            ("cast.com", false),
            ("10.0.0.0/8", false),
            ("", false),
        ] {
            let proxies = Proxies::new("", "proxy:3128", no).unwrap();
            assert_eq!(proxies.of(US).is_none(), past, "{no}");
        }
        assert_eq!(Proxies::new("", "p:1", "127.0.0.0/8").unwrap().of("https://127.0.0.1:7/"), None);
    }

    #[test]
    fn what_is_no_proxy() {
        for text in ["socks5://alice:hunter2@p:1", "http://", "alice:hunter2@p:port", "http:// "] {
            let error = Proxies::new("", text, "").unwrap_err().to_string();
            assert!(error.starts_with("HTTPS_PROXY: ") && !error.contains("hunter2"), "{error}");
        }
    }
}
