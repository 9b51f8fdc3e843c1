package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
	"github.com/vireo-kvm/vireo/configs"
)

// authority makes certificates as an administrator of libvirt's TLS does.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.make(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	return a
}

func (a *authority) make(c *x509.Certificate, by *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: "x"}
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) server(name string) tls.Certificate {
	cert, key := a.make(&x509.Certificate{DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, a)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// files writes what a client of libvirt has.
func (a *authority) files(by *authority, until time.Time) tlsFiles {
	a.t.Helper()
	dir := a.t.TempDir()
	f := tlsFiles{filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	cert, key := a.make(&x509.Certificate{NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, by)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		f.ca:   {Type: "CERTIFICATE", Bytes: a.cert.Raw},
		f.cert: {Type: "CERTIFICATE", Bytes: cert.Raw},
		f.key:  {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return f
}

// libvirtdTLS is a libvirtd as far as its handshake: it wants a client's
// certificate of a CA and says 1 to who has one. It returns its port.
func libvirtdTLS(t *testing.T, own tls.Certificate, clients *x509.Certificate) string {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(clients)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{own}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if _, err := conn.Write([]byte{1}); err != nil {
					return
				}
				conn.Read(make([]byte, 1)) // until the client goes
			}()
		}
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// closedPort is one that nobody listens on.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return port
}

// connStub answers who it is.
type connStub struct{ virt.Conn }

func (connStub) Host(context.Context) (virt.HostInfo, error) {
	return virt.HostInfo{UUID: "uuid-of-peer", Hostname: "peer"}, nil
}
func (connStub) Close() error { return nil }

func opens(context.Context, string, virt.Sink) (virt.Conn, error) { return connStub{}, nil }

func refuses(context.Context, string, virt.Sink) (virt.Conn, error) {
	return nil, errors.New("authentication failed: no polkit agent")
}

func TestPeer(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	later := time.Now().Add(time.Hour)
	good := libvirtdTLS(t, ca.server("localhost"), ca.cert)
	listening := libvirtdTLS(t, ca.server("localhost"), ca.cert) // a port that is open
	closed := closedPort(t)
	for name, c := range map[string]struct {
		peer, peerURI, streamURI string
		open                     opener
		files                    tlsFiles
		fails                    int
		says                     []string
	}{
		"all is well": {
			peerURI: "qemu+tls://{host}:" + good + "/system", streamURI: "tcp://{host}:" + listening, open: opens, files: ca.files(ca, later),
			says: []string{"ok    name localhost", "ok    port " + good, "ok    certificates towards localhost", "ok    libvirt qemu+tls://localhost:" + good + "/system: host uuid-of-peer", "ok    port " + listening + " of localhost (the migration's stream): open"},
		},
		"stream's port is closed before a move": {
			peerURI: "qemu+tcp://{host}:" + good + "/system", streamURI: "tcp://{host}:" + closed, open: opens,
			says: []string{"ok    port " + closed + " of localhost (the migration's stream): reached, nobody listens yet"},
		},
		"nobody listens": {
			peerURI: "qemu+tls://{host}:" + closed + "/system", open: opens, files: ca.files(ca, later), fails: 1,
			says: []string{"FAIL  port " + closed + " of localhost (libvirtd, tls)", "nobody listens"},
		},
		"name": {
			peer: "nosuch.invalid", peerURI: "qemu+tls://{host}/system", open: opens, fails: 1,
			says: []string{"FAIL  name nosuch.invalid"},
		},
		"the stream's name": {
			peerURI: "qemu+tcp://{host}:" + good + "/system", streamURI: "tcp://{host}.nosuch.invalid", open: opens, fails: 1,
			says: []string{"FAIL  port 49152 of localhost.nosuch.invalid (the migration's stream)"},
		},
		"peer's certificate has another name": {
			peerURI: "qemu+tls://{host}:" + libvirtdTLS(t, ca.server("h9"), ca.cert) + "/system", open: opens, files: ca.files(ca, later), fails: 1,
			says: []string{"FAIL  certificates towards localhost: the certificate of localhost", "h9"},
		},
		"peer's certificate is of another CA": {
			peerURI: "qemu+tls://{host}:" + libvirtdTLS(t, other.server("localhost"), ca.cert) + "/system", open: opens, files: ca.files(ca, later), fails: 1,
			says: []string{"FAIL  certificates towards localhost: the certificate of localhost", "unknown authority"},
		},
		"own certificate is of another CA": {
			peerURI: "qemu+tls://{host}:" + good + "/system", open: opens, files: ca.files(other, later), fails: 1,
			says: []string{"this host's client certificate", "unknown authority"},
		},
		"own certificate is over": {
			peerURI: "qemu+tls://{host}:" + good + "/system", open: opens, files: ca.files(ca, time.Now().Add(-time.Hour)), fails: 1,
			says: []string{"this host's client certificate", "expired"},
		},
		"peer refuses the own certificate": {
			peerURI: "qemu+tls://{host}:" + libvirtdTLS(t, ca.server("localhost"), other.cert) + "/system", open: opens, files: ca.files(ca, later), fails: 1,
			says: []string{"localhost refuses this host's client certificate"},
		},
		"no certificates here": {
			peerURI: "qemu+tls://{host}:" + good + "/system", open: opens, files: tlsFiles{"/nonexistent/ca.pem", "", ""}, fails: 1,
			says: []string{"CA of libvirt", "/nonexistent/ca.pem"},
		},
		"libvirt refuses": {
			peerURI: "qemu+tcp://{host}:" + good + "/system", open: refuses, fails: 1,
			says: []string{"FAIL  libvirt qemu+tcp://localhost:" + good + "/system: authentication failed"},
		},
		"unknown transport": {
			peerURI: "qemu+carrier://{host}/system", open: opens, fails: 1,
			says: []string{`transport "carrier"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			r := &report{w: &out, timeout: 10 * time.Second}
			peer := c.peer
			if peer == "" {
				peer = "localhost"
			}
			peerCheck{cfg: configs.AgentMigration{PeerURI: c.peerURI, URI: c.streamURI}, open: c.open, tls: c.files}.run(t.Context(), r, peer)
			if r.failed != c.fails {
				t.Errorf("%d failed, want %d:\n%s", r.failed, c.fails, out.String())
			}
			for _, want := range c.says {
				if !strings.Contains(out.String(), want) {
					t.Errorf("does not say %q:\n%s", want, out.String())
				}
			}
		})
	}
}

func TestParsePeer(t *testing.T) {
	for uri, want := range map[string]target{
		"qemu+tls://h2/system":        {"qemu+tls://h2/system", "tls", "h2", "16514"},
		"qemu+tcp://h2/system":        {"qemu+tcp://h2/system", "tcp", "h2", "16509"},
		"qemu+ssh://root@h2/system":   {"qemu+ssh://root@h2/system", "ssh", "h2", "22"},
		"qemu+ssh://h2:2222/system":   {"qemu+ssh://h2:2222/system", "ssh", "h2", "2222"},
		"qemu://h2/system":            {"qemu://h2/system", "tls", "h2", "16514"},
		"qemu+tls://[fd00::1]/system": {"qemu+tls://[fd00::1]/system", "tls", "fd00::1", "16514"},
	} {
		if got, err := parsePeer(uri); err != nil || got != want {
			t.Errorf("%s: %v, %v", uri, got, err)
		}
	}
	for _, uri := range []string{"qemu:///system", "qemu+unix://h2/system", "://"} {
		if got, err := parsePeer(uri); err == nil {
			t.Errorf("%s: %v", uri, got)
		}
	}
}
