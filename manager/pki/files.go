package pki

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Names of the manager's files in its directory.
const (
	CACertFile      = "ca.crt"
	CAKeyFile       = "ca.key"
	ManagerCertFile = "manager.crt"
	ManagerKeyFile  = "manager.key"

	// AdminCertFile and AdminKeyFile are the first operator's, where the CLI
	// looks for them unless it is told otherwise.
	AdminCertFile = "operator.crt"
	AdminKeyFile  = "operator.key"
)

// OperatorCertFile and OperatorKeyFile name another operator's files.
func OperatorCertFile(name string) string { return "operator-" + name + ".crt" }

// OperatorKeyFile is the key's file beside OperatorCertFile.
func OperatorKeyFile(name string) string { return "operator-" + name + ".key" }

// ErrExists is what Init says of a directory that has a CA. Replacing it would
// lock out every host.
var ErrExists = errors.New("there is a CA already")

// Init makes the CA, the manager's certificate for names, and an admin's
// certificate in dir, which is made when it is missing (0750). Keys are 0600. A
// directory that has a CA is left as it is, with ErrExists; one in which an Init
// was cut short is completed. One that has the CA's certificate and key alone, as
// another manager of the fleet has them, gets certificates of that CA.
func Init(dir string, names []string, admin string, now time.Time) (*CA, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	ca, err := caFor(dir, now)
	if err != nil {
		return nil, err
	}
	manager, err := ca.IssueManager(names, now)
	if err != nil {
		return nil, err
	}
	operator, err := ca.IssueOperator(admin, Admin, now)
	if err != nil {
		return nil, err
	}
	key, err := ca.KeyPEM()
	if err != nil {
		return nil, err
	}
	if err := WriteFile(filepath.Join(dir, CAKeyFile), key, 0o600); err != nil {
		return nil, err
	}
	if err := manager.Write(dir, ManagerCertFile, ManagerKeyFile); err != nil {
		return nil, err
	}
	if err := operator.Write(dir, AdminCertFile, AdminKeyFile); err != nil {
		return nil, err
	}
	return ca, WriteFile(filepath.Join(dir, CACertFile), ca.CertPEM(), 0o644)
}

// caFor is the CA that was brought here from another manager, or a new one.
func caFor(dir string, now time.Time) (*CA, error) {
	cert, err := os.ReadFile(filepath.Join(dir, CACertFile))
	if errors.Is(err, fs.ErrNotExist) {
		// The CA's certificate is written last: without it nothing is complete.
		return NewCA(now)
	}
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(filepath.Join(dir, CAKeyFile))
	_, own := os.Stat(filepath.Join(dir, ManagerCertFile))
	if err != nil || !errors.Is(own, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrExists, filepath.Join(dir, CACertFile))
	}
	ca, err := ParseCA(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return ca, nil
}

// Load reads the CA and the manager's certificate from dir.
func Load(dir string) (*CA, tls.Certificate, error) {
	cert, err := os.ReadFile(filepath.Join(dir, CACertFile))
	if err != nil {
		return nil, tls.Certificate{}, err
	}
	key, err := os.ReadFile(filepath.Join(dir, CAKeyFile))
	if err != nil {
		return nil, tls.Certificate{}, err
	}
	ca, err := ParseCA(cert, key)
	if err != nil {
		return nil, tls.Certificate{}, fmt.Errorf("%s: %w", dir, err)
	}
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, ManagerCertFile), filepath.Join(dir, ManagerKeyFile))
	if err != nil {
		return nil, tls.Certificate{}, fmt.Errorf("%s: %w", filepath.Join(dir, ManagerCertFile), err)
	}
	return ca, own, nil
}

// Write puts the key (0600) and then the certificate (0644) into dir.
func (i Issued) Write(dir, certName, keyName string) error {
	if err := WriteFile(filepath.Join(dir, keyName), i.Key, 0o600); err != nil {
		return err
	}
	return WriteFile(filepath.Join(dir, certName), i.Certificate, 0o644)
}

// WriteFile writes a file so that, whatever happens, it is the old one or the
// new one, whole and on disk. Written by root it belongs to the directory's
// owner: init is run by root, and the manager, which is not, reads the keys.
func WriteFile(path string, data []byte, mode fs.FileMode) (err error) {
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
	if os.Geteuid() == 0 {
		dir, err := os.Stat(filepath.Dir(path))
		if err != nil {
			return err
		}
		if owner, ok := dir.Sys().(*syscall.Stat_t); ok {
			if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
				return err
			}
		}
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
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
