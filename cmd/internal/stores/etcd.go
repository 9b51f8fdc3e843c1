package stores

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"

	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/store/etcd"
)

// Etcd gives the options that the configuration asks for.
func Etcd(cfg configs.Manager) (etcd.Options, error) {
	o := etcd.Options{Endpoints: cfg.Etcd.Endpoints, Prefix: cfg.Etcd.Prefix, Address: cfg.Advertise, Memory: cfg.EtcdMemory()}
	if o.Address == "" {
		host, err := os.Hostname()
		if err != nil {
			return o, err
		}
		_, port, err := net.SplitHostPort(cfg.Listen)
		if err != nil {
			return o, err
		}
		o.Address = "https://" + net.JoinHostPort(host, port)
	}
	if cfg.Etcd.CA == "" {
		return o, nil
	}
	text, err := os.ReadFile(cfg.Etcd.CA)
	if err != nil {
		return o, fmt.Errorf("etcd.ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return o, fmt.Errorf("etcd.ca: %s holds no certificate", cfg.Etcd.CA)
	}
	o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	if cfg.Etcd.Cert != "" {
		own, err := tls.LoadX509KeyPair(cfg.Etcd.Cert, cfg.Etcd.Key)
		if err != nil {
			return o, fmt.Errorf("etcd.cert and etcd.key: %w", err)
		}
		o.TLS.Certificates = []tls.Certificate{own}
	}
	return o, nil
}
