package collect

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// word reads a small file of /proc or /sys without the spaces around it; ""
// when it cannot be read. Files that come and go are normal there.
func word(parts ...string) string {
	b, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// number reads a file that holds one number, decimal or 0x…; nil when there is none.
func number(parts ...string) *float64 {
	n, err := strconv.ParseUint(word(parts...), 0, 64)
	if err != nil {
		return nil
	}
	v := float64(n)
	return &v
}

// names lists a directory, sorted; empty when it is not there.
func names(parts ...string) []string {
	entries, err := os.ReadDir(filepath.Join(parts...))
	if err != nil {
		return nil
	}
	list := make([]string, len(entries))
	for i, e := range entries {
		list[i] = e.Name()
	}
	return list
}

func exists(parts ...string) bool {
	_, err := os.Stat(filepath.Join(parts...))
	return err == nil
}

// absentIfMissing turns "no such file" into ErrAbsent and leaves the rest.
func absentIfMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrAbsent
	}
	return err
}
