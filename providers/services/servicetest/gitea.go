package servicetest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Gitea is a Gitea with one account, a fake or a real one.
type Gitea struct {
	URL      string
	User     string
	Password string
	// Add makes a token, as somebody else might have.
	Add   func(t *testing.T, name string, scopes ...string) (id, value string)
	Down  func(testing.TB)
	Leaks func(*testing.T, string)
	// Fake is nil where it is a real one.
	Fake *GiteaFake
}

// GiteaFake is a fake of Gitea's API, as Gitea 1.26.0 has it.
type GiteaFake struct {
	Fake
	// Wider is a scope that all tokens get that are made from now on.
	Wider string

	password string
	tokens   []giteaToken
	next     int64
}

const giteaUser = "bot"

type giteaToken struct {
	ID        int64     `json:"id"`
	Name      string    `json:"name"`
	Value     string    `json:"sha1"` // "" in lists
	LastEight string    `json:"token_last_eight"`
	Scopes    []string  `json:"scopes"`
	Created   time.Time `json:"created_at"` // not set in the answer to making it
	Used      time.Time `json:"last_used_at"`
}

var giteaCategories = []string{"activitypub", "admin", "misc", "notification", "organization", "package", "issue", "repository", "user"}

// NewGitea starts the fake.
func NewGitea(t testing.TB) *Gitea {
	g := &GiteaFake{}
	g.start(t)
	g.password = g.mint("password")
	tokens := "/api/v1/users/{user}/tokens"
	g.on("GET "+tokens, endpoint{query: []string{"page", "limit"}, do: g.owner(g.list)})
	g.on("POST "+tokens, endpoint{body: func() any { return new(giteaNew) }, do: g.owner(g.create)})
	g.on("DELETE "+tokens+"/{id}", endpoint{do: g.owner(g.delete)})
	g.on("GET /api/v1/user", endpoint{do: g.token("read:user", func(w http.ResponseWriter) {
		reply(w, http.StatusOK, map[string]any{"id": 1, "login": giteaUser, "login_name": "", "email": "bot@localhost", "active": false})
	})})
	g.on("GET /api/v1/version", endpoint{do: g.token("", func(w http.ResponseWriter) {
		reply(w, http.StatusOK, map[string]any{"version": "1.26.0"})
	})})
	return &Gitea{
		URL: g.URL, User: giteaUser, Password: g.password, Fake: g, Down: g.Down, Leaks: g.Leaks,
		Add: func(_ *testing.T, name string, scopes ...string) (id, value string) {
			g.mu.Lock()
			defer g.mu.Unlock()
			k := g.addLocked(name, scopes)
			return strconv.FormatInt(k.ID, 10), k.Value
		},
	}
}

func (g *GiteaFake) addLocked(name string, scopes []string) giteaToken {
	g.next++
	v := g.mintLocked("token")
	k := giteaToken{ID: g.next, Name: name, Value: v, LastEight: v[len(v)-8:], Scopes: normal(scopes), Created: time.Unix(openAIEpoch+g.next, 0)}
	if g.Wider != "" {
		k.Scopes = append(k.Scopes, g.Wider)
	}
	g.tokens = append(g.tokens, k)
	return k
}

// AddTwin makes a token that ends as another.
func (g *GiteaFake) AddTwin(value string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.addLocked("twin", []string{"all"})
	g.tokens[len(g.tokens)-1].LastEight = value[len(value)-8:]
}

func (g *GiteaFake) refuse(w http.ResponseWriter, status int, message string) {
	reply(w, status, map[string]any{"message": message, "url": g.URL + "/api/swagger"})
}

// owner lets only the account itself pass, by its password.
func (g *GiteaFake) owner(do func(http.ResponseWriter, *http.Request, any)) func(http.ResponseWriter, *http.Request, any) {
	return func(w http.ResponseWriter, r *http.Request, body any) {
		g.mu.Lock()
		defer g.mu.Unlock()
		user, password, ok := r.BasicAuth()
		switch {
		case !ok:
			g.refuse(w, http.StatusUnauthorized, "auth required")
		case !strings.EqualFold(user, giteaUser) || password != g.password:
			g.refuse(w, http.StatusUnauthorized, "invalid username, password or token "+password)
		case !strings.EqualFold(r.PathValue("user"), giteaUser):
			g.refuse(w, http.StatusNotFound, "user redirect does not exist")
		default:
			do(w, r, body)
		}
	}
}

