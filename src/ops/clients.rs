//! The two Kubernetes clients: one for requests, one for watches. Reads the kubeconfig or what a pod finds
//! about its cluster; connects only when used.

use std::time::Duration;

use http::{HeaderValue, header::USER_AGENT};
use kube::{
    Client, Config,
    config::{InClusterError, KubeConfigOptions, KubeconfigError},
};
use thiserror::Error;

use super::{connection, pace::paced};
use crate::redact::without_user_info;

const CONNECT: Duration = Duration::from_secs(5);
/// A request that has no answer by then is a failed one.
const ANSWER: Duration = Duration::from_secs(5);
/// A watch that is silent for this long is a dead one: the server ends each after [`WATCH_SECONDS`].
const SILENCE: Duration = Duration::from_secs(120);

/// For how long the API server is asked to keep a watch open, in seconds: `watcher::Config::timeout`.
pub const WATCH_SECONDS: u32 = 60;

/// Clients for one cluster.
#[derive(Clone)]
pub struct Clients {
    /// For requests; gives up on an answer after 5 s. Nothing is sent twice.
    pub requests: Client,
    /// For watches; gives up on a silent one after 120 s, and opens none again and again without a pause.
    pub watches: Client,
    /// The namespace of the pod, or of the kubeconfig's context.
    pub namespace: String,
    /// The API server's address, without user information.
    pub server: String,
}

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ClientsError {
    /// Neither way to a cluster works.
    #[error(
        "no way to a cluster: kubeconfig (KUBECONFIG, else ~/.kube/config): {}; in-cluster: {in_cluster}. Outside of a cluster set KUBECONFIG to a usable file; in a pod mount a service account \
         token (automountServiceAccountToken: true)",
        without_content(kubeconfig)
    )]
    NotFound {
        /// What is wrong with the kubeconfig.
        kubeconfig: Box<KubeconfigError>,
        /// What is missing in the pod.
        in_cluster: Box<InClusterError>,
    },
    /// The file that `KUBECONFIG` names is of no use.
    #[error("KUBECONFIG: {}; correct the file or the variable, or unset it", without_content(.0))]
    Kubeconfig(Box<KubeconfigError>),
    /// The configuration was found, but no client can be made of it: its certificates, its credentials or
    /// its proxy.
    #[error("the cluster's configuration is not usable: {}", without_user_info(&.0.to_string()))]
    Unusable(Box<kube::Error>),
}

/// A parser's own words show the lines around the fault, which may hold a token.
fn without_content(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => error.location().map_or_else(
            || "it is no YAML of a kubeconfig".to_owned(),
            |at| format!("it is no YAML of a kubeconfig, see line {}", at.line()),
        ),
        // Its own words quote the path twice.
        KubeconfigError::ReadConfig(error, path) => {
            format!("cannot read \"{}\" ({error})", path.display())
        }
        other => without_user_info(&other.to_string()),
    }
}

/// Builds both clients from the kubeconfig, else from what a pod is given. Does not connect.
pub async fn connect() -> Result<Clients, ClientsError> {
    let config = match Config::from_kubeconfig(&KubeConfigOptions::default()).await {
        Ok(config) => config,
        // Whoever names a file means that cluster and no other.
        Err(error) if std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty()) => {
            return Err(ClientsError::Kubeconfig(Box::new(error)));
        }
        Err(kubeconfig) => Config::incluster().map_err(|in_cluster| ClientsError::NotFound {
            kubeconfig: Box::new(kubeconfig),
            in_cluster: Box::new(in_cluster),
        })?,
    };
    from_config(&config)
}

/// Builds both clients for the cluster of a configuration.
pub fn from_config(config: &Config) -> Result<Clients, ClientsError> {
    let client = |config| connection::client(config).map_err(|e| ClientsError::Unusable(Box::new(e)));
    Ok(Clients {
        requests: client(for_requests(config.clone()))?,
        watches: paced(client(for_watches(config.clone()))?),
        namespace: config.default_namespace.trim().to_owned(),
        server: without_user_info(&config.cluster_url.to_string()),
    })
}

fn common(mut config: Config) -> Config {
    config.connect_timeout = Some(CONNECT);
    // It would send again what must happen once, an event or a lease's change among it.
    config.default_retry = false;
    config.headers.push((USER_AGENT, HeaderValue::from_static(crate::USER_AGENT)));
    config
}

fn for_requests(config: Config) -> Config {
    let mut config = common(config);
    config.read_timeout = Some(ANSWER);
    // Otherwise the time that a connection lay idle counts.
    config.reset_reader_on_write = true;
    config
}

fn for_watches(config: Config) -> Config {
    let mut config = common(config);
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Config {
        let mut config = Config::new(http::Uri::from_static("http://127.0.0.1:1"));
        config.default_namespace = "team\n".to_owned();
        config
    }

    #[test]
    fn nothing_is_sent_twice_and_nothing_waits_for_ever() {
        for (config, limit) in [(for_requests(base()), ANSWER), (for_watches(base()), SILENCE)] {
            assert!(!config.default_retry);
            assert!(config.reset_reader_on_write);
            assert_eq!(config.read_timeout, Some(limit));
            assert_eq!(config.connect_timeout, Some(CONNECT));
            assert!(config.write_timeout.is_some());
            assert_eq!(config.headers, [(USER_AGENT, HeaderValue::from_static(crate::USER_AGENT))]);
        }
        assert!(SILENCE > Duration::from_secs(u64::from(WATCH_SECONDS)));
    }

    #[tokio::test]
    async fn no_password_of_a_url_is_told() {
        let mut config = base();
        config.cluster_url = http::Uri::from_static("https://alice:hunter2@127.0.0.1:1");
        assert_eq!(from_config(&config).unwrap().server, "https://127.0.0.1:1/");
        for proxy in ["socks5://alice:hunter2@127.0.0.1:9", "ftp://alice:hunter2@127.0.0.1:9"] {
            config.proxy_url = Some(http::Uri::from_static(proxy));
            let told = from_config(&config).err().unwrap().to_string();
            assert!(told.contains("127.0.0.1:9") && !told.contains("hunter2"), "{told}");
        }
    }

    #[tokio::test]
    async fn the_namespace_is_the_configured_one() {
        assert_eq!(from_config(&base()).unwrap().namespace, "team");
    }
}
