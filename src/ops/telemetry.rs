//! Logs: one line an outcome on standard error, as text or JSON. Touches standard error, the process's
//! subscriber and its panic hook.

use std::{any::Any, io::IsTerminal};

use thiserror::Error;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, filter_fn},
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    registry::Registry,
    util::SubscriberInitExt,
};

/// How a log line looks.
#[allow(clippy::doc_markdown, reason = "--help shows these texts as they are: backticks would be noise")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people; in colour where standard error is a terminal and NO_COLOR is not set.
    Text,
    /// For log collectors: one flat object a line, with timestamp (RFC 3339), level, message, target and the
    /// fields of the event.
    #[default]
    Json,
}

/// Why logging cannot start.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// A part of the filter means nothing.
    #[error(
        "\"{directive}\" is no directive{detail}; write a level (error, warn, info, debug, trace, off) or \
         TARGET=LEVEL, separated by commas"
    )]
    Directive {
        /// The part between two commas.
        directive: String,
        /// What is wrong with it, or nothing.
        detail: String,
    },
    /// Logging was started before.
    #[error("logging has already been started")]
    Twice,
}

/// Starts logging to standard error, where Kubernetes' own components log too; standard output stays for
/// what a command prints. Panics are logged, not printed, so that JSON stays JSON.
pub fn init(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    subscriber(format, filter, ansi, std::io::stderr)?.try_init().map_err(|_| TelemetryError::Twice)?;
    std::panic::set_hook(Box::new(|info| {
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let message = payload(info.payload());
        tracing::error!(location, "panic: {message}");
    }));
    Ok(())
}

/// What a panic said.
fn payload(payload: &(dyn Any + Send)) -> &str {
    let owned = || payload.downcast_ref::<String>().map(String::as_str);
    payload.downcast_ref::<&str>().copied().or_else(owned).unwrap_or("no message")
}

fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    ansi: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + 'static, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => fmt::layer().with_writer(writer).with_ansi(ansi).boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(writer)
            .boxed(),
    };
    // The client logs a body that does not decode as a whole, a Secret's too, and its watcher each error as Rust
    // debugs it. A directive for one of their modules would win over `kube_client=off`, so this is a filter of its
    // own.
    let wanted = parse(filter)?.and(filter_fn(|metadata| !is_of_kube(metadata.target())));
    Ok(tracing_subscriber::registry().with(lines.with_filter(wanted)))
}

fn is_of_kube(target: &str) -> bool {
    let module = target.split("::").next().unwrap_or_default();
    matches!(module, "kube_client" | "kube_runtime")
}

/// Reads a filter; an empty one means `info`.
pub fn parse(filter: &str) -> Result<EnvFilter, TelemetryError> {
    let mut directives = Vec::new();
    for text in filter.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let refuse = |detail| TelemetryError::Directive { directive: text.to_owned(), detail };
        if !text.contains(['=', '[']) && text.parse::<LevelFilter>().is_err() {
            // Alone it would enable a target of this name, and nothing else: a typing error ends all logs.
            return Err(refuse(String::new()));
        }
        directives.push(text.parse().map_err(|error| refuse(format!(" ({error})")))?);
    }
    let builder = EnvFilter::builder().with_regex(false);
    let start = if directives.is_empty() { "info" } else { "" };
    let empty = builder.parse_lossy(start);
    Ok(directives.into_iter().fold(empty, EnvFilter::add_directive))
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str, events: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(format, filter, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, events);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_is_flat() {
        let line = logged(LogFormat::Json, "info", || {
            tracing::info!(namespace = "team", name = "squadcast", reason = "TokenValid", "token renewed");
        });
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).unwrap();
        assert_eq!(object["namespace"], "team");
        assert_eq!(object["name"], "squadcast");
        assert_eq!(object["reason"], "TokenValid");
        assert_eq!(object["message"], "token renewed");
        assert_eq!(object["level"], "INFO");
        object["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert_eq!(object.len(), 7, "{line}");
    }

    #[test]
    fn text_has_no_escapes() {
        let line = logged(LogFormat::Text, "info", || tracing::warn!(name = "a", "it waits"));
        assert!(line.contains("WARN") && line.contains("it waits name=\"a\""), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }

    #[test]
    fn levels_and_targets() {
        let events = || {
            tracing::info!("one");
            tracing::debug!("two");
            tracing::debug!(target: "other", "three");
        };
        let said = |filter| {
            let text = logged(LogFormat::Text, filter, events);
            ["one", "two", "three"].map(|word| text.contains(word))
        };
        assert_eq!(said(""), [true, false, false]);
        assert_eq!(said("info"), [true, false, false]);
        assert_eq!(said("debug"), [true, true, true]);
        assert_eq!(said("info, other=debug"), [true, false, true]);
        assert_eq!(said("off,other=debug"), [false, false, true]);
    }

    #[test]
    fn the_client_is_silent_whatever_the_filter_says() {
        for filter in ["trace", "kube_client=trace", "kube_client::client=trace,trace", "[HTTP]=trace,trace"]
        {
            let text = logged(LogFormat::Json, filter, || {
                tracing::warn!(target: "kube_client::client", "a body");
                tracing::error!(target: "kube_client", "a body");
                tracing::warn!(target: "kube_clients", "someone else");
            });
            assert!(!text.contains("a body"), "{filter}: {text}");
            assert!(text.contains("someone else"), "{filter}");
        }
    }

    #[test]
    fn a_bad_directive_is_named() {
        for (filter, named) in [("info,loud", "\"loud\""), ("a=loud", "\"a=loud\""), ("inof", "\"inof\"")] {
            let error = parse(filter).unwrap_err().to_string();
            assert!(error.starts_with(named) && error.contains("write a level"), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
