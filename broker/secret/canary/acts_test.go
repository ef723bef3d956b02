package canary_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"secretctl/broker/secret/canary"
)

// actVariable names, in the environment, what this binary is to be instead of a
// test run.
const actVariable = "CANARY_TEST_ACT"

// acts are the commands that the tests have watched.
var acts = map[string]func(){
	"leak":     leakEverywhere,
	"names":    leakInNames,
	"brief":    leakBriefly,
	"orphan":   func() { write("TMPDIR/log", ""); start(exec.Command(self(), value())) },
	"deliver":  deliver,
	"unminted": func() { write("TMPDIR/value.canary", "sk-made-up") },
	"clean":    doNothingWrong,
	"silent":   func() {},
	"fail":     func() { write("TMPDIR/log", ""); os.Exit(3) },
	"hold":     hold,
}

// value is what leaks: a part of a value, with one marker in it.
func value() string { return canary.Of("value")[len("sk-"):20] }

// leakEverywhere leaks the value in every spelling at every place.
func leakEverywhere() {
	write("seed", os.Getenv(canary.Variable))
	for _, s := range spellings {
		leak := s.of(value())
		write("TMPDIR/file-"+s.name, leak)
		write("TMPDIR/gzip-"+s.name, gzipped(leak))
		if s.header {
			continue
		}
		fmt.Println(leak)
		fmt.Fprintln(os.Stderr, leak)
		write("new-"+s.name, "in the working directory "+leak)
		write("TMPDIR/core-"+s.name, strings.Repeat("\x00\xff", border/2-4)+leak+strings.Repeat("\x00\xff", 1<<10))
		if !s.binary {
			start(exec.Command(self(), leak))
			env := exec.Command(self())
			env.Env = []string{"LEAK=" + leak}
			start(env)
		}
	}
}

// deliver has the value in channels alone.
func deliver() {
	write("TMPDIR/value.canary", canary.Of("value"))
	env := exec.Command(self())
	env.Env = []string{"VALUE_CANARY=" + canary.Of("value")}
	start(env)
}

// border is where the text that the finder searches at a time ends, in bytes.
const border = 1 << 20

// leakInNames leaks the value where it is in no file.
func leakInNames() {
	write("seed", os.Getenv(canary.Variable))
	dir := os.Getenv("TMPDIR") + "/" + value()
	check(os.Mkdir(dir, 0o700))
	check(os.WriteFile(dir+"/empty", nil, 0o600))
	check(os.WriteFile(dir+"/full", []byte(value()), 0o600))
	check(os.Symlink("/nowhere/"+value(), os.Getenv("TMPDIR")+"/link"))
}

// leakBriefly leaks the value in the arguments of a process that ends before
// the command does.
func leakBriefly() {
	write("TMPDIR/log", "")
	check(exec.Command("sh", "-c", "sleep 1", value()).Run())
}

// doNothingWrong leaves nothing but a file that is older than the run.
func doNothingWrong() {
	fmt.Println("ok")
	write("TMPDIR/log", "nothing of note")
	write("old", value())
	check(os.Chtimes("old", time.Time{}, time.Now().Add(-time.Hour)))
}

// start starts a process that lives until the watcher's input ends.
func start(cmd *exec.Cmd) {
	cmd.Env = append(cmd.Env, actVariable+"=hold", "GORACE=atexit_sleep_ms=0")
	cmd.Stdin = os.Stdin
	check(cmd.Start())
}

func hold() { _, _ = io.Copy(io.Discard, os.Stdin) }

func self() string {
	path, err := os.Executable()
	check(err)
	return path
}

// write writes a file in the working directory, or in the one for temporary
// files.
func write(name, text string) {
	if name, ok := strings.CutPrefix(name, "TMPDIR"); ok {
		check(os.WriteFile(os.Getenv("TMPDIR")+name, []byte(text), 0o600))
		return
	}
	check(os.WriteFile(name, []byte(text), 0o600))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "act:", err)
		os.Exit(1)
	}
}
