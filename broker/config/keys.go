package config

import "strings"

// schema is what may stand in one kind of table.
type schema struct {
	name  string   // as written in the file
	known []string // keys, in the order of the documentation
}

// The tables of the file. What is not named here is refused.
var (
	topKeys = schema{
		name:  "the file",
		known: []string{"broker", "audit", "rotation", "store", "agent", "secret", "grant"},
	}
	brokerKeys = schema{
		name:  "[broker]",
		known: []string{"owners", "max_ttl", "default_ttl", "max_connections", "agent_socket"},
	}
	auditKeys = schema{
		name:  "[audit]",
		known: []string{"anchor", "keep"},
	}
	rotationKeys = schema{
		name:  "[rotation]",
		known: []string{"timezone", "freeze", "parallel"},
	}
	ageKeys = schema{
		name:  "[store.age]",
		known: []string{"identity", "recipients"},
	}
	agentKeys = schema{
		name:  "[agent.NAME]",
		known: []string{"user", "uid", "exe"},
	}
	secretKeys = schema{
		name:  "[secret.NAME]",
		known: []string{"store", "ref", "env", "max_age", "rotate", "announce", "confirm", "grace", "grace_hard"},
	}
	grantKeys = schema{
		name: "[[grant]]",
		known: []string{"agent", "secrets", "doors", "ttl", "max_leases", "leases_per_hour",
			"hours", "weekdays", "reason", "deny"},
	}
	schemas = []schema{topKeys, brokerKeys, auditKeys, rotationKeys, ageKeys, agentKeys, secretKeys, grantKeys}
)

// elsewhere returns the table a key belongs in that was found in another.
func elsewhere(key string) (string, bool) {
	for _, s := range schemas {
		for _, k := range s.known {
			if k == key && s.name != topKeys.name {
				return s.name, true
			}
		}
	}
	return "", false
}

// adviseUnknown says what would be right in place of a key that s lacks.
func (s schema) adviseUnknown(key string) string {
	// A key that exists is no misspelling, however near another it is.
	if where, ok := elsewhere(key); ok {
		return `"` + key + `" belongs in ` + where
	}
	if k, ok := nearest(key, s.known); ok {
		return `did you mean "` + k + `"?`
	}
	if len(s.known) == 0 {
		return s.name + " takes no keys"
	}
	return s.name + " takes " + strings.Join(s.known, ", ")
}
