/*
 * The passage of a credential from one version to the next, as package rotation
 * drives it: an engine that may be killed anywhere, a service whose answers may
 * be lost, the pointer in the vault, and a client that uses what is published.
 *
 * SHAPE is how the service works (providers.Shape):
 *   set     we choose the value and tell the service; issuing it again does no
 *           harm; a lost answer is settled by trying the new value.
 *   create  the service makes one and shows it once; what a lost answer left is
 *           found by its tag and revoked.
 * Both let two be valid at once.
 *
 * What goes wrong, each so often at most: the engine is killed (CRASHES); a call
 * gets no answer, whether it was done, was not, or will be done later (LOSSES);
 * the service is asked twice where it was asked once (DUPS); what it makes does
 * not work (BADS). The owner may roll back once.
 *
 * What holds:
 *   s1  what is published works at the service, always; and so does what a client
 *       took and still uses (the assertion in client), but for what an owner took
 *       back who rolled back.
 *   s2  when it has ended exactly one credential is there, and it is the
 *       published one: nothing is left behind, and nobody is locked out.
 *   s3  it ends.
 *
 * One thing is taken for granted: a request that is under way arrives before the
 * rotation ends (see quiet). Against one that arrives later there is no protocol.
 *
 * Mutants, each of which `check` must see fail: REVOKE_FIRST, NO_VERIFY, NO_FIND,
 * JOURNAL_AFTER; FIND_IN_DOUBT, which looks for what is left behind only where an
 * answer was lost; ROLL_BACK_BLIND, which takes what it was about to publish for
 * not published; and PINNED, a client that gives nothing back, with which it does
 * not end before a person acts.
 */

#define set    0
#define create 1
#ifndef SHAPE
#define SHAPE create
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef LOSSES
#define LOSSES 2
#endif
#ifndef DUPS
#define DUPS 1
#endif
#ifndef BADS
#define BADS 1
#endif

#define OLD  0  /* the credential there was */
#define NONE 15
#define IDS  10 /* more than can come to be; asserted in fresh */

mtype:state = { planned, issued, staged, verified, published, announced, drained, retired, done, rolled_back };
mtype:action = { plan, issue, find, clean, probe, verify, publish, announce, drain, revoke, prove, restore, undo, drop, nothing };
mtype:outcome = { ok, unknown, definitely_not, invalid };

/* The service. */
short there = 1;   /* a bit for each: it can be revoked and, unless it is broken, used */
short broken;      /* a bit for each */
byte tagged[IDS];
byte ids;          /* the last one that was given */
bool late;         /* a request to issue that is still under way, */
byte late_tag, late_value; /* with what it says */
byte losses, dups, bads;

#define is_there(c) ((there >> (c)) & 1)
#define works(c)    (((there & ~broken) >> (c)) & 1)

/* The vault, and the client's lease. */
byte current;      /* what is published; OLD at first */
byte lease = NONE; /* what the client uses */
bool withdrawn;    /* the owner took the new one back while clients may have it */

/* The rotation: as the engine has it, and as the journal does. What is not here
   a crash takes. */
typedef Rotation {
	mtype:state state;
	mtype:action doing;
	byte tag;
	byte new;   /* NONE: not known */
	byte orphan;
	bool back;  /* it is being rolled back */
	bool doubt; /* an answer was lost */
}
Rotation r, journal;
byte crashes, tags;
bool wish; /* the owner's, to roll back */

#define ended (journal.state == done || journal.state == rolled_back)

inline save() {
	journal.state = r.state; journal.doing = r.doing; journal.tag = r.tag; journal.new = r.new;
	journal.orphan = r.orphan; journal.back = r.back; journal.doubt = r.doubt
}

inline recall() {
	r.state = journal.state; r.doing = journal.doing; r.tag = journal.tag; r.new = journal.new;
	r.orphan = journal.orphan; r.back = journal.back; r.doubt = journal.doubt
}

/* fresh gives id, a local variable, one that was never there. */
inline fresh() {
	ids++;
	assert(ids < IDS);
	id = ids
}

/* serve is the service doing what a request asks that has this tag and, where we
   choose it, this value. */
inline serve(its_tag, its_value) {
#if SHAPE == set
	id = its_value;
	if
	:: is_there(id)
	:: else -> make(its_tag)
	fi
#else
	fresh(); make(its_tag)
#endif
}

inline make(its_tag) {
	there = there | (1 << id); tagged[id] = its_tag;
	if
	:: bads < BADS -> bads++; broken = broken | (1 << id)
	:: true
	fi
}

