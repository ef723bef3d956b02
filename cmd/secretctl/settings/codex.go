package settings

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/pelletier/go-toml/v2"
)

// The lines that what is ours stands between in a TOML file. Codex keeps comments
// when it edits its file itself.
const (
	tomlBegin = "# secretctl helper codex: from here"
	tomlEnd   = "# secretctl helper codex: to here"
)

// CodexHelper is what Codex is to get its key from.
type CodexHelper struct {
	Command string
	Args    []string
	BaseURL string // of the API
}

// codexProvider is the provider that Codex is given. Those that it has built in
// take no helper.
const codexProvider = "secretctl"

// AddCodexHelper adds a model provider whose key a command prints, and makes it
// the one in use. A nil text is that of a file that is not there.
func AddCodexHelper(b []byte, h CodexHelper) ([]byte, error) {
	b, err := RemoveCodexHelper(b)
	if err != nil {
		return nil, err
	}
	var is struct {
		ModelProvider  any            `toml:"model_provider"`
		ModelProviders map[string]any `toml:"model_providers"`
	}
	if err := toml.Unmarshal(b, &is); err != nil {
		return nil, errors.New("it is not TOML as Codex reads it")
	}
	if is.ModelProvider != nil {
		return nil, fmt.Errorf("model_provider: %w", ErrTaken)
	}
	if is.ModelProviders[codexProvider] != nil {
		return nil, fmt.Errorf("model_providers.%s: %w", codexProvider, ErrTaken)
	}
	// A key of the whole must stand before the first table, and a table at the end.
	var to bytes.Buffer
	fmt.Fprintf(&to, "%s\nmodel_provider = %q\n%s\n", tomlBegin, codexProvider, tomlEnd)
	to.Write(b)
	if b != nil {
		to.WriteByte('\n') // the last line may have no end, and this says that there was a file
	}
	fmt.Fprintf(&to, "%s\n[model_providers.%s]\nname = \"OpenAI, with a key from secretctl\"\nbase_url = %s\nwire_api = \"responses\"\n",
		tomlBegin, codexProvider, quoted(h.BaseURL))
	fmt.Fprintf(&to, "\n[model_providers.%s.auth]\ncommand = %s\nargs = [", codexProvider, quoted(h.Command))
	for i, arg := range h.Args {
		if i > 0 {
			to.WriteString(", ")
		}
		to.WriteString(quoted(arg))
	}
	fmt.Fprintf(&to, "]\n%s\n", tomlEnd)
	if err := toml.Unmarshal(to.Bytes(), &is); err != nil || is.ModelProvider != codexProvider {
		return nil, errors.New("it would not be read right with a provider more: put the lines in by hand")
	}
	return to.Bytes(), nil
}

// quoted is a TOML string: JSON writes it the same way.
func quoted(s string) string { return text(s).render(layout{}) }

// RemoveCodexHelper takes out what AddCodexHelper has put in, wherever Codex has put
// lines of its own meanwhile. A nil text means that the file was made for it.
func RemoveCodexHelper(b []byte) ([]byte, error) {
	first, last := []byte(tomlBegin+"\n"), []byte(tomlEnd+"\n")
	if bytes.Count(b, first) == 0 && bytes.Count(b, last) == 0 {
		return b, nil
	}
	before, rest, found := bytes.Cut(b, first)
	_, rest, ended := bytes.Cut(rest, last)
	middle, rest, again := bytes.Cut(rest, first)
	_, rest, over := bytes.Cut(rest, last)
	if !found || !ended || !again || !over || bytes.Contains(rest, first) || len(before) > 0 {
		return nil, errors.New("the lines of secretctl helper codex are not as they were put: take them out by hand")
	}
	if len(middle) == 0 && len(rest) == 0 {
		return nil, nil
	}
	return append(bytes.Clone(bytes.TrimSuffix(middle, []byte("\n"))), rest...), nil
}
