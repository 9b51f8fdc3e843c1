package demo

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// text writes the story. Lines of several goroutines do not mix.
type text struct {
	mu       sync.Mutex
	out      io.Writer
	color    bool
	chapters int
}

func newText(out io.Writer, color bool) *text { return &text{out: out, color: color} }

// SGR codes of ECMA-48.
const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (t *text) paint(code, s string) string {
	if !t.color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (t *text) line(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, format+"\n", args...)
}

func (t *text) chapter(title string) {
	t.chapters++
	t.line("\n%s", t.paint(bold, fmt.Sprintf("%d. %s", t.chapters, title)))
}

func (t *text) dim(s string) { t.line("%s", t.paint(faint, s)) }

func (t *text) command(format string, args ...any) {
	t.line("  %s", t.paint(faint, "$ ")+fmt.Sprintf(format, args...))
}

// columns writes blocks of lines beside each other.
func (t *text) columns(blocks []string) {
	const wide = 34
	split := make([][]string, len(blocks))
	rows := 0
	for i, b := range blocks {
		split[i] = strings.Split(strings.TrimRight(b, "\n"), "\n")
		rows = max(rows, len(split[i]))
	}
	for row := range rows {
		var line strings.Builder
		for _, lines := range split {
			text := ""
			if row < len(lines) {
				text = lines[row]
			}
			fmt.Fprintf(&line, "%-*s", wide, text)
		}
		t.line("  %s", strings.TrimRight(line.String(), " "))
	}
}

// block writes the output of a command, indented.
func (t *text) block(out string) {
	for l := range strings.Lines(strings.TrimRight(out, "\n") + "\n") {
		t.line("    %s", strings.TrimRight(l, "\n"))
	}
}
