package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// style is how a cell looks where colours are shown.
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
)

// paint puts a style around text on a terminal that wants colours.
func (p *program) paint(s style, text string) string {
	if s == plain || text == "" || !p.shows || p.getenv("NO_COLOR") != "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// stateStyle colours words that say how something is.
func stateStyle(word string) style {
	switch word {
	case "healthy", "running", "done", "held", "connected", "info":
		return green
	case "watch", "quarantined", "waiting", "recommend", "transferring", "paused", "warning", "held_back", "aborting", "rolled_back":
		return yellow
	case "evacuating", "unknown", "ambiguous", "failed", "unclear", "crashed", "alarm", "away":
		return red
	case "drained", "maintenance", "released", "shut off", "superseded", "rejected", "recorded":
		return dim
	}
	return plain
}

type cell struct {
	text  string
	style style
}

// table is rows under headings, each column as wide as its widest cell. Columns
// whose heading begins with > are set to the right.
type table struct {
	p        *program
	headings []string
	rows     [][]cell
	below    bool // on a narrow screen the last column goes under its row
}

const indent = "    "

func (p *program) table(headings ...string) *table { return &table{p: p, headings: headings} }

// row adds a row of strings and cells.
func (t *table) row(values ...any) {
	cells := make([]cell, len(t.headings))
	for i, v := range values {
		switch v := v.(type) {
		case cell:
			cells[i] = v
		default:
			cells[i].text = fmt.Sprint(v)
		}
		cells[i].text = clean(cells[i].text)
	}
	t.rows = append(t.rows, cells)
}

// state is a cell coloured by its word.
func state(word string) cell { return cell{word, stateStyle(word)} }

// print writes the table, or what to say when it is empty.
func (t *table) print(w io.Writer, empty string) error {
	if len(t.rows) == 0 {
		_, err := fmt.Fprintln(w, empty)
		return err
	}
	headings := make([]cell, len(t.headings))
	right := make([]bool, len(t.headings))
	widths := make([]int, len(t.headings))
	for i, h := range t.headings {
		h, right[i] = strings.CutPrefix(h, ">")
		headings[i] = cell{h, dim}
	}
	all := append([][]cell{headings}, t.rows...)
	last := len(headings) - 1
	for _, row := range all {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	below := false // the last column has a line of its own
	if t.p.shows { // a sentence in the last column is cut where the screen ends; an id is not
		room, _ := t.p.screen()
		columns := room
		for _, w := range widths[:last] {
			room -= w + 2
		}
		if below = t.below && room < widths[last]; below {
			room = columns - len(indent)
		}
		for _, row := range all {
			if c := &row[last]; strings.Contains(c.text, " ") {
				c.text = cut(c.text, max(room, 40))
			}
		}
	}
	var b strings.Builder
	for n, row := range all {
		var line strings.Builder
		for i, c := range row {
			if below && i == last {
				break
			}
			if i > 0 {
				line.WriteString("  ")
			}
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text))
			if right[i] {
				line.WriteString(pad)
			}
			line.WriteString(t.p.paint(c.style, c.text))
			if !right[i] {
				line.WriteString(pad)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
		if text := row[last].text; below && text != "" && n > 0 {
			b.WriteString(indent + t.p.paint(dim, text) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// cut shortens text to a width, and shows that it did.
func cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:max(0, width-1)]) + "…"
}

// printf writes to the output. Strings among args are cleaned, cells cleaned and
// painted.
func (p *program) printf(format string, args ...any) { p.fprintf(p.out, format, args) }

// notef writes to people, beside the output.
func (p *program) notef(format string, args ...any) { p.fprintf(p.err, format, args) }

func (p *program) fprintf(w io.Writer, format string, args []any) {
	for i, a := range args {
		switch a := a.(type) {
		case string:
			args[i] = clean(a)
		case cell:
			args[i] = p.paint(a.style, clean(a.text))
		}
	}
	fmt.Fprintf(w, format, args...)
}

// clean makes text from elsewhere safe for a terminal: a guest's name must not
// move the cursor, or break a row.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, text)
}
