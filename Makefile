# make test runs everything a change must pass. What a test needs and the
# machine lacks is installed first where that is possible (root on Debian);
# elsewhere the tests that need it say so and skip. SECRETCTL_TEST_STRICT=1
# turns every skip into a failure; SECRETCTL_LONG=1 runs the long versions.
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: test lint cross deps

test: deps lint cross
	GORACE=atexit_sleep_ms=10 go test -race -shuffle=on -timeout 20m ./...

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

deps:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		! { command -v age && command -v gcc && command -v curl && command -v gcore; } >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq age gcc curl gdb >/dev/null; \
	fi
