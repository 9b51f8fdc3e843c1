package manager

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/pki"
	"github.com/vireo-kvm/vireo/store"
)

// certificate is an operator's, issued now.
func (s *site) certificate(name string) *x509.Certificate {
	s.t.Helper()
	issued, err := s.ca.IssueOperator(name, pki.Operator, s.clock.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	block, _ := pem.Decode(issued.Certificate)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		s.t.Fatal(err)
	}
	return cert
}

func (s *site) revokes(q *managerv1.RevokeOperatorRequest) error {
	_, err := s.client.RevokeOperator(s.ctx, connect.NewRequest(q))
	return err
}

// TestRevokedByName: what was issued to the name until then is refused, what is
// issued afterwards is not, and nobody else's.
func TestRevokedByName(t *testing.T) {
	s := newSite(t)
	first, second, other := s.certificate("bob"), s.certificate("bob"), s.certificate("bobby")
	s.clock.pass(2 * time.Second)
	if s.m.Revoked(first) {
		t.Fatal("refused before anybody has said so")
	}
	if err := s.revokes(&managerv1.RevokeOperatorRequest{Name: "bob", Reason: "has left"}); err != nil {
		t.Fatal(err)
	}
	s.clock.pass(2 * time.Second)
	third := s.certificate("bob")
	for what, is := range map[string]struct {
		cert *x509.Certificate
		want bool
	}{"the first": {first, true}, "the second": {second, true}, "another operator's": {other, false}, "one of afterwards": {third, false}} {
		if got := s.m.Revoked(is.cert); got != is.want {
			t.Errorf("%s: refused %t, want %t", what, got, is.want)
		}
	}
	s.outlives(map[*x509.Certificate]bool{first: true, second: true, other: false, third: false})
	var said []store.Event
	if err := s.m.store.View(s.ctx, func(r store.Reader) (err error) {
		said, err = r.Events(store.EventFilter{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, e := range said {
		if e.Kind == "operator.revoked" && e.Who == "alice" && strings.Contains(e.Text, "bob: has left") {
			return
		}
	}
	t.Errorf("no record of it: %+v", said)
}

// TestRevokedBySerial: one certificate goes, written as openssl writes it too.
func TestRevokedBySerial(t *testing.T) {
	s := newSite(t)
	lost, kept := s.certificate("bob"), s.certificate("bob")
	serial := strings.ToUpper(lost.SerialNumber.Text(16))
	if len(serial)%2 == 1 {
		serial = "0" + serial
	}
	var pairs []string
	for i := 0; i < len(serial); i += 2 {
		pairs = append(pairs, serial[i:i+2])
	}
	if err := s.revokes(&managerv1.RevokeOperatorRequest{Name: "bob", Serial: strings.Join(pairs, ":"), Reason: "a lost laptop"}); err != nil {
		t.Fatal(err)
	}
	if !s.m.Revoked(lost) || s.m.Revoked(kept) {
		t.Errorf("the lost one is refused: %t; the other one: %t", s.m.Revoked(lost), s.m.Revoked(kept))
	}
	s.outlives(map[*x509.Certificate]bool{lost: true, kept: false})
}

// outlives checks what the next manager of this store refuses.
func (s *site) outlives(want map[*x509.Certificate]bool) {
	s.t.Helper()
	next, err := New(context.WithoutCancel(s.ctx), Options{Store: s.m.store, Readings: s.m.core.rd, Config: configs.DefaultManager(), Clock: s.clock, Issuer: s.ca, Scorer: s.m.core.score})
	if err != nil {
		s.t.Fatal(err)
	}
	for cert, refused := range want {
		if next.Revoked(cert) != refused {
			s.t.Errorf("%s %s: the next manager refuses it: %t, want %t", cert.Subject, pki.Serial(cert), !refused, refused)
		}
	}
}

func TestRevokeBadInput(t *testing.T) {
	s := newSite(t)
	cert := s.certificate("bob")
	for want, q := range map[string]*managerv1.RevokeOperatorRequest{
		"needs a reason":               {Name: "bob"},
		`"b ob" is no operator's name`: {Name: "b ob", Reason: "r"},
		`"" is no operator's name`:     {Reason: "r"},
		`"xyz" is no certificate's`:    {Name: "bob", Serial: "xyz", Reason: "r"},
		`"0" is no certificate's`:      {Name: "bob", Serial: "0", Reason: "r"},
	} {
		_, err := s.m.RevokeOperator(s.ctx, connect.NewRequest(q))
		var e *apierr.Error
		if !errors.As(err, &e) || e.Kind != apierr.Input || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", q, err, want)
		}
	}
	if s.m.Revoked(cert) {
		t.Error("a refused request has revoked a certificate")
	}
}

// TestRenewedHost: a renewed certificate is the same host's, and goes with it.
func TestRenewedHost(t *testing.T) {
	s := newSite(t)
	s.join("h1")
	var serial string
	if err := s.m.do(s.ctx, func(time.Time) { serial = s.m.core.hosts["h1"].CertSerial }); err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	for what, p := range map[string]pki.Peer{"an earlier enrolment": {Host: "h1", Serial: "abc"}, "an unknown host": {Host: "h9", Serial: serial}} {
		if _, err := s.m.Renew(s.ctx, p, &agentv1.RenewRequest{Csr: csr}); apierr.ExitCode(apierr.ToConnect(err)) != apierr.ExitRefused {
			t.Errorf("%s: %v", what, err)
		}
	}
	mine := pki.Peer{Host: "h1", Serial: serial}
	if _, err := s.m.Renew(s.ctx, mine, &agentv1.RenewRequest{Csr: []byte("x")}); apierr.ExitCode(apierr.ToConnect(err)) != apierr.ExitInput {
		t.Errorf("no request: %v", err)
	}
	res, err := s.m.Renew(s.ctx, mine, &agentv1.RenewRequest{Csr: csr})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.ParseCertificate(res.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	peer, _, err := pki.Identify(cert)
	if err != nil || peer == nil || peer.Host != "h1" || peer.Serial != serial || pki.Serial(cert) == serial {
		t.Fatalf("it is %v's, %v", peer, err)
	}
	if s.m.Revoked(cert) {
		t.Error("refused at once")
	}
	if err := s.m.do(s.ctx, func(now time.Time) { s.m.core.hosts["h1"].Revoked = now; s.m.learnRevoked() }); err != nil {
		t.Fatal(err)
	}
	if !s.m.Revoked(cert) {
		t.Error("a removed host's renewed certificate is good")
	}
	if _, err := s.m.Renew(s.ctx, mine, &agentv1.RenewRequest{Csr: csr}); apierr.ExitCode(apierr.ToConnect(err)) != apierr.ExitRefused {
		t.Errorf("a removed host: %v", err)
	}
}
