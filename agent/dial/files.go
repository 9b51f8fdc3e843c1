package dial

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	caFile       = "ca.crt"
	identityFile = "agent.pem" // certificate and key in one file, so that they can't be of two enrolments
	caKeyFile    = "ca.key"    // the manager's; present when both live on one machine
)

// Identity is what a host has after enrolment.
type Identity struct {
	Certificate tls.Certificate
	Host        string // the name it was enrolled under
	CA          *x509.CertPool
}

// ErrNotEnrolled is what Load says of a directory without an identity.
var ErrNotEnrolled = errors.New("this host is not enrolled; run: vireo-agent enroll --manager URL --token TOKEN")

// Load reads the identity that Enroll has written to dir.
func Load(dir string) (Identity, error) {
	own := filepath.Join(dir, identityFile)
	text, err := os.ReadFile(own)
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, fmt.Errorf("%s: %w", own, ErrNotEnrolled)
	}
	if err != nil {
		return Identity{}, err
	}
	cert, err := tls.X509KeyPair(text, text)
	if err != nil {
		return Identity{}, fmt.Errorf("%s: %w", own, err)
	}
	host, err := hostOf(cert.Leaf)
	if err != nil {
		return Identity{}, fmt.Errorf("%s: %w", own, err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, caFile))
	if err != nil {
		return Identity{}, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return Identity{}, fmt.Errorf("%s: no certificate in it", filepath.Join(dir, caFile))
	}
	return Identity{Certificate: cert, Host: host, CA: pool}, nil
}

// hostOf reads the host's name from the certificate's URI, vireo://agent/HOST.
func hostOf(cert *x509.Certificate) (string, error) {
	for _, u := range cert.URIs {
		if u.Scheme == "vireo" && u.Host == "agent" && len(u.Path) > 1 {
			return u.Path[1:], nil
		}
	}
	return "", errors.New("it is no agent's certificate")
}

// checkDir makes dir, and says before a token is spent whether an identity can
// be kept there.
func checkDir(dir string, ca []byte) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	// A manager's own CA is never replaced by another's.
	if _, err := os.Stat(filepath.Join(dir, caKeyFile)); err == nil {
		mine, err := os.ReadFile(filepath.Join(dir, caFile))
		if err != nil || !bytes.Equal(bytes.TrimSpace(mine), bytes.TrimSpace(ca)) {
			return fmt.Errorf("%s holds the CA of another manager; give the agent a pki_dir of its own", dir)
		}
	}
	f, err := os.CreateTemp(dir, ".probe.*")
	if err != nil {
		return err
	}
	f.Close()
	return os.Remove(f.Name())
}

// writeFile puts data in place of path so that, whatever happens, the old file
// or the new one is there, whole and on disk.
func writeFile(path string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	// The directory has to say so on the disk too.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
