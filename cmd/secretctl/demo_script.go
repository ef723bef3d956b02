package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
)

// The cast.
const (
	demoAgent   = "aiagent"
	demoKey     = "demo-sk-5f0c2a" // no key of anybody's
	demoBill    = "demo-bill-77e1d0"
	demoWeather = "demo-wx-c0ffee"
)

// demoConfig is what the demo's broker goes by; %d is the agent's uid.
const demoConfig = `[agent.aiagent]
uid = %d

[[grant]]
agent = "aiagent"
secrets = ["openai/*", "weather/api-key"]
ttl = "15m"

[[grant]]                # deny always wins
agent = "aiagent"
secrets = ["openai/billing-*"]
deny = true

[secret."openai/api-key"]
max_age = "30d"

[secret."weather/api-key"]
rotate = { provider = "generate" }
`

// script is what happens in the demo, in this order.
func (d *demo) script() []act {
	acts := slices.Concat(d.beginning(), []act{
		d.tell("A secret is replaced. The old one stays for those who hold it; a schedule would do the same each month."),
		d.run(step{asAgent: true, args: []string{"get", "weather/api-key"}, shows: demoWeather}),
		d.run(step{args: []string{"rotate", "weather/api-key"}, shows: "retiring"}),
		d.run(step{asAgent: true, args: []string{"get", "weather/api-key"}, hides: demoWeather}),
	})
	if d.host != nil {
		acts = append(acts, d.rotateKey()...)
	} else {
		acts = append(acts, d.tell("(Where there is an sshd, the demo replaces an SSH key on it. Here is none that lets this user in.)"))
	}
	return slices.Concat(acts, []act{
		d.tell("Each has an age, and some a limit and a next time."),
		d.run(step{args: []string{"ls"}, shows: "[..........] 30d"}),
	}, d.end())
}

// beginning is what happens first.
func (d *demo) beginning() []act {
	return []act{
		d.tell("The broker's directory: an identity, a vault, a config, a log."),
		d.showHome,
		d.run(step{args: []string{"init"}, shows: "age1"}),

		d.tell("The config: one agent, and what it may have. Everything else is denied."),
		d.configure,
		d.run(step{args: []string{"check"}, shows: "is right: 1 agent, 2 grants"}),

		d.tell("The broker. %s", d.boundary()),
		d.serve,

		d.tell("The owner puts secrets in: never as an argument, always from stdin or a prompt."),
		d.run(step{input: demoKey, args: []string{"set", "openai/api-key"}, shows: "openai/api-key version 1"}),
		d.run(step{input: demoBill, args: []string{"set", "openai/billing-key"}, shows: "version 1"}),
		d.run(step{input: demoWeather, args: []string{"set", "weather/api-key"}, shows: "version 1"}),
		d.run(step{args: []string{"ls"}, shows: "openai/billing-key", hides: demoBill}),

		d.tell("The agent sees what it was granted, and gets it for a while."),
		d.run(step{asAgent: true, args: []string{"ls"}, shows: "openai/api-key", hides: "billing"}),
		d.run(step{asAgent: true, args: []string{"get", "openai/api-key"}, shows: demoKey + "\n"}),

		d.tell("What it was not granted it does not get, nor does it learn that it is there."),
		d.run(step{asAgent: true, args: []string{"get", "openai/billing-key"}, exit: exitDenied, hides: demoBill}),
		d.run(step{args: []string{"check", demoAgent, "openai/billing-key"}, exit: exitDenied, shows: "denies it"}),

		d.tell("Who holds what, and an end to it."),
		d.run(step{args: []string{"leases"}, shows: demoAgent}),
		d.run(step{args: []string{"revoke", "--agent", demoAgent}, shows: "1 lease ended"}),

		d.tell("The kill switch: durable before it answers, and nobody gets anything until resume."),
		d.run(step{args: []string{"kill"}, shows: "the kill switch is on"}),
		d.run(step{asAgent: true, args: []string{"get", "openai/api-key"}, exit: exitKilled, hides: demoKey}),
		d.run(step{args: []string{"resume"}, shows: "the kill switch is off"}),
		d.run(step{asAgent: true, args: []string{"get", "openai/api-key"}, shows: demoKey + "\n"}),
	}
}

// end is what happens last.
func (d *demo) end() []act {
	copied := filepath.Join(d.dir, "copy")
	return []act{
		d.tell("What happened. A record is on the disk before a secret leaves."),
		d.run(step{args: []string{"audit"}, shows: "deny", hides: demoKey}),
		d.run(step{args: []string{"audit", "verify"}, shows: "the log is what was written"}),

		d.tell("Somebody changes one bit of the log, in a copy of the directory."),
		d.tamper(copied),
		d.run(step{home: copied, args: []string{"audit", "verify"}, exit: exitError, shows: "the log is not what was written"}),

		d.tell("The broker ends."),
		d.stop,
	}
}

// boundary says how much the demo's separation is worth.
func (d *demo) boundary() string {
	if d.agent == nil {
		return "The agent is this same user here, which keeps no secret from hostile code; run the demo as root for a second user."
	}
	return fmt.Sprintf("The agent is another user, uid %d: the kernel tells the broker who asks.", d.agent.Uid)
}

func (d *demo) showHome(context.Context) error {
	return d.showCommand(false, "export SECRETCTL_HOME="+d.home.dir)
}
