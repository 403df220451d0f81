{{/*
The name of everything in the release's namespace, the Lease among it. A Service's is the strictest: a letter first, no
dots, 63 characters with -metrics. A release's name has at most 53, so all of it is in what is left. An alias of a
parent chart may be in upper case.
*/}}
{{- define "squadcast-operator.fullname" -}}
{{- $name := .Release.Name | replace "." "-" -}}
{{- $chart := lower .Chart.Name -}}
{{- if regexMatch "^[0-9]" $name }}{{ $name = printf "r-%s" $name }}{{ end -}}
{{- if not (contains $chart $name) }}{{ $name = printf "%s-%s" $name $chart }}{{ end -}}
{{- $name | trunc 55 | trimSuffix "-" -}}
{{- end }}

{{/* The namespaces to keep, as a list in YAML. --set 'namespaces={}' makes a list of one empty word. */}}
{{- define "squadcast-operator.namespaces" -}}
{{- $namespaces := default list .Values.namespaces | uniq }}
{{- if eq (toJson $namespaces) "[\"\"]" }}{{ $namespaces = list }}{{ end }}
{{- toYaml $namespaces }}
{{- end }}

{{/* The name of what is shared with releases of other namespaces: with a colon, so that no two make the same. */}}
{{- define "squadcast-operator.sharedName" -}}
{{- printf "%s:%s" .Release.Namespace (include "squadcast-operator.fullname" .) -}}
{{- end }}

