# make test runs everything a change must pass. What a test needs and the
# machine lacks is installed first where that is possible (root on Debian);
# elsewhere the tests that need it say so and skip. SECRETCTL_TEST_STRICT=1
# turns every skip into a failure; SECRETCTL_LONG=1 runs the long versions. All
# that the tests write is then searched for the secrets they used: cmd/canaries.
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

# How long each fuzz target runs.
FUZZTIME = $(if $(SECRETCTL_LONG),60s,5s)

.PHONY: test lint cross crash fuzz bench cover deps

test: deps lint cross
	log=$$(mktemp) && trap 'rm -f '$$log EXIT && \
		GORACE=atexit_sleep_ms=10 go run ./cmd/canaries go test -v -race -shuffle=on -timeout 20m ./... >$$log || { cat $$log; exit 1; } && \
		grep '^ok' $$log
	$(MAKE) crash fuzz

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

# The fuzzer sometimes calls it a failure that its time is over (go.dev/issue/75804);
# a real one names the input.
fuzz:
	out=$$(mktemp) && trap 'rm -f '$$out EXIT && \
	for p in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz'); do \
			echo "$$p $$f" && go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$p >$$out 2>&1 || \
				{ grep -q '^ *context deadline exceeded$$' $$out && ! grep -q 'Failing input' $$out; } || { cat $$out; exit 1; }; \
			grep -o 'execs: [0-9]*' $$out | tail -n 1; \
		done; \
	done

bench:
	go test -run '^$$' -bench . -benchtime 2s ./...

cover:
	go test -coverpkg=./... -coverprofile=cover.out ./... && go tool cover -func=cover.out | tail -n 1

deps:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		! { command -v age && command -v gcc && command -v curl && command -v gcore && command -v tmux && command -v vim && command -v less && command -v perl; } >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq age gcc curl gdb tmux vim less perl >/dev/null; \
	fi
