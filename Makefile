# The whole interface for people. Every target does its own set-up: below .venvs/, .cache/ and target/, nothing else.
PYTHON ?= python3
MINUTES ?= 1

.PHONY: demo test test-rust test-python verify verify-briefly bench lint docs clean

demo:  ## the article's blog as a real site, without and with the cache, in one process and in several, in Python and in Rust; FLEET=1: on two machines
	FLEET=$(FLEET) $(PYTHON) tools/demo.py

test: test-rust verify-briefly test-python  ## all tests

CARGO_TEST = cargo test --workspace --exclude quickcache-python --exclude blog-rs --all-features

# Those of a Redis wait most of the time.
test-rust:
	$(PYTHON) tools/servers.py --install redis
	$(CARGO_TEST) --no-run
	$(PYTHON) tools/at_once.py "$(CARGO_TEST) --test 'redis_[cp]*'" "$(CARGO_TEST) --test 'redis_[!cp]*'" \
		"$(CARGO_TEST) --lib --bins --examples --test '[!r]*'" "$(CARGO_TEST) --doc" \
		"$(PYTHON) tools/setup/valkey.py $(CARGO_TEST) --test front_redis --test redis_faults --test redis_cluster --test redis_cluster_moves --test redis_cluster_views"

test-python:
	$(PYTHON) tools/test_python.py

VERIFY = cargo run --quiet --profile fast -p quickcache-verify --

verify:  ## histories over processes that are killed and stopped, and over a Redis and a network that fail; every read checked; MINUTES=30
	$(PYTHON) tools/servers.py --install redis
	$(VERIFY) --mutants --minutes $(MINUTES)
	$(VERIFY) --redis --pending --mutants --minutes $(MINUTES)
	$(VERIFY) --cluster --pending --mutants --minutes $(MINUTES)

verify-briefly:
	$(PYTHON) tools/servers.py --install redis
	$(VERIFY) --mutants --minutes 0.5
	$(VERIFY) --redis --pending --minutes 0.3
	$(VERIFY) --cluster --pending --minutes 0.3

bench:  ## side by side with peers; the figures of docs/benchmarks.md
	$(PYTHON) tools/bench.py

lint:  ## clippy, rustfmt, ruff, mypy
	cargo fmt --check
	cargo clippy --workspace --all-targets --all-features --quiet -- --deny warnings
	$(PYTHON) tools/lint.py

docs:  ## target/doc/quickcache/index.html
	RUSTDOCFLAGS="--deny warnings" cargo doc --no-deps --all-features -p quickcache-rs -p quickcache-macros

clean:
	rm -rf target .venvs .cache bench/*/target python/quickcache/*.so
