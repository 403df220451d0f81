#!/usr/bin/env bash
# Writes to standard output what deploy/install.yaml holds: the chart with its defaults, and its namespace.
#
#   deploy/generate.sh [HELM] [CHART]     `make manifest` builds helm and calls it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
name=squadcast-operator
cat <<END
# kubectl apply --server-side -f install.yaml
#
# The chart charts/$name with its defaults, and its namespace; written by make manifest.
apiVersion: v1
kind: Namespace
metadata:
  name: $name
  labels:
    app.kubernetes.io/name: $name
    pod-security.kubernetes.io/enforce: restricted
END
# Whoever applies it manages it, not helm.
"${1:-.cache/helm/bin/helm}" template "$name" "${2:-charts/$name}" --namespace "$name" | sed '/app.kubernetes.io\/managed-by: Helm$/d'
