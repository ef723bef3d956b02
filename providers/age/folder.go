package age

import (
	"path"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
)

func (s *Store) folder(name secret.Name) string { return path.Join(s.dir, string(name)) }

// making is a folder that is being made, or has been by one of those who write
// at this time.
type making struct {
	done chan struct{} // closed once err is set
	err  error
}

// makeFolder makes the folder of a secret's versions, durably, and keeps it until
// letFolderGo.
func (s *Store) makeFolder(name secret.Name) error {
	s.mu.Lock()
	s.writing++
	s.mu.Unlock()
	err := s.make(s.folder(name))
	if err != nil {
		s.letFolderGo()
	}
	return err
}

// make makes a folder and those around it. Of all who want one it is made, and
// its name made durable, by the first; the others wait for that.
func (s *Store) make(dir string) error {
	s.mu.Lock()
	m, ok := s.folders[dir]
	if ok {
		s.mu.Unlock()
		<-m.done
		return m.err
	}
	m = &making{done: make(chan struct{})}
	s.folders[dir] = m
	s.mu.Unlock()
	defer close(m.done)
	if dir == s.dir {
		m.err = durable.MkdirAll(s.disk, dir, 0o700)
	} else if m.err = s.make(path.Dir(dir)); m.err == nil {
		m.err = durable.Mkdir(s.disk, dir, 0o700)
	}
	return m.err
}

// letFolderGo forgets the folders when nobody writes any more: from then on they
// may be removed, and one that could not be made is tried again.
func (s *Store) letFolderGo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing--; s.writing == 0 {
		clear(s.folders)
	}
}

// removeFolders removes the secret's folder, and those around it, where they are
// empty. While something is written they stay: an empty folder says nothing that
// is not so, and the next deletion in it takes it away.
func (s *Store) removeFolders(name secret.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for dir := s.folder(name); s.writing == 0 && dir != s.dir; dir = path.Dir(dir) {
		if s.disk.Remove(dir) != nil {
			return // not empty
		}
	}
}
