// Package dotenv reads .env files byte for byte and changes only what is told.
//
// There is no standard for these files, and readers disagree: what is a comment
// to one is a part of the password to the next. It guards against a secret that
// is cut short without a word on its way into the vault, or that stays behind
// because another reader's idea of where it ends was used: each entry says which
// of the [Dialects] read another value, and a change touches the bytes of one
// value and no others. Nothing that is in a file is run or expanded.
//
// The value of an entry is the one that motdotla's dotenv reads, the dialect of
// most of these files, but for where it stands alone. It takes every # for the
// beginning of a comment, the others only one behind a blank: KEY=abc#def, of
// which it takes "abc", is "abc#def". And where all others read one and the same
// value between the same quotes, it is that one: KEY="a\"b" is a"b, and not a\"b.
// In that, a reader that gives up on the statement, or runs it as a command, has no
// say, docker's --env-file has none about quotes, since it knows none, and it takes
// two to overrule.
//
// It does not guard against memory: values are ordinary slices, which
// [File.Clear] clears.
package dotenv
