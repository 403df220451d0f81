# What one does with this repository; `make` alone lists it.
.POSIX:
.PHONY: help demo test fuzz fmt lint doc unit simulate simulate-wrong wire cluster chaos bench bench-core crd manifest pages check-generated deny controlplane helm prometheus image reproducible test-pods rights workflows tools

# Builds the operator together with what needs the tests' dependencies, so that nothing is compiled twice with
# different features, and prints the path of the binary, wherever cargo's target folder is.
OPERATOR = cargo build --bin squadcast-operator --example demo --message-format=json-render-diagnostics \
	| sed -n 's/.*"executable":"\([^"]*squadcast-operator\)".*/\1/p'
CRD = crds/squadcastcredentials.yaml
CHART_CRD = charts/squadcast-operator/files/squadcastcredentials.yaml
MANIFEST = deploy/install.yaml
# Its own profile: years of virtual time want speed, and no one wants to wait for a release to be linked.
SIMULATE = cargo test --quiet --profile simulate --lib
# The benchmarks' own code is built like the simulation; what they measure is the operator as the image has it.
BENCH = cargo bench --quiet --profile simulate --bench
# The program of the image: what users run.
RELEASE = image/rootfs.sh .cache/bench/image >&2 && echo .cache/bench/image/squadcast-operator

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

demo: tools ## Show the operator at work on a real API server, in 1 to 2 minutes; KEEP=1 leaves it running
	@echo "==> Building etcd, Kubernetes and the operator (the first time about 8 minutes on 2 cores, then seconds)"
	@tests/controlplane/build.sh
	@operator=$$($(OPERATOR)) && test -n "$$operator" && exec cargo run --quiet --example demo -- "$$operator"

test: tools ## Run every check and test, as CI does; the cheap ones first
	@mkdir -p .cache/tests && date +%s >.cache/tests/began
	@echo "==> Format"
	@$(MAKE) -s fmt
	@echo "==> Lints (the first time 2 to 3 minutes on 2 cores: it compiles what the crate depends on)"
	@$(MAKE) -s lint
	@echo "==> Pure tests (the first time 2 minutes to build)"
	@$(MAKE) -s unit
	@echo "==> Wire tests"
	@$(MAKE) -s wire
	@echo "==> Fuzz targets, briefly (the first time 4 minutes to build)"
	@RUNS=$${RUNS:-100000} fuzz/run.sh
	@echo "==> Documentation of the code (the first time 1 minute)"
	@$(MAKE) -s doc
	@echo "==> Licences and sources of what the crate depends on"
	@$(MAKE) -s deny
	@echo "==> Workflows and Dockerfile (the first time 1 minute)"
	@$(MAKE) -s workflows
	@echo "==> Control plane for the cluster tests (the first time 6 minutes to build)"
	@$(MAKE) -s controlplane
	@echo "==> helm for the chart's tests (the first time 2 to 3 minutes to build)"
	@$(MAKE) -s helm
	@echo "==> Prometheus for the tests of alerts and dashboard (the first time 2 to 3 minutes to build)"
	@$(MAKE) -s prometheus
	@echo "==> Image (the first time, and after a change of the code, 2 to 4 minutes on 2 cores)"
	@$(MAKE) -s image
	@echo "==> Generated files"
	@$(MAKE) -s check-generated
	@echo "==> Cluster tests (some minutes)"
	@$(MAKE) -s cluster
	@seconds=$$(($$(date +%s) - $$(cat .cache/tests/began))) && \
		echo "==> $$(tests/level.sh summary), in $$((seconds / 60)) min $$((seconds % 60)) s." && \
		echo "Everything is fine: format, lints, generated files, documentation and tests."

fmt: ## Check the format (cargo fmt makes it right)
	@cargo fmt --check

lint: ## Check with clippy; a warning is an error
	@cargo clippy --locked --quiet --all-targets -- -D warnings

doc: ## Build the code's documentation; a warning is an error
	@RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps

unit: ## Run the pure tests: unit, property and documentation tests
	@tests/level.sh pure

simulate: ## Play years of faults against a model of cluster, clock and Squadcast; YEARS=, CASES=, SEED=
	@seed=$${SEED:-$$(date +%s)}; echo "==> Playing scripts of seed $$seed (the first time some minutes to build)"; \
		SIMULATION_SEED=$$seed SIMULATION_YEARS=$${YEARS:-40} SIMULATION_CASES=$${CASES:-100} \
		$(SIMULATE) simulation::the_promises_hold_whatever_happens -- --exact --nocapture

simulate-wrong: ## Play operators that are wrong on purpose until each is found out; SEED=
	@SIMULATION_WRONG=all SIMULATION_SEED=$${SEED:-1} \
		$(SIMULATE) simulation::wrong_operators_are_found_out_by_chance -- --exact --nocapture

wire: ## Run the tests of the exchange against an HTTPS stand-in
	@tests/level.sh wire

