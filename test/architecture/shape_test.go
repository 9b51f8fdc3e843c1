package architecture

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// Only these stand at the top of the tree, besides folders that begin with a dot and what .gitignore names.
var topLevel = map[string]bool{
	"cmd": true, "agent": true, "manager": true, "pfa": true, "migration": true, "store": true, "configs": true,
	"systemd": true, "test": true,
	"Makefile": true, "go.mod": true, "go.sum": true, "README.md": true, "LICENSE": true, ".gitignore": true,
}

func TestTopLevel(t *testing.T) { holds(t, "toplevel.txtar", brokenTopLevel) }

func brokenTopLevel(t *testing.T, tree *tree) []string {
	entries, err := os.ReadDir(tree.root)
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := os.ReadFile(filepath.Join(tree.root, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	var broken []string
	for _, entry := range entries {
		name := entry.Name()
		if topLevel[name] || (strings.HasPrefix(name, ".") && entry.IsDir()) || name == ".git" || matchesAny(name, string(ignored)) {
			continue
		}
		broken = append(broken, name+": not among the entries that the tree may have at its top")
	}
	return broken
}

// matchesAny knows as much of .gitignore's patterns as ours needs: names with wildcards, at the top.
func matchesAny(name, patterns string) bool {
	for pattern := range strings.FieldsSeq(patterns) {
		if ok, err := path.Match(strings.Trim(pattern, "/"), name); ok && err == nil {
			return true
		}
	}
	return false
}

func TestPackagesSayWhatTheyAre(t *testing.T) { holds(t, "doc.txtar", brokenDocs) }

// brokenDocs finds packages without a comment in doc.go. A package whose code is all generated needs none.
func brokenDocs(_ *testing.T, tree *tree) []string {
	written := map[string]bool{}
	documented := map[string]string{}
	for _, file := range tree.files {
		if !file.generated {
			written[file.dir()] = true
		}
		if path.Base(file.path) == "doc.go" {
			documented[file.dir()] = file.ast.Doc.Text()
			name := "Package " + file.ast.Name.Name + " "
			if file.ast.Name.Name == "main" {
				name = "Command " + path.Base(file.dir()) + " "
			}
			if !strings.HasPrefix(documented[file.dir()], name) {
				documented[file.dir()] = ""
			}
		}
	}
	var broken []string
	for dir := range written {
		if documented[dir] == "" {
			broken = append(broken, dir+`: no doc.go with a comment that begins with "Package NAME" (or, of a program, "Command NAME")`)
		}
	}
	return broken
}

const (
	maxLines  = 600
	maxFields = 20
)

// Structs that are wider with a reason: flat records of somebody else's shape.
var wide = map[string]string{
	"agent/virt.Job":       "one field for each statistic of libvirt's virDomainGetJobStats",
	"migration.Row":        "one field for each column of the migrations table",
	"store/etcd.storedRow": "migration.Row as it is stored",
}

func TestSizes(t *testing.T) { holds(t, "sizes.txtar", brokenSizes) }

// brokenSizes finds what asks to be two things: long files, and structs with many fields. A test's stand-in may have as
// many switches as the tests need.
func brokenSizes(_ *testing.T, tree *tree) []string {
	var broken []string
	for _, file := range tree.files {
		if file.generated {
			continue
		}
		if file.lines > maxLines {
			broken = append(broken, fmt.Sprintf("%s: %d lines, more than %d", file.path, file.lines, maxLines))
		}
		if file.isTest() {
			continue
		}
		ast.Inspect(file.ast, func(node ast.Node) bool {
			spec, ok := node.(*ast.TypeSpec)
			if !ok {
				return true
			}
			structure, ok := spec.Type.(*ast.StructType)
			if ok && structure.Fields.NumFields() > maxFields && wide[file.dir()+"."+spec.Name.Name] == "" {
				broken = append(broken, fmt.Sprintf("%s: struct %s has %d fields, more than %d",
					file.path, spec.Name.Name, structure.Fields.NumFields(), maxFields))
			}
			return true
		})
	}
	return broken
}

// A struct that is no longer wide needs no reason any more.
func TestWideStructsAreWide(t *testing.T) {
	found := map[string]bool{}
	for _, file := range repository(t).files {
		ast.Inspect(file.ast, func(node ast.Node) bool {
			if spec, ok := node.(*ast.TypeSpec); ok {
				if structure, ok := spec.Type.(*ast.StructType); ok && structure.Fields.NumFields() > maxFields {
					found[file.dir()+"."+spec.Name.Name] = true
				}
			}
			return true
		})
	}
	for name := range wide {
		if !found[name] {
			t.Errorf("%s has no more than %d fields: take it off the list", name, maxFields)
		}
	}
}
