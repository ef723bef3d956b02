package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"secretctl/providers"
)

// alter changes a role, as the admin.
func (r *rotator) alter(ctx context.Context, c *providers.Call, role, how string) error {
	admin, err := r.login(ctx, c)
	if err != nil {
		return err
	}
	defer admin.close()
	return admin.exec(ctx, "ALTER ROLE "+quoted(role)+" "+how)
}

// terminate ends the sessions of a role that can no longer log in. Those of one
// that can are of the password that came after.
func (r *rotator) terminate(ctx context.Context, c *providers.Call, role string) error {
	admin, err := r.login(ctx, c)
	if err != nil {
		return err
	}
	defer admin.close()
	_, err = admin.query(ctx, `
		SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
		WHERE r.rolname = $1::name AND NOT r.rolcanlogin AND a.pid <> pg_backend_pid()`, role)
	if providers.CodeOf(err) == providers.CodeDenied {
		return admin.maySignal(r)
	}
	return err
}

func (s *session) maySignal(r *rotator) error {
	return withRemedy(providers.Not(providers.CodeDenied, "the admin, %s, may not end the sessions of other roles", r.admin), "GRANT pg_signal_backend TO "+quoted(s.at.User)+", or leave end_sessions out")
}

// is sees that the login is what the URL says: a pooler may have made another
// of it.
func (s *session) is(ctx context.Context, at place) error {
	row, err := s.query(ctx, "SELECT session_user, current_database()")
	if err != nil {
		return err
	}
	if row[0] != at.User || row[1] != at.database {
		return providers.Not(providers.CodeWrongAccount, "the login of the role %q leads to another role or database", at.User)
	}
	return nil
}

// sameServer sees that both sessions are at one server, where both may ask which
// one it is, as all may unless that was taken away.
func sameServer(ctx context.Context, admin, old *session) error {
	var ids []string
	for _, s := range []*session{admin, old} {
		row, err := s.query(ctx, "SELECT has_function_privilege('pg_control_system()', 'EXECUTE')")
		if err != nil || row[0] != "t" {
			return err
		}
		if row, err = s.query(ctx, "SELECT system_identifier FROM pg_control_system()"); err != nil {
			return err
		}
		ids = append(ids, row[0])
	}
	if ids[0] != ids[1] {
		return withRemedy(providers.Not(providers.CodeOptions, "the admin's server, %s, is another than that of the secret, %s", admin.at.server(), old.at.server()), "name the same server in both connection URLs")
	}
	return nil
}

// mayAlter sees that the admin can do all that a rotation asks of it.
func (s *session) mayAlter(ctx context.Context, r *rotator, database string) error {
	const right = `
		SELECT me.rolsuper, pg_is_in_recovery(), me.rolsuper OR pg_has_role(me.oid, 'pg_signal_backend', 'USAGE')
			OR pg_has_role(me.oid, r.oid, 'USAGE'),
			me.rolsuper OR me.rolcreaterole AND NOT r.rolsuper
				AND (CASE WHEN current_setting('server_version_num')::int4 >= 160000
					THEN pg_has_role(me.oid, r.oid, 'MEMBER WITH ADMIN OPTION')
					ELSE NOT r.rolreplication END),
			r.rolvaliduntil <= now(), has_database_privilege(r.oid, $2::text, 'CONNECT')
		FROM pg_roles me LEFT JOIN pg_roles r ON r.rolname = $1::name WHERE me.rolname = current_user`
	if slices.Contains(r.users[:], s.at.User) {
		return withRemedy(providers.Not(providers.CodeOptions, "the admin, %s, is the role %q, which takes turns itself", r.admin, s.at.User), "name a role of its own in the admin's URL")
	}
	for _, role := range r.users {
		row, err := s.query(ctx, "SELECT count(*) FROM pg_roles WHERE rolname = $1::name", role)
		if err != nil {
			return err
		}
		if row[0] == "0" {
			return withRemedy(providers.Not(providers.CodeNotFound, "there is no role %q at %s", role, s.at.server()), "CREATE ROLE "+quoted(role)+", with the same rights as the other")
		}
		row, err = s.query(ctx, right, role, database)
		switch {
		case err != nil:
			return err
		case row[1] == "t":
			return withRemedy(providers.Not(providers.CodeOptions, "%s is a standby, which changes nothing", s.at.server()), "name the primary in the admin's URL")
		case row[3] != "t":
			return withRemedy(providers.Not(providers.CodeDenied, "the admin, %s, may not change the role %q", r.admin, role),
				fmt.Sprintf("ALTER ROLE %[1]s CREATEROLE, and from PostgreSQL 16 GRANT %[2]s TO %[1]s WITH ADMIN OPTION", quoted(s.at.User), quoted(role)))
		case r.endSessions && row[2] != "t":
			return s.maySignal(r)
		case row[4] == "t":
			return withRemedy(providers.Not(providers.CodeOptions, "the time of the role %q is over (VALID UNTIL)", role), "ALTER ROLE "+quoted(role)+" VALID UNTIL 'infinity'")
		case row[5] != "t":
			return withRemedy(providers.Not(providers.CodeOptions, "the role %q may not connect to the database %q", role, database), "GRANT CONNECT ON DATABASE "+quoted(database)+" TO "+quoted(role))
		}
	}
	return nil
}

