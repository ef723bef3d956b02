// Package mask recognises known secret values in a stream of bytes, in every
// form in which programs write them, and writes [secretctl:NAME] instead.
//
// It guards against a value that a program prints, logs or sends back by
// accident: as it is, trimmed, in base64 within a longer text and in lines as
// programs cut it, in hex, percent-encoded, escaped for JSON, for JSON within
// JSON, for HTML or a shell, or a line of it alone, across whatever borders the
// stream is cut at. It does not guard against a program that means to get a value
// past it: anything that is reversed, hashed, compressed, encrypted, spaced out
// or otherwise wrapped at a column passes, and so does a part of a value that is
// not one of its lines. Values that are too short or
// too plain are not recognised at all, and [Salt.Fingerprints] says so.
//
// # What fingerprints give away
//
// A process that masks holds no value, but a [Fingerprint] of each form: a
// salted hash of 32 bits of its first 8 bytes, which every place of the stream
// is held against, one of its first 64, and a salted SHA-256 of all of it, which
// has the last word. That keeps values out of a core dump, a swap file and the
// reach of a mistake. It is not encryption. Who has fingerprints and their salt
// can try guesses as fast as the machine hashes, and the gate lets a guess be
// tried in parts:
//
//   - The first 8 bytes of a value are to be counted as known. 8 digits of hex
//     are 4 bytes of the value, which are found with 2^32 tries; the gate of
//     the plain form then gives the next 4 for as many again. So are the first 8
//     bytes of every line that has a form of its own.
//   - What comes after them is as hard to find as it is to guess: 60 random
//     letters and digits are out of reach, 12 are not, since 4 are left.
//   - Len is the length, and Floor whether there are spaces or line ends.
//
// So fingerprints go only to who may have the values: over the owner's socket
// to an owner, and in run to the process that was handed the values and has
// cleared them.
package mask
