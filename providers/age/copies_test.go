package age_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/age"
)

// TestNoCopiesAreLeft: putting a value and opening it leave no copy of it in
// memory besides the one in the locked memory, and none when that is cleared.
func TestNoCopiesAreLeft(t *testing.T) {
	if runtime.GOOS != "linux" {
		missing(t, "needs /proc to look into a process")
	}
	for _, size := range []int{32, 64, 100, 4 << 10, 64<<10 + 1, 1 << 20} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			p := startPassing(t, size)
			for _, step := range []struct {
				says   string
				copies int
			}{{"holding", 1}, {"put", 0}, {"got", 1}, {"cleared", 0}} {
				require.Equal(t, step.says, p.line(t))
				require.Equal(t, step.copies, p.copies(t), step.says)
				p.goOn(t)
			}
			require.NoError(t, p.cmd.Wait())
		})
	}
}

// passing is a process that passes one value through the store.
type passing struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	seed string
	size int
}

func startPassing(t *testing.T, size int) *passing {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	p := &passing{cmd: exec.CommandContext(t.Context(), exe), seed: rand.Text(), size: size}
	p.cmd.Dir, p.cmd.Stderr = t.TempDir(), os.Stderr
	p.cmd.Env = []string{childVar + "=1", "SEED=" + p.seed, "SIZE=" + strconv.Itoa(size), "GORACE=atexit_sleep_ms=0", "GOCOVERDIR=" + t.TempDir()}
	p.in, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.out = bufio.NewReader(out)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { _ = p.cmd.Wait() }) // where the test did not get to it
	return p
}

func (p *passing) line(t *testing.T) string {
	t.Helper()
	var line string
	_, err := fmt.Fscanln(p.out, &line)
	require.NoError(t, err)
	return line
}

func (p *passing) goOn(t *testing.T) {
	t.Helper()
	_, err := io.WriteString(p.in, "\n")
	require.NoError(t, err)
}

// copies counts, in all of the process's memory, how often the part of the value
// is there that is there most often.
func (p *passing) copies(t *testing.T) int {
	t.Helper()
	value := make([]byte, p.size)
	spell(value, p.seed)
	found := make(map[int]int) // offset of a part of the value → times
	for at := 0; at < p.size; at += 32 << 10 {
		found[min(at, p.size-32)] = 0
	}
	found[p.size-32] = 0
	for part := range memory(t, p.cmd.Process.Pid) {
		for at := range found {
			found[at] += bytes.Count(part, value[at:at+32])
		}
	}
	most := 0
	for _, n := range found {
		most = max(most, n)
	}
	return most
}

// spell fills b with text that follows from the seed and repeats nowhere, and
// writes it nowhere else.
func spell(b []byte, seed string) {
	for i := 0; i < len(b); {
		block := sha256.Sum256(strconv.AppendInt([]byte(seed), int64(i), 10))
		for _, c := range block {
			if i < len(b) {
				b[i] = 'a' + c%26
				i++
			}
		}
	}
}

// passThrough puts a value, clears it, gets it and clears it again, and waits
// after each step for somebody to have looked.
func passThrough() {
	ctx := context.Background()
	size, err := strconv.Atoi(os.Getenv("SIZE"))
	must(err)
	disk, err := durable.OpenHome(".")
	must(err)
	_, err = age.Init(disk, start, age.Wanted{})
	must(err)
	s := age.New(disk, "vault")

	v, err := secret.Fill(size, func(b []byte) error { spell(b, os.Getenv("SEED")); return nil })
	must(err)
	look("holding")
	sum, err := s.Put(ctx, "a", 1, v)
	must(err)
	v.Clear()
	look("put")
	v, err = s.Get(ctx, "a", 1, sum)
	must(err)
	look("got")
	v.Clear()
	look("cleared")
	must(s.Delete(ctx, "a", 1))
	_, err = s.Get(ctx, "a", 1, sum)
	if err != providers.ErrAbsent {
		must(fmt.Errorf("getting what was deleted: %v", err))
	}
}

func look(what string) {
	runtime.GC()
	runtime.GC()
	fmt.Println(what)
	var one [1]byte
	_, err := os.Stdin.Read(one[:])
	must(err)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}
