package dotenv_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/generated and testdata/readings.json anew")

// shapes are values with what readers disagree about, one kind a shape.
var shapes = map[string]string{
	"plain": `value`, "empty": ``, "digits": `3000`, "base64": `c2VjcmV0LXZhbHVl+/9=`, "equals": `a=b=c`, "colon": `a:b`,
	"url": `postgres://user:p%40ss@db.example:5432/app?sslmode=disable`, "space": `a b`, "spaces": `a   b`, "tab": "a\tb",
	"trailing-space": `value   `, "leading-space": `   value`, "both-spaces": `  value  `, "nbsp": "a\u00a0b", "trailing-nbsp": "value\u00a0",
	"hash": `abc#def`, "space-hash": `abc #def`, "tab-hash": "abc\t#def", "two-hashes": `abc # d # e`, "leading-hash": `#abc`, "trailing-hash": `abc#`,
	"dollar": `a$b`, "dollar-upper": `a$B`, "dollar-end": `abc$`, "two-dollars": `a$$b`, "dollar-digit": `a$5b`, "dollar-space": `a $ b`,
	"braces": `a${B}c`, "default": `a${B:-c}d`, "required": `a${B:?c}d`, "open-brace": `a${Bc`, "empty-brace": `a${}c`, "command": `a$(true)b`,
	"escaped-dollar": `a\$b`, "escaped-upper": `a\$B`, "backslash": `a\b`, "two-backslashes": `a\\b`, "backslash-end": `abc\`,
	"escape-n": `a\nb`, "escape-r": `a\rb`, "escape-t": `a\tb`, "escape-octal": `a\0101b`, "escape-unicode": `a\u0041b`, "escape-space": `a\ b`, "escape-hash": `a \# b`, "escaped-n": `a\\nb`,
	"single": `it's`, "double": `say "hi"`, "backquote": "a`b", "two-backquotes": "a`b`c", "escaped-single": `it\'s`, "escaped-double": `say \"hi\"`, "escaped-backquote": "a\\`b",
	"all-quotes": "a'b\"c`d", "starts-single": `'abc`, "starts-double": `"abc`, "ends-double": `abc"`,
	"semicolon": `a;b`, "ampersand": `a&b`, "pipe": `a|b`, "angle": `a<b`, "parens": `a(b)c`, "star": `a*b`, "question": `a?b`, "brackets": `a[b]c`, "curly": `a{b,c}d`,
	"tilde": `~/x`, "tilde-middle": `a:~/x`, "bang": `a!b`, "percent": `a%20b`, "caret": `a^b`, "at": `p@ss`, "comma": `a,b`, "json": `{"a":"b"}`,
	"latin1": "caf\xe9", "utf8": `pässwörd`, "emoji": `🔑key`, "control": "a\x01b", "reference": `secret://openai-api-key`, "spelled": `secret://tls?spelled=crlf`,
	"lines": "a\nb", "lines-equals": "a\nB=c\nd", "lines-hash": "a\n#b\nc", "lines-blank": "a\n\nb", "lines-mixed": "a\nb\\nc", "pem": pem, "pem-escaped": strings.ReplaceAll(pem, "\n", `\n`),
}

const pem = "-----BEGIN TEST KEY-----\nMIIBVQIBADANBgkqhkiG9w0BAQEFAASC\nAT8wggE7AgEAAkEA\n-----END TEST KEY-----\n"

// quotings are the quotes a shape is put between.
var quotings = map[string]string{"bare": "", "single": "'", "double": `"`, "backquote": "`"}

