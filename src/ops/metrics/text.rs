//! Prometheus text. The library writes `OpenMetrics`, where a counter's description lacks the `_total` of
//! its samples; readers of the older and more widely read format would not match the two.

use std::fmt::{self, Write};

use prometheus_client::{encoding::text::encode_registry, registry::Registry};

/// The whole registry as Prometheus text, version 0.0.4.
pub(super) fn encode(registry: &Registry) -> String {
    let mut text = PrometheusText::default();
    // Writing to memory does not fail, and no metric here refuses to be written.
    if encode_registry(&mut text, registry).is_err() {
        tracing::error!("some metrics could not be written");
    }
    text.written
}

/// Corrects description lines as they are completed, so that no second copy of the text is needed.
#[derive(Default)]
struct PrometheusText {
    written: String,
    /// Where the unfinished line begins.
    line: usize,
    /// Where the finished line before it begins.
    before: usize,
}

impl Write for PrometheusText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive('\n') {
            self.written.push_str(part);
            if part.ends_with('\n') {
                self.end_line();
            }
        }
        Ok(())
    }
}

impl PrometheusText {
    fn end_line(&mut self) {
        let line = &self.written[self.line..];
        if line.starts_with("# UNIT ") {
            self.written.truncate(self.line);
            return;
        }
        if let Some(name) = line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter\n")) {
            let name = name.to_owned();
            self.rename(&name);
        }
        self.before = self.line;
        self.line = self.written.len();
    }

    /// Appends `_total` to a counter's name in its two lines of description, which end the text.
    fn rename(&mut self, name: &str) {
        let help = format!("# HELP {name} ");
        let described = self.written[self.before..self.line].strip_prefix(&help).map(str::to_owned);
        let Some(description) = described else { return };
        self.written.truncate(self.before);
        for part in [&format!("# HELP {name}_total "), &description, "# TYPE ", name, "_total counter\n"] {
            self.written.push_str(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_by_the_name_of_their_samples() {
        let mut text = PrometheusText::default();
        for part in ["# HELP ", "a", " About a.\n# TYPE a cou", "nter\n", "a_total 1\n# HELP b_seconds B.\n"]
        {
            text.write_str(part).unwrap();
        }
        text.write_str("# TYPE b_seconds gauge\n# UNIT b_seconds seconds\nb_seconds 2\n").unwrap();
        assert_eq!(
            text.written,
            "# HELP a_total About a.\n# TYPE a_total counter\na_total 1\n\
             # HELP b_seconds B.\n# TYPE b_seconds gauge\nb_seconds 2\n"
        );
    }
}