// rights are what a role may do at the server, a column each. The first are
// attributes that are there or not; the memberships are a list.
var rights = []string{"SUPERUSER", "CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS", "INHERIT", "memberships", "settings"}

const rightsOf = `
	SELECT r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolreplication, r.rolbypassrls, r.rolinherit,
		(SELECT string_agg(m.roleid::text || CASE WHEN m.admin_option THEN '+' ELSE '' END, ',' ORDER BY m.roleid)
			FROM pg_auth_members m WHERE m.member = r.oid),
		(SELECT string_agg(d.setdatabase::text || d.setconfig::text, ',' ORDER BY d.setdatabase)
			FROM pg_db_role_setting d WHERE d.setrole = r.oid)
	FROM pg_roles r WHERE r.rolname = $1::name`

// alike sees that both roles may do the same: what takes over must be able to
// do all that the other did, and no more.
func (s *session) alike(ctx context.Context, a, b string) error {
	ra, err := s.query(ctx, rightsOf, a)
	if err != nil {
		return err
	}
	rb, err := s.query(ctx, rightsOf, b)
	if err != nil {
		return err
	}
	var differ []string
	for i, name := range rights {
		if ra[i] != rb[i] {
			differ = append(differ, name)
		}
	}
	if differ == nil {
		return nil
	}
	return withRemedy(providers.Not(providers.CodeOptions, "the roles %q and %q cannot take turns: they differ in %s", a, b, strings.Join(differ, ", ")),
		"give both the same, with ALTER ROLE and GRANT")
}

// notWider sees that a role has no right that the other lacks.
func (s *session) notWider(ctx context.Context, role, other string) error {
	mine, err := s.query(ctx, rightsOf, role)
	if err != nil {
		return err
	}
	theirs, err := s.query(ctx, rightsOf, other)
	if err != nil {
		return err
	}
	var more []string
	for i, name := range rights[:len(rights)-2] {
		if mine[i] == "t" && theirs[i] != "t" && name != "INHERIT" {
			more = append(more, name)
		}
	}
	groups := strings.Split(theirs[6], ",")
	for _, g := range strings.Split(mine[6], ",") {
		if g != "" && !contains(groups, g) {
			more = append(more, "a membership")
			break
		}
	}
	if more == nil {
		return nil
	}
	return withRemedy(providers.Not(providers.CodeWiderScope, "the role %q may do more than %q: %s", role, other, strings.Join(more, ", ")), "give both the same, with ALTER ROLE and GRANT")
}

// contains reports whether one has the membership, with its admin option or
// without when that is what is asked for.
func contains(groups []string, g string) bool {
	for _, have := range groups {
		if have == g || have == g+"+" {
			return true
		}
	}
	return false
}

// ownAlike sees that both roles are named at the same objects of this database:
// a table that one created, or was granted, is out of the other's reach. With
// everything owned by and granted to a group that both are in, neither is named
// anywhere.
func (s *session) ownAlike(ctx context.Context, a, b string) error {
	row, err := s.query(ctx, `
		WITH named AS (
			SELECT DISTINCT r.rolname, d.dbid, d.classid, d.objid, d.objsubid
			FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
			WHERE d.refclassid = 'pg_authid'::regclass AND r.rolname IN ($1::name, $2::name)
				AND d.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
				AND NOT (d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_class c WHERE c.oid = d.objid AND c.relpersistence = 't')))
		SELECT count(*) FROM (SELECT count(*) FROM named GROUP BY dbid, classid, objid, objsubid HAVING count(*) = 1) alone`, a, b)
	if err != nil || row[0] == "0" {
		return err
	}
	return withRemedy(providers.Not(providers.CodeOptions, "the roles %q and %q cannot take turns: there are things in the database %q that are owned by or granted to one of them alone", a, b, s.at.database),
		"let a group own them (REASSIGN OWNED BY … TO app), GRANT app to both, and ALTER ROLE … SET role = 'app' for what they will create")
}
