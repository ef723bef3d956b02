# make test runs everything a change must pass. What a test needs and the
# machine lacks is installed first where that is possible (root on Debian);
# elsewhere the tests that need it say so and skip. SECRETCTL_TEST_STRICT=1
# turns every skip into a failure; SECRETCTL_LONG=1 runs the long versions. All
# that the tests write is then searched for the secrets they used: cmd/canaries.
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

# How long each fuzz target runs.
FUZZTIME = $(if $(SECRETCTL_LONG),60s,5s)

# What only computes is not watched for races: it is not ours, and would take up to
# ten times as long.
ARITHMETIC = crypto/internal/... math/big filippo.io/edwards25519/... \
	$(addprefix golang.org/x/crypto/,blake2b bcrypt blowfish chacha20 chacha20poly1305 curve25519 internal/... pbkdf2 scrypt)
RACE = -race $(foreach p,$(ARITHMETIC),'-gcflags=$(p)=-race=false')

.PHONY: test lint cross crash core fuzz model bench cover deps

test: deps lint cross
	log=$$(mktemp) && trap 'rm -f '$$log EXIT && \
		GORACE=atexit_sleep_ms=10 go run ./cmd/canaries go test -v $(RACE) -shuffle=on -timeout 20m ./... >$$log || { cat $$log; exit 1; } && \
		grep '^ok' $$log
	$(MAKE) crash core fuzz model

lint:
	test -z "$$(gofmt -l .)"
	go vet ./...
	go run $(STATICCHECK) ./...

cross:
	for arch in arm64 amd64; do \
		GOOS=darwin GOARCH=$$arch CGO_ENABLED=0 go vet ./... && \
		GOOS=darwin GOARCH=$$arch CGO_ENABLED=0 go build -o /dev/null ./... || exit 1; \
	done
	GOOS=linux GOARCH=arm64 CGO_ENABLED=0 go build -o /dev/null ./...
	CGO_ENABLED=0 go build -o /dev/null ./...

# Crash images are many more without the race detector, under which signatures
# are ten times slower.
crash:
	log=$$(mktemp) && trap 'rm -f '$$log EXIT && \
		go test -count=1 -timeout 60m -run 'Crash' -v ./broker ./broker/audit >$$log || { cat $$log; exit 1; } && \
		grep -vE '^=== ' $$log

# 1Password's library compiles 9 MB of WebAssembly first, which takes minutes under
# the race detector: its tests are not built there.
core:
	go test -count=1 -timeout 10m -run 'Core' ./providers/onepassword/...

# Two at a time with one worker each. The fuzzer sometimes calls it a failure that
# its time is over (go.dev/issue/75804); a real one names the input.
fuzz:
	for p in $$(go list ./...); do \
		go test -list '^Fuzz' $$p | sed -n "s|^Fuzz|$$p &|p"; \
	done | xargs -P 2 -n 2 sh -c ' \
		out=$$(mktemp) && trap "rm -f $$out" EXIT && \
		go test -run "^$$" -fuzz "^$$1$$" -parallel 1 -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$0 >$$out 2>&1 || \
			{ grep -q "^ *context deadline exceeded$$" $$out && ! grep -q "Failing input" $$out; } || { cat $$out; exit 255; }; \
		echo $$0 $$1 $$(grep -o "execs: [0-9]*" $$out | tail -n 1)'

# All states of the protocol of a rotation.
model: deps
	testdata/model/check

bench:
	go test -run '^$$' -bench . -benchtime 2s -timeout 60m ./...

cover:
	go test -coverpkg=./... -coverprofile=cover.out ./... && go tool cover -func=cover.out | tail -n 1

# Packages of servers start them when they are installed, unless policy-rc.d says
# no; the tests start their own.
POLICY = /usr/sbin/policy-rc.d

deps:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		! { command -v age && command -v systemd-creds && command -v gcc && command -v curl && command -v gcore && command -v tmux && command -v strace && command -v vim && command -v less && command -v perl && \
			command -v redis-server && command -v spin && command -v gnome-keyring-daemon && command -v secret-tool && command -v dbus-daemon && command -v keepassxc && command -v /usr/sbin/sshd && { command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; }; } >/dev/null; then \
		[ -e $(POLICY) ] || { trap 'rm -f $(POLICY)' EXIT && printf '#!/bin/sh\nexit 101\n' >$(POLICY) && chmod 755 $(POLICY); } && \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq age systemd gcc curl gdb tmux strace vim less perl postgresql redis-server openssh-server spin gnome-keyring libsecret-tools dbus keepassxc >/dev/null; \
	fi
