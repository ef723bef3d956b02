package main

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"secretctl/broker/secret/canary"
)

var update = flag.Bool("update", false, "rewrite the expected output in the scripts")

// TestScripts runs testdata/script: what every command does, from outside.
func TestScripts(t *testing.T) {
	gatherCoverage(t)
	dir := filepath.Join("..", "..", "testdata", "script")
	found, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	require.NoError(t, err)
	require.NotEmpty(t, found, "the scripts are gone")
	for _, path := range found {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NotRegexp(t, `(?m)^(stop|skip)\b`, string(text), "%s does not run to its end", path)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		WorkdirRoot:         canary.Dir(t),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Deadline:            time.Now().Add(10 * time.Minute), // for what should end by itself and does not
		Setup:               setUp,
		Condition:           condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":      cmdExits,
			"serve":      cmdServe,
			"end":        cmdEnd,
			"signal":     cmdSignal,
			"until":      cmdUntil,
			"keys":       cmdKeys,
			"fill":       cmdFill,
			"flip":       cmdFlip,
			"checkpoint": cmdCheckpoint,
			"mint":       cmdMint,
			"into":       cmdInto,
			"gives":      cmdGives,
			"keyring":    cmdKeyring,
			"bao":        cmdBao,
		},
	})
}

// setUp gives a script a home of its own, at a path short enough for a socket
// and passable by every uid.
func setUp(e *testscript.Env) error {
	dir, err := canary.MkdirTemp()
	if err != nil {
		return err
	}
	e.Defer(func() { _ = canary.RemoveAll(dir) })
	broker := new(brokerProcess)
	e.Values[brokerKey{}] = broker
	e.Defer(broker.kill)
	e.Values[keyringKey{}] = &keyring{t: e.T().(testing.TB)}
	e.Values[baoKey{}] = &scriptBao{t: e.T().(testing.TB)}
	for key, value := range map[string]string{
		"SC":             dir,
		"SECRETCTL_HOME": filepath.Join(dir, "home"),
		"LOG":            filepath.Join(dir, "serve.log"),
		"STAGE":          stageDir,
		"GORACE":         "atexit_sleep_ms=10",
		"GOCOVERDIR":     os.Getenv("GOCOVERDIR"),
	} {
		e.Setenv(key, value)
	}
	return nil
}

// condition knows [root]: whether there can be a second uid. A strict run does
// not let a script skip for the lack of it.
func condition(name string) (bool, error) {
	if name != "root" {
		return false, errors.New("no such condition")
	}
	is := os.Getuid() == 0
	if !is && os.Getenv("SECRETCTL_TEST_STRICT") != "" {
		return false, errors.New("this needs root: a second uid")
	}
	return is, nil
}
