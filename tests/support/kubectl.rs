//! What somebody does with kubectl, as administrator, in the namespace of a world.

use super::world::World;

impl World {
    /// Runs kubectl in this namespace, which has to succeed; what it prints.
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.kubectl_with(args, "")
    }

    /// Applies any YAML in this namespace.
    pub fn kubectl_apply(&self, yaml: &str) {
        // The kubectl of 1.32 takes what begins with a brace for JSON, and YAML in braces has no quotes.
        self.kubectl_with(&["apply", "-f", "-"], &format!("---\n{yaml}"));
    }

    /// A workload without Pods, or on a cluster without nodes: what counts is its template.
    pub fn workload(&self, kind: &str, name: &str) {
        let more = match kind {
            "Deployment" => "replicas: 0,",
            "StatefulSet" => "serviceName: none, replicas: 0,",
            _ => "",
        };
        self.kubectl_apply(&format!(
            "{{ apiVersion: apps/v1, kind: {kind}, metadata: {{ name: {name} }}, spec: {{ {more} \
             selector: {{ matchLabels: {{ app: {name} }} }}, template: {{ metadata: {{ labels: {{ app: {name} }} }}, \
             spec: {{ containers: [{{ name: c, image: none.example/none }}] }} }} }} }}"
        ));
    }

    fn kubectl_with(&self, args: &[&str], input: &str) -> String {
        let args = [&["--namespace", &self.namespace], args].concat();
        let output = self.plane.kubectl_with(&args, input);
        assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
