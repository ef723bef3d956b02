package keychaintest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"math/big"
	"sync"
	"testing"

	"github.com/keybase/dbus"
	"github.com/stretchr/testify/require"
)

// Peer is the other side of a Secret Service, by the letter of the specification,
// which chooses its half of each session's key such that the shared number begins
// with a zero byte. With a real keyring that is so once in 256 sessions.
type Peer struct {
	mu      sync.Mutex
	conn    *dbus.Conn
	publics [][]byte
	keys    map[dbus.ObjectPath][]byte
	items   map[dbus.ObjectPath]*peerItem
	serve   int  // how many items are still opened before all sessions are forgotten; -1: any number
	lose    bool // the next answer to CreateItem
}

type peerItem struct {
	peer       *Peer
	path       dbus.ObjectPath
	attributes map[string]string
	value      []byte
}

const peerCollection = root + "/collection/peer"

// StartPeer has a peer be the keyring of a session that has none.
func StartPeer(t testing.TB, s *Session) *Peer {
	t.Helper()
	conn, err := s.Connect()
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	p := &Peer{conn: conn, keys: make(map[dbus.ObjectPath][]byte), items: make(map[dbus.ObjectPath]*peerItem), serve: -1}
	require.NoError(t, conn.Export(p, root, "org.freedesktop.Secret.Service"))
	require.NoError(t, conn.Export(peerFolder{p}, peerCollection, "org.freedesktop.Secret.Collection"))
	require.NoError(t, conn.Export(peerFolder{p}, peerCollection, "org.freedesktop.DBus.Properties"))
	_, err = conn.RequestName(service, 0)
	require.NoError(t, err)
	return p
}

// Publics are the other sides' halves of the sessions' keys, as they came.
func (p *Peer) Publics() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.publics
}

// Values are what was put there.
func (p *Peer) Values() (all [][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, i := range p.items {
		all = append(all, i.value)
	}
	return all
}

// ForgetAfter has the peer open n items more, and then forget all sessions, as a
// keyring that is restarted does.
func (p *Peer) ForgetAfter(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serve = n
}

// LoseAnswer has the peer make the next item as it is asked to, and not say so.
func (p *Peer) LoseAnswer() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = true
}

func refused(why string) *dbus.Error {
	return dbus.NewError("org.freedesktop.DBus.Error.InvalidArgs", []any{why})
}

// OpenSession is that of the Secret Service.
func (p *Peer) OpenSession(_ string, input dbus.Variant) (dbus.Variant, dbus.ObjectPath, *dbus.Error) {
	theirs, ok := input.Value().([]byte)
	if !ok {
		return input, "/", refused("there is no key")
	}
	modulus, _ := new(big.Int).SetString("FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"+
		"EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE6"+
		"49286651ECE65381FFFFFFFFFFFFFFFF", 16)
	shared := make([]byte, 128)
	private, one := new(big.Int).Lsh(big.NewInt(1), 200), big.NewInt(1)
	for shared[0] = 1; shared[0] != 0; private.Add(private, one) {
		new(big.Int).Exp(new(big.Int).SetBytes(theirs), private, modulus).FillBytes(shared)
	}
	private.Sub(private, one)
	key, err := hkdf.Key(sha256.New, shared, nil, "", 16)
	if err != nil {
		return input, "/", refused("the key is none")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	path := root + "/session/" + dbus.ObjectPath(fmt.Sprint(len(p.publics)))
	p.publics, p.keys[path] = append(p.publics, theirs), key
	ours := new(big.Int).Exp(big.NewInt(2), private, modulus).FillBytes(make([]byte, 128))
	return dbus.MakeVariant(ours), path, nil
}

// ReadAlias is that of the Secret Service.
func (p *Peer) ReadAlias(string) (dbus.ObjectPath, *dbus.Error) { return peerCollection, nil }

// peerFolder is the one collection.
type peerFolder struct{ *Peer }

// Get is that of its properties: it is not locked.
func (peerFolder) Get(string, string) (dbus.Variant, *dbus.Error) {
	return dbus.MakeVariant(false), nil
}

// SearchItems is that of the Secret Service.
func (p peerFolder) SearchItems(want map[string]string) ([]dbus.ObjectPath, *dbus.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := []dbus.ObjectPath{}
next:
	for _, i := range p.items {
		for key, value := range want {
			if i.attributes[key] != value {
				continue next
			}
		}
		found = append(found, i.path)
	}
	return found, nil
}

// CreateItem is that of the Secret Service. What does not decrypt is refused, as
// the real ones do.
func (p peerFolder) CreateItem(properties map[string]dbus.Variant, sealed secret, _ bool) (item, prompt dbus.ObjectPath, failed *dbus.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	block, err := aes.NewCipher(p.keys[sealed.Session])
	if err != nil || len(sealed.Parameters) != aes.BlockSize || len(sealed.Value) == 0 || len(sealed.Value)%aes.BlockSize != 0 {
		return "/", "/", refused("it is not sealed")
	}
	value := make([]byte, len(sealed.Value))
	cipher.NewCBCDecrypter(block, sealed.Parameters).CryptBlocks(value, sealed.Value)
	pad := int(value[len(value)-1])
	if pad == 0 || pad > aes.BlockSize {
		return "/", "/", refused("it is sealed with another key")
	}
	attributes, _ := properties["org.freedesktop.Secret.Item.Attributes"].Value().(map[string]string)
	i := &peerItem{p.Peer, peerCollection + "/" + dbus.ObjectPath(fmt.Sprint(len(p.items))), attributes, value[:len(value)-pad]}
	p.items[i.path] = i
	for _, face := range []string{"org.freedesktop.Secret.Item", "org.freedesktop.DBus.Properties"} {
		if err := p.conn.Export(i, i.path, face); err != nil {
			return "/", "/", refused("it cannot be shown")
		}
	}
	if p.lose {
		p.lose = false
		return "/", "/", dbus.NewError("org.freedesktop.DBus.Error.NoReply", nil)
	}
	return i.path, "/", nil
}

// Get is that of its properties: its attributes.
func (i *peerItem) Get(string, string) (dbus.Variant, *dbus.Error) {
	return dbus.MakeVariant(i.attributes), nil
}

// GetSecret is that of the Secret Service.
func (i *peerItem) GetSecret(session dbus.ObjectPath) (secret, *dbus.Error) {
	i.peer.mu.Lock()
	defer i.peer.mu.Unlock()
	if i.peer.serve == 0 {
		clear(i.peer.keys)
	}
	i.peer.serve--
	block, err := aes.NewCipher(i.peer.keys[session])
	if err != nil {
		return secret{}, dbus.NewError("org.freedesktop.Secret.Error.NoSession", nil)
	}
	pad := aes.BlockSize - len(i.value)%aes.BlockSize
	sealed := append([]byte(nil), i.value...)
	for range pad {
		sealed = append(sealed, byte(pad))
	}
	iv := make([]byte, aes.BlockSize)
	_, _ = rand.Read(iv) // never fails
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(sealed, sealed)
	return secret{session, iv, sealed, "application/octet-stream"}, nil
}
