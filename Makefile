# vireo. `make help` lists the targets; what takes more than three lines is a script in .ci/.

.DEFAULT_GOAL := help
SHELL := /bin/sh
export GOTOOLCHAIN := auto
export CGO_ENABLED ?= 1

GO       := .ci/go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -X main.version=$(VERSION)
PREFIX   ?= /usr
DESTDIR  ?=

.PHONY: help deps build proto lint test test-long demo bench bench-store bench-evacuation bench-doublerun bench-pfa fresh install verify-units model sample clean sim sim-mutants

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what is missing of .ci/packages and a Go toolchain (apt-get, as root)
	@.ci/deps

build: ## build vireo, vireo-manager, vireo-agent, vireo-hook and vireo-lab into bin/
	@mkdir -p bin
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/vireo-lab-guest ./test/lab/guest
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/vireo-hook ./cmd/vireo-hook

proto: ## generate the Go code of the messages (committed)
	@.ci/proto

lint: ## gofmt, go vet, staticcheck, and generated code up to date
	@.ci/lint

test: deps build ## unit tests with the race detector and end-to-end tests on a real lab
	@.ci/test

test-long: deps build ## make test, what takes longer than twenty minutes, fuzzing, and the shipped model once more
	@VIREO_LONG=1 .ci/test && .ci/fuzz && .ci/model --check

sim: ## simulate SEEDS days from seed FIRST on (40 from 1; DAYS=7: weeks; STORE=etcd: two managers), SEEDS=1 with VIREO_SIM_TRACE=1 prints every event
	VIREO_SIM_SEEDS=$(or $(SEEDS),40) VIREO_SIM_FIRST=$(or $(FIRST),1) VIREO_SIM_DAYS=$(or $(DAYS),1) $(GO) test -count=1 -timeout 24h -run 'TestDays$(if $(filter etcd,$(STORE)),Etcd)$$' ./test/sim

sim-mutants: ## plant bugs, one at a time, and count the days until each is caught (SEEDS: 500, MINUTES: go on later, ONLY: regexp)
	VIREO_SIM_MUTANTS=$(or $(SEEDS),500) VIREO_SIM_MINUTES=$(or $(MINUTES),1440) VIREO_SIM_ONLY='$(ONLY)' $(GO) test -tags mutants -count=1 -timeout 48h -run 'TestMutants$$' -v ./test/sim

demo: deps build ## a failing disk empties its host, live in the terminal (KEEP=1 leaves the lab up)
	bin/vireo-lab demo

bench-doublerun: deps build ## who ends with two running copies when an answer is lost: virsh, Pacemaker's agent, vireo (needs resource-agents)
	@$(GO) run ./test/bench/doublerun

fresh: ## make demo and make test in a fresh Debian 12 chroot (as root, needs debootstrap)
	@.ci/fresh

bench: ## Go benchmarks of all packages
	$(GO) test -run '^$$' -bench . ./...

bench-store: ## what claims cost on top of the bare engine, and how fast a manager starts with 200,000 of them
	$(GO) test -run '^$$' -bench . -benchtime 3s ./test/bench/store

bench-evacuation: deps build ## evacuation beside bare concurrent virsh migrate, medians of 5 as JSON
	@$(GO) run ./test/bench/evacuation

bench-pfa: ## vireo's predictions beside XGBoost's, HistGradientBoosting's and the rules', forward in time
	@PACKAGES=test/bench/pfa/packages .ci/deps
	@$(GO) run ./test/bench/pfa

install: build ## install programs, units and configuration into $(DESTDIR)$(PREFIX)
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' .ci/install

verify-units: ## check the systemd units as installed
	@.ci/verify-units

model: ## train the shipped model from ../shared/data and write its card
	@.ci/model

sample: ## rebuild test/testdata/drives from ../shared/data
	$(GO) run ./cmd/vireo pfa sample --data ../shared/data --out test/testdata/drives

clean: ## remove what was built
	rm -rf bin .cache
