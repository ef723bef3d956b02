package durable

import "os"

// Rooted returns a home as it is where openat2(2) is not to be had, and whether it
// is without.
func Rooted(dir string) (_ Disk, already bool, err error) {
	d, err := OpenHome(dir)
	if err != nil {
		return nil, false, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, false, err
	}
	h := d.(*home)
	_, already = h.files.(rooted)
	h.files = rooted{root}
	return h, already, nil
}
