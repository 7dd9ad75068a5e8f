# The README's two commands, and the parts of .ci/run one by one. Kept to what GNU make 3.81 knows, which macOS ships.
.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench suite soak

# Extra arguments of `rowhouse demo` and of the suite: make demo ARGS="--listen 127.0.0.1:8080"
ARGS :=

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s  %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing: PostgreSQL's server programs, a C compiler
	@scripts/setup

demo: setup ## the to-do example on a private Postgres; Ctrl-C stops all of it
	cargo run --release --locked -- demo $(ARGS)

test: setup ## all tests, against a private Postgres
	cargo test --locked

check: setup ## format, lints and docs, as strict as the gate
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

bench: setup ## all benches, against a private Postgres
	cargo bench --locked

suite: setup ## the real program beside what it is compared with, some minutes
	cargo bench --locked --bench suite -- $(ARGS)

soak: setup ## a million requests while everything goes wrong, every answer checked
	cargo bench --locked --bench suite -- --soak 1000000 $(ARGS)
