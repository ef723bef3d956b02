package config

import _ "embed"

//go:embed template.toml
var template string

// Template returns the file that `init` writes: every key documented, and
// commented out but for what a newcomer needs. It is valid as it is and grants
// nothing.
func Template() []byte { return []byte(template) }
