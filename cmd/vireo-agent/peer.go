package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
	"github.com/vireo-kvm/vireo/configs"
)

type opener = virt.Opener

// tlsFiles are libvirt's certificates, where libvirt's clients look for them.
type tlsFiles struct{ ca, cert, key string }

var systemPKI = tlsFiles{ca: "/etc/pki/CA/cacert.pem", cert: "/etc/pki/libvirt/clientcert.pem", key: "/etc/pki/libvirt/private/clientkey.pem"}

// ports of libvirt's transports, unless the URI names one.
var transports = map[string]string{"tls": "16514", "tcp": "16509", "ssh": "22"}

// firstMigrationPort begins the range 49152 to 49215 of qemu.conf, from which
// libvirt takes one port for each migration.
const firstMigrationPort = "49152"

// peerCheck tries from this host what libvirt does for a migration to a peer.
type peerCheck struct {
	cfg  configs.AgentMigration
	open opener
	tls  tlsFiles
}

func (p peerCheck) run(ctx context.Context, r *report, peer string) {
	target, err := parsePeer(p.cfg.PeerURIOf(peer))
	if err != nil {
		r.try(ctx, "migration.peer_uri", func(context.Context) (string, error) { return "", err })
		return
	}
	named := r.try(ctx, "name "+target.host, func(ctx context.Context) (string, error) {
		addresses, err := net.DefaultResolver.LookupHost(ctx, target.host)
		return strings.Join(addresses, ", "), err
	})
	reached := named && r.try(ctx, fmt.Sprintf("port %s of %s (libvirtd, %s)", target.port, target.host, target.transport), func(ctx context.Context) (string, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(target.host, target.port))
		if err != nil {
			return "", portTrouble(err)
		}
		return "open", conn.Close()
	})
	if reached && target.transport == "tls" {
		reached = r.try(ctx, "certificates towards "+target.host, func(ctx context.Context) (string, error) { return p.certificates(ctx, target) })
	}
	if reached {
		r.try(ctx, "libvirt "+target.uri, func(ctx context.Context) (string, error) {
			info, err := libvirtHost(ctx, p.open, target.uri)
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("host %s, %s", info.UUID, info.Hostname), nil
		})
	}
	host, port, err := streamTarget(p.cfg.URIOf(peer), target.host)
	if err != nil {
		r.try(ctx, "migration.uri", func(context.Context) (string, error) { return "", err })
		return
	}
	if !named && host == target.host {
		return // said already
	}
	r.try(ctx, fmt.Sprintf("port %s of %s (the migration's stream)", port, host), func(ctx context.Context) (string, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			// Nobody listens before a migration begins; a firewall that rejects
			// with a reset looks the same.
			return "reached, nobody listens yet", nil
		case err != nil:
			return "", portTrouble(err)
		}
		return "open", conn.Close()
	})
}

// target is a peer's libvirtd as its URI names it.
type target struct{ uri, transport, host, port string }

func parsePeer(uri string) (target, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return target{}, err
	}
	_, transport, _ := strings.Cut(u.Scheme, "+")
	port, known := transports[cmp.Or(transport, "tls")] // a URI with a host and no transport means TLS to libvirt
	if !known {
		return target{}, fmt.Errorf("%s: transport %q, expected tls, ssh or tcp", uri, transport)
	}
	if u.Hostname() == "" {
		return target{}, fmt.Errorf("%s names no host", uri)
	}
	return target{uri: uri, transport: cmp.Or(transport, "tls"), host: u.Hostname(), port: cmp.Or(u.Port(), port)}, nil
}

// streamTarget is where the migration's stream goes: where the URI says, else to
// the peer by the name that it is called by.
func streamTarget(uri, host string) (string, string, error) {
	if uri == "" {
		return host, firstMigrationPort, nil
	}
	u, err := url.Parse(uri)
	if err != nil {
		return "", "", err
	}
	if u.Hostname() == "" {
		return "", "", fmt.Errorf("%s names no host", uri)
	}
	return u.Hostname(), cmp.Or(u.Port(), firstMigrationPort), nil
}

// portTrouble says what a port's silence and its refusal mean.
func portTrouble(err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: nobody listens there", err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: a firewall, or no such machine", err)
	}
	return err
}

// certificates makes libvirt's handshake and names the certificate that fails.
func (p peerCheck) certificates(ctx context.Context, t target) (string, error) {
	text, err := os.ReadFile(p.tls.ca)
	if err != nil {
		return "", fmt.Errorf("CA of libvirt: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return "", fmt.Errorf("CA of libvirt: %s: no certificate in it", p.tls.ca)
	}
	own, err := tls.LoadX509KeyPair(p.tls.cert, p.tls.key)
	if err != nil {
		return "", fmt.Errorf("this host's client certificate: %w", err)
	}
	if _, err := own.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return "", fmt.Errorf("this host's client certificate %s: %w", filepath.Base(p.tls.cert), err)
	}
	d := tls.Dialer{Config: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{own}, ServerName: t.host}}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(t.host, t.port))
	if err != nil {
		return "", fmt.Errorf("the certificate of %s: %w", t.host, err)
	}
	defer conn.Close()
	// In TLS 1.3 a server refuses a client's certificate after the handshake;
	// libvirtd sends one byte, 1, when it lets a client in.
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	one := make([]byte, 1)
	if n, err := conn.Read(one); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) || n == 1 && one[0] != 1 {
		return "", fmt.Errorf("%s refuses this host's client certificate (%v)", t.host, cmp.Or(err, errors.New("it says no")))
	}
	until := conn.(*tls.Conn).ConnectionState().PeerCertificates[0].NotAfter
	return "good on both sides; that of " + t.host + " until " + until.UTC().Format(time.DateOnly), nil
}
