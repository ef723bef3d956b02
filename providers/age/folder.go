package age

import (
	"path"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
)

func (s *Store) folder(name secret.Name) string { return path.Join(s.dir, string(name)) }

// makeFolder makes the folder of a secret's versions, durably, and keeps it until
// letFolderGo.
func (s *Store) makeFolder(name secret.Name) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := durable.MkdirAll(s.disk, s.folder(name), 0o700); err != nil {
		return err
	}
	s.writing++
	return nil
}

func (s *Store) letFolderGo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing--
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
