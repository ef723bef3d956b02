package openclaw

import (
	_ "embed"
	"strings"
	"sync"
)

//go:embed credentials.txt
var credentialsText string

// pattern is a place in the config where OpenClaw takes a reference: keys, of
// which "*" is any.
type pattern []string

// patterns are those places, read when they are first asked for: most runs of
// this program are not about OpenClaw.
var patterns = sync.OnceValue(func() (all []pattern) {
	for line := range strings.Lines(credentialsText) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, strings.Split(line, "."))
		}
	}
	return all
})

// patternOf finds the pattern of a path, nil where it is no credential's.
func patternOf(path []string) pattern {
	for _, p := range patterns() {
		if p.matches(path) {
			return p
		}
	}
	return nil
}

func (p pattern) matches(path []string) bool {
	if len(p) != len(path) {
		return false
	}
	for i, key := range p {
		if key != "*" && key != path[i] {
			return false
		}
	}
	return true
}

func (p pattern) String() string { return strings.Join(p, ".") }

// frames are the keys that say where a credential lies and not what it is; its
// name does without them.
var frames = map[string]bool{
	"models": true, "providers": true, "channels": true, "accounts": true, "plugins": true, "entries": true, "config": true,
	"skills": true, "agents": true, "request": true, "profiles": true, "mcpServers": true, "env": true,
}

// words spells a path as the last part of a name: models.providers.openai.apiKey
// is openai-api-key.
func words(path []string, all bool) string {
	var b strings.Builder
	for _, key := range path {
		if frames[key] && !all {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('-')
		}
		kebab(&b, key)
	}
	return strings.Trim(b.String(), "-")
}

// kebab writes a key in lower case with dashes, in the alphabet of names.
func kebab(b *strings.Builder, key string) {
	dash, lower := true, false // what came last
	for _, c := range key {
		upper := c >= 'A' && c <= 'Z'
		if upper && lower && !dash {
			b.WriteByte('-')
		}
		switch {
		case upper:
			b.WriteRune(c - 'A' + 'a')
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			b.WriteRune(c)
		case dash:
			continue
		default:
			b.WriteByte('-')
			dash, lower = true, false
			continue
		}
		dash, lower = false, !upper
	}
}
