package age

import (
	"path"
	"sync"

	"secretctl/broker/secret"
)

func (s *Store) folder(name secret.Name) string { return path.Join(s.dir, string(name)) }

// keepFolders keeps all folders, those that are made from now on too, until end
// is called, once or more.
func (s *Store) keepFolders() (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.writing--
	})
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
