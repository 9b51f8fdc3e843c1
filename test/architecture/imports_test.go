package architecture

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// A row of the table says what the packages under a path may import, besides each other and the standard library. The
// row with the longest path that fits is a package's row.
type row struct {
	path     string   // of the package, relative to the module; its subpackages are meant too
	all      bool     // everything may be imported
	internal []string // packages of the module, with their subpackages
	external []string // modules, with their packages
	not      []string // packages of the standard library that are none of its business, with their subpackages
}

// What decides is pure: it reads no file, calls nobody, starts nothing.
var effects = []string{"net", "os", "os/exec", "syscall", "database/sql", "unsafe", "C"}

const (
	connect   = "connectrpc.com/connect"
	protobuf  = "google.golang.org/protobuf"
	procfs    = "github.com/prometheus/procfs"
	client    = "github.com/prometheus/client_golang"
	sqlite    = "github.com/mattn/go-sqlite3"
	etcd      = "go.etcd.io/etcd"
	grpc      = "google.golang.org/grpc" // how etcd is called
	zap       = "go.uber.org/zap"        // etcd's client logs with it: nothing
	btree     = "github.com/google/btree"
	tomlFiles = "github.com/BurntSushi/toml"
	libvirt   = "libvirt.org/go/libvirt"
	domainXML = "libvirt.org/go/libvirtxml"
	sketches  = "github.com/DataDog/sketches-go"
	unix      = "golang.org/x/sys"
	crypto    = "golang.org/x/crypto"
)

var table = []row{
	{path: "cmd", all: true},
	{path: "agent",
		internal: []string{"agent/wire", "agent/virt", "migration", "configs", "pfa/signal"},
		external: []string{connect, protobuf, procfs, unix},
		not:      []string{"database/sql"}},
	{path: "agent/wire", external: []string{protobuf, connect}},
	{path: "agent/virt", internal: []string{"migration"}, external: []string{domainXML}, not: []string{"C"}},
	{path: "agent/virt/libvirtd", internal: []string{"agent/virt", "migration"}, external: []string{libvirt, domainXML, unix}},
	{path: "agent/virt/virttest", internal: []string{"agent/virt", "migration"}, external: []string{domainXML}, not: []string{"C"}},
	{path: "manager",
		internal: []string{"agent/wire", "manager/api", "store", "pfa", "pfa/signal", "migration", "configs"},
		external: []string{connect, protobuf, client, unix},
		not:      []string{"database/sql", "os/exec", "C"}},
	{path: "manager/api", external: []string{protobuf, connect}},
	{path: "pfa/signal", not: effects},
	{path: "pfa", internal: []string{"pfa/signal"}, external: []string{sketches}, not: []string{"net", "os/exec", "database/sql", "C"}},
	{path: "migration", not: effects},
	{path: "store", internal: []string{"pfa", "pfa/signal", "migration"}, external: []string{sqlite, etcd, grpc, zap, btree, unix}, not: []string{"os/exec", "C"}},
	{path: "configs", external: []string{tomlFiles}},
	{path: "test", all: true},
}

// What tests may import on top of their package's row.
var forTests = []string{
	module + "/test", module + "/agent/virt/virttest", module + "/agent/virt/libvirtd", module + "/pfa/pfatest",
	"go.uber.org/goleak", "golang.org/x/tools", "pgregory.net/rapid",
}

// Packages that only these import, tests apart: the lab and the fakes stay out of what operators run, libvirt stays in
// the agent.
var reserved = map[string][]string{
	"test":                {"cmd/vireo-lab", "test"},
	"agent/virt/virttest": {"test"},
	"pfa/pfatest":         {"test"},
	"agent/virt/libvirtd": {"cmd/vireo-agent", "test"},
	libvirt:               {"agent/virt/libvirtd"},
}

func TestImports(t *testing.T) { holds(t, "imports.txtar", brokenImports) }

func brokenImports(_ *testing.T, tree *tree) []string {
	var broken []string
	for _, file := range tree.files {
		own := rowOf(file.dir())
		if own == nil {
			broken = append(broken, fmt.Sprintf("%s: the table has no row for its package", file.path))
			continue
		}
		for _, spec := range file.ast.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				broken = append(broken, fmt.Sprintf("%s: %v", file.path, err))
				continue
			}
			if reason := own.refuses(path, file); reason != "" {
				broken = append(broken, fmt.Sprintf("%s: %s imports %s: %s", file.path, own.path, shown(path), reason))
			}
		}
	}
	return broken
}

// refuses says why the row's file may not import the path, or "".
func (r *row) refuses(path string, file *source) string {
	if file.isTest() && withinAny(path, forTests) {
		return ""
	}
	for target, users := range reserved {
		if !within(path, target) && !within(path, module+"/"+target) {
			continue
		}
		if !file.isTest() && !withinAny(file.dir(), users) {
			return "only for " + strings.Join(users, ", ") + " and tests"
		}
	}
	if r.all {
		return ""
	}
	if local, ok := strings.CutPrefix(path, module+"/"); ok {
		target := rowOf(local)
		if target == nil || (target.path != r.path && !contains(r.internal, target.path)) {
			return "not in its row"
		}
		return ""
	}
	if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") {
		if !withinAny(path, r.external) {
			return "not in its row"
		}
		return ""
	}
	if !file.isTest() && withinAny(path, r.not) {
		return "has no business there"
	}
	return ""
}

func contains(list []string, item string) bool {
	for _, one := range list {
		if one == item {
			return true
		}
	}
	return false
}

func rowOf(dir string) *row {
	var best *row
	for i := range table {
		if within(dir, table[i].path) && (best == nil || len(table[i].path) > len(best.path)) {
			best = &table[i]
		}
	}
	return best
}

func within(path, parent string) bool { return path == parent || strings.HasPrefix(path, parent+"/") }

func withinAny(path string, parents []string) bool {
	for _, parent := range parents {
		if within(path, parent) {
			return true
		}
	}
	return false
}

func shown(path string) string { return strings.TrimPrefix(path, module+"/") }
