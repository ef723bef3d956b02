package scan_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// planted is where a secret was put.
type planted struct {
	path string
	line int
}

// corpus is a tree of real sources with secrets in it.
type corpus struct {
	dir     string
	bytes   int
	files   int
	planted map[planted]string // :: place → kind
}

// alphabets of keys.
const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
	alnum  = lower + upper + digits
	hex    = "0123456789abcdef"
	safe   = alnum + "-_"
	b64    = alnum + "+/"
)

// dice makes what looks like secrets.
type dice struct{ *rand.Rand }

func (d dice) text(n int, alphabet string) string {
	out := make([]byte, n)
	for i := range out {
		out[i] = alphabet[d.IntN(len(alphabet))]
	}
	return string(out)
}

func (d dice) of(all ...string) string { return all[d.IntN(len(all))] }

// password is one that a generator made, or that a person did.
func (d dice) password(signs string) string {
	if d.IntN(4) == 0 {
		return d.of("Blue", "Rainy", "Quiet", "Winter", "Copper") + d.of("Tiger", "Monday", "River", "Castle", "Kettle") + d.text(2+d.IntN(3), digits) + d.of("!", "#", "!!", "=", "+")
	}
	return d.text(1, upper) + d.text(7+d.IntN(12), alnum+signs) + d.text(1, digits) + d.text(1, lower)
}

