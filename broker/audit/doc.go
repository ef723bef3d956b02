// Package audit is the log of everything the broker decided, and at once the
// durable record of every lease: what is not in it has not happened.
//
// It guards against
//
//   - a secret that leaves without a trace: [Log.Append] returns nil only when
//     the record is on the disk, and after any doubt about that the log gives
//     no power ([ErrUnavailable]) until a new segment holds every record it
//     acknowledged;
//   - editing: each record carries a hash over itself and all before it, and
//     signed checkpoints (RFC 6962 root and chain) are interleaved at least
//     every 256 records, so any change, removal, insertion or reordering shows;
//   - shortening: checkpoints kept elsewhere (Options.OnCheckpoint), and on this
//     disk the position in leases.snap, show records that are gone. What no
//     witness covers is said by [Verify], not passed over;
//   - a crash taken for tampering, or tampering for a crash: only the tail of
//     one unacknowledged write, in the shapes a lost write can have, is ever
//     cut, and the cut is recorded;
//   - secrets and terminal escapes in the log: a [Record] is an allow list of
//     fields, and its strings contain nothing that needs escaping.
//
// It does not guard against whoever can read audit/key: they can write a new
// log that nothing on this machine refutes. Checkpoints kept elsewhere do.
//
// # On disk
//
// A segment, audit/00000001.jsonl and so on, is JSON lines of three kinds. The
// first line is a header; a checkpoint follows it, and then records with
// checkpoints between them. Field order is fixed, absent fields are omitted,
// no string contains an escape, and any deviation is an error:
//
//	{"segment":2,"origin":"secretctl/…","first_seq":9120,"head":"…","tree":["…"],"time":"…","chain":"…"}
//	{"checkpoint":"secretctl/…\n9119\n<root>\nchain <head>\n\n— secretctl/… <signature>\n"}
//	{"seq":9120,"time":"2026-08-01T07:00:00.000000Z","event":"lease","decision":"allow",…,"chain":"…"}
//
// chain is base64url(SHA-256(chain of the header or record before || length of
// this line before `,"chain"`, 8 bytes big-endian || those bytes)); before the
// first line it is 32 zero bytes. head is the chain of the record before. tree
// is the roots of the complete subtrees of the RFC 6962 tree over all records
// before, largest first; its leaves are the record lines without the newline.
// A header with "cut":n says that a failed write left bytes of unknown fate
// behind the first n of the segment before: they were never acknowledged and do
// not count.
package audit
