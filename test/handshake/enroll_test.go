package handshake

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/dial"
	"github.com/vireo-kvm/vireo/agent/wire/join"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	"github.com/vireo-kvm/vireo/manager/pki"
)

func TestEnrol(t *testing.T) {
	h := newHouse(t)
	e := h.enrolment("h1", h.token("h1"))
	generation, err := dial.Enroll(t.Context(), e)
	if err != nil || generation != 7 {
		t.Fatalf("Enroll = %d, %v", generation, err)
	}
	id, err := dial.Load(e.Dir)
	if err != nil || id.Host != "h1" {
		t.Fatalf("Load = %q, %v", id.Host, err)
	}
	peer, _, err := pki.Identify(id.Certificate.Leaf)
	if err != nil || peer.Host != "h1" {
		t.Errorf("the certificate is %v's, %v", peer, err)
	}
	info, err := os.Stat(filepath.Join(e.Dir, "agent.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("agent.pem: %v, %v", info, err)
	}
	if entries, err := os.ReadDir(e.Dir); err != nil || len(entries) != 2 {
		t.Errorf("leftovers: %v, %v", entries, err)
	}
}

func TestTokenWorksOnce(t *testing.T) {
	h := newHouse(t)
	e := h.enrolment("h1", h.token("h1"))
	if _, err := dial.Enroll(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(e.Dir, "agent.pem"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = dial.Enroll(t.Context(), e)
	if refusal, ok := apierr.FromConnect(err); !ok || refusal.Kind != apierr.Permission || apierr.ExitCode(err) != apierr.ExitRefused {
		t.Errorf("the second time: %v", err)
	}
	after, err := os.ReadFile(filepath.Join(e.Dir, "agent.pem"))
	if err != nil || string(after) != string(before) {
		t.Errorf("a refused enrolment touched the identity, %v", err)
	}
}

func TestTokenOfAnotherHost(t *testing.T) {
	h := newHouse(t)
	_, err := dial.Enroll(t.Context(), h.enrolment("h2", h.token("h1")))
	if apierr.ExitCode(err) != apierr.ExitRefused {
		t.Errorf("h2 with h1's token: %v", err)
	}
}

func TestStrangersLearnNothing(t *testing.T) {
	h := newHouse(t)
	good := h.token("h1")
	parsed, err := join.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	parsed.CA = sha256.Sum256([]byte("another CA"))
	_, err = dial.Enroll(t.Context(), h.enrolment("h1", parsed.Text()))
	if !errors.Is(err, dial.ErrStranger) {
		t.Errorf("another CA: %v", err)
	}
	if h.enrolls != 0 {
		t.Error("the token was sent to a manager that is not its own")
	}
	if _, err := dial.Enroll(t.Context(), h.enrolment("h1", good)); err != nil {
		t.Errorf("the token is spoilt: %v", err)
	}
}

func TestEnrolChecksTheManagersName(t *testing.T) {
	h := newHouse(t)
	e := h.enrolment("h1", h.token("h1"))
	e.Manager = strings.Replace(e.Manager, "127.0.0.1", "localhost", 1) // the certificate is for 127.0.0.1
	if _, err := dial.Enroll(t.Context(), e); err == nil || !strings.Contains(err.Error(), "localhost") {
		t.Errorf("under a name that the certificate has not: %v", err)
	}
	if h.enrolls != 0 {
		t.Error("the token was sent")
	}
}

func TestEnrolSpendsNoTokenForNothing(t *testing.T) {
	h := newHouse(t)
	other, err := pki.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(e *dial.Enrolment){
		"directory cannot be made": func(e *dial.Enrolment) {
			file := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			e.Dir = filepath.Join(file, "pki")
		},
		"directory of another manager": func(e *dial.Enrolment) {
			e.Dir = t.TempDir()
			for file, data := range map[string][]byte{pki.CAKeyFile: nil, pki.CACertFile: other.CertPEM()} {
				if err := os.WriteFile(filepath.Join(e.Dir, file), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		},
		"no token":    func(e *dial.Enrolment) { e.Token = "hello" },
		"no URL":      func(e *dial.Enrolment) { e.Manager = "manager:7443" },
		"plain http":  func(e *dial.Enrolment) { e.Manager = "http://127.0.0.1:1" },
		"nobody home": func(e *dial.Enrolment) { e.Manager = "https://127.0.0.1:1" },
	} {
		t.Run(name, func(t *testing.T) {
			e := h.enrolment("h1", h.token("h1"))
			spoil(&e)
			_, err := dial.Enroll(t.Context(), e)
			if err == nil || errors.Is(err, dial.ErrUnreachable) != (name == "nobody home") {
				t.Errorf("Enroll = %v", err)
			}
			if h.enrolls != 0 {
				t.Error("the manager was asked")
			}
		})
	}
	// Beside the manager itself the CA's file is shared.
	e := h.enrolment("h1", h.token("h1"))
	e.Dir = t.TempDir()
	for file, data := range map[string][]byte{pki.CAKeyFile: nil, pki.CACertFile: h.ca.CertPEM()} {
		if err := os.WriteFile(filepath.Join(e.Dir, file), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := dial.Enroll(t.Context(), e); err != nil {
		t.Errorf("beside the manager: %v", err)
	}
}

func TestLoadWithoutEnrolment(t *testing.T) {
	if _, err := dial.Load(t.TempDir()); !errors.Is(err, dial.ErrNotEnrolled) {
		t.Errorf("Load = %v", err)
	}
}
