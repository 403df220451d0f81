//! Requests to the API server as the operator makes them: each is sent once, and of a write only metadata comes back,
//! so that no token does. Touches the API server only.

use http::{
    Method, Request,
    header::{ACCEPT, CONTENT_TYPE},
};
use kube::Client;
use serde::{Serialize, de::DeserializeOwned};

/// What a request accepts that asks for an object's metadata instead of the object: of a write, nothing else matters.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// How a body is to be understood.
#[derive(Clone, Copy)]
pub(crate) enum Body {
    /// An object.
    Object,
    /// What is to change of an object, `null` for what goes.
    MergePatch,
    /// Operations and tests, one after the other.
    JsonPatch,
}

impl Body {
    const fn content_type(self) -> &'static str {
        match self {
            Self::Object => "application/json",
            Self::MergePatch => "application/merge-patch+json",
            Self::JsonPatch => "application/json-patch+json",
        }
    }
}

/// Reads an object; `None` where there is none.
pub(crate) async fn get<T: DeserializeOwned>(client: &Client, path: &str) -> Result<Option<T>, kube::Error> {
    let request = Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
    match client.request(request).await {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

/// Creates, changes or deletes an object.
pub(crate) async fn write<T: DeserializeOwned>(
    client: &Client,
    method: Method,
    path: &str,
    kind: Body,
    body: &impl Serialize,
) -> Result<T, kube::Error> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(ACCEPT, METADATA)
        .header(CONTENT_TYPE, kind.content_type())
        .body(serde_json::to_vec(body).map_err(kube::Error::SerdeError)?)
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}
