package architecture

import (
	"fmt"
	"go/ast"
	"go/types"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// Three kinds of effect enter vireo through constructors, so that a simulator can stand in for them.
const (
	clock   = "the clock"
	network = "the network"
	process = "processes"
)

// An effect names functions, methods and variables of the standard library, as go/types writes them. A name that ends
// in * means all that begin so.
var effectful = []struct {
	kind  string
	names []string
}{
	{clock, []string{
		"time.Now", "time.Since", "time.Until", "time.Sleep", "time.After", "time.AfterFunc", "time.Tick", "time.NewTimer",
		"time.NewTicker", "context.WithTimeout*", "context.WithDeadline*",
	}},
	{network, []string{
		"net.Dial*", "(*net.Dialer).*", "net.Listen*", "(*net.ListenConfig).*", "net.Lookup*", "(*net.Resolver).*",
		"net.DefaultResolver", "net.FileConn", "net.FileListener", "net.Interfaces", "net.InterfaceAddrs",
		"crypto/tls.Dial*", "(*crypto/tls.Dialer).*", "crypto/tls.Listen",
		"net/http.Get", "net/http.Head", "net/http.Post*", "net/http.DefaultClient", "net/http.DefaultTransport",
		"net/http.ListenAndServe*", "(*net/http.Server).ListenAndServe*",
	}},
	{process, []string{
		"os/exec.*", "(*os/exec.Cmd).*", "os.StartProcess", "os.FindProcess", "(*os.Process).*", "syscall.ForkExec",
		"syscall.StartProcess", "syscall.Exec", "syscall.Kill", "golang.org/x/sys/unix.Kill", "golang.org/x/sys/unix.Exec",
	}},
}

// An adapter is where an effect may enter, besides cmd and the harness under test: a package, or one file of it.
type adapter struct {
	path string // of the package or file
	kind string
	why  string
}

var adapters = []adapter{
	{"agent/hands.go", clock, "a barrier, a peer and virsh have deadlines of their own"},
	{"agent/ground.go", clock, "a file system that does not answer is not waited for"},
	{"agent/virt/libvirtd", clock, "libvirt can't cancel a call: each one has a timeout"},
	{"agent/dial/session.go", network, "it dials the manager"},
	{"agent/run/run.go", process, "it starts smartctl and virsh, and kills them"},
	{"agent/run/run.go", clock, "their deadlines"},
	{"store/etcd", clock, "requests to etcd have deadlines, and a lease is time"},
	{"manager/serve/server.go", clock, "a stop waits for requests so long and no longer"},
}

func TestEffectsEnterAtTheEdge(t *testing.T) {
	holds(t, "effects.txtar", func(t *testing.T, tree *tree) []string {
		broken, _ := brokenEffects(t, tree.root, adapters)
		return broken
	})
}

// An adapter that has no such effect is an open door: it has to go.
func TestAdaptersAreUsed(t *testing.T) {
	_, used := brokenEffects(t, repository(t).root, adapters)
	for i, a := range adapters {
		if a.why == "" {
			t.Errorf("%s may use %s, and nobody says why", a.path, a.kind)
		}
		if !used[i] {
			t.Errorf("%s does not use %s: take it off the list of adapters", a.path, a.kind)
		}
	}
}

// brokenEffects finds uses of effects outside the adapters, and says which adapters have any. It looks at what a name
// means, not at how it is written: a renamed import or a function kept as a value is found as well. Test files are free.
func brokenEffects(t *testing.T, root string, allowed []adapter) (broken []string, used map[int]bool) {
	t.Helper()
	loaded, err := packages.Load(&packages.Config{
		Dir: root,
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports |
			packages.NeedTypes | packages.NeedTypesInfo | packages.NeedSyntax,
		BuildFlags: []string{"-trimpath"}, // as make build: then all that it imports is compiled already
	}, "./...")
	if err != nil {
		t.Fatal(err)
	}
	used = map[int]bool{}
	for _, pkg := range loaded {
		for _, err := range pkg.Errors {
			t.Errorf("%s: %v", pkg.PkgPath, err)
		}
		dir := strings.TrimPrefix(strings.TrimPrefix(pkg.PkgPath, module), "/")
		if within(dir, "cmd") || within(dir, "test") {
			continue
		}
		for _, file := range pkg.Syntax {
			path, err := filepath.Rel(root, pkg.Fset.Position(file.Package).Filename)
			if err != nil || strings.HasPrefix(path, "..") {
				continue // what cgo wrote, in its cache
			}
			path = filepath.ToSlash(path)
			ast.Inspect(file, func(node ast.Node) bool {
				name, ok := node.(*ast.Ident)
				if !ok {
					return true
				}
				what := qualified(pkg.TypesInfo.Uses[name])
				kind := effectOf(what)
				if kind == "" {
					return true
				}
				door := slices.IndexFunc(allowed, func(a adapter) bool {
					return a.kind == kind && (a.path == path || within(dir, a.path))
				})
				if door >= 0 {
					used[door] = true
					return true
				}
				broken = append(broken, fmt.Sprintf("%s:%d: %s: %s outside the adapters",
					path, pkg.Fset.Position(name.Pos()).Line, what, kind))
				return true
			})
		}
	}
	return broken, used
}

// qualified gives "time.Now" for a function or variable of a package, "(*net.Dialer).Dial" for a method, else "".
func qualified(object types.Object) string {
	switch o := object.(type) {
	case *types.Func:
		return o.FullName()
	case *types.Var:
		if o.Pkg() != nil && !o.IsField() && o.Parent() == o.Pkg().Scope() {
			return o.Pkg().Path() + "." + o.Name()
		}
	}
	return ""
}

func effectOf(name string) string {
	if name == "" {
		return ""
	}
	for _, effect := range effectful {
		for _, pattern := range effect.names {
			prefix, open := strings.CutSuffix(pattern, "*")
			if name == pattern || (open && strings.HasPrefix(name, prefix)) {
				return effect.kind
			}
		}
	}
	return ""
}
