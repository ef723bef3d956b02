package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/cmd/secretctl/dotenv"
	"secretctl/sock"
)

// assignment is one variable of the command's environment: a secret's value, or
// a text of a file.
type assignment struct {
	key   string
	name  secret.Name // "" is the text
	plain []byte
}

// readEnvFile reads the assignments of a .env file.
func readEnvFile(path string) ([]assignment, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the env file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, dotenv.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the env file: %w", err)
	}
	file, err := dotenv.Parse(text)
	if wrong := new(dotenv.ParseError); errors.As(err, &wrong) {
		return nil, hinted(fmt.Errorf("reading %s: %w", path, err), wrong.Remedy)
	} else if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	var out []assignment
	for _, e := range file.Entries() {
		a := assignment{key: e.Key, plain: e.Value}
		if name, ok := dotenv.Reference(e.Value); ok {
			if a.name, err = secret.ParseName(name); err != nil {
				return nil, fmt.Errorf("reading %s: line %d: %w", path, e.Line, err)
			}
		}
		out = append(out, a)
	}
	return out, nil
}

// refuseAgents refuses a file that an agent can write, or put another in the
// place of: it would choose which secrets an owner's command gets.
func refuseAgents(ctx context.Context, c *broker.Client, paths []string, who, hint string) error {
	status, err := c.Status(ctx)
	if err != nil {
		return err
	}
	for _, path := range paths {
		for _, agent := range status.Agents {
			if agent.UID == uint32(os.Getuid()) {
				continue // same-user mode: there is no boundary to keep
			}
			if where, ok := sock.Writable(path, agent.UID, groupsOf(agent.UID)); ok {
				return hinted(fmt.Errorf("%s decides which secrets %s, and the agent %q can change it: it can write %s", path, who, agent.Name, where), hint)
			}
		}
	}
	return nil
}
