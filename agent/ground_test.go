package agent

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
)

func TestGroundNamesBridges(t *testing.T) {
	sys := t.TempDir()
	for _, dir := range []string{"br1/bridge", "br0/bridge", "ovs0/upper_ovs-system", "eth0/queues"} {
		must(t, os.MkdirAll(filepath.Join(sys, "class/net", dir), 0o755))
	}
	if have := strings.Join((&ground{sys: sys}).bridges(), " "); have != "br0 br1 ovs0" {
		t.Errorf("bridges %q, want br0 br1 ovs0", have)
	}
	if have := (&ground{sys: filepath.Join(sys, "none")}).bridges(); have != nil {
		t.Errorf("bridges %q without sysfs", have)
	}
}

func TestGroundKnowsLocalDisks(t *testing.T) {
	g := &ground{}
	image := filepath.Join(t.TempDir(), "g1.img")
	must(t, os.WriteFile(image, nil, 0o600))
	if !g.local(t.Context(), "file", image) {
		t.Error("an image in a local directory is local")
	}
	must(t, os.Remove(image))
	if !g.local(t.Context(), "file", image) {
		t.Error("what is known of a path stays")
	}
	if !g.local(t.Context(), "block", "/dev/vg0/web") {
		t.Error("a block device is this host's until somebody says otherwise")
	}
	if there, known := g.exists(t.Context(), image); there || !known {
		t.Errorf("exists %t, known %t for a file that is not there", there, known)
	}
	if there, known := g.exists(t.Context(), filepath.Dir(image)); !there || !known {
		t.Errorf("exists %t, known %t for a directory", there, known)
	}
}

// A file system that hangs is not waited for, and not asked again while it hangs.
func TestHungFileSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &ground{}
		thaw := make(chan struct{})
		var asked atomic.Int32
		hang := func() bool {
			asked.Add(1)
			<-thaw
			return true
		}
		began := time.Now()
		for range 3 {
			if _, done := outwait(t.Context(), g, "/nfs/x", hang); done {
				t.Error("an answer from a file system that hangs")
			}
		}
		if d := time.Since(began); d != pathWait || asked.Load() != 1 {
			t.Errorf("waited %s and asked %d times, want %s once", d, asked.Load(), pathWait)
		}
		close(thaw)
		synctest.Wait()
		if answer, done := outwait(t.Context(), g, "/nfs/x", func() bool { return true }); !answer || !done {
			t.Error("no answer after it came back")
		}
	})
}

func TestGroundAsksForTheCPUOncePerProcess(t *testing.T) {
	w := newWorld(t, "A")
	w.boot("A")
	g := &ground{}
	c := w.hosts["A"].conn()
	d, err := c.Domain(t.Context(), guest)
	must(t, err)
	if s := g.complete(t.Context(), c, d); !strings.Contains(s.CPUXML, "Nehalem") {
		t.Errorf("CPU %q", s.CPUXML)
	}
	must(t, c.Close())
	if s := g.complete(t.Context(), c, d); !strings.Contains(s.CPUXML, "Nehalem") {
		t.Errorf("CPU %q of the same process, without asking", s.CPUXML)
	}
	g.forget(map[string]int{guest: virt.Inactive})
	if s := g.complete(t.Context(), c, d); s.CPUXML != "" {
		t.Errorf("CPU %q of a process that is forgotten", s.CPUXML)
	}
}