// layouts are files around one statement, by what is particular about them.
var layouts = map[string]string{
	"empty": "", "newline": "\n", "comment": "# only this", "no-newline": "KEY=value", "bom": "\ufeffKEY=value\nB=b\n", "bom-comment": "\ufeff# x\nKEY=value\n",
	"crlf": "A=a\r\nB=\"b\"\r\nC='c' # c\r\n\r\n# d\r\nD=d#d\r\n", "cr": "A=a\rB=b\r", "mixed-ends": "A=a\r\nB=b\nC=c\r", "crlf-lines": "A=\"a\r\nb\"\r\nC=c\r\n", "cr-lines": "A='a\rb'\rC=c\r",
	"crlf-mixed-lines": "A=\"a\r\nb\nc\"\r\nC=c\r\n", "crlf-pem": "KEY=\"" + strings.ReplaceAll(pem, "\n", "\r\n") + "\"\r\nB=b\r\n",
	"export": "export A=a\nexport B=\"b b\"\n export\tC=c\nD=d\n", "export-many": "export A=a B=b\n", "export-name": "A=a\nexport A\nB=b\n", "export-key": "export=a\nexported=b\n", "export-bare": "export\nA=a\n",
	"space-around": "A = a\nB= b\nC =c\n D=d\n", "tab-around": "A\t=\ta\n", "yaml": "A: a\nB:b\nC : c\nD: \"d\"\n", "yaml-end": "A:\nb\n", "equals-end": "A=\n'a'\nB=b\n", "equals-lines": "A=\n\nB=b\n",
	"duplicate": "A=a\nB=b\nA=c\n", "duplicate-quoted": "A='a'\nA=\"a\"\n", "case": "a=1\nA=2\n",
	"after": "A='a'b\nB=\"b\" c\nC='c'#c\nD=d\n", "after-comment": "A='a' # it's\nB=\"b\" # \"b\nC=c # `c\n", "concatenated": "A='a'\"b\"c\nB=b\n", "shell-quote": "A='it'\\''s'\nB=b\n",
	"open-single": "A='a\nB=b\n", "open-double": "A=\"a\nB=b\n", "open-closed-later": "A='a\nB=b'\nC=c\n", "open-comment": "A=\"a\n# it is \"quoted\"\nB=b\n",
	"stray": "this is a line\nA=a\n", "stray-value": "A=a\nsk-stray\nB=b\n", "key-only": "A\nB=b\n", "equals-only": "=a\nB=b\n", "sections": "[default]\nA=a\n", "shebang": "#!/bin/sh\nset -e\nA=a\n",
	"keys": "A.B=a\nA-B=b\n_A=c\n1A=d\nA1=e\n", "key-unicode": "Ä=a\nB=b\n", "key-brackets": "A[0]=a\nB=b\n", "indented": "  A=a\n\tB=b\n", "form-feed": "\fA=a\n\vB=b\n",
	"commented": "#A=a\n# B=b\nC=c\n  # D=d\n", "comment-quote": "# it's\nA='a'\n# \"\nB=b\n", "comment-last": "A=a\n# b", "blank-lines": "\n\nA=a\n\n\nB=b\n\n",
	"continued": "A=a\\\nb\nB=b\n", "two-on-a-line": "A=a B=b\nC=c; D=d\n", "expand-earlier": "A=a\nB=$A\nC=${A}b\nD='$A'\n", "expand-later": "B=$A\nA=a\n", "append": "A=a\nA+=b\n", "substitution": "A=$(printf x)\nB=`printf y`\nC=c\n",
	"conditional": "if true; then\nA=a\nfi\n", "function": "f() { :; }\nA=a\n", "redirect": "A=a >out\nB=b\n", "background": "A=a &\nB=b\n", "prefixed": "A=a true\nB=b\n", "readonly": "readonly A=a\nB=b\n", "semicolon-export": "A=a; export A\nB=b\n",
	"triple-quotes": "A=\"\"\"a\"\"\"\nB=b\n", "empty-quotes": "A=''\nB=\"\"\nC=``\n", "quote-only": "A='\nB=b\n", "dash-key": "A-B=a\n", "dot-key": "a.b=c\n", "long": "A=" + strings.Repeat("x", 70000) + "\nB=b\n",
}

// generated is every file of testdata/generated.
func generated() map[string]string {
	files := map[string]string{}
	for shape, value := range shapes {
		for quoting, q := range quotings {
			files[shape+"-"+quoting] = "BEFORE=before\nKEY=" + q + value + q + "\nAFTER=after\n"
		}
	}
	for name, text := range layouts {
		files["layout-"+name] = text
	}
	return files
}

// TestGenerated: testdata/generated is what the tables here say, file by file.
func TestGenerated(t *testing.T) {
	dir := filepath.Join("testdata", "generated")
	want := generated()
	if *update {
		require.NoError(t, os.RemoveAll(dir))
		require.NoError(t, os.Mkdir(dir, 0o755))
		for name, text := range want {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name+".env"), []byte(text), 0o644))
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.env"))
	require.NoError(t, err)
	require.Len(t, found, len(want))
	for name, text := range want {
		b, err := os.ReadFile(filepath.Join(dir, name+".env"))
		require.NoError(t, err)
		require.Equal(t, text, string(b), name)
	}
}

// fixture is a file of testdata.
type fixture struct {
	name string
	b    []byte
}

// fixtures returns all files: the generated ones and those from real projects.
func fixtures(t testing.TB) (all []fixture) {
	for _, dir := range []string{"generated", "real"} {
		found, err := filepath.Glob(filepath.Join("testdata", dir, "*.env"))
		require.NoError(t, err)
		require.Greater(t, len(found), 10, "the files of %s are gone", dir)
		for _, path := range found {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			all = append(all, fixture{dir + "/" + strings.TrimSuffix(filepath.Base(path), ".env"), b})
		}
	}
	require.GreaterOrEqual(t, len(all), 150)
	slices.SortFunc(all, func(a, b fixture) int { return strings.Compare(a.name, b.name) })
	return all
}
