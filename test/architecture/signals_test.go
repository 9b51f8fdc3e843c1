package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// TestEverySignalIsMadeAndRead holds the catalogue to the code: the agent must
// make every signal in it, and something must read it. The list of what a state
// keeps is no reader.
func TestEverySignalIsMadeAndRead(t *testing.T) {
	const root = "../.."
	constants := signalConstants(t, filepath.Join(root, "pfa", "signal"))
	made, read := map[string]bool{}, map[string]bool{}
	for _, top := range []string{"agent", "pfa", "manager", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			rel = filepath.ToSlash(rel)
			if strings.HasPrefix(rel, "pfa/signal/") || rel == "pfa/series.go" {
				return nil
			}
			into := read
			if strings.HasPrefix(rel, "agent/") {
				into = made
			}
			for _, name := range signalUses(t, path) {
				if name == "ATAAttribute" {
					for id := range 256 {
						if s, ok := signal.ATAAttribute(id); ok {
							into[s] = true
						}
					}
				}
				into[constants[name]] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range signal.All() {
		if !made[s.Name] {
			t.Errorf("%s: nothing in agent makes it", s.Name)
		}
		if !read[s.Name] {
			t.Errorf("%s: nothing in pfa, manager or cmd reads it", s.Name)
		}
	}
}

// signalConstants maps the catalogue's constants to the names they hold.
func signalConstants(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			for i, value := range v.Values {
				if lit, ok := value.(*ast.BasicLit); ok && lit.Kind == token.STRING && i < len(v.Names) {
					if name, err := strconv.Unquote(lit.Value); err == nil && signal.Known(name) {
						out[v.Names[i].Name] = name
					}
				}
			}
			return true
		})
	}
	return out
}

// signalUses lists X of every signal.X in a file that imports the catalogue.
func signalUses(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	local := ""
	for _, i := range f.Imports {
		if i.Path.Value == `"github.com/vireo-kvm/vireo/pfa/signal"` {
			local = "signal"
			if i.Name != nil {
				local = i.Name.Name
			}
		}
	}
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && local != "" && x.Name == local {
				out = append(out, s.Sel.Name)
			}
		}
		return true
	})
	return out
}
