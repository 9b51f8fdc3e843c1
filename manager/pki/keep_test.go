package pki

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const day = 24 * time.Hour

// kept is an initialised directory and its keeper.
func kept(t *testing.T) (string, *CA, *Keeper) {
	t.Helper()
	dir := t.TempDir()
	if _, err := Init(dir, []string{"m.example", "10.0.0.1"}, "root", now); err != nil {
		t.Fatal(err)
	}
	ca, own, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, ca, Keep(dir, ca, own)
}

// good says whether agents that know the CA would speak to the bearer at a time.
func good(ca *CA, own tls.Certificate, at time.Time, name string) error {
	_, err := own.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), CurrentTime: at, DNSName: name})
	return err
}

func TestKeeperRenewsInTime(t *testing.T) {
	dir, ca, k := kept(t)
	first := k.Own()
	early := first.Leaf.NotAfter.Add(-renewBefore)
	if change, err := k.Refresh(early); change != Unchanged || err != nil {
		t.Fatalf("a year before its end: %s, %v", change, err)
	}
	late := early.Add(time.Minute)
	if change, err := k.Refresh(late); change != Renewed || err != nil {
		t.Fatalf("within the last year: %q, %v", change, err)
	}
	next := k.Own()
	for _, name := range []string{"m.example", "10.0.0.1"} {
		if err := good(ca, next, first.Leaf.NotAfter.Add(day), name); err != nil {
			t.Errorf("after the first one's end, as %s: %v", name, err)
		}
	}
	if _, saved, err := Load(dir); err != nil || !saved.Leaf.Equal(next.Leaf) {
		t.Errorf("the next manager does not find it: %v", err)
	}
	if change, err := k.Refresh(late.Add(time.Minute)); change != Unchanged || err != nil {
		t.Errorf("a minute later: %q, %v", change, err)
	}
}

// TestKeeperWithoutADisk: where the directory can't be written, as under systemd,
// the new certificate is used all the same.
func TestKeeperWithoutADisk(t *testing.T) {
	dir, ca, k := kept(t)
	first := k.Own()
	late := first.Leaf.NotAfter.Add(-day)
	away := dir + ".away"
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	change, err := k.Refresh(late)
	if change != Renewed || err == nil {
		t.Fatalf("%q, %v, want renewed and an error", change, err)
	}
	if err := good(ca, k.Own(), first.Leaf.NotAfter.Add(day), "m.example"); err != nil {
		t.Error(err)
	}
	if err := os.Rename(away, dir); err != nil {
		t.Fatal(err)
	}
	if change, err := k.Refresh(late.Add(time.Minute)); change != Unchanged || err != nil {
		t.Errorf("the older file counts for a change: %q, %v", change, err)
	}
}

// TestKeeperEndsWithItsCA: what can't last longer is not made anew for ever.
func TestKeeperEndsWithItsCA(t *testing.T) {
	_, ca, k := kept(t)
	for at := now; at.Before(ca.NotAfter().Add(-day)); at = at.Add(100 * day) {
		if _, err := k.Refresh(at); err != nil {
			t.Fatal(err)
		}
		if err := good(ca, k.Own(), at, "m.example"); err != nil {
			t.Fatalf("%s: %v", at, err)
		}
	}
	last := k.Own()
	if !last.Leaf.NotAfter.Equal(ca.NotAfter()) {
		t.Errorf("the last one ends on %s, the CA on %s", last.Leaf.NotAfter, ca.NotAfter())
	}
	if change, err := k.Refresh(ca.NotAfter().Add(-time.Hour)); change != Unchanged || err != nil {
		t.Errorf("just before the CA's end: %q, %v", change, err)
	}
	if _, err := ca.RenewManager(last, nil, ca.NotAfter().Add(day)); err == nil || !strings.Contains(err.Error(), "the CA has ended on 2046-") {
		t.Errorf("after the CA's end: %v", err)
	}
}

// TestKeeperTakesWhatIsWritten: vireo-manager renew, while the manager runs.
func TestKeeperTakesWhatIsWritten(t *testing.T) {
	dir, ca, k := kept(t)
	first := k.Own()
	path := filepath.Join(dir, ManagerCertFile)
	write := func(text []byte) {
		t.Helper()
		if err := WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string][]byte{"no certificate": []byte("nonsense"), "another CA's": func() []byte {
		issued, err := newCA(t).RenewManager(first, nil, now)
		if err != nil {
			t.Fatal(err)
		}
		return issued.Certificate
	}()} {
		write(text)
		if change, err := k.Refresh(now); change != Unchanged || err == nil || !strings.Contains(err.Error(), path+" was changed and is not taken") {
			t.Errorf("%s: %q, %v", name, change, err)
		}
		if change, err := k.Refresh(now); change != Unchanged || err != nil {
			t.Errorf("%s, again: %q, %v", name, change, err)
		}
		if !k.Own().Leaf.Equal(first.Leaf) {
			t.Fatalf("%s is in use", name)
		}
	}
	issued, err := ca.RenewManager(first, []string{"m.example", "vireo.example"}, now.Add(day))
	if err != nil {
		t.Fatal(err)
	}
	write(issued.Certificate)
	if change, err := k.Refresh(now.Add(day)); change != Replaced || err != nil {
		t.Fatalf("%q, %v", change, err)
	}
	if got := Names(k.Own().Leaf); !slices.Equal(got, []string{"m.example", "vireo.example", "10.0.0.1"}) {
		t.Errorf("names %v", got)
	}
	if err := good(ca, k.Own(), now.Add(day), "vireo.example"); err != nil {
		t.Error(err)
	}
}
