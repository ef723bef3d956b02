package sock_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/sock"
)

// tree makes the directories that the tables below are about:
//
//	good/file         root's, nobody else can write
//	agents/file       the agent's
//	open/, group/     root's, everybody or agentTwo's group can write
//	tmp/file          sticky: root's file in it, agents in it, and the agent's link to root's file
//	loose             root's file that everybody can write
//	links/            to all of them
func tree(t *testing.T) string {
	t.Helper()
	base := trustedDir(t)
	at := func(name string) string { return filepath.Join(base, name) }
	mkdir(t, at("good"), 0, 0o755)
	write(t, at("good/file"), "", 0o644)
	write(t, at("loose"), "", 0o666)
	write(t, at("group-file"), "", 0o664)
	require.NoError(t, chgrp(at("group-file"), agentTwo))
	for _, d := range []struct {
		name string
		uid  int
		mode os.FileMode
	}{
		{"agents", agent, 0o755},
		{"open", 0, 0o777},
		{"group", 0, 0o775},
		{"tmp", 0, 0o777 | sticky},
		{"agents-tmp", agent, 0o777 | sticky},
		{"links", 0, 0o755},
	} {
		mkdir(t, at(d.name), d.uid, d.mode)
		write(t, at(d.name)+"/file", "", 0o644)
	}
	require.NoError(t, chgrp(at("group"), agentTwo))
	require.NoError(t, os.Chown(at("agents/file"), agent, agent))
	mkdir(t, at("tmp/agents"), agent, 0o755)
	write(t, at("tmp/agents/file"), "", 0o644)
	symlink(t, at("good/file"), at("tmp/link"), agent)
	for _, name := range []string{"good", "agents", "tmp", "open"} {
		symlink(t, at(name), at("links/"+name), 0)
	}
	symlink(t, at("tmp")+"/", at("links/tmp-slash"), 0)
	symlink(t, at("tmp")+"/.", at("links/tmp-dot"), 0)
	symlink(t, at("tmp")+"/agents/..", at("links/tmp-back"), 0)
	symlink(t, "../links/good", at("links/twice"), 0)
	symlink(t, at("good"), at("links/agents-link"), agent)
	return base
}

// TestTrustedPath: for which uids a path is beyond everybody else's reach.
func TestTrustedPath(t *testing.T) {
	base := tree(t)
	const nobodyElse, rootOnly, agentOnly = "root and the agent", "root", "the agent"
	for _, c := range []struct {
		path    string
		trusted string // by whom, strictly
		named   string // by whom where sticky directories are accepted
	}{
		{"good/file", nobodyElse, nobodyElse},
		{"good/", nobodyElse, nobodyElse},
		{"good/../good/./file", nobodyElse, nobodyElse},
		{"agents/file", agentOnly, agentOnly},
		{"agents", agentOnly, agentOnly},
		{"agents/../good/file", agentOnly, agentOnly}, // the kernel passes it
		{"open/file", "", ""},
		{"group/file", "", ""},
		{"loose", "", ""},
		{"group-file", "", ""},
		{"tmp/file", "", nobodyElse},
		{"tmp/agents", "", agentOnly},
		{"tmp/link", "", agentOnly},
		{"tmp", "", ""}, // itself it is nobody's
		{"tmp/.", "", ""},
		{"tmp/", "", ""},
		{"agents-tmp/file", "", ""}, // whose it is can do as it likes
		{"links/good/file", nobodyElse, nobodyElse},
		{"links/twice/file", nobodyElse, nobodyElse},
		{"links/agents/file", agentOnly, agentOnly},
		{"links/agents-link/file", agentOnly, agentOnly},
		{"links/open/file", "", ""},
		{"links/tmp/file", "", nobodyElse},
		{"links/tmp", "", ""},
		{"links/tmp-slash", "", ""},
		{"links/tmp-dot", "", ""},
		{"links/tmp-back", "", ""},
		{"good/nothing", "", ""},
		{"nothing/file", "", ""},
		{"good/file/file", "", ""},
	} {
		for _, named := range []bool{false, true} {
			want := c.trusted
			if named {
				want = c.named
			}
			root, agents := sock.TrustedPath(base+"/"+c.path, 0, named), sock.TrustedPath(base+"/"+c.path, agent, named)
			require.Equal(t, want == nobodyElse || want == rootOnly, root == nil, "%s, by root, named %t: %v", c.path, named, root)
			require.Equal(t, want == nobodyElse || want == agentOnly, agents == nil, "%s, by the agent, named %t: %v", c.path, named, agents)
		}
	}
}

