package openclaw

import "strings"

// Ref is a reference in OpenClaw's files.
type Ref struct {
	Source   string `json:"source"`
	Provider string `json:"provider"`
	ID       string `json:"id"`
}

// ProviderAlias is what OpenClaw's config calls us.
const ProviderAlias = "secretctl"

// RefTo refers to a secret of ours.
func RefTo(name string) Ref { return Ref{"exec", ProviderAlias, name} }

// Provider is the definition of an exec provider in the config.
type Provider struct {
	Source    string            `json:"source"`
	Command   string            `json:"command"`
	Args      []string          `json:"args"`
	PassEnv   []string          `json:"passEnv,omitempty"`
	Env       map[string]string `json:"env,omitempty"`
	TimeoutMS int               `json:"timeoutMs"`
	JSONOnly  bool              `json:"jsonOnly"`
}

// NewProvider defines the provider that runs a copy of us. A socket is where the
// broker answers, "" when the copy finds it by itself.
func NewProvider(command, socket string) Provider {
	p := Provider{
		Source: "exec", Command: command, Args: []string{"openclaw", "resolve"},
		PassEnv: []string{"HOME"}, TimeoutMS: 10_000, JSONOnly: true,
	}
	if socket != "" {
		p.Env = map[string]string{"SECRETCTL_SOCKET": socket}
	}
	return p
}

// Plan is what `openclaw secrets apply` carries out. It holds no value.
type Plan struct {
	Version         int                 `json:"version"`
	ProtocolVersion int                 `json:"protocolVersion"`
	ProviderUpserts map[string]Provider `json:"providerUpserts"`
	Targets         []Target            `json:"targets"`
	Options         PlanOptions         `json:"options"`
}

// Target is a place that is to hold a reference.
type Target struct {
	Type                string   `json:"type"`
	Path                string   `json:"path"`
	PathSegments        []string `json:"pathSegments"`
	AgentID             string   `json:"agentId,omitempty"`
	AuthProfileProvider string   `json:"authProfileProvider,omitempty"`
	Ref                 Ref      `json:"ref"`
}

// PlanOptions say what else OpenClaw clears.
type PlanOptions struct {
	ScrubEnv                            bool `json:"scrubEnv"`
	ScrubAuthProfilesForProviderTargets bool `json:"scrubAuthProfilesForProviderTargets"`
}

// NewPlan plans references to the secrets. Profiles of the shared store are not
// in it: the plan of OpenClaw has no way to name them (see [Store]). Nor may
// OpenClaw drop profiles of a provider that it has a key for in the config: one
// that is not in the vault would be lost.
func NewPlan(p Provider, credentials []*Credential) Plan {
	plan := Plan{
		Version: 1, ProtocolVersion: 1, ProviderUpserts: map[string]Provider{ProviderAlias: p}, Targets: []Target{},
		Options: PlanOptions{ScrubEnv: true},
	}
	for _, c := range credentials {
		if c.shared() {
			continue
		}
		plan.Targets = append(plan.Targets, Target{
			c.Type, strings.Join(c.Path, "."), c.Path, c.Agent, c.Provider, RefTo(c.Name),
		})
	}
	return plan
}
