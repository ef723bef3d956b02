package scan

import (
	"context"
	"os"
	"path/filepath"
	"slices"
)

// places are where the tools of a developer leave secrets in a home: the files
// that these patterns name, and the trees below the directories.
var places = []string{
	// Variables, up to three directories deep.
	".env", ".env.*", ".envrc", "*/.env", "*/.env.*", "*/.envrc", "*/*/.env", "*/*/.env.*", "*/*/.envrc", "*/*/*/.env", "*/*/*/.env.*",
	".profile", ".bashrc", ".bash_profile", ".bash_aliases", ".zshrc", ".zshenv", ".zprofile", ".config/fish/config.fish",
	".config/fish/fish_variables", ".config/environment.d/*",
	// What was typed.
	".bash_history", ".zsh_history", ".histfile", ".sh_history", ".ash_history", ".zsh_sessions/*",
	".local/share/fish/fish_history", ".python_history", ".node_repl_history",
	".psql_history", ".mysql_history", ".rediscli_history", ".sqlite_history", ".dbshell", ".irb_history", ".lesshst", ".viminfo",
	".config/powershell/*", ".local/share/powershell/PSReadLine/*",
	// OpenClaw: its config and the copies it makes, what its agents log in with, what they said.
	".openclaw", ".clawdbot", ".moltbot",
	// Other agents: settings and transcripts.
	".claude.json", ".claude.json.backup*", ".claude/*.json", ".claude/projects", ".claude/history.jsonl",
	".claude/shell-snapshots", ".codex/auth.json", ".codex/config.toml", ".codex/history.jsonl", ".codex/sessions",
	".gemini/*", ".aider*", ".cursor/mcp.json", ".config/opencode/*", ".local/share/opencode/auth.json",
	// Clouds, registries, hosts.
	".aws/credentials", ".aws/config", ".azure/*.json", ".config/gcloud/*.json", ".config/gcloud/*.db",
	".config/gcloud/legacy_credentials/*/*", ".oci/*", ".config/doctl/config.yaml", ".config/hcloud/cli.toml", ".fly/config.yml",
	".terraform.d/credentials.tfrc.json", ".terraformrc",
	".netrc", "_netrc", ".npmrc", ".yarnrc", ".yarnrc.yml", ".pypirc", ".config/pip/pip.conf", ".pip/pip.conf", ".gem/credentials",
	".cargo/credentials", ".cargo/credentials.toml", ".m2/settings.xml", ".gradle/gradle.properties", ".nuget/NuGet/NuGet.Config",
	".docker/config.json", ".config/containers/auth.json", ".kube/config", ".config/gh/hosts.yml", ".config/glab-cli/config.yml",
	".config/hub", ".git-credentials", ".config/git/credentials", ".gitconfig", ".config/git/config",
	".pgpass", ".my.cnf", ".mylogin.cnf", ".config/rclone/rclone.conf", ".s3cfg", ".boto", ".vault-token", ".config/op/config",
	".ngrok2/ngrok.yml", ".config/ngrok/ngrok.yml",
	".ssh/*", ".gnupg/*.txt", ".config/age/*", ".config/sops/age/*",
	// What services are started with.
	".config/systemd/user/*", ".config/systemd/user/*/*", "Library/LaunchAgents/*",
	"Library/Application Support/Code/User/settings.json", ".config/Code/User/settings.json",
	"Library/Application Support/Claude/*.json", ".config/Claude/*.json",
}

// system are the places outside of homes.
var system = []string{"/Library/LaunchDaemons/*", "/Library/LaunchAgents/*", "/etc/environment", "/etc/systemd/system/*.service", "/etc/systemd/system/*.d/*"}

// Places searches where secrets are known to lie about: in a home and, with
// outside, in the directories of the system that services are started from.
// What is not there is none of them; what is there and closed is trouble in a
// home only.
func (s *Scanner) Places(ctx context.Context, home string, outside bool) {
	var paths []string
	for _, pattern := range places {
		found, _ := filepath.Glob(filepath.Join(escaped(home), pattern)) // the patterns are right
		paths = append(paths, found...)
	}
	if outside {
		for _, pattern := range system {
			found, _ := filepath.Glob(pattern)
			paths = append(paths, slices.DeleteFunc(found, func(path string) bool { return !readable(path) })...)
		}
	}
	// Links lead to what is found where it is, or to where another put it.
	s.Paths(ctx, slices.DeleteFunc(paths, func(path string) bool {
		info, err := os.Lstat(path)
		return err != nil || !info.IsDir() && !info.Mode().IsRegular()
	}))
}

func readable(path string) bool {
	f, err := openFile(nil, path)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// escaped returns a path as a pattern that means it.
func escaped(path string) string {
	var out []byte
	for i := range len(path) {
		switch path[i] {
		case '*', '?', '[', '\\':
			out = append(out, '\\')
		}
		out = append(out, path[i])
	}
	return string(out)
}
