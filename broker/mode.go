package broker

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"secretctl/broker/config"
	"secretctl/sock"
)

// Mode is how much the boundary between the broker and an agent is worth. It
// is shown with its reasons wherever it is shown.
type Mode struct {
	SameUser bool     // one uid, or the owner's: it stops accidents, not hostile code
	Reasons  []string // why a boundary between two uids holds nothing back; empty: it is real
}

// String returns the mode as people read it.
func (m Mode) String() string {
	switch {
	case m.SameUser:
		return "same-user"
	case len(m.Reasons) > 0:
		return "separate (not effective: " + strings.Join(m.Reasons, "; ") + ")"
	}
	return "separate"
}

// Code returns the mode as the audit log has it.
func (m Mode) Code() string {
	switch {
	case m.SameUser:
		return "same-user"
	case len(m.Reasons) > 0:
		return "not-effective"
	}
	return "separate"
}

// weaker orders modes: same-user, then not effective, then separate.
func (m Mode) weaker(than Mode) bool { return m.rank() < than.rank() }

func (m Mode) rank() int {
	return slices.Index([]string{"same-user", "not-effective", "separate"}, m.Code())
}

// powerful are groups whose members can become root, or read the disk, and so
// are not held back by a uid.
var powerful = []string{"root", "sudo", "admin", "wheel", "docker", "lxd", "lxc", "incus-admin", "libvirt", "disk", "shadow", "kmem", "podman"}

// boundary is what an agent must not be able to change for the mode to be
// separate: what the broker executes, and what it reads as configuration.
type boundary struct {
	uid    uint32   // the broker's
	owners []uint32 // besides it
	paths  []string // the binary, the home with the config, the commands
}

// modeOf works out the mode for one agent.
func (b boundary) modeOf(a config.Agent) Mode {
	if a.UID == b.uid || slices.Contains(b.owners, a.UID) {
		return Mode{SameUser: true, Reasons: []string{fmt.Sprintf("%s has the uid of the broker or of an owner (%d)", a.Name, a.UID)}}
	}
	if a.UID == 0 {
		return Mode{SameUser: true, Reasons: []string{a.Name + " is root"}}
	}
	name, gids, reasons := groupsOf(a)
	if may, err := maySudo(name, a.UID); err != nil || may {
		reasons = append(reasons, name+" may sudo")
	}
	for _, path := range b.paths {
		if where, ok := sock.Writable(path, a.UID, gids); ok {
			reasons = append(reasons, fmt.Sprintf("%s can write %s", name, where))
		}
	}
	slices.Sort(reasons)
	return Mode{Reasons: slices.Compact(reasons)}
}

// groupsOf looks the agent's groups up and names the powerful ones among them.
func groupsOf(a config.Agent) (name string, gids []uint32, reasons []string) {
	name = a.Name
	u, err := user.LookupId(strconv.FormatUint(uint64(a.UID), 10))
	if err != nil {
		return name, nil, nil // a uid without an account is in no group
	}
	name = u.Username
	ids, err := u.GroupIds()
	if err != nil {
		return name, nil, []string{"the groups of " + name + " cannot be read"}
	}
	for _, id := range ids {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			gids = append(gids, uint32(n))
		}
		if g, err := user.LookupGroupId(id); err == nil && slices.Contains(powerful, g.Name) {
			reasons = append(reasons, fmt.Sprintf("%s is in group %s", name, g.Name))
		}
	}
	return name, gids, reasons
}

// maySudo reports whether sudoers names the user. A broker that is not root
// cannot read sudoers and then only knows the groups.
func maySudo(name string, uid uint32) (bool, error) {
	files := []string{"/etc/sudoers"}
	more, err := filepath.Glob("/etc/sudoers.d/*")
	if err != nil {
		return false, err
	}
	for _, path := range append(files, more...) {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return false, err
		}
		named := namedIn(bufio.NewScanner(f), name, uid)
		f.Close()
		if named {
			return true, nil
		}
	}
	return false, nil
}

// namedIn reads sudoers only as far as to see whether a rule is for this user
// or for everybody; groups were looked at before.
func namedIn(lines *bufio.Scanner, name string, uid uint32) bool {
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || !strings.Contains(lines.Text(), "=") {
			continue
		}
		if w := fields[0]; w == name || w == "ALL" || w == fmt.Sprintf("#%d", uid) {
			return true
		}
	}
	return false
}
