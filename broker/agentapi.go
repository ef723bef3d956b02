package broker

import (
	"net/http"
	"time"

	"secretctl/broker/lease"
)

// agentMethods is the API of the agent's socket. It is the outward contract.
func agentMethods() []Method {
	return []Method{
		{AgentSocket, "GET /v1/health", getHealth},
		{AgentSocket, "GET /v1/secrets", getAvailable},
		{AgentSocket, "POST /v1/leases", postLease},
		{AgentSocket, "GET /v1/leases", getLeases},
		{AgentSocket, "POST /v1/leases/{id}/renew", postRenew},
		{AgentSocket, "DELETE /v1/leases/{id}", deleteLease},
		{AgentSocket, "GET /v1/changes", waiting(getChanges)},
	}
}

func getHealth(r *request) error {
	return r.reply(http.StatusOK, struct {
		OK      bool   `json:"ok"`
		Version string `json:"version"`
	}{!r.b.killed.Load() && r.b.Degraded() == nil, r.b.Version})
}

func getAvailable(r *request) error {
	list, err := r.b.Available(r.c)
	if err != nil {
		return err
	}
	return r.reply(http.StatusOK, list)
}

func postLease(r *request) error {
	body, err := readBody(r.w, r.Request, maxRequest)
	if err != nil {
		return err
	}
	req, err := parseLease(body)
	if err != nil {
		return err
	}
	issued, err := r.b.Lease(r.Context(), r.c, req)
	if err != nil {
		return err
	}
	if req.Bound {
		r.w.c.bind(issued.ID)
	}
	return r.b.answer(r.w, http.StatusCreated, issued)
}

// LeaseInfo is a lease as it is listed: without the value.
type LeaseInfo struct {
	ID        string    `json:"lease_id"`
	Agent     string    `json:"agent"`
	UID       uint32    `json:"uid"`
	PID       int32     `json:"pid"`
	Secret    string    `json:"secret"`
	Version   uint64    `json:"version"`
	Door      string    `json:"door"`
	Pinned    bool      `json:"pinned"`
	IssuedAt  time.Time `json:"issued_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

func listed(leases []lease.Lease) []LeaseInfo {
	out := make([]LeaseInfo, 0, len(leases))
	for _, l := range leases {
		out = append(out, LeaseInfo{l.ID.String(), l.Agent, l.UID, l.PID, string(l.Secret), l.Version, l.Door, l.Pinned, l.Issued, l.Expires})
	}
	return out
}

func getLeases(r *request) error { return r.reply(http.StatusOK, listed(r.b.Leases(r.c))) }

func postRenew(r *request) error {
	issued, err := r.b.Renew(r.Context(), r.c, r.PathValue("id"))
	if err != nil {
		return err
	}
	if r.URL.RawQuery != "" && r.URL.Query().Get("bound") == "true" {
		r.w.c.bind(issued.ID)
	}
	return r.b.answer(r.w, http.StatusOK, issued)
}

func deleteLease(r *request) error {
	if err := r.b.Release(r.c, r.PathValue("id")); err != nil {
		return err
	}
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}

func getChanges(r *request) error {
	changes, err := r.b.Changes(r.Context(), r.c, r.URL.Query().Get("since"))
	if err != nil {
		return err
	}
	return r.reply(http.StatusOK, changes)
}
