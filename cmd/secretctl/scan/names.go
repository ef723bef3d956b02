package scan

import (
	"bytes"
	"path/filepath"
	"strings"

	"secretctl/broker/shape"
)

// byName returns what only the name of a file tells: in a file of variables,
// what import would take; in .pgpass, the last field.
func byName(b []byte, place string) []candidate {
	switch base := filepath.Base(place); {
	case isVariables(base):
		return variables(b)
	case base == ".pgpass" || base == "pgpass.conf":
		return pgpass(b)
	}
	return nil
}

// isVariables reports whether a file of this name holds KEY=value lines. One
// that is an example for others does not count.
func isVariables(base string) bool {
	if base == ".envrc" || base == ".flaskenv" || strings.HasSuffix(base, ".env") {
		return true
	}
	if !strings.HasPrefix(base, ".env.") {
		return false
	}
	switch filepath.Ext(base) {
	case ".example", ".sample", ".template", ".dist", ".defaults":
		return false
	}
	return true
}

// isIgnored reports whether a directory of this name is not searched: what is in
// it was fetched, or is searched in another way. What .gitignore names is
// searched: that is where secrets hide.
func isIgnored(name string) bool {
	switch name {
	case ".git", ".hg", ".svn", ".jj", "node_modules", "bower_components", "vendor", "Pods", ".venv", "venv", "__pycache__", ".tox", ".nox",
		".mypy_cache", ".pytest_cache", ".ruff_cache", "site-packages", ".gradle", ".cargo", ".rustup", ".npm", ".pnpm-store", ".yarn", ".terraform":
		return true
	}
	return false
}

// variables returns the values of KEY=value lines that look secret.
func variables(b []byte) (found []candidate) {
	place := 0
	for line := range bytes.Lines(b) {
		at := place
		place += len(line)
		key, value, ok := bytes.Cut(line, []byte("="))
		name := bytes.TrimPrefix(bytes.TrimSpace(key), []byte("export "))
		if !ok || len(name) == 0 || name[0] == '#' {
			continue
		}
		start := at + len(key) + 1 + len(value) - len(bytes.TrimLeft(value, " \t"))
		value = bytes.TrimSpace(value)
		if len(value) >= 2 && (value[0] == '"' || value[0] == '\'') {
			if n := bytes.IndexByte(value[1:], value[0]); n >= 0 {
				value = value[1 : 1+n]
				start++
			}
		} else if n := bytes.Index(value, []byte(" #")); n >= 0 {
			value = bytes.TrimSpace(value[:n])
		}
		if rule, ok := shape.LooksSecret(string(name), value); ok && rules[rule] != "" {
			found = append(found, candidate{rule: rule, what: rules[rule], start: start, end: start + len(value)})
		}
	}
	return found
}

// pgpass returns the passwords of lines host:port:database:user:password.
func pgpass(b []byte) (found []candidate) {
	place := 0
	for line := range bytes.Lines(b) {
		at := place
		place += len(line)
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		fields, escaped := 0, false
		for i, c := range line {
			switch {
			case escaped:
				escaped = false
			case c == '\\':
				escaped = true
			case c == ':':
				if fields++; fields == 4 && i+1 < len(line) {
					found = append(found, candidate{rule: RulePgpass, what: rules[RulePgpass], start: at + i + 1, end: at + len(line)})
				}
			}
		}
	}
	return found
}
