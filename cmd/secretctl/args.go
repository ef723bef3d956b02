package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"secretctl/broker/config"
	"secretctl/broker/secret"
)

// pathOf returns a command's name as it is typed after "secretctl".
func pathOf(c *cobra.Command) string {
	return strings.TrimSpace(strings.TrimPrefix(c.CommandPath(), "secretctl"))
}

func usage(c *cobra.Command, format string, args ...any) error {
	return &usageError{command: pathOf(c), text: fmt.Sprintf(format, args...)}
}

// takes makes a command want exactly these arguments. It never repeats one.
func takes(names ...string) cobra.PositionalArgs { return takesSome(len(names), names...) }

// takesSome makes a command want at least the first n of these arguments, and
// no more than all.
func takesSome(n int, names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < n:
			return usage(c, "%s needs %s", pathOf(c), names[len(args)])
		case len(args) > len(names) && len(names) == 0:
			return usage(c, "%s takes no arguments", pathOf(c))
		case len(args) > len(names):
			return usage(c, "%s takes nothing after %s", pathOf(c), names[len(names)-1])
		}
		return nil
	}
}

// badFlag is cobra's way of telling of a flag that is not right.
func badFlag(c *cobra.Command, err error) error { return usage(c, "%v", err) }

// nameArg reads the name of a secret.
func nameArg(c *cobra.Command, arg string) (secret.Name, error) {
	name, err := secret.ParseName(arg)
	if err != nil {
		return "", usage(c, "%v", err)
	}
	return name, nil
}

// patternArg reads a name, or the beginning of names and a "*"; "" when there
// is none.
func patternArg(c *cobra.Command, args []string) (string, error) {
	if len(args) == 0 || args[0] == "*" {
		return "", nil
	}
	if prefix, ok := strings.CutSuffix(args[0], "*"); ok {
		// Any beginning of a name will do, so it is tried with an end that is one.
		if _, err := secret.ParseName(prefix + "x"); err != nil {
			return "", usage(c, "%q is not the beginning of a name and a *", args[0])
		}
		return args[0], nil
	}
	_, err := nameArg(c, args[0])
	return args[0], err
}

// matches reports whether a name is meant by a pattern of [patternArg].
func matches(pattern, name string) bool {
	prefix, open := strings.CutSuffix(pattern, "*")
	return pattern == "" || name == pattern || open && strings.HasPrefix(name, prefix)
}

// durationFlag is a flag that reads durations as the config does: Go's, and
// days.
type durationFlag time.Duration

func (d *durationFlag) Set(s string) error {
	v, err := config.ParseDuration(s)
	if err == nil && v < time.Second {
		err = fmt.Errorf("%q is less than a second", s)
	}
	*d = durationFlag(v)
	return err
}

func (d *durationFlag) String() string {
	if *d == 0 {
		return ""
	}
	return config.FormatDuration(time.Duration(*d))
}

func (*durationFlag) Type() string { return "duration" }
