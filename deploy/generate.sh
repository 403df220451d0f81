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
"${1:-.cache/helm/bin/helm}" template "$name" "${2:-charts/$name}" --namespace "$name"
