package config_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
)

func TestRotation(t *testing.T) {
	c := parse(t, `
[rotation]
timezone = "Europe/Berlin"
freeze = ["Fri 16:00-Mon 08:00", "22:00-06:00"]
parallel = 2
[secret."a/b"]
rotate = { provider = "typed", schedule = "0 3 * * *", hosts = ["web1", "web2"], project = "p", keep = "90s", quick = true, admin = "own/admin", ca = "/etc/ca.pem" }
announce = [["/bin/tell", "it"], ["/bin/tell2"]]
confirm = ["/bin/used"]
grace = "0s"
grace_hard = "24h"
[secret."by/hand"]
rotate = { provider = "generate", schedule = "" }
[secret."by/default"]
rotate = { provider = "typed", hosts = ["web1"] }
`)
	require.Empty(t, c.Warnings)
	require.Equal(t, "Europe/Berlin", c.Rotation.Timezone.String())
	require.Equal(t, []string{"Fri 16:00-Mon 08:00", "22:00-06:00"}, c.Rotation.Freeze)
	require.Equal(t, 2, c.Rotation.Parallel)
	s := c.Secrets["a/b"]
	require.Equal(t, [][]string{{"/bin/tell", "it"}, {"/bin/tell2"}}, s.Announce)
	require.Equal(t, []string{"/bin/used"}, s.Confirm)
	require.Zero(t, *s.Grace)
	require.Equal(t, 24*time.Hour, s.GraceHard)
	o := s.Rotate.Options
	require.Equal(t, "typed", s.Rotate.Provider)
	require.Equal(t, []secret.Name{"own/admin"}, s.Rotate.Managing)
	require.Equal(t, []string{"/etc/ca.pem"}, s.Rotate.Files)
	require.Equal(t, "/etc/ca.pem", o.Text("ca"))
	require.Equal(t, []string{"the account p"}, s.Rotate.Accounts)
	require.Empty(t, c.Secrets["by/default"].Rotate.Files)
	require.Equal(t, "0 3 * * *", s.Rotate.Schedule)
	require.Equal(t, []string{"web1", "web2"}, o.List("hosts"))
	require.Equal(t, "p", o.Text("project"))
	require.Equal(t, 90*time.Second, o.Span("keep"))
	require.True(t, o.Switch("quick"))
	require.Equal(t, secret.Name("own/admin"), o.Own("admin"))
	require.Empty(t, c.Secrets["by/hand"].Rotate.Schedule)
	require.Nil(t, c.Secrets["by/hand"].Grace)
	require.Equal(t, int64(40), c.Secrets["by/hand"].Rotate.Options.Number("length"))
	require.Equal(t, "0 4 * * 1", c.Secrets["by/default"].Rotate.Schedule, "the provider's own")
}

func TestRotationRefused(t *testing.T) {
	for file, want := range map[string]string{
		`[rotation]
timezone = "Mars/Olympus"`: "2:12: there is no time zone \"Mars/Olympus\"",
		`[rotation]
timezone = "Local"`: `2:12: there is no time zone "Local"`,
		`[rotation]
freeze = ["never"]`: "2:11: never does not come",
		`[rotation]
parallel = 0`: `2:12: "parallel" must be from 1 to 64`,
		`[secret.a]
rotate = "generate"`: `2:1: "rotate" must be a table, not text`,
		`[secret.a]
rotate = { schedule = "* * * * *" }`: "2:1: rotate has no provider",
		`[secret.a]
rotate = { provider = "magic" }`: `2:23: there is no provider "magic"`,
		`[secret.a]
rotate = { provider = "generate", schedule = "never" }`: "2:46: never does not come",
		`[secret.a]
rotate = { provider = "manual", schedule = "0 4 * * *" }`: `2:44: credentials of "manual" are made by hand, so no schedule can replace them`,
		`[secret.a]
rotate = { provider = "generate", lenght = 40 }`: `2:35: provider "generate" has no option "lenght"`,
		`[secret.a]
rotate = { provider = "generate", length = "40" }`: `2:35: "length" must be a whole number, not text`,
		`[secret.a]
rotate = { provider = "generate", length = 4 }`: "2:35: a length of 4 cannot be",
		`[secret.a]
rotate = { provider = "typed" }`: `2:1: provider "typed" needs hosts`,
		`[secret.a]
rotate = { provider = "typed", hosts = "web1" }`: `2:32: "hosts" must be a list, not text`,
		`[secret.a]
rotate = { provider = "typed", hosts = [1] }`: `2:32: "hosts" must hold text`,
		`[secret.a]
rotate = { provider = "typed", hosts = ["w"], keep = "1 fortnight" }`: "",
		`[secret.a]
rotate = { provider = "typed", hosts = ["w"], project = "bad" }`: "2:47: there is no such project",
		`[secret.a]
rotate = { provider = "typed", hosts = ["w"], admin = "admin/key" }`: `2:55: "admin/key" manages another credential, and an agent could be granted it`,
		`[secret.a]
rotate = { provider = "typed", hosts = ["w"], admin = "Own" }`: "",
		`[secret.a]
rotate = { provider = "typed", hosts = ["w"], ca = "~/ca.pem" }`: `2:52: the file of ca "~/ca.pem" is not an absolute path`,
		`[secret.a]
rotate = { provider = "typed", hosts = ["w"], ca = "/etc/../ca.pem" }`: `2:52: the file of ca "/etc/../ca.pem" is not in its shortest form`,
		`[secret.a]
rotate = { provider = "typed", hosts = ["w"], ca = true }`: `2:47: "ca" must be text, not true or false`,
		`[secret."a/one"]
rotate = { provider = "typed", hosts = ["w"], project = "p" }
[secret."a/other"]
rotate = { provider = "typed", hosts = ["w"], project = "q" }
[secret."b"]
rotate = { provider = "typed", hosts = ["v"], project = "p" }`: ": a/one and b are both rotated with the account p: rotating one would end the other's credential",
		`[secret.a]
announce = ["/bin/tell"]`: `2:1: "announce" must be a list, not text`,
		`[secret.a]
announce = []`: `2:1: "announce" is empty`,
		`[secret.a]
announce = [["tell"]]`: `2:1: the command of announce "tell" is not an absolute path`,
		`[secret.a]
confirm = []`: `2:1: a command of "confirm" is empty`,
		`[secret."own/a"]
rotate = { provider = "typed", hosts = ["w"], admin = "own/b" }
[secret."own/b"]
rotate = { provider = "typed", hosts = ["w"], admin = "own/a" }`: ": own/a is rotated with itself in the end: own/a with own/b with own/a",
		`[secret."own/a"]
rotate = { provider = "typed", hosts = ["w"], admin = "own/a" }`: ": own/a is rotated with itself in the end: own/a with own/a",
	} {
		errs := refusal(t, file)
		require.Len(t, errs, 1, "%s", file)
		require.Contains(t, errs[0].Error(), want, "%s", file)
		require.NotEmpty(t, errs[0].Remedy+want, "%s", file)
	}
}
