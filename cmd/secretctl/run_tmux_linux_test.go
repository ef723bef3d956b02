package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret/canary"
)

// tmux is a real terminal multiplexer with a shell in it, in which $RUN is put
// before a command or is empty.
type tmux struct {
	t      *testing.T
	socket string
	env    []string
}

// newTmux starts one, on a screen of 80 by 24.
func newTmux(t *testing.T, h *testHome, run string) *tmux {
	needProgram(t, "tmux")
	m := &tmux{t: t, socket: filepath.Join(canary.Dir(t), "tmux")}
	path := stageDir + ":/usr/bin:/bin"
	m.env = append([]string{"RUN=" + run, "LANG=C.UTF-8", "LESS=", "LESSHISTFILE=-"}, h.env...)
	m.tmux("new-session", "-d", "-s", "main", "-x", "80", "-y", "24", "env", "PATH="+path, "PS1=$ ", "bash", "--norc", "--noprofile")
	t.Cleanup(func() { m.tmux("kill-server") })
	m.await(`^\$$`)
	return m
}

func (m *tmux) tmux(args ...string) string {
	cmd := exec.CommandContext(m.t.Context(), "tmux", append([]string{"-S", m.socket, "-f", "/dev/null"}, args...)...)
	if args[0] == "kill-server" {
		cmd = exec.Command(cmd.Args[0], cmd.Args[1:]...) // the test is over by then
	}
	cmd.Env = m.env
	out, err := cmd.CombinedOutput()
	require.NoError(m.t, err, "tmux %v: %s", args, out)
	return string(out)
}

// screen returns what the terminal shows, and where the cursor is.
func (m *tmux) screen() string {
	return strings.TrimRight(m.tmux("capture-pane", "-p", "-t", "main", ";", "display-message", "-p", "-t", "main", "#{cursor_x},#{cursor_y}"), "\n")
}

// await waits until the screen's text matches and no longer changes.
func (m *tmux) await(pattern string) string {
	re := regexp.MustCompile("(?m)" + pattern)
	last, same := "", 0
	shown := poll(func() bool {
		now := m.screen()
		if same++; now != last {
			last, same = now, 0
		}
		return same >= 5 && re.MatchString(now)
	})
	require.True(m.t, shown, "%q is not on the screen:\n%s", pattern, last)
	return last
}

// becomes waits until the screen is what it should be.
func (m *tmux) becomes(want string) {
	got := ""
	if !poll(func() bool { got = m.screen(); return got == want }) {
		require.Equal(m.t, want, got)
	}
}

// act does one thing: it types keys, as tmux calls them, or resizes the window.
func (m *tmux) act(what []string) {
	if what[0] == "resize" {
		m.tmux("resize-window", "-t", "main", "-x", what[1], "-y", what[2])
		return
	}
	m.tmux(append([]string{"send-keys", "-t", "main"}, what...)...)
}

// beat is one step of a session, and what the screen shows after it.
type beat struct {
	act   []string
	shows string
}

func typed(shows string, keys ...string) beat { return beat{keys, shows} }

