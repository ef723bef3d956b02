package audit

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"golang.org/x/mod/sumdb/note"

	"secretctl/broker/clock"
	"secretctl/broker/durable"
)

// Create makes a log without records in dir, and the key that signs its
// checkpoints. It fails with [ErrExists] where there is a segment or a
// snapshot; what a Create that did not finish has left is replaced.
func Create(d durable.Disk, dir string, clk clock.Clock) error {
	if err := create(d, dir, clk); err != nil {
		return fmt.Errorf("creating the audit log: %w", err)
	}
	return nil
}

func create(d durable.Disk, dir string, clk clock.Clock) error {
	if err := durable.MkdirAll(d, dir, 0o700); err != nil {
		return err
	}
	if list, err := segments(d, dir); err != nil {
		return err
	} else if len(list) > 0 {
		return ErrExists
	}
	if _, err := d.Stat(path.Join(dir, snapFile)); err == nil {
		return ErrExists
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var id [8]byte
	rand.Read(id[:]) // never fails: crypto/rand crashes the program instead
	key, _, err := note.GenerateKey(rand.Reader, "secretctl/"+hex.EncodeToString(id[:]))
	if err != nil {
		return err
	}
	key += "\n"
	sign, err := newSigner(key)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(d, path.Join(dir, keyFile), []byte(key), 0o600); err != nil {
		return err
	}
	c := cursor{origin: sign.origin}
	first, _, err := c.begin(newHasher(), sign, 1, 0, micro(clk.Now().Wall))
	if err != nil {
		return err
	}
	return durable.WriteFile(d, path.Join(dir, segmentName(1)), first, 0o600)
}

func readSigner(d durable.Disk, dir string) (*signer, error) {
	b, err := durable.ReadFile(d, path.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	s, err := newSigner(string(b))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path.Join(dir, keyFile), err)
	}
	return s, nil
}
