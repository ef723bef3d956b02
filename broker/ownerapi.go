package broker

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"secretctl/broker/audit"
	"secretctl/broker/grant"
	"secretctl/broker/secret"
)

// ownerMethods is the API of the owner's socket. It is private to the binary
// and may change with it; scripts use the commands' --json.
func ownerMethods() []Method {
	return []Method{
		{OwnerSocket, "GET /v1/health", getHealth},
		{OwnerSocket, "GET /v1/status", getStatus},
		{OwnerSocket, "GET /v1/secrets", getSecrets},
		{OwnerSocket, "PUT /v1/secret", putSecret},
		{OwnerSocket, "POST /v1/import", postImport},
		{OwnerSocket, "POST /v1/fingerprints", waiting(postFingerprints)},
		{OwnerSocket, "DELETE /v1/secret", deleteSecret},
		{OwnerSocket, "GET /v1/versions", getVersions},
		{OwnerSocket, "POST /v1/rollback", postRollback},
		{OwnerSocket, "POST /v1/move", postMove},
		{OwnerSocket, "POST /v1/rotate", postRotate},
		{OwnerSocket, "GET /v1/plan", getPlan},
		{OwnerSocket, "POST /v1/giveup", postGiveUp},
		{OwnerSocket, "GET /v1/history", getHistory},
		{OwnerSocket, "POST /v1/upstream", postUpstream},
		{OwnerSocket, "POST /v1/adopt", postAdopt},
		{OwnerSocket, "POST /v1/leases", postLease},
		{OwnerSocket, "GET /v1/leases", getLeases},
		{OwnerSocket, "POST /v1/leases/{id}/renew", postRenew},
		{OwnerSocket, "DELETE /v1/leases/{id}", deleteLease},
		{OwnerSocket, "POST /v1/revoke", postRevoke},
		{OwnerSocket, "POST /v1/kill", postKill},
		{OwnerSocket, "POST /v1/resume", postResume},
		{OwnerSocket, "POST /v1/reload", postReload},
		{OwnerSocket, "GET /v1/check", getCheck},
		{OwnerSocket, "GET /v1/audit", waiting(getAudit)},
		{OwnerSocket, "GET /v1/audit/verify", getVerify},
		{OwnerSocket, "GET /v1/changes", waiting(getChanges)},
	}
}

// named reads the secret's name from the query: names hold slashes, so they are
// not part of the path.
func (r *request) named() (secret.Name, error) {
	name, err := secret.ParseName(r.URL.Query().Get("name"))
	if err != nil {
		return "", badRequest(err.Error(), "secretctl ls")
	}
	return name, nil
}

func getStatus(r *request) error {
	s, err := r.b.Status(r.Context())
	if err != nil {
		return err
	}
	return r.reply(http.StatusOK, s)
}

func getSecrets(r *request) error {
	list, err := r.b.List(r.URL.Query().Get("pattern"))
	if err != nil {
		return err
	}
	return r.reply(http.StatusOK, list)
}

// versionReply names a secret's version.
type versionReply struct {
	Secret  string `json:"secret"`
	Version uint64 `json:"version"`
}

// valueTime is how long a value may take to arrive: a person's pipe is slower
// than a request.
const valueTime = 30 * time.Second

func putSecret(r *request) error {
	name, err := r.named()
	if err != nil {
		return err
	}
	value, err := r.value()
	if err != nil {
		return err
	}
	defer value.Clear()
	version, err := r.b.Set(r.Context(), r.c, name, r.URL.Query().Get("store"), value)
	if err != nil {
		return err
	}
	return r.reply(http.StatusOK, versionReply{string(name), version})
}

// value reads a value that is the request's body.
func (r *request) value() (secret.Value, error) {
	r.w.c.within(valueTime)
	if r.ContentLength >= 0 {
		r.b.values.makeRoom(int(min(r.ContentLength, MaxValue)))
	}
	value, err := secret.Read(r.Body, MaxValue)
	switch {
	case errors.Is(err, secret.ErrTooLong):
		return value, &Error{CodeTooLarge, "the value is longer than 1 MiB", ""}
	case errors.Is(err, secret.ErrFull):
		return value, &Error{CodeStoreUnavailable, err.Error(), "try again"}
	case err != nil:
		return value, badRequest("the value did not arrive whole", "")
	}
	return value, nil
}

func deleteSecret(r *request) error {
	name, err := r.named()
	if err != nil {
		return err
	}
	if err := r.b.Remove(r.Context(), r.c, name); err != nil {
		return err
	}
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}

func getVersions(r *request) error {
	name, err := r.named()
	if err != nil {
		return err
	}
	list, err := r.b.Versions(name)
	if err != nil {
		return err
	}
	return r.reply(http.StatusOK, list)
}

func postRollback(r *request) error {
	name, err := r.named()
	if err != nil {
		return err
	}
	version, err := r.b.Rollback(r.Context(), r.c, name)
	if err != nil {
		return err
	}
	return r.reply(http.StatusOK, versionReply{string(name), version})
}

func postAdopt(r *request) error {
	name, err := r.named()
	if err != nil {
		return err
	}
	adopted, err := r.b.Adopt(r.Context(), r.c, name)
	if err != nil {
		return err
	}
	return r.reply(http.StatusOK, struct {
		Secret  string   `json:"secret"`
		Adopted []uint64 `json:"adopted"`
	}{string(name), append([]uint64{}, adopted...)})
}