// token lets whoever pass has a token with the scope.
func (g *GiteaFake) token(scope string, do func(http.ResponseWriter)) func(http.ResponseWriter, *http.Request, any) {
	return func(w http.ResponseWriter, r *http.Request, _ any) {
		given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		g.mu.Lock()
		i := slices.IndexFunc(g.tokens, func(k giteaToken) bool { return k.Value == given })
		allowed := i >= 0 && (scope == "" || slices.Contains(expand(g.tokens[i].Scopes), scope))
		g.mu.Unlock()
		switch {
		case i < 0:
			g.refuse(w, http.StatusUnauthorized, "invalid username, password or token "+given)
		case !allowed:
			g.refuse(w, http.StatusForbidden, "token does not have at least one of required scope(s), required=["+scope+"]")
		default:
			do(w)
		}
	}
}

// expand returns all that scopes allow, nil where one is none.
func expand(scopes []string) (all []string) {
	for _, s := range scopes {
		level, category, _ := strings.Cut(s, ":")
		switch {
		case s == "public-only":
			all = append(all, s)
		case s == "all":
			for _, c := range giteaCategories {
				all = append(all, "write:"+c, "read:"+c)
			}
		case level == "write" && slices.Contains(giteaCategories, category):
			all = append(all, s, "read:"+category)
		case level == "read" && slices.Contains(giteaCategories, category):
			all = append(all, s)
		default:
			return nil
		}
	}
	return all
}

// normal returns scopes as the server keeps them: without what others imply.
func normal(scopes []string) (kept []string) {
	all := expand(scopes)
	if slices.Contains(all, "public-only") {
		kept = append(kept, "public-only")
	}
	writes := 0
	var single []string
	for _, c := range giteaCategories {
		switch {
		case slices.Contains(all, "write:"+c):
			single = append(single, "write:"+c)
			writes++
		case slices.Contains(all, "read:"+c):
			single = append(single, "read:"+c)
		}
	}
	if writes == len(giteaCategories) {
		return append(kept, "all")
	}
	return append(kept, single...)
}

type giteaNew struct {
	Name   string   `json:"name"`
	Scopes []string `json:"scopes"`
}

func (g *GiteaFake) create(w http.ResponseWriter, _ *http.Request, body any) {
	in := body.(*giteaNew)
	switch {
	case in.Name == "":
		g.refuse(w, http.StatusUnprocessableEntity, "[Name]: Required")
	case slices.ContainsFunc(g.tokens, func(k giteaToken) bool { return k.Name == in.Name }):
		g.refuse(w, http.StatusBadRequest, "access token name has been used already")
	case len(normal(in.Scopes)) == 0:
		g.refuse(w, http.StatusBadRequest, "access token must have a scope")
	default:
		k := g.addLocked(in.Name, in.Scopes)
		k.Created = time.Time{}
		reply(w, http.StatusCreated, k)
	}
}

func (g *GiteaFake) list(w http.ResponseWriter, r *http.Request, _ any) {
	n, page := 30, 1
	if s := r.URL.Query().Get("limit"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	if s := r.URL.Query().Get("page"); s != "" {
		page, _ = strconv.Atoi(s)
	}
	if n < 1 || n > 50 {
		n = 50
	}
	newest := slices.Clone(g.tokens)
	slices.Reverse(newest)
	shown := make([]giteaToken, 0, n)
	for _, k := range newest[min(len(newest), n*(page-1)):min(len(newest), n*page)] {
		k.Value = ""
		shown = append(shown, k)
	}
	w.Header().Set("X-Total-Count", strconv.Itoa(len(g.tokens)))
	reply(w, http.StatusOK, shown)
}

func (g *GiteaFake) delete(w http.ResponseWriter, r *http.Request, _ any) {
	id, _ := strconv.ParseInt(r.PathValue("id"), 0, 64)
	n := len(g.tokens)
	g.tokens = slices.DeleteFunc(g.tokens, func(k giteaToken) bool { return k.ID == id })
	if len(g.tokens) == n {
		g.refuse(w, http.StatusNotFound, "not found")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
