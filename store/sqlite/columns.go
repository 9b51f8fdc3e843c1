package sqlite

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Each table's columns are one list of pointers into its Go type, used both to
// write and to scan: the two cannot drift apart.

// moment is a time in a column: nanoseconds since 1970, NULL for the zero time.
type moment struct{ t *time.Time }

func at(t *time.Time) moment { return moment{t} }

func (m moment) Value() (driver.Value, error) {
	if m.t.IsZero() {
		return nil, nil
	}
	return m.t.UnixNano(), nil
}

func (m moment) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*m.t = time.Time{}
	case int64:
		*m.t = time.Unix(0, v).UTC()
	default:
		return fmt.Errorf("a time is stored as %T", src)
	}
	return nil
}

// nullable is a string in a column that refers to another table: NULL for "".
type nullable struct{ s *string }

func (n nullable) Value() (driver.Value, error) {
	if *n.s == "" {
		return nil, nil
	}
	return *n.s, nil
}

func (n nullable) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*n.s = ""
	case string:
		*n.s = v
	default:
		return fmt.Errorf("a name is stored as %T", src)
	}
	return nil
}

// document is a nested value in a column, as JSON.
type document struct{ v any }

func (d document) Value() (driver.Value, error) {
	b, err := json.Marshal(d.v)
	return string(b), err
}

func (d document) Scan(src any) error {
	s, ok := src.(string)
	if !ok {
		return fmt.Errorf("a document is stored as %T", src)
	}
	return json.Unmarshal([]byte(s), d.v)
}

// insert writes an INSERT that replaces the row of the same key. Columns and key
// are comma separated. An UPDATE in place, not INSERT OR REPLACE: replacing
// deletes first, and deletes what refers to the row with it.
func insert(table, columns, key string) string {
	names := strings.Split(columns, ", ")
	keys := strings.Split(key, ", ")
	var sets []string
	for _, n := range names {
		isKey := false
		for _, k := range keys {
			isKey = isKey || k == n
		}
		if !isKey {
			sets = append(sets, n+" = excluded."+n)
		}
	}
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (?%s) ON CONFLICT (%s) DO UPDATE SET %s",
		table, columns, strings.Repeat(", ?", len(names)-1), key, strings.Join(sets, ", "))
}

// conditions collects what a list is filtered by.
type conditions struct {
	texts []string
	args  []any
}

// and adds a condition with its arguments, when on.
func (c *conditions) and(on bool, text string, args ...any) {
	if on {
		c.texts = append(c.texts, text)
		c.args = append(c.args, args...)
	}
}

// where is the clause with its leading space, "" without conditions.
func (c *conditions) where() string {
	if len(c.texts) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.texts, " AND ")
}

// limit is the clause with its leading space; n counts, 0 is no limit.
func (c *conditions) limit(n int) string {
	if n <= 0 {
		return ""
	}
	c.args = append(c.args, n)
	return " LIMIT ?"
}
