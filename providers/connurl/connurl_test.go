package connurl_test

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers/connurl"
)

var scheme = regexp.MustCompile(`^db://`)

func value(t testing.TB, text string) secret.Value {
	v, err := secret.New([]byte(text))
	require.NoError(t, err)
	return v
}

func text(t testing.TB, v secret.Value) (s string) {
	require.NoError(t, v.Use(func(b []byte) error { s = string(b); return nil }))
	return s
}

func TestURLs(t *testing.T) {
	for _, c := range []struct{ url, user, password, rest, same, other string }{
		{"db://u:p@h:1/d?x=%20", "u", "p", "x://h:1/d?x=%20", "db://u:NEW@h:1/d?x=%20", "db://o%40:NEW@h:1/d?x=%20"},
		{"db://u%75:p%40%2fé@h", "uu", "p@/é", "x://h", "db://u%75:NEW@h", "db://o%40:NEW@h"},
		{"db://:p:q@r@h", "", "p:q@r", "x://h", "db://:NEW@h", "db://o%40:NEW@h"},
		{"db://h/p@q", "", "", "x://h/p@q", "", ""},
		{"db://u@h", "u", "", "x://h", "db://u:NEW@h", "db://o%40:NEW@h"},
		{"db://u:@h", "u", "", "x://h", "db://u:NEW@h", "db://o%40:NEW@h"},
	} {
		v := value(t, c.url)
		u, err := connurl.Parse(v, scheme)
		require.NoError(t, err, c.url)
		require.Equal(t, c.user, u.User)
		require.Equal(t, c.password != "", u.Password)
		require.Equal(t, c.rest, u.Rest.String())
		p, err := u.Secret(v)
		require.NoError(t, err)
		require.Equal(t, c.password, text(t, p))
		for user, want := range map[string]string{c.user: c.same, "o@": c.other} {
			if want != "" {
				w, err := u.With(v, user, value(t, "NEW"))
				require.NoError(t, err)
				require.Equal(t, want, text(t, w))
			}
		}
	}
	for _, url := range []string{"", "db:/", "xdb://u:p@h", "db://u:p@h#f", "db://%zz:p@h", "db://u:p@h:port", "db://u:p@[::1"} {
		_, err := connurl.Parse(value(t, url), scheme)
		require.ErrorIs(t, err, connurl.ErrForm, url)
	}
	for _, password := range []string{"%", "a%2", "%zz", "%4"} {
		v := value(t, "db://u:"+password+"@h")
		u, err := connurl.Parse(v, scheme)
		require.NoError(t, err)
		_, err = u.Secret(v)
		require.ErrorIs(t, err, connurl.ErrForm)
	}
}

// FuzzURL has what was put into a URL come out of it again.
func FuzzURL(f *testing.F) {
	f.Add("db://u:p@h:1/d?x", "user")
	f.Add("db://u@h", "a@:/?#%")
	f.Fuzz(func(t *testing.T, url, user string) {
		if url == "" {
			return
		}
		v := value(t, url)
		defer v.Clear()
		u, err := connurl.Parse(v, scheme)
		if err != nil {
			require.ErrorIs(t, err, connurl.ErrForm)
			return
		}
		if p, err := u.Secret(v); err == nil {
			p.Clear()
		}
		if !u.Password {
			return
		}
		password := value(t, "NEW")
		w, err := u.With(v, user, password)
		require.NoError(t, err)
		again, err := connurl.Parse(w, scheme)
		require.NoError(t, err)
		require.Equal(t, user, again.User)
		require.Equal(t, u.Rest.String(), again.Rest.String())
		p, err := again.Secret(w)
		require.NoError(t, err)
		require.Equal(t, "NEW", text(t, p))
		for _, v := range []secret.Value{w, p, password} {
			v.Clear()
		}
	})
}
