package main

import (
	"bytes"
	"errors"
	"fmt"

	"secretctl/cmd/secretctl/dotenv"
)

// envFiles are .env files that are worked on as one user: in this process, or by
// another that is that user.
type envFiles interface {
	// open reads a file, which the caller may change and clears. The others below
	// are for files that were opened.
	open(path string) (content []byte, err error)
	rewrite(path string, with []byte) error
	// remains looks for the values of entries, by their index, where they may still be.
	remains(path string, taken []int) ([]remain, error)
	close() error
}

// ownFiles are the files of this process's user.
type ownFiles struct {
	home string // where shells keep their histories; "": nowhere
	step func(name string)
	all  map[string]*envFile // by path
}

func (o *ownFiles) open(path string) ([]byte, error) {
	if o.all[path] != nil {
		return nil, fmt.Errorf("%s is named twice", path)
	}
	f, err := openEnvFile(path)
	if err != nil {
		return nil, err
	}
	f.step = o.step
	if o.all == nil {
		o.all = make(map[string]*envFile)
	}
	o.all[path] = f
	return bytes.Clone(f.content), nil
}

var errNotOpened = errors.New("the file was not opened")

func (o *ownFiles) rewrite(path string, with []byte) error {
	f := o.all[path]
	if f == nil {
		return errNotOpened
	}
	return f.rewrite(with)
}

func (o *ownFiles) remains(path string, taken []int) ([]remain, error) {
	f := o.all[path]
	if f == nil {
		return nil, errNotOpened
	}
	read, err := dotenv.Parse(bytes.Clone(f.content))
	if err != nil {
		return nil, err
	}
	defer read.Clear()
	s := search{f: f, home: o.home}
	for _, i := range taken {
		if i < 0 || i >= len(read.Entries()) {
			return nil, errNotOpened
		}
		s.want(read.Entries()[i])
	}
	return s.run(), nil
}

func (o *ownFiles) close() error {
	for _, f := range o.all {
		f.close()
	}
	return nil
}
