package optest

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// Op is the op program, as far as it is documented (2.30): its arguments, its
// environment, its stdin, and an account in the file that the token names,
// "ops_fake:PATH". It returns its exit code. A file PATH.fail, where there is one, is
// what it says before it fails.
func Op(args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	fail := func(format string, a ...any) int {
		fmt.Fprintf(stderr, "[ERROR] 2026/01/02 03:04:05 "+format+"\n", a...)
		return 1
	}
	getenv := func(key string) (value string) {
		for _, e := range env {
			if v, ok := strings.CutPrefix(e, key+"="); ok {
				value = v
			}
		}
		return value
	}
	token := getenv("OP_SERVICE_ACCOUNT_TOKEN")
	path, ok := strings.CutPrefix(token, "ops_fake:")
	if !ok {
		return fail("authorization timeout: invalid service account token, please make sure you provide a valid service account token as parameter: service account deserialization failed")
	}
	if words, err := os.ReadFile(path + ".fail"); err == nil {
		if string(words) == "hang" {
			select {}
		}
		return fail("%s", words)
	}
	for _, arg := range args {
		if strings.Contains(arg, token) || strings.Contains(arg, "=") {
			return fail("an argument that holds what an argument must not")
		}
	}
	if getenv("OP_CACHE") != "false" {
		return fail("this test wants no cache")
	}
	p := &Plain{Path: path}
	code := 0
	err := p.use(func() error {
		words, flags := split(args)
		code = p.op(words, flags, stdin, stdout, fail)
		return nil
	})
	if err != nil {
		return fail("internal: %v", err)
	}
	return code
}

// split takes flags and their values apart from the other words.
func split(args []string) (words []string, flags map[string]string) {
	flags = make(map[string]string)
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "--vault", "--format":
			if i+1 < len(args) {
				flags[args[i]] = args[i+1]
			}
			i++
		case "--reveal":
			flags[args[i]] = "true"
		default:
			words = append(words, args[i])
		}
	}
	return words, flags
}

func (p *Plain) op(words []string, flags map[string]string, stdin io.Reader, stdout io.Writer, fail func(string, ...any) int) int {
	if i := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "--") }); i >= 0 {
		return fail("unknown flag: %s", words[i])
	}
	if flags["--format"] != "json" {
		return fail("this test wants JSON")
	}
	printed := func(v any) int {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		if err := e.Encode(v); err != nil {
			return fail("printing: %v", err)
		}
		return 0
	}
	noItem := func(id string) int {
		return fail("%q isn't an item in the %q vault. Specify the item with its UUID, name, or domain.", id, VaultName)
	}
	if strings.Join(words, " ") == "vault list" {
		return printed([]any{map[string]any{"id": p.Vault, "name": VaultName, "content_version": 1}})
	}
	if len(words) < 2 || words[0] != "item" {
		return fail("unknown command %q for \"op\"", strings.Join(words, " "))
	}
	if flags["--vault"] != p.Vault {
		return fail("%q isn't a vault in this account. Specify the vault with its ID or name.", flags["--vault"])
	}
	in := func() []byte { b, _ := io.ReadAll(stdin); return b }
	switch command, rest := words[1], words[2:]; {
	case command == "list" && len(rest) == 0:
		all := []any{}
		for _, item := range p.Items {
			all = append(all, shown(item))
		}
		return printed(all)
	case command == "get" && len(rest) == 1:
		ids := []string{rest[0]}
		if rest[0] == "-" {
			var wanted []struct{ ID string }
			if err := json.Unmarshal(in(), &wanted); err != nil {
				return fail("invalid JSON in piped input")
			}
			ids = nil
			for _, w := range wanted {
				ids = append(ids, w.ID)
			}
		}
		for _, id := range ids {
			if p.Items[id] == nil {
				return noItem(id)
			}
		}
		for _, id := range ids {
			item := p.Items[id]
			if flags["--reveal"] == "" {
				item = shown(item)
			}
			if code := printed(item); code != 0 {
				return code
			}
		}
		return 0
	case command == "create" && len(rest) == 1 && rest[0] == "-":
		item, err := p.create(in())
		if err != nil {
			return fail("invalid item: %v", err)
		}
		return printed(item)
	case command == "edit" && len(rest) == 2 && rest[1] == "-":
		return printed(p.Items[rest[0]]) // as the real one does: an assignment of nothing
	case command == "edit" && len(rest) == 1:
		if p.Items[rest[0]] == nil {
			return noItem(rest[0])
		}
		item, err := p.put(rest[0], in())
		if err != nil {
			return fail("invalid item: %v", err)
		}
		return printed(item)
	case command == "delete" && len(rest) == 1:
		if p.Items[rest[0]] == nil {
			return noItem(rest[0])
		}
		delete(p.Items, rest[0])
		return 0
	}
	return fail("unknown command %q for \"op\"", strings.Join(words, " "))
}
