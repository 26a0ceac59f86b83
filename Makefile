# What a contributor runs. Nothing here needs root; MySQL is unpacked into .build if none is found.

# nextest where it is installed, since it runs each test in a process of its own; else `cargo`.
RUNNER ?= $(shell cargo nextest --version >/dev/null 2>&1 && echo nextest || echo cargo)
# Benchmarks have no tests; clippy compiles them.
TESTED = --workspace --exclude towpath-benches --locked
SOAK = $${CARGO_TARGET_DIR:-target}/debug/towpath-soak

.PHONY: help
help:
	@echo 'make demo          watch a pipeline replicate and survive kill -9 (some minutes with the build)'
	@echo 'make compose-demo  the same with Docker: kill every container in turn, compare row by row'
	@echo 'make compose-demo-cluster  the same with three Servers, each killed in turn'
	@echo 'make test          everything that must hold before a commit'
	@echo 'make test-long     hundreds of kills and the tests that take long'
	@echo 'make bench         benchmarks (release build)'
	@echo 'make fuzz          fuzz what the directory and a Core read, SECONDS per target (needs cargo-fuzz and a nightly)'
	@echo 'make fix           format, and apply what clippy can'
	@echo 'make deny          licences, advisories and banned crates (needs cargo-deny)'

.PHONY: demo
demo:
	@scripts/demo.sh

# Needs Docker with Compose v2, and neither Rust nor a MySQL.
.PHONY: compose-demo
compose-demo:
	@scripts/compose-demo

.PHONY: compose-demo-cluster
compose-demo-cluster:
	@scripts/compose-demo --cluster

.PHONY: test
test: lint tests soak

.PHONY: lint
lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings

.PHONY: tests
# The tests wait more than they compute, so there's one more at a time than two processors.
tests: mysql build
ifeq ($(RUNNER),nextest)
	cargo nextest run $(TESTED)
else
	RUST_TEST_THREADS=3 cargo test $(TESTED)
endif

# Short, but with the real thing: eight kills while the bank is open.
.PHONY: soak
soak: mysql build
	$(SOAK) --seconds 16 --kills 8

.PHONY: test-long
test-long: mysql build
	@directory/tests/zookeeper/get > /dev/null
ifeq ($(RUNNER),nextest)
	cargo nextest run $(TESTED) --run-ignored all
else
	cargo test $(TESTED) -- --include-ignored
endif
	directory/tests/kazoo/run
	directory/tests/kazoo/run --three
	directory/tests/kazoo/run --three --kill-at 100
	directory/tests/zookeeper/zkcli
	$(SOAK) --seconds 100 --kills 50
	$(SOAK) --seconds 60 --kills 120 --connections 12
	$(SOAK) --seconds 200 --kills 200
	$(SOAK) --seconds 300

.PHONY: bench
bench: mysql
	cargo run --release --locked --package towpath-benches --bin decode
	cargo build --release --locked --package towpath-directory --example serve
	cargo run --release --locked --package towpath-benches --bin directory
	cargo build --release --locked --bin towpath
	cargo run --release --locked --package towpath-benches --bin replicate -- --w1-transactions 25000

# What it finds is in fuzz/artifacts, and `cargo +nightly fuzz run TARGET FILE` shows it again.
SECONDS ?= 60
.PHONY: fuzz
fuzz:
	cd fuzz && cargo run --quiet --example seeds
	cd fuzz && for target in request entry snapshot event; do \
		cargo +nightly fuzz run $$target -- -max_total_time=$(SECONDS) -rss_limit_mb=1024 -max_len=16384 || exit 1; \
	done

.PHONY: fix
fix:
	cargo clippy --fix --allow-dirty --allow-staged --workspace --all-targets
	cargo fmt --all

.PHONY: deny
deny:
	cargo deny check

.PHONY: mysql
mysql:
	@scripts/find-mysql || scripts/get-mysql .build/mysql

# The tests run the programs, which they expect to find beside themselves.
.PHONY: build
build:
	cargo build $(TESTED) --bins
