package secret

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what a value prints as.
const Redacted = "REDACTED"

// Every way to show a Value shows [Redacted], and every way to marshal one
// fails. Where these methods are not called, as for an unexported field, there
// is only the address of a function to be seen.

var errMarshal = errors.New("the value of a secret is not marshalled")

// Format prints [Redacted] for every verb.
func (Value) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, Redacted) }

// String returns [Redacted].
func (Value) String() string { return Redacted }

// GoString returns [Redacted].
func (Value) GoString() string { return Redacted }

// LogValue returns [Redacted].
func (Value) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalJSON fails.
func (Value) MarshalJSON() ([]byte, error) { return nil, errMarshal }

// MarshalText fails.
func (Value) MarshalText() ([]byte, error) { return nil, errMarshal }

// MarshalBinary fails.
func (Value) MarshalBinary() ([]byte, error) { return nil, errMarshal }

// GobEncode fails.
func (Value) GobEncode() ([]byte, error) { return nil, errMarshal }
