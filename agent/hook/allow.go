package hook

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Allowance is a person's word, given on the host, that a domain may start here
// once without a claim.
type Allowance struct {
	Domain string    `json:"domain"` // name or UUID
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"`
}

func allowances(runDir string) string { return filepath.Join(runDir, "allow") }

func allowanceFile(runDir, domain string) string {
	sum := sha256.Sum256([]byte(domain)) // a name may hold anything
	return filepath.Join(allowances(runDir), hex.EncodeToString(sum[:16]))
}

// GiveAllowance writes an allowance where the hook finds it. Only root may: the
// directory below runDir is root's.
func GiveAllowance(runDir string, a Allowance) error {
	dir := allowances(runDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("allow %s: %w", a.Domain, err)
	}
	body, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("allow %s: %w", a.Domain, err)
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return fmt.Errorf("allow %s: %w", a.Domain, err)
	}
	_, err = f.Write(body)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), allowanceFile(runDir, a.Domain))
	}
	if err != nil {
		_ = os.Remove(f.Name()) // what is left of the attempt
		return fmt.Errorf("allow %s: %w", a.Domain, err)
	}
	return nil
}

// FindAllowance returns the reason of an allowance for one of the names, "" when
// there is none that still holds. One that can't be read allows nothing.
func FindAllowance(runDir string, now time.Time, names ...string) string {
	for _, name := range names {
		body, err := os.ReadFile(allowanceFile(runDir, name))
		var a Allowance
		if err == nil && json.Unmarshal(body, &a) == nil && a.Domain == name && a.Reason != "" && now.Before(a.Until) {
			return a.Reason
		}
	}
	return ""
}

// UseAllowance removes the allowances for the names: they are for one start.
func UseAllowance(runDir string, names ...string) error {
	var all error
	for _, name := range names {
		if err := os.Remove(allowanceFile(runDir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			all = errors.Join(all, err)
		}
	}
	return all
}