{{- define "squadcast-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* The chart's own labels come last in effect: merge keeps what is there first. */}}
{{- define "squadcast-operator.labels" -}}
{{- $own := include "squadcast-operator.selectorLabels" . | fromYaml }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") }}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- merge $own (default dict .Values.commonLabels) | toYaml }}
{{- end }}

{{- define "squadcast-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "squadcast-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* A published chart has the digest of its image as an annotation; who names a tag or a digest wants that. */}}
{{- define "squadcast-operator.image" -}}
{{- $published := index (default dict .Chart.Annotations) "credentials.squadcast.com/image-digest" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else if or .tag (not $published) -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- else -}}
{{- printf "%s@%s" .repository $published -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The rights in the namespaces whose resources are kept: what the operator uses. It reads a
resource from its watch and writes each event once; to get a resource and to patch an event are what every client of them
may do. */}}
{{- define "squadcast-operator.rules" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [credentials.squadcast.com]
  resources: [squadcastcredentials]
  verbs: [get, list, watch]
- apiGroups: [credentials.squadcast.com]
  resources: [squadcastcredentials/status]
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.rbac.rolloutRestarts }}
- apiGroups: [apps]
  resources: [deployments, statefulsets, daemonsets]
  verbs: [patch]
{{- end }}
{{- end }}

{{- define "squadcast-operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "squadcast-operator.serviceAccountName" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
{{- end }}

{{/* Fails where a flag, or its variable, is the chart's own: all of these, the value it came in, as it is written there, and the flag. */}}
{{- define "squadcast-operator.refuse" -}}
{{- $written := index . 2 | splitList "=" | first -}}
{{- with get (index . 0) (index . 3) }}
{{- if contains " " . }}
{{- fail (printf "%s: %s %s: leave it out" (index $ 1) $written .) }}
{{- end }}
{{- fail (printf "%s: %s belongs to the value %s: set that" (index $ 1) $written .) }}
{{- end }}
{{- end }}

{{/* What a schema cannot say in words that help. */}}
{{- define "squadcast-operator.validate" -}}
{{- $v := .Values }}
{{- if and $v.caBundle.configMap $v.caBundle.secret }}
{{- fail "caBundle: configMap and secret exclude each other: set one of them" }}
{{- end }}
{{- if and (or $v.caBundle.configMap $v.caBundle.secret) (not $v.caBundle.key) }}
{{- fail "caBundle.key: name the key that holds the certificates, such as ca.crt" }}
{{- end }}
{{- if and $v.metrics.serviceMonitor.enabled (not $v.metrics.service.enabled) }}
{{- fail "metrics.serviceMonitor.enabled: a ServiceMonitor needs a Service: set metrics.service.enabled=true" }}
{{- end }}
{{- if and $v.rbac.create (not $v.serviceAccount.create) (not $v.serviceAccount.name) }}
{{- fail "serviceAccount.name: the rights would go to the ServiceAccount default, which other Pods run as: name the one to use, or set rbac.create=false" }}
{{- end }}
{{- /* What the chart sets itself, by flag: the value to use instead, or why it is of no use to set another. */}}
{{- $flags := dict "leader-election" "is set by the chart" "leader-election-name" "is set by the chart"
  "leader-election-namespace" "stays as it is, since the chart grants the Lease of the release's namespace alone"
  "listen" "stays as it is, since probes and metrics are asked for at port 8080"
  "log-format" "logFormat" "log-filter" "logFilter" "namespaces" "namespaces" "selector" "selector"
  "require-source-label" "requireSourceLabel" "region" "regions" "ca-file" "caBundle" }}
{{- range splitList "," $v.logFilter }}
{{- if not (regexMatch "^ *((?i:off|error|warn|info|debug|trace)|[0-5]|.*[=\\[].*)? *$" .) }}
{{- fail (printf "logFilter: %q is no level: write off, error, warn, info, debug or trace, or TARGET=LEVEL" .) }}
{{- end }}
{{- end }}
{{- /* As the API server reads a label selector; of another the operator would say so, and end at once. */}}
{{- $name := "[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?" }}
{{- $part := "[a-z0-9]([a-z0-9-]*[a-z0-9])?" }}
{{- $key := printf `(%s(\.%s)*/)?%s` $part $part $name }}
{{- $compared := printf `\s*(=|==|!=)\s*(%s)?|\s*[<>]\s*[0-9]+` $name }}
{{- $listed := printf `\s+(in|notin)\s*\(\s*(%s)?(\s*,\s*(%s)?)*\s*\)` $name $name }}
{{- $requirement := printf `\s*(!\s*%s|%s(%s|%s)?)\s*` $key $key $compared $listed }}
{{- if not (regexMatch (printf `^(\s*|%s(,%s)*)$` $requirement $requirement) (default "" $v.selector)) }}
{{- fail (printf "selector: %q is no label selector: write one such as team=a,tier!=test,region in (us,eu),!paused" $v.selector) }}
{{- end }}
{{- range $v.extraArgs }}
{{- if regexMatch "^--[a-z-]+ " . }}
{{- fail (printf "extraArgs: %q is one word: write %s" . (regexReplaceAll " +" . "=")) }}
{{- end }}
{{- if hasPrefix "--" . }}
{{- include "squadcast-operator.refuse" (list $flags "extraArgs" . (. | trimPrefix "--" | splitList "=" | first)) }}
{{- end }}
{{- end }}
{{- range $v.extraEnv }}
{{- $flag := .name | trimPrefix "SQUADCAST_OPERATOR_" | lower | replace "_" "-" }}
{{- /* Where there are no regions and no bundle, these two can come from a Secret. */}}
{{- if and (hasPrefix "SQUADCAST_OPERATOR_" .name) (not (has $flag (list "region" "ca-file"))) }}
{{- include "squadcast-operator.refuse" (list $flags "extraEnv" .name $flag) }}
{{- end }}
{{- end }}
{{- $insecure := has "--insecure-allow-http" (default list $v.extraArgs) }}
{{- $env := dict }}
{{- if $v.regions }}{{ $_ := set $env "SQUADCAST_OPERATOR_REGION" "regions" }}{{ end }}
{{- if or $v.caBundle.configMap $v.caBundle.secret }}{{ $_ := set $env "SQUADCAST_OPERATOR_CA_FILE" "caBundle" }}{{ end }}
{{- if $v.proxy.https }}{{ $_ := set $env "HTTPS_PROXY" "proxy.https" }}{{ end }}
{{- if $v.proxy.noProxy }}{{ $_ := set $env "NO_PROXY" "proxy.noProxy" }}{{ end }}
{{- range $v.extraEnv }}
{{- if hasKey $env .name }}
{{- fail (printf "extraEnv: %s is set by %s as well: leave one of them out" .name (get $env .name)) }}
{{- end }}
{{- $_ := set $env .name "another entry" }}
{{- if and (eq .name "SQUADCAST_OPERATOR_INSECURE_ALLOW_HTTP") (eq (toString .value) "true") }}{{ $insecure = true }}{{ end }}
{{- end }}
{{- range $name, $region := $v.regions }}
{{- if not (regexMatch "^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$" $name) }}
{{- fail (printf "regions: %q is no name of a region: use up to 32 lower-case letters, digits and dashes, such as staging" $name) }}
{{- end }}
{{- range $key := list "authUrl" "apiUrl" }}
{{- $url := get $region $key }}
{{- if and $url (not (regexMatch "^https?://[^/?#@,[:space:]]+(/[^?#,[:space:]]*)?$" $url)) }}
{{- fail (printf "regions.%s.%s: %q is no URL of a service: write such as https://auth.squadcast.com, without user, query and fragment" $name $key $url) }}
{{- end }}
{{- end }}
{{- if and (hasPrefix "http://" $region.authUrl) (not $insecure) }}
{{- fail (printf "regions.%s.authUrl: refresh tokens would travel unencrypted: use https://, or add --insecure-allow-http to extraArgs" $name) }}
{{- end }}
{{- end }}
{{- range include "squadcast-operator.namespaces" . | fromYamlArray }}
{{- if not (regexMatch "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" .) }}
{{- fail (printf "namespaces: %q is no name of a namespace" .) }}
{{- end }}
{{- end }}
{{- end }}
