{{/* The name of everything in the release's namespace, the Lease among it. */}}
{{- define "squadcast-operator.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* The name of what is shared with releases of other namespaces: with a colon, so that no two make the same. */}}
{{- define "squadcast-operator.sharedName" -}}
{{- printf "%s:%s" .Release.Namespace (include "squadcast-operator.fullname" .) -}}
{{- end }}

{{- define "squadcast-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The chart's own labels come last in effect: merge keeps what is there first. */}}
{{- define "squadcast-operator.labels" -}}
{{- $own := include "squadcast-operator.selectorLabels" . | fromYaml }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") }}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- merge $own .Values.commonLabels | toYaml }}
{{- end }}

{{- define "squadcast-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "squadcast-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "squadcast-operator.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The rights in the namespaces whose resources are kept: exactly what the operator uses. */}}
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
  name: {{ include "squadcast-operator.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
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
{{- if and (hasPrefix "http://" $region.authUrl) (not (contains "insecure-allow-http" (toJson $v.extraArgs))) }}
{{- fail (printf "regions.%s.authUrl: refresh tokens would travel unencrypted: use https://, or add --insecure-allow-http to extraArgs" $name) }}
{{- end }}
{{- end }}
{{- range $v.namespaces }}
{{- if not (regexMatch "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" .) }}
{{- fail (printf "namespaces: %q is no name of a namespace" .) }}
{{- end }}
{{- end }}
{{- end }}
