package etcd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/store/etcd"
	"github.com/vireo-kvm/vireo/test/etcdtest"
)

// authority is a CA that certifies servers and clients of the loopback interface.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, key: key, file: filepath.Join(t.TempDir(), "ca.crt")}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.write(a.file, "CERTIFICATE", der)
	return a
}

func (a *authority) write(path, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// issue makes a certificate with its key, and returns their files.
func (a *authority) issue() (cert, key string) {
	a.t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "one"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, own.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(own)
	if err != nil {
		a.t.Fatal(err)
	}
	dir := a.t.TempDir()
	cert, key = filepath.Join(dir, "own.crt"), filepath.Join(dir, "own.key")
	a.write(cert, "CERTIFICATE", der)
	a.write(key, "EC PRIVATE KEY", keyDER)
	return cert, key
}

// config is a client's, with a certificate of its own or without.
func (a *authority) config(with bool) *tls.Config {
	a.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	if with {
		pair, err := tls.LoadX509KeyPair(a.issue())
		if err != nil {
			a.t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

// TestTLS: etcd and the manager each want the other's certificate.
func TestTLS(t *testing.T) {
	t.Parallel()
	ours, strangers := newAuthority(t), newAuthority(t)
	cert, key := ours.issue()
	cluster := etcdtest.Start(t, etcdtest.Options{CA: ours.file, Cert: cert, Key: key})
	o := etcd.Options{Endpoints: cluster.Endpoints(), TLS: ours.config(true)}
	db := mustOpen(t, o)
	update(t, db, setting("secret"))
	if got := settingOf(t, db); got != "secret" {
		t.Errorf("read %q", got)
	}
	for name, config := range map[string]*tls.Config{
		"no certificate": ours.config(false), "a stranger's certificate": strangers.config(true), "no TLS": nil,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		c, err := etcd.Connect(ctx, etcd.Options{Endpoints: o.Endpoints, TLS: config})
		cancel()
		if err == nil {
			t.Errorf("with %s: let in", name)
			_ = c.Close()
		}
	}
}
