package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gomodule/redigo/redis"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// manage logs in as who may change the passwords of the user at a place: the
// admin, or the user itself. about is the credential that is to be changed; a
// user ends one of its passwords with another, when it has one.
func (r *rotator) manage(ctx context.Context, c *providers.Call, at place, about *providers.Credential) (*session, error) {
	if r.admin == "" {
		return r.itself(ctx, c, about)
	}
	v, err := c.Open(ctx, r.admin)
	if err != nil {
		return nil, err
	}
	defer v.Clear()
	admin, isURL, err := readURL(v)
	if err == nil && !isURL {
		// The value may be somebody else's, who would choose where the admin's password
		// goes.
		if r.address == nil {
			return nil, withRemedy(providers.Not(providers.CodeOptions, "the admin, %s, is a password alone, and only the config may say where that is sent", r.admin),
				`address = "rediss://HOST:PORT", or a connection URL in `+string(r.admin))
		}
		admin = *r.address
		admin.user = r.adminUser
	}
	admin.user = either(either(admin.user, r.adminUser), "default")
	switch {
	case err != nil:
		return nil, prefixed(err, r.admin)
	case admin.user == at.user:
		return nil, withRemedy(providers.Not(providers.CodeOptions, "the admin, %s, is the user %q, whose password is to be changed", r.admin, at.user), "self = true instead of admin, or another user's password in "+string(r.admin))
	}
	m, err := r.login(ctx, admin, v)
	return m, prefixed(err, r.admin)
}

// prefixed is the error of an admin's login, before which nothing was done.
func prefixed(err error, admin secret.Name) error {
	var call *providers.CallError
	if errors.As(err, &call) {
		call.Outcome = providers.DefinitelyNot
		call.Problem = fmt.Sprintf("the admin, %s: %s", admin, call.Problem)
		if call.Code == providers.CodeInvalid {
			call.Code, call.Remedy = providers.CodeDenied, "secretctl set "+string(admin)
		}
	}
	return err
}

// itself logs in as the user: with another of its passwords than the one that
// is to be changed, which may be gone, or with that one. CodeInvalid is of the
// last.
func (r *rotator) itself(ctx context.Context, c *providers.Call, about *providers.Credential) (*session, error) {
	var with []*providers.Credential
	for _, cred := range []*providers.Credential{c.New, c.Old} {
		if cred != nil && !cred.Value.Equal(about.Value) {
			with = append(with, cred)
		}
	}
	var last error
	for _, cred := range append(with, about) {
		at, err := r.place(cred.Value)
		if err != nil {
			return nil, err
		}
		s, err := r.login(ctx, at, cred.Value)
		if err == nil {
			return s, nil
		}
		if last = untouched(err); providers.CodeOf(err) != providers.CodeInvalid {
			break
		}
	}
	return nil, last
}

// user is what the server says of a user.
type user struct {
	flags, hashes []string
}

// user looks a user up, nil when there is none.
func (s *session) user(name string) (*user, error) {
	answer, err := s.ask("ACL", "GETUSER", name)
	if err != nil || answer == nil {
		return nil, err
	}
	pairs, err := redis.Values(answer, nil)
	if err != nil {
		return nil, s.garbled()
	}
	u := new(user)
	for i := 0; i+1 < len(pairs); i += 2 {
		field, err := redis.String(pairs[i], nil)
		if err != nil {
			return nil, s.garbled()
		}
		switch field {
		case "flags":
			u.flags, err = redis.Strings(pairs[i+1], nil)
		case "passwords":
			u.hashes, err = redis.Strings(pairs[i+1], nil)
		}
		if err != nil {
			return nil, s.garbled()
		}
	}
	return u, nil
}

func (s *session) garbled() error {
	return providers.Maybe(providers.CodeUnavailable, "%s gives no usable answer", s.at.server())
}

// lookUp looks up a user that can be given a password.
func (s *session) lookUp(at place) (*user, error) {
	u, err := s.user(at.user)
	switch {
	case err != nil:
		return nil, err
	case u == nil:
		return nil, withRemedy(providers.Not(providers.CodeNotFound, "there is no user %q at %s", at.user, s.at.server()), "ACL SETUSER "+at.user+" on, with its rights and a first password")
	case !slices.Contains(u.flags, "on"):
		return nil, withRemedy(providers.Not(providers.CodeOptions, "the user %q is off at %s", at.user, s.at.server()), "ACL SETUSER "+at.user+" on")
	case slices.Contains(u.flags, "nopass"):
		return nil, withRemedy(providers.Not(providers.CodeOptions, "the user %q is let in with any password at %s", at.user, s.at.server()), "ACL SETUSER "+at.user+" resetpass, and give it a password")
	}
	return u, nil
}

// stands sees that the server is one alone: what is set on it is set on no other
// that could take its place.
func (s *session) stands() error {
	answer, err := redis.String(s.ask("INFO"))
	if err != nil {
		return s.orGarbled(err)
	}
	info := fields(answer)
	switch {
	case info["redis_mode"] == "cluster" || info["cluster_enabled"] == "1":
		return s.alone("is a node of a cluster")
	case info["role"] == "slave":
		return s.alone("is a replica")
	case info["connected_slaves"] != "" && info["connected_slaves"] != "0":
		return s.alone("has replicas")
	}
	return nil
}

