package pki

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// renewBefore is how long before its end the manager's certificate is made anew:
// time enough for whoever has to be told that it can't.
const renewBefore = 365 * 24 * time.Hour

// RenewManager makes the manager's certificate anew, for the names of the old one
// and more, with the old one's key: a pair of files of which only one was written
// would be none.
func (ca *CA) RenewManager(old tls.Certificate, more []string, now time.Time) (Issued, error) {
	key, ok := old.PrivateKey.(crypto.Signer)
	if !ok {
		return Issued{}, fmt.Errorf("the manager's key: a %T cannot sign", old.PrivateKey)
	}
	names := Names(old.Leaf)
	for _, n := range more {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	t, err := managerTemplate(names, now)
	if err != nil {
		return Issued{}, err
	}
	issued, err := ca.sign(t, key.Public(), now)
	if err != nil {
		return Issued{}, err
	}
	if !issued.NotAfter.After(now) {
		return Issued{}, fmt.Errorf("the CA has ended on %s: nothing can be signed any more", ca.NotAfter().UTC().Format(time.DateOnly))
	}
	issued.Certificate = append(issued.Certificate, ca.CertPEM()...)
	return issued, nil
}

// Names are the DNS names and addresses under which a certificate's bearer is
// reached.
func Names(cert *x509.Certificate) []string {
	names := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// Keeper has the manager's own certificate while it runs. Its methods may be
// called from any goroutine.
type Keeper struct {
	dir string
	ca  *CA

	mu   sync.RWMutex
	own  tls.Certificate
	disk []byte // the file's content when it was last taken or found wanting
}

// Keep begins with what Load has read from dir.
func Keep(dir string, ca *CA, own tls.Certificate) *Keeper {
	k := &Keeper{dir: dir, ca: ca, own: own}
	k.disk, _ = os.ReadFile(k.path()) // unreadable now: Refresh says so
	return k
}

func (k *Keeper) path() string { return filepath.Join(k.dir, ManagerCertFile) }

// Own is the certificate that is in use.
func (k *Keeper) Own() tls.Certificate {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.own
}

// Change is what Refresh did.
type Change string

// The changes.
const (
	Unchanged Change = ""
	Replaced  Change = "replaced" // by a file that somebody has written
	Renewed   Change = "renewed"  // because the one before ends within a year
)

// Refresh takes a certificate that was written since into use, and makes a new
// one when the present one ends within a year. With Renewed an error says that
// the new one is used but could not be saved; else the present one stays in use.
func (k *Keeper) Refresh(now time.Time) (Change, error) {
	change, err := k.reread(now)
	own := k.Own()
	end := own.Leaf.NotAfter
	if change != Unchanged || end.Sub(now) >= renewBefore || !end.Before(k.ca.NotAfter()) {
		return change, err // a certificate that ends with its CA is not renewed
	}
	issued, rerr := k.ca.RenewManager(own, nil, now)
	if rerr != nil {
		return Unchanged, errors.Join(err, rerr)
	}
	next, rerr := withKey(issued.Certificate, own)
	if rerr != nil {
		return Unchanged, errors.Join(err, rerr)
	}
	werr := WriteFile(k.path(), issued.Certificate, 0o644)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.own = next
	if werr == nil {
		k.disk = issued.Certificate
	}
	return Renewed, errors.Join(err, werr)
}

// reread takes what somebody has written, if it is good. What is not is said once.
func (k *Keeper) reread(now time.Time) (Change, error) {
	text, err := os.ReadFile(k.path())
	if err != nil || bytes.Equal(text, k.seen()) {
		return Unchanged, err
	}
	k.mu.Lock()
	k.disk = text
	k.mu.Unlock()
	_, next, err := Load(k.dir)
	if err == nil {
		_, err = next.Leaf.Verify(x509.VerifyOptions{Roots: k.ca.Pool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	}
	if err != nil {
		return Unchanged, fmt.Errorf("%s was changed and is not taken: %w", k.path(), err)
	}
	k.mu.Lock()
	k.own = next
	k.mu.Unlock()
	return Replaced, nil
}

func (k *Keeper) seen() []byte {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.disk
}

// withKey is a certificate's PEM with the key of another certificate.
func withKey(text []byte, old tls.Certificate) (tls.Certificate, error) {
	key, err := keyPEM(old.PrivateKey.(crypto.Signer))
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(text, key)
}
