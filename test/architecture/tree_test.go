package architecture

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

const module = "github.com/vireo-kvm/vireo"

// A tree is a directory with a Go module in it.
type tree struct {
	root  string
	files []*source // all Go files, whatever their build tags
}

// A source is one parsed Go file.
type source struct {
	path      string // relative to the root, with slashes
	ast       *ast.File
	fset      *token.FileSet
	generated bool
	lines     int
}

func (s *source) dir() string { return slashDir(s.path) }

func (s *source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

func slashDir(path string) string { return filepath.ToSlash(filepath.Dir(path)) }

// readTree parses what git would build: no testdata, nothing hidden, no dependencies of the web page.
func readTree(t *testing.T, root string) *tree {
	t.Helper()
	found := &tree{root: root}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != root && (name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		found.files = append(found.files, &source{
			path:      filepath.ToSlash(relative),
			ast:       file,
			fset:      fset,
			generated: ast.IsGenerated(file),
			lines:     bytes.Count(text, []byte("\n")),
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found.files) == 0 {
		t.Fatalf("no Go file under %s", root)
	}
	return found
}

// repository is the tree that this package is part of.
func repository(t *testing.T) *tree {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return readTree(t, root)
}

// A rule gives the places that break it, each as "path: what is wrong".
type rule func(t *testing.T, tree *tree) []string

// holds tries the rule on the repository, where nothing may break it, and on the archive, whose comment lists, line by
// line, what breaks it there.
func holds(t *testing.T, archive string, broken rule) {
	t.Helper()
	t.Run("finds what is planted", func(t *testing.T) {
		planted, err := txtar.ParseFile(filepath.Join("testdata", archive))
		if err != nil {
			t.Fatal(err)
		}
		root := t.TempDir()
		for _, file := range planted.Files {
			path := filepath.Join(root, filepath.FromSlash(file.Name))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, file.Data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want := strings.Split(strings.TrimSpace(string(planted.Comment)), "\n")
		got := broken(t, readTree(t, root))
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("found\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
		}
	})
	t.Run("repository", func(t *testing.T) {
		for _, place := range broken(t, repository(t)) {
			t.Error(place)
		}
	})
}