func (s *session) alone(problem string) error {
	return withRemedy(providers.Not(providers.CodeOptions, "%s %s, and Redis copies no passwords from one server to another: the next fail-over would bring the old one back", s.at.server(), problem),
		"only a server alone can be rotated")
}

// orGarbled is an error of ours, or else that of an answer of another type.
func (s *session) orGarbled(err error) error {
	if call := (*providers.CallError)(nil); errors.As(err, &call) {
		return err
	}
	return s.garbled()
}

// fields reads INFO's answer.
func fields(info string) map[string]string {
	all := make(map[string]string)
	for line := range strings.Lines(info) {
		if name, v, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			all[name] = v
		}
	}
	return all
}

// mayChange tries what a rotation will do, dry. Servers before Redis 7 cannot,
// and tell when it is done.
func (s *session) mayChange(r *rotator, at place) error {
	tries := [][]any{{"MULTI"}, {"EXEC"}, {"ACL", "SETUSER", at.user}}
	if r.endSessions {
		tries = append(tries, []any{"CLIENT", "KILL", "USER", at.user})
	}
	if r.save {
		file, err := s.aclFile()
		if err != nil {
			return err
		}
		tries = append(tries, saving(file))
	}
	for _, try := range tries {
		answer, err := redis.String(s.conn.Do("ACL", append([]any{"DRYRUN", s.at.user}, try...)...))
		var said redis.Error
		switch {
		case errors.As(err, &said) && word(said) != "NOPERM":
			return nil
		case errors.As(err, &said), err == nil && answer != "OK":
			return s.failed("NOPERM")
		case err != nil:
			return providers.Maybe(providers.CodeUnavailable, "%s did not answer", s.at.server())
		}
	}
	return nil
}

// aclFile is the file that users are kept in, "" when it is the server's config.
func (s *session) aclFile() (string, error) {
	pair, err := redis.Strings(s.ask("CONFIG", "GET", "aclfile"))
	if err != nil {
		return "", s.orGarbled(err)
	}
	if len(pair) != 2 {
		return "", nil
	}
	return pair[1], nil
}

// saving is the command that keeps the users as they are.
func saving(aclFile string) []any {
	if aclFile != "" {
		return []any{"ACL", "SAVE"}
	}
	return []any{"CONFIG", "REWRITE"}
}

// canSave sees that there is a file to keep users in.
func (s *session) canSave() error {
	file, err := s.aclFile()
	if err != nil || file != "" {
		return err
	}
	answer, err := redis.String(s.ask("INFO", "server"))
	if err != nil {
		return s.orGarbled(err)
	}
	if fields(answer)["config_file"] == "" {
		return withRemedy(providers.Not(providers.CodeOptions, "%s has neither an ACL file nor a config file to keep the password in: a restart would bring the old one back", s.at.server()),
			"start it with aclfile, or save = false when its passwords come from elsewhere at every start")
	}
	return nil
}

// set changes a user's passwords by a rule, "" for none, and has the server save
// its users. Both are one transaction: what a cut connection leaves is either
// set and saved, or neither. undo is the rule that takes the change back when it
// could not be saved, "" when it is better than nothing.
func (r *rotator) set(s *session, at place, rule, undo string) error {
	var commands [][]any
	if rule != "" {
		commands = append(commands, []any{"ACL", "SETUSER", at.user, rule})
	}
	if r.save {
		file, err := s.aclFile()
		if err != nil {
			return untouched(err)
		}
		commands = append(commands, saving(file))
	}
	answers, err := s.transact(commands)
	if err != nil {
		return err
	}
	for i, a := range answers {
		if _, failed := a.(redis.Error); !failed {
			continue
		}
		if rule != "" && i == 0 {
			return s.failed(a.(redis.Error))
		}
		const why = "see that the server may write the folder of its ACL file or config file"
		if undo != "" && s.change("ACL", "SETUSER", at.user, undo) == nil {
			return withRemedy(providers.Not(providers.CodeUnavailable, "%s could not save the new password, which was taken back", s.at.server()), why)
		}
		return withRemedy(providers.Maybe(providers.CodeUnavailable, "%s could not save the change: a restart would undo it", s.at.server()), why)
	}
	return nil
}

// untouched is an error of looking, before something that was then not done.
func untouched(err error) error {
	if call := (*providers.CallError)(nil); errors.As(err, &call) {
		call.Outcome = providers.DefinitelyNot
	}
	return err
}

// transact has the server do all commands at once, and returns their answers.
// Each is seen to be taken before EXEC is sent: without a transaction, as when
// MULTI is not allowed, they would be done one by one.
func (s *session) transact(commands [][]any) ([]any, error) {
	if len(commands) == 0 {
		return nil, nil
	}
	for _, c := range append([][]any{{"MULTI"}}, commands...) {
		if err := s.change(c...); err != nil {
			return nil, untouched(err)
		}
	}
	answers, err := redis.Values(s.ask("EXEC"))
	if err != nil {
		return nil, s.orGarbled(err)
	}
	return answers, nil
}
