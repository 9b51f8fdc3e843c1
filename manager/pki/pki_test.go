package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/wire/join"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newCA(t *testing.T) *CA {
	t.Helper()
	ca, err := NewCA(now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func parse(t *testing.T, pem []byte) *x509.Certificate {
	t.Helper()
	cert, err := ParseCertificate(pem)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func request(t *testing.T, key any, subject string) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: subject},
		URIs:    []*url.URL{operatorURI(Admin, "mallory")},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestAgentCertificateIsBoundToTheHostAlone(t *testing.T) {
	ca := newCA(t)
	issued, err := ca.IssueAgent(request(t, ecKey(t, elliptic.P256()), "somebody-else"), "h1", now)
	if err != nil {
		t.Fatal(err)
	}
	cert := parse(t, issued.Certificate)
	peer, actor, err := Identify(cert)
	if err != nil || actor != nil || peer == nil || *peer != (Peer{Host: "h1", Serial: issued.Serial, Ends: parse(t, issued.Certificate).NotAfter}) {
		t.Fatalf("Identify = %v, %v, %v: the request's own names must not count", peer, actor, err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{
		Roots: ca.Pool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		t.Error(err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), CurrentTime: now}); err == nil {
		t.Error("an agent's certificate passes for a server's")
	}
	if issued.NotAfter.Before(now.AddDate(1, 0, 0)) {
		t.Errorf("ends %s", issued.NotAfter)
	}
}

func TestIssueAgentRefuses(t *testing.T) {
	ca := newCA(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := request(t, ecKey(t, elliptic.P256()), "h1")
	tampered := bytes.Clone(good)
	tampered[len(tampered)-1] ^= 1
	for name, c := range map[string]struct {
		csr  []byte
		host string
	}{
		"no host":        {good, ""},
		"path as host":   {good, "h1/../operator"},
		"no request":     {nil, "h1"},
		"garbage":        {[]byte("garbage"), "h1"},
		"bad signature":  {tampered, "h1"},
		"RSA key":        {request(t, rsaKey, "h1"), "h1"},
		"other EC curve": {request(t, ecKey(t, elliptic.P384()), "h1"), "h1"},
	} {
		t.Run(name, func(t *testing.T) {
			if issued, err := ca.IssueAgent(c.csr, c.host, now); err == nil {
				t.Errorf("issued %s", issued.Certificate)
			}
		})
	}
}

func TestOperatorCertificate(t *testing.T) {
	ca := newCA(t)
	issued, err := ca.IssueOperator("alice", Operator, now)
	if err != nil {
		t.Fatal(err)
	}
	peer, actor, err := Identify(parse(t, issued.Certificate))
	want := Actor{Name: "alice", Role: Operator, Serial: issued.Serial}
	if err != nil || peer != nil || actor == nil || *actor != want {
		t.Fatalf("Identify = %v, %v, %v; want %v", peer, actor, err, want)
	}
	if _, err := tls.X509KeyPair(issued.Certificate, issued.Key); err != nil {
		t.Error(err)
	}
	if _, err := ca.IssueOperator("alice", "root", now); err == nil {
		t.Error("a role that does not exist was issued")
	}
	if _, err := ca.IssueOperator("a/b", Admin, now); err == nil {
		t.Error("a name with a slash was issued")
	}
}

func TestManagerIsNobody(t *testing.T) {
	ca := newCA(t)
	issued, err := ca.IssueManager([]string{"manager.example", "10.77.0.1", "::1"}, now)
	if err != nil {
		t.Fatal(err)
	}
	cert := parse(t, issued.Certificate)
	for _, name := range []string{"manager.example", "10.77.0.1", "::1"} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), CurrentTime: now, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := Identify(cert); !errors.Is(err, ErrNobody) {
		t.Errorf("Identify = %v, want ErrNobody", err)
	}
	for _, names := range [][]string{nil, {""}, {"a b"}, {"https://m"}} {
		if _, err := ca.IssueManager(names, now); err == nil {
			t.Errorf("issued for %q", names)
		}
	}
}

func TestIdentifyRefuses(t *testing.T) {
	for name, uris := range map[string][]string{
		"none":          nil,
		"another's":     {"spiffe://agent/h1"},
		"two":           {"vireo://agent/h1", "vireo://operator/admin/x"},
		"no host":       {"vireo://agent/"},
		"too deep":      {"vireo://agent/h1/h2"},
		"no role":       {"vireo://operator/alice"},
		"unknown role":  {"vireo://operator/root/alice"},
		"unknown kind":  {"vireo://manager/m"},
		"escaped slash": {"vireo://agent/h1%2Fx"},
	} {
		t.Run(name, func(t *testing.T) {
			cert := &x509.Certificate{SerialNumber: newCA(t).cert.SerialNumber}
			for _, s := range uris {
				u, err := url.Parse(s)
				if err != nil {
					t.Fatal(err)
				}
				cert.URIs = append(cert.URIs, u)
			}
			if peer, actor, err := Identify(cert); !errors.Is(err, ErrNobody) || peer != nil || actor != nil {
				t.Errorf("Identify = %v, %v, %v", peer, actor, err)
			}
		})
	}
}

func TestRoles(t *testing.T) {
	order := []Role{Viewer, Operator, Admin}
	for i, have := range order {
		for j, want := range order {
			if have.May(want) != (i >= j) {
				t.Errorf("%s.May(%s) = %v", have, want, have.May(want))
			}
		}
		if have.May("") || Role("").May(have) || Role("root").May(have) {
			t.Errorf("%s: an unknown role counts", have)
		}
	}
}

func TestTokenNamesTheCA(t *testing.T) {
	ca := newCA(t)
	token, err := join.Parse(ca.NewToken().Text())
	if err != nil || token.CA != sha256.Sum256(parse(t, ca.CertPEM()).Raw) {
		t.Fatalf("Parse = %v, %v", token, err)
	}
}

func TestInitAndLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	made, err := Init(dir, []string{"localhost"}, "root", now)
	if err != nil {
		t.Fatal(err)
	}
	loaded, own, err := Load(dir)
	if err != nil || loaded.SHA256() != made.SHA256() || len(own.Certificate) != 2 {
		t.Fatalf("Load = %v certificates, %v", len(own.Certificate), err)
	}
	for file, mode := range map[string]os.FileMode{
		CAKeyFile: 0o600, ManagerKeyFile: 0o600, AdminKeyFile: 0o600,
		CACertFile: 0o644, ManagerCertFile: 0o644, AdminCertFile: 0o644,
	} {
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want mode %o", file, info, err, mode)
		}
	}
	if _, err := Init(dir, []string{"localhost"}, "root", now); !errors.Is(err, ErrExists) {
		t.Errorf("a second Init = %v, want ErrExists", err)
	}
	if again, _, err := Load(dir); err != nil || again.SHA256() != made.SHA256() {
		t.Errorf("the second Init touched the CA: %v", err)
	}

	// Cut short before its last write: the next one begins anew.
	if err := os.Remove(filepath.Join(dir, CACertFile)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(dir); err == nil {
		t.Error("half a CA was loaded")
	}
	if _, err := Init(dir, []string{"localhost"}, "root", now); err != nil {
		t.Errorf("Init after a cut: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 6 {
		t.Errorf("%d files, %v; want 6 and no leftovers", len(entries), err)
	}
}

func TestLoadRefusesAStrangersKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	if _, err := Init(dir, []string{"localhost"}, "root", now); err != nil {
		t.Fatal(err)
	}
	key, err := newCA(t).KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, CAKeyFile), key, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(dir); err == nil {
		t.Error("a CA with another's key was loaded")
	}
}
