// Package secret holds values so that they do not get out by accident.
//
// It guards against a value that is printed, logged, marshalled, compared
// byte by byte or left behind in memory: a [Value] shows itself to nobody but
// the function given to [Value.Use], its bytes live in memory that is locked
// against swapping, left out of core dumps and cleared when the value is, and
// a [Name] in hand has been checked. It does not guard against a debugger of
// the same uid, nor against copies made by whoever is given the bytes.
package secret