/* may_lose says in lost whether the answer to a call is. */
inline may_lose() {
	lost = false;
	if
	:: losses < LOSSES -> losses++; lost = true
	:: true
	fi
}

/* network delivers what was under way when the engine no longer waited. */
active proctype network() {
	byte id;
end:
	do
	:: atomic { late -> late = false; serve(late_tag, late_value); id = 0 }
	od
}

/* client takes what is published, uses it, gives it back. */
active proctype client() {
end:
	do
	:: atomic { lease = current }
	   atomic { assert(works(lease) || withdrawn) }
#ifndef PINNED
	   atomic { lease = NONE }
#else
	   false
#endif
	od
}

active proctype owner() {
	if
	:: wish = true
	:: true
	fi
}

/* quiet: nothing is under way. The engine cannot see that, and waits longer than
   a request lives. */
#define quiet (!late)

/* settle: what follows when it is not known whether it was issued. */
#if SHAPE == set
#define settle probe
#else
#ifdef NO_FIND
#define settle issue
#else
#define settle find
#endif
#endif

#if SHAPE == create && !defined(NO_FIND)
#ifdef FIND_IN_DOUBT
#define looks_last r.doubt
#else
#define looks_last true
#endif
#else
#define looks_last false
#endif

inline roll_back() {
	r.back = true;
	if
#ifndef ROLL_BACK_BLIND
	:: r.state == verified -> r.doing = restore /* publishing may be done, with its outcome lost */
#endif
	:: r.state == published || r.state == announced -> r.doing = restore
	:: else -> r.doing = undo
	fi
}

inline last() {
	if
	:: looks_last -> r.doing = find
	:: else -> r.state = done; r.doing = nothing
	fi
}

/* crash_or_go is where the engine may be killed, which is anywhere: what it did
   between two of these nobody could see half done. It resumes with the journal,
   and of a credential that was being issued it knows nothing. */
inline crash_or_go() {
	atomic {
		if
		:: crashes < CRASHES ->
			crashes++; wish = false; out = ok; got = 0;
			recall();
			if
			:: r.doing == issue -> r.doubt = true; r.doing = settle
			:: else
			fi;
			goto resume
		:: true
		fi
	}
}

/* act does r.doing and leaves the outcome in out, what came with it in got. */
inline act() {
	out = ok; got = NONE;
	if
	:: r.doing == plan ->
		tags++; r.tag = tags;
#if SHAPE == set
		fresh(); r.new = id
#endif
	:: r.doing == issue ->
		tag = r.tag; new = r.new;
		if
		:: serve(tag, new); got = id; may_lose(); if :: lost -> out = unknown :: else fi
		:: dups < DUPS -> dups++; serve(tag, new); got = id; serve(tag, new); may_lose(); if :: lost -> out = unknown :: else fi
		:: dups < DUPS && !late -> dups++; late = true; late_tag = tag; late_value = new; serve(tag, new); got = id
		:: losses < LOSSES -> losses++; out = unknown
		:: losses < LOSSES -> losses++; out = definitely_not
		:: losses < LOSSES && !late -> losses++; late = true; late_tag = tag; late_value = new; out = unknown
		fi
	:: r.doing == find ->
		may_lose();
		if
		:: lost -> out = unknown
		:: else ->
			id = 1;
			do
			:: id >= IDS -> break
			:: id < IDS && is_there(id) && tagged[id] == r.tag && (r.back || id != r.new) -> got = id; break
			:: else -> id++
			od
		fi
	:: r.doing == probe || r.doing == verify ->
		may_lose();
		if
		:: lost -> out = unknown
		:: !lost && works(r.new) -> out = ok
		:: !lost && !works(r.new) -> out = invalid
		fi
	:: r.doing == prove ->
		may_lose();
		if
		:: lost -> out = unknown
		:: !lost && works(OLD) -> out = ok
		:: !lost && !works(OLD) -> out = invalid
		fi
	:: r.doing == clean || r.doing == revoke || r.doing == undo ->
		if
		:: r.doing == clean -> id = r.orphan
		:: r.doing == revoke -> id = OLD
		:: r.doing == undo -> id = r.new
		fi;
		may_lose();
		if
		:: id == NONE -> out = ok
		:: id != NONE && !lost -> there = there & ~(1 << id)
		:: id != NONE && lost -> there = there & ~(1 << id); out = unknown
		:: id != NONE && lost -> out = unknown
		fi
	:: r.doing == publish -> current = r.new
	:: r.doing == restore -> current = OLD; withdrawn = true
	:: r.doing == announce || r.doing == drain || r.doing == drop
	fi;
	id = 0; tag = 0; new = 0; lost = false
}

