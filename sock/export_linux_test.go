package sock

var (
	// ClosePassed closes the descriptors in control messages.
	ClosePassed = closePassed
	// Admissible refuses uids that name nobody in particular.
	Admissible = admissible
)
