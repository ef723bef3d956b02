// Package config reads secretctl.toml, the one file in which the owner says who
// may have what.
//
// It guards against
//
//   - a typing mistake that opens a door: every key that is not known, every
//     value of another type and every word that cannot be read is refused, with
//     its line and what would be right. Nothing has a meaning by accident and
//     nothing is ignored;
//   - a file that is half in force: [ParseOptions.Parse] returns a whole
//     configuration or none, and all that is wrong at once;
//   - two names for one peer: an agent is one uid and a uid is one agent, and
//     the uids that stand for "nobody in particular" are refused;
//   - the broker's credentials in a grant, and commands the kernel would look
//     for on a path the broker does not choose;
//   - a file made to exhaust the reader: its size, depth and number of entries
//     are bounded before anything is made of it.
//
// Reading has no effects but looking up user names, and an empty file is valid:
// it grants nothing.
package config
