package dial

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"connectrpc.com/connect"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/agent/wire/v1/agentv1connect"
)

const (
	// renewBefore is how long before its end a host's certificate is made anew: long
	// enough for a host that is switched off for months.
	renewBefore  = 365 * 24 * time.Hour
	renewAgain   = time.Hour       // after a try, whatever came of it
	renewTimeout = 3 * time.Second // the session that has just begun waits
)

// LoadRenewed reads the identity that Enroll has written to dir, or the newer
// certificate of the same enrolment that Save has kept in state.
func LoadRenewed(dir, state string) (Identity, error) {
	id, err := Load(dir)
	if err != nil {
		return Identity{}, err
	}
	path := filepath.Join(state, identityFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return id, nil
	}
	if err != nil {
		return Identity{}, err
	}
	// One of an earlier enrolment is none, and one that is damaged is made again.
	next, err := tls.X509KeyPair(text, text)
	if err != nil {
		return id, nil
	}
	host, err := hostOf(next.Leaf)
	if err == nil && host == id.Host && enrolmentOf(next.Leaf) == enrolmentOf(id.Certificate.Leaf) && next.Leaf.NotAfter.After(id.Certificate.Leaf.NotAfter) {
		id.Certificate = next
	}
	return id, nil
}

// Save keeps a renewed identity in state, beside what else the agent writes.
func Save(state string, identity []byte) error {
	return writeFile(filepath.Join(state, identityFile), identity, 0o600)
}

// enrolmentOf names the enrolment that a certificate goes back to: a renewed one
// names its first certificate's serial in its URI.
func enrolmentOf(cert *x509.Certificate) string {
	for _, u := range cert.URIs {
		if q, err := url.ParseQuery(u.RawQuery); err == nil && q.Get("enrolment") != "" {
			return q.Get("enrolment")
		}
	}
	return cert.SerialNumber.Text(16)
}

// renew has the manager make the certificate anew in its last year. The next
// session uses it. What can't be done now is tried again at a later session; the
// present certificate is as good as before.
func (d *Dialer) renew(ctx context.Context, manager string) {
	now, leaf := d.o.Clock.Now(), d.o.Identity.Certificate.Leaf
	if leaf == nil || leaf.NotAfter.Sub(now) >= renewBefore || !d.renewed.IsZero() && now.Sub(d.renewed) < renewAgain {
		return
	}
	d.renewed = now
	next, text, err := d.askAnew(ctx, manager)
	if err != nil {
		d.o.Log.Warn("this host's certificate is not renewed", "until", leaf.NotAfter, "error", err)
		return
	}
	d.o.Identity.Certificate = next
	if d.o.Save != nil {
		err = d.o.Save(text)
	}
	if err != nil {
		d.o.Log.Warn("this host's certificate is renewed and can't be saved: it counts until the agent ends", "until", next.Leaf.NotAfter, "error", err)
		return
	}
	d.o.Log.Info("this host's certificate is renewed", "until", next.Leaf.NotAfter)
}

// askAnew asks for a certificate for the key that this host has.
func (d *Dialer) askAnew(ctx context.Context, manager string) (tls.Certificate, []byte, error) {
	none := tls.Certificate{}
	old := d.o.Identity
	key, ok := old.Certificate.PrivateKey.(crypto.Signer)
	if !ok {
		return none, nil, fmt.Errorf("the key is a %T, which cannot sign", old.Certificate.PrivateKey)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: old.Host}}, key)
	if err != nil {
		return none, nil, fmt.Errorf("make a certificate request: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return none, nil, fmt.Errorf("write the key: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, stop := d.o.Clock.After(renewTimeout)
	defer stop()
	go func() {
		select {
		case <-c:
			cancel()
		case <-ctx.Done():
		}
	}()
	transport := newTransport(d.tls())
	defer transport.CloseIdleConnections()
	client := agentv1connect.NewAgentServiceClient(httpClient(transport), manager)
	res, err := client.Renew(ctx, connect.NewRequest(&agentv1.RenewRequest{Csr: csr}))
	if err != nil {
		return none, nil, err
	}
	text := append(bytes.Clone(res.Msg.GetCertificate()), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...)
	if err := check(text, old.Host, old.CA, d.o.Clock.Now()); err != nil {
		return none, nil, fmt.Errorf("the manager's answer: %w", err)
	}
	next, err := tls.X509KeyPair(text, text)
	switch {
	case err != nil:
		return none, nil, err
	case enrolmentOf(next.Leaf) != enrolmentOf(old.Certificate.Leaf):
		return none, nil, errors.New("the manager's answer: it is a certificate of another enrolment")
	case !next.Leaf.NotAfter.After(old.Certificate.Leaf.NotAfter):
		return none, nil, errors.New("the manager's answer ends no later: its CA ends too")
	}
	return next, text, nil
}
