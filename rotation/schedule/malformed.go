package schedule

import "fmt"

// Malformed is a schedule or a freeze that cannot be used. Problem says what is
// wrong with it, Remedy what to write instead.
type Malformed struct {
	Problem, Remedy string
}

// Error returns the problem without the remedy.
func (m *Malformed) Error() string { return m.Problem }

// malformed makes a [Malformed] whose problem is formatted.
func malformed(remedy, format string, args ...any) error {
	return &Malformed{Problem: fmt.Sprintf(format, args...), Remedy: remedy}
}
