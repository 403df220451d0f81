//! For tests: something that answers like an API server, as a function says, and remembers what was asked.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::State,
    http::{Method, StatusCode, Uri, header::CONTENT_TYPE},
};
use kube::Config;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::clients::{self, Clients};

/// A request: method, path and query, body.
pub(crate) type Asked = (Method, String, Value);
type Answers = dyn Fn(&Asked) -> (u16, Value) + Send + Sync;

#[derive(Clone)]
pub(crate) struct FakeApi {
    asked: Arc<Mutex<Vec<Asked>>>,
    answers: Arc<Answers>,
}

impl FakeApi {
    pub(crate) async fn start(
        answers: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static,
    ) -> (Self, Clients) {
        let api = Self { asked: Arc::default(), answers: Arc::new(answers) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(api.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        (api, clients::from_config(&Config::new(url.parse().unwrap())).unwrap())
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// What an API server says when it refuses.
pub(crate) fn refusal(code: u16, reason: &str, message: &str) -> (u16, Value) {
    (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}))
}

async fn answer(
    State(api): State<FakeApi>,
    method: Method,
    uri: Uri,
    body: String,
) -> (StatusCode, [(axum::http::HeaderName, &'static str); 1], String) {
    let asked = (method, uri.to_string(), serde_json::from_str(&body).unwrap_or(Value::Null));
    let (status, body) = (api.answers)(&asked);
    api.asked.lock().unwrap().push(asked);
    (StatusCode::from_u16(status).unwrap(), [(CONTENT_TYPE, "application/json")], body.to_string())
}
