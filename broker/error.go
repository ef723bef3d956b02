package broker

import (
	"errors"
	"net/http"
)

// Code names what went wrong in the protocol. Codes are part of the outward
// contract: clients match them, so they are never renamed.
type Code string

// The codes of the agent's socket, and those that only an owner sees.
const (
	CodeBadRequest       Code = "bad_request"
	CodeDenied           Code = "denied" // also: there is no such secret
	CodeNoSuchLease      Code = "no_such_lease"
	CodeTooLarge         Code = "too_large"
	CodeKilled           Code = "killed"
	CodeLimit            Code = "limit"
	CodeStoreUnavailable Code = "store_unavailable"

	CodeNotFound   Code = "not_found"   // owner: no such secret
	CodeConflict   Code = "conflict"    // owner: not in this state
	CodeNotDurable Code = "not_durable" // owner: in force, but a restart would undo it
	CodeInternal   Code = "internal"
)

// status is the HTTP status of each code.
var status = map[Code]int{
	CodeBadRequest:       http.StatusBadRequest,
	CodeDenied:           http.StatusForbidden,
	CodeNoSuchLease:      http.StatusNotFound,
	CodeTooLarge:         http.StatusRequestEntityTooLarge,
	CodeKilled:           http.StatusLocked,
	CodeLimit:            http.StatusTooManyRequests,
	CodeStoreUnavailable: http.StatusServiceUnavailable,
	CodeNotFound:         http.StatusNotFound,
	CodeConflict:         http.StatusConflict,
	CodeNotDurable:       http.StatusInternalServerError,
	CodeInternal:         http.StatusInternalServerError,
}

// Error is what a caller is told. It crosses the socket as it is and is the
// same value on both sides; it never holds a value or anything of a store's
// answer.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to type next
}

func (e *Error) Error() string { return e.Message }

// Is makes errors.Is compare the code, so that [ErrDenied] and its like match
// whatever the message says.
func (e *Error) Is(target error) bool {
	var t *Error
	return errors.As(target, &t) && t.Message == "" && t.Code == e.Code
}

// Errors to compare with by errors.Is.
var (
	ErrDenied           = &Error{Code: CodeDenied}
	ErrKilled           = &Error{Code: CodeKilled}
	ErrLimit            = &Error{Code: CodeLimit}
	ErrNotFound         = &Error{Code: CodeNotFound}
	ErrNoSuchLease      = &Error{Code: CodeNoSuchLease}
	ErrBadRequest       = &Error{Code: CodeBadRequest}
	ErrStoreUnavailable = &Error{Code: CodeStoreUnavailable}
	ErrConflict         = &Error{Code: CodeConflict}
	ErrNotDurable       = &Error{Code: CodeNotDurable}
)

// asError is the one place where any error becomes what a caller is told.
// What is not meant for callers stays here.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternal, Message: "the broker could not do that", Hint: "its own stderr says why"}
}

func badRequest(msg, hint string) *Error { return &Error{CodeBadRequest, msg, hint} }
