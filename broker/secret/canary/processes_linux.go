package canary

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// period is how often every process is looked at. Few of ours live shorter.
const period = 20 * time.Millisecond

// sample searches the arguments and environments of all processes until ctx is
// done, and once more for what is still there then.
func (f *findings) sample(ctx context.Context) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	seen := make(map[[sha256.Size]byte]bool)
	for done := false; ; {
		dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is right
		for _, dir := range dirs {
			f.process(dir, seen)
		}
		if done {
			return
		}
		select {
		case <-ctx.Done():
			done = true
		case <-tick.C:
		}
	}
}

// ChannelVariable is how the name of an environment variable ends that is a
// delivery channel, as the name of a file does with [Channel].
const ChannelVariable = "_CANARY"

// withoutChannels returns an environment without those.
func withoutChannels(environ []byte) (rest []byte) {
	for entry := range bytes.SplitAfterSeq(environ, []byte{0}) {
		if key, _, _ := bytes.Cut(entry, []byte("=")); !bytes.HasSuffix(key, []byte(ChannelVariable)) {
			rest = append(rest, entry...)
		}
	}
	return rest
}

// process searches what of a process was not seen before.
func (f *findings) process(dir string, seen map[[sha256.Size]byte]bool) {
	for _, name := range []string{"cmdline", "environ"} {
		path := filepath.Join(dir, name)
		text, err := os.ReadFile(path)
		if err != nil || len(text) == 0 {
			continue // it has ended, is another user's, or has none
		}
		if name == "environ" {
			text = withoutChannels(text)
		}
		key := sha256.Sum256(append([]byte(path), text...))
		if seen[key] {
			continue
		}
		seen[key] = true
		if name == "cmdline" {
			f.processes++
		}
		who, _ := os.ReadFile(filepath.Join(dir, "comm"))
		f.text(fmt.Sprintf("%s (%.15q)", path, who), string(text))
	}
}