/* next is what follows, and has no effect but in r. */
inline next() {
	if
	:: r.doing == plan -> r.state = issued; r.doing = issue
	:: r.doing == issue ->
		if
		:: out == ok -> r.new = got; r.state = staged; r.doing = verify
		:: out == unknown -> r.doubt = true; r.doing = settle
		:: out == definitely_not
		fi
	:: r.doing == find ->
		if
		:: out == unknown
		:: out == ok && got != NONE -> r.orphan = got; r.doing = clean
		:: out == ok && got == NONE && r.back -> r.doing = drop
		:: out == ok && got == NONE && !r.back && r.state == retired -> r.state = done; r.doing = nothing
		:: out == ok && got == NONE && !r.back && r.state != retired -> r.doing = issue
		fi
	:: r.doing == clean -> if :: out == ok -> r.orphan = NONE; r.doing = find :: else fi
	:: r.doing == probe ->
		if
		:: out == ok -> r.state = staged; r.doing = verify
		:: out == invalid -> r.doing = issue
		:: out == unknown
		fi
	:: r.doing == verify ->
		if
		:: out == ok -> verified_next()
		:: out == invalid -> refused()
		:: out == unknown
		fi
	:: r.doing == publish -> r.state = published; r.doing = announce
	:: r.doing == announce && !r.back -> r.state = announced; r.doing = drain
	:: r.doing == announce && r.back -> r.doing = undo
	:: r.doing == drain -> r.state = drained; r.doing = revoke
	:: r.doing == revoke -> if :: out == ok -> r.doing = prove :: else fi
	:: r.doing == prove ->
		if
		:: out == invalid -> proven()
		:: out == ok -> r.doing = revoke
		:: out == unknown
		fi
	:: r.doing == restore && r.state != verified -> r.doing = announce
	:: r.doing == restore && r.state == verified -> r.doing = undo
	:: r.doing == undo ->
		if
		:: out == ok && looks_last -> r.doing = find
		:: out == ok && !looks_last -> r.doing = drop
		:: out != ok
		fi
	:: r.doing == drop -> r.state = rolled_back; r.doing = nothing
	fi
}

inline verified_next() {
	r.state = verified;
#ifdef REVOKE_FIRST
	r.doing = revoke
#else
	r.doing = publish
#endif
}

inline refused() {
#ifdef NO_VERIFY
	r.state = verified; r.doing = publish
#else
	roll_back()
#endif
}

inline proven() {
#ifdef REVOKE_FIRST
	if
	:: r.state == verified -> r.doing = publish
	:: else -> r.state = retired; last()
	fi
#else
	r.state = retired; last()
#endif
}

/* may_wish: the old one is not being ended. */
#define may_wish ( \
	wish && !r.back && r.doing != plan && r.state != drained && r.state != retired && \
	r.state != done && r.state != rolled_back)

/* may_go: what the engine waits for before it acts. */
#define may_go ( \
	(r.doing != drain || lease != OLD) && \
	(r.doing != undo || SHAPE == create || quiet) && \
	(r.doing != find || quiet || (!r.back && r.state != retired)))

active proctype engine() {
	mtype:outcome out;
	byte got, id, tag, new;
	bool lost;
	d_step {
		r.state = planned; r.doing = plan; r.new = NONE; r.orphan = NONE;
		save();
		out = ok
	}
resume:
	do
	:: ended -> break
	:: else ->
		/* The owner is heard between two actions, until the old one is being ended. */
		atomic {
			if
			:: may_wish -> wish = false; roll_back()
			:: else
			fi
		}
#ifndef JOURNAL_AFTER
		d_step { save() }
		crash_or_go();
#endif
		if
		:: ended
		:: else ->
			atomic { may_go -> act() }
#ifdef JOURNAL_AFTER
			crash_or_go();
			d_step { save() }
#endif
			crash_or_go();
			d_step { next(); out = ok; got = 0 }
#ifdef JOURNAL_AFTER
			if
			:: r.doing == nothing -> d_step { save() }
			:: else
			fi
#endif
		fi
	od
}

#define usable works(current)
#define alone  (there == (1 << current) && usable)

ltl s1   { [] usable }
ltl s2   { [] (ended -> alone) }
ltl s3   { <> ended }
ltl safe { [] (usable && (ended -> alone)) } /* s1 and s2 in one search */
