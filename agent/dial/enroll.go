package dial

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"connectrpc.com/connect"

	"github.com/vireo-kvm/vireo/agent/wire/join"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/agent/wire/v1/agentv1connect"
)

// ErrStranger is what Enroll says of a manager whose CA is not the token's.
var ErrStranger = errors.New("whoever answers there is not the manager that made the token: its CA has another SHA-256")

// ErrUnreachable is what Enroll says when nobody answers at the manager's URL.
var ErrUnreachable = errors.New("the manager is not reached")

// Enrolment is what Enroll needs.
type Enrolment struct {
	Manager     string // its URL
	Token       string // the text of the join token
	Host        string // the name to enrol as
	LibvirtUUID string // of the host, as libvirt says; may be empty
	MachineID   string // /etc/machine-id
	Dir         string // where the identity is kept
	Now         func() time.Time
}

// Enroll exchanges a join token for an identity in e.Dir. The key is made here
// and never leaves the host. An identity that was there before is replaced only
// when everything has succeeded. The token is spent once the manager has
// accepted it, even if the answer is lost.
func Enroll(ctx context.Context, e Enrolment) (generation uint64, err error) {
	token, err := join.Parse(e.Token)
	if err != nil {
		return 0, err
	}
	base, err := url.Parse(e.Manager)
	if err != nil || base.Scheme != "https" || base.Hostname() == "" {
		return 0, fmt.Errorf("manager %q: expected an URL such as https://manager.example:7443", e.Manager)
	}
	ca, err := meet(ctx, e, token, base.Hostname())
	if err != nil {
		return 0, err
	}
	caPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	if err := checkDir(e.Dir, caPEM); err != nil {
		return 0, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return 0, fmt.Errorf("make a key: %w", err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: e.Host}}, key)
	if err != nil {
		return 0, fmt.Errorf("make a certificate request: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return 0, fmt.Errorf("write the key: %w", err)
	}

	pool := x509.NewCertPool()
	pool.AddCert(ca)
	transport := newTransport(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, Time: e.Now})
	defer transport.CloseIdleConnections()
	client := agentv1connect.NewAgentServiceClient(httpClient(transport), e.Manager)
	res, err := client.Enroll(ctx, connect.NewRequest(&agentv1.EnrollRequest{
		Token: e.Token, Host: e.Host, Csr: csr, LibvirtHostUuid: e.LibvirtUUID, MachineId: e.MachineID,
	}))
	if err != nil {
		return 0, fmt.Errorf("enrol %s at %s: %w", e.Host, e.Manager, err)
	}

	identity := append(bytes.Clone(res.Msg.GetCertificate()), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...)
	if err := check(identity, e.Host, pool, e.Now()); err != nil {
		return 0, fmt.Errorf("enrol %s at %s: the manager's answer: %w", e.Host, e.Manager, err)
	}
	if err := writeFile(filepath.Join(e.Dir, caFile), caPEM, 0o644); err != nil {
		return 0, err
	}
	return res.Msg.GetGeneration(), writeFile(filepath.Join(e.Dir, identityFile), identity, 0o600)
}

// meet makes one TLS handshake to find the CA whose hash the token carries, and
// checks that the manager's certificate is of that CA and for that name. No
// secret has been sent when it returns.
func meet(ctx context.Context, e Enrolment, token join.Token, name string) (*x509.Certificate, error) {
	var ca *x509.Certificate
	transport := newTransport(&tls.Config{
		MinVersion: tls.VersionTLS13,
		// The chain is verified below, against the CA that the token names.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			for _, c := range s.PeerCertificates {
				if sha256.Sum256(c.Raw) == token.CA {
					ca = c
				}
			}
			if ca == nil {
				return ErrStranger
			}
			roots := x509.NewCertPool()
			roots.AddCert(ca)
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: e.Now()})
			return err
		},
	})
	defer transport.CloseIdleConnections()
	// Whatever this answers: only the handshake counts.
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.Manager, nil)
	if err != nil {
		return nil, err
	}
	res, err := httpClient(transport).Do(req)
	var network *net.OpError
	switch {
	case err == nil:
		return ca, res.Body.Close()
	case errors.As(err, &network) && network.Op == "dial":
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return nil, fmt.Errorf("meet the manager: %w", err)
}

// check makes sure that what came back is of use before it is kept.
func check(identity []byte, host string, roots *x509.CertPool, now time.Time) error {
	pair, err := tls.X509KeyPair(identity, identity)
	if err != nil {
		return err
	}
	if got, err := hostOf(pair.Leaf); err != nil || got != host {
		return fmt.Errorf("the certificate is for %q, not for %q (%w)", got, host, err)
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}
