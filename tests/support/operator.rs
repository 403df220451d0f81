//! The operator as a process: started from its binary, asked over its HTTP port, ended by signals.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::eventually::{DEADLINE, eventually};
use super::process::{Supervised, free_port, tail};

/// Settings of the tests' own environment that the operator must not see.
const HIDDEN: [&str; 10] = [
    "KUBECONFIG",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "RUST_LOG",
];

/// An operator to be started.
#[derive(Debug)]
pub struct Launch {
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    user: String,
    ipv6: bool,
}

impl Launch {
    /// `program` is `env!("CARGO_BIN_EXE_squadcast-operator")` in a test.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), args: Vec::new(), env: Vec::new(), user: String::new(), ipv6: false }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    #[must_use]
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub fn kubeconfig(self, path: &Path) -> Self {
        self.env("KUBECONFIG", path.display().to_string())
    }

    /// Whom the API server takes it for, as the kubeconfig says; only remembered here.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// It listens on `[::]`, as it does by itself, and is asked on `[::1]`, as by a kubelet of a cluster of IPv6 alone.
    #[must_use]
    pub fn ipv6(mut self) -> Self {
        self.ipv6 = true;
        self
    }

    /// Starts `run` and does not wait.
    pub fn start(self) -> Operator {
        let folder = tempfile::Builder::new().prefix("squadcast-operator-").tempdir();
        let folder = folder.expect("a temporary folder").keep();
        let port = free_port();
        let (listen, asked): (IpAddr, IpAddr) = if self.ipv6 {
            (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into())
        } else {
            (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into())
        };
        let mut command = Command::new(&self.program);
        command.arg("run");
        command.arg(format!("--listen={}", SocketAddr::new(listen, port)));
        command.args(&self.args);
        for name in HIDDEN {
            command.env_remove(name);
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SQUADCAST_") {
                command.env_remove(name);
            }
        }
        command.envs(self.env);
        let process = Supervised::start("operator", &folder, &command).expect("the operator's binary");
        Operator {
            log: process.log_path().to_owned(),
            process: Mutex::new(process),
            address: SocketAddr::new(asked, port),
            user: self.user,
        }
    }
}

/// A running operator. Dropping it kills it; a test that fails then shows the end of its log.
#[derive(Debug)]
pub struct Operator {
    process: Mutex<Supervised>,
    log: PathBuf,
    address: SocketAddr,
    user: String,
}

impl Operator {
    /// The user in the audit log.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The port of its endpoints.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    fn process(&self) -> MutexGuard<'_, Supervised> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that it wrote to standard output and standard error.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The file with that.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    pub fn log_lines(&self) -> Vec<String> {
        self.log().lines().map(str::to_owned).collect()
    }

    /// Waits for a line of the log that contains this text.
    pub async fn wait_for_log(&self, text: &str) -> String {
        let find = async || self.log_lines().into_iter().find(|line| line.contains(text));
        eventually(&format!("a log line with {text:?}"), DEADLINE, find).await
    }

    /// Waits until `/readyz` is 200; fails at once when the process ends before.
    pub async fn wait_ready(&self) {
        let look = async || {
            if let Some(code) = self.exit_code() {
                panic!("the operator ended with {code} before it was ready:\n{}", tail(&self.log, 4000));
            }
            match self.get("/readyz") {
                Ok((200, _)) => Ok(()),
                Ok((status, body)) => Err(format!("{status} {body}")),
                Err(error) => Err(error.to_string()),
            }
        };
        eventually("the operator to be ready", DEADLINE, look).await;
    }

    /// Status and body of a path on its own port.
    pub fn get(&self, path: &str) -> std::io::Result<(u16, String)> {
        http_get(self.address, path)
    }

    /// The text of `/metrics`.
    pub fn metrics(&self) -> String {
        self.get("/metrics").expect("the operator's metrics").1
    }

    /// The value of a metric by its name with labels as they are printed: `name{a="b"}`.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let text = self.metrics();
        let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        rest.split(' ').next()?.parse().ok()
    }

    pub fn signal(&self, signal: &str) {
        self.process().signal(signal);
    }

    pub fn sigterm(&self) {
        self.signal("TERM");
    }

    /// Ends it at once, as a crash or a node's loss would. The log stays readable.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// The exit code if it has ended; 128 + the signal where one ended it.
    pub fn exit_code(&self) -> Option<i32> {
        self.process().exit_code()
    }

    /// Waits for its end.
    pub async fn wait_exit(&self, patience: Duration) -> i32 {
        eventually("the operator's end", patience, async || self.exit_code()).await
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the operator's log ends with:\n{}", tail(&self.log, 6000));
        }
        self.process().end();
    }
}

/// GET over plain HTTP.
pub fn http_get(address: impl ToSocketAddrs, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // An answer to HTTP/1.0 has no chunks and ends with the connection.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, body.to_owned()))
}
