package collect

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// grow makes a tree below a new directory: each line is "path: content" for a
// file, "path -> target" for a link, "path/" for a directory. Trees stand in the
// tests because device numbers are no names for files in a repository.
func grow(t *testing.T, text string) string {
	t.Helper()
	root := t.TempDir()
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		path, content, isFile := strings.Cut(line, ": ")
		link, target, isLink := strings.Cut(line, " -> ")
		switch {
		case isLink:
			path = link
		case isFile:
		case strings.HasSuffix(line, "/"):
			if err := os.MkdirAll(filepath.Join(root, line), 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		default:
			t.Fatalf("no line of a tree: %q", line)
		}
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if isLink {
			err = os.Symlink(target, full)
		} else {
			err = os.WriteFile(full, []byte(strings.ReplaceAll(content, `\n`, "\n")+"\n"), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}