// kinds are what is planted: a key and the line it stands in, which names it or
// does not.
var kinds = map[string]func(d dice) string{
	"anthropic":      func(d dice) string { return d.named("ANTHROPIC_API_KEY", "sk-"+"ant-api03-"+d.text(93, safe)+"AA") },
	"openai project": func(d dice) string { return d.bare("sk-" + "proj-" + d.text(48, safe)) },
	"openai":         func(d dice) string { return d.bare("sk-" + d.text(20, alnum) + "T3BlbkFJ" + d.text(20, alnum)) },
	"github":         func(d dice) string { return d.bare(d.of("gh"+"p_", "gh"+"o_", "gh"+"s_") + d.text(36, alnum)) },
	"github pat":     func(d dice) string { return d.bare("github_" + "pat_" + d.text(22, alnum) + "_" + d.text(59, alnum)) },
	"gitlab":         func(d dice) string { return d.bare("gl" + "pat-" + d.text(20, safe)) },
	"slack": func(d dice) string {
		return d.bare("xo" + "xb-" + d.text(12, digits) + "-" + d.text(12, digits) + "-" + d.text(24, alnum))
	},
	"slack webhook": func(d dice) string {
		return d.named("url", "https://hooks."+"slack.com/services/T"+d.text(9, upper+digits)+"/B"+d.text(9, upper+digits)+"/"+d.text(24, alnum))
	},
	"aws id":     func(d dice) string { return d.bare("AK" + "IA" + d.text(16, upper+"234567")) },
	"aws secret": func(d dice) string { return d.named("aws_secret_access_key", d.text(40, b64)) },
	"google":     func(d dice) string { return d.bare("AI" + "zaSy" + d.text(33, safe)) },
	"npm": func(d dice) string {
		return d.of("//registry.npmjs.org/:_authToken=", "token: ") + "np" + "m_" + d.text(36, alnum)
	},
	"pypi": func(d dice) string { return "password = " + "py" + "pi-AgEIcHlwaS5vcmc" + d.text(120, safe) },
	"huggingface": func(d dice) string {
		return d.bare("h" + "f_" + d.text(34, lower+upper))
	},
	"stripe":   func(d dice) string { return d.bare(d.of("sk", "rk") + "_li" + "ve_" + d.text(24, alnum)) },
	"sendgrid": func(d dice) string { return d.bare("S" + "G." + d.text(22, safe) + "." + d.text(43, safe)) },
	"telegram": func(d dice) string {
		return d.bare(d.text(1, "123456789") + d.text(9, digits) + ":" + "AA" + d.text(33, safe))
	},
	"twilio": func(d dice) string { return d.bare("S" + "K" + d.text(32, hex)) },
	"digitalocean": func(d dice) string {
		return d.bare("do" + "p_v1_" + d.text(64, hex))
	},
	"jwt": func(d dice) string {
		e := base64.RawURLEncoding
		return d.bare(e.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + e.EncodeToString([]byte(`{"sub":"`+d.text(10, digits)+`"}`)) + "." + d.text(43, safe))
	},
	"private key": func(d dice) string {
		label := d.of("RSA PRIVATE", "PRIVATE", "EC PRIVATE", "OPENSSH PRIVATE") + " KEY-----\n"
		body := ""
		if strings.HasPrefix(label, "OPENSSH") {
			body = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n"
		}
		for range 3 + d.IntN(20) {
			body += d.text(64, b64) + "\n"
		}
		return "-----BEGIN " + label + body + "-----END " + label[:len(label)-1]
	},
	"age": func(d dice) string {
		return d.bare("AGE-SECRET-" + "KEY-1" + d.text(58, "023456789ACDEFGHJKLMNPQRSTUVWXYZ"))
	},
	"bearer": func(d dice) string {
		return d.of(`curl -H "Authorization: Bearer `, `req.headers["Authorization"] = "Bearer `) + d.text(40, alnum) + `"`
	},
	"basic": func(d dice) string {
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("deploy:"+d.password("!#")))
	},
	"database url": func(d dice) string {
		scheme := d.of("postgres", "postgresql", "mysql", "mongodb+srv", "redis", "amqp", "mssql", "clickhouse")
		return d.named(d.of("DATABASE_URL", "url", "dsn", "BROKER_URL"), scheme+"://"+d.of("app", "admin", "svc_orders")+":"+strings.TrimRight(d.password(""), "!#+=")+d.of("", "x%21", "_y")+"@"+d.of("db.internal", "10.0.3.7", "localhost")+":"+d.text(4, "123456789")+"/app")
	},
	"https url": func(d dice) string {
		return d.of("git clone ", "origin = ", "proxy: ") + "https://" + d.of("ci", "x-access-token", "me") + ":" + d.text(24, alnum) + "@git.internal/team/repo.git"
	},
	"password in env": func(d dice) string {
		return d.of("DB_PASSWORD", "POSTGRES_PASSWORD", "export PGPASSWORD", "SMTP_PASS", "ADMIN_PASSWD") + "=" + d.password("!@%^*_-")
	},
	"password in yaml": func(d dice) string {
		return d.of("  password", "db_password", "    rootPassword", "  passwd") + ": " + d.of(`"%"`, `'%'`)[:1] + d.password("!@$^*_-") + "\"'"[:0]
	},
	"password in json": func(d dice) string {
		return d.of(`{"user": "app", "password": "`, `  "db_password" : "`, `"pwd":"`) + d.password("!@$^*_-") + `",`
	},
	"password in code": func(d dice) string {
		return d.of(`password = "%s"`, `const dbPassword = '%s';`, "PASSWORD := `%s`", `conn = connect(user="app", password="%s")`, `os.Setenv("PGPASSWORD", "%s")`)
	},
	"password in xml": func(d dice) string { return "<password>" + d.password("!@^*_-") + "</password>" },
	"password in dsn": func(d dice) string {
		return "Server=db;Database=app;User Id=app;Password=" + d.password("!@^*_-") + ";Encrypt=true"
	},
	"password on the line": func(d dice) string {
		return d.of("mysqldump -u app --password=", "restic --password ") + d.password("!@^*_-") + " app"
	},
	"api key by name": func(d dice) string {
		return d.named(d.of("API_KEY", "client_secret", "accessToken", "SECRET_KEY", "auth_token", "signing_key"), d.of(d.text(32, hex), d.text(40, alnum), d.text(24, safe)+"7"))
	},
	"azure storage": func(d dice) string {
		return "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=" + d.text(86, b64) + "==;EndpointSuffix=core.windows.net"
	},
}

