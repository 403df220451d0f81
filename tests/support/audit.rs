//! The API server's audit log: which requests a user made, counted exactly.
//!
//! The server writes a line before it handles a request and one after. The first is on disk before any answer,
//! so a request whose answer someone has seen is always in here; the second adds the status code.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use serde_json::Value;

/// The API server's audit policy: everything but what the control plane does by itself.
pub const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
  - level: None
    users: ["system:apiserver", "system:kube-controller-manager"]
  - level: None
    userGroups: ["system:serviceaccounts:kube-system"]
  - level: None
    nonResourceURLs: ["/readyz*", "/livez*"]
  - level: Metadata
"#;

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Received; no answer yet.
    Received,
    /// A watch whose stream runs.
    Streaming,
    /// Answered.
    Complete,
    /// The handler crashed.
    Panicked,
}

/// One request to the API server.
#[derive(Debug, Clone)]
pub struct Request {
    pub id: String,
    pub user: String,
    pub user_agent: String,
    pub verb: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub uri: String,
    /// When it came, RFC 3339 with microseconds.
    pub received: String,
    /// The answer's status, where there is one yet.
    pub code: Option<u16>,
    pub stage: Stage,
}

impl Request {
    pub fn is_watch(&self) -> bool {
        self.verb == "watch"
    }

    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }

    /// `verb resource/subresource`, for comparisons: `patch squadcastcredentials/status`.
    pub fn what(&self) -> String {
        let Self { verb, resource, subresource, uri, .. } = self;
        match (resource.as_str(), subresource.as_str()) {
            ("", _) => format!("{verb} {uri}"),
            (resource, "") => format!("{verb} {resource}"),
            (resource, subresource) => format!("{verb} {resource}/{subresource}"),
        }
    }
}

/// Reads a growing audit log, each line once.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    offset: u64,
    requests: Vec<Request>,
    by_id: HashMap<String, usize>,
}

impl AuditLog {
    pub fn new(path: PathBuf) -> Self {
        Self { path, offset: 0, requests: Vec::new(), by_id: HashMap::new() }
    }

    /// All requests so far, in the order in which they came.
    pub fn requests(&mut self) -> &[Request] {
        let mut fresh = Vec::new();
        let mut file = File::open(&self.path).expect("the audit log");
        file.seek(SeekFrom::Start(self.offset)).expect("a place in the audit log");
        file.read_to_end(&mut fresh).expect("the audit log");
        // A last line without its end is still being written.
        let whole = fresh.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        self.offset += whole as u64;
        for line in fresh[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let event: Value = serde_json::from_slice(line).expect("a line of the audit log");
            self.take(&event);
        }
        &self.requests
    }

    fn take(&mut self, event: &Value) {
        let text =
            |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let request = Request {
            id: text("/auditID"),
            user: text("/user/username"),
            user_agent: text("/userAgent"),
            verb: text("/verb"),
            group: text("/objectRef/apiGroup"),
            resource: text("/objectRef/resource"),
            subresource: text("/objectRef/subresource"),
            namespace: text("/objectRef/namespace"),
            name: text("/objectRef/name"),
            uri: text("/requestURI"),
            received: text("/requestReceivedTimestamp"),
            code: event
                .pointer("/responseStatus/code")
                .and_then(Value::as_u64)
                .and_then(|code| code.try_into().ok()),
            stage: match text("/stage").as_str() {
                "RequestReceived" => Stage::Received,
                "ResponseStarted" => Stage::Streaming,
                "ResponseComplete" => Stage::Complete,
                _ => Stage::Panicked,
            },
        };
        if let Some(&at) = self.by_id.get(&request.id) {
            self.requests[at] = request;
        } else {
            self.by_id.insert(request.id.clone(), self.requests.len());
            self.requests.push(request);
        }
    }
}
