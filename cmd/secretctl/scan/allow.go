package scan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// AllowFile is the file, beside .git or in the directory that is searched, with
// the fingerprints of finds that are no secrets: one a line, "#" begins a
// comment.
//
// A fingerprint says where, not what: it is made of the rule, the path below
// that directory and the how-manieth find of the rule in the file it is; in the
// history of a repository also of the version of the file. A hash of the value
// would do better at noticing that another value stands there, but such a file
// is committed, and whoever reads it could try passwords on the hash until one
// fits.
const AllowFile = ".secretctl-allow"

// allowComment, in the line of a find or in a comment that is all of the line
// before it, says that it is no secret. It does not speak for values that the
// vault holds, and neither does [AllowFile]: those are secrets.
const allowComment = "secretctl:allow"

// fingerprint names a place.
func fingerprint(rule, path, version string, nth int) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{"secretctl scan 1", rule, filepath.ToSlash(path), version, strconv.Itoa(nth)}, "\x00")))
	return hex.EncodeToString(sum[:8])
}

// base is the directory that the fingerprints of a tree are relative to, and
// those that are allowed in it.
type base struct {
	dir     string // absolute
	allowed map[string]bool
}

// baseOf finds the base of a directory: the next directory above it, or itself,
// that is the top of a repository or has an [AllowFile], or else the directory
// itself.
func baseOf(dir string) (base, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return base{}, err
	}
	b := base{dir: dir}
	for up := dir; ; up = filepath.Dir(up) {
		if exists(filepath.Join(up, AllowFile)) || exists(filepath.Join(up, ".git")) {
			b.dir = up
			break
		}
		if up == filepath.Dir(up) {
			break
		}
	}
	b.allowed, err = readAllowed(filepath.Join(b.dir, AllowFile))
	return b, err
}

// place returns a path below the base.
func (b *base) place(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(b.dir, abs)
	if err != nil {
		return abs
	}
	return rel
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// maxAllowFile is the longest [AllowFile], in bytes. A sanity check.
const maxAllowFile = 4 << 20

// readAllowed reads an [AllowFile]. None allows nothing.
func readAllowed(path string) (map[string]bool, error) {
	f, err := openFile(nil, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("reading %q: %w", path, err)
	}
	defer f.Close()
	text := make([]byte, maxAllowFile)
	n, err := readFull(f, text)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", path, err)
	}
	allowed := make(map[string]bool)
	line := 0
	for raw := range bytes.Lines(text[:n]) {
		line++
		word, _, _ := strings.Cut(string(raw), "#")
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		if b, err := hex.DecodeString(word); err != nil || len(b) != 8 {
			return nil, fmt.Errorf("reading %q: line %d is no fingerprint: secretctl scan prints sixteen digits at each find", path, line)
		}
		allowed[strings.ToLower(word)] = true
	}
	return allowed, nil
}

// commented reports whether a comment allows a find at a place in b.
func commented(b []byte, start, end int) bool {
	from := bytes.LastIndexByte(b[:start], '\n') + 1
	to := len(b)
	if n := bytes.IndexByte(b[end:], '\n'); n >= 0 {
		to = end + n
	}
	if bytes.Contains(b[from:start], []byte(allowComment)) || bytes.Contains(b[end:to], []byte(allowComment)) {
		return true
	}
	if from == 0 {
		return false
	}
	before := b[bytes.LastIndexByte(b[:from-1], '\n')+1 : from-1]
	at := bytes.Index(before, []byte(allowComment))
	return at >= 0 && len(bytes.Trim(before[:at], " \t#/*;<!-")) == 0
}
