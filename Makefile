# The two commands are `make run` and `make test`; the others are their parts.
.DEFAULT_GOAL := help
.PHONY: help run test bench fuzz sqlx fmt lint bundle setup setup-build lint-rust unit-tests schema browser-tests

# Parts lean on what the part before them built, and share one cargo lock.
.NOTPARALLEL:

help: ## What can be asked for
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: setup-build bundle ## Builds everything and serves a demo on http://127.0.0.1:3000
	@mkdir -p target/run
	cargo run --release --locked --bin tidemark -- demo --database target/run/demo.db

test: setup lint unit-tests schema browser-tests ## Sets up, then runs every test there is

setup: ## Brings toolchain, npm packages, browser and Prometheus where they are missing
	@.ci/setup

setup-build:
	@.ci/setup build

fmt: ## Formats the code
	cargo fmt --all

lint: ## Checks the format, and clippy with warnings denied
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	cargo clippy --locked --package tidemark-app --lib --features hydrate --target wasm32-unknown-unknown -- --deny warnings
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --workspace check licenses bans sources; \
	else echo 'lint: cargo-deny is not installed, so licences and sources are left unchecked'; fi

# After the bundle, so that the server's tests see the pages with it.
# Twice as many threads as cores: many tests wait for a clock or a socket.
unit-tests: export RUST_TEST_THREADS ?= $(shell expr 2 \* $$(nproc 2>/dev/null || echo 2))
unit-tests: bundle
	cargo test --locked --workspace

schema:
	cargo schema check

browser-tests: bundle
	cargo bundle --debuginfo
	node end2end/run.mjs

sqlx: ## Writes .sqlx anew after a change of a query or a migration
	cargo schema write

bundle: ## Builds the browser bundle into target/site and prints its size
	cargo bundle

bench: ## Runs the benchmarks
	cargo bench --locked --package tidemark

fuzz: ## Fuzzes every reader of bytes, a minute each
	@.ci/fuzz 60
