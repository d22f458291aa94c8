# `make` lists the targets. `make demo` and `make test` do all set-up themselves.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
SHADOWTAP := target/release/shadowtap
# What the tests try out: built with them already, and with every check on.
TESTED := target/debug/shadowtap
CAPTURE := fixtures/office/office.pcap.zst

.PHONY: tested dist help deps build demo test check fmt lint doc unit office smoke deny notices corpus bench benchtool bench-peers bench-live bench-nic fuzz picture

help: ## this list
	@echo "shadowtap: which AI services are used on a network that nobody approved, by whom, how much"
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18
	@echo
	@echo "  Start with: make demo"

deps: ## libpcap headers, and a look at what else is there
	@scripts/deps.sh

build: deps ## the release binary, target/release/shadowtap
	@cargo build --release --locked --bin shadowtap

demo: build ## the main job on a recorded office; writes demo-out/
	@scripts/demo.sh

test: ## everything that must hold: check, office, live smoke test, dependencies
	@scripts/deps.sh --test
	@$(MAKE) --no-print-directory check office smoke notices deny
	@echo "make test: everything passed"

check: deps fmt lint doc unit ## formatting, lints, documentation, unit and integration tests

fmt:
	cargo fmt --check

lint:
	cargo clippy --all-targets --locked --quiet -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --no-deps --locked --quiet

unit:
	cargo test --locked --quiet

tested: deps
	@cargo test --locked --quiet --no-run --test cli

office: tested ## the recorded office against its truth
	@SHADOWTAP=$(TESTED) scripts/office-check.sh

smoke: tested ## a minute of real clients in network namespaces (root)
	@scripts/live-smoke.py $(TESTED)

corpus: tested ## the capture corpus beside this checkout against the level last reached
	@scripts/corpus.py $(TESTED)

deny: ## licences, sources and duplicates of the dependencies (cargo-deny)
	@scripts/deny.sh

notices: ## the generated pages are up to date: third-party notices, code map (scripts/….py --write)
	@scripts/notices.py
	@scripts/codemap.py

fuzz: ## a minute of fuzzing a target (scripts/fuzz SECONDS TARGET: more of one)
	@scripts/fuzz

dist: build ## the release binary, man pages, completions and a .deb in dist/; tried out (root)
	@packaging/build.sh $(SHADOWTAP)
	@packaging/test.sh dist/shadowtap_*.deb

bench: deps ## Criterion benches of the stages
	cargo bench --locked

benchtool: build
	@cargo build --release --locked --manifest-path benches/peers/Cargo.toml --target-dir target/bench-tool

bench-peers: benchtool ## ours, other programs and floors on the same captures; writes docs/performance.md (ARGS=--quick: tries it out)
	@benches/peers/run.py $(ARGS)

bench-live: benchtool ## over veth, against a bare receiver, up to the sender's ceiling (root)
	@benches/peers/live.py veth

bench-nic: benchtool ## what the sensor makes of a card's traffic: make bench-nic IFACE=eth1 [SECONDS=60] (a right to capture)
	@benches/peers/live.py nic "$(IFACE)" --seconds $(or $(SECONDS),60)

picture: demo ## docs/summary.svg from the demo's own output
	@scripts/picture.py demo-out/summary.txt docs/summary.svg --lines 38

include fixtures/office/record.mk
