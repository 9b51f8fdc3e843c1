package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/procfs"

	"github.com/vireo-kvm/vireo/agent"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// DomainDisk is a local file or block device that a domain has as a disk.
type DomainDisk struct {
	Domain string // UUID
	Path   string
}

// Dependencies finds out what needs which drive and which network card.
type Dependencies struct {
	Proc, Sys, Dev string // roots
	Mounts         string // the mount table
	Drives         *Drives
	// Domains lists the domains' local disks; nil when there is no libvirt to ask.
	Domains func(ctx context.Context) ([]DomainDisk, error)
}

// Name is "dependencies".
func (*Dependencies) Name() string { return "dependencies" }

// Collect finds all of it, or fails: half of the dependencies would look like
// drives that nothing needs.
func (d *Dependencies) Collect(ctx context.Context, _ time.Time) (agent.Collected, error) {
	mounts, err := readMounts(d.Mounts)
	if err != nil {
		return agent.Collected{}, fmt.Errorf("mount table: %w", err)
	}
	f := finder{mounts: mounts, drives: d.Drives, found: []*agentv1.Dependency{}}
	f.blocks = blocks{sys: d.Sys, dev: d.Dev, of: f.below}
	f.mounted()
	if err := f.swap(d.Proc); err != nil {
		return agent.Collected{}, err
	}
	if d.Domains != nil {
		disks, err := d.Domains(ctx)
		if err != nil {
			return agent.Collected{}, fmt.Errorf("domains' disks: %w", err)
		}
		for _, disk := range disks {
			f.need(f.below(disk.Path, 0), agentv1.DependencyKind_DEPENDENCY_KIND_DOMAIN, disk.Domain)
		}
	}
	f.bridges(d.Sys)
	return agent.Collected{Dependencies: f.list()}, nil
}

// finder gathers dependencies.
type finder struct {
	mounts []mount
	blocks blocks
	drives *Drives
	found  []*agentv1.Dependency
}

// mounted: the root file system, and every other one on a drive, once.
func (f *finder) mounted() {
	for _, m := range f.mounts {
		switch {
		case m.point == "/":
			f.need(f.under(m, 0), agentv1.DependencyKind_DEPENDENCY_KIND_ROOT, "/")
		case m.root == "/" || m.fstype == "btrfs": // else a bind mount of a part
			f.need(f.under(m, 0), agentv1.DependencyKind_DEPENDENCY_KIND_MOUNT, m.point)
		}
	}
}

// under gives the drives below a mounted file system. Some, such as btrfs, have
// a device number of their own and name a device as their source.
func (f *finder) under(m mount, depth int) []string {
	name := f.blocks.byNumber(m.number)
	if name == "" {
		name = f.blocks.byPath(m.source)
	}
	if name == "" {
		return nil
	}
	return f.blocks.drives(name, depth)
}

// below gives the drives below a path: a device, or a file on a file system.
func (f *finder) below(path string, depth int) []string {
	if name := f.blocks.byPath(path); name != "" {
		return f.blocks.drives(name, depth)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // an image directory is often a link to another file system
	}
	if m, ok := holding(f.mounts, path); ok {
		return f.under(m, depth)
	}
	return nil
}

func (f *finder) swap(proc string) error {
	root, err := procfs.NewFS(proc)
	if err != nil {
		return err
	}
	swaps, err := root.Swaps()
	if err = absentIfMissing(err); err != nil && !errors.Is(err, ErrAbsent) {
		return fmt.Errorf("swaps: %w", err)
	}
	for _, s := range swaps {
		f.need(f.below(s.Filename, 0), agentv1.DependencyKind_DEPENDENCY_KIND_SWAP, s.Filename)
	}
	return nil
}

// bridges: each bridge needs the physical cards below its ports, through bonds
// and VLANs.
func (f *finder) bridges(sys string) {
	for _, name := range names(sys, "class/net") {
		if !exists(sys, "class/net", name, "bridge") {
			continue
		}
		for _, card := range cards(sys, name, 0) {
			f.found = append(f.found, &agentv1.Dependency{
				Component: nicComponent(card), Kind: agentv1.DependencyKind_DEPENDENCY_KIND_BRIDGE, Name: name,
			})
		}
	}
}

// cards are the physical interfaces below an interface.
func cards(sys, name string, depth int) []string {
	if depth > maxDepth {
		return nil
	}
	if exists(sys, "class/net", name, "device") {
		return []string{name}
	}
	var list []string
	for _, entry := range names(sys, "class/net", name) {
		if lower, ok := strings.CutPrefix(entry, "lower_"); ok {
			list = append(list, cards(sys, lower, depth+1)...)
		}
	}
	return list
}

func (f *finder) need(drives []string, kind agentv1.DependencyKind, name string) {
	for _, d := range drives {
		f.found = append(f.found, &agentv1.Dependency{Component: f.drives.Component(d), Kind: kind, Name: name})
	}
}

// list sorts what was found and drops what was found twice.
func (f *finder) list() []*agentv1.Dependency {
	order := func(a, b *agentv1.Dependency) int {
		return cmp.Or(cmp.Compare(a.GetComponent(), b.GetComponent()), cmp.Compare(a.GetKind(), b.GetKind()), cmp.Compare(a.GetName(), b.GetName()))
	}
	slices.SortFunc(f.found, order)
	return slices.CompactFunc(f.found, func(a, b *agentv1.Dependency) bool { return order(a, b) == 0 })
}
