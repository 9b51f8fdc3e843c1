package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"
)

// ErrRevoked is what a bearer of a revoked certificate runs into.
var ErrRevoked = errors.New("the certificate has been revoked")

// ServerTLS is the manager's side: TLS 1.3, HTTP/2 first. A client certificate
// is verified when there is one; who must have one is for the caller to enforce,
// since enrolment is the call that comes before it. own and revoked are asked at
// each handshake.
func ServerTLS(own func() tls.Certificate, clients *x509.CertPool, revoked func(cert *x509.Certificate) bool, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert := own()
			return &cert, nil
		},
		ClientCAs:  clients,
		ClientAuth: tls.VerifyClientCertIfGiven,
		NextProtos: []string{"h2", "http/1.1"},
		Time:       now,
		// Resumed sessions would skip nothing that matters today, but save
		// nothing either: agents connect once.
		SessionTicketsDisabled: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) > 0 && revoked(s.PeerCertificates[0]) {
				return ErrRevoked
			}
			return nil
		},
	}
}
