package collect

import (
	"fmt"
	"os"
	"strings"
)

// mount is one line of a mount table in the format of /proc/PID/mountinfo.
type mount struct {
	number string // major:minor
	root   string // what of the file system is mounted
	point  string
	fstype string
	source string
}

// readMounts reads a mount table. Later lines cover earlier ones.
func readMounts(path string) ([]mount, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var list []mount
	for line := range strings.Lines(string(text)) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 6 || len(rest) < 2 {
			return nil, fmt.Errorf("%s: no line of a mount table: %q", path, line)
		}
		list = append(list, mount{number: fields[2], root: unescape(fields[3]), point: unescape(fields[4]), fstype: rest[0], source: unescape(rest[1])})
	}
	return list, nil
}

// holding is the mount in which a path lies.
func holding(list []mount, path string) (mount, bool) {
	var best mount
	found := false
	for _, m := range list {
		if m.point == path || m.point == "/" || strings.HasPrefix(path, m.point+"/") {
			if !found || len(m.point) >= len(best.point) {
				best, found = m, true
			}
		}
	}
	return best, found
}

// unescape undoes the kernel's \040 for space, and its kin.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`, `\043`, "#").Replace