// What is wrong is said with the place and what to type.
func TestTrustedPathSaysWhere(t *testing.T) {
	base := tree(t)
	require.EqualError(t, sock.TrustedPath(base+"/open/file", 0, false),
		fmt.Sprintf("%s/open: not trusted: its mode 0777 lets others change it (chmod go-w %s/open)", base, base))
	require.EqualError(t, sock.TrustedPath(base+"/agents/file", stranger, false),
		fmt.Sprintf("%s/agents: not trusted: it belongs to uid %d, not to root or uid %d", base, agent, stranger))
}

// A relative path is that of the working directory, with all above it.
func TestTrustedPathIsRelative(t *testing.T) {
	base := tree(t)
	t.Chdir(base + "/good")
	require.NoError(t, sock.TrustedPath("file", 0, false))
	require.NoError(t, sock.TrustedPath(".", 0, false))
	require.Error(t, sock.TrustedPath("../open/file", 0, false))
	t.Chdir(base + "/open")
	require.Error(t, sock.TrustedPath("file", 0, false))
}

// TestWritable: what a uid can change, and where.
func TestWritable(t *testing.T) {
	base := tree(t)
	for _, c := range []struct {
		path  string
		uid   uint32
		gids  []uint32
		where string // "": nowhere
	}{
		{path: "good/file", uid: agent},
		{path: "good/file", uid: agent, gids: []uint32{agent, agentTwo}},
		{path: "agents/file", uid: agent, where: "agents"},
		{path: "agents/file", uid: stranger},
		{path: "open/file", uid: stranger, where: "open"},
		{path: "group/file", uid: stranger},
		{path: "group/file", uid: stranger, gids: []uint32{agentTwo}, where: "group"},
		{path: "loose", uid: stranger, where: "loose"},
		{path: "group-file", uid: stranger, gids: []uint32{agentTwo}, where: "group-file"},
		{path: "group-file", uid: stranger, gids: []uint32{agent}},
		{path: "tmp/file", uid: agent},
		{path: "tmp/agents/file", uid: agent, where: "tmp/agents"},
		{path: "tmp/agents/file", uid: stranger},
		{path: "tmp/link", uid: agent, where: "tmp/link"}, // it can lead elsewhere tomorrow
		{path: "tmp/link", uid: stranger},
		{path: "tmp", uid: stranger, where: "tmp"},
		{path: "tmp/", uid: stranger, where: "tmp"},
		{path: "tmp/nothing", uid: stranger, where: "tmp"}, // it can make it
		{path: "tmp/nothing/file", uid: stranger, where: "tmp"},
		{path: "tmp/agents/nothing", uid: stranger},
		{path: "agents-tmp/file", uid: agent, where: "agents-tmp"},
		{path: "agents-tmp/file", uid: stranger},
		{path: "links/open/file", uid: stranger, where: "open"},
		{path: "links/tmp-slash", uid: stranger, where: "tmp"},
		{path: "links/good/file", uid: stranger},
		{path: "good/nothing", uid: stranger},
		{path: "good/file/file", uid: stranger, where: "good/file/file"}, // cannot be looked at
		{path: "loop", uid: stranger, where: "loop"},
	} {
		if c.path == "loop" {
			symlink(t, "loop", filepath.Join(base, "loop"), 0)
		}
		where, ok := sock.Writable(base+"/"+c.path, c.uid, c.gids)
		if c.where == "" {
			require.False(t, ok, "%s by %d: at %s", c.path, c.uid, where)
			require.Empty(t, where)
			continue
		}
		require.True(t, ok, "%s by %d", c.path, c.uid)
		require.Equal(t, filepath.Join(base, c.where), where, "%s by %d", c.path, c.uid)
	}
}

// A path may lead through so many links and no more.
func TestTooManyLinks(t *testing.T) {
	base := tree(t)
	target := "good"
	for i := range 17 {
		name := fmt.Sprintf("link-%d", i)
		symlink(t, target, filepath.Join(base, name), 0)
		target = name
	}
	require.NoError(t, sock.TrustedPath(base+"/link-15/file", 0, false))
	require.ErrorContains(t, sock.TrustedPath(base+"/link-16/file", 0, false), "16 links")
	where, ok := sock.Writable(base+"/link-16/file", stranger, nil)
	require.True(t, ok)
	require.Equal(t, base+"/link-0", where)
}