// sessions are what people do at a terminal.
var sessions = map[string][]beat{
	"vim": {
		typed(`text`, "$RUN vim -u NONE -i NONE text", "Enter"),
		typed(`more first line`, "i", "more ", "Escape"),
		typed(`^hird`, "G", "x"),
		typed(`Stopped.*\n.*\$$`, "C-z"),
		typed(`icanon\n\$$`, "clear; jobs; stty -a | grep -o '.icanon'", "Enter"),
		typed(`more first line`, "fg", "Enter"),
		{[]string{"resize", "100", "30"}, `more first line`},
		typed(`^hird`, "k", "dd"),
		typed(`:set number`, ":set number"),
		typed(`2 hird`, "Enter"),
		{[]string{"resize", "60", "12"}, `2 hird`},
		typed(`^\$$`, ":q!", "Enter"),
		typed(`^12 60\n\$$`, "clear; stty size", "Enter"),
	},
	"less": {
		typed(`^1$`, "$RUN less numbers", "Enter"),
		typed(`^46$`, "Space"),
		typed(`^777$`, "/777", "Enter"),
		{[]string{"resize", "90", "40"}, `^800$`},
		typed(`Stopped.*\n.*\$$`, "C-z"),
		typed(`^777$`, "clear; fg", "Enter"),
		typed(`^999$`, "G"),
		typed(`^\$$`, "q"),
	},
	"a pager of a pipe": {
		typed(`^1$`, "cat numbers | $RUN less", "Enter"),
		typed(`^46$`, "Space"),
		typed(`Stopped.*\n.*\$$`, "C-z"),
		typed(`^46$`, "clear; fg", "Enter"),
		typed(`^\$$`, "q"),
	},
	"the keyboard is another's": {
		typed(`^up$`, "clear; cat | $RUN sh -c 'echo up; exec cat'", "Enter"),
		typed(`^one\none$`, "one", "Enter"),
		typed(`Stopped.*\n.*\$$`, "C-z"),
		typed(`exec cat'$`, "clear; fg", "Enter"),
		typed(`^two\ntwo$`, "two", "Enter"),
		typed(`^\$$`, "C-d"),
		typed(`^up$`, "clear; sh -c \"$RUN sh -c 'echo up; sleep 1000; echo no' </dev/null; echo over\"", "Enter"),
		typed(`\^C`, "C-c"),
	},
	"a password": {
		typed(`^password:$`, "clear; $RUN bash -c 'read -sp \"password: \" x; echo; echo \"it has ${#x}\"; read -p \"name: \" y; echo \"hello $y\"'", "Enter"),
		typed(`^password:$`, "swordfish"),
		typed(`^it has 9$`, "Enter"),
		typed(`^name: joel$`, "joel"),
		typed(`^hello joel\n\$$`, "Enter"),
	},
	"a prompt on the terminal itself": {
		typed(`^really\?$`, "clear; $RUN sh -c 'printf \"really? \" >/dev/tty; read x </dev/tty; echo \"so $x\"' </dev/null", "Enter"),
		typed(`^so yes\n\$$`, "yes", "Enter"),
	},
	"typing": {
		typed(`^up$`, "clear; $RUN sh -c 'echo up; exec cat'", "Enter"),
		typed(`one\none`, "one", "Enter"),
		typed(`^two$`, "tWO", "BSpace", "BSpace", "wo"),
		typed(`^two\ntwo`, "Enter"),
		typed(`Stopped.*\n.*\$$`, "C-z"),
		typed(`cat`, "fg", "Enter"),
		typed(`^three\nthree`, "three", "Enter"),
		typed(`^\$$`, "C-d"),
		typed(`^rc=0\n\$$`, "echo rc=$?", "Enter"),
	},
	"a job in the background": {
		typed(`^up$`, "clear; $RUN sh -c 'echo up; read x; echo \"got $x\"'", "Enter"),
		typed(`Stopped.*\n.*\$$`, "C-z"),
		typed(`icanon\n\$$`, "clear; stty -a | grep -o '.icanon'", "Enter"),
		typed(`sh -c`, "fg", "Enter"),
		typed(`^got it\n\$$`, "it", "Enter"),
	},
	"a shell in it": {
		typed(`^inner\$$`, "clear; PS1='inner$ ' $RUN bash --norc --noprofile", "Enter"),
		typed(`first line`, "vim -u NONE -i NONE text", "Enter"),
		typed(`Stopped.*\n.*\$$`, "C-z"),
		typed(`first line`, "fg", "Enter"),
		typed(`^inner\$$`, ":q!", "Enter"),
		typed(`^up$`, "clear; echo up; sleep 1000", "Enter"),
		typed(`\^C`, "C-c"),
		typed(`rc=130\ninner\$$`, "echo rc=$?", "Enter"),
		typed(`^\$$`, "exit", "Enter"),
	},
	"colours and the terminal's name": {
		typed(`^24 80 256 ok\n\$$`, "clear; $RUN sh -c 'test -t 0 && test -t 1 && test -t 2 && tty >/dev/null && echo $(stty size) $(tput colors) ok'", "Enter"),
	},
	"the terminal is left as it was": {
		typed(`^same\n\$$`, "clear; a=$(stty -g); $RUN sh -c 'stty raw -echo; exit 3'; stty $a; test \"$a\" = \"$(stty -g)\" && echo same", "Enter"),
		typed(`^alike\n\$$`, "clear; sh -c 'a=$(stty -g); $RUN true; test \"$a\" = \"$(stty -g)\" && echo alike'", "Enter"),
		typed(`(?s)intr = \^G.*\n\$$`, "clear; stty intr ^G; $RUN stty -a; stty intr ^C", "Enter"),
	},
}

// TestRunAtTheTerminal: what people do shows the same, step by step, with run and
// without.
func TestRunAtTheTerminal(t *testing.T) {
	h := newTestHome(t)
	h.run(canary.New(t, "key")+"\n", "set", "key")
	for name, session := range sessions {
		t.Run(name, func(t *testing.T) {
			var without []string
			for _, run := range []string{"", "secretctl run --env KEY_CANARY=key --"} {
				m := newTmux(t, h, run)
				m.act([]string{"cd $(mktemp -d); printf 'first line\\nsecond\\nthird\\n' >text; seq 999 >numbers; clear", "Enter"})
				m.await(`\A\$$`)
				for i, b := range session {
					m.act(b.act)
					if run == "" {
						without = append(without, m.await(b.shows))
					} else {
						m.becomes(without[i])
					}
				}
			}
		})
	}
	require.NotContains(t, h.run("", "leases", "--json"), "lease_id")
}
