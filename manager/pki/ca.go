package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"

	"github.com/vireo-kvm/vireo/agent/wire/join"
)

// How long certificates last. The manager renews its own (Keeper), and those of
// agents when they ask. What ends trust early is revocation by serial.
const (
	caLife      = 20 * 365 * 24 * time.Hour
	managerLife = 5 * 365 * 24 * time.Hour
	peerLife    = 5 * 365 * 24 * time.Hour

	// backdate lets a certificate be used at once by a machine whose clock is
	// behind the manager's.
	backdate = time.Hour
)

// CA is vireo's own certificate authority: an ECDSA P-256 key that signs
// leaves only. It may be used from many goroutines.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// Issued is a certificate that the CA has signed. Key is empty when the key was
// made elsewhere.
type Issued struct {
	Certificate []byte // PEM
	Key         []byte // PEM, PKCS #8
	Serial      string // lower-case hex
	NotAfter    time.Time
}

// NewCA makes a CA with a key of its own.
func NewCA(now time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the CA's key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		// The serial tells two installations' CAs apart in people's trust stores.
		Subject:               pkix.Name{CommonName: "vireo CA " + serial.Text(16)[:8]},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the CA's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the CA's certificate back: %w", err)
	}
	return &CA{cert: cert, key: key}, nil
}

// ParseCA reads a CA from its PEM files' contents.
func ParseCA(certPEM, keyPEM []byte) (*CA, error) {
	cert, err := ParseCertificate(certPEM)
	if err != nil {
		return nil, fmt.Errorf("CA certificate: %w", err)
	}
	if !cert.IsCA {
		return nil, errors.New("CA certificate: it is not a CA's")
	}
	block, _ := pem.Decode(keyPEM)
	if block == nil || block.Type != keyBlock {
		return nil, errors.New("CA key: no PEM block PRIVATE KEY in it")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("CA key: %w", err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("CA key: a %T cannot sign", parsed)
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(cert.PublicKey) {
		return nil, errors.New("CA key: it is not the key of the CA certificate")
	}
	return &CA{cert: cert, key: key}, nil
}

// CertPEM is the CA's certificate.
func (ca *CA) CertPEM() []byte { return certPEM(ca.cert.Raw) }

// KeyPEM is the CA's private key.
func (ca *CA) KeyPEM() ([]byte, error) { return keyPEM(ca.key) }

// SHA256 is the hash of the CA's certificate, as join tokens carry it.
func (ca *CA) SHA256() [sha256.Size]byte { return sha256.Sum256(ca.cert.Raw) }

// NotAfter is when the CA ends, and with it everything that it has signed.
func (ca *CA) NotAfter() time.Time { return ca.cert.NotAfter }

// NewToken makes a join token that names this CA. Its text is shown to the
// operator once; what is kept of it is ID and SecretHash.
func (ca *CA) NewToken() join.Token { return join.New(ca.SHA256()) }

// Pool holds the CA alone.
func (ca *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.cert)
	return p
}

// IssueManager makes the manager's certificate and key for DNS names and IP
// addresses; at least one is needed. The PEM holds the CA too: a host that
// enrols recognises it by its hash.
func (ca *CA) IssueManager(names []string, now time.Time) (Issued, error) {
	t, err := managerTemplate(names, now)
	if err != nil {
		return Issued{}, err
	}
	issued, err := ca.issueWithKey(t, now)
	if err != nil {
		return Issued{}, err
	}
	issued.Certificate = append(issued.Certificate, ca.CertPEM()...)
	return issued, nil
}

func managerTemplate(names []string, now time.Time) (*x509.Certificate, error) {
	if len(names) == 0 {
		return nil, errors.New("a manager's certificate needs at least one name or address")
	}
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "vireo manager"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotAfter:    now.Add(managerLife),
	}
	for _, n := range names {
		switch ip := net.ParseIP(n); {
		case ip != nil:
			t.IPAddresses = append(t.IPAddresses, ip)
		case ValidName(n):
			t.DNSNames = append(t.DNSNames, n)
		default:
			return nil, fmt.Errorf("%q is neither a DNS name nor an IP address", n)
		}
	}
	return t, nil
}

// IssueAgent signs an agent's request (PKCS #10, DER) for a host. Nothing of the
// request but its key is used: who the bearer is, the manager decides.
func (ca *CA) IssueAgent(csr []byte, host string, now time.Time) (Issued, error) {
	return ca.issueAgent(csr, host, agentURI(host), now)
}

// RenewAgent signs an agent's request for another certificate of the enrolment
// that the peer has.
func (ca *CA) RenewAgent(csr []byte, peer Peer, now time.Time) (Issued, error) {
	u := agentURI(peer.Host)
	u.RawQuery = url.Values{enrolmentKey: {peer.Serial}}.Encode()
	return ca.issueAgent(csr, peer.Host, u, now)
}

func (ca *CA) issueAgent(csr []byte, host string, uri *url.URL, now time.Time) (Issued, error) {
	if !ValidName(host) {
		return Issued{}, fmt.Errorf("%q is no name for a host", host)
	}
	req, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return Issued{}, fmt.Errorf("certificate request: %w", err)
	}
	// Proves that the asker has the key.
	if err := req.CheckSignature(); err != nil {
		return Issued{}, fmt.Errorf("certificate request: %w", err)
	}
	key, ok := req.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return Issued{}, fmt.Errorf("certificate request: key is %s, expected ECDSA P-256", req.PublicKeyAlgorithm)
	}
	return ca.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: host},
		URIs:        []*url.URL{uri},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotAfter:    now.Add(peerLife),
	}, req.PublicKey, now)
}

// IssueOperator makes an operator's certificate and key.
func (ca *CA) IssueOperator(name string, role Role, now time.Time) (Issued, error) {
	if !ValidName(name) {
		return Issued{}, fmt.Errorf("%q is no name for an operator", name)
	}
	if !role.Valid() {
		return Issued{}, fmt.Errorf("role %q, expected %s, %s or %s", role, Viewer, Operator, Admin)
	}
	return ca.issueWithKey(&x509.Certificate{
		Subject:     pkix.Name{CommonName: name, OrganizationalUnit: []string{string(role)}},
		URIs:        []*url.URL{operatorURI(role, name)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotAfter:    now.Add(peerLife),
	}, now)
}

func (ca *CA) issueWithKey(t *x509.Certificate, now time.Time) (Issued, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Issued{}, fmt.Errorf("make a key: %w", err)
	}
	issued, err := ca.sign(t, key.Public(), now)
	if err != nil {
		return Issued{}, err
	}
	if issued.Key, err = keyPEM(key); err != nil {
		return Issued{}, err
	}
	return issued, nil
}

func (ca *CA) sign(t *x509.Certificate, public crypto.PublicKey, now time.Time) (Issued, error) {
	serial, err := newSerial()
	if err != nil {
		return Issued{}, err
	}
	t.SerialNumber = serial
	t.NotBefore = now.Add(-backdate)
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.BasicConstraintsValid = true
	if t.NotAfter.After(ca.cert.NotAfter) {
		t.NotAfter = ca.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.cert, public, ca.key)
	if err != nil {
		return Issued{}, fmt.Errorf("sign the certificate of %s: %w", t.Subject.CommonName, err)
	}
	return Issued{Certificate: certPEM(der), Serial: serial.Text(16), NotAfter: t.NotAfter}, nil
}

// newSerial is 127 random bits with the highest set, so that every serial has
// the same length and 8 hex digits to show.
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	return n.SetBit(n, 126, 1), nil
}