// ended says how many leases a command ended.
type ended struct {
	Ended int `json:"ended"`
}

func postRevoke(r *request) error {
	body, err := readBody(r.w, r.Request, 16*maxRequest)
	if err != nil {
		return err
	}
	var s Selection
	if err := json.Unmarshal(body, &s); err != nil {
		return badRequest("the selection is not JSON", "")
	}
	n, err := r.b.Revoke(r.c, s)
	if err != nil {
		return err
	}
	return r.reply(http.StatusOK, ended{n})
}

func postKill(r *request) error {
	n, err := r.b.Kill(r.c)
	if err != nil {
		return err
	}
	return r.reply(http.StatusOK, ended{n})
}

func postResume(r *request) error {
	if err := r.b.Resume(r.c); err != nil {
		return err
	}
	return r.reply(http.StatusOK, ended{})
}

func postReload(r *request) error {
	if err := r.b.Reload(); err != nil {
		return &Error{CodeConflict, "the config was not reloaded, and the one before stays in force: " + firstLine(err), "secretctl check"}
	}
	return r.reply(http.StatusOK, struct{}{})
}

// firstLine is the first of an error that may have many.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// Check is what would be decided about a request, and by which rule.
type Check struct {
	Agent      string `json:"agent"`
	Secret     string `json:"secret"`
	Door       string `json:"door"`
	Allow      bool   `json:"allow"`
	Reason     string `json:"reason"` // a code
	Line       int    `json:"line"`   // of the rule in the config; 0: none
	Grant      string `json:"grant"`  // its id, as in the log
	TTLSeconds int64  `json:"ttl_seconds"`
	Exists     bool   `json:"exists"`
}

func getCheck(r *request) error {
	q := r.URL.Query()
	name, err := r.named()
	if err != nil {
		return err
	}
	door := grant.DoorValue
	if d := q.Get("door"); d != "" {
		if door, err = grant.ParseDoor(d); err != nil {
			return badRequest(err.Error(), "")
		}
	}
	c, err := r.b.Explain(q.Get("agent"), name, door)
	if err != nil {
		return err
	}
	return r.reply(http.StatusOK, c)
}

// Explain says what the agent would get at most if it asked now, with a reason.
func (b *Broker) Explain(agent string, name secret.Name, door grant.Door) (Check, error) {
	s := b.settings.Load()
	if _, ok := s.Agent(agent); !ok {
		return Check{}, &Error{CodeNotFound, "the config names no agent " + strconv.Quote(agent), "secretctl check"}
	}
	now := b.now()
	d := s.Policy.Decide(grant.Request{
		Agent: agent, Secret: name, Door: door, Reason: "check", TTL: s.Policy.MaxTTL(), At: now.Wall.Local(),
	}, b.table.Counts(now))
	out := Check{Agent: agent, Secret: string(name), Door: string(door), Allow: d.Allow, Reason: string(d.Code), TTLSeconds: int64(d.TTL / time.Second)}
	if d.Rule != nil {
		out.Line, out.Grant = d.Rule.Line, d.Rule.ID
	}
	_, err := b.ledger.Get(name)
	out.Exists = err == nil || b.referred(name).Ref != ""
	return out, nil
}

// auditWait is how long a reader of the log is kept waiting for the next record.
const auditWait = 20 * time.Second

// getAudit streams the lines of the log from a sequence number on. Reading the
// log is itself logged, once a reader.
func getAudit(r *request) error {
	q := r.URL.Query()
	from, err := strconv.ParseUint(q.Get("from"), 10, 64)
	if err != nil {
		return badRequest("from is not a number", "")
	}
	var since time.Time
	if s := q.Get("since"); s != "" {
		if since, err = time.Parse(time.RFC3339Nano, s); err != nil {
			return badRequest("since is not a time", "")
		}
	}
	if r.b.log == nil {
		return r.b.notRecorded(r.b.logErr)
	}
	if q.Get("follow") == "" {
		// Waited for, so that what was deferred before it is there to be read.
		if err := r.b.log.Append(r.b.record(r.c, audit.EventRead)); err != nil {
			r.b.Warn(fmt.Sprintf("recording that the log was read: %v", err))
		}
	} else if err := r.b.awaitRecord(r, from); err != nil {
		return err
	}
	r.w.Header().Set("Content-Type", "application/jsonl")
	out := bufio.NewWriter(r.w)
	err = audit.Scan(r.b.Disk, AuditDir, from, since, func(_ *audit.Record, line []byte) error {
		_, err := out.Write(line)
		return errors.Join(err, out.WriteByte('\n'))
	})
	return errors.Join(err, out.Flush())
}

// awaitRecord waits until the log has a record from this number on.
func (b *Broker) awaitRecord(r *request, from uint64) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(auditWait); b.log.Head().Seq < from; {
		select {
		case <-tick.C:
		case <-deadline:
			return nil
		case <-r.Context().Done():
			return r.Context().Err()
		}
	}
	return nil
}

func getVerify(r *request) error {
	report, err := audit.Verify(r.b.Disk, AuditDir)
	if err != nil {
		return err
	}
	return r.reply(http.StatusOK, report)
}
