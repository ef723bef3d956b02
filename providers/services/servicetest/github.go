package servicetest

import (
	"net/http"
	"strings"
	"testing"
)

// GitHub is a fake of GitHub's API.
type GitHub struct {
	Fake
	tokens map[string]GitHubToken // by value
}

// GitHubToken is a token that a person made.
type GitHubToken struct {
	Login   string
	Scopes  string // as the header has it; "": a fine-grained token, of which none are said
	Expires string // as the header has it; "": never
}

// NewGitHub starts the fake.
func NewGitHub(t testing.TB) *GitHub {
	g := &GitHub{tokens: make(map[string]GitHubToken)}
	g.start(t)
	headers := map[string]string{"Accept": "application/vnd.github+json", "X-Github-Api-Version": "2022-11-28", "User-Agent": ""}
	g.on("GET /user", endpoint{headers: headers, do: g.user})
	g.on("POST /credentials/revoke", endpoint{headers: headers, body: func() any { return new(githubRevoke) }, do: g.revoke})
	return g
}

// Add makes a token, as a person does at the page.
func (g *GitHub) Add(token GitHubToken) (value string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	value = "ghp_" + g.mintLocked("token")
	g.tokens[value] = token
	return value
}

func (g *GitHub) refuse(w http.ResponseWriter, status int, message string) {
	reply(w, status, map[string]any{"message": message, "documentation_url": "https://docs.github.com/rest", "status": http.StatusText(status)})
}

func (g *GitHub) user(w http.ResponseWriter, r *http.Request, _ any) {
	given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	g.mu.Lock()
	token, ok := g.tokens[given]
	g.mu.Unlock()
	if !ok {
		g.refuse(w, http.StatusUnauthorized, "Bad credentials "+given)
		return
	}
	if token.Scopes != "" {
		w.Header().Set("X-Oauth-Scopes", token.Scopes)
	}
	if token.Expires != "" {
		w.Header().Set("Github-Authentication-Token-Expiration", token.Expires)
	}
	reply(w, http.StatusOK, map[string]any{"login": token.Login, "id": 1, "node_id": "MDQ6VXNlcjE=", "type": "User"})
}

type githubRevoke struct {
	Credentials []string `json:"credentials"`
}

func (g *GitHub) revoke(w http.ResponseWriter, r *http.Request, body any) {
	in := body.(*githubRevoke)
	if r.Header.Get("Authorization") != "" {
		g.refuse(w, http.StatusForbidden, "authenticated requests are refused")
		return
	}
	for _, c := range in.Credentials {
		if !strings.HasPrefix(c, "ghp_") && !strings.HasPrefix(c, "github_pat_") {
			g.refuse(w, http.StatusUnprocessableEntity, "not a credential: "+c)
			return
		}
	}
	if n := len(in.Credentials); n < 1 || n > 1000 {
		g.refuse(w, http.StatusUnprocessableEntity, "credentials")
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range in.Credentials {
		delete(g.tokens, c)
	}
	reply(w, http.StatusAccepted, map[string]any{})
}
