# Panda: `make` lists what can be made. All the work is in the scripts that the targets call.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo demo-down demo-k8s demo-k8s-down test test-chart test-long check fmt bench build images manifests ground clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## set this machine up, start the platform and deploy a sample app
	@deploy/demo.sh

demo-down: ## remove every trace of the demo
	@deploy/demo-down.sh

demo-k8s: ## start a cluster (or use KUBECONFIG's), install the platform on it and deploy a sample app
	@deploy/demo-k8s.sh

demo-k8s-down: ## remove every trace of that
	@deploy/demo-k8s-down.sh

test: ## set up what the tests need and run them, end-to-end ones included
	@tests/ground/test.sh

test-chart: ## install the chart on a cluster of its own, and test rights, keys, upgrade and uninstall
	@tests/chart/test.sh

test-long: ## the same with the full fault matrix
	@PANDA_TEST_LONG=1 tests/ground/test.sh

check: ## formatting, lints, dependency rules, docs, shell scripts
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
	if cargo deny --version >/dev/null 2>&1; then \
	  cargo deny check bans licenses sources && \
	  if cargo deny fetch db >/dev/null 2>&1; then cargo deny --offline check advisories; else echo "advisories not checked: their database can't be fetched"; fi; \
	fi
	if [ -x "$${PANDA_CACHE:-$$HOME/.cache/panda}/bin/helm" ]; then deploy/kubernetes/make.sh --check; else echo "deploy/kubernetes not compared with the chart: there is no helm (tests/cluster/build.sh helm)"; fi
	if command -v shellcheck >/dev/null; then git ls-files '*.sh' .ci/run | xargs shellcheck -x -P .; fi

fmt: ## format the Rust code
	cargo fmt --all

bench: ## measure against the same steps by hand and against other proxies
	@tests/ground/install.sh bench
	@tests/bench/run.sh

build: ## build the release binaries
	cargo build --release --locked --bin panda --bin panda-server --bin panda-edge

images: ground ## build the stand-ins for base images where Docker Hub can't be reached, and the test apps
	@tests/images/build.sh

manifests: ## make deploy/kubernetes from the chart
	@deploy/kubernetes/make.sh

ground: ## install what is missing; start a Docker engine and the local registry
	@tests/ground/install.sh test
	@tests/ground/docker.sh up
	@tests/ground/registry.sh up

clean: ## remove build results and the cached images and programs
	@tests/ground/registry.sh down
	cargo clean
	rm -rf "$${PANDA_CACHE:-$$HOME/.cache/panda}"
