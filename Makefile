# The commands for developers and CI. `make` without arguments lists them.

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=
CARGO ?= cargo
# The profile of run, build, install and dist.
PROFILE ?= release
# The configuration of `make run`.
CONF = conf/pingora.yaml

# How long `make fuzz` takes, after the build.
FUZZ_SECONDS ?= 60
# Those of tests/fuzz/main.rs.
FUZZ_TARGET ?=
FUZZ_SEED ?=
FUZZ_INPUT ?=

# A newly installed toolchain is not on the caller's path yet.
CARGO_HOME ?= $(HOME)/.cargo
export PATH := $(CARGO_HOME)/bin:$(PATH)
export CARGO PREFIX SYSCONFDIR DESTDIR PROFILE FUZZ_SECONDS FUZZ_TARGET FUZZ_SEED FUZZ_INPUT

SHELL_FILES := .ci/run $(wildcard scripts/*.sh bench/*.sh)

.DEFAULT_GOAL := help
.PHONY: help setup run build test fuzz handover-test reference check lint doc deny bench bench-smoke release-pgo \
	install dist package-test clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

setup: ## install missing dependencies of the build and the tests
	@bash scripts/setup.sh --tests

run: ## build the program and serve CONF, by default conf/pingora.yaml on 127.0.0.1:8888
	@bash scripts/setup.sh
	@bash scripts/run.sh '$(CONF)' --profile '$(PROFILE)'

build: ## build the program
	@bash scripts/setup.sh
	@binary=$$(bash scripts/build.sh --profile '$(PROFILE)') && \
		echo "built $$binary" && \
		echo "to install it: sudo make install BINARY='$$binary'"

test: ## run every test: unit, integration, documentation
	@bash scripts/setup.sh --tests
	$(CARGO) test --locked

handover-test: ## hand sockets to and from the program of another git REVISION, under load
	@bash scripts/setup.sh
	@bash scripts/handover-test.sh '$(REVISION)'

fuzz: ## fuzz every parser for FUZZ_SECONDS, by default 60; see fuzz/README.md
	@bash scripts/setup.sh
	$(CARGO) test --locked --features internals --test fuzz

check: lint test doc deny ## run the checks for a change: lint, test, doc, deny

lint: ## check formatting, clippy, and shellcheck if installed
	@bash scripts/setup.sh
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-features --benches --test fuzz -- -D warnings
	@if command -v shellcheck >/dev/null; then \
		echo shellcheck $(SHELL_FILES); shellcheck -x $(SHELL_FILES); \
	else \
		echo 'shellcheck is not installed: shell files were NOT checked'; \
	fi

doc: ## build the documentation of the code, private items too; warnings are errors
	@bash scripts/setup.sh
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items

reference: ## write the tables of docs and conf/tollgate.schema.json that come from the sources
	@bash scripts/setup.sh --tests
	UPDATE_REFERENCE=1 $(CARGO) test --locked reference

deny: ## check licences, banned crates, sources and advisories
	@bash scripts/setup.sh
	@bash scripts/deny.sh

bench: ## measure Tollgate and nginx, Squid and others; see bench/README.md
	@bash scripts/setup.sh --bench
	bash bench/run.sh

bench-smoke: ## fail when a request takes more CPU than SMOKE_RATIO x a bare Pingora; takes under a minute
	@bash scripts/setup.sh --smoke
	bash bench/smoke.sh

release-pgo: ## build the program with profile-guided optimisation; two builds
	@bash scripts/setup.sh --smoke --pgo
	bash bench/pgo.sh

install: ## install program, configuration, systemd unit: BINARY, PREFIX, DESTDIR
	@BINARY='$(BINARY)' bash scripts/install.sh

dist: ## make an archive of the statically linked program with its installer
	@bash scripts/setup.sh
	@bash scripts/dist.sh

package-test: ## make such an archive and try it in an empty root directory; needs root
	@bash scripts/setup.sh --tests
	bash scripts/package-test.sh

clean: ## remove what was built
	$(CARGO) clean
