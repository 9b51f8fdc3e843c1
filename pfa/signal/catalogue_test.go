package signal

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	nameForm = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	kinds    = map[Kind]bool{Counter: true, Gauge: true, Verdict: true, Event: true}
	units    = map[string]bool{None: true, Count: true, Seconds: true, Hours: true, Bytes: true, Ratio: true,
		Percent: true, Celsius: true, PerSecond: true, PerMinute: true}
)

func TestEveryLineIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range All() {
		if !nameForm.MatchString(s.Name) {
			t.Errorf("%q: not lower_snake_case", s.Name)
		}
		if seen[s.Name] {
			t.Errorf("%s: listed twice", s.Name)
		}
		seen[s.Name] = true
		if !kinds[s.Kind] {
			t.Errorf("%s: kind %q", s.Name, s.Kind)
		}
		if !units[s.Unit] {
			t.Errorf("%s: unit %q is none of the catalogue's", s.Name, s.Unit)
		}
		if (s.Kind == Verdict || s.Kind == Event) && s.Unit != None {
			t.Errorf("%s: a %s has no unit", s.Name, s.Kind)
		}
		for what, v := range map[string]string{"On": s.On, "Meaning": s.Meaning, "Source": s.Source} {
			if strings.TrimSpace(v) == "" || v != strings.TrimSpace(v) {
				t.Errorf("%s: %s is %q", s.Name, what, v)
			}
		}
		if got, ok := Lookup(s.Name); !ok || got != s {
			t.Errorf("Lookup(%s) = %+v, %v", s.Name, got, ok)
		}
	}
	if Known("smart_5") {
		t.Error("smart_5 is known; only smart_5_raw is")
	}
}

// TestConstantsAndTablesAgree reads this package's source: every string
// constant of the signal files that has the form of a name is in the catalogue.
func TestConstantsAndTablesAgree(t *testing.T) {
	fset := token.NewFileSet()
	found := map[string]bool{}
	for _, file := range []string{"smart.go", "nvme.go", "scsi.go", "memory.go", "os.go"} {
		f, err := parser.ParseFile(fset, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				for i, value := range v.Values {
					lit, ok := value.(*ast.BasicLit)
					if !ok || lit.Kind != token.STRING {
						continue
					}
					name, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					found[name] = true
					if !Known(name) {
						t.Errorf("%s: %s = %q is not in the catalogue", file, v.Names[i].Name, name)
					}
				}
			}
		}
	}
	for _, s := range All() {
		if !found[s.Name] {
			t.Errorf("%s is in the catalogue and has no constant", s.Name)
		}
	}
}

func TestATAAttribute(t *testing.T) {
	for id := 0; id < 256; id++ {
		name, ok := ATAAttribute(id)
		if ok && name != "smart_"+strconv.Itoa(id)+"_raw" {
			t.Errorf("attribute %d is %s", id, name)
		}
		if ok != Known("smart_"+strconv.Itoa(id)+"_raw") {
			t.Errorf("attribute %d: mapped %v, catalogue says otherwise", id, ok)
		}
	}
}
