package servertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Certificate makes one for a host, and the one that vouches for it.
func Certificate(t testing.TB, host string) (ca, cert, key []byte) {
	block := func(kind string, b []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	year := time.Now().AddDate(1, 0, 0)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: year, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER, err := x509.CreateCertificate(rand.Reader, root, root, caKey.Public(), caKey)
	require.NoError(t, err)
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: year, IPAddresses: []net.IP{net.ParseIP(host)}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, root, leafKey.Public(), caKey)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(leafKey)
	require.NoError(t, err)
	return block("CERTIFICATE", caDER), block("CERTIFICATE", der), block("PRIVATE KEY", private)
}
