// Package schedule decides when a secret is rotated. It decides only: it reads
// no clock, keeps nothing and starts nothing, so that two years of ticks,
// sleeps, restarts and wrong clocks can be tried in seconds.
//
// It guards against what cron alone does: a slot that is forgotten because the
// machine slept, one that comes twice because summer time ended or the clock
// was set back, one that never comes because summer time began, forty keys in
// one minute on Monday morning, and a service asked for one key after another
// because none of them works.
//
// A [Schedule] is a cron expression, a [Freeze] when nothing is started, a
// [Plan] what the config says of one secret and a [State] what is remembered of
// it. The scheduler keeps each State on the disk and, on every tick,
//
//	clock, pace = clock.Tick(now)                 // Paused: does nothing more
//	state, verdict = plan.Decide(now, state, c)   // for each secret; does not allocate
//
// and for a verdict of Run starts the rotation, whose journal comes first, and
// then calls [Plan.Started]. What a crash between the two leaves, [Plan.Started]
// makes good when the broker starts again.
package schedule
