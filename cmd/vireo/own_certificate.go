package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/manager/pki"
)

// ownEndsSoon is how long before its end an operator hears that the own
// certificate, which nobody renews, has to be made anew; one that is valid for a
// short time only is spoken of in its last third.
const ownEndsSoon = 60 * 24 * time.Hour

// ownCertificate says what to do about the certificate of who is asking, "" while
// there is nothing to do, or none.
func (p *program) ownCertificate(cfg configs.CLI) string {
	if strings.HasPrefix(cfg.Manager[0], "unix:") {
		return "" // root needs none
	}
	own, err := tls.LoadX509KeyPair(cfg.Cert, cfg.Key)
	if err != nil {
		return "" // whoever connects says so
	}
	leaf := own.Leaf
	left := leaf.NotAfter.Sub(p.now())
	if left >= min(ownEndsSoon, leaf.NotAfter.Sub(leaf.NotBefore)/3) {
		return ""
	}
	ends := "ends"
	if left <= 0 {
		ends = "has ended"
	}
	return fmt.Sprintf("your certificate %s %s on %s%s", cfg.Cert, ends, leaf.NotAfter.UTC().Format(time.DateOnly), another(leaf))
}

// another is how the next certificate is made.
func another(leaf *x509.Certificate) string {
	_, actor, err := pki.Identify(leaf)
	if err != nil || actor == nil {
		return ""
	}
	return fmt.Sprintf("; on the manager's machine vireo-manager operator --role %s %s makes the next", actor.Role, actor.Name)
}
