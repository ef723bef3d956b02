package main

import (
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"secretctl/providers/openbao/openbaotest"
)

// scriptBao is the OpenBao of a script, and what puts an end to its trouble.
type scriptBao struct {
	t      testing.TB
	server *openbaotest.Server
	admin  openbaotest.Admin
	mend   func()
}

// baoKey is where a script keeps it.
type baoKey struct{}

// cmdBao runs an OpenBao: bao start makes one, says in $BAO where it is, and
// leaves the two ids of a role for the broker in role-id and secret-id. bao seal,
// hang, deny and revoke do that to it, until bao mend.
func cmdBao(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: bao start|seal|hang|deny|revoke|mend")
	}
	b := ts.Value(baoKey{}).(*scriptBao)
	switch args[0] {
	case "start":
		b.server = openbaotest.New(time.Now)
		b.admin = b.server.Start(b.t)
		role := b.admin.NewRole(b.t, "secret", "secretctl", nil)
		ts.Setenv("BAO", b.admin.URL)
		ts.Check(os.WriteFile(ts.MkAbs("role-id"), []byte(role.ID+"\n"), 0o600))
		ts.Check(os.WriteFile(ts.MkAbs("secret-id"), []byte(role.SecretID+"\n"), 0o600))
	case "seal":
		b.mend = b.server.Seal()
	case "hang":
		b.mend = b.server.Hang()
	case "deny":
		b.allow("none")
		b.mend = func() { b.allow("secretctl") }
	case "revoke":
		b.server.RevokeTokens()
	case "mend":
		b.mend()
	default:
		ts.Fatalf("bao does not know %s", args[0])
	}
}

// allow has the role's policy be of a folder.
func (b *scriptBao) allow(prefix string) {
	b.admin.Do(b.t, http.MethodPut, "sys/policies/acl/secretctl", map[string]any{"policy": openbaotest.Policy("secret", prefix)})
}
