package configs

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// Error is one thing that is wrong with a configuration. Value is empty when the file is not TOML.
type Error struct {
	File     string // path as given, empty when the configuration did not come from a file
	Key      string // dotted, such as "migration.per_source"; empty when the file is not TOML
	Value    string // as TOML writes it
	Expected string // "expected …", or what else is wrong in words
}

// Error gives, for example: /etc/vireo/manager.toml: mode = "always": expected "shadow", "recommend" or "auto".
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File + ": ")
	}
	if e.Key != "" {
		b.WriteString(e.Key)
		if e.Value != "" {
			b.WriteString(" = " + e.Value)
		}
		b.WriteString(": ")
	}
	b.WriteString(e.Expected)
	return b.String()
}

// config is what all configurations have in common: rules that name the keys that break them.
type config interface {
	check(*checks)
}

// load reads the file over the defaults in cfg. The error of a file that cannot be read wraps the system's one
// (errors.Is fs.ErrNotExist); all others are one or more *Error, joined.
func load(path string, cfg config) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	return parse(path, text, cfg)
}

func parse(file string, text []byte, cfg config) error {
	var table map[string]any
	if _, err := toml.Decode(string(text), &table); err != nil {
		wrong := &Error{File: file, Expected: err.Error()}
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			wrong.Key = syntax.LastKey
			wrong.Expected = fmt.Sprintf("line %d is not TOML: %s", syntax.Position.Line, syntax.Message)
		}
		return wrong
	}
	c := &checks{file: file}
	c.decode("", table, reflect.ValueOf(cfg).Elem())
	if len(c.errs) == 0 {
		cfg.check(c)
	}
	return errors.Join(c.errs...)
}

func validate(cfg config) error {
	c := &checks{}
	cfg.check(c)
	return errors.Join(c.errs...)
}

// A unitValue is written as a string with a unit.
type unitValue interface {
	UnmarshalText([]byte) error
	expected() string
}

// decode fills into, a struct, from a TOML table; prefix is the table's key with a dot behind it.
func (c *checks) decode(prefix string, table map[string]any, into reflect.Value) {
	fields := map[string]reflect.Value{}
	var known []string
	for i := range into.NumField() {
		key := into.Type().Field(i).Tag.Get("toml")
		fields[key] = into.Field(i)
		known = append(known, key)
	}
	for _, key := range sortedKeys(table) {
		field, ok := fields[key]
		if !ok {
			c.errs = append(c.errs, &Error{File: c.file, Key: prefix + key, Value: written(table[key]),
				Expected: "no such key; expected one of " + strings.Join(known, ", ")})
			continue
		}
		c.decodeValue(prefix+key, table[key], field)
	}
}

func (c *checks) decodeValue(key string, value any, field reflect.Value) {
	if quantity, ok := field.Addr().Interface().(unitValue); ok {
		text, ok := value.(string)
		if !ok || quantity.UnmarshalText([]byte(text)) != nil {
			c.fail(key, value, quantity.expected())
		}
		return
	}
	switch field.Kind() {
	case reflect.Struct:
		if table, ok := value.(map[string]any); ok {
			c.decode(key+".", table, field)
			return
		}
		c.fail(key, value, "a table, ["+key+"]")
	case reflect.String:
		if text, ok := value.(string); ok {
			field.SetString(text)
			return
		}
		c.fail(key, value, "a string")
	case reflect.Bool:
		if b, ok := value.(bool); ok {
			field.SetBool(b)
			return
		}
		c.fail(key, value, "true or false")
	case reflect.Int:
		if n, ok := value.(int64); ok && !field.OverflowInt(n) {
			field.SetInt(n)
			return
		}
		c.fail(key, value, "a whole number")
	case reflect.Float64:
		switch n := value.(type) {
		case float64:
			field.SetFloat(n)
		case int64:
			field.SetFloat(float64(n))
		default:
			c.fail(key, value, "a number")
		}
	case reflect.Slice:
		list, ok := value.([]any)
		if text, isText := value.(string); isText && field.Type() == urlsType {
			list, ok = []any{text}, true
		}
		texts := make([]string, 0, len(list))
		for _, item := range list {
			text, isText := item.(string)
			ok = ok && isText
			texts = append(texts, text)
		}
		if ok {
			field.Set(reflect.ValueOf(texts).Convert(field.Type()))
			return
		}
		c.fail(key, value, "a list of strings")
	default:
		panic(fmt.Sprintf("configs: key %s has type %s, which decode does not know", key, field.Type()))
	}
}

var urlsType = reflect.TypeFor[URLs]()

func sortedKeys(table map[string]any) []string {
	keys := make([]string, 0, len(table))
	for key := range table {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
