package agent

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// pathWait is how long a file system may take to answer about a path.
const pathWait = 200 * time.Millisecond

// ground reads what a host is to its guests: from libvirt, the kernel's bridges
// and the file systems under the disks. It is called from many goroutines.
type ground struct {
	sys    string // root of sysfs
	memory Memory

	mu   sync.Mutex // guards all below
	cpus map[string]cpuOf
	disk map[string]bool // path → local
	busy map[string]bool // paths somebody is asking about; a hung file system keeps them
}

type cpuOf struct {
	id  int // libvirt's, of the process
	xml string
}

func (g *ground) facts(ctx context.Context, c virt.Conn) (Facts, error) {
	info, err := c.Host(ctx)
	if err != nil {
		return Facts{}, err
	}
	networks, err := c.Networks(ctx)
	if err != nil {
		return Facts{}, err
	}
	f := Facts{HostInfo: info, Networks: networks, Bridges: g.bridges()}
	if g.memory != nil {
		if f.MemoryAvailableKiB, err = g.memory(); err != nil {
			return Facts{}, err
		}
	}
	return f, nil
}

// bridges lists the kernel's bridges and Open vSwitch's, sorted; none when sysfs can't be read.
func (g *ground) bridges() []string {
	var names []string
	for _, mark := range []string{"bridge", "upper_ovs-system"} {
		found, _ := filepath.Glob(filepath.Join(g.sys, "class/net/*", mark)) // the pattern is well-formed
		for _, p := range found {
			names = append(names, filepath.Base(filepath.Dir(p)))
		}
	}
	slices.Sort(names)
	return names
}

// complete adds to a domain what libvirt does not say of it.
func (g *ground) complete(ctx context.Context, c virt.Conn, d virt.Domain) Seen {
	s := Seen{Domain: d}
	if d.Present() {
		s.CPUXML = g.cpu(ctx, c, d)
	}
	for _, x := range d.Disks {
		if (x.Type == "file" || x.Type == "block" || x.Type == "dir") && !x.Empty() && g.local(ctx, x.Type, x.Source) {
			s.Local = append(s.Local, x.Target)
		}
	}
	return s
}

// cpu is the cpu element that another host would get. It stays the same for as
// long as the process lives.
func (g *ground) cpu(ctx context.Context, c virt.Conn, d virt.Domain) string {
	g.mu.Lock()
	known, is := g.cpus[d.UUID]
	g.mu.Unlock()
	if is && known.id == d.ID {
		return known.xml
	}
	doc, err := c.XML(ctx, d.UUID, virt.XMLFlags{Migratable: true})
	if err != nil {
		return "" // the next look asks again
	}
	cpu, err := virt.CPUElement(doc)
	if err != nil {
		return ""
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cpus == nil {
		g.cpus = map[string]cpuOf{}
	}
	g.cpus[d.UUID] = cpuOf{id: d.ID, xml: cpu}
	return cpu
}

// forget drops what is known of domains that are not among those with a process.
func (g *ground) forget(ids map[string]int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for uuid, known := range g.cpus {
		if id, is := ids[uuid]; !is || id != known.id {
			delete(g.cpus, uuid)
		}
	}
}

// survey asks everything that decides whether a domain can arrive.
func (g *ground) survey(ctx context.Context, c virt.Conn, q Question) (Ground, error) {
	facts, err := g.facts(ctx, c)
	if err != nil {
		return Ground{}, err
	}
	out := Ground{Facts: facts}
	switch d, err := c.Domain(ctx, q.UUID); {
	case err == nil:
		out.Domain = &d
	case !virt.IsNoDomain(err):
		return Ground{}, err
	}
	if out.NameOwner, err = c.Find(ctx, q.Name); err != nil && !virt.IsNoDomain(err) {
		return Ground{}, err
	}
	for _, b := range q.Bridges {
		is, err := c.HasBridge(ctx, b)
		if err != nil {
			return Ground{}, err
		}
		if !is {
			out.NoBridge = append(out.NoBridge, b)
		}
	}
	for _, p := range q.Paths {
		if there, known := g.exists(ctx, p); known && !there {
			out.NoPath = append(out.NoPath, p)
		}
	}
	if q.CPUXML != "" {
		ok, reason, err := c.CompareCPU(ctx, "<domain>"+q.CPUXML+"</domain>")
		if err != nil {
			return Ground{}, err
		}
		if !ok {
			out.CPUProblem = reason
		}
	}
	return out, nil
}

// Magic numbers of file systems that other hosts can have as well, see
// statfs(2). FUSE stands for the many cluster file systems behind it.
var sharedFileSystems = map[int64]bool{
	0x6969: true, 0xff534d42: true, 0xfe534d42: true, 0x517b: true, 0xc36400: true, 0x01161970: true,
	0x7461636f: true, 0x65735546: true, 0x0bd00bd0: true, 0x01021997: true, 0x5346414f: true, 0x47504653: true,
}

// local says whether a disk is of this host alone: nobody else can be expected
// to find the same image behind that path. A path that does not answer counts
// as somebody else's; a block device as this host's.
func (g *ground) local(ctx context.Context, kind, path string) bool {
	if kind == "block" {
		return true
	}
	g.mu.Lock()
	known, is := g.disk[path]
	g.mu.Unlock()
	if is {
		return known
	}
	answer, done := outwait(ctx, g, path, func() bool {
		var fs syscall.Statfs_t
		return syscall.Statfs(path, &fs) != nil || !sharedFileSystems[int64(uint32(fs.Type))]
	})
	if !done {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.disk == nil {
		g.disk = map[string]bool{}
	}
	g.disk[path] = answer
	return answer
}

// exists says whether a path is there; known is false when that can't be told.
func (g *ground) exists(ctx context.Context, path string) (there, known bool) {
	var failed error
	there, done := outwait(ctx, g, "stat "+path, func() bool {
		_, failed = os.Stat(path)
		return failed == nil
	})
	return there, done && (there || os.IsNotExist(failed))
}

// outwait asks the kernel about a path without trusting that it answers: a file
// system may hang. At most one question about a path is ever under way.
func outwait(ctx context.Context, g *ground, key string, question func() bool) (answer, done bool) {
	g.mu.Lock()
	if g.busy[key] {
		g.mu.Unlock()
		return false, false
	}
	if g.busy == nil {
		g.busy = map[string]bool{}
	}
	g.busy[key] = true
	g.mu.Unlock()
	result := make(chan bool, 1)
	go func() {
		result <- question()
		g.mu.Lock()
		delete(g.busy, key)
		g.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(ctx, pathWait)
	defer cancel()
	select {
	case answer = <-result:
		return answer, true
	case <-ctx.Done():
		return false, false
	}
}