// named is a line that gives a name a value.
func (d dice) named(name, value string) string {
	return fmt.Sprintf(d.of("%s=%s", "export %s=%s", "%s: %s", `"%s": "%s",`, `%s = "%s"`, "%s: '%s'"), name, value)
}

// bare is a line in which only the key tells what it is.
func (d dice) bare(key string) string {
	return fmt.Sprintf(d.of("# old: %s", "note, %s, to be removed", "x = call(\"%s\")", "2026-03-01T10:00:00Z INFO upstream said %s (200)", "https://api.internal/v1?key=%s&page=2", "| ci | %s |", "'%s'", "%s"), key)
}

// line makes a line of a kind.
func (d dice) line(kind string) string {
	text := kinds[kind](d)
	switch kind {
	case "password in code":
		return fmt.Sprintf(text, d.password("!@^*_-"))
	case "password in yaml": // closes the quote that it opened
		if q := text[strings.Index(text, ": ")+2]; q == '"' || q == '\'' {
			return text + string(q)
		}
	}
	return text
}

// keyFiles are sources with keys of their own, which nobody planted: vectors of
// tests and examples in documentation. They were looked at one by one.
var keyFiles = []string{
	"crypto/ecdh/ecdh_test.go", "crypto/tls/example_test.go", "crypto/x509/platform_root_key.pem",
}

// plant makes a tree of about that many bytes with that many secrets. The same
// seed makes the same tree from the same Go.
func plant(t testing.TB, size, secrets int, seed uint64) *corpus {
	d := dice{rand.New(rand.NewPCG(seed, seed))}
	c := &corpus{dir: t.TempDir(), planted: make(map[planted]string)}
	texts := filler(t, size)
	names := slices.Sorted(maps.Keys(kinds))
	for i := 0; c.bytes < size || len(c.planted) < secrets; i++ {
		text := texts[i%len(texts)]
		lines := bytes.SplitAfter(text, []byte("\n"))
		path := filepath.Join(fmt.Sprintf("d%02d", i%40), fmt.Sprintf("s%02d", i/40%50), fmt.Sprintf("f%05d.%s", i, d.of("go", "py", "yaml", "json", "txt", "conf", "sh", "md")))
		// So many that they are spread over the whole tree.
		if due := secrets*(c.bytes+len(text))/size + 1; len(c.planted) < min(due, secrets) && len(lines) > 2 {
			at := 1 + d.IntN(len(lines)-1)
			kind := names[len(c.planted)%len(names)]
			lines = append(lines[:at:at], append([][]byte{[]byte(d.line(kind) + "\n")}, lines[at:]...)...)
			c.planted[planted{path, at + 1}] = kind
		}
		text = bytes.Join(lines, nil)
		require.NoError(t, os.MkdirAll(filepath.Join(c.dir, filepath.Dir(path)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(c.dir, path), text, 0o644))
		c.bytes += len(text)
		c.files++
	}
	return c
}

// filler returns real text of about that many bytes, or all there is: the
// sources of Go.
func filler(t testing.TB, size int) (all [][]byte) {
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	require.NoError(t, err)
	n := 0
	src := filepath.Join(strings.TrimSpace(string(root)), "src")
	err = filepath.WalkDir(src, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (e.Name() == "testdata" || e.Name() == "vendor") {
			return fs.SkipDir
		}
		rel, _ := filepath.Rel(src, path)
		if slices.Contains(keyFiles, filepath.ToSlash(rel)) {
			return nil
		}
		if !e.Type().IsRegular() || n > size {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil || bytes.IndexByte(text, 0) >= 0 || len(text) == 0 {
			return err
		}
		if text[len(text)-1] != '\n' {
			text = append(text, '\n')
		}
		all = append(all, text)
		n += len(text)
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, all, "the sources of Go are gone")
	return all
}
