// Package grant holds the one decision of the broker: may this agent have this
// secret, through this door, for how long. It is a pure function of the
// policy, the request, the time and two counters, so that the socket, `ls`,
// `check`, a renewal and every later door ask the same code and cannot
// disagree.
//
// It guards against
//
//   - the prompt-injected agent that asks for everything: what no rule allows
//     is denied, and an allow is bounded in time and in number;
//   - a deny that is walked around: a deny rule that names the secret wins
//     whatever its place in the file, the door asked for or the time of day,
//     and listing ([Policy.Granted]) applies it like asking does;
//   - two spellings of one name: patterns are compared byte by byte with names
//     that [secret.ParseName] has accepted, and a pattern that no such name
//     could match is refused;
//   - the broker's own credentials: a name for which [secret.Name.Own] holds
//     matches no pattern and is refused before any rule is looked at.
//
// It does not know who the peer is or whether a secret exists; its caller names
// the agent by kernel uid and decides before any store is touched.
package grant