cluster: controlplane helm prometheus ## Run the built operator against a real control plane; KUBERNETES=1.32 for the oldest
	@tests/level.sh cluster

rights: controlplane helm ## Show what the chart lets the operator do beside what the audit log says that it does
	@cargo test --quiet --locked --test cluster_chart rights:: -- --nocapture --test-threads=1

test-pods: tools ## Run the image in real Pods, where root on Linux; shows commands, times and sizes
	@tests/pods/run.sh

chaos: controlplane ## Kill the operator 1000 times and disturb its cluster for longer, in about 10 minutes; shows the figures
	@KILLS=$${KILLS:-1000} RESOURCES=$${RESOURCES:-20000} WAVES=$${WAVES:-20} OUTAGE=$${OUTAGE:-15} tests/chaos.sh

bench: tools controlplane ## Measure the released operator, in about 30 minutes; ONLY=first,renew for sections, DOC=1 for the document
	@operator=$${BIN:-$$($(RELEASE))} && test -n "$$operator" && $(BENCH) operator -- "$$operator"

bench-core: ## Count instructions and allocations of the pure core below valgrind; ACCEPT=1 writes what is accepted
	@$(BENCH) core

crd: ## Write the resource's definition from the code
	@operator=$$($(OPERATOR)) && test -n "$$operator" && "$$operator" crd >$(CRD).new && mv $(CRD).new $(CRD) && cp $(CRD) $(CHART_CRD)

manifest: helm ## Write what kubectl installs from the chart
	@deploy/generate.sh >$(MANIFEST).new && mv $(MANIFEST).new $(MANIFEST)

pages: controlplane helm prometheus ## Write what docs/ holds of the definition, and of runs with a real control plane and Prometheus
	@WRITE_DOCS=1 cargo test --quiet --test docs reference
	@WRITE_DOCS=1 cargo test --quiet --test cluster_monitoring

check-generated: helm ## Check that generated files are what the code makes
	@operator=$$($(OPERATOR)) && test -n "$$operator" || exit 1; \
	"$$operator" crd | diff -u $(CRD) - || \
		{ echo "$(CRD) differs from what the code makes: run make crd, and look at the change" >&2; exit 1; }; \
	diff -u $(CHART_CRD) $(CRD) || \
		{ echo "$(CHART_CRD) differs from $(CRD): run make crd" >&2; exit 1; }; \
	deploy/generate.sh | diff -u $(MANIFEST) - || \
		{ echo "$(MANIFEST) differs from what the chart makes: run make manifest, and look at the change" >&2; exit 1; }; \
	cargo test --quiet --test docs reference

fuzz: tools ## Fuzz what reads other people's bytes: RUNS answers, ten million by default (5 minutes and the build)
	@fuzz/run.sh

deny: ## Check dependencies: licences, sources, and advisories where there is a network; needs cargo-deny
	@if ! cargo deny --version >/dev/null 2>&1; then \
		echo "cargo-deny is not installed (cargo install --locked cargo-deny): dependencies are not checked here"; \
	else \
		cargo deny --log-level error check bans licenses sources || exit 1; \
		if cargo deny --log-level off fetch db >/dev/null 2>&1; then cargo deny --log-level error check advisories; \
		else echo "the database of advisories cannot be fetched from here: advisories are not checked"; fi; \
	fi

controlplane: ## Build etcd, kube-apiserver, kube-controller-manager and kubectl
	@tests/controlplane/build.sh

helm: ## Build helm
	@tests/controlplane/build.sh tests/helm

prometheus: ## Build Prometheus and promtool
	@tests/controlplane/build.sh tests/prometheus

workflows: ## Check the workflows with actionlint, and the Dockerfile with BuildKit's linter
	@tests/controlplane/build.sh tests/actionlint
	@.cache/actionlint/bin/actionlint -shellcheck= -pyflakes=
	@tests/controlplane/build.sh tests/dockerfile
	@.cache/dockerfile/bin/lint Dockerfile linux/amd64 linux/arm64

image: ## Build the image as an archive, without a container engine
	@image/archive.sh .cache/image/squadcast-operator.tar

reproducible: ## Build the image twice from nothing, in two places, and compare every byte, in about 7 minutes
	@image/reproducible.sh

tools:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.90 or newer, with rustup (https://rustup.rs) or from your system's packages" >&2; exit 1; }
	@cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || { echo "rustfmt or clippy is missing: rustup component add rustfmt clippy, or your system's packages of these names" >&2; exit 1; }
	@command -v go >/dev/null || { echo "go is missing: install Go 1.26 or newer (https://go.dev/doc/install) or from your system's packages" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "cc is missing: install a C compiler, such as gcc or clang, from your system's packages" >&2; exit 1; }
	@command -v c++ >/dev/null || { echo "c++ is missing: install a C++ compiler, such as g++ or clang, from your system's packages; libFuzzer is written in C++" >&2; exit 1; }
	@command -v bash >/dev/null || { echo "bash is missing: install it from your system's packages" >&2; exit 1; }
