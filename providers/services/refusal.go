package services

import (
	"fmt"
	"net/http"

	"secretctl/providers"
)

// refusal says what a status means that is not the wanted one. What came with it
// is not read: it is the service's text, and may repeat what was sent.
func (c *client) refusal(r request, resp *http.Response) *providers.CallError {
	status := resp.StatusCode
	e := providers.Not(providers.CodeUnavailable, "%s answers %d", c.service, status)
	e.RetryAfter = providers.RetryAfter(resp.Header)
	switch {
	case status == http.StatusUnauthorized && r.self:
		e.Code, e.Problem = providers.CodeInvalid, c.service+" refuses the credential"
	case status == http.StatusForbidden && r.self:
		// It knows the credential, or it keeps out whoever comes from here.
		e.Outcome, e.Code, e.Problem = providers.Unknown, providers.CodeDenied, c.service+" does not let the credential make this call"
	case status == http.StatusUnauthorized:
		e.Code, e.Problem, e.Remedy = providers.CodeDenied, c.service+" refuses the managing credential", c.denied
	case status == http.StatusForbidden:
		e.Code, e.Problem, e.Remedy = providers.CodeDenied, c.service+" does not let the managing credential do this", c.denied
	case status == http.StatusNotFound || status == http.StatusGone:
		e.Code, e.Problem = providers.CodeNotFound, c.service+" has no such thing"
	case status == http.StatusConflict:
		e.Code, e.Problem = providers.CodeLimit, c.service+" has no room for another, or has one of that name"
	case status == http.StatusBadRequest || status == http.StatusUnprocessableEntity:
		e.Code, e.Problem = providers.CodeOptions, fmt.Sprintf("%s does not accept what was asked for (%d)", c.service, status)
	case status == http.StatusTooManyRequests:
		e.Code, e.Problem = providers.CodeRateLimited, c.service+" was asked too often"
	case status == http.StatusSeeOther, status == http.StatusRequestTimeout:
		// The first also follows what was done; the second may come from something in
		// between that has passed the request on.
		e.Outcome = providers.Unknown
	case status >= 300 && status < 400:
		e.Problem = c.service + " answers with a redirect, which is not followed"
		e.Remedy = "set " + c.option + " to the address of the API itself"
	case status >= 400 && status < 500:
	case status >= 500:
		e.Outcome = providers.Unknown
	default: // it did something
		e.Outcome = providers.Unknown
		e.Problem = fmt.Sprintf("%s answers %d, not the %d of its documentation", c.service, status, r.want)
	}
	return e
}
