package age

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"filippo.io/age"
	"filippo.io/age/plugin"

	"secretctl/providers"
)

// pluginKey is an identity that a plugin has: a program of the PATH that is
// started for each file. It is looked for each time, since what was found before
// may have been changed.
type pluginKey struct {
	name string
	id   *plugin.Identity
}

var _ age.RecipientWithLabels = (*pluginKey)(nil)

// parsePlugin reads the identity of a plugin.
func (o *Options) parsePlugin(file, line string, text []byte) (*one, error) {
	name, _, err := plugin.ParseIdentity(line)
	if err != nil {
		return nil, fmt.Errorf("opening vault: %s is not a file with an age identity (AGE-PLUGIN-…): it is mistyped", file)
	}
	id, err := plugin.NewIdentity(line, o.pluginUI())
	if err != nil {
		return nil, fmt.Errorf("opening vault: %s: the identity of the plugin %s cannot be used", file, name)
	}
	k := &pluginKey{name, id}
	public := Public{Kind: "plugin " + name}
	if found := publicIn().FindSubmatch(text); found != nil {
		public.Recipient = string(found[1])
	}
	return &one{public, k, k, "", ""}, nil
}

// pluginUI passes on what a plugin has to say, such as that its device is to be
// touched. It gives no answers: nobody is there to give them.
func (o *Options) pluginUI() *plugin.ClientUI {
	none := errors.New("nobody can be asked")
	return &plugin.ClientUI{
		DisplayMessage: func(name, text string) error {
			if o.Tell != nil {
				o.Tell(fmt.Sprintf("age-plugin-%s says: %s", name, text))
			}
			return nil
		},
		RequestValue: func(string, string, bool) (string, error) { return "", none },
		Confirm:      func(string, string, string, string) (bool, error) { return false, none },
	}
}

// Unwrap implements [age.Identity].
func (k *pluginKey) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if err := trustedPlugin(k.name); err != nil {
		return nil, err
	}
	key, err := k.id.Unwrap(stanzas)
	if err != nil && !errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, k.failed("open")
	}
	return key, err
}

// Wrap implements [age.Recipient].
func (k *pluginKey) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	stanzas, _, err := k.WrapWithLabels(fileKey)
	return stanzas, err
}

// WrapWithLabels implements [age.RecipientWithLabels].
func (k *pluginKey) WrapWithLabels(fileKey []byte) ([]*age.Stanza, []string, error) {
	if err := trustedPlugin(k.name); err != nil {
		return nil, nil, err
	}
	stanzas, labels, err := k.id.Recipient().WrapWithLabels(fileKey)
	if err != nil {
		return nil, nil, k.failed("seal")
	}
	return stanzas, labels, nil
}

func (k *pluginKey) failed(what string) error {
	return &providers.StoreError{Kind: providers.ErrLocked,
		Problem: fmt.Sprintf("age-plugin-%s could not %s it: its device may be missing, or it asked for something that nobody can be asked for", k.name, what),
		Remedy:  "try it by hand: age -d -i " + IdentityFile + " FILE; a device must work without a PIN"}
}

// silent says that a plugin did not answer in time.
func (k *keys) silent(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	name := k.plugin()
	return &providers.StoreError{Kind: providers.ErrUnavailable, Err: ctx.Err(),
		Problem: fmt.Sprintf("age-plugin-%s does not answer: it may wait for its device", name),
		Remedy:  "touch or plug in the device, or end the process age-plugin-" + name}
}

// trustedPlugin reports why a plugin is not called. Whoever can write it, or put
// another before it in the PATH, gets every value.
func trustedPlugin(name string) error {
	file := "age-plugin-" + name
	fail := func(problem, remedy string) error {
		return &providers.StoreError{Kind: providers.ErrUnavailable, Problem: problem, Remedy: remedy}
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if !filepath.IsAbs(dir) {
			return fail("looking for "+file+": the PATH has a directory that is not absolute", "take it out of the broker's PATH")
		}
		path := filepath.Join(dir, file)
		found, err := exec.LookPath(path)
		if err != nil {
			found = existing(dir)
		}
		if call := (*providers.CallError)(nil); errors.As(providers.Trusted(found, found), &call) {
			return fail("looking for "+file+" in the PATH: "+call.Problem, call.Remedy+"; or take "+dir+" out of the broker's PATH")
		}
		if err == nil {
			return nil
		}
	}
	return fail(file+", which the identity belongs to, is not in the PATH", "install it, or name its directory in the broker's PATH")
}

// existing returns the directory, or the nearest one above it that is there: in
// which somebody could make it.
func existing(dir string) string {
	for {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) || dir == "/" {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}
