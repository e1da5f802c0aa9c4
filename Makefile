# Everything a person or a CI job runs. `make` alone lists it.

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=
BINARY ?= target/release/tollgate
CARGO ?= cargo

# A toolchain that the set-up has just installed is not on the caller's path yet.
CARGO_HOME ?= $(HOME)/.cargo
export PATH := $(CARGO_HOME)/bin:$(PATH)

CONF := $(DESTDIR)$(SYSCONFDIR)/tollgate
UNITS := $(DESTDIR)$(PREFIX)/lib/systemd/system
# A daemon has no standard streams to log to.
SERVICE_LOGS := -e 's|^\# error_log:|error_log:|' \
	-e 's|^    access: stdout|    access: /var/log/tollgate/access.log|'
SHELL_FILES := .ci/run $(wildcard scripts/*.sh bench/*.sh)

.DEFAULT_GOAL := help
.PHONY: help setup run build test check lint doc deny bench bench-smoke release-pgo install clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: ## install what the build and the tests miss
	@bash scripts/setup.sh --tests

run: ## build the release binary and serve conf/pingora.yaml on 127.0.0.1:8888
	@bash scripts/setup.sh
	$(CARGO) build --release --locked
	target/release/tollgate -c conf/pingora.yaml

build: ## build the release binary
	@bash scripts/setup.sh
	$(CARGO) build --release --locked

test: ## run every test: unit, integration, documentation
	@bash scripts/setup.sh --tests
	$(CARGO) test --locked

check: lint test doc deny ## what a change must pass: lint, test, doc, deny

lint: ## formatting, clippy, shellcheck where it is installed
	@bash scripts/setup.sh
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@if command -v shellcheck >/dev/null; then \
		echo shellcheck $(SHELL_FILES); shellcheck -x $(SHELL_FILES); \
	else \
		echo 'shellcheck is not installed: shell files were NOT checked'; \
	fi

doc: ## rustdoc, warnings are errors
	@bash scripts/setup.sh
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps

deny: ## licences, banned crates, sources and known advisories
	@bash scripts/setup.sh
	@bash scripts/deny.sh

bench: ## measure Tollgate beside nginx, Squid and others; see bench/README.md
	@bash scripts/setup.sh --bench
	bash bench/run.sh

bench-smoke: ## fail when a request costs more CPU than SMOKE_RATIO x a bare Pingora, under a minute
	@bash scripts/setup.sh --smoke
	bash bench/smoke.sh

release-pgo: ## build target/release-pgo/tollgate, optimised by a training run; two builds
	@bash scripts/setup.sh --smoke --pgo
	bash bench/pgo.sh

target/release/tollgate target/release-pgo/tollgate:
	@echo 'build it first, as yourself and not as root: make build or make release-pgo' >&2; exit 1

# Builds nothing: under sudo there is another user's toolchain, or none.
# No users file either: the program wants real credentials there.
install: $(BINARY) ## install binary, configuration, systemd unit: BINARY, PREFIX, DESTDIR
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(UNITS)'
	install -d '$(CONF)'
	install -m 755 '$(BINARY)' '$(DESTDIR)$(PREFIX)/bin/tollgate'
	@if [ -e '$(CONF)/pingora.yaml' ]; then \
		echo 'kept $(CONF)/pingora.yaml as it is'; \
	else \
		echo 'conf/production.yaml, with logs in /var/log/tollgate, to $(CONF)/pingora.yaml'; \
		sed $(SERVICE_LOGS) conf/production.yaml >'$(CONF)/pingora.yaml' && \
		chmod 644 '$(CONF)/pingora.yaml'; \
	fi
	sed -e 's|/usr/local/bin|$(PREFIX)/bin|g' -e 's|/etc/tollgate|$(SYSCONFDIR)/tollgate|g' \
		conf/tollgate.service >'$(UNITS)/tollgate.service'
	chmod 644 '$(UNITS)/tollgate.service'

clean: ## remove what was built
	$(CARGO) clean
