package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Role is what an operator may do; each role may do what those before it may.
type Role string

// The roles. The values stand in certificates.
const (
	Viewer   Role = "viewer"   // reads
	Operator Role = "operator" // moves guests, resolves decisions
	Admin    Role = "admin"    // lets hosts in and out
)

var rank = map[Role]int{Viewer: 1, Operator: 2, Admin: 3}

// Valid says whether r is one of the three roles.
func (r Role) Valid() bool { return rank[r] > 0 }

// May says whether r may do what needs want. An unknown role may nothing, and
// nobody may what needs an unknown role.
func (r Role) May(want Role) bool { return r.Valid() && want.Valid() && rank[r] >= rank[want] }

// Peer is an agent as its certificate names it. What the agent says of itself
// comes in its messages and is compared with this.
type Peer struct {
	Host string
	// Serial, lower-case hex, is that of the certificate with which the host was
	// enrolled; those that were made of it later name it.
	Serial string
	Ends   time.Time // when the certificate does with which it speaks
}

// Actor is an operator: from a certificate, or root on the manager's own socket.
type Actor struct {
	Name   string
	Role   Role
	Serial string // of the certificate; empty on the socket
}

// ErrNobody is what Identify says of a certificate that names neither.
var ErrNobody = errors.New("the certificate names neither an agent nor an operator of vireo")

const scheme = "vireo"

// Identify reads who a certificate was made for: exactly one of the two is not
// nil when err is nil. The certificate must have been verified before.
func Identify(cert *x509.Certificate) (*Peer, *Actor, error) {
	var found *url.URL
	for _, u := range cert.URIs {
		if u.Scheme != scheme {
			continue
		}
		if found != nil {
			return nil, nil, fmt.Errorf("%w: it names several", ErrNobody)
		}
		found = u
	}
	if found == nil {
		return nil, nil, ErrNobody
	}
	serial := Serial(cert)
	parts := strings.Split(strings.TrimPrefix(found.Path, "/"), "/")
	switch {
	case found.Host == "agent" && len(parts) == 1 && ValidName(parts[0]):
		if first := found.Query().Get(enrolmentKey); first != "" {
			serial = first
		}
		return &Peer{Host: parts[0], Serial: serial, Ends: cert.NotAfter}, nil, nil
	case found.Host == "operator" && len(parts) == 2 && Role(parts[0]).Valid() && ValidName(parts[1]):
		return nil, &Actor{Role: Role(parts[0]), Name: parts[1], Serial: serial}, nil
	}
	return nil, nil, fmt.Errorf("%w: %s", ErrNobody, found)
}

// Serial is a certificate's serial number as vireo writes it: lower-case hex.
func Serial(cert *x509.Certificate) string { return cert.SerialNumber.Text(16) }

// ParseSerial reads a serial number as people have it, with or without colons,
// and returns it as Serial does.
func ParseSerial(s string) (string, bool) {
	n, ok := new(big.Int).SetString(strings.ReplaceAll(s, ":", ""), 16)
	if !ok || n.Sign() <= 0 {
		return "", false
	}
	return n.Text(16), true
}

// IssuedAt is when a certificate was made: its beginning lies before that, for
// clocks that are behind.
func IssuedAt(cert *x509.Certificate) time.Time { return cert.NotBefore.Add(backdate) }

var nameForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`)

// ValidName says whether a host's or an operator's name may be used: 1 to 253
// letters, digits, dots, dashes and underscores, beginning and ending with a
// letter or digit. It stands in certificates, file names and URIs unescaped.
func ValidName(name string) bool { return nameForm.MatchString(name) }

// enrolmentKey is the part of a renewed certificate's URI that names the serial of
// the enrolment's first.
const enrolmentKey = "enrolment"

func agentURI(host string) *url.URL {
	return &url.URL{Scheme: scheme, Host: "agent", Path: "/" + host}
}

func operatorURI(role Role, name string) *url.URL {
	return &url.URL{Scheme: scheme, Host: "operator", Path: "/" + string(role) + "/" + name}
}
