package ledger

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Outcome is what became of a component, as the operator says. The values are
// those of the file.
type Outcome string

// The outcomes.
const (
	Failed   Outcome = "failed"   // it broke while in service
	Replaced Outcome = "replaced" // it was taken out before it broke: nobody knows whether it would have
	Healthy  Outcome = "healthy"  // it was looked at, or taken out for another reason, and nothing is wrong with it
)

// Outcomes are all outcomes.
var Outcomes = []Outcome{Failed, Replaced, Healthy}

// Mark is one line of the file. A later mark of the same component at the same
// time replaces an earlier one.
type Mark struct {
	Component string    `json:"component"`
	Host      string    `json:"host,omitempty"`
	Outcome   Outcome   `json:"outcome"`
	At        time.Time `json:"at"`     // when it happened
	Marked    time.Time `json:"marked"` // when it was written down
	Who       string    `json:"who,omitempty"`
	Note      string    `json:"note,omitempty"`
}

// Validate names the field and value that is wrong.
func (m Mark) Validate() error {
	kind, name, ok := strings.Cut(m.Component, ":")
	switch {
	case !ok || kind == "" || name == "":
		return fmt.Errorf("component is %q, expected KIND:NAME such as disk:Z300V1RR", m.Component)
	case m.Outcome != Failed && m.Outcome != Replaced && m.Outcome != Healthy:
		return fmt.Errorf("outcome is %q, expected failed, replaced or healthy", m.Outcome)
	case m.At.IsZero():
		return errors.New("at is missing, expected the time when it happened")
	case !m.Marked.IsZero() && m.At.After(m.Marked):
		return fmt.Errorf("at is %s, expected a time before it was marked, %s", m.At.Format(time.RFC3339), m.Marked.Format(time.RFC3339))
	}
	return nil
}

// Line is the mark as a line of the file.
func (m Mark) Line() ([]byte, error) {
	b, err := json.Marshal(m)
	return append(b, '\n'), err
}

// Failures is when each component that failed did so last.
func Failures(marks []Mark) map[string]time.Time {
	out := map[string]time.Time{}
	for component, list := range marksBy(marks) {
		for _, m := range list {
			if m.Outcome == Failed {
				out[component] = m.At
			}
		}
	}
	return out
}

// maxLine bounds a line of the file.
const maxLine = 64 << 10

// Read reads marks. An unfinished last line, which a crash may leave, is left
// out.
func Read(name string, r io.Reader) ([]Mark, error) {
	var out []Mark
	in := bufio.NewReaderSize(r, maxLine)
	for line := 1; ; line++ {
		text, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", name, line, err)
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		var m Mark
		if err := d.Decode(&m); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", name, line, err)
		}
		if err := m.Validate(); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", name, line, err)
		}
		out = append(out, m)
	}
}
